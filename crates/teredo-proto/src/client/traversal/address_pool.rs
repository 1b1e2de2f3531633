//! Alternate-address pool (protocol section 6.4, L): behind a NAT with several external addresses
//! our packets leave from any of them. A peer whose NAT lets in whoever it has sent to is told of
//! all, sends to each, and so lets in whichever it turns out to be.
//!
//! The addresses are learnt from what the server sees of ports that nobody used before: two of its
//! addresses see two mappings of each. That ends when another address has become improbable, or at
//! [`PORTS_MAX`] ports.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use core::time::Duration;

use crate::client::Client;
use crate::client::outbox::Item;
use crate::client::qualification::is_symmetric;
use crate::client::traversal::sequential::EchoTest;
use crate::peers::PeerId;
use crate::role::{Event, Local, NatKind};
use crate::time::Instant;

/// What is known of our NAT's addresses.
#[derive(Debug, Default)]
pub(in crate::client) struct AddressPool {
    /// All that were seen.
    known: Vec<Ipv4Addr>,
    /// Mappings seen since the last new one.
    repeated: usize,
    /// Ports used to learn so far.
    ports: usize,
    /// When the next ones are due, while there is reason to learn.
    learn_at: Option<Instant>,
    /// Whom an indirect bubble is to go to once the first ones have told something.
    callees: Vec<Ipv6Addr>,
}

impl AddressPool {
    /// Takes what a server address saw of a new mapping.
    fn note(&mut self, address: Ipv4Addr) {
        if self.known.contains(&address) {
            self.repeated += 1;
        } else if self.known.len() < ADDRESSES_MAX {
            self.known.push(address);
            self.repeated = 0;
        }
    }

    /// Whether there are several.
    pub(in crate::client) fn is_plural(&self) -> bool {
        self.known.len() > 1
    }

    /// Whether one more address would have been seen by now, but for a chance of one in 1,000:
    /// `(k / (k + 1)) ^ n` for `n` mappings at `k` addresses.
    fn is_complete(&self) -> bool {
        self.known.len() >= ADDRESSES_MAX || self.repeated >= 7 * self.known.len() + 3
    }

    /// When to learn on.
    pub(in crate::client) fn next_deadline(&self) -> Option<Instant> {
        self.learn_at
    }
}

impl Client {
    /// Takes what a server address saw of a mapping that it had not seen before.
    pub(in crate::client) fn note_address(&mut self, now: Instant, seen: SocketAddrV4) {
        if !self.config.traversal.address_pool {
            return;
        }
        self.pool.note(*seen.ip());
        if self.pool.is_plural() && is_symmetric(self.nat_kind) {
            self.set_nat_kind(NatKind::AddressSymmetric);
            self.learn_addresses(now);
        }
    }

    /// Takes what both server addresses see of the service port.
    pub(in crate::client) fn note_mappings(&mut self, now: Instant, seen: [SocketAddrV4; 2]) {
        for seen in seen {
            self.note_address(now, seen);
        }
    }

    /// Begins to learn addresses, unless that is done: the NAT has several, or gives ports in an
    /// order in which it may give addresses as well.
    pub(in crate::client) fn learn_addresses(&mut self, now: Instant) {
        let pool = &mut self.pool;
        if self.config.traversal.address_pool && pool.learn_at.is_none() && pool.ports == 0 {
            pool.learn_at = Some(now);
            self.advance_address_pool(now);
        }
    }

    /// Asks for the next ports to learn from.
    pub(in crate::client) fn advance_address_pool(&mut self, now: Instant) {
        if self.pool.learn_at.is_none_or(|at| at > now) {
            return;
        }
        self.pool.learn_at = None;
        if self.pool.is_complete() || self.pool.ports >= PORTS_MAX || self.mapped().is_none() {
            return;
        }
        self.pool.learn_at = Some(now + ROUND);
        for _ in 0..PORTS_PER_ROUND {
            if let Some(number) = self.ports.insert(now, Ipv6Addr::UNSPECIFIED) {
                self.pool.ports += 1;
                self.events.push(Event::BindPort(Local::Random(number)));
            }
        }
    }

