//! How much a server does for others, in fixed memory.

use core::net::Ipv4Addr;

use crate::limiter::{BucketSketch, Shares};
use crate::random::{Key, Seed};
use crate::reason::DropReason;
use crate::server::Budget;
use crate::time::Instant;

/// What remains of a [`Budget`].
#[derive(Debug)]
pub(crate) struct Purse(Shares<2>);

impl Purse {
    /// Bytes of one.
    pub(crate) const BYTES: usize = 2 * 8 * (SOURCE_CELLS + PREFIX_CELLS);

    /// A full one. `purpose` keeps it apart from others with the same seed.
    pub(crate) fn new(budget: &Budget, seed: Seed, purpose: &str) -> Self {
        let sketch = |rate, cells, group| {
            let key = Key::new(seed, format!("{purpose} by {group}").as_bytes());
            BucketSketch::new(rate, cells, key)
        };
        let by_source = sketch(budget.per_source, SOURCE_CELLS, "source");
        let by_prefix = sketch(budget.per_prefix, PREFIX_CELLS, "prefix");
        Self(Shares::new([by_source, by_prefix], budget.total))
    }

    /// Spends on something that `source` asks for.
    pub(crate) fn spend(&mut self, now: Instant, source: Ipv4Addr) -> Result<(), DropReason> {
        let (source, prefix) = (source.to_bits(), source.to_bits() >> 8);
        self.0.take(now, [source.into(), prefix.into()]).map_err(|_| DropReason::RateLimit)
    }
}

/// Cells in each row by source; 1 MiB in all. Only sources at their limit can be in another one's
/// way. At 256 answers a second each, 4,000 of them use up what there is for everybody, and even
/// then only one source in 280 is mistaken for one of them.
const SOURCE_CELLS: usize = 1 << 16;
/// Cells in each row by /24, of which a quarter as many use up the same.
const PREFIX_CELLS: usize = SOURCE_CELLS / 4;
