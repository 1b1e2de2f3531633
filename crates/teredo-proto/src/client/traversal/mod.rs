//! Meeting peers through NATs: one module for each technique, those of RFC 6081 and those beyond,
//! and here the order in which they are tried.
//!
//! What can be tried at once is. One attempt sends direct bubbles to every endpoint at which the
//! peer may be and one indirect bubble through its server, which tells the peer all that it needs
//! to do the same: a nonce (`symmetric`), a port that our NAT will map another socket to
//! (`port_preserving` knows it, `peer_mapping` asks the gateway, `sequential` predicts it and
//! `deferred_open` leaves it shut until the peer has answered), other addresses of ours
//! (`hairpin`, `address_pool`). What costs others more comes with later attempts: the `helper`, and
//! `birthday` probing if both sides want it. The first way that works is kept. A peer that was met
//! before is asked directly first (`load_reduction`), and at its helper at once.
//!
//! What was learnt stays with the peer's entry, so that the next attempt begins with it.

mod address_pool;
mod birthday;
mod deferred_open;
mod hairpin;
mod helper;
mod load_reduction;
mod mapped;
mod peer_mapping;
mod port_preserving;
mod ports;
mod sequential;
mod switches;
mod symmetric;

use core::net::SocketAddrV4;
use core::time::Duration;

use teredo_wire::trailer::{Alternates, NeighborDiscovery};
use teredo_wire::{TEREDO_PORT, TeredoAddress};

pub(super) use self::address_pool::AddressPool;
pub(super) use self::birthday::Probing;
pub(super) use self::ports::RandomPorts;
pub use self::switches::{Traversal, UnknownTechnique};
pub(super) use self::symmetric::Guesses;
use crate::client::Client;
use crate::client::outbox::Trailers;
use crate::client::peer::{Path, Search, Trust};
use crate::client::reception::Accepted;
use crate::peers::{PEER_VALID, PeerId};
use crate::reason::DropReason;
use crate::role::Local;
use crate::time::Instant;

/// What is done to meet a peer, and what was learnt on the way.
#[derive(Debug, Default)]
pub(super) struct Approach {
    /// The nonce of our last indirect bubble: Nonce Sent.
    nonce_sent: Option<[u8; 4]>,
    /// That of the peer's last one: Nonce Received.
    nonce_received: Option<[u8; 4]>,
    /// Indirect bubbles of ours since the peer was last met, and when the last of them was counted.
    calls: u8,
    counted_at: Instant,
    /// Attempts of this search, whether or not something came from the peer.
    pub(super) attempts: u8,
    /// Whether it was last met through our helper.
    was_helped: bool,
    /// Where a bubble with our nonce came from, and on which socket, while another way was in use.
    other_way: Option<(SocketAddrV4, Local)>,
    /// When our last indirect bubble went out.
    called_at: Option<Instant>,
    /// When the last one was to go out, whether or not it was ready.
    wanted_at: Instant,
    /// Whether the peer has sent one, in this search or before.
    is_called: bool,
    /// When its last one came, if any.
    heard_call_at: Instant,
    /// Where our last direct bubble with the peer's nonce went.
    introduced: Option<(SocketAddrV4, Local)>,
    /// Whether a packet has come from the peer since then: bubbles also come from who does not know
    /// where we are.
    pub(super) is_answered: bool,
    /// How often it was repeated because of that.
    repeats: u8,
    /// A bubble came from another endpoint than the embedded one: Symmetric Peer.
    is_symmetric: bool,
    /// The peer reaches us, and whether we reach it is not known.
    pub(super) is_in_question: bool,
    random_port: RandomPort,
    /// Where our last direct bubble with the peer's nonce went from the random port: the peer may
    /// know us by that.
    random_way: Option<SocketAddrV4>,
    peer_random_port: Option<u16>,
    /// Other endpoints that the peer named.
    alternates: Box<[SocketAddrV4]>,
    /// When a packet of the stack was last sent: Last Data Packet Sent.
    pub(super) data_sent_at: Option<Instant>,
    /// Bubbles that kept the random port in use since then: Connection Refresh Count.
    refresh_count: u8,
    /// Which of the NAT's addresses the next indirect bubble begins with (`address_pool`).
    pool_turn: u8,
}

impl Approach {
    /// The next exchange begins: what the peer told long ago does not hold any more. Else the first
    /// bubbles would go there, and while they do, what it announces now would not count (RFC 6081
    /// section 5.4.4.4); and what one forged bubble said would stay where the peer announces none.
    pub(super) fn begin(&mut self, now: Instant) {
        if !self.is_called_lately(now) {
            (self.is_called, self.peer_random_port) = (false, None);
            if self.random_port == RandomPort::Unusable {
                self.random_port = RandomPort::None;
            }
        }
    }

    /// Whether the peer has sent an indirect bubble so short a time ago that what it was answered
    /// counts.
    fn is_called_lately(&self, now: Instant) -> bool {
        self.is_called && now.since(self.heard_call_at) < PEER_VALID
    }

