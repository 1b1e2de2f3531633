//! What the client knows of a peer (RFC 4380 section 5.2.4).

use core::net::SocketAddrV4;
use core::time::Duration;
use std::collections::VecDeque;

use crate::client::discovery::Neighbour;
use crate::client::echo::Probes;
use crate::client::outbox::Ticket;
use crate::peers::{AnswerLimiter, BubbleBudget, PEER_VALID, PacketQueue, QueueBudget, QueueFull};
use crate::time::Instant;

/// One entry of the peer list.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) trust: Trust,
    pub(super) last_reception: Option<Instant>,
    pub(super) search: Search,
    /// Where it is if it is on our link.
    pub(super) neighbour: Option<Neighbour>,
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
    Proven(SocketAddrV4),
}

/// What is being done to find out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Search {
    #[default]
    Idle,
    /// Bubbles go to a Teredo peer.
    Bubbles,
    /// Echo requests go to a native one; this many so far.
    Echo { sent: u8 },
}

impl Peer {
    /// Bytes that an entry may allocate for packets although none waits.
    pub(super) const IDLE_BYTES: usize = 3 * PacketQueue::IDLE_BYTES;

    /// Where packets may go at once: the proven endpoint of a valid entry.
    pub(super) fn route(&self, now: Instant) -> Option<SocketAddrV4> {
        match self.trust {
            Trust::Proven(endpoint) if self.is_heard_within(now, PEER_VALID) => Some(endpoint),
            Trust::Proven(_) | Trust::Unproven => None,
        }
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

/// Packets whose source is not proven, each with the endpoint it came from.
#[derive(Debug, Default)]
pub(super) struct HeldPackets {
    endpoints: VecDeque<SocketAddrV4>,
    packets: PacketQueue,
}

impl HeldPackets {
    /// Keeps a copy of a packet. The queue's limits are those of [`PacketQueue`].
    pub(super) fn push(
        &mut self,
        budget: &mut QueueBudget,
        from: SocketAddrV4,
        packet: &[u8],
    ) -> Result<(), QueueFull> {
        self.packets.push(budget, packet)?;
        self.endpoints.push_back(from);
        Ok(())
    }

    /// Takes the oldest packet.
    pub(super) fn pop(&mut self, budget: &mut QueueBudget) -> Option<(SocketAddrV4, Box<[u8]>)> {
        self.endpoints.pop_front().zip(self.packets.pop(budget))
    }

    /// Drops all packets and says how many they were.
    pub(super) fn clear(&mut self, budget: &mut QueueBudget) -> usize {
        self.endpoints.clear();
        self.packets.clear(budget)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}
