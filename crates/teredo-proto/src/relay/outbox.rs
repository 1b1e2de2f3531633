//! What a relay has to send, but for the packets that wait with their peers.

use core::net::{Ipv6Addr, SocketAddrV4};
use std::collections::VecDeque;

use teredo_wire::icmpv6::ErrorMessage;
use teredo_wire::ipv6::Header;
use teredo_wire::{NoSpace, Writer};

use crate::role::{Local, Transmit};

/// Bubbles and ICMPv6 errors, oldest first; both are written when they are taken.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bubbles: VecDeque<Bubble>,
    errors: VecDeque<PendingError>,
}

/// A bubble to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bubble {
    pub(super) to: SocketAddrV4,
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
}

/// An ICMPv6 error to send to the native side.
#[derive(Debug)]
pub(super) struct PendingError {
    pub(super) error: ErrorMessage,
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
    pub(super) offending: Box<[u8]>,
}

impl Outbox {
    /// Whether further bubbles have to wait.
    pub(super) fn is_full(&self) -> bool {
        self.bubbles.len() >= BUBBLES_MAX
    }

    pub(super) fn push_bubble(&mut self, bubble: Bubble) {
        self.bubbles.push_back(bubble);
    }

    pub(super) fn push_error(&mut self, error: PendingError) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push_back(error);
        }
    }

    pub(super) fn pop_bubble(&mut self, buffer: &mut [u8]) -> Option<Transmit> {
        let Bubble { to, source, destination } = self.bubbles.pop_front()?;
        let write = |writer: &mut Writer<'_>| Header::bubble(source, destination).write(writer);
        let len = written(buffer, write)?;
        Some(Transmit::Datagram { to, via: Local::Primary, len })
    }

    pub(super) fn pop_error(&mut self, buffer: &mut [u8]) -> Option<Transmit> {
        let PendingError { error, source, destination, offending } = self.errors.pop_front()?;
        let write = |writer: &mut Writer<'_>| error.write(writer, source, destination, &offending);
        Some(Transmit::Packet { len: written(buffer, write)? })
    }
}

/// The length of what `write` writes; `None` if the caller's buffer is shorter than the contract
/// of [`Role`](crate::Role) has it.
fn written(
    buffer: &mut [u8],
    write: impl FnOnce(&mut Writer<'_>) -> Result<(), NoSpace>,
) -> Option<usize> {
    let mut writer = Writer::new(buffer);
    write(&mut writer).ok()?;
    Some(writer.len())
}

/// Bubbles that wait to be sent at most: several of the largest batches. Peers whose turn it is
/// keep it until there is room.
const BUBBLES_MAX: usize = 1024;
/// ICMPv6 errors that wait to be sent at most; their rate is limited before.
const ERRORS_MAX: usize = 64;
