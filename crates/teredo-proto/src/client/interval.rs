//! How long the NAT remembers: a refresh interval longer than the configured one, found out with a
//! second port (RFC 4380 section 5.2.7). Optional.
//!
//! The secondary port gets a mapping from the server like the service port, and then rests for the
//! candidate interval. A bubble from the service port to the secondary address, by way of the
//! server (E-14), arrives if the mapping lived that long. What was found is forgotten with the
//! service: the next network has another NAT.

use core::net::{Ipv6Addr, SocketAddrV4};
use core::time::Duration;

use teredo_wire::{Datagram, Flags, TeredoAddress};

use crate::client::exchange::{Exchange, Progress};
use crate::client::outbox::Trailers;
use crate::client::reception::is_advertisement;
use crate::client::{Client, advertisement};
use crate::reason::DropReason;
use crate::role::{Event, Inbound, Local, OfflineReason};
use crate::time::Instant;

/// What is known of the interval, and the port that finds out more.
#[derive(Debug)]
pub(super) struct Determination {
    /// The longest interval that a mapping outlived.
    found: Option<Duration>,
    /// The shortest one that it did not, or none worth trying.
    max: Duration,
    port: Option<SecondaryPort>,
}

/// The secondary port, while there is one.
#[derive(Debug)]
struct SecondaryPort {
    number: u16,
    stage: Stage,
}

/// What the port is doing.
#[derive(Debug)]
enum Stage {
    /// Waiting for its socket.
    Binding,
    /// Having its mapping made, or made anew.
    Asking(Exchange),
    /// Left alone.
    Resting { until: Instant, address: Ipv6Addr },
    /// Waiting for the bubble.
    Testing { deadline: Instant, address: Ipv6Addr, repeats: u8 },
}

impl Default for Determination {
    fn default() -> Self {
        Self { found: None, max: INTERVAL_MAX, port: None }
    }
}

impl Determination {
    /// When something is to be done next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.port.as_ref()?.stage {
            Stage::Binding => None,
            Stage::Asking(exchange) => Some(exchange.deadline()),
            Stage::Resting { until, .. } => Some(*until),
            Stage::Testing { deadline, .. } => Some(*deadline),
        }
    }

    /// Whether `local` is the secondary port.
    pub(super) fn is_on(&self, local: Local) -> bool {
        self.port.as_ref().is_some_and(|port| local == Local::Random(port.number))
    }
}

impl Client {
    /// The refresh interval in force: the configured one, or a longer one that was determined (RFC
    /// 4380 section 5.2.7).
    pub fn refresh_interval(&self) -> Duration {
        self.determined_interval().unwrap_or(self.config.refresh_interval)
    }

    /// The refresh interval that was determined, if one was.
    pub fn determined_interval(&self) -> Option<Duration> {
        self.interval.found
    }

    /// Begins to determine the interval, if that is wanted and there is anything to find out.
    pub(super) fn determine_interval(&mut self) {
        let is_wanted = self.config.determine_interval && self.service().is_some();
        if !is_wanted || self.is_interval_settled() {
            return;
        }
        let number = self.ports.draw_number();
        self.interval.port = Some(SecondaryPort { number, stage: Stage::Binding });
        self.events.push(Event::BindPort(Local::Random(number)));
    }

    /// Forgets everything about the interval.
    pub(super) fn forget_interval(&mut self) {
        self.release_secondary_port();
        self.set_determined_interval(None);
        self.interval = Determination::default();
    }

    /// The mapping of the service port has not lived as long as was found: either the NAT is
    /// another one by now, or it does not treat all mappings alike. The interval that failed is not
    /// tried again.
    pub(super) fn doubt_interval(&mut self) {
        let Some(found) = self.interval.found else { return };
        self.release_secondary_port();
        self.set_determined_interval(None);
        self.interval.max = found;
        self.determine_interval();
    }

    /// Takes the host's answer about the secondary port.
    pub(super) fn secondary_port_bound(&mut self, now: Instant, port: Option<u16>) {
        if port.is_some() {
            self.ask_on_secondary_port(now);
        } else {
            self.interval.port = None;
        }
    }

    /// Does what has become due.
    pub(super) fn advance_interval(&mut self, now: Instant) {
        let Some(port) = &mut self.interval.port else { return };
        match &mut port.stage {
            Stage::Asking(exchange) => match exchange.advance(now) {
                Progress::Wait => {}
                Progress::Repeat(solicitation) => self.outbox.push(solicitation),
                Progress::Failed(_) => self.release_secondary_port(),
            },
            Stage::Resting { until, address } if *until <= now => {
                let address = *address;
                self.test_candidate(now, address, 0);
            }
            Stage::Testing { deadline, address, repeats } if *deadline <= now => {
                if *repeats < REPEATS_MAX {
                    let (address, repeats) = (*address, *repeats + 1);
                    self.test_candidate(now, address, repeats);
                } else {
                    self.interval.max = self.candidate();
                    self.candidate_decided(now);
                }
            }
            Stage::Binding | Stage::Resting { .. } | Stage::Testing { .. } => {}
        }
    }

