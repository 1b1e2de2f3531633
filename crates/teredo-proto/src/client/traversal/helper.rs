//! Helper fallback: a peer that cannot be met otherwise is told, as one more endpoint of ours, that
//! of a helper which passes on to us what comes there (protocol section 6.4, R1). To the peer we
//! are then behind yet another NAT, a cone, so that any peer with symmetric NAT support and
//! hairpinning will do.
//!
//! Direct ways come first: the helper is named from the second bubble on, or at once to a peer that
//! was met through it before.

use core::net::SocketAddrV4;

use crate::client::Client;
use crate::client::peer::Path;
use crate::client::reception::Accepted;
use crate::peers::PeerId;
use crate::role::Local;
use crate::time::Instant;

impl Client {
    /// The helper's endpoint, if the next indirect bubble to the peer is to name it.
    pub(super) fn helper_to_name(&mut self, now: Instant, id: PeerId) -> Option<SocketAddrV4> {
        let approach = &mut self.peers[id].approach;
        let calls = approach.calls(now);
        let is_due = approach.was_helped || calls >= CALLS_WITHOUT;
        (approach.calls, approach.counted_at) = (calls.saturating_add(1), now);
        self.helper_endpoint(now).filter(|_| is_due && self.config.traversal.helper)
    }

    /// A way to the peer was found.
    pub(in crate::client) fn note_helped(&mut self, id: PeerId, path: Path) {
        let approach = &mut self.peers[id].approach;
        approach.calls = 0;
        approach.was_helped = path.via == Local::Helper;
    }

    /// Whether a way takes a detour: through our helper, or to an endpoint that the peer named and
    /// that is not on its own network, which may be its helper's.
    fn is_detour(&self, id: PeerId, from: SocketAddrV4, on: Local) -> bool {
        on == Local::Helper || (self.has_named(id, from) && self.config.filter.permits(*from.ip()))
    }

    /// Whether the peer has named that endpoint as one of its own.
    pub(super) fn has_named(&self, id: PeerId, endpoint: SocketAddrV4) -> bool {
        self.peers[id].approach.alternates.contains(&endpoint)
    }

    /// Notes a bubble with our nonce that came another way than the one in use. With a helper at
    /// either end each side may have found its own, and both serve.
    pub(in crate::client) fn note_other_way(
        &mut self,
        id: PeerId,
        accepted: &Accepted<'_>,
    ) -> bool {
        let Some(path) = self.peers[id].proven_path() else { return false };
        let is_other = self.is_detour(id, path.heard_at, path.via)
            || self.is_detour(id, accepted.from, accepted.on);
        if is_other {
            self.peers[id].approach.other_way = Some((accepted.from, accepted.on));
        }
        is_other
    }

    /// Whether a packet came that way while another one is in use.
    pub(in crate::client) fn is_other_way(
        &self,
        now: Instant,
        id: PeerId,
        accepted: &Accepted<'_>,
    ) -> bool {
        self.peers[id].route(now).is_some()
            && self.peers[id].approach.other_way == Some((accepted.from, accepted.on))
    }

    /// Whether a packet shows that the peer sends data a shorter way than ours: it does that only
    /// where it has heard us.
    pub(super) fn is_shortcut(&self, id: PeerId, path: Path, accepted: &Accepted<'_>) -> bool {
        !accepted.is_bubble()
            && self.is_detour(id, path.heard_at, path.via)
            && !self.is_detour(id, accepted.from, accepted.on)
    }
}

/// Indirect bubbles to a peer that do not name the helper.
const CALLS_WITHOUT: u8 = 1;
