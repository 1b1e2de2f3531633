//! What the client knows of a peer (RFC 4380 section 5.2.4).

use core::net::SocketAddrV4;
use core::time::Duration;
use std::collections::VecDeque;

use crate::client::echo::Probes;
use crate::client::outbox::Ticket;
use crate::client::traversal::Approach;
use crate::peers::{AnswerLimiter, BubbleBudget, PEER_VALID, PacketQueue, QueueBudget, QueueFull};
use crate::role::Local;
use crate::time::Instant;

/// One entry of the peer list.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) trust: Trust,
    pub(super) last_reception: Option<Instant>,
    pub(super) search: Search,
    /// What is done to meet it through NATs.
    pub(super) approach: Approach,
    pub(super) bubbles: BubbleBudget,
    pub(super) answers: AnswerLimiter,
    pub(super) probes: Probes,
    /// Packets of the stack that wait for the search to end.
    pub(super) waiting: PacketQueue,
    /// Where in the outbox the last packet is that had waited.
    pub(super) flushed: Ticket,
    /// Packets for the stack that wait for a proof.
    pub(super) held: HeldPackets,
}

/// Whether an IPv4 endpoint is known to lead to the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Trust {
    #[default]
    Unproven,
    Proven(Path),
}

/// A way to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// Where its packets come from.
    pub(super) heard_at: SocketAddrV4,
    /// Where ours go: almost always the same endpoint.
    pub(super) to: SocketAddrV4,
    /// The socket that both pass through.
    pub(super) via: Local,
}

impl Path {
    /// The way through the service port to an endpoint and back.
    pub(super) fn to(endpoint: SocketAddrV4) -> Self {
        Self { heard_at: endpoint, to: endpoint, via: Local::Primary }
    }

    /// Whether packets from that endpoint on that socket come this way. What the helper passes on
    /// may have come from where the peer is heard without it, too.
    pub(super) fn is_of(&self, from: SocketAddrV4, on: Local) -> bool {
        self.heard_at == from && (self.via == Local::Helper) == (on == Local::Helper)
    }
}

/// What is being done to find out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Search {
    #[default]
    Idle,
    /// Bubbles go to a Teredo peer.
    Bubbles,
    /// A peer that was met before is asked whether it is still there; this many times so far.
    Solicitations { sent: u8 },
    /// Echo requests go to a native one; this many so far.
    Echo { sent: u8 },
}

impl Peer {
    /// Bytes that an entry may allocate although no packet waits.
    pub(super) const IDLE_BYTES: usize = 3 * PacketQueue::IDLE_BYTES + Approach::KEPT_BYTES;

    /// The way that packets may go at once: the proven one of a valid entry.
    pub(super) fn route(&self, now: Instant) -> Option<Path> {
        self.proven_path().filter(|_| self.is_heard_within(now, PEER_VALID))
    }

    /// The same unless the peer cannot know us there yet: then what is sent waits with the rest,
    /// and does not hold up the bubbles that are to make us known.
    pub(super) fn open_route(&self, now: Instant) -> Option<Path> {
        self.route(now).filter(|_| self.search != Search::Bubbles)
    }

    /// The way that was proven last, be it long ago.
    pub(super) fn proven_path(&self) -> Option<Path> {
        match self.trust {
            Trust::Proven(path) => Some(path),
            Trust::Unproven => None,
        }
    }

    /// Whether neither side has sent anything directly for so long that another way may take the
    /// place of this one (RFC 6081 section 5.4.4.5, E-39).
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        !self.is_heard_within(now, PEER_VALID) && self.bubbles.is_silent_for(now, PEER_VALID)
    }

    /// Whether something came directly from the peer less than `period` ago.
    pub(super) fn is_heard_within(&self, now: Instant, period: Duration) -> bool {
        self.last_reception.is_some_and(|heard_at| now.since(heard_at) < period)
    }

    /// Whether nothing waits for this peer.
    pub(super) fn is_settled(&self) -> bool {
        self.search == Search::Idle && self.waiting.is_empty() && self.held.is_empty()
    }
}

/// From which endpoint something came, and on which socket.
type Way = (SocketAddrV4, Local);

/// Packets whose source is not proven, each with the way it came.
#[derive(Debug, Default)]
pub(super) struct HeldPackets {
    ways: VecDeque<Way>,
    packets: PacketQueue,
}

impl HeldPackets {
    /// Keeps a copy of a packet. The queue's limits are those of [`PacketQueue`].
    pub(super) fn push(
        &mut self,
        budget: &mut QueueBudget,
        way: Way,
        packet: &[u8],
    ) -> Result<(), QueueFull> {
        self.packets.push(budget, packet)?;
        self.ways.push_back(way);
        Ok(())
    }

    /// Takes the oldest packet.
    pub(super) fn pop(&mut self, budget: &mut QueueBudget) -> Option<(Way, Box<[u8]>)> {
        self.ways.pop_front().zip(self.packets.pop(budget))
    }

    /// Drops all packets and says how many they were.
    pub(super) fn clear(&mut self, budget: &mut QueueBudget) -> usize {
        self.ways.clear();
        self.packets.clear(budget)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}
