//! From nothing to an address (RFC 4380 section 5.2.1, without the cone phase: RFC 5991
//! section 3.2).

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use core::time::Duration;

use teredo_wire::address::CLIENT_LINK_LOCAL;
use teredo_wire::{Datagram, Flags, TEREDO_PORT, TeredoAddress};

use crate::client::advertisement::Answer;
use crate::client::exchange::{Exchange, Progress};
use crate::client::helper::Registration;
use crate::client::maintenance::Service;
use crate::client::traversal::AddressPool;
use crate::client::{Client, Phase, advertisement};
use crate::random::Random;
use crate::reason::DropReason;
use crate::role::{Event, NatKind, OfflineReason};
use crate::time::Instant;

/// What a valid Router Advertisement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    /// The mapped address and port, as that server address saw it.
    pub(super) mapped: SocketAddrV4,
    /// The MTU of the link in bytes.
    pub(super) mtu: u16,
}

impl Client {
    /// Qualifies as if for the first time.
    pub(super) fn qualify_afresh(&mut self, now: Instant) {
        self.backoff = Backoff::default();
        self.pool = AddressPool::default();
        self.set_nat_kind(NatKind::Unknown);
        self.qualify(now);
    }

    /// Qualifies as if for the first time, unless the client is stopped or sleeps.
    pub(super) fn requalify(&mut self, now: Instant) {
        match self.phase {
            Phase::Offline { reason: OfflineReason::Stopped, .. } | Phase::Dormant => {}
            Phase::Offline { .. }
            | Phase::Primary(_)
            | Phase::Secondary { .. }
            | Phase::Qualified(_) => self.qualify_afresh(now),
        }
    }

    /// Asks the primary server address, without a random delay: a client does not start by the
    /// thousand at one moment as the hosts of RFC 4861 section 6.3.7 do.
    fn qualify(&mut self, now: Instant) {
        let server = self.config.server;
        if !self.config.filter.is_global(server) {
            return self.fail(now, OfflineReason::ForbiddenServer);
        }
        let exchange = Exchange::new(now, server, &mut self.random, OfflineReason::NoAnswer);
        self.outbox.push(exchange.solicitation());
        self.enter(Phase::Primary(exchange));
        if self.is_helped_throughout() {
            self.renew_registration();
            self.advance_helper(now);
        }
    }

    /// Does what has become due about the address.
    pub(super) fn advance_phase(&mut self, now: Instant) {
        if self.fall_asleep(now) {
            return;
        }
        let progress = match &mut self.phase {
            Phase::Offline { restart_at, .. } => {
                if restart_at.is_some_and(|at| at <= now) {
                    self.qualify(now);
                }
                return;
            }
            Phase::Primary(exchange) | Phase::Secondary { exchange, .. } => exchange.advance(now),
            Phase::Qualified(_) => return self.maintain(now),
            Phase::Dormant => return,
        };
        match progress {
            Progress::Wait => {}
            Progress::Repeat(solicitation) => self.outbox.push(solicitation),
            Progress::Failed(failure) => self.qualification_failed(now, failure),
        }
    }

    /// Takes a Router Advertisement.
    pub(super) fn take_advertisement(
        &mut self,
        now: Instant,
        from: SocketAddrV4,
        datagram: &Datagram<'_>,
    ) -> Result<(), DropReason> {
        let link_local = self.helper.as_ref().map_or(CLIENT_LINK_LOCAL, Registration::link_local);
        let exchange = match &mut self.phase {
            Phase::Offline { .. } | Phase::Dormant => None,
            Phase::Primary(exchange) | Phase::Secondary { exchange, .. } => Some(exchange),
            Phase::Qualified(service) => service.exchange_with(*from.ip()),
        };
        let exchange = exchange
            .filter(|exchange| from == SocketAddrV4::new(exchange.server, TEREDO_PORT))
            .ok_or(DropReason::UnsolicitedAdvertisement)?;
        match advertisement::read_at(link_local, datagram, exchange.nonce, &self.config) {
            Ok(Answer { mapping, is_renewal_due }) => {
                self.set_renewal(is_renewal_due);
                self.answered(now, from, mapping);
                Ok(())
            }
            Err(reason) => {
                exchange.note(reason);
                Err(reason)
            }
        }
    }

