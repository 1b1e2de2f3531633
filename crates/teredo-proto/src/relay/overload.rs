//! Whether a relay has more clients to seek than it may.

use core::time::Duration;

use crate::role::Event;
use crate::time::Instant;

/// Turns refusals of new peers into an event at the first one, and one when they have ceased.
#[derive(Debug, Default)]
pub(super) struct Overload {
    ends_at: Option<Instant>,
    is_told: bool,
}

impl Overload {
    /// A new peer was refused.
    pub(super) fn note_refusal(&mut self, now: Instant) {
        self.ends_at = Some(now + CALM);
    }

    /// When there will have been no refusal for long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.ends_at
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.ends_at = self.ends_at.filter(|&ends_at| ends_at > now);
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        if self.ends_at.is_some() == self.is_told {
            return None;
        }
        self.is_told = !self.is_told;
        Some(Event::Overload(self.is_told))
    }
}

/// Time without refusals after which an overload is over: routes should not flap.
const CALM: Duration = Duration::from_secs(30);
