//! One Router Solicitation and the wait for its answer (RFC 4380 section 5.2.1).

use core::net::Ipv4Addr;
use core::time::Duration;

use crate::client::outbox::Item;
use crate::random::Random;
use crate::reason::DropReason;
use crate::role::{Local, OfflineReason};
use crate::time::Instant;

/// A solicitation under way. All its transmissions carry one nonce, so that an answer to any of
/// them will do.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) server: Ipv4Addr,
    pub(super) nonce: [u8; 8],
    pub(super) started_at: Instant,
    via: Local,
    transmissions: u8,
    deadline: Instant,
    failure: OfflineReason,
}

/// What an exchange wants to be done.
#[derive(Debug)]
pub(super) enum Progress {
    Wait,
    Repeat(Item),
    Failed(OfflineReason),
}

impl Exchange {
    /// Begins an exchange with a server address; the caller sends [`Self::solicitation`].
    /// `failure` is what silence means.
    pub(super) fn new(
        now: Instant,
        server: Ipv4Addr,
        random: &mut Random,
        failure: OfflineReason,
    ) -> Self {
        let (nonce, deadline) = (random.bytes(), now + RS_TIMEOUT);
        let via = Local::Primary;
        Self { server, nonce, started_at: now, via, transmissions: 1, deadline, failure }
    }

    /// The same from another socket than the service port.
    pub(super) fn on(self, via: Local) -> Self {
        Self { via, ..self }
    }

    pub(super) fn solicitation(&self) -> Item {
        Item::Solicitation { server: self.server, via: self.via, nonce: self.nonce }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Moves on if the deadline has come.
    pub(super) fn advance(&mut self, now: Instant) -> Progress {
        if now < self.deadline {
            return Progress::Wait;
        }
        if self.transmissions == RS_MAX {
            return Progress::Failed(self.failure);
        }
        self.transmissions += 1;
        self.deadline = now + RS_TIMEOUT;
        Progress::Repeat(self.solicitation())
    }

    /// An answer was dropped. Somebody on the path may have sent it in the server's place, so the
    /// wait for another one goes on; without one, the exchange failed by what was wrong with it.
    pub(super) fn note(&mut self, reason: DropReason) {
        let is_unproven = matches!(
            reason,
            DropReason::WrongIdentifier | DropReason::MissingMac | DropReason::WrongMac
        );
        if reason == DropReason::Refused {
            self.failure = OfflineReason::Refused;
        } else if is_unproven {
            self.failure = OfflineReason::NoProof;
        }
    }
}

/// T of RFC 4380 section 5.2.1.
const RS_TIMEOUT: Duration = Duration::from_secs(4);
/// N of RFC 4380 section 5.2.1, read as transmissions (E-09).
const RS_MAX: u8 = 3;
