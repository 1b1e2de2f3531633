//! How many bubbles a peer may get (RFC 4380 section 5.2.6), and how many answers.

use core::fmt;
use core::net::SocketAddrV4;
use core::time::Duration;

use crate::limiter::TokenBucket;
use crate::random::{Key, Seed};
use crate::time::Instant;

/// The bubbles that may still go to one peer on our own initiative.
///
/// An attempt, however many datagrams it takes (direct, indirect), counts as one bubble (E-13).
/// A new budget is one whose last transmission was long ago.
#[derive(Clone, Debug, Default)]
pub(crate) struct BubbleBudget {
    last_transmission: Option<Instant>,
    attempts: Recent<ATTEMPTS_MAX>,
}

impl BubbleBudget {
    /// When the next attempt may be made.
    pub(crate) fn allowed_at(&self) -> Instant {
        let after_gap = self.last_transmission.map(|sent| sent + ATTEMPT_GAP);
        let after_window = self.attempts.nth_last(ATTEMPTS_MAX).map(|sent| sent + ATTEMPTS_WINDOW);
        after_gap.max(after_window).unwrap_or_default()
    }

    /// When no attempt is in the window any more, so that a new budget says the same.
    pub(crate) fn forgotten_at(&self) -> Instant {
        self.attempts.nth_last(1).map(|sent| sent + ATTEMPTS_WINDOW).unwrap_or_default()
    }

    /// Takes an attempt, if one may be made now.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let granted = self.allowed_at() <= now;
        if granted {
            self.last_transmission = Some(now);
            self.attempts.note(now);
        }
        granted
    }

    /// The same while other packets go to the peer, which are no attempts.
    pub(crate) fn take_amid_data(&mut self, now: Instant) -> bool {
        let last = self.attempts.nth_last(1);
        let granted = last.is_none_or(|sent: Instant| now.since(sent) >= ATTEMPT_GAP)
            && !self.is_exhausted(now);
        if granted {
            self.attempts.note(now);
        }
        granted
    }

    /// The last attempt, if it was taken then, ends only now: with its indirect bubble.
    pub(crate) fn prolong(&mut self, taken_at: Instant, now: Instant) {
        if self.attempts.nth_last(1) == Some(taken_at) {
            self.attempts.times[ATTEMPTS_MAX - 1] = Some(now);
        }
    }

    /// Whether the last attempt was not the first since something came from the peer.
    pub(crate) fn is_repeated(&self) -> bool {
        self.attempts.nth_last(2).is_some()
    }

    /// Whether nothing went directly to the peer for this long.
    pub(crate) fn is_silent_for(&self, now: Instant, period: Duration) -> bool {
        self.last_transmission.is_none_or(|sent| now.since(sent) >= period)
    }

    /// Whether the attempts of the current window are used up.
    pub(crate) fn is_exhausted(&self, now: Instant) -> bool {
        let oldest = self.attempts.nth_last(ATTEMPTS_MAX);
        oldest.is_some_and(|sent| now.since(sent) < ATTEMPTS_WINDOW)
    }

    /// Something other than an attempt went directly to the peer.
    pub(crate) fn note_transmission(&mut self, now: Instant) {
        self.last_transmission = Some(now);
    }

    /// Something came directly from the peer: the count starts again.
    pub(crate) fn reset(&mut self) {
        if self.attempts.nth_last(1).is_some() {
            self.attempts = Recent::default();
        }
    }
}

/// The answers that one peer's indirect bubbles may still get. They do not wait for the gap
/// between attempts, else two clients that start together would not meet (E-13).
#[derive(Clone, Debug, Default)]
pub(crate) struct AnswerLimiter {
    answers: Recent<ANSWERS_MAX>,
}

impl AnswerLimiter {
    /// Whether an answer may be given now.
    fn permits(&self, now: Instant) -> bool {
        let within = |count, window| {
            self.answers.nth_last(count).is_some_and(|sent: Instant| now < sent + window)
        };
        !within(ANSWERS_BURST, ANSWERS_BURST_WINDOW) && !within(ANSWERS_MAX, ANSWERS_WINDOW)
    }
}

