//! What goes wrong between hosts: faults of links, partitions, and what senders are told.

use core::net::Ipv4Addr;
use core::time::Duration;

use crate::host::{Datagram, HostId};
use crate::icmp::{IcmpError, Problem};
use crate::link::{Crossing, Lane, Link};
use crate::trace::{End, Wire};

use super::forward::Arrival;
use super::{Attachment, Happened, NatBox, NatId, Place, World};

/// Which way a datagram goes along an access link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Out,
    In,
}

impl World {
    /// Replaces the link of one host, with different directions: out of it and into it.
    pub fn set_links(&mut self, host: HostId, out: Link, into: Link) {
        self.hosts[host.0].lanes = [Lane::new(out), Lane::new(into)];
    }

    /// Replaces the link of a NAT on its outer side, which takes no time unless told: out of it and
    /// into it.
    pub fn set_nat_links(&mut self, nat: NatId, out: Link, into: Link) {
        self.nats[nat.0].lanes = [Lane::new(out), Lane::new(into)];
    }

    /// For so long nothing passes on the Internet between these hosts and NATs and all others.
    /// There is one partition at a time.
    pub fn partition(&mut self, hosts: &[HostId], nats: &[NatId], duration: Duration) {
        let hosts = hosts.iter().flat_map(|host| &self.hosts[host.0].addresses);
        let nats = nats.iter().flat_map(|nat| self.nats[nat.0].nat.addresses());
        let island = hosts.chain(nats).copied().collect();
        self.partition = Some((island, self.now + duration));
    }

    pub(super) fn is_parted(&mut self, one: Ipv4Addr, other: Ipv4Addr) -> bool {
        if self.partition.as_ref().is_some_and(|(_, end)| *end <= self.now) {
            self.partition = None;
        }
        let island = self.partition.as_ref().map(|(island, _)| island);
        island.is_some_and(|island| island.contains(&one) != island.contains(&other))
    }

    /// How long each copy of a datagram at `place` takes on the access link of what is attached
    /// there. If it does not fit, its sender may be told.
    pub(super) fn cross(
        &mut self,
        (whose, way): (Attachment, Way),
        place: Place,
        datagram: &Datagram,
    ) -> impl Iterator<Item = Duration> + use<> {
        let lanes = match whose {
            Attachment::Host(HostId(host)) => &mut self.hosts[host].lanes,
            Attachment::Nat(NatId(nat)) => &mut self.nats[nat].lanes,
        };
        let crossing = lanes[way as usize].cross(&mut self.random, datagram.payload.len());
        let copies = match crossing {
            Crossing::Copies(copies) => copies,
            Crossing::TooLong(mtu) => {
                self.trace.end(self.now, datagram.from, End::TooLong);
                if mtu.tells {
                    self.complain(place, Problem::TooLong(mtu.bytes), ROUTER, datagram);
                }
                return [None; 2].into_iter().flatten();
            }
        };
        if copies == [None; 2] {
            self.trace.end(self.now, datagram.from, End::Lost);
        }
        copies.into_iter().flatten()
    }

    /// Tells the sender of a datagram at `place` what is wrong with it.
    pub(super) fn complain(
        &mut self,
        place: Place,
        problem: Problem,
        reporter: Ipv4Addr,
        datagram: &Datagram,
    ) {
        let payload_len = datagram.payload.len() as u16;
        let Datagram { from, to, .. } = *datagram;
        self.carry_error(place, IcmpError { problem, reporter, from, to, payload_len });
    }

    /// Carries an ICMP error that is at `place` to where it is next looked at. Links only delay it.
    fn carry_error(&mut self, place: Place, error: IcmpError) {
        match (self.attachments.get(&(place, *error.from.ip())).copied(), place) {
            (Some(Attachment::Host(host)), _) => {
                let delay = self.hosts[host.0].lanes[Way::In as usize].delay();
                self.queue.plan(self.now + delay, Arrival::HostError(host, error));
            }
            (Some(Attachment::Nat(nat)), _) => {
                let delay = self.nats[nat.0].lanes[Way::In as usize].delay();
                self.queue.plan(self.now + delay, Arrival::NatError(nat, error));
            }
            (None, Place::Behind(nat)) => self.pass_error_out(nat, error),
            (None, Place::Internet) => {}
        }
    }

    /// An error from inside a NAT about a datagram from outside.
    fn pass_error_out(&mut self, id: NatId, error: IcmpError) {
        let NatBox { nat, place, .. } = &mut self.nats[id.0];
        let Some(to) = nat.outbound_error(self.now, error.to, error.from) else { return };
        let (place, error) = (*place, IcmpError { to, reporter: *to.ip(), ..error });
        self.trace.error(self.now, Wire::Nat(id), error);
        self.carry_error(place, error);
    }

    /// An error from outside a NAT about a datagram from inside.
    pub(super) fn on_nat_error(&mut self, id: NatId, error: IcmpError) {
        self.trace.error(self.now, Wire::Nat(id), error);
        let nat = &mut self.nats[id.0].nat;
        if let Some(from) = nat.inbound_error(self.now, error.from, error.to) {
            self.carry_error(Place::Behind(id), IcmpError { from, ..error });
        }
    }

    /// No role hears of errors: the sockets of the engine do not either.
    pub(super) fn on_host_error(&mut self, host: HostId, error: IcmpError) {
        self.trace.error(self.now, Wire::Host(host), error);
        self.note(host, Happened::Error(error));
    }
}

/// Who speaks for a link.
const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
