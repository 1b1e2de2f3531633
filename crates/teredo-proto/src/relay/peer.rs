//! What a relay knows of one client.

use core::net::SocketAddrV4;

use crate::peers::{BubbleBudget, PEER_VALID, PacketQueue};
use crate::time::Instant;

/// A client that the native side has sent packets to.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) reach: Reach,
    pub(super) budget: BubbleBudget,
    /// Packets that wait for proof, or behind those that have waited for it.
    pub(super) queue: PacketQueue,
}

/// How a client is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reach {
    /// Bubbles are out; packets wait. The entry is not trusted.
    #[default]
    Sought,
    /// At this endpoint, from where it was heard last at this time. The entry is trusted.
    Proven { at: SocketAddrV4, heard_at: Instant },
    /// Not at all: the bubbles were not answered. What remains of the entry remembers how many
    /// there were, until it may be sought again (RFC 4380 sections 5.2.6 and 5.4.1).
    Lost,
}

impl Reach {
    /// Where packets may be sent now.
    pub(super) fn valid_endpoint(self, now: Instant) -> Option<SocketAddrV4> {
        match self {
            Self::Proven { at, heard_at } if now.since(heard_at) < PEER_VALID => Some(at),
            Self::Proven { .. } | Self::Sought | Self::Lost => None,
        }
    }

    /// Whether the client has been heard from `endpoint`, however long ago.
    pub(super) fn is_proven_at(self, endpoint: SocketAddrV4) -> bool {
        matches!(self, Self::Proven { at, .. } if at == endpoint)
    }
}
