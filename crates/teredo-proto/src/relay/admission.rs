//! Who may have a relay seek one more client, in fixed memory.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::limiter::{BucketSketch, Exhausted, Shares};
use crate::random::{Key, Seed};
use crate::relay::NewPeers;
use crate::time::Instant;

/// What remains of [`NewPeers`].
#[derive(Debug)]
pub(super) struct Admission(Shares<4>);

impl Admission {
    pub(super) fn new(limits: &NewPeers, seed: Seed) -> Self {
        let sketch = |rate, purpose: &[u8]| BucketSketch::new(rate, CELLS, Key::new(seed, purpose));
        let groups = [
            sketch(limits.per_link, b"new peers by link"),
            sketch(limits.per_site, b"new peers by site"),
            sketch(limits.per_network, b"new peers by network"),
            sketch(limits.per_server, b"new peers by server"),
        ];
        Self(Shares::new(groups, limits.total))
    }

    /// Admits a client of `server` that `native` has a packet for.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        native: Ipv6Addr,
        server: Ipv4Addr,
    ) -> Result<(), Exhausted> {
        let link = (native.to_bits() >> 64) as u64;
        self.0.take(now, [link, link >> 16, link >> 32, server.to_bits().into()])
    }
}

/// Cells in each row of each level, 64 KiB in all: 16 links use up what there is for everybody, and
/// cells are charged no faster than that.
const CELLS: usize = 1 << 10;
