//! How much a client holds, to be compared with what it may hold.

use crate::client::Client;

impl Client {
    /// Peers remembered; never more than [`Config::peers_max`](super::Config::peers_max).
    pub fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// Bytes of packets that wait, the stack's own and those of strangers together; never more than
    /// [`QUEUED_TOTAL_MAX`].
    pub fn queued_bytes(&self) -> usize {
        self.queued.used_bytes() + self.held.used_bytes()
    }
}

/// Bytes of packets that wait in one client at most.
pub const QUEUED_TOTAL_MAX: usize = super::QUEUED_BYTES_MAX + super::HELD_BYTES_MAX;
