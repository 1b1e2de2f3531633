//! Gateways that grant ports, and hosts that ask them.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

use teredo_proto::Instant;
use teredo_proto::portmap::{self, PortMapper};
use teredo_wire::pcp;

use crate::gateway::{Gateway, GatewayConfig};
use crate::host::{Datagram, HostId};

use super::forward::Arrival;
use super::links::Way;
use super::{Attachment, NatBox, NatId, Place, World};

/// The port mapper of a host, on a socket of its own.
#[derive(Debug)]
pub(crate) struct Mapper {
    mapper: PortMapper,
    endpoint: SocketAddrV4,
    /// What UPnP has brought.
    upnp: Option<SocketAddrV4>,
}

impl Mapper {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.mapper.poll_timeout().map(|(at, _)| at)
    }
}

impl World {
    /// Makes a NAT grant ports. Its address inside is the first one of its network.
    pub fn add_gateway(&mut self, nat: NatId, config: GatewayConfig) {
        let now = self.now;
        let nat = &mut self.nats[nat.0];
        let external = nat.nat.first_address().unwrap_or(Ipv4Addr::UNSPECIFIED);
        nat.gateway = Some(Gateway::new(config, external, now));
    }

    /// Has the client of a host ask the gateway of its network for a port from now on.
    pub fn add_mapper(&mut self, host: HostId) {
        self.start_mapper(host);
    }

    /// Adds a client that asks the gateway of its network for a port, and starts both.
    pub fn add_mapping_client(&mut self, nat: NatId) -> HostId {
        let host = self.add_client(nat);
        self.start_mapper(host);
        host
    }

    /// Gives the client of a host a port mapper, and starts it: from nothing if it had one. Not
    /// behind a NAT that gives endpoints unasked.
    pub fn start_mapper(&mut self, host: HostId) {
        let Place::Behind(nat) = self.hosts[host.0].place else { return };
        if self.nats[nat.0].nat.config().gives_explicit {
            return;
        }
        let Some(service) = self.endpoint_of(host) else { return };
        let config = portmap::Config::new(gateway_address(nat), *service.ip(), service.port());
        let mut mapper = PortMapper::new(config, self.next_seed());
        mapper.start(self.now);
        let endpoint = SocketAddrV4::new(*service.ip(), MAPPER_PORT);
        self.hosts[host.0].mapper = Some(Mapper { mapper, endpoint, upnp: None });
        self.drain_mapper(host);
        if let Some(gateway) = &self.nats[nat.0].gateway
            && gateway.config().upnp
        {
            let answered_at = self.now + UPNP_PATIENCE + gateway.config().answers_after;
            self.queue.plan(answered_at, Arrival::Upnp(host));
        }
    }

    /// The gateway of a host answers what it was asked by UPnP, if nothing else has come of asking:
    /// once and again, as the engine asks.
    pub(super) fn on_upnp(&mut self, host: HostId) {
        let Place::Behind(NatId(nat)) = self.hosts[host.0].place else { return };
        let Some(service) = self.endpoint_of(host) else { return };
        let Some(mapper) = &mut self.hosts[host.0].mapper else { return };
        let NatBox { nat, gateway: Some(gateway), .. } = &mut self.nats[nat] else { return };
        self.queue.plan(self.now + UPNP_INTERVAL, Arrival::Upnp(host));
        if mapper.mapper.external().is_some() {
            return;
        }
        let external = gateway.answer_upnp(self.now, nat, service);
        if core::mem::replace(&mut mapper.upnp, external) == external {
            return;
        }
        let event = match external {
            Some(external) => {
                mapper.mapper.stop(self.now);
                portmap::Event::Mapped(external)
            }
            None => portmap::Event::Unmapped(portmap::Failure::NoAnswer),
        };
        self.with_client(host, |client, now| client.take_port_mapping(now, &event));
    }

    /// Has some other host behind a NAT ask for a port of its own: the external endpoint.
    pub fn add_gateway_guest(&mut self, nat: NatId, port: u16) -> Option<SocketAddrV4> {
        let guest = SocketAddrV4::new(GUEST, port);
        self.nats[nat.0].nat.map_explicitly(self.now, guest, port, Duration::MAX)
    }

    /// Has the gateway of a NAT lose all mappings that were asked for, and say nothing.
    pub fn forget_mappings(&mut self, nat: NatId) {
        self.nats[nat.0].nat.forget_explicit();
    }

    /// Has the port mapper of a host give back what it has, of which its client is told.
    pub fn stop_mapper(&mut self, host: HostId) {
        let now = self.now;
        if let Some(mapper) = &mut self.hosts[host.0].mapper {
            mapper.mapper.stop(now);
            self.drain_mapper(host);
            self.with_client(host, |client, now| client.set_explicit_mapping(now, None));
        }
    }

