//! UPnP-enabled symmetric NAT (RFC 6081 section 5.3.4): a gateway keeps one endpoint for us that
//! all may send to, while our packets leave from others.

use teredo_wire::trailer::NeighborDiscovery;

use crate::client::Client;
use crate::client::peer::{Path, Search};
use crate::client::qualification::is_symmetric;
use crate::client::reception::Accepted;
use crate::peers::PeerId;
use crate::role::Local;
use crate::time::Instant;

impl Client {
    /// Where packets go along a way that one came: to the endpoint embedded in the peer's address,
    /// if both sides have such a gateway and it is the only NAT before us. A private endpoint is
    /// behind the same NAT as ours, and used as it is; so is one that the peer has named.
    pub(in crate::client) fn directed(&self, id: PeerId, path: Path) -> Path {
        let is_symmetric = self.peers[id].approach.is_symmetric;
        let is_beyond = path.via == Local::Primary
            && self.config.filter.permits(*path.heard_at.ip())
            && !self.has_named(id, path.heard_at);
        match self.teredo_peer(id) {
            Some(peer) if is_symmetric && is_beyond && self.is_kept() => {
                Path { to: peer.mapped, ..path }
            }
            Some(_) | None => path,
        }
    }

    /// A direct bubble came from another endpoint than the embedded one, be it acceptable or not.
    pub(in crate::client) fn note_symmetric_peer(&mut self, id: PeerId, accepted: &Accepted<'_>) {
        let is_its_own = accepted.on != Local::Helper && !self.has_named(id, accepted.from);
        if self.is_kept() && is_its_own {
            self.peers[id].approach.is_symmetric = true;
        }
    }

    /// Whether a bubble shows that the peer reaches us and not that we reach it: it came in by what
    /// the gateway keeps open, while our packets leave from ports that the peer's NAT may not let
    /// in (protocol section 6.4: confirm both directions, keep alternatives until then). Whoever
    /// asks for us or answers has heard us.
    ///
    /// Where there is no alternative, the bubble is taken for all that there will be, as RFC 6081
    /// has it; and so after [`QUESTIONS_MAX`] attempts, because old peers answer no questions.
    pub(in crate::client) fn shows_one_way_only(
        &self,
        now: Instant,
        id: PeerId,
        accepted: &Accepted<'_>,
    ) -> bool {
        accepted.is_plain_bubble()
            && self.is_one_way(accepted.path())
            && self.helper.is_some()
            && !self.has_named(id, accepted.from)
            && self.peers[id].approach.calls(now) < QUESTIONS_MAX
    }

    /// Takes a bubble that came one way, of a peer to which no way is known; `false` if that is
    /// not taken for a way. A peer that we seek is asked whether it hears us, now or, because it
    /// drops what comes without its nonce, when that is there; then with each attempt. One that
    /// seeks us will ask again if it does not.
    pub(in crate::client) fn take_one_way(
        &mut self,
        now: Instant,
        id: PeerId,
        accepted: &Accepted<'_>,
    ) -> bool {
        if self.peers[id].search != Search::Bubbles {
            self.peers[id].approach.is_in_question = true;
            return true;
        }
        let to = (self.directed(id, accepted.path()).to, Local::Primary);
        let approach = &mut self.peers[id].approach;
        let is_first = !core::mem::replace(&mut approach.is_in_question, true);
        let is_due = is_first && approach.nonce_received.is_some();
        if is_due && self.answers.take_for_peer(now, &mut self.peers[id].answers) {
            self.send_direct(now, id, to, Some(NeighborDiscovery::Solicitation));
            self.counters.bubbles_sent += 1;
        }
        false
    }

    /// Whether something that came along this way shows nothing of our way to the peer: the gateway
    /// lets all in, while our packets leave from ports that the peer's NAT may not let in.
    pub(super) fn is_one_way(&self, path: Path) -> bool {
        path.via == Local::Primary && self.is_kept()
    }

    /// Whether such a gateway is the only NAT before us, and a symmetric one.
    fn is_kept(&self) -> bool {
        self.explicit_mapping().is_some()
            && self.alternate_mapping().is_none()
            && is_symmetric(self.nat_kind)
            && self.config.traversal.mapped_symmetric
    }
}

/// Attempts in which a peer has to say that it hears us: in the second one the helper is named, and
/// where a NAT has several addresses there is one more.
const QUESTIONS_MAX: u8 = 4;
