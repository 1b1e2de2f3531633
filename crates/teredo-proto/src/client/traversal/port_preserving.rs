//! Port-preserving symmetric NAT (RFC 6081 section 5.4): the first mapping of a local port gets the
//! same number outside, so a fresh port for each peer can be announced before it is used.

use core::net::{Ipv6Addr, SocketAddrV4};

use teredo_wire::TeredoAddress;
use teredo_wire::trailer::NeighborDiscovery;

use crate::client::Client;
use crate::client::peer::{Search, Trust};
use crate::client::reception::Accepted;
use crate::client::traversal::RandomPort;
use crate::client::traversal::ports::REFRESH_TIMER;
use crate::peers::{Class, PeerId};
use crate::role::{Event, Local, NatKind};
use crate::time::Instant;

impl Client {
    /// Whether our NAT is one that random ports help against: one address, for that is where the
    /// peer looks for the port. One that does not preserve ports is presumed to give them in
    /// sequence (section 3.4).
    pub(super) fn uses_random_ports(&self) -> bool {
        let traversal = &self.config.traversal;
        self.nat_kind == NatKind::PortSymmetric
            && traversal.port_preserving
            && (traversal.sequential || self.is_port_preserving())
    }

    /// Whether the NAT gave the service port its own number: the flag Port-Preserving.
    pub(super) fn is_port_preserving(&self) -> bool {
        self.mapped().is_some_and(|mapped| mapped.port() == self.config.service_port)
    }

    /// Whether an indirect bubble may go out now: there is a random port to announce, or none is
    /// needed, or none is to be had. Otherwise one is being prepared, and the bubble follows.
    pub(super) fn has_random_port_ready(&mut self, now: Instant, id: PeerId) -> bool {
        if self.waits_for_addresses(id) {
            return false;
        }
        match self.peers[id].approach.random_port {
            RandomPort::Unusable => true,
            RandomPort::Held(number) => self.ports.find(number).is_none_or(|port| port.is_ready()),
            RandomPort::None if self.needs_random_port(id) => !self.ask_for_random_port(now, id, 0),
            RandomPort::None => true,
        }
    }

    pub(super) fn needs_random_port(&self, id: PeerId) -> bool {
        self.uses_random_ports() && self.peers[id].trust == Trust::Unproven
    }

    /// Asks the host for a port, after so many tests of others; `false` if there are as many as may
    /// be.
    pub(super) fn ask_for_random_port(&mut self, now: Instant, id: PeerId, tries: u8) -> bool {
        let peer = self.peers.address(id);
        let number = match self.ports.insert(now, peer) {
            Some(number) => Some(number),
            None => {
                self.give_up_a_random_port(id);
                self.ports.insert(now, peer)
            }
        };
        let Some(number) = number else {
            self.peers[id].approach.random_port = RandomPort::Unusable;
            return false;
        };
        if let Some(port) = self.ports.find(number) {
            port.tries = tries;
        }
        self.peers[id].approach.random_port = RandomPort::Held(number);
        self.events.push(Event::BindPort(Local::Random(number)));
        true
    }

    /// Gives back the port that the host gave, and asks for another one: the NAT may still map it
    /// to where an earlier socket sent, so that neither its number nor a test tells what it will be
    /// mapped to.
    fn ask_for_another_port(&mut self, now: Instant, id: PeerId, tries: u8) {
        self.release_random_port(id);
        if !self.ask_for_random_port(now, id, tries) {
            self.call_prepared(now, id);
        }
    }

    /// Takes the host's answer.
    pub(in crate::client) fn random_port_bound(
        &mut self,
        now: Instant,
        local: Local,
        local_port: Option<u16>,
    ) {
        let Local::Random(number) = local else { return };
        if self.probing_port_bound(now, number, local_port) {
            return;
        }
        let is_fresh = local_port.is_none_or(|port| self.ports.note_local_port(port));
        let is_port_preserving = self.is_port_preserving();
        let Some(port) = self.ports.find(number) else { return };
        if port.peer.is_unspecified() {
            return match local_port {
                Some(_) => self.learn_from_port(now, number),
                None => self.close_unowned_port(now, number),
            };
        }
        let Some(id) = self.peers.find(port.peer) else { return };
        let tries = port.tries;
        let Some(local_port) = local_port else {
            let _ = self.ports.remove(self.peers.address(id));
            self.peers[id].approach.random_port = RandomPort::Unusable;
            return self.call_prepared(now, id);
        };
        if !is_fresh {
            return self.ask_for_another_port(now, id, tries);
        }
        (port.is_bound, port.local_port) = (true, local_port);
        if !is_port_preserving {
            return self.test_random_port(now, id, tries);
        }
        port.prediction = Some(local_port);
        if let Some(peer) = self.teredo_peer(id) {
            self.send_random_openers(now, id, &peer);
        }
        self.call_prepared(now, id);
    }

