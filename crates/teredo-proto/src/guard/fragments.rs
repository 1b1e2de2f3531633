//! Packets in several parts of which the first was let in.

use core::net::Ipv6Addr;
use core::time::Duration;

use crate::random::{Key, Seed};
use crate::time::Instant;

/// What all fragments of one packet have in common (RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Train {
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
    pub(super) identification: u32,
}

/// The packets whose later fragments may come in, in fixed memory.
///
/// A later fragment says neither port nor type: the first one decides for all, and what overtakes
/// it is lost. Each packet has one cell, by a hash that others cannot compute, and takes it from
/// whichever was there. That costs the other one a retransmission, and only those who may send us
/// something can cause it.
#[derive(Debug)]
pub(super) struct Trains {
    hash_key: Key,
    cells: Box<[Cell]>,
}

impl Trains {
    /// Bytes that they take, always.
    pub(super) const MEMORY: usize = CELLS * size_of::<Cell>();

    pub(super) fn new(seed: Seed) -> Self {
        Self { hash_key: Key::new(seed, b"fragments"), cells: vec![None; CELLS].into() }
    }

    /// The first fragment was let in.
    pub(super) fn note_first(&mut self, now: Instant, train: Train) {
        let cell = self.cell(&train);
        self.cells[cell] = Some((train, now));
    }

    /// Whether the first fragment was let in lately.
    pub(super) fn contains(&self, now: Instant, train: &Train) -> bool {
        self.cells[self.cell(train)]
            .is_some_and(|(known, since)| known == *train && now.since(since) < TRAIN_LIFE)
    }

    fn cell(&self, train: &Train) -> usize {
        let mut bytes = [0; 36];
        bytes[..16].copy_from_slice(&train.source.octets());
        bytes[16..32].copy_from_slice(&train.destination.octets());
        bytes[32..].copy_from_slice(&train.identification.to_be_bytes());
        self.hash_key.hash(&bytes) as usize % CELLS
    }
}

/// A packet, and when its first fragment came in.
type Cell = Option<(Train, Instant)>;

/// Packets of which fragments are on their way at a time: many more than a link with an MTU of
/// 1,280 bytes should see.
const CELLS: usize = 256;
/// How long the fragments of a packet take at most (RFC 8200 section 4.5).
const TRAIN_LIFE: Duration = Duration::from_mins(1);
