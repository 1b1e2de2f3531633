//! One mapping: asked for, held, renewed, given back.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

use crate::portmap::{Failure, Protocol, Reason};
use crate::random::Random;
use crate::time::Instant;

/// What a mapping is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) internal_port: u16,
    /// The only endpoint that it is for; `None`: for everyone.
    pub(super) remote: Option<SocketAddrV4>,
}

/// One mapping.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) target: Target,
    pub(super) nonce: [u8; 12],
    /// What to ask for: what the gateway gave last.
    pub(super) suggested: SocketAddrV4,
    /// What the host was told.
    pub(super) told: Option<SocketAddrV4>,
    /// When what the gateway has granted ends.
    expires: Option<Instant>,
    /// When to do something next.
    due: Instant,
    /// Transmissions since the last answer.
    pub(super) tries: u32,
    /// Refusals in a row.
    refusals: u32,
    /// Why there was none the last time; until `due` nothing is asked.
    failure: Option<Failure>,
    /// It is to be deleted.
    pub(super) leaving: bool,
}

/// What is to be done about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Wait,
    Ask,
    /// Nobody has answered.
    GiveUp,
    /// The host is to be told that what it had is over; ask again.
    Expire(Failure),
    /// Deleted, as far as that can be known.
    Drop,
}

impl Lease {
    /// A mapping that is to be asked for at once. The same external port as inside is best, so that
    /// an endpoint that is known to others keeps its port.
    pub(super) fn new(now: Instant, target: Target, nonce: [u8; 12]) -> Self {
        Self {
            target,
            nonce,
            suggested: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, target.internal_port),
            told: None,
            expires: None,
            due: now,
            tries: 0,
            refusals: 0,
            failure: None,
            leaving: false,
        }
    }

    /// When to [`advance`](Self::advance), and what for.
    pub(super) fn deadline(&self) -> (Instant, Reason) {
        let reason = if self.expires.is_some() {
            Reason::Renewal
        } else if self.failure.is_some() {
            Reason::Retry
        } else {
            Reason::Answer
        };
        (self.due, reason)
    }

    /// Whether an answer is awaited.
    pub(super) fn is_asking(&self) -> bool {
        self.tries > 0
    }

    /// Whether the gateway has granted it.
    pub(super) fn is_held(&self) -> bool {
        self.expires.is_some()
    }

    /// Does what has become due; with [`Step::Ask`] the caller sends a request.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        protocol: Protocol,
        tries_max: u32,
        random: &mut Random,
    ) -> Step {
        if self.due > now {
            return Step::Wait;
        }
        if self.leaving {
            return self.advance_deletion(now);
        }
        match self.expires {
            Some(expires) if expires <= now => {
                self.expires = None;
                self.tries = 0;
                return Step::Expire(self.failure.take().unwrap_or(Failure::NoAnswer));
            }
            Some(expires) => {
                self.due = renewal(now, expires, random);
                self.tries = self.tries.saturating_add(1);
                return Step::Ask;
            }
            None => {}
        }
        self.failure = None;
        if self.tries >= tries_max {
            return Step::GiveUp;
        }
        self.due = now + protocol.wait(self.tries, random);
        self.tries += 1;
        Step::Ask
    }

    /// Takes what the gateway granted; true if that is news.
    pub(super) fn grant(
        &mut self,
        now: Instant,
        external: SocketAddrV4,
        lifetime: Duration,
        random: &mut Random,
    ) -> bool {
        let expires = now + lifetime.min(LIFETIME_MAX);
        self.expires = Some(expires);
        self.due = renewal(now, expires, random);
        self.tries = 0;
        self.refusals = 0;
        self.failure = None;
        self.suggested = external;
        self.told.replace(external) != Some(external)
    }

    /// Takes a refusal that will last for `lifetime`, says the gateway. What was granted before
    /// stays until its end; true if nothing is granted (any more).
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        failure: Failure,
        lifetime: Duration,
        random: &mut Random,
    ) -> bool {
        let backoff = BACKOFF_MIN * 2_u32.saturating_pow(self.refusals.min(BACKOFF_DOUBLINGS));
        let pause = backoff.max(lifetime).min(BACKOFF_MAX);
        let again = now + pause + random.up_to(pause / 8);
        self.refusals = self.refusals.saturating_add(1);
        self.tries = 0;
        self.failure = Some(failure);
        self.due = self.expires.map_or(again, |expires| expires.min(again));
        if self.expires.is_none() {
            self.told = None;
        }
        self.expires.is_none()
    }

    /// The gateway has forgotten it, or may have: asks again at `at`, until there is an answer.
    pub(super) fn recreate(&mut self, at: Instant) {
        self.expires = None;
        self.failure = None;
        self.tries = 0;
        self.due = at;
    }

    /// Gives it back; false if the gateway cannot have it.
    pub(super) fn leave(&mut self, now: Instant) -> bool {
        let may_exist = self.expires.is_some() || self.tries > 0 || self.told.is_some();
        self.leaving = true;
        self.tries = 0;
        self.due = now;
        may_exist
    }

    fn advance_deletion(&mut self, now: Instant) -> Step {
        if self.tries >= DELETE_TRIES {
            return Step::Drop;
        }
        self.tries += 1;
        self.due = now + DELETE_WAIT;
        Step::Ask
    }
}

/// When to renew what ends at `expires`: after a half to five eighths of what is left of it, so
/// that each attempt that is not answered is followed by one after half of the rest (RFC 6887
/// section 11.2.1).
fn renewal(now: Instant, expires: Instant, random: &mut Random) -> Instant {
    let left = expires.since(now);
    let wait = left / 2 + random.up_to(left / 8);
    (now + wait.max(RENEWAL_GAP_MIN)).min(expires)
}

/// No two requests for a renewal are closer (RFC 6887 section 11.2.1).
const RENEWAL_GAP_MIN: Duration = Duration::from_secs(4);

/// What a gateway grants for longer is renewed as if it were a day: a mapping that nobody renews
/// for days may be gone without anyone knowing.
const LIFETIME_MAX: Duration = Duration::from_secs(86_400);

/// The pause after a refusal: the one that the gateway names, but at least this long, doubling with
/// each, and never for ever.
const BACKOFF_MIN: Duration = Duration::from_secs(30);
const BACKOFF_MAX: Duration = Duration::from_secs(3_600);
/// 30 s become more than an hour.
const BACKOFF_DOUBLINGS: u32 = 7;

/// A deletion is asked for twice, shortly: whoever asks is about to end, and the mapping ends by
/// itself if both are lost.
const DELETE_TRIES: u32 = 2;
const DELETE_WAIT: Duration = Duration::from_millis(250);