    /// Direct bubbles that have to do with random ports, ours or the peer's (section 5.4.4.3,
    /// E-19).
    ///
    /// A client without a random port of its own answers from the service port: its NAT is no
    /// symmetric one. The first packet of a random port decides where it is mapped for, so it goes
    /// to the peer's embedded endpoint only once the peer has shown that it has no random port.
    pub(super) fn send_random_openers(&mut self, now: Instant, id: PeerId, peer: &TeredoAddress) {
        let approach = &self.peers[id].approach;
        let own = match approach.random_port {
            RandomPort::Held(number) => {
                let is_bound = self.ports.find(number).is_some_and(|port| port.is_bound);
                if !is_bound {
                    return;
                }
                Some(Local::Random(number))
            }
            RandomPort::None if self.needs_random_port(id) => return,
            RandomPort::None | RandomPort::Unusable => None,
        };
        let approach = &self.peers[id].approach;
        match (approach.peer_random_port, own) {
            (Some(port), own) if self.config.traversal.port_preserving => {
                let to = SocketAddrV4::new(*peer.mapped.ip(), port);
                self.send_direct(now, id, (to, own.unwrap_or(Local::Primary)), None);
            }
            (None, Some(own)) if approach.is_called => {
                self.send_direct(now, id, (peer.mapped, own), None);
            }
            _ => {}
        }
    }

    /// The peer that a random port is there for.
    pub(in crate::client) fn owner_of_port(&self, number: u16) -> Option<Ipv6Addr> {
        self.ports.owner(number).or_else(|| self.probing.owner(number))
    }

    /// Keeps room for a port that probing may find; `false` if there is none.
    pub(super) fn reserve_random_port(&mut self, id: PeerId) -> bool {
        self.ports.is_one_reserved = true;
        if self.ports.is_full() {
            self.give_up_a_random_port(id);
        }
        self.ports.is_one_reserved = !self.ports.is_full();
        self.ports.is_one_reserved
    }

    /// Stores the port that the peer announces, unless a way that may depend on the old one was
    /// used lately (section 5.4.4.4).
    pub(super) fn learn_random_port(&mut self, now: Instant, id: PeerId, port: Option<u16>) {
        let Some(port) = port.filter(|&port| port != 0 && self.config.traversal.port_preserving)
        else {
            return;
        };
        let known = self.peers[id].approach.peer_random_port;
        if known == Some(port) || (known.is_some() && !self.peers[id].is_idle(now)) {
            return;
        }
        if known.is_some() && self.is_port_preserving() {
            self.release_random_port(id);
        }
        self.peers[id].approach.peer_random_port = Some(port);
    }

    /// The peer is reached without the random port. If it may have come to know us by that, before
    /// or instead, it will stay with it (E-18): then the port is kept until the peer sends packets
    /// to the service port, or to this one (protocol section 6.4: keep alternatives until
    /// confirmed).
    pub(in crate::client) fn leave_random_port(&mut self, id: PeerId) {
        match self.peers[id].approach.random_port {
            RandomPort::Held(number) if self.peers[id].approach.random_way.is_some() => {
                self.end_port_test(number);
            }
            RandomPort::Held(_) | RandomPort::None | RandomPort::Unusable => {
                self.release_random_port(id);
            }
        }
    }

    /// A random port is in use, or may be: what it is mapped to does not matter any more.
    pub(in crate::client) fn end_port_test(&mut self, number: u16) {
        let Some(port) = self.ports.find(number) else { return };
        port.test = None;
        if let Some(mapping) = &mut port.mapping {
            mapping.due_at = None;
        }
    }

    /// Whether a random port is held beside a way that does without it.
    pub(super) fn is_port_kept(&self, id: PeerId) -> bool {
        let approach = &self.peers[id].approach;
        let path = self.peers[id].proven_path();
        approach.random_way.is_some() && path.is_some_and(|path| path.via == Local::Primary)
    }

    /// Whether a packet shows that the peer uses a random port that is kept: bubbles alone go to
    /// wherever we may be.
    pub(super) fn shows_use_of_kept_port(&self, id: PeerId, accepted: &Accepted<'_>) -> bool {
        matches!(accepted.on, Local::Random(_))
            && self.is_port_kept(id)
            && (!accepted.is_bubble() || accepted.is_advertisement())
    }

    /// A packet came along the proven way: if that is the service port, the peer uses it.
    pub(in crate::client) fn confirm_service_port(&mut self, id: PeerId, accepted: &Accepted<'_>) {
        let shows_use = !accepted.is_bubble() || accepted.is_advertisement();
        if shows_use && accepted.on == Local::Primary && self.is_port_kept(id) {
            self.release_random_port(id);
        }
    }