/// The answers that all indirect bubbles together may get, and those from origins for which there
/// is no peer entry: the relays.
pub(crate) struct AnswerLimits {
    all: TokenBucket,
    origin_key: Key,
    by_origin: Box<[AnswerLimiter]>,
}

impl AnswerLimits {
    /// Nothing answered yet.
    pub(crate) fn new(seed: Seed) -> Self {
        Self {
            all: TokenBucket::new(ANSWERS_PER_S, ANSWERS_TOTAL_BURST),
            origin_key: Key::new(seed, b"origins"),
            by_origin: vec![AnswerLimiter::default(); ORIGIN_CELLS].into(),
        }
    }

    /// Takes an answer to a peer that `limiter` belongs to.
    pub(crate) fn take_for_peer(&mut self, now: Instant, limiter: &mut AnswerLimiter) -> bool {
        Self::take(&mut self.all, now, limiter)
    }

    /// Takes an answer to a relay at `origin`. Relays share cells by a secret hash, so one that
    /// floods uses up its own cell and not everybody's share.
    pub(crate) fn take_for_origin(&mut self, now: Instant, origin: SocketAddrV4) -> bool {
        let mut bytes = [0; 6];
        bytes[..4].copy_from_slice(&origin.ip().octets());
        bytes[4..].copy_from_slice(&origin.port().to_be_bytes());
        let cell = self.origin_key.hash(&bytes) as usize % ORIGIN_CELLS;
        Self::take(&mut self.all, now, &mut self.by_origin[cell])
    }

    fn take(all: &mut TokenBucket, now: Instant, limiter: &mut AnswerLimiter) -> bool {
        let granted = limiter.permits(now) && all.take(now);
        if granted {
            limiter.answers.note(now);
        }
        granted
    }
}

impl fmt::Debug for AnswerLimits {
    /// Shows the cells in use only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.by_origin.iter().enumerate();
        let used = cells.filter(|(_, cell)| cell.answers.nth_last(1).is_some());
        f.debug_map().entry(&"all", &self.all).entries(used).finish()
    }
}

/// When the last `N` things happened.
#[derive(Clone, Debug)]
struct Recent<const N: usize> {
    /// The latest at the end.
    times: [Option<Instant>; N],
}

impl<const N: usize> Default for Recent<N> {
    fn default() -> Self {
        Self { times: [None; N] }
    }
}

impl<const N: usize> Recent<N> {
    fn note(&mut self, now: Instant) {
        self.times.rotate_left(1);
        self.times[N - 1] = Some(now);
    }

    /// When the `nth` last thing happened; 1 is the last one.
    fn nth_last(&self, nth: usize) -> Option<Instant> {
        N.checked_sub(nth).and_then(|place| self.times[place])
    }
}

/// Least time between a transmission to a peer and a bubble to it (RFC 4380 section 5.2.6).
pub(crate) const ATTEMPT_GAP: Duration = Duration::from_secs(2);
/// Attempts without a direct answer in one window (RFC 4380 section 5.2.6).
const ATTEMPTS_MAX: usize = 4;
/// The window (RFC 4380 section 5.2.6).
const ATTEMPTS_WINDOW: Duration = Duration::from_secs(300);

/// Answers to one peer within [`ANSWERS_BURST_WINDOW`]: enough for both sides of a handshake, too
/// few for two nodes to keep each other busy (no RFC sets it).
const ANSWERS_BURST: usize = 2;
const ANSWERS_BURST_WINDOW: Duration = Duration::from_secs(1);
/// Answers to one peer within [`ANSWERS_WINDOW`]: a peer's four attempts, twice.
const ANSWERS_MAX: usize = 8;
const ANSWERS_WINDOW: Duration = Duration::from_secs(30);

/// Answers to all peers, on average and at once, so that a flood of indirect bubbles does not
/// become a flood of ours.
const ANSWERS_PER_S: u32 = 50;
const ANSWERS_TOTAL_BURST: u32 = 100;

/// Cells of [`AnswerLimits::take_for_origin`]: several times the relays a client meets at once.
const ORIGIN_CELLS: usize = 256;
