//! Server load reduction (RFC 6081 section 5.7): a peer that was met before is asked directly
//! whether it is still there, and the servers only if it does not answer.

use core::time::Duration;

use teredo_wire::trailer::NeighborDiscovery;

use crate::client::Client;
use crate::client::peer::Search;
use crate::client::reception::Accepted;
use crate::peers::{ATTEMPT_GAP, PeerId};
use crate::time::Instant;

impl Client {
    /// Begins a search: with a question to the peer itself if it was met before, and through the
    /// servers as well if that was so long ago that its NAT may have forgotten us.
    pub(in crate::client) fn begin_teredo_search(&mut self, now: Instant, id: PeerId) {
        if !self.config.traversal.load_reduction || self.peers[id].proven_path().is_none() {
            return self.begin_bubbles(now, id);
        }
        let is_fresh = self.peers[id].is_heard_within(now, REMEMBERED);
        let skipped = if is_fresh { 0 } else { SOLICITATIONS_MAX - 1 };
        self.advance_solicitations(now, id, skipped);
    }

    /// Asks once more; the last time the search begins from nothing as well.
    pub(in crate::client) fn advance_solicitations(&mut self, now: Instant, id: PeerId, sent: u8) {
        let Some(path) = self.peers[id].proven_path() else { return self.begin_bubbles(now, id) };
        let sent = sent + 1;
        let is_last = sent >= SOLICITATIONS_MAX;
        let peer = &mut self.peers[id];
        peer.search = Search::Solicitations { sent };
        if peer.bubbles.is_exhausted(now) {
            return self.begin_bubbles(now, id);
        }
        if !peer.bubbles.take(now) {
            peer.search = Search::Solicitations { sent: sent - 1 };
            let allowed_at = peer.bubbles.allowed_at();
            return self.peers.set_deadline(id, Some(allowed_at));
        }
        self.peers.set_deadline(id, Some(now + ATTEMPT_GAP));
        self.counters.bubbles_sent += 1;
        let solicitation = Some(NeighborDiscovery::Solicitation);
        self.send_direct(now, id, (path.to, path.via), solicitation);
        if is_last {
            self.search_anew(now, id);
            self.approach(now, id);
        }
    }

    /// Answers a bubble that was accepted and asks whether we are there; `false` if it does not
    /// ask.
    pub(in crate::client) fn answer_solicitation(
        &mut self,
        now: Instant,
        id: PeerId,
        accepted: &Accepted<'_>,
    ) -> bool {
        let asks = accepted.trailers.neighbor_discovery == Some(NeighborDiscovery::Solicitation)
            && self.config.traversal.load_reduction;
        let Some(path) = self.peers[id].proven_path().filter(|_| asks) else { return false };
        let peer = &mut self.peers[id];
        if self.answers.take_for_peer(now, &mut peer.answers) {
            let advertisement = Some(NeighborDiscovery::Advertisement);
            self.send_direct(now, id, (path.to, path.via), advertisement);
            self.counters.bubbles_sent += 1;
        }
        true
    }
}

/// For how long a NAT remembers whom a host talked to, at the least (RFC 4787 section 4.3, REQ-5).
const REMEMBERED: Duration = Duration::from_secs(120);
/// Solicitations, of which the last one is accompanied by an indirect bubble (section 5.7.2).
const SOLICITATIONS_MAX: u8 = 3;
