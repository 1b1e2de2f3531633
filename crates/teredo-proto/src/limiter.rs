//! Token buckets.

use core::time::Duration;

use crate::time::Instant;

/// Lets through `rate` things a second on average and `burst` at once.
#[derive(Clone, Debug)]
pub(crate) struct TokenBucket {
    /// Nanoseconds that one token takes to come back.
    interval: Duration,
    /// How far ahead of the steady rate the past may have run.
    tolerance: Duration,
    /// When the bucket will be full again.
    full_at: Instant,
}

impl TokenBucket {
    /// A full bucket. `rate_per_s` is at least 1.
    pub(crate) fn new(rate_per_s: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / rate_per_s.max(1);
        Self { interval, tolerance: interval * burst, full_at: Instant::default() }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let next = self.full_at.max(now) + self.interval;
        let granted = next.since(now) <= self.tolerance;
        if granted {
            self.full_at = next;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_burst_then_the_rate() {
        let mut bucket = TokenBucket::new(10, 3);
        let start = Instant::from_nanos(1_000_000_000);
        let granted = |bucket: &mut TokenBucket, now| (0..9).filter(|_| bucket.take(now)).count();
        assert_eq!(granted(&mut bucket, start), 3);
        assert_eq!(granted(&mut bucket, start + Duration::from_millis(100)), 1);
        assert_eq!(granted(&mut bucket, start + Duration::from_secs(9)), 3);
    }
}