    /// Indirect bubbles of ours in this search. Those of one that ended long ago tell nothing of a
    /// peer that has come back since.
    fn calls(&self, now: Instant) -> u8 {
        if now.since(self.counted_at) < PEER_VALID { self.calls } else { 0 }
    }

    /// Bytes that it allocates at most: the alternates.
    pub(super) const KEPT_BYTES: usize = Alternates::MAX * size_of::<SocketAddrV4>();

    /// Whether we have told the peer a nonce less than `period` ago.
    pub(super) fn is_called_within(&self, now: Instant, period: Duration) -> bool {
        self.nonce_sent.is_some() && self.called_at.is_some_and(|at| now.since(at) < period)
    }
}

/// A peer's random port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum RandomPort {
    #[default]
    None,
    /// This one.
    Held(u16),
    /// There is none to be had, or it cannot be predicted: it is done without.
    Unusable,
}

impl RandomPort {
    fn is_held(self) -> bool {
        matches!(self, Self::Held(_))
    }
}

impl Client {
    /// One attempt to meet a peer, for which its budget was charged.
    pub(super) fn approach(&mut self, now: Instant, id: PeerId) {
        self.send_openers(now, id);
        self.call(now, id);
    }

    /// The same in answer to an indirect bubble: with an indirect bubble of ours only as long as
    /// the peer is not trusted, and not twice in a second, so that no two clients keep each other
    /// busy (E-11).
    pub(super) fn approach_in_answer(&mut self, now: Instant, id: PeerId) {
        if self.peers[id].approach.is_in_question {
            self.peers[id].trust = Trust::Unproven; // it does not hear us
        }
        if let Some(path) = self.peers[id].route(now) {
            self.send_direct(now, id, (path.to, path.via), None);
            if self.peers[id].search != Search::Idle {
                self.settle(now, id, path);
            }
            return;
        }
        self.send_openers(now, id);
        let called_at = self.peers[id].approach.called_at;
        let may_call = called_at.is_none_or(|called_at| now.since(called_at) >= CALL_GAP);
        if may_call && self.uses_nonces() {
            self.call(now, id);
        }
    }

    /// Takes what the peer's indirect bubble tells. Whoever sends one has lost its way to us, so an
    /// old way from us to it counts no more.
    pub(super) fn learn_from_indirect(
        &mut self,
        now: Instant,
        id: PeerId,
        accepted: &Accepted<'_>,
    ) {
        if self.peers[id].route(now).is_none() {
            self.distrust(id);
        }
        if !self.peers[id].is_heard_within(now, PEER_VALID) {
            self.peers[id].approach.begin(now);
        }
        let approach = &mut self.peers[id].approach;
        (approach.is_called, approach.heard_call_at) = (true, now);
        self.learn_nonce(id, accepted.trailers.nonce);
        self.learn_random_port(now, id, accepted.trailers.random_port);
        self.learn_alternates(id, accepted);
        self.learn_birthday(now, id, accepted.trailers.birthday);
    }

    /// A search begins from nothing: no way is proven, and what was told long ago is no use.
    pub(in crate::client) fn search_anew(&mut self, now: Instant, id: PeerId) {
        self.peers[id].search = Search::Bubbles;
        self.distrust(id);
        self.peers[id].approach.begin(now);
        self.peers[id].approach.attempts = 0;
    }

    /// Forgets a way that leads nowhere any more, with the random port that it went through: that
    /// one is mapped for the old way, so that what it will be mapped for next cannot be told.
    fn distrust(&mut self, id: PeerId) {
        if let Some(path) = self.peers[id].proven_path()
            && (matches!(path.via, Local::Random(_)) || self.is_port_kept(id))
        {
            self.release_random_port(id);
        }
        self.peers[id].trust = Trust::Unproven;
    }

    /// Whether a packet from another endpoint than the proven one may change the way to its peer:
    /// only when the old one has not been used for a while (E-18; RFC 6081 section 5.4.4.5).
    pub(super) fn may_adopt(&mut self, now: Instant, id: PeerId, accepted: &Accepted<'_>) -> bool {
        let Some(path) = self.peers[id].proven_path() else { return true };
        if self.peers[id].approach.is_in_question && !self.shows_one_way_only(now, id, accepted) {
            return true;
        }
        if self.is_shortcut(id, path, accepted) {
            return true;
        }
        let is_idle = self.peers[id].is_idle(now);
        if path.via == Local::Helper || accepted.on == Local::Helper {
            return is_idle;
        }
        if !self.uses_random_ports() || !accepted.is_bubble() {
            return is_idle;
        }
        match (path.via, accepted.on) {
            (Local::Random(_), Local::Primary) if !self.has_named(id, accepted.from) => true,
            (Local::Primary, Local::Random(_)) if self.shows_use_of_kept_port(id, accepted) => true,
            (Local::Random(_), Local::Random(_)) => {
                self.lose_way(now, id);
                false
            }
            _ if is_idle => {
                self.lose_way(now, id);
                false
            }
            _ => false,
        }
    }

    /// The way to the peer is in doubt: both sides are to find it anew.
    fn lose_way(&mut self, now: Instant, id: PeerId) {
        self.peers[id].trust = Trust::Unproven;
        self.release_random_port(id);
        if self.peers[id].bubbles.take(now) {
            self.counters.bubbles_sent += 1;
            self.approach(now, id);
        }
    }

