//! Pings from client 1.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use anyhow::Context;
use teredo_sys::ns::NetNamespace;
use teredo_sys::raw::PingSocket;

/// What came of a row of pings.
#[derive(Clone, Debug, Default)]
pub(super) struct Pings {
    /// The time of each, in the order of sending; `None` where no answer came.
    times: Vec<Option<Duration>>,
}

impl Pings {
    /// Sends [`COUNT`] echo requests to `to`. The answers to the first, which has to find the way,
    /// and to the last are waited for up to `patience`. `check` is called now and then; its error
    /// ends it.
    pub(super) fn send(
        from: &NetNamespace,
        to: Ipv6Addr,
        patience: Duration,
        mut check: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let socket = from.run(PingSocket::open).and_then(|socket| socket)?;
        let mut sent = Vec::new();
        let mut pings = Self::default();
        for sequence in 0..COUNT {
            let now = Instant::now();
            socket
                .send(to, IDENTIFIER, sequence, &[0x5A; PAYLOAD_BYTES])
                .with_context(|| format!("cannot ping {to}"))?;
            sent.push(now);
            pings.times.push(None);
            let is_last = sequence + 1 == COUNT;
            if sequence == 0 || is_last {
                pings.receive(&socket, to, &sent, Until::Answered(now + patience), &mut check)?;
            }
            if !is_last {
                pings.receive(&socket, to, &sent, Until::Time(now + INTERVAL), &mut check)?;
            }
        }
        Ok(pings)
    }

    /// How many were sent.
    pub(super) fn sent(&self) -> usize {
        self.times.len()
    }

    /// How many were answered.
    pub(super) fn received(&self) -> usize {
        self.times.iter().flatten().count()
    }

    /// The time of the first.
    pub(super) fn first(&self) -> Option<Duration> {
        self.times.first().copied().flatten()
    }

    /// The median time of those answered.
    pub(super) fn median(&self) -> Option<Duration> {
        let mut times: Vec<_> = self.times.iter().copied().flatten().collect();
        times.sort_unstable();
        times.get(times.len() / 2).copied()
    }

    /// Takes answers.
    fn receive(
        &mut self,
        socket: &PingSocket,
        to: Ipv6Addr,
        sent: &[Instant],
        until: Until,
        check: &mut impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        loop {
            check()?;
            let (deadline, is_done) = match until {
                Until::Answered(deadline) => (deadline, self.received() == self.sent()),
                Until::Time(deadline) => (deadline, false),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || is_done {
                return Ok(());
            }
            let Some(reply) = socket.receive(left.min(CHECK_INTERVAL))? else { continue };
            let now = Instant::now();
            let index = usize::from(reply.sequence);
            if reply.from != to || reply.id != IDENTIFIER {
                continue;
            }
            if let (Some(time), Some(sent)) = (self.times.get_mut(index), sent.get(index)) {
                time.get_or_insert(now - *sent);
            }
        }
    }
}

/// The first answer to a row of echo requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FirstAnswer {
    /// Since the first request.
    pub(super) time: Duration,
    /// To which request, counted from 0.
    pub(super) sequence: u16,
}

impl FirstAnswer {
    /// Sends echo requests to `to` until one is answered; `None` if none is within `patience`.
    /// `check` is called now and then; its error ends it.
    pub(super) fn wait(
        from: &NetNamespace,
        to: Ipv6Addr,
        patience: Duration,
        mut check: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Option<Self>> {
        let socket = from.run(PingSocket::open).and_then(|socket| socket)?;
        let start = Instant::now();
        let (mut sequence, mut next) = (0, start);
        while start.elapsed() < patience {
            check()?;
            if next <= Instant::now() {
                socket
                    .send(to, IDENTIFIER, sequence, &[0x5A; PAYLOAD_BYTES])
                    .with_context(|| format!("cannot ping {to}"))?;
                (sequence, next) = (sequence + 1, next + MEET_INTERVAL);
            }
            let left = next.saturating_duration_since(Instant::now()).min(CHECK_INTERVAL);
            let Some(reply) = socket.receive(left.max(Duration::from_millis(1)))? else { continue };
            if reply.from == to && reply.id == IDENTIFIER {
                return Ok(Some(Self { time: start.elapsed(), sequence: reply.sequence }));
            }
        }
        Ok(None)
    }
}

/// How long to take answers.
#[derive(Clone, Copy)]
enum Until {
    /// Until everything is answered, or at most until then.
    Answered(Instant),
    /// Until then.
    Time(Instant),
}

/// Enough for a median, few enough to be quick.
const COUNT: u16 = 5;
const INTERVAL: Duration = Duration::from_millis(100);
/// As an impatient program repeats itself; whatever a first attempt leaves unanswered shows.
const MEET_INTERVAL: Duration = Duration::from_millis(250);
/// As `ping` sends.
const PAYLOAD_BYTES: usize = 56;
/// Nobody else pings from a lab that has just been made.
const IDENTIFIER: u16 = 0x1AB;
/// How long a Ctrl-C may go unnoticed.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_answered() {
        let ms = |ms| Some(Duration::from_millis(ms));
        let pings = Pings { times: vec![ms(9), None, ms(1), ms(2)] };
        assert_eq!((pings.sent(), pings.received()), (4, 3));
        assert_eq!((pings.first(), pings.median()), (ms(9), ms(2)));
        let pings = Pings { times: vec![None, ms(1)] };
        assert_eq!((pings.first(), pings.median()), (None, ms(1)));
        assert_eq!(Pings::default().median(), None);
    }
}
