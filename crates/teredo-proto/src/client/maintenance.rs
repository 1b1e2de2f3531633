//! Keeping the address (RFC 4380 section 5.2.5, RFC 6081 section 5.1.1).

use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use crate::client::discovery::Schedule;
use crate::client::exchange::{Exchange, Progress};
use crate::client::outbox::Item;
use crate::client::qualification::Mapping;
use crate::client::{Client, Config, Phase};
use crate::random::Random;
use crate::role::{Event, NatKind, OfflineReason, Reason};
use crate::time::Instant;

/// A client in service.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) address: Ipv6Addr,
    pub(super) mapping: Mapping,
    /// When the primary server address was last heard from.
    pub(super) heard_at: Instant,
    /// When something was last sent to it. Some NATs let a mapping live by this alone (E-20).
    pub(super) sent_at: Instant,
    pub(super) discovery: Schedule,
    refresh: Refresh,
    comparison: Comparison,
}

/// The solicitations that keep the mapping alive.
#[derive(Debug)]
enum Refresh {
    /// The next one when nothing was heard, or nothing sent, for this long.
    Resting(Duration),
    Asking(Exchange),
}

/// The comparison of what the two server addresses see.
#[derive(Debug)]
enum Comparison {
    /// Again with the first refresh after this.
    Resting(Instant),
    Asking(Exchange),
}

impl Service {
    pub(super) fn new(
        now: Instant,
        address: Ipv6Addr,
        mapping: Mapping,
        random: &mut Random,
        config: &Config,
    ) -> Self {
        Self {
            address,
            mapping,
            heard_at: now,
            sent_at: now,
            discovery: Schedule::new(now),
            refresh: Refresh::resting(random, config.refresh_interval),
            comparison: Comparison::rested(now),
        }
    }

    /// When something is to be done next, and what.
    pub(super) fn deadline(&self) -> (Instant, Reason) {
        let refresh = match &self.refresh {
            Refresh::Resting(interval) => (self.last_contact() + *interval, Reason::Refresh),
            Refresh::Asking(exchange) => (exchange.deadline(), Reason::Solicitation),
        };
        match &self.comparison {
            Comparison::Asking(exchange) if exchange.deadline() < refresh.0 => {
                (exchange.deadline(), Reason::Solicitation)
            }
            Comparison::Asking(_) | Comparison::Resting(_) => refresh,
        }
    }

    /// The exchange under way with a server address.
    pub(super) fn exchange_with(&mut self, server: Ipv4Addr) -> Option<&mut Exchange> {
        let refresh = match &mut self.refresh {
            Refresh::Asking(exchange) => Some(exchange),
            Refresh::Resting(_) => None,
        };
        let comparison = match &mut self.comparison {
            Comparison::Asking(exchange) => Some(exchange),
            Comparison::Resting(_) => None,
        };
        [refresh, comparison].into_iter().flatten().find(|exchange| exchange.server == server)
    }

    /// Whether the primary server address has been asked and has not answered yet.
    pub(super) fn is_refreshing(&self) -> bool {
        matches!(self.refresh, Refresh::Asking(_))
    }

    fn last_contact(&self) -> Instant {
        self.heard_at.min(self.sent_at)
    }
}

impl Refresh {
    /// Another interval each time: 75 to 100 % of the one in force.
    fn resting(random: &mut Random, interval: Duration) -> Self {
        let interval = interval.max(REFRESH_INTERVAL_MIN);
        Self::Resting(interval * 3 / 4 + random.up_to(interval / 4))
    }
}

impl Comparison {
    fn rested(now: Instant) -> Self {
        Self::Resting(now + COMPARISON_INTERVAL)
    }
}

impl Client {
    /// Does what has become due while in service.
    pub(super) fn maintain(&mut self, now: Instant) {
        self.advance_refresh(now);
        self.advance_comparison(now);
    }

    fn advance_refresh(&mut self, now: Instant) {
        let Phase::Qualified(service) = &mut self.phase else { return };
        let last_contact = service.last_contact();
        let progress = match &mut service.refresh {
            Refresh::Asking(exchange) => exchange.advance(now),
            Refresh::Resting(interval) if last_contact + *interval > now => return,
            Refresh::Resting(_) => {
                let (server, failure) = (self.config.server, OfflineReason::NoAnswer);
                let exchange = Exchange::new(now, server, &mut self.random, failure);
                let solicitation = exchange.solicitation();
                service.refresh = Refresh::Asking(exchange);
                Progress::Repeat(solicitation)
            }
        };
        match progress {
            Progress::Wait => {}
            Progress::Repeat(solicitation) => self.send(now, solicitation),
            Progress::Failed(failure) => self.refresh_failed(now, failure),
        }
    }