    /// The proven way after another packet came along it: a bubble on the service port shows that
    /// no random port is needed any more (RFC 6081 section 5.4.4.5), unless the peer then goes on
    /// sending to that.
    pub(super) fn path_after(&self, id: PeerId, path: Path, accepted: &Accepted<'_>) -> Path {
        if path.via == Local::Primary && self.shows_use_of_kept_port(id, accepted) {
            return accepted.path();
        }
        let on_primary = Path { via: Local::Primary, ..path };
        let is_better = accepted.is_bubble() && accepted.on == Local::Primary;
        if is_better && !self.is_one_way(on_primary) { on_primary } else { path }
    }

    /// Direct bubbles to wherever the peer may be: they open our NAT, and may get through.
    fn send_openers(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.teredo_peer(id) else { return };
        if self.has_closed_port(id) {
            return self.open_closed_port(now, id, &peer);
        }
        let is_in_question = self.peers[id].approach.is_in_question;
        let question = is_in_question.then_some(NeighborDiscovery::Solicitation);
        self.send_direct(now, id, (peer.mapped, Local::Primary), question);
        self.send_random_openers(now, id, &peer);
        // One to the peer's random port, or out of our own, be it to test it.
        let approach = &self.peers[id].approach;
        let has_port = approach.peer_random_port.is_some()
            || approach.random_port.is_held()
            || self.needs_random_port(id);
        self.send_alternate_openers(now, id, if has_port { 2 } else { 1 });
    }

    /// Sends an indirect bubble, now or when a random port is ready for it.
    fn call(&mut self, now: Instant, id: PeerId) {
        // Before a port is predicted: what goes to the helper for the first time takes one.
        self.need_helper(now);
        self.peers[id].approach.wanted_at = now;
        if self.has_random_port_ready(now, id) {
            self.send_indirect(now, id);
        }
    }

    /// Sends the indirect bubble that something was prepared for, unless it is too late: the host
    /// slept, the peer that called waits no more, and the attempt counts no more.
    fn call_prepared(&mut self, now: Instant, id: PeerId) {
        let wanted_at = self.peers[id].approach.wanted_at;
        if now.since(wanted_at) <= PREPARATION_MAX {
            self.peers[id].bubbles.prolong(wanted_at, now);
            self.send_indirect(now, id);
        } else {
            self.release_random_port(id);
        }
    }

    /// Sends an indirect bubble through the peer's server.
    fn send_indirect(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.teredo_peer(id) else { return };
        self.peers[id].approach.called_at = Some(now);
        let trailers = Trailers {
            nonce: self.next_nonce(id),
            random_port: self.ports.prediction(self.peers[id].approach.random_port),
            alternates: self.own_alternates(now, id),
            discovery: None,
            birthday: self.birthday_offer(id),
        };
        let server = SocketAddrV4::new(peer.server, TEREDO_PORT);
        self.send_bubble(now, (server, Local::Primary), peer.to_ipv6(), trailers);
    }

    /// Sends a direct bubble to the peer, with its nonce if it has told one.
    pub(super) fn send_direct(
        &mut self,
        now: Instant,
        id: PeerId,
        to: (SocketAddrV4, Local),
        discovery: Option<NeighborDiscovery>,
    ) {
        let address = self.peers.address(id);
        let approach = &mut self.peers[id].approach;
        let nonce = approach.nonce_received;
        if nonce.is_some() {
            if approach.introduced != Some(to) || approach.is_answered {
                approach.repeats = 0;
            }
            (approach.introduced, approach.is_answered) = (Some(to), false);
            if matches!(to.1, Local::Random(_)) {
                approach.random_way = Some(to.0);
            }
        }
        let random_port = match to.1 {
            Local::Random(_) => self.ports.prediction(approach.random_port),
            Local::Primary | Local::Secondary | Local::Helper | Local::Discovery => None,
        };
        let trailers = Trailers { nonce, random_port, discovery, ..Trailers::default() };
        self.peers[id].bubbles.note_transmission(now);
        self.send_bubble(now, to, address, trailers);
    }

    /// What a trailer of impossible length means (RFC 6081 section 5.6.4.2).
    pub(super) fn check_alternates(&self, accepted: &Accepted<'_>) -> Result<(), DropReason> {
        if self.config.traversal.hairpin && hairpin::has_bad_alternates(accepted) {
            return Err(DropReason::BadAlternates);
        }
        Ok(())
    }

    fn teredo_peer(&self, id: PeerId) -> Option<TeredoAddress> {
        TeredoAddress::parse(self.peers.address(id))
    }
}

/// Least time between two indirect bubbles to one peer of which the second one is an answer (E-11).
const CALL_GAP: Duration = Duration::from_secs(1);
/// What is prepared for an indirect bubble takes at most: two tests of one and two seconds
/// (RFC 6081 section 5.5.2.2), and the gateway's answer.
const PREPARATION_MAX: Duration = Duration::from_secs(4);
