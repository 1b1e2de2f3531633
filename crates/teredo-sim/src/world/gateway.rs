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
use super::{Attachment, NatId, Place, World};

/// The port mapper of a host, on a socket of its own.
#[derive(Debug)]
pub(crate) struct Mapper {
    mapper: PortMapper,
    endpoint: SocketAddrV4,
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

    /// Adds a client that asks the gateway of its network for a port, and starts both.
    pub fn add_mapping_client(&mut self, nat: NatId) -> HostId {
        let host = self.add_client(nat);
        self.start_mapper(host);
        host
    }

    /// Gives the client of a host a port mapper, and starts it: from nothing if it had one.
    pub(super) fn start_mapper(&mut self, host: HostId) {
        let Place::Behind(nat) = self.hosts[host.0].place else { return };
        let Some(service) = self.endpoint_of(host) else { return };
        let config = portmap::Config::new(gateway_address(nat), *service.ip(), service.port());
        let mut mapper = PortMapper::new(config, self.next_seed());
        mapper.start(self.now);
        let endpoint = SocketAddrV4::new(*service.ip(), MAPPER_PORT);
        self.hosts[host.0].mapper = Some(Mapper { mapper, endpoint });
        self.drain_mapper(host);
    }

    /// Has the port mapper of a host give back what it has.
    pub fn stop_mapper(&mut self, host: HostId) {
        let now = self.now;
        if let Some(mapper) = &mut self.hosts[host.0].mapper {
            mapper.mapper.stop(now);
            self.drain_mapper(host);
        }
    }

    /// The port mapper of a host.
    pub fn mapper(&self, host: HostId) -> Option<&PortMapper> {
        self.hosts[host.0].mapper.as_ref().map(|mapper| &mapper.mapper)
    }

    /// Gives a datagram to the port mapper of its destination, if that is one of its sockets.
    pub(super) fn give_to_mapper(&mut self, host: HostId, datagram: &Datagram) -> bool {
        let Some(Mapper { mapper, endpoint }) = &mut self.hosts[host.0].mapper else {
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
        while let Some(Mapper { mapper, endpoint }) = &mut self.hosts[host.0].mapper
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
            if let Some(payload) = answer {
                let datagram = Datagram { from: datagram.to, to: datagram.from, payload };
                self.carry(Place::Behind(id), Duration::ZERO, datagram);
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

/// Where port mappers send from.
const MAPPER_PORT: u16 = 50_000;
