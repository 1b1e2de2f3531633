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

/// Cells in each row of the limit by source. Only sources at their limit matter: at 256 answers a
/// second each, a thousand of them fill the limit of all, and then one source in 270 is mistaken
/// for one of them. 256 KiB in all, which stays in a processor's own cache.
const SOURCE_CELLS: usize = 1 << 14;
/// Cells in each row of the limit by /24, where a quarter as many can be at their limit.
const PREFIX_CELLS: usize = 1 << 12;
