//! Packets that wait until it is known where their peer is (RFC 4380 sections 5.2.4 and 5.4.1).

use std::collections::VecDeque;

/// The packets that wait for one peer, in the order they came.
///
/// A full queue refuses the *newest* packet: those that came first are the handshake the peer has
/// to see first, and their senders will repeat the later ones. A queue must be emptied through
/// [`pop`](Self::pop) or [`clear`](Self::clear) before it is dropped, or its bytes stay charged.
#[derive(Debug, Default)]
pub(crate) struct PacketQueue {
    packets: VecDeque<Box<[u8]>>,
    len_bytes: usize,
}

/// Bytes that wait in many queues together.
#[derive(Debug)]
pub(crate) struct QueueBudget {
    used_bytes: usize,
    limit_bytes: usize,
}

/// The queue, or all queues together, hold as much as they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueFull;

impl PacketQueue {
    /// Bytes that an empty queue may keep, beside its budget: places for packets.
    pub(crate) const IDLE_BYTES: usize = PEER_PACKETS_MAX * size_of::<Box<[u8]>>() + 16;

    /// Appends a copy of `packet`.
    ///
    /// # Errors
    /// [`QueueFull`]; nothing changes then.
    pub(crate) fn push(
        &mut self,
        budget: &mut QueueBudget,
        packet: &[u8],
    ) -> Result<(), QueueFull> {
        let len_bytes = self.len_bytes + packet.len();
        if self.packets.len() >= PEER_PACKETS_MAX || len_bytes > PEER_BYTES_MAX {
            return Err(QueueFull);
        }
        budget.charge(packet.len() + PACKET_OVERHEAD_BYTES)?;
        self.len_bytes = len_bytes;
        self.packets.push_back(packet.into());
        Ok(())
    }

    /// Takes the packet that has waited longest.
    pub(crate) fn pop(&mut self, budget: &mut QueueBudget) -> Option<Box<[u8]>> {
        let packet = self.packets.pop_front()?;
        self.len_bytes -= packet.len();
        budget.release(packet.len() + PACKET_OVERHEAD_BYTES);
        Some(packet)
    }

    /// Drops all packets and says how many they were.
    pub(crate) fn clear(&mut self, budget: &mut QueueBudget) -> usize {
        budget.release(self.len_bytes + self.packets.len() * PACKET_OVERHEAD_BYTES);
        let Self { packets, .. } = core::mem::take(self);
        packets.len()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}

impl QueueBudget {
    /// A budget of which nothing is used.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { used_bytes: 0, limit_bytes }
    }

    /// What is charged.
    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Charges for a packet that is kept outside of a peer's queue.
    ///
    /// # Errors
    /// [`QueueFull`] when all kept packets would exceed the limit; nothing changes then.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), QueueFull> {
        if self.used_bytes + bytes > self.limit_bytes {
            return Err(QueueFull);
        }
        self.used_bytes += bytes;
        Ok(())
    }

    /// Gives back what was charged.
    pub(crate) fn release(&mut self, bytes: usize) {
        self.used_bytes -= bytes;
    }
}

/// Packets that wait for one peer at most: a few handshakes started at once.
const PEER_PACKETS_MAX: usize = 8;
/// Bytes that wait for one peer at most: as many full packets, with room to spare.
const PEER_BYTES_MAX: usize = 16 * 1024;
/// Bytes that keeping a packet costs beside its own: its place in a queue, and what the allocator
/// adds. Without them a flood of small packets would take several times what the budget says.
const PACKET_OVERHEAD_BYTES: usize = 48;
