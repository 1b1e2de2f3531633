//! Token buckets: one, or one for each of very many keys.

use core::fmt;

use crate::random::Key;
use crate::time::Instant;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Times a second on average, 1 at least.
    pub per_s: u32,
    /// Times at once, 1 at least.
    pub burst: u32,
}

/// Lets through `rate` things a second on average and `burst` at once.
#[derive(Clone, Debug)]
pub(crate) struct TokenBucket {
    pace: Pace,
    level: Level,
}

impl TokenBucket {
    /// A full bucket. `rate_per_s` is at least 1.
    pub(crate) fn new(rate_per_s: u32, burst: u32) -> Self {
        let rate = Rate { per_s: rate_per_s, burst };
        Self { pace: Pace::new(rate), level: Level::default() }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.level.take(self.pace, now)
    }
}

/// A token bucket for each of very many keys, in fixed memory: a sketch.
///
/// A key has one cell in each of two rows, chosen by a hash that others cannot compute. It gets a
/// token if either cell has one, and is charged to both. A key alone in one of its cells is judged
/// by that cell exactly, so another key is treated too strictly only if both of its cells are used
/// up by others: with `n` keys at their limit, one in `(cells / n)`². No key is ever treated too
/// generously, since its fuller cell is charged for each token it gets.
#[derive(Clone)]
pub(crate) struct BucketSketch {
    pace: Pace,
    hash_key: Key,
    rows: [Box<[Level]>; 2],
}

impl BucketSketch {
    /// Full buckets, `cells` in each row; 8 bytes a cell.
    pub(crate) fn new(rate: Rate, cells: usize, hash_key: Key) -> Self {
        let row = || vec![Level::default(); cells.max(1)].into_boxed_slice();
        Self { pace: Pace::new(rate), hash_key, rows: [row(), row()] }
    }

    /// Takes a token of `key`, if there is one.
    pub(crate) fn take(&mut self, now: Instant, key: u32) -> bool {
        let hash = self.hash_key.hash(&key.to_be_bytes());
        let mut granted = false;
        for (row, position) in self.rows.iter_mut().zip([hash as u64, (hash >> 64) as u64]) {
            let cell = (position % row.len() as u64) as usize;
            granted |= row[cell].take(self.pace, now);
        }
        granted
    }
}

impl fmt::Debug for BucketSketch {
    /// Shows the cells in use only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        map.entry(&"pace", &self.pace);
        for row in &self.rows {
            map.entries(row.iter().enumerate().filter(|(_, level)| level.0 != 0));
        }
        map.finish()
    }
}

/// A [`Rate`] in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Time that one token takes to come back.
    interval_ns: u64,
    /// Time that all tokens take to come back.
    tolerance_ns: u64,
}

impl Pace {
    fn new(rate: Rate) -> Self {
        let interval_ns = NANOS_PER_S / u64::from(rate.per_s.max(1));
        Self { interval_ns, tolerance_ns: interval_ns * u64::from(rate.burst.max(1)) }
    }
}

/// How full a bucket is: the nanosecond at which it will be full again.
#[derive(Clone, Copy, Debug, Default)]
struct Level(u64);

impl Level {
    fn take(&mut self, pace: Pace, now: Instant) -> bool {
        let now = now.as_nanos();
        let next = self.0.max(now).saturating_add(pace.interval_ns);
        let granted = next - now <= pace.tolerance_ns;
        if granted {
            self.0 = next;
        }
        granted
    }
}

const NANOS_PER_S: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const START: Instant = Instant::from_nanos(NANOS_PER_S);

    #[test]
    fn gives_the_burst_then_the_rate() {
        let mut bucket = TokenBucket::new(10, 3);
        let granted = |bucket: &mut TokenBucket, now| (0..9).filter(|_| bucket.take(now)).count();
        assert_eq!(granted(&mut bucket, START), 3);
        assert_eq!(granted(&mut bucket, START + Duration::from_millis(100)), 1);
        assert_eq!(granted(&mut bucket, START + Duration::from_secs(9)), 3);
    }

    #[test]
    fn the_end_of_time_does_no_harm() {
        let mut bucket = TokenBucket::new(10, 3);
        assert!(bucket.take(Instant::from_nanos(u64::MAX)));
    }

    #[test]
    fn no_key_gets_more_than_its_rate_however_crowded_the_sketch() {
        let rate = Rate { per_s: 10, burst: 3 };
        let mut sketch = BucketSketch::new(rate, 4, Key::new([7; 32], b"test"));
        let mut granted = [0; 64];
        for tenth in 0..100 {
            let now = START + Duration::from_millis(100) * tenth;
            for round in 0..640 {
                let key = (round * 7 + tenth) % 64;
                granted[key as usize] += usize::from(sketch.take(now, key));
            }
        }
        assert!(granted.iter().all(|&count| count <= 3 + 99), "{granted:?}");
    }

    #[test]
    fn a_thousand_keys_at_their_limit_leave_almost_all_others_alone() {
        let rate = Rate { per_s: 1, burst: 4 };
        let mut sketch = BucketSketch::new(rate, 16_384, Key::new([7; 32], b"test"));
        for key in 0..1000 {
            assert!((0..5).filter(|_| sketch.take(START, key)).count() <= 4);
        }
        let refused = (1000..11_000).filter(|&key| !sketch.take(START, key)).count();
        assert!(refused < 100, "{refused} of 10,000 others were refused");
    }
}