    /// A server that did not answer but sent something else meanwhile is still there.
    fn refresh_failed(&mut self, now: Instant, failure: OfflineReason) {
        let interval = self.refresh_interval();
        let Phase::Qualified(service) = &mut self.phase else { return };
        match &service.refresh {
            Refresh::Asking(exchange) if service.heard_at <= exchange.started_at => {
                self.events.push(Event::ServerLost);
                self.fail(now, failure);
            }
            Refresh::Asking(_) | Refresh::Resting(_) => {
                service.refresh = Refresh::resting(&mut self.random, interval);
            }
        }
    }

    /// The primary address answered: the mapping is as it was, or the address changes.
    pub(super) fn refreshed(&mut self, now: Instant, mapping: Mapping) {
        let old_link = self.link();
        let address = self.address_for(mapping.mapped);
        let is_moved = self.mapped() != Some(mapping.mapped);
        if is_moved {
            self.doubt_interval();
        }
        let interval = self.refresh_interval();
        let Phase::Qualified(service) = &mut self.phase else { return };
        service.heard_at = now;
        service.refresh = Refresh::resting(&mut self.random, interval);
        if is_moved {
            service.discovery = Schedule::new(now);
        }
        service.mapping = mapping;
        service.address = address;
        let is_comparison_due = match service.comparison {
            Comparison::Resting(due_at) => is_moved || due_at <= now,
            Comparison::Asking(_) => is_moved,
        };
        if is_moved {
            self.set_nat_kind(NatKind::Unknown);
        }
        self.link_changed(old_link);
        if is_comparison_due {
            self.compare(now);
        }
    }

    /// Asks both addresses anew what they see, the primary one first: something has happened on the
    /// way to them.
    pub(super) fn verify(&mut self, now: Instant) {
        let Phase::Qualified(service) = &mut self.phase else { return };
        let (server, failure) = (self.config.server, OfflineReason::NoAnswer);
        let exchange = Exchange::new(now, server, &mut self.random, failure);
        let solicitation = exchange.solicitation();
        service.refresh = Refresh::Asking(exchange);
        service.comparison = Comparison::Resting(now);
        self.send(now, solicitation);
    }

    /// Asks the secondary address, if there is one, what it sees.
    pub(super) fn compare(&mut self, now: Instant) {
        let Some(secondary) = self.secondary() else { return };
        let Phase::Qualified(service) = &mut self.phase else { return };
        let failure = OfflineReason::NoSecondaryAnswer;
        let exchange = Exchange::new(now, secondary, &mut self.random, failure);
        let solicitation = exchange.solicitation();
        service.comparison = Comparison::Asking(exchange);
        self.send(now, solicitation);
    }

    fn advance_comparison(&mut self, now: Instant) {
        let Phase::Qualified(service) = &mut self.phase else { return };
        let Comparison::Asking(exchange) = &mut service.comparison else { return };
        match exchange.advance(now) {
            Progress::Wait => {}
            Progress::Repeat(solicitation) => self.send(now, solicitation),
            Progress::Failed(failure) if self.config.strict => self.fail(now, failure),
            // Degraded: what is known of the NAT stays as it was (E-10).
            Progress::Failed(_) if self.nat_kind == NatKind::Unknown => {
                service.comparison = Comparison::Resting(now + COMPARISON_RETRY);
            }
            Progress::Failed(_) => service.comparison = Comparison::rested(now),
        }
    }

    /// The secondary address answered.
    pub(super) fn compared(&mut self, now: Instant, second: Mapping) {
        let Phase::Qualified(service) = &mut self.phase else { return };
        service.comparison = Comparison::rested(now);
        let first = service.mapping.mapped;
        let kind = self.classify(first, second.mapped);
        let was_unknown = self.nat_kind == NatKind::Unknown;
        self.set_nat_kind(kind);
        if was_unknown {
            self.doubt_ways();
        }
        self.note_mappings(now, [first, second.mapped]);
        if self.is_unusable(kind) {
            self.fail(now, OfflineReason::SymmetricNat);
        }
    }

    /// Sends an item, and remembers when something went to the server.
    pub(super) fn send(&mut self, now: Instant, item: Item) {
        if let Phase::Qualified(service) = &mut self.phase
            && item.destination() == Some(self.config.server_endpoint())
        {
            service.sent_at = now;
        }
        self.outbox.push(item);
    }
}

/// The shortest interval: one a second is as often as any NAT may need.
const REFRESH_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// When a secondary address that did not answer is asked again as long as the kind of NAT is
/// unknown: often enough for a symmetric NAT to be met on a bad day, seldom enough for the many
/// servers whose second address is dead.
const COMPARISON_RETRY: Duration = Duration::from_mins(5);

/// How long a comparison counts. NATs change their kind under load, so it is repeated.
const COMPARISON_INTERVAL: Duration = Duration::from_secs(30 * 60);
