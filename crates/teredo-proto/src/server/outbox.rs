//! Answers that wait to be sent.

use core::net::SocketAddrV4;

use teredo_wire::{NoSpace, Writer};

use crate::keys::{IDENTIFIER_LEN_MAX, MAC_LEN_MAX};
use crate::reason::DropReason;
use crate::role::{Local, Transmit};

/// A row of slots, filled from the front, drained from the front, and begun anew when empty: under
/// the contract of [`Role`](crate::Role) the same few slots are used again and again, and nothing
/// is allocated.
#[derive(Debug)]
pub(crate) struct Outbox<const SLOT_LEN: usize = ANSWER_LEN_MAX> {
    slots: Box<[Slot<SLOT_LEN>]>,
    drained: usize,
    filled: usize,
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// A datagram.
    Datagram { to: SocketAddrV4, via: Local },
    /// The native IPv6 side.
    Native,
}

impl<const SLOT_LEN: usize> Default for Outbox<SLOT_LEN> {
    fn default() -> Self {
        let slot = Slot { target: Target::Native, len: 0, bytes: [0; SLOT_LEN] };
        Self { slots: vec![slot; SLOTS].into(), drained: 0, filled: 0 }
    }
}

impl<const SLOT_LEN: usize> Outbox<SLOT_LEN> {
    /// Bytes of its slots.
    pub(crate) const BYTES: usize = SLOTS * size_of::<Slot<SLOT_LEN>>();

    /// Adds what `write` writes.
    pub(crate) fn push(
        &mut self,
        target: Target,
        write: impl FnOnce(&mut Writer<'_>) -> Result<(), NoSpace>,
    ) -> Result<(), DropReason> {
        let slot = self.slots.get_mut(self.filled).ok_or(DropReason::QueueFull)?;
        let mut writer = Writer::new(&mut slot.bytes);
        write(&mut writer).map_err(|NoSpace| DropReason::TooLarge)?;
        slot.len = writer.len();
        slot.target = target;
        self.filled += 1;
        Ok(())
    }

    /// Moves the oldest answer into `buffer`.
    pub(crate) fn pop(&mut self, buffer: &mut [u8]) -> Option<Transmit> {
        if self.drained == self.filled {
            (self.drained, self.filled) = (0, 0);
            return None;
        }
        let Slot { target, len, ref bytes } = self.slots[self.drained];
        buffer.get_mut(..len)?.copy_from_slice(&bytes[..len]);
        self.drained += 1;
        Some(match target {
            Target::Datagram { to, via } => Transmit::Datagram { to, via, len },
            Target::Native => Transmit::Packet { len },
        })
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot<const LEN: usize> {
    target: Target,
    len: usize,
    bytes: [u8; LEN],
}

/// The longest answer: a Router Advertisement behind a full origin indication and an authentication
/// with the longest identifier and MAC. What is forwarded is shorter.
const ANSWER_LEN_MAX: usize = (13 + IDENTIFIER_LEN_MAX + MAC_LEN_MAX) + 8 + 96;
/// Answers that wait at most: several of the largest batches that are read at once.
const SLOTS: usize = 256;