    /// Asks, from a random port that is kept, whether the peer knows us by that.
    pub(super) fn ask_from_kept_port(&mut self, now: Instant, id: PeerId) {
        let approach = &self.peers[id].approach;
        let known = (approach.introduced, approach.repeats);
        if let (Some(to), RandomPort::Held(number)) = (approach.random_way, approach.random_port)
            && self.is_port_kept(id)
        {
            let question = Some(NeighborDiscovery::Solicitation);
            self.send_direct(now, id, (to, Local::Random(number)), question);
            let approach = &mut self.peers[id].approach;
            (approach.introduced, approach.repeats) = known;
        }
    }

    /// The peer needs no random port any more.
    pub(in crate::client) fn release_random_port(&mut self, id: PeerId) {
        self.peers[id].approach.random_way = None;
        if self.peers[id].approach.random_port != RandomPort::None {
            self.peers[id].approach.random_port = RandomPort::None;
            self.close_random_port(self.peers.address(id));
        }
    }

    /// The same when the peer's entry is gone.
    pub(in crate::client) fn close_random_port(&mut self, peer: Ipv6Addr) {
        if let Some(port) = self.ports.remove(peer) {
            if let Some(mapping) = port.mapping {
                let (local_port, remote) = (port.local_port, mapping.remote);
                self.events.push(Event::UnmapPeer { local_port, remote });
            }
            self.events.push(Event::ReleasePort(Local::Random(port.number)));
        }
    }

    /// Does what has become due about random ports.
    pub(in crate::client) fn advance_random_ports(&mut self, now: Instant) {
        while let Some(number) = self.ports.overdue_test(now) {
            self.random_port_test_failed(now, number);
        }
        while let Some(number) = self.ports.overdue_mapping(now) {
            self.peer_mapping_failed(now, number);
        }
        if self.ports.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.ports.refresh_at = now + REFRESH_TIMER;
            for (peer, number) in self.ports.list() {
                if let Some(id) = self.peers.find(peer) {
                    self.refresh_random_port(now, id, number);
                }
            }
        }
    }

    /// Keeps an idle way through a random port open for ten minutes (section 5.4.2.1).
    fn refresh_random_port(&mut self, now: Instant, id: PeerId, number: u16) {
        let peer = &mut self.peers[id];
        let is_way = |via| via == Local::Random(number);
        let path = peer.proven_path().filter(|path| is_way(path.via));
        let is_in_use =
            peer.approach.data_sent_at.is_some_and(|sent_at| now.since(sent_at) < REFRESH_TIMER);
        match path {
            Some(_) if is_in_use => peer.approach.refresh_count = 0,
            Some(path) if peer.approach.refresh_count < REFRESHES_MAX => {
                peer.approach.refresh_count += 1;
                self.send_direct(now, id, (path.to, path.via), None);
                self.counters.bubbles_sent += 1;
            }
            // The peer may be on its way to it, and takes no other one (section 5.4.4.4).
            None if peer.search != Search::Idle || peer.approach.is_called_lately(now) => {}
            None if peer.proven_path().is_some() => self.release_random_port(id),
            Some(_) | None => {
                peer.trust = Trust::Unproven;
                self.release_random_port(id);
            }
        }
    }

    /// Makes room: the port goes that was asked for first and whose peer is reached without, or has
    /// neither been met nor is being looked for. Strangers make us ask for ports; those that were
    /// met by them, too, make room for whom our side asks for, as in the peer list.
    fn give_up_a_random_port(&mut self, for_whom: PeerId) {
        let ports = self.ports.list().into_iter();
        let ids: Vec<_> = ports.filter_map(|(peer, _)| self.peers.find(peer)).collect();
        let first = |is_it: &dyn Fn(PeerId) -> bool| ids.iter().copied().find(|&id| is_it(id));
        let of_class = |class| first(&|id| self.peers.class(id) == class);
        let is_ours = matches!(self.peers.class(for_whom), Class::Sought | Class::Protected);
        let needless = first(&|id| {
            let peer = &self.peers[id];
            let is_idle = peer.trust == Trust::Unproven && peer.search == Search::Idle;
            is_idle || self.is_port_kept(id)
        });
        let strangers = || of_class(Class::Stranger).or_else(|| of_class(Class::Guest));
        let Some(id) = needless.or_else(|| strangers().filter(|_| is_ours)) else { return };
        let path = self.peers[id].proven_path();
        if path.is_some_and(|path| matches!(path.via, Local::Random(_))) {
            self.peers[id].trust = Trust::Unproven;
        }
        self.release_random_port(id);
    }
}

/// Bubbles without data that keep a way open (section 5.4.2.1).
const REFRESHES_MAX: u8 = 20;
