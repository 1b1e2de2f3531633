//! Symmetric NAT support (RFC 6081 section 5.2): a peer is wherever a bubble with our nonce comes
//! from, and we are wherever ours comes from.

use core::net::Ipv4Addr;

use crate::client::Client;
use crate::client::peer::{Path, Search};
use crate::client::qualification::is_symmetric;
use crate::client::reception::Accepted;
use crate::limiter::{BucketSketch, Rate};
use crate::peers::{ATTEMPT_GAP, PeerId};
use crate::random::{Key, Seed};
use crate::reason::DropReason;
use crate::role::Local;
use crate::time::Instant;

/// Wrong nonces, by the IPv4 addresses they came from. Who guesses is soon not listened to; the
/// peer that is guessed at still is (protocol section 8.2).
#[derive(Debug)]
pub(in crate::client) struct Guesses(BucketSketch);

impl Guesses {
    /// Bytes that they take at most.
    pub(in crate::client) const MEMORY_MAX: usize = 2 * GUESS_CELLS * size_of::<u64>();

    pub(in crate::client) fn new(seed: Seed) -> Self {
        Self(BucketSketch::new(GUESSES, GUESS_CELLS, Key::new(seed, b"guesses")))
    }

    /// Whether a nonce from this address is looked at.
    fn permits(&self, now: Instant, from: Ipv4Addr) -> bool {
        self.0.has(now, from.to_bits().into())
    }

    /// Counts a wrong one.
    fn note(&mut self, now: Instant, from: Ipv4Addr) {
        self.0.take(now, from.to_bits().into());
    }
}

impl Client {
    /// The nonce for one more indirect bubble; only the last one counts (section 5.2.4.1).
    /// Hairpinning needs it as well (section 5.6.4.1).
    pub(super) fn next_nonce(&mut self, id: PeerId) -> Option<[u8; 4]> {
        if !self.uses_nonces() {
            return None;
        }
        let mut nonce = self.random.bytes();
        while nonce == [0; 4] {
            nonce = self.random.bytes(); // zero means none (E-37)
        }
        self.peers[id].approach.nonce_sent = Some(nonce);
        Some(nonce)
    }

    /// Stores the nonce of the peer's indirect bubble; without one there is none any more
    /// (section 5.2.4.3).
    pub(super) fn learn_nonce(&mut self, id: PeerId, nonce: Option<[u8; 4]>) {
        let nonce = nonce.filter(|nonce| self.uses_nonces() && *nonce != [0; 4]);
        let approach = &mut self.peers[id].approach;
        if approach.nonce_received != nonce {
            approach.nonce_received = nonce;
            approach.introduced = None;
        }
    }

    /// Whether a bubble carries the nonce of our last indirect one.
    pub(in crate::client) fn knows_nonce(&self, id: PeerId, accepted: &Accepted<'_>) -> bool {
        let sent = self.peers[id].approach.nonce_sent.filter(|_| self.uses_nonces());
        match (sent, accepted.trailers.nonce) {
            (Some(sent), Some(nonce)) => u32::from_ne_bytes(sent) ^ u32::from_ne_bytes(nonce) == 0,
            _ => false,
        }
    }

    /// The same of a bubble from where nothing else speaks for it: there it could be a guess.
    ///
    /// # Errors
    /// [`DropReason::RateLimit`] if that was tried too often from its IPv4 address.
    pub(in crate::client) fn shows_nonce(
        &mut self,
        now: Instant,
        id: PeerId,
        accepted: &Accepted<'_>,
    ) -> Result<bool, DropReason> {
        if self.peers[id].approach.nonce_sent.is_none() || accepted.trailers.nonce.is_none() {
            return Ok(false);
        }
        let from = *accepted.from.ip();
        if !self.guesses.permits(now, from) {
            return Err(DropReason::RateLimit);
        }
        let is_known = self.knows_nonce(id, accepted);
        if !is_known {
            self.guesses.note(now, from);
        }
        Ok(is_known)
    }

    /// Makes sure, before packets go along a new way, that the peer takes them from where they will
    /// seem to come from; `false` if that cannot be told it yet. Then the packets wait.
    pub(in crate::client) fn introduce(&mut self, now: Instant, id: PeerId, path: Path) -> bool {
        let Path { to, via, .. } = path;
        let peer = &self.peers[id];
        if peer.search != Search::Bubbles || peer.approach.introduced == Some((to, via)) {
            return true;
        }
        if self.is_plain(path) || !self.uses_nonces() {
            return true;
        }
        if peer.approach.nonce_received.is_none() {
            return false;
        }
        self.send_direct(now, id, (to, via), None);
        self.counters.bubbles_sent += 1;
        true
    }

    /// Shows a peer where we are once more, when a packet is about to go there and none has come
    /// since the last time: that bubble may have got lost, and then all our packets are. Or it was
    /// a later nonce of the peer that got lost: so the peer is called as well.
    pub(in crate::client) fn introduce_again(&mut self, now: Instant, id: PeerId, path: Path) {
        let peer = &mut self.peers[id];
        let (approach, to) = (&mut peer.approach, (path.to, path.via));
        let is_in_doubt = !approach.is_answered && approach.introduced == Some(to);
        let is_late = approach.called_at.is_none_or(|at| now.since(at) >= ATTEMPT_GAP);
        if is_in_doubt
            && is_late
            && approach.repeats < REPEATS_MAX
            && peer.bubbles.take_amid_data(now)
        {
            peer.approach.repeats += 1;
            self.ask_from_kept_port(now, id);
            self.send_direct(now, id, to, None);
            self.send_indirect(now, id);
            self.counters.bubbles_sent += 1;
        }
    }

    /// Shows a peer whose bubble has just arrived that we are where we are. It may not know yet:
    /// its NAT or ours swallowed what we sent before, or its nonce was not there.
    pub(in crate::client) fn confirm(&mut self, now: Instant, id: PeerId, path: Path) {
        let to = (path.to, path.via);
        let (is_plain, is_probing) = (self.is_plain(path), self.is_probing(id));
        let peer = &mut self.peers[id];
        let is_granted = is_probing
            || peer.bubbles.take(now)
            || (peer.approach.nonce_received.is_some()
                && (!is_plain || peer.approach.introduced != Some(to))
                && self.answers.take_for_peer(now, &mut peer.answers));
        if is_granted {
            self.send_direct(now, id, to, None);
            self.counters.bubbles_sent += 1;
        }
    }

    /// Whether our packets seem to come from our embedded endpoint along this way, so that it takes
    /// no nonce for the peer to take them.
    fn is_plain(&self, path: Path) -> bool {
        path.via == Local::Primary
            && !is_symmetric(self.nat_kind)
            && self.config.filter.permits(*path.to.ip())
    }

    /// Whether bubbles carry nonces: hairpinning needs them as well (section 5.6.4.1).
    pub(super) fn uses_nonces(&self) -> bool {
        self.config.traversal.symmetric || self.config.traversal.hairpin
    }
}

/// How often a bubble that makes us known is repeated: with the first time as often as all attempts
/// (RFC 4380 section 5.2.6).
const REPEATS_MAX: u8 = 3;

/// Wrong nonces that are looked at from one IPv4 address: a carrier NAT's may have several peers
/// behind it whose bubbles came late, but none that gets anywhere with guesses out of 2^32.
const GUESSES: Rate = Rate { per_s: 1, burst: 16 };
/// Cells in each row for them, 128 KiB in all: only who forges as many addresses at once, each over
/// and over, can have others refused.
const GUESS_CELLS: usize = 1 << 13;