    /// Whether the indirect bubble to a peer has to wait for the first addresses; it follows.
    pub(super) fn waits_for_addresses(&mut self, id: PeerId) -> bool {
        let is_first = (1..=PORTS_PER_ROUND).contains(&self.pool.ports) && self.ports.has_unowned();
        if is_first && self.nat_kind == NatKind::AddressSymmetric {
            let peer = self.peers.address(id);
            let callees = &mut self.pool.callees;
            if !callees.contains(&peer) && callees.len() < CALLEES_MAX {
                callees.push(peer);
            }
            return callees.contains(&peer);
        }
        false
    }

    /// Asks both server addresses what they see of a port that is for no peer.
    pub(super) fn learn_from_port(&mut self, now: Instant, number: u16) {
        let servers = self.mapped().and_then(|_| Some([self.config.server, self.secondary()?]));
        let Some(servers) = servers else { return self.close_unowned_port(now, number) };
        let test = EchoTest::new(now, 1, true, &mut self.random);
        for (server, nonce) in servers.into_iter().zip(test.nonces) {
            let via = Local::Random(number);
            self.outbox.push(Item::Solicitation { server, via, nonce });
        }
        if let Some(port) = self.ports.find(number) {
            port.test = Some(test);
        }
    }

    /// Gives back a port that is for no peer.
    pub(super) fn close_unowned_port(&mut self, now: Instant, number: u16) {
        if self.ports.remove_number(number) {
            self.events.push(Event::ReleasePort(Local::Random(number)));
        }
        if !self.ports.has_unowned() {
            for peer in core::mem::take(&mut self.pool.callees) {
                if let Some(id) = self.peers.find(peer) {
                    self.call_prepared(now, id);
                }
            }
        }
    }

    /// Endpoints at the other addresses of our NAT, as many as there is room for: others each time,
    /// if not all fit. The port does not matter to whom this is for.
    pub(super) fn pool_alternates(&mut self, id: PeerId, room: usize) -> Vec<SocketAddrV4> {
        let Some(mapped) = self.mapped().filter(|_| self.config.traversal.address_pool) else {
            return Vec::new();
        };
        let others = self.pool.known.iter().filter(|address| *address != mapped.ip());
        let others: Vec<_> =
            others.map(|address| SocketAddrV4::new(*address, mapped.port())).collect();
        let turn = &mut self.peers[id].approach.pool_turn;
        let start = usize::from(*turn);
        if others.len() > room {
            *turn = turn.wrapping_add(room as u8) % others.len() as u8;
        }
        others.iter().cycle().skip(start).take(room.min(others.len())).copied().collect()
    }

    /// Whether the peer names addresses of its NAT that it had not named before: what it sent until
    /// now did not come through ours, which had not sent to them yet. Through a symmetric one it
    /// will not either. A helper's endpoint has another port.
    pub(super) fn names_pool(&self, id: PeerId, named: &[SocketAddrV4]) -> bool {
        let Some(peer) = self.teredo_peer(id) else { return false };
        let known = &self.peers[id].approach.alternates;
        !is_symmetric(self.nat_kind)
            && named.iter().any(|alternate| {
                alternate.ip() != peer.mapped.ip()
                    && alternate.port() == peer.mapped.port()
                    && self.is_reachable(*alternate)
                    && !known.contains(alternate)
            })
    }
}

/// More addresses than four attempts can name.
const ADDRESSES_MAX: usize = 16;
/// Ports that are used to learn, each for two mappings: half as many again as it takes to be sure
/// of four addresses.
const PORTS_MAX: usize = 32;
/// Ports at a time, of which each costs the server two answers.
const PORTS_PER_ROUND: usize = 8;
/// Time between them.
const ROUND: Duration = Duration::from_millis(200);
/// Peers that wait for the first addresses.
const CALLEES_MAX: usize = 64;
