//! Whether the gateway still remembers: its clock tells.

use crate::time::Instant;

/// The gateway's clock as it was last seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Epoch {
    seconds: u32,
    seen_at: Instant,
}

impl Epoch {
    pub(super) fn new(now: Instant, seconds: u32) -> Self {
        Self { seconds, seen_at: now }
    }

    /// Whether a clock that now shows `seconds` has been running through since it was last seen,
    /// by the rule of RFC 6887 section 8.5: never back by more than a second, and as fast as ours
    /// but for a sixteenth and two seconds.
    pub(super) fn continues_pcp(&self, now: Instant, seconds: u32) -> bool {
        if seconds < self.seconds.saturating_sub(1) {
            return false;
        }
        let client = now.since(self.seen_at).as_secs();
        let server = u64::from(seconds.saturating_sub(self.seconds));
        client + 2 >= server - server / 16 && server + 2 >= client - client / 16
    }

    /// The same by the rule of RFC 6886 section 3.6: at least seven eighths of the time have
    /// passed, but for two seconds.
    pub(super) fn continues_nat_pmp(&self, now: Instant, seconds: u32) -> bool {
        let passed = now.since(self.seen_at).as_secs();
        u64::from(seconds) + 2 >= u64::from(self.seconds) + passed * 7 / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_clock_that_runs_continues_and_one_that_starts_anew_does_not() {
        let epoch = Epoch::new(at(1_000), 500);
        for (now, seconds, continues) in [
            (1_000, 500, true),
            (1_000, 499, true),
            (1_000, 498, false),
            (1_160, 660, true),
            (1_160, 648, true),
            (1_160, 647, false),
            (1_160, 672, true),
            (1_160, 673, false),
            (1_001, 0, false),
        ] {
            assert_eq!(epoch.continues_pcp(at(now), seconds), continues, "{now} {seconds}");
        }
        for (now, seconds, continues) in
            [(1_000, 498, true), (1_000, 497, false), (1_080, 568, true), (1_080, 567, false)]
        {
            assert_eq!(epoch.continues_nat_pmp(at(now), seconds), continues, "{now} {seconds}");
        }
        assert!(epoch.continues_nat_pmp(at(1_001), u32::MAX), "a fast clock forgets nothing");
    }
}
