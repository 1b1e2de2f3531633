//! How packets get from host to host, through NATs, roles and stacks.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use core::time::Duration;

use teredo_proto::client::HelperUse;
use teredo_proto::role::TRANSMIT_LEN_MAX;
use teredo_proto::{Arrival as RoleArrival, Event, Inbound, Local, Outbound, Transmit};
use teredo_wire::address::is_teredo;
use teredo_wire::helper::Frame;
use teredo_wire::{Datagram as Teredo, Ipv6, TeredoAddress};

use crate::asked;
use crate::audit::{self, Offence};
use crate::host::{Datagram, Host, HostId, MAPPER, Plan, Service};
use crate::icmp::{IcmpError, Problem};
use crate::link::Crossing;
use crate::nat::Refusal;
use crate::stack;
use crate::trace::{End, Wire};

use super::links::Way;
use super::{
    Attachment, Happened, LOG_MAX, LogEntry, NatBox, NatId, Place, STEPS_AT_ONCE_MAX, Violation,
    World,
};

/// A packet that reaches the far end of its way.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// At the IPv4 side of a host.
    Host(HostId, Datagram),
    /// At a NAT, from the outside.
    NatOutside(NatId, Datagram),
    /// At a NAT, from the inside.
    NatInside(NatId, Datagram),
    /// At a host, what has come of asking its gateway by UPnP.
    Upnp(HostId),
    /// An ICMP error at a host.
    HostError(HostId, IcmpError),
    /// An ICMP error at a NAT, from the outside.
    NatError(NatId, IcmpError),
    /// At a host, from the IPv6 Internet.
    Ipv6(HostId, Vec<u8>),
    /// Out of the IPv6 stack of a host.
    Stack(HostId, Vec<u8>),
}

