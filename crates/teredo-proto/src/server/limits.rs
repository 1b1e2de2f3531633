//! How many solicitations are answered, in fixed memory.

use core::net::Ipv4Addr;

use crate::limiter::{BucketSketch, TokenBucket};
use crate::random::{Key, Seed};
use crate::reason::DropReason;
use crate::server::Limits;
use crate::time::Instant;

/// The levels of a server's [`Limits`].
#[derive(Debug)]
pub(super) struct AdvertisementLimits {
    by_source: BucketSketch,
    by_prefix: BucketSketch,
    all: TokenBucket,
}

impl AdvertisementLimits {
    pub(super) fn new(limits: &Limits, seed: Seed) -> Self {
        let source_key = Key::new(seed, b"advertisements by source");
        let prefix_key = Key::new(seed, b"advertisements by prefix");
        Self {
            by_source: BucketSketch::new(limits.per_source, SOURCE_CELLS, source_key),
            by_prefix: BucketSketch::new(limits.per_prefix, PREFIX_CELLS, prefix_key),
            all: TokenBucket::new(limits.total.per_s, limits.total.burst),
        }
    }

    /// Takes an answer to `source`, from the narrowest limit to the widest, so that one source
    /// that floods uses up its own share and not everybody's.
    pub(super) fn take(&mut self, now: Instant, source: Ipv4Addr) -> Result<(), DropReason> {
        let granted = self.by_source.take(now, source.to_bits())
            && self.by_prefix.take(now, source.to_bits() >> 8)
            && self.all.take(now);
        if granted { Ok(()) } else { Err(DropReason::RateLimit) }
    }
}

/// Cells in each row of the limit by source; 1 MiB in all. Only sources at their limit can be in
/// another one's way. At 256 answers a second each, 4,000 of them use up the limit of all, and even
/// then only one source in 280 is mistaken for one of them.
const SOURCE_CELLS: usize = 1 << 16;
/// Cells in each row of the limit by /24, of which a quarter as many use up the limit of all.
const PREFIX_CELLS: usize = SOURCE_CELLS / 4;