    /// Takes what arrived on the secondary port: the server's answer and our own bubble, nothing
    /// else.
    pub(super) fn take_on_secondary_port(
        &mut self,
        now: Instant,
        from: SocketAddrV4,
        datagram: &Datagram<'_>,
    ) -> Result<Inbound, DropReason> {
        let is_from_server = from == self.config.server_endpoint();
        let own = self.address();
        let Some(port) = &mut self.interval.port else { return Err(DropReason::NotOurAddress) };
        let packet = &datagram.ipv6;
        match &mut port.stage {
            Stage::Asking(exchange) if is_advertisement(packet) && is_from_server => {
                let answer = advertisement::read(datagram, exchange.nonce, &self.config)
                    .inspect_err(|reason| exchange.note(*reason))?;
                self.secondary_port_mapped(now, answer.mapping.mapped);
            }
            _ if is_advertisement(packet) => return Err(DropReason::UnsolicitedAdvertisement),
            Stage::Testing { address, .. } if packet.destination() == *address => {
                if !is_from_server || !packet.is_bubble() || Some(packet.source()) != own {
                    return Err(DropReason::UnprovenPeer);
                }
                let candidate = self.candidate();
                self.set_determined_interval(Some(candidate));
                self.candidate_decided(now);
            }
            Stage::Binding | Stage::Asking(_) | Stage::Resting { .. } | Stage::Testing { .. } => {
                return Err(DropReason::NotOurAddress);
            }
        }
        Ok(Inbound::Consumed)
    }

    fn ask_on_secondary_port(&mut self, now: Instant) {
        let (server, failure) = (self.config.server, OfflineReason::NoAnswer);
        let Some(port) = &mut self.interval.port else { return };
        let via = Local::Random(port.number);
        let exchange = Exchange::new(now, server, &mut self.random, failure).on(via);
        // Not by way of `send`: this keeps no mapping of the service port alive.
        self.outbox.push(exchange.solicitation());
        port.stage = Stage::Asking(exchange);
    }

    /// The port has its mapping, and rests. The address is another one each time, so that nobody
    /// who does not see it can answer in the bubble's place.
    fn secondary_port_mapped(&mut self, now: Instant, mapped: SocketAddrV4) {
        let flags = Flags::from_random(self.random.next_u64() as u16);
        let address = TeredoAddress { server: self.config.server, flags, mapped }.to_ipv6();
        let until = now + self.candidate();
        if let Some(port) = &mut self.interval.port {
            port.stage = Stage::Resting { until, address };
        }
    }

    fn test_candidate(&mut self, now: Instant, address: Ipv6Addr, repeats: u8) {
        if let Some(port) = &mut self.interval.port {
            port.stage = Stage::Testing { deadline: now + BUBBLE_TIMEOUT, address, repeats };
        }
        let to = (self.config.server_endpoint(), Local::Primary);
        self.send_bubble(now, to, address, Trailers::default());
    }

    /// Goes on with the next candidate, if there is one.
    fn candidate_decided(&mut self, now: Instant) {
        if self.is_interval_settled() {
            self.release_secondary_port();
        } else {
            self.ask_on_secondary_port(now);
        }
    }

    /// The next interval to try. With the start values of the RFC this is 60 s at first.
    fn candidate(&self) -> Duration {
        let found = self.refresh_interval();
        (2 * found).min((found + self.interval.max) / 2)
    }

    /// Whether what is left to find out is not worth it. Success ends the procedure, too (E-15).
    fn is_interval_settled(&self) -> bool {
        4 * self.refresh_interval() >= 3 * self.interval.max
    }

    fn set_determined_interval(&mut self, found: Option<Duration>) {
        if self.interval.found != found {
            self.interval.found = found;
            self.events.push(Event::RefreshIntervalChanged(self.refresh_interval()));
        }
    }

    fn release_secondary_port(&mut self) {
        if let Some(port) = self.interval.port.take() {
            self.events.push(Event::ReleasePort(Local::Random(port.number)));
        }
    }
}

/// Where the search ends: maximum Teredo refresh interval.
const INTERVAL_MAX: Duration = Duration::from_secs(120);
/// How long the bubble has to arrive.
const BUBBLE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is repeated.
const REPEATS_MAX: u8 = 3;