    fn set_renewal(&mut self, is_due: bool) {
        if self.is_renewal_due != is_due {
            self.is_renewal_due = is_due;
            self.events.push(Event::KeyRenewal(is_due));
        }
    }

    fn answered(&mut self, now: Instant, from: SocketAddrV4, mapping: Mapping) {
        match self.phase {
            Phase::Offline { .. } | Phase::Dormant => {}
            Phase::Primary(_) => self.primary_answered(now, mapping),
            Phase::Secondary { found, .. } => self.secondary_answered(now, found, mapping),
            Phase::Qualified(_) if from == self.config.server_endpoint() => {
                self.refreshed(now, mapping);
            }
            Phase::Qualified(_) => self.compared(now, mapping),
        }
    }

    /// One answer is enough to serve with, unless the second one may forbid it again: then the
    /// stack would see an address come and go with each attempt.
    fn primary_answered(&mut self, now: Instant, found: Mapping) {
        let is_cautious = self.config.strict || self.is_unusable(self.nat_kind);
        match self.secondary() {
            Some(secondary) if is_cautious => {
                let failure = OfflineReason::NoSecondaryAnswer;
                let exchange = Exchange::new(now, secondary, &mut self.random, failure);
                self.outbox.push(exchange.solicitation());
                self.enter(Phase::Secondary { exchange, found });
            }
            None if self.config.strict => {
                self.fail(now, OfflineReason::NoSecondaryAnswer);
            }
            Some(_) | None => {
                self.serve(now, found);
                self.examine(now);
            }
        }
    }

    /// The secondary server address, if there is one that may be sent to.
    pub(super) fn secondary(&self) -> Option<Ipv4Addr> {
        self.config.secondary.filter(|&secondary| self.config.filter.is_global(secondary))
    }

    fn secondary_answered(&mut self, now: Instant, found: Mapping, second: Mapping) {
        let kind = self.classify(found.mapped, second.mapped);
        self.set_nat_kind(kind);
        self.note_mappings(now, [found.mapped, second.mapped]);
        if self.is_unusable(kind) {
            self.fail(now, OfflineReason::SymmetricNat);
        } else {
            self.serve(now, found);
        }
    }

    fn qualification_failed(&mut self, now: Instant, failure: OfflineReason) {
        match self.phase {
            Phase::Secondary { found, .. } if !self.config.strict => {
                self.set_nat_kind(NatKind::Unknown);
                self.serve(now, found);
            }
            Phase::Primary(_) if self.is_helped_throughout() && !self.is_helped(now) => {
                self.helper_kept_silent();
                self.fail(now, OfflineReason::NoHelper);
            }
            Phase::Primary(_) => {
                // The name may stand for another address by now.
                self.events.push(Event::ServerLost);
                self.fail(now, failure);
            }
            Phase::Secondary { .. }
            | Phase::Offline { .. }
            | Phase::Qualified(_)
            | Phase::Dormant => {
                self.fail(now, failure);
            }
        }
    }

    /// Enters service with the address that `found` gives.
    fn serve(&mut self, now: Instant, found: Mapping) {
        self.backoff = Backoff::default();
        // However long it took to get it: nobody could need it before.
        self.needed_at = now;
        let address = self.address_for(found.mapped);
        let service = Service::new(now, address, found, &mut self.random, &self.config);
        self.enter(Phase::Qualified(service));
        self.send_early(now);
    }

    /// The address for a mapping: the last one, flags included, if it embeds the same.
    pub(super) fn address_for(&mut self, mapped: SocketAddrV4) -> Ipv6Addr {
        let server = self.config.server;
        let known = self.last_address.filter(|last| (last.server, last.mapped) == (server, mapped));
        let address = known.unwrap_or_else(|| {
            let flags = Flags::from_random(self.random.next_u64() as u16);
            TeredoAddress { server, flags, mapped }
        });
        self.last_address = Some(address);
        address.to_ipv6()
    }

    /// What two server addresses that saw these mappings show.
    pub(super) fn classify(&self, first: SocketAddrV4, second: SocketAddrV4) -> NatKind {
        let local = self.config.local_address;
        let local = local.map(|address| SocketAddrV4::new(address, self.config.service_port));
        // Two mappings may have got one address of several.
        let is_chance = first.port() != second.port() && self.pool.is_plural();
        if first.ip() != second.ip() || is_chance {
            NatKind::AddressSymmetric
        } else if first.port() != second.port() {
            NatKind::PortSymmetric
        } else if local == Some(first) {
            NatKind::None
        } else {
            NatKind::EndpointIndependent
        }
    }

