//! How many bubbles went where.

use core::net::Ipv6Addr;
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use teredo_proto::Instant;

use crate::host::HostId;

/// The bubbles that roles sent, by IPv6 destination.
#[derive(Debug, Default)]
pub(crate) struct BubbleMeter {
    recent: BTreeMap<(HostId, Ipv6Addr), VecDeque<Instant>>,
    most: usize,
    total: usize,
}

impl BubbleMeter {
    pub(crate) fn note(&mut self, now: Instant, host: HostId, destination: Ipv6Addr) {
        let recent = self.recent.entry((host, destination)).or_default();
        while recent.front().is_some_and(|sent| *sent + METER_WINDOW <= now) {
            recent.pop_front();
        }
        recent.push_back(now);
        self.most = self.most.max(recent.len());
        self.total += 1;
    }

    /// The host lost its memory, and with it what it knew of limits.
    pub(crate) fn note_restart(&mut self, host: HostId) {
        self.recent.retain(|(sender, _), _| *sender != host);
    }

    /// All bubbles, one for each datagram.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// The most bubbles that one host sent to one destination within [`METER_WINDOW`].
    pub(crate) fn most(&self) -> usize {
        self.most
    }
}

/// Over which time bubbles are counted.
pub const METER_WINDOW: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_within_the_window() {
        let mut meter = BubbleMeter::default();
        let (host, peer) = (HostId(0), Ipv6Addr::LOCALHOST);
        for second in [0, 1, 2, 9, 10, 11] {
            meter.note(Instant::from_nanos(second * 1_000_000_000), host, peer);
        }
        assert_eq!(meter.most(), 4);
        meter.note(Instant::from_nanos(11_000_000_000), host, Ipv6Addr::UNSPECIFIED);
        meter.note_restart(host);
        meter.note(Instant::from_nanos(11_000_000_000), host, peer);
        assert_eq!(meter.most(), 4);
    }
}