impl World {
    pub(crate) fn on_arrival(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Host(host, datagram) => self.on_host(host, datagram),
            Arrival::NatOutside(nat, datagram) => self.on_nat_outside(nat, datagram),
            Arrival::NatInside(nat, datagram) => self.on_nat_inside(nat, datagram),
            Arrival::Upnp(host) => self.on_upnp(host),
            Arrival::HostError(host, error) => self.on_host_error(host, error),
            Arrival::NatError(nat, error) => self.on_nat_error(nat, error),
            Arrival::Ipv6(host, packet) => self.on_ipv6(host, &packet),
            Arrival::Stack(host, packet) => self.on_stack(host, &packet),
        }
    }

    pub(crate) fn on_deadline(&mut self, host: HostId, service: usize) {
        let now = self.now;
        if service == MAPPER {
            return self.on_mapper_deadline(host);
        }
        self.hosts[host.0].services[service].role.as_role_mut().handle_timeout(now);
        self.drain(host, service);
    }

    /// Sends a datagram from an address of `host`.
    pub(crate) fn send_from(&mut self, host: HostId, datagram: Datagram) {
        let (wire, place) = (Wire::Host(host), self.hosts[host.0].place);
        let Datagram { from, to, payload } = &datagram;
        self.trace.datagram(self.now, wire, *from, *to, payload);
        for delay in self.cross((Attachment::Host(host), Way::Out), place, &datagram) {
            if datagram.to.ip().is_multicast() {
                self.carry_to_all(host, delay, &datagram);
                continue;
            }
            self.carry(place, delay, datagram.clone());
        }
    }

    /// Carries a datagram that is at `place` after `delay` to where it is next looked at.
    pub(crate) fn carry(&mut self, place: Place, delay: Duration, datagram: Datagram) {
        let at = self.now + delay;
        let (source, destination) = (*datagram.from.ip(), *datagram.to.ip());
        if place == Place::Internet && self.is_parted(source, destination) {
            return self.trace.end(self.now, datagram.from, End::Lost);
        }
        let Some(attachment) = self.attachments.get(&(place, destination)).copied() else {
            return match place {
                Place::Internet => self.trace.end(self.now, datagram.from, End::NoHost),
                Place::Behind(nat) => self.queue.plan(at, Arrival::NatInside(nat, datagram)),
            };
        };
        for delay in self.cross((attachment, Way::In), place, &datagram) {
            let arrival = match attachment {
                Attachment::Host(host) => Arrival::Host(host, datagram.clone()),
                Attachment::Nat(nat) => Arrival::NatOutside(nat, datagram.clone()),
            };
            self.queue.plan(at + delay, arrival);
        }
    }

    /// Carries a datagram to all other hosts of the sender's private network. The Internet knows no
    /// multicast.
    fn carry_to_all(&mut self, sender: HostId, delay: Duration, datagram: &Datagram) {
        let place = self.hosts[sender.0].place;
        if place == Place::Internet {
            return;
        }
        for id in 0..self.hosts.len() {
            if id == sender.0 || self.hosts[id].place != place {
                continue;
            }
            let host = Attachment::Host(HostId(id));
            for further in self.cross((host, Way::In), place, datagram) {
                let arrival = Arrival::Host(HostId(id), datagram.clone());
                self.queue.plan(self.now + delay + further, arrival);
            }
        }
    }

    fn on_nat_inside(&mut self, id: NatId, mut datagram: Datagram) {
        if self.give_to_gateway(id, &datagram) {
            return;
        }
        let NatBox { nat, place, .. } = &mut self.nats[id.0];
        let (inside, now) = (datagram.from, self.now);
        if nat.owns(*datagram.to.ip()) {
            if let Some((from, to)) = nat.hairpin(now, inside, datagram.to) {
                datagram = Datagram { from, to, ..datagram };
                self.carry(Place::Behind(id), Duration::ZERO, datagram);
            }
            return;
        }
        let Some(external) = nat.outbound(now, inside, datagram.to) else { return };
        nat.rewrite(&mut datagram.payload, *inside.ip(), *external.ip());
        datagram.from = external;
        let place = *place;
        self.trace.datagram(now, Wire::Nat(id), external, datagram.to, &datagram.payload);
        for delay in self.cross((Attachment::Nat(id), Way::Out), place, &datagram) {
            self.carry(place, delay, datagram.clone());
        }
    }

    fn on_nat_outside(&mut self, id: NatId, mut datagram: Datagram) {
        let NatBox { nat, place, .. } = &mut self.nats[id.0];
        let Datagram { from, to, payload } = &mut datagram;
        self.trace.datagram(self.now, Wire::Nat(id), *from, *to, payload);
        let Some(inside) = nat.inbound(self.now, *to, *from) else {
            self.trace.end(self.now, *from, End::Refused);
            if nat.config().refusal == Refusal::PortUnreachable {
                let (place, reporter) = (*place, *to.ip());
                self.complain(place, Problem::PortUnreachable, reporter, &datagram);
            }
            return;
        };
        nat.rewrite(payload, *to.ip(), *inside.ip());
        *to = inside;
        self.carry(Place::Behind(id), Duration::ZERO, datagram);
    }

    fn on_host(&mut self, id: HostId, datagram: Datagram) {
        let host = &mut self.hosts[id.0];
        let Datagram { from, to, payload } = &datagram;
        self.trace.datagram(self.now, Wire::Host(id), *from, *to, payload);
        if !host.up || self.give_to_mapper(id, &datagram) {
            return;
        }
        let host = &mut self.hosts[id.0];
        let Datagram { from, to, payload } = &datagram;
        let taker = host.services.iter_mut().enumerate().find_map(|(index, service)| {
            let on = service.local(*to)?;
            Some((index, service, on))
        });
        let Some((index, service, on)) = taker else {
            host.mailbox.push(datagram);
            return;
        };
        if self.is_audited {
            service.audit.note_received(self.now, &service.plan, [*from, *to], payload);
        }
        let arrival = RoleArrival { from: *from, on };
        let inbound = service.role.as_role_mut().handle_datagram(self.now, arrival, payload);
        match inbound {
            Inbound::Deliver(range) => match payload.get(range) {
                Some(packet) => self.hand_out(id, index, packet),
                None => self.violation = Some(Violation::Altered(id)),
            },
            Inbound::Consumed => {}
            Inbound::Dropped(reason) => self.note(id, Happened::Dropped(reason)),
        }
        self.drain(id, index);
    }

    fn on_ipv6(&mut self, id: HostId, packet: &[u8]) {
        let Some(destination) = destination(packet) else { return };
        let host = &self.hosts[id.0];
        if !host.up {
            return;
        }
        if host.stack.owns(destination) {
            return self.give_to_stack(id, packet);
        }
        let router = host.services.iter().position(|service| service.takes_route(destination));
        if let Some(service) = router {
            self.give_to_role(id, service, packet);
        }
    }

    fn on_stack(&mut self, id: HostId, packet: &[u8]) {
        let Some(destination) = destination(packet) else { return };
        let host = &self.hosts[id.0];
        if !host.up {
            return;
        }
        self.hosts[id.0].stack.asked.note_sent(self.now, packet);
        let host = &self.hosts[id.0];
        match host.services.iter().position(|service| service.serves_stack(destination)) {
            Some(service) => self.give_to_role(id, service, packet),
            None => self.route_ipv6(packet),
        }
    }

    fn give_to_role(&mut self, host: HostId, index: usize, packet: &[u8]) {
        let service = &mut self.hosts[host.0].services[index];
        match service.take_packet(self.now, packet) {
            Outbound::Send { to, via } => self.send_via(host, index, (to, via), packet.to_vec()),
            Outbound::Wrap { header, to, via } => {
                self.send_via(host, index, (to, via), [&header[..], packet].concat());
            }
            Outbound::Queued => {}
            Outbound::Dropped(reason) => self.note(host, Happened::Dropped(reason)),
        }
        self.drain(host, index);
    }

    /// Sends what a role wants to send from one of its sockets.
    fn send_via(
        &mut self,
        host: HostId,
        index: usize,
        (to, via): (SocketAddrV4, Local),
        payload: Vec<u8>,
    ) {
        let (is_audited, now) = (self.is_audited, self.now);
        let service = &mut self.hosts[host.0].services[index];
        let Some(from) = service.endpoint(via) else { return };
        if is_audited
            && let Err(offence) = service.audit.note_sent(now, &service.plan, (to, via), &payload)
        {
            self.violation = Some(Violation::Offended(host, offence));
        }
        self.send_from(host, Datagram { from, to, payload });
    }

    /// Takes out of a role what it wants to send and tell.
    pub(crate) fn drain(&mut self, host: HostId, index: usize) {
        self.drain_datagrams(host, index);
        self.drain_events(host, index);
    }

    fn drain_datagrams(&mut self, host: HostId, index: usize) {
        let mut buffer = [0; TRANSMIT_LEN_MAX];
        for _ in 0..STEPS_AT_ONCE_MAX {
            let service = &mut self.hosts[host.0].services[index];
            match service.role.as_role_mut().poll_transmit(&mut buffer) {
                Some(Transmit::Datagram { to, via, len }) => {
                    let payload = buffer[..len].to_vec();
                    self.meter((host, index), (to, via), &payload);
                    self.send_via(host, index, (to, via), payload);
                }
                Some(Transmit::Packet { len }) => {
                    self.ledger.note_report(&buffer[..len]);
                    self.hand_out(host, index, &buffer[..len]);
                }
                None => return,
            }
        }
        self.violation = Some(Violation::Torrent(host));
    }

    /// Counts the bubbles that a role makes; servers and helpers only pass them on. The books know
    /// which are probes.
    fn meter(
        &mut self,
        (host, index): (HostId, usize),
        way: (SocketAddrV4, Local),
        payload: &[u8],
    ) {
        let Service { plan, audit, .. } = &self.hosts[host.0].services[index];
        let passes_on = matches!(plan, Plan::Server(_) | Plan::Helper(_))
            || (self.is_audited && audit.is_probe(self.now, plan, way, payload));
        let payload = match Frame::parse(payload) {
            Ok(Frame::Forward(frame)) => frame.datagram,
            Ok(_) | Err(_) => payload,
        };
        let bubble = Teredo::parse(payload).ok().map(|datagram| datagram.ipv6);
        if let Some(bubble) = bubble.filter(|ipv6| ipv6.is_bubble() && !passes_on) {
            self.bubbles.note(self.now, host, bubble.destination());
        }
    }

    fn drain_events(&mut self, host: HostId, index: usize) {
        for _ in 0..STEPS_AT_ONCE_MAX {
            let role = self.hosts[host.0].services[index].role.as_role_mut();
            let Some(event) = role.poll_event() else { return };
            if let Event::AddressChanged(address) = event {
                self.hosts[host.0].stack.teredo = address.map(|(address, _)| address);
            } else if let Event::BindPort(local) = event {
                self.bind(host, index, local);
            } else if let Event::ReleasePort(local) = event {
                let sockets = &mut self.hosts[host.0].services[index].sockets;
                sockets.retain(|(socket, _)| *socket != local);
            } else if let Event::MapPeer { local_port, remote } = event {
                self.map_peer(host, local_port, remote);
            } else if let Event::UnmapPeer { local_port, remote } = event {
                self.unmap_peer(host, local_port, remote);
            }
            self.audit_event(host, index, event);
            self.note(host, Happened::Event(event));
        }
        self.violation = Some(Violation::Torrent(host));
    }

    /// Checks what a client says of itself.
    fn audit_event(&mut self, host: HostId, index: usize, event: Event) {
        if !self.is_audited {
            return;
        }
        let audited = if let Event::StateChanged(state) = event {
            self.hosts[host.0].services[index].audit.note_state(state)
        } else if let Event::AddressChanged(Some((address, _))) = event {
            let mapped = TeredoAddress::parse(address).map(|address| address.mapped);
            let helper = audit::helper_of(&self.hosts[host.0].services[index].plan);
            let helper = helper.filter(|helper| helper.used_for == HelperUse::All);
            let is_true = mapped.is_some_and(|mapped| match helper {
                Some(helper) => mapped == helper.endpoint,
                None => self.is_seen_as(host, *mapped.ip()),
            });
            if is_true { Ok(()) } else { Err(Offence::Address(address)) }
        } else {
            Ok(())
        };
        if let Err(offence) = audited {
            self.violation = Some(Violation::Offended(host, offence));
        }
    }

    /// Whether the Internet may see packets of a host come from `address`.
    fn is_seen_as(&self, host: HostId, address: Ipv4Addr) -> bool {
        let mut place = self.hosts[host.0].place;
        let mut outermost = None;
        while let Place::Behind(nat) = place {
            outermost = Some(nat);
            place = self.nats[nat.0].place;
        }
        match outermost {
            Some(nat) => self.nats[nat.0].nat.owns(address),
            None => self.hosts[host.0].addresses.contains(&address),
        }
    }

    /// Gives a role one more socket, on a random port, and what it wants to send with it its way.
    fn bind(&mut self, host: HostId, index: usize, local: Local) {
        let address = self.address_of(host);
        let mut port = self.random_port();
        while self.hosts[host.0].services.iter().any(|service| service.has_port(port)) {
            port = self.random_port();
        }
        let service = &mut self.hosts[host.0].services[index];
        service.sockets.push((local, SocketAddrV4::new(address, port)));
        let now = self.now;
        service.role.as_role_mut().handle_bound(now, local, Some(port));
        self.drain_datagrams(host, index);
    }

    fn random_port(&mut self) -> u16 {
        RANDOM_PORT_FIRST + self.random.below(u64::from(u16::MAX - RANDOM_PORT_FIRST)) as u16
    }

    /// A packet from a role of `host`, for its own stack or to be routed on.
    fn hand_out(&mut self, id: HostId, index: usize, packet: &[u8]) {
        let Some(destination) = destination(packet) else {
            self.violation = Some(Violation::Altered(id));
            return;
        };
        let Host { services, stack, .. } = &mut self.hosts[id.0];
        let policy = asked::policy(&services[index].plan);
        if !policy.is_none_or(|policy| stack.asked.permits(self.now, policy, &stack.native, packet))
        {
            self.violation = Some(Violation::Unsolicited(id));
        }
        let host = &self.hosts[id.0];
        if host.stack.owns(destination) {
            self.give_to_stack(id, packet);
        } else if host.routes() {
            self.route_ipv6(packet);
        } else if !host.stack.asked.is_own_error(self.now, packet) {
            self.violation = Some(Violation::Misdelivered(id, destination));
        }
    }

    fn give_to_stack(&mut self, id: HostId, packet: &[u8]) {
        if !self.ledger.deliver(packet) {
            self.violation = Some(Violation::Altered(id));
        }
        if let Some(sequence) = stack::echo_reply_sequence(packet)
            && let Some(sent) = self.pings_sent.remove(&sequence)
        {
            self.pings_answered.insert(sequence, self.now.since(sent));
        }
        if let Some(answer) = self.hosts[id.0].stack.receive(self.now, packet) {
            self.queue.plan(self.now, Arrival::Stack(id, answer));
        }
    }

    pub(crate) fn route_ipv6(&mut self, packet: &[u8]) {
        self.trace.ipv6(self.now, packet);
        let Some(destination) = destination(packet) else { return };
        let next = if is_teredo(destination) {
            self.teredo_route
        } else {
            self.native.get(&destination).copied()
        };
        let Some(host) = next else { return };
        let Crossing::Copies(copies) = self.ipv6_link.cross(&mut self.random, packet.len()) else {
            return;
        };
        for delay in copies.into_iter().flatten() {
            self.queue.plan(self.now + delay, Arrival::Ipv6(host, packet.to_vec()));
        }
    }

    pub(crate) fn note(&mut self, host: HostId, what: Happened) {
        if self.log.len() < LOG_MAX {
            self.log.push(LogEntry { at: self.now, host, what });
        }
    }
}

/// Where systems begin to give ports to programs that ask for any.
const RANDOM_PORT_FIRST: u16 = 49_152;

fn destination(packet: &[u8]) -> Option<Ipv6Addr> {
    Ipv6::parse(packet).ok().map(|(ipv6, _)| ipv6.destination())
}