    /// Whether RFC 4380 section 5.2.1 forbids to serve behind such a NAT and RFC 6081 does not
    /// help.
    pub(super) fn is_unusable(&self, kind: NatKind) -> bool {
        is_symmetric(kind) && (self.config.strict || !self.config.traversal.symmetric)
    }

    /// Goes off-line until the next attempt.
    pub(super) fn fail(&mut self, now: Instant, reason: OfflineReason) {
        let restart_at = now + self.backoff.next(&mut self.random);
        self.go_offline(reason, Some(restart_at));
        self.refuse_early(now);
    }

    pub(super) fn go_offline(&mut self, reason: OfflineReason, restart_at: Option<Instant>) {
        self.enter(Phase::Offline { reason, restart_at });
    }

    /// Changes the phase and tells what that changes for the host: the address first, so that
    /// whoever hears of `qualified` finds it in place.
    pub(super) fn enter(&mut self, phase: Phase) {
        let stage = |client: &Self| (client.state(), client.is_asking_secondary());
        let (old_stage, old_link, was_resting) = (stage(self), self.link(), self.resting.is_some());
        self.phase = phase;
        self.resting = match self.phase {
            Phase::Dormant => old_link.map(|(address, _)| address),
            Phase::Primary(_) | Phase::Secondary { .. } => self.resting,
            Phase::Offline { .. } | Phase::Qualified(_) => None,
        };
        match self.phase {
            Phase::Qualified(_) => self.determine_interval(),
            Phase::Offline { .. }
            | Phase::Primary(_)
            | Phase::Secondary { .. }
            | Phase::Dormant => {
                self.forget_interval();
            }
        }
        self.link_changed(old_link);
        if was_resting && old_link == self.link() && self.resting.is_none() {
            self.events.push(Event::AddressChanged(None));
        }
        if stage(self) != old_stage {
            self.events.push(Event::StateChanged(self.state()));
        }
    }

    /// Tells of the address and MTU if they are not the `old` ones any more. With another address
    /// nothing is proven about any peer: it has to find us anew, and we it.
    pub(super) fn link_changed(&mut self, old: Option<(Ipv6Addr, u16)>) {
        let new = self.link();
        if new == old {
            return;
        }
        if new.map(|(address, _)| address) != old.map(|(address, _)| address) {
            self.address_at_helper_changed();
            self.distrust_all();
        }
        self.events.push(match self.resting {
            Some(_) => Event::AddressDeprecated,
            None => Event::AddressChanged(new),
        });
    }

    pub(super) fn link(&self) -> Option<(Ipv6Addr, u16)> {
        self.service().map(|service| (service.address, service.mapping.mtu))
    }

    pub(super) fn set_nat_kind(&mut self, kind: NatKind) {
        if self.nat_kind != kind {
            self.nat_kind = kind;
            self.events.push(Event::NatKindChanged(kind));
        }
    }
}

/// When to try again: each time later, and never at the same time as other clients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    delay: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { delay: RESTART_DELAY_MIN }
    }
}

impl Backoff {
    /// How long to wait this time: the delay, ±25 %.
    pub(super) fn next(&mut self, random: &mut Random) -> Duration {
        let delay = self.delay;
        self.delay = (2 * delay).min(RESTART_DELAY_MAX);
        delay * 3 / 4 + random.up_to(delay / 2)
    }
}

/// Whether such a NAT maps each destination to another endpoint.
pub(super) fn is_symmetric(kind: NatKind) -> bool {
    match kind {
        NatKind::PortSymmetric | NatKind::AddressSymmetric => true,
        NatKind::Unknown | NatKind::None | NatKind::EndpointIndependent => false,
    }
}

/// The first and the longest wait before a new attempt. The RFCs leave this open; deployed clients
/// wait 100 s.
const RESTART_DELAY_MIN: Duration = Duration::from_secs(30);
const RESTART_DELAY_MAX: Duration = Duration::from_secs(300);
