//! How much is still passed on.

use crate::helper::Capacity;
use crate::limiter::TokenBucket;
use crate::time::Instant;

/// What remains of a [`Capacity`].
#[derive(Clone, Debug)]
pub(super) struct Allowance {
    bytes: TokenBucket,
    packets: TokenBucket,
}

impl Allowance {
    pub(super) fn new(capacity: Capacity) -> Self {
        let bucket = |rate: crate::Rate| TokenBucket::new(rate.per_s, rate.burst);
        Self { bytes: bucket(capacity.bytes), packets: bucket(capacity.packets) }
    }

    /// Whether a datagram of `len` bytes may pass.
    pub(super) fn has(&self, now: Instant, len: usize) -> bool {
        self.bytes.has_many(now, cost(len)) && self.packets.has_many(now, 1)
    }

    /// Lets one pass for which there is enough.
    pub(super) fn take(&mut self, now: Instant, len: usize) {
        self.bytes.take_many(now, cost(len));
        self.packets.take(now);
    }
}

fn cost(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
