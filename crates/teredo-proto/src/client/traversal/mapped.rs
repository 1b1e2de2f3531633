//! UPnP-enabled symmetric NAT (RFC 6081 section 5.3.4): a gateway keeps one endpoint for us that
//! all may send to, while our packets leave from others.

use crate::client::Client;
use crate::client::peer::Path;
use crate::client::qualification::is_symmetric;
use crate::client::reception::Accepted;
use crate::peers::PeerId;
use crate::role::Local;

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

    /// Whether such a gateway is the only NAT before us, and a symmetric one.
    fn is_kept(&self) -> bool {
        self.explicit_mapping().is_some()
            && self.alternate_mapping().is_none()
            && is_symmetric(self.nat_kind)
            && self.config.traversal.mapped_symmetric
    }
}
