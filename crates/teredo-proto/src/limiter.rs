//! Token buckets: one, one for each of very many keys, or several levels of these.

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

    /// Whether there is a token.
    pub(crate) fn has(&self, now: Instant) -> bool {
        self.has_many(now, 1)
    }

    /// Whether there are `count` tokens. More than the burst there never are.
    pub(crate) fn has_many(&self, now: Instant, count: u32) -> bool {
        self.level.next_many(self.pace, now, count).is_some()
    }

    /// Takes `count` tokens, if there are as many.
    pub(crate) fn take_many(&mut self, now: Instant, count: u32) -> bool {
        let next = self.level.next_many(self.pace, now, count);
        self.level = next.unwrap_or(self.level);
        next.is_some()
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
    /// Cells in each row.
    cells: usize,
    rows: [Row; 2],
}

/// The cells of a row, in pages that are there from the first token taken on: of a large sketch few
/// are in use before somebody floods it.
type Row = Box<[Option<Box<[Level; CELLS_PER_PAGE]>>]>;

impl BucketSketch {
    /// Full buckets, `cells` in each row; 8 bytes a cell in the end.
    pub(crate) fn new(rate: Rate, cells: usize, hash_key: Key) -> Self {
        let cells = cells.max(1);
        let row = || vec![None; cells.div_ceil(CELLS_PER_PAGE)].into_boxed_slice();
        Self { pace: Pace::new(rate), hash_key, cells, rows: [row(), row()] }
    }

    /// Whether there is a token for `key`.
    pub(crate) fn has(&self, now: Instant, key: u64) -> bool {
        self.has_at(now, self.cells(key))
    }

    /// Takes a token for `key`, if there is one.
    pub(crate) fn take(&mut self, now: Instant, key: u64) -> bool {
        self.take_at(now, self.cells(key))
    }

    /// The cell of `key` in each row.
    fn cells(&self, key: u64) -> [usize; 2] {
        let hash = self.hash_key.hash(&key.to_be_bytes());
        let len = self.cells as u64;
        [hash as u64, (hash >> 64) as u64].map(|position| (position % len) as usize)
    }

    fn has_at(&self, now: Instant, cells: [usize; 2]) -> bool {
        let mut levels = self.rows.iter().zip(cells).map(|(row, cell)| {
            let page = row[cell / CELLS_PER_PAGE].as_ref();
            page.map_or(Level::default(), |page| page[cell % CELLS_PER_PAGE])
        });
        levels.any(|level| level.next(self.pace, now).is_some())
    }

    fn take_at(&mut self, now: Instant, cells: [usize; 2]) -> bool {
        let mut granted = false;
        for (row, cell) in self.rows.iter_mut().zip(cells) {
            let page = row[cell / CELLS_PER_PAGE].get_or_insert_with(|| Box::new(EMPTY_PAGE));
            granted |= page[cell % CELLS_PER_PAGE].take(self.pace, now);
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
            for (number, page) in row.iter().enumerate() {
                let levels = page.iter().flat_map(|page| page.iter()).enumerate();
                let used = levels.filter(|(_, level)| level.0 != 0);
                map.entries(used.map(|(cell, level)| (number * CELLS_PER_PAGE + cell, level)));
            }
        }
        map.finish()
    }
}

/// The share that each group of keys may have of something, at `N` levels, and how much there is
/// for everybody.
///
/// A token is taken at every level or at none. So who is refused uses up nobody's share, and cells
/// are charged no faster than tokens are given, however many keys somebody makes up.
#[derive(Clone, Debug)]
pub(crate) struct Shares<const N: usize> {
    groups: [BucketSketch; N],
    all: TokenBucket,
}

/// What is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    /// The share of one of the asker's groups.
    Share,
    /// What there is for everybody.
    All,
}

impl<const N: usize> Shares<N> {
    pub(crate) fn new(groups: [BucketSketch; N], total: Rate) -> Self {
        Self { groups, all: TokenBucket::new(total.per_s, total.burst) }
    }

    /// Takes a token for somebody with this key at each level.
    ///
    /// # Errors
    /// What is used up; nothing is taken then.
    pub(crate) fn take(&mut self, now: Instant, keys: [u64; N]) -> Result<(), Exhausted> {
        let mut cells = [[0; 2]; N];
        for ((cells, group), key) in cells.iter_mut().zip(&self.groups).zip(keys) {
            *cells = group.cells(key);
            if !group.has_at(now, *cells) {
                return Err(Exhausted::Share);
            }
        }
        if !self.all.has(now) {
            return Err(Exhausted::All);
        }
        for (group, cells) in self.groups.iter_mut().zip(cells) {
            group.take_at(now, cells);
        }
        self.all.take(now);
        Ok(())
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
        let next = self.next(pace, now);
        *self = next.unwrap_or(*self);
        next.is_some()
    }

    /// The level without a token, if there is one.
    fn next(self, pace: Pace, now: Instant) -> Option<Self> {
        self.next_many(pace, now, 1)
    }

    /// The same without `count` tokens.
    fn next_many(self, pace: Pace, now: Instant, count: u32) -> Option<Self> {
        let now = now.as_nanos();
        let taken = pace.interval_ns.saturating_mul(count.into());
        let next = self.0.max(now).saturating_add(taken);
        (next - now <= pace.tolerance_ns).then_some(Self(next))
    }
}

const NANOS_PER_S: u64 = 1_000_000_000;

/// Four kilobytes of them.
const CELLS_PER_PAGE: usize = 512;
const EMPTY_PAGE: [Level; CELLS_PER_PAGE] = [Level(0); CELLS_PER_PAGE];

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
                let key = (round * 7 + u64::from(tenth)) % 64;
                granted[key as usize] += u32::from(sketch.take(now, key));
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

    fn shares(total: Rate) -> Shares<2> {
        let group = |per_s, purpose| {
            BucketSketch::new(Rate { per_s, burst: per_s }, 1024, Key::new([7; 32], purpose))
        };
        Shares::new([group(4, b"narrow"), group(16, b"wide")], total)
    }

    #[test]
    fn whoever_is_refused_at_one_level_uses_up_no_other() {
        let mut shares = shares(Rate { per_s: 20, burst: 20 });
        let mut taken = |keys| (0..99).filter(|_| shares.take(START, keys).is_ok()).count();
        assert_eq!(taken([1, 0]), 4);
        assert_eq!(taken([2, 0]), 4, "the first one's refusals cost its neighbours nothing");
        assert_eq!((3..99).map(|narrow| taken([narrow, 0])).sum::<usize>(), 16 - 8);
        assert_eq!(taken([99, 0]), 0);
        assert_eq!(taken([99, 1]), 4, "refused as one of group 0 only");
        assert_eq!(shares.take(START, [98, 1]), Err(Exhausted::All));
        assert_eq!(shares.take(START, [99, 1]), Err(Exhausted::Share));
    }

    #[test]
    fn keys_that_are_made_up_leave_room_for_others() {
        let mut shares = shares(Rate { per_s: 1000, burst: 1000 });
        for key in 0..1_000_000 {
            // All from one wide group, which is refused after its 16.
            let _ = shares.take(START, [key, 0]);
        }
        assert!((0..200).all(|key| shares.take(START, [2_000_000 + key, 1 + key]).is_ok()));
    }
}
