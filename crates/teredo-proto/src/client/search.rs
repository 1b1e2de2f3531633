//! Finding out where a peer is: bubbles for Teredo peers (RFC 4380 section 5.2.6), the direct IPv6
//! connectivity test for all others (section 5.2.9).

use core::net::Ipv6Addr;

use teredo_wire::address::is_teredo;
use teredo_wire::icmpv6::ErrorMessage;
use teredo_wire::ipv6::Ipv6;

use crate::client::Client;
use crate::client::discovery::Neighbours;
use crate::client::echo::PROBES_MAX;
use crate::client::outbox::Item;
use crate::client::peer::{Peer, Search, Trust};
use crate::peers::{ATTEMPT_GAP, Class, PeerId};
use crate::reason::DropReason;
use crate::role::Event;
use crate::time::Instant;

impl Client {
    /// Adds a peer, about which nothing is proven.
    pub(super) fn add_peer(
        &mut self,
        now: Instant,
        address: Ipv6Addr,
        class: Class,
    ) -> Result<PeerId, DropReason> {
        let inserted = self.peers.insert(now, address, class, Peer::default());
        let inserted = inserted.map_err(|_| DropReason::PeerListFull)?;
        if let Some((address, mut evicted)) = inserted.evicted {
            self.close_random_port(address);
            self.drop_kept(&mut evicted);
            self.evicted.keep(now, address, evicted.bubbles);
        }
        self.peers[inserted.id].bubbles = self.evicted.take(address);
        Ok(inserted.id)
    }

    /// Makes sure that a search for the peer is under way; `false` when its attempts are used up
    /// for now.
    pub(super) fn begin_search(&mut self, now: Instant, id: PeerId) -> bool {
        if self.peers[id].search != Search::Idle {
            return true;
        }
        self.peers.adopt(id);
        self.peers.touch(now, id);
        if is_teredo(self.peers.address(id)) {
            if self.peers[id].bubbles.is_exhausted(now) {
                return false;
            }
            self.begin_teredo_search(now, id);
        } else {
            self.peers[id].search = Search::Echo { sent: 0 };
            self.advance_echo(now, id, 0);
        }
        true
    }

    /// Continues or ends the searches that have become due.
    pub(super) fn advance_searches(&mut self, now: Instant) {
        while let Some(id) = self.peers.pop_due(now) {
            match self.peers[id].search {
                Search::Bubbles => self.advance_bubbles(now, id),
                Search::Solicitations { sent } => self.advance_solicitations(now, id, sent),
                Search::Echo { sent } => self.advance_echo(now, id, sent),
                Search::Idle => self.drop_held(id),
            }
        }
    }

    /// Starts an echo test ahead of time when a native peer in use falls silent, so that a flow in
    /// one direction does not stop when the entry becomes invalid.
    pub(super) fn renew_proof(&mut self, now: Instant, id: PeerId) {
        if !is_teredo(self.peers.address(id)) && self.peers[id].probes.may_send(now) {
            self.send_probe(now, id);
        }
    }

    /// Sends an echo request to the peer through the own server.
    pub(super) fn send_probe(&mut self, now: Instant, id: PeerId) {
        let Some(source) = self.address() else { return };
        let destination = self.peers.address(id);
        let probe = self.peers[id].probes.next(now, &self.echo_key, source, destination);
        let to = self.config.server_endpoint();
        self.send(now, Item::EchoRequest { to, source, destination, probe });
    }

    /// Forgets what was proven about all peers. Their bubble limits stay.
    pub(super) fn distrust_all(&mut self) {
        self.neighbours = Neighbours::default();
        self.end_probing(None);
        for id in self.peers.ids() {
            self.peers.expose(id);
            self.peers.set_deadline(id, None);
            self.release_random_port(id);
            let mut kept = core::mem::take(&mut self.peers[id]);
            self.drop_kept(&mut kept);
            let Peer { bubbles, answers, .. } = kept;
            self.peers[id] = Peer { bubbles, answers, ..Peer::default() };
        }
    }

    /// Searches as if the peer had never been met.
    pub(super) fn begin_bubbles(&mut self, now: Instant, id: PeerId) {
        self.search_anew(now, id);
        self.advance_bubbles(now, id);
    }

    /// One more attempt: direct bubbles, which open our NAT, then an indirect one, which makes the
    /// peer answer.
    fn advance_bubbles(&mut self, now: Instant, id: PeerId) {
        let route = self.peers[id].route(now);
        // A peer that answers and does not call knows us already: its answers make the budget new,
        // and a search that waited for its nonce would not end.
        let is_known = route.is_some() && self.peers[id].approach.attempts >= ATTEMPTS_MAX;
        let bubbles = &mut self.peers[id].bubbles;
        if is_known || bubbles.is_exhausted(now) {
            return match route {
                Some(path) => self.settle(now, id, path),
                None if self.is_probing(id) => {
                    self.peers.set_deadline(id, Some(now + ATTEMPT_GAP));
                }
                None => self.give_up(now, id),
            };
        }
        if !bubbles.take(now) {
            let allowed_at = bubbles.allowed_at();
            return self.peers.set_deadline(id, Some(allowed_at));
        }
        let is_repeated = bubbles.is_repeated();
        let attempts = &mut self.peers[id].approach.attempts;
        *attempts = attempts.saturating_add(1);
        self.peers.set_deadline(id, Some(now + ATTEMPT_GAP));
        self.counters.bubbles_sent += 1;
        // A neighbour gets its bubbles on the link. It may have left: repeated ones go both ways.
        if !self.approach_neighbour(now, id) || is_repeated {
            self.approach(now, id);
        }
    }

    /// One more echo request, of which `sent` went out in this search.
    fn advance_echo(&mut self, now: Instant, id: PeerId, sent: u8) {
        let is_overdue = self.peers[id].probes.may_send(now);
        if is_overdue && sent == PROBES_MAX {
            return self.give_up(now, id);
        }
        if is_overdue {
            self.send_probe(now, id);
            self.peers[id].search = Search::Echo { sent: sent + 1 };
        }
        let answer_due = self.peers[id].probes.answer_due();
        self.peers.set_deadline(id, answer_due);
    }

    /// Nothing came from the peer in time.
    fn give_up(&mut self, now: Instant, id: PeerId) {
        self.events.push_peer(Event::PeerUnreachable(self.peers.address(id)));
        self.peers[id].search = Search::Idle;
        self.peers[id].trust = Trust::Unproven;
        self.release_random_port(id);
        self.peers.expose(id);
        while let Some(packet) = self.peers[id].waiting.pop(&mut self.queued) {
            self.counters.count_drop(DropReason::PeerUnreachable);
            if let Ok((packet, _)) = Ipv6::parse(&packet) {
                self.complain(now, &packet, ErrorMessage::AddressUnreachable);
            }
        }
        self.drop_held(id);
    }

    fn drop_held(&mut self, id: PeerId) {
        for _ in 0..self.peers[id].held.clear(&mut self.held) {
            self.counters.count_drop(DropReason::UnprovenPeer);
        }
    }

    /// Drops what was kept for a peer that is no more.
    fn drop_kept(&mut self, peer: &mut Peer) {
        for _ in 0..peer.waiting.clear(&mut self.queued) {
            self.counters.count_drop(DropReason::PeerUnreachable);
        }
        for _ in 0..peer.held.clear(&mut self.held) {
            self.counters.count_drop(DropReason::UnprovenPeer);
        }
    }
}

/// Attempts of one search while the peer answers: as many as without an answer (RFC 4380 section
/// 5.2.6).
const ATTEMPTS_MAX: u8 = 4;
