//! Links: delay, and what goes wrong on the way.

use core::time::Duration;

use teredo_proto::random::Random;

/// One access link, in one direction or the same in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// How long a packet is on the way when nothing goes wrong.
    pub delay: Duration,
    /// How much longer it takes at most, each one as long as it likes: one may overtake another.
    pub jitter: Duration,
    /// How many of a thousand packets are lost.
    pub loss_permille: u16,
    /// When many are lost in a row.
    pub bursts: Option<Bursts>,
    /// How many of a thousand packets arrive twice.
    pub duplicate_permille: u16,
    /// How many of a thousand packets are held back, so that later ones overtake them.
    pub reorder_permille: u16,
    /// How much longer those take, at most.
    pub reorder_delay: Duration,
    /// Which packets are too long.
    pub mtu: Option<Mtu>,
}

/// Loss in bursts: the model of Gilbert and Elliott. With each packet the link may go over from
/// its good state into the bad one, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bursts {
    /// How many of a thousand packets in the good state begin a burst.
    pub begin_permille: u16,
    /// How many of a thousand packets in the bad state end it.
    pub end_permille: u16,
    /// How many of a thousand packets are lost in the bad state.
    pub loss_permille: u16,
}

/// The longest packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mtu {
    /// Its bytes, from the IPv4 header on.
    pub bytes: u16,
    /// Whether the sender of a longer one is told, by ICMP. It would be if it had forbidden
    /// fragments, which Teredo does not.
    pub tells: bool,
}

impl Link {
    /// A link on which nothing goes wrong.
    pub const fn perfect(delay: Duration) -> Self {
        Self {
            delay,
            jitter: Duration::ZERO,
            loss_permille: 0,
            bursts: None,
            duplicate_permille: 0,
            reorder_permille: 0,
            reorder_delay: Duration::ZERO,
            mtu: None,
        }
    }
}

/// One direction of a link in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    link: Link,
    /// Whether it is in a burst.
    is_bad: bool,
}

/// What comes of a packet on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crossing {
    /// These copies arrive, after so long; there may be none.
    Copies([Option<Duration>; 2]),
    /// It does not fit.
    TooLong(Mtu),
}

impl Lane {
    pub(crate) const fn new(link: Link) -> Self {
        Self { link, is_bad: false }
    }

    /// How long it takes at least.
    pub(crate) const fn delay(&self) -> Duration {
        self.link.delay
    }

    /// Sends a packet of so many bytes of UDP payload along it.
    pub(crate) fn cross(&mut self, random: &mut Random, payload_len: usize) -> Crossing {
        let link = &self.link;
        if let Some(mtu) = link.mtu.filter(|mtu| payload_len + UDP_OVERHEAD > mtu.bytes.into()) {
            return Crossing::TooLong(mtu);
        }
        let mut happens = |permille| permille != 0 && random.below(1000) < u64::from(permille);
        let mut lost = happens(link.loss_permille);
        if let Some(bursts) = link.bursts {
            let turn = if self.is_bad { bursts.end_permille } else { bursts.begin_permille };
            self.is_bad ^= happens(turn);
            lost |= self.is_bad && happens(bursts.loss_permille);
        }
        let twice = happens(link.duplicate_permille);
        let late = [happens(link.reorder_permille), happens(link.reorder_permille)];
        let [first, second] = late.map(|late| {
            let extra_ns = if late { nanos(link.reorder_delay) } else { 0 };
            link.delay + Duration::from_nanos(random.below(extra_ns + 1)) + jitter(link, random)
        });
        Crossing::Copies([(!lost).then_some(first), (!lost && twice).then_some(second)])
    }
}

fn jitter(link: &Link, random: &mut Random) -> Duration {
    if link.jitter.is_zero() { Duration::ZERO } else { random.up_to(link.jitter) }
}

/// The headers of IPv4 and UDP.
const UDP_OVERHEAD: usize = 28;

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(5);

    fn crossings(link: Link) -> Vec<Vec<Duration>> {
        let (mut lane, mut random) = (Lane::new(link), Random::new([3; 32]));
        let copies = |crossing| match crossing {
            Crossing::Copies(copies) => copies.into_iter().flatten().collect(),
            Crossing::TooLong(mtu) => panic!("{mtu:?}"),
        };
        (0..10_000).map(|_| copies(lane.cross(&mut random, 100))).collect()
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

    #[test]
    fn jitter_is_spread_evenly() {
        let crossings = crossings(Link { jitter: DELAY, ..Link::perfect(DELAY) });
        assert!(crossings.iter().flatten().all(|delay| (DELAY..=2 * DELAY).contains(delay)));
        let sum: Duration = crossings.iter().flatten().sum();
        let mean = sum / 10_000;
        assert!((DELAY * 145 / 100..DELAY * 155 / 100).contains(&mean), "{mean:?}");
    }

    #[test]
    fn losses_come_in_bursts() {
        let bursts = Bursts { begin_permille: 10, end_permille: 100, loss_permille: 1_000 };
        let crossings = crossings(Link { bursts: Some(bursts), ..Link::perfect(DELAY) });
        let lost: Vec<bool> = crossings.iter().map(Vec::is_empty).collect();
        let count = lost.iter().filter(|lost| **lost).count();
        assert!(count.abs_diff(909) < 200, "{count}: a burst of ten after a hundred");
        let bursts = lost.chunk_by(|one, other| one == other).filter(|run| run[0]).count();
        assert!(bursts.abs_diff(91) < 25, "{bursts}");
    }

    #[test]
    fn what_is_too_long_does_not_pass() {
        let mtu = Mtu { bytes: 128, tells: true };
        let mut lane = Lane::new(Link { mtu: Some(mtu), ..Link::perfect(DELAY) });
        let mut random = Random::new([3; 32]);
        let all = Crossing::Copies([Some(DELAY), None]);
        assert_eq!(lane.cross(&mut random, 100), all);
        assert_eq!(lane.cross(&mut random, 101), Crossing::TooLong(mtu));
    }
}
