//! Which external endpoint a new mapping gets.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::collections::BTreeMap;

use teredo_proto::Instant;
use teredo_proto::random::{Random, Seed};

use super::{Allocation, Key, ModeChange, Nat, NatConfig, Pooling, PortRange};

/// What the choice of ports and addresses remembers.
#[derive(Clone, Debug)]
pub(super) struct Allocator {
    random: Random,
    range: PortRange,
    /// The port that was given last, by search.
    last_port: u16,
    /// The same for each internal address, with [`Allocation::SequentialPerHost`].
    last_ports: BTreeMap<Ipv4Addr, u16>,
    /// When others inside need their next mapping.
    others_at: Option<Instant>,
}

impl Allocator {
    pub(super) fn new(config: &NatConfig, seed: Seed) -> Self {
        let mut random = Random::new(seed);
        let last_port = random_port(&mut random, config.ports);
        let (range, last_ports) = (config.ports, BTreeMap::new());
        Self { random, range, last_port, last_ports, others_at: None }
    }

    pub(super) fn reboot(&mut self) {
        self.last_port = random_port(&mut self.random, self.range);
        self.last_ports.clear();
        self.others_at = None;
    }

    /// The port that a host got last; a random one at first.
    fn last_port_of(&mut self, host: Ipv4Addr) -> u16 {
        if self.last_ports.len() >= HOSTS_MAX && !self.last_ports.contains_key(&host) {
            self.last_ports.pop_first();
        }
        let (random, range) = (&mut self.random, self.range);
        *self.last_ports.entry(host).or_insert_with(|| random_port(random, range))
    }
}

impl Nat {
    pub(super) fn pick_external(&mut self, now: Instant, key: &Key) -> Option<SocketAddrV4> {
        let address = self.pick_address(*key.internal.ip())?;
        Some(SocketAddrV4::new(address, self.pick_port(now, address, key)?))
    }

    fn pick_address(&mut self, internal: Ipv4Addr) -> Option<Ipv4Addr> {
        match self.config.pooling {
            Pooling::Paired => self.paired_address(internal),
            Pooling::Arbitrary => {
                let index = self.allocator.random.below(self.external.len() as u64);
                self.external.get(index as usize).copied()
            }
        }
    }

    pub(super) fn paired_address(&self, internal: Ipv4Addr) -> Option<Ipv4Addr> {
        let index = (internal.to_bits() as usize).checked_rem(self.external.len())?;
        self.external.get(index).copied()
    }

    pub(super) fn pick_port(&mut self, now: Instant, address: Ipv4Addr, key: &Key) -> Option<u16> {
        let internal_port = key.internal.port();
        if self.may_preserve(internal_port) {
            if self.is_free(now, address, internal_port, key) {
                return Some(internal_port);
            }
            self.has_changed |= self.config.mode_change == ModeChange::RandomAfterCollision;
        }
        let (range, host) = (self.config.ports, *key.internal.ip());
        let (first, step) = match self.config.allocation {
            Allocation::Preserve | Allocation::Random => {
                (random_port(&mut self.allocator.random, range), 1)
            }
            Allocation::PreserveOrNext { .. } if self.has_changed => {
                (random_port(&mut self.allocator.random, range), 1)
            }
            Allocation::Sequential { step } | Allocation::PreserveOrNext { step } => {
                (range.after(self.allocator.last_port, step), step)
            }
            Allocation::SequentialPerHost { step } => {
                (range.after(self.allocator.last_port_of(host), step), step)
            }
        };
        let has_parity = |port: u16| !self.config.keeps_parity || (port ^ internal_port) & 1 == 0;
        // Even steps would never get there.
        let is_odd_one_out = step % 2 == 0 && !has_parity(first);
        let mut port = if is_odd_one_out { range.after(first, 1) } else { first };
        for _ in 0..range.count() {
            if has_parity(port) && self.is_free(now, address, port, key) {
                self.allocator.last_port = port;
                if let Some(last_port) = self.allocator.last_ports.get_mut(&host) {
                    *last_port = port;
                }
                return Some(port);
            }
            port = range.after(port, step);
        }
        None
    }

    /// Whether a mapping may have the same port outside. Well-known ones stay well-known
    /// (RFC 4787 section 4.2.2).
    fn may_preserve(&self, port: u16) -> bool {
        let (allocation, range) = (self.config.allocation, self.config.ports);
        let is_random =
            self.has_changed && self.config.mode_change == ModeChange::RandomAfterCollision;
        matches!(allocation, Allocation::Preserve | Allocation::PreserveOrNext { .. })
            && !is_random
            && (range.contains(port) || !PortRange::ALL.contains(port))
    }

    pub(super) fn is_free(&self, now: Instant, address: Ipv4Addr, port: u16, key: &Key) -> bool {
        let external = SocketAddrV4::new(address, port);
        self.is_unmapped(now, external, key.remote)
            && self.explicit.internal(now, external).is_none()
    }

    /// Makes the mappings that others inside have needed since the last time, at random moments as
    /// seldom or often as configured.
    pub(super) fn let_others_map(&mut self, now: Instant) {
        let Some(every) = Duration::from_secs(1).checked_div(self.config.cross_traffic.into())
        else {
            return;
        };
        // What is longer ago has expired.
        let lifetime_ns = u64::try_from(self.config.lifetime.as_nanos()).unwrap_or(u64::MAX);
        let since = Instant::from_nanos(now.as_nanos().saturating_sub(lifetime_ns));
        let random = &mut self.allocator.random;
        let mut at = match self.allocator.others_at {
            Some(at) => at.max(since),
            None => now + exponential(random, every),
        };
        while at <= now {
            let remote = SocketAddrV4::new(OTHERS_REMOTE, self.allocator.random.next_u64() as u16);
            let internal = SocketAddrV4::new(OTHERS, self.allocator.random.next_u64() as u16);
            self.map_one(at, Key::new(self.mapping(), internal, remote));
            at = at + exponential(&mut self.allocator.random, every);
        }
        self.allocator.others_at = Some(at);
    }
}

fn random_port(random: &mut Random, range: PortRange) -> u16 {
    range.at(random.below(range.count().into()) as u32)
}

/// An exponentially distributed time, by whole numbers only: von Neumann's method, which looks how
/// long each of several runs of random numbers falls.
fn exponential(random: &mut Random, mean: Duration) -> Duration {
    let mut whole = 0;
    loop {
        let first = random.next_u64();
        let (mut last, mut is_odd) = (first, true);
        loop {
            let next = random.next_u64();
            if next >= last {
                break;
            }
            (last, is_odd) = (next, !is_odd);
        }
        if is_odd {
            let part = (mean.as_nanos() * u128::from(first)) >> 64;
            return mean * whole + Duration::from_nanos(part as u64);
        }
        whole += 1;
    }
}

/// Internal addresses with a counter of their own: more than a private network of a test has.
const HOSTS_MAX: usize = 1024;

/// Who needs mappings beside the hosts of the world, and for whom.
const OTHERS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OTHERS_REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_times_have_their_mean_and_spread() {
        let mut random = Random::new([5; 32]);
        let mean = Duration::from_millis(20);
        let times: Vec<f64> =
            (0..20_000).map(|_| (exponential(&mut random, mean)).as_secs_f64() / 0.02).collect();
        let average = times.iter().sum::<f64>() / 20_000.0;
        let longer = times.iter().filter(|time| **time > 1.0).count();
        assert!((0.97..1.03).contains(&average), "{average}");
        assert!(longer.abs_diff(7_358) < 300, "{longer} of 20,000; e^-1 of them expected");
    }
}
