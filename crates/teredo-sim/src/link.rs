//! Links: delay, and what goes wrong on the way.

use core::time::Duration;

use teredo_proto::random::Random;

/// One access link, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// How long a packet is on the way when nothing goes wrong.
    pub delay: Duration,
    /// How many of a thousand packets are lost.
    pub loss_permille: u16,
    /// How many of a thousand packets arrive twice.
    pub duplicate_permille: u16,
    /// How many of a thousand packets are held back, so that later ones overtake them.
    pub reorder_permille: u16,
    /// How much longer those take, at most.
    pub reorder_delay: Duration,
}

impl Link {
    /// A link on which nothing goes wrong.
    pub const fn perfect(delay: Duration) -> Self {
        Self {
            delay,
            loss_permille: 0,
            duplicate_permille: 0,
            reorder_permille: 0,
            reorder_delay: Duration::ZERO,
        }
    }

    /// How long each copy of a packet that arrives is on the way.
    pub(crate) fn cross(&self, random: &mut Random) -> impl Iterator<Item = Duration> + use<> {
        let mut happens = |permille| permille != 0 && random.below(1000) < u64::from(permille);
        let lost = happens(self.loss_permille);
        let twice = happens(self.duplicate_permille);
        let late = [happens(self.reorder_permille), happens(self.reorder_permille)];
        let delays = late.map(|late| {
            let extra_ns = if late { nanos(self.reorder_delay) } else { 0 };
            self.delay + Duration::from_nanos(random.below(extra_ns + 1))
        });
        let copies = if lost { 0 } else { 1 + usize::from(twice) };
        delays.into_iter().take(copies)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(5);

    fn crossings(link: Link) -> Vec<Vec<Duration>> {
        let mut random = Random::new([3; 32]);
        (0..10_000).map(|_| link.cross(&mut random).collect()).collect()
    }

    #[test]
    fn a_perfect_link_only_delays() {
        assert!(crossings(Link::perfect(DELAY)).iter().all(|copies| copies == &[DELAY]));
    }

    #[test]
    fn faults_are_as_frequent_as_configured() {
        let link = Link {
            loss_permille: 100,
            duplicate_permille: 50,
            reorder_permille: 200,
            reorder_delay: DELAY,
            ..Link::perfect(DELAY)
        };
        let crossings = crossings(link);
        let with_copies = |count| crossings.iter().filter(|copies| copies.len() == count).count();
        let late = crossings.iter().filter(|copies| copies.first() > Some(&DELAY)).count();
        assert!(with_copies(0).abs_diff(1_000) < 100, "{}", with_copies(0));
        assert!(with_copies(2).abs_diff(450) < 70, "{}", with_copies(2));
        assert!(late.abs_diff(1_800) < 150, "{late}");
        assert!(crossings.iter().flatten().all(|delay| (DELAY..=2 * DELAY).contains(delay)));
    }
}