    /// Has the port mapper of a host ask about a flow. Only clients that have one want that.
    pub(super) fn map_peer(&mut self, host: HostId, local_port: u16, remote: SocketAddrV4) {
        let now = self.now;
        if let Some(mapper) = &mut self.hosts[host.0].mapper {
            mapper.mapper.map_peer(now, local_port, remote);
            self.drain_mapper(host);
        }
    }

    /// Has it give that back.
    pub(super) fn unmap_peer(&mut self, host: HostId, local_port: u16, remote: SocketAddrV4) {
        let now = self.now;
        if let Some(mapper) = &mut self.hosts[host.0].mapper {
            mapper.mapper.unmap_peer(now, local_port, remote);
            self.drain_mapper(host);
        }
    }

    /// The port mapper of a host.
    pub fn mapper(&self, host: HostId) -> Option<&PortMapper> {
        self.hosts[host.0].mapper.as_ref().map(|mapper| &mapper.mapper)
    }

    /// Gives a datagram to the port mapper of its destination, if that is one of its sockets.
    pub(super) fn give_to_mapper(&mut self, host: HostId, datagram: &Datagram) -> bool {
        let Some(Mapper { mapper, endpoint, .. }) = &mut self.hosts[host.0].mapper else {
            return false;
        };
        let is_announcement = datagram.to.port() == pcp::CLIENT_PORT;
        if datagram.to != *endpoint && !is_announcement {
            return false;
        }
        // What is ignored is counted.
        let _ = mapper.handle_datagram(self.now, datagram.from, &datagram.payload);
        self.drain_mapper(host);
        true
    }

    pub(super) fn on_mapper_deadline(&mut self, host: HostId) {
        let now = self.now;
        if let Some(mapper) = &mut self.hosts[host.0].mapper {
            mapper.mapper.handle_timeout(now);
            self.drain_mapper(host);
        }
    }

    fn drain_mapper(&mut self, host: HostId) {
        let mut buffer = [0; portmap::TRANSMIT_LEN_MAX];
        while let Some(Mapper { mapper, endpoint, .. }) = &mut self.hosts[host.0].mapper
            && let Some(transmit) = mapper.poll_transmit(&mut buffer)
        {
            let payload = buffer[..transmit.len].to_vec();
            let datagram = Datagram { from: *endpoint, to: transmit.to, payload };
            self.send_from(host, datagram);
        }
        let Some(Mapper { mapper, .. }) = &mut self.hosts[host.0].mapper else { return };
        let events: Vec<_> = core::iter::from_fn(|| mapper.poll_event()).collect();
        self.with_client(host, |client, now| {
            for event in &events {
                client.take_port_mapping(now, event);
            }
        });
    }

    /// Has the gateway of a NAT answer a datagram that is for it; false if it is not.
    pub(super) fn give_to_gateway(&mut self, id: NatId, datagram: &Datagram) -> bool {
        if *datagram.to.ip() != gateway_address(id) {
            return false;
        }
        let nat = &mut self.nats[id.0];
        if let Some(gateway) =
            nat.gateway.as_mut().filter(|_| datagram.to.port() == pcp::SERVER_PORT)
        {
            let answer = gateway.answer(self.now, &mut nat.nat, datagram.from, &datagram.payload);
            let delay = gateway.config().answers_after;
            if let Some(payload) = answer {
                let datagram = Datagram { from: datagram.to, to: datagram.from, payload };
                self.carry(Place::Behind(id), delay, datagram);
            }
        }
        true
    }

    /// A gateway that has booted tells all hosts of its link.
    pub(super) fn announce_gateway(&mut self, id: NatId) {
        let now = self.now;
        let Some(gateway) = &mut self.nats[id.0].gateway else { return };
        gateway.reboot(now);
        let from = SocketAddrV4::new(gateway_address(id), pcp::SERVER_PORT);
        let to = SocketAddrV4::new(pcp::ANNOUNCEMENT_GROUP, pcp::CLIENT_PORT);
        for payload in gateway.announcements(now) {
            for index in 0..self.hosts.len() {
                if self.hosts[index].place != Place::Behind(id) {
                    continue;
                }
                let datagram = Datagram { from, to, payload: payload.clone() };
                let host = Attachment::Host(HostId(index));
                for delay in self.cross((host, Way::In), Place::Behind(id), &datagram) {
                    let datagram = datagram.clone();
                    self.queue.plan(now + delay, Arrival::Host(HostId(index), datagram));
                }
            }
        }
    }
}

/// The address of a gateway in its private network.
pub(super) fn gateway_address(NatId(nat): NatId) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 1 + nat as u8, 1)
}

/// A host that asks for ports and does nothing else.
const GUEST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// How long hosts wait for an answer by PCP or NAT-PMP before they ask by UPnP too, and for how
/// long they leave it at that.
const UPNP_PATIENCE: Duration = Duration::from_secs(1);
const UPNP_INTERVAL: Duration = Duration::from_secs(1_200);

/// Where port mappers send from.
const MAPPER_PORT: u16 = 50_000;
