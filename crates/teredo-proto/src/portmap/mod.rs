//! Asking the gateway for a port: PCP (RFC 6887) first, NAT-PMP (RFC 6886) if that is all it
//! knows.
//!
//! A mapping made this way is open to everyone, so that the client behind it is as reachable as
//! behind a cone (protocol section 6.4, O). [`PortMapper`] keeps one for the service port, and PEER
//! mappings towards single endpoints besides. It is a state machine with the verbs of a
//! [`Role`](crate::Role) and a socket of its own; what it learns goes to
//! [`Client::take_port_mapping`](crate::client::Client::take_port_mapping).
//!
//! What an unsolicited announcement says is never believed: it makes the mapper ask, and the answer
//! counts, because that carries a nonce.

mod epoch;
mod failure;
mod lease;

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::collections::VecDeque;

use teredo_wire::pcp::{Operation, SERVER_PORT};
use teredo_wire::{Writer, nat_pmp, pcp};

use crate::random::{Random, Seed};
use crate::time::Instant;

pub use failure::{Failure, Ignored};

use epoch::Epoch;
use lease::{Lease, Step, Target};

/// Where the gateway is, and what is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The address of the gateway on this host's link.
    pub gateway: Ipv4Addr,
    /// The address that this host sends from to the gateway.
    pub local: Ipv4Addr,
    /// The local UDP port that is to be reachable.
    pub internal_port: u16,
    /// How long a mapping is asked for.
    pub lifetime: Duration,
}

impl Config {
    /// The lifetime that RFC 6886 section 3.3 recommends.
    pub const fn new(gateway: Ipv4Addr, local: Ipv4Addr, internal_port: u16) -> Self {
        Self { gateway, local, internal_port, lifetime: LIFETIME }
    }
}

/// What a mapper tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// This external endpoint leads to the service port now.
    Mapped(SocketAddrV4),
    /// None does, or none any more. It goes on trying, seldom.
    Unmapped(Failure),
    /// Packets from a local port to `remote` leave from the external endpoint.
    PeerMapped {
        /// The port asked for.
        internal_port: u16,
        /// The remote endpoint asked for.
        remote: SocketAddrV4,
        /// The external endpoint.
        external: SocketAddrV4,
    },
    /// There is no such mapping, or none any more; it is forgotten.
    PeerUnmapped {
        /// The port asked for.
        internal_port: u16,
        /// The remote endpoint asked for.
        remote: SocketAddrV4,
        /// Why.
        failure: Failure,
    },
    /// The gateway has forgotten everything, also the mappings that packets had made.
    GatewayRestarted,
}

/// What a gateway is asked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 6887.
    Pcp,
    /// RFC 6886.
    NatPmp,
}

impl Protocol {
    /// The word used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcp => "pcp",
            Self::NatPmp => "nat-pmp",
        }
    }

    /// How long to wait for an answer after `tries` transmissions before (RFC 6887 section 8.1.1;
    /// RFC 6886 section 3.1).
    fn wait(self, tries: u32, random: &mut Random) -> Duration {
        let factor = 2_u32.saturating_pow(tries.min(16));
        match self {
            Self::Pcp => {
                let wait = (PCP_WAIT * factor).min(PCP_WAIT_MAX);
                wait * 9 / 10 + random.up_to(wait / 5)
            }
            Self::NatPmp => NAT_PMP_WAIT * factor,
        }
    }
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Repeating or giving up a request.
    Answer,
    /// Renewing a mapping.
    Renewal,
    /// A new attempt after a refusal or silence.
    Retry,
}

/// A datagram to send, written into the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Destination.
    pub to: SocketAddrV4,
    /// Bytes written.
    pub len: usize,
}

/// Keeps mappings on one gateway.
///
/// It begins at rest; [`start`](Self::start) makes it ask. The contract of [`Role`](crate::Role)
/// holds: mutate once, drain, then wait.
#[derive(Debug)]
pub struct PortMapper {
    config: Config,
    random: Random,
    /// That of the service port, for as long as the mapper lives: a gateway that has not heard of a
    /// deletion would refuse another one.
    nonce: [u8; 12],
    protocol: Protocol,
    /// Whether the gateway has answered in this protocol.
    has_answered: bool,
    epoch: Option<Epoch>,
    /// The external address by NAT-PMP, which tells it apart from the ports.
    external_address: Option<Ipv4Addr>,
    /// Whether that has been asked for and not answered.
    is_address_asked: bool,
    /// When an announcement is next taken for a reason to ask.
    heed_at: Instant,
    /// That of the service port first.
    leases: Vec<Lease>,
    outbox: VecDeque<Request>,
    events: VecDeque<Event>,
    ignored: [u64; Ignored::ALL.len()],
}

#[derive(Clone, Copy, Debug)]
enum Request {
    Pcp(pcp::Request),
    NatPmp(nat_pmp::Request),
}

impl PortMapper {
    /// A mapper at rest. All that it draws at random comes out of `seed`.
    pub fn new(config: Config, seed: Seed) -> Self {
        let mut random = Random::new(seed);
        Self {
            config,
            nonce: random.bytes(),
            random,
            protocol: Protocol::Pcp,
            has_answered: false,
            epoch: None,
            external_address: None,
            is_address_asked: false,
            heed_at: Instant::default(),
            leases: Vec::new(),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            ignored: [0; Ignored::ALL.len()],
        }
    }

    /// Asks for a mapping of the service port, at once; nothing if it does so already.
    pub fn start(&mut self, now: Instant) {
        if self.main().is_none_or(|lease| lease.leaving) {
            self.leases.clear();
            let target = Target { internal_port: self.config.internal_port, remote: None };
            self.leases.push(Lease::new(now, target, self.nonce));
            self.handle_timeout(now);
        }
    }

    /// Gives back what it has. Once [`is_idle`](Self::is_idle) nothing is left to be done.
    pub fn stop(&mut self, now: Instant) {
        self.leases.retain_mut(|lease| lease.leaving || lease.leave(now));
        self.outbox.clear();
        self.handle_timeout(now);
    }

    /// Whether it neither has nor wants anything.
    pub fn is_idle(&self) -> bool {
        self.leases.is_empty() && self.outbox.is_empty()
    }

    /// Asks again for what it has: something may have taken it away.
    pub fn renew(&mut self, now: Instant) {
        for lease in self.leases.iter_mut().filter(|lease| !lease.leaving) {
            lease.recreate(now);
        }
        self.handle_timeout(now);
    }

    /// Takes another gateway or address. What the old one gave is out of reach: it is forgotten,
    /// and if the mapper was started, asked for anew.
    pub fn set_network(&mut self, now: Instant, gateway: Ipv4Addr, local: Ipv4Addr) {
        if (gateway, local) == (self.config.gateway, self.config.local) {
            return;
        }
        let is_started = self.main().is_some_and(|lease| !lease.leaving);
        let old = core::mem::take(&mut self.leases);
        for lease in old.into_iter().filter(|lease| !lease.leaving && lease.told.is_some()) {
            self.tell_unmapped(lease.target, Failure::NoAnswer);
        }
        (self.config.gateway, self.config.local) = (gateway, local);
        self.outbox.clear();
        self.forget_gateway();
        if is_started {
            self.start(now);
        }
    }

    /// Asks for the external endpoint of packets from a local port to `remote` before there are
    /// any. The answer is an event; false without room for it.
    pub fn map_peer(&mut self, now: Instant, internal_port: u16, remote: SocketAddrV4) -> bool {
        let target = Target { internal_port, remote: Some(remote) };
        if self.leases.iter().any(|lease| lease.target == target && !lease.leaving) {
            return true;
        }
        if self.leases.len() > PEERS_MAX {
            return false;
        }
        self.leases.push(Lease::new(now, target, self.random.bytes()));
        self.handle_timeout(now);
        true
    }

    /// Gives back what [`map_peer`](Self::map_peer) asked for.
    pub fn unmap_peer(&mut self, now: Instant, internal_port: u16, remote: SocketAddrV4) {
        let target = Target { internal_port, remote: Some(remote) };
        self.leases.retain_mut(|lease| lease.target != target || lease.leaving || lease.leave(now));
        self.handle_timeout(now);
    }

    /// The external endpoint of the service port, while there is one.
    pub fn external(&self) -> Option<SocketAddrV4> {
        self.main().filter(|lease| !lease.leaving).and_then(|lease| lease.told)
    }

    /// What the gateway is asked with, once it has answered.
    pub fn protocol(&self) -> Option<Protocol> {
        self.has_answered.then_some(self.protocol)
    }

    /// How many datagrams were ignored for this reason.
    pub fn ignored(&self, reason: Ignored) -> u64 {
        self.ignored[reason as usize]
    }

    /// Takes a datagram from the socket that requests leave from, or from the one that hears
    /// announcements.
    ///
    /// # Errors
    /// Why it was ignored; it has been counted.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddrV4,
        payload: &[u8],
    ) -> Result<(), Ignored> {
        let taken = self.take(now, from, payload);
        if let Err(reason) = taken {
            self.ignored[reason as usize] += 1;
        }
        // What was put off until this answer is due now.
        self.handle_timeout(now);
        taken
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut index = 0;
        while index < self.leases.len() {
            let tries_max = self.tries_max(index);
            let lease = &mut self.leases[index];
            match lease.advance(now, self.protocol, tries_max, &mut self.random) {
                Step::Wait => index += 1,
                Step::Ask => {
                    self.ask(index);
                    index += 1;
                }
                Step::GiveUp => index += self.give_up(now, index),
                Step::Expire(failure) => {
                    let lease = &mut self.leases[index];
                    let target = lease.target;
                    if lease.told.take().is_some() {
                        self.tell_unmapped(target, failure);
                    }
                }
                Step::Drop => drop(self.leases.remove(index)),
            }
        }
    }

    /// Writes the next request into `buffer`, which holds at least [`TRANSMIT_LEN_MAX`] bytes;
    /// `None` when there is none.
    pub fn poll_transmit(&mut self, buffer: &mut [u8]) -> Option<Transmit> {
        let to = self.server();
        while let Some(request) = self.outbox.pop_front() {
            let mut writer = Writer::new(buffer);
            let written = match request {
                Request::Pcp(request) => request.write(&mut writer),
                Request::NatPmp(request) => request.write(&mut writer),
            };
            if written.is_ok() {
                return Some(Transmit { to, len: writer.len() });
            }
        }
        None
    }

    /// The next thing to tell; `None` when there is nothing.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When `handle_timeout` wants to be called next, and what for; `None` for never.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        self.leases.iter().map(Lease::deadline).min_by_key(|(at, _)| *at)
    }

    fn main(&self) -> Option<&Lease> {
        self.leases.iter().find(|lease| lease.target.remote.is_none())
    }

    fn server(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.config.gateway, SERVER_PORT)
    }

    fn forget_gateway(&mut self) {
        self.protocol = Protocol::Pcp;
        self.has_answered = false;
        self.epoch = None;
        self.external_address = None;
        self.is_address_asked = false;
    }

    /// Transmissions before silence means something: of PCP few, as long as the gateway may know
    /// NAT-PMP only; of NAT-PMP as RFC 6886 section 3.1 has it.
    fn tries_max(&self, index: usize) -> u32 {
        match (self.protocol, self.leases[index].target.remote) {
            (Protocol::NatPmp, Some(_)) => 0,
            (Protocol::NatPmp, None) => NAT_PMP_TRIES,
            (Protocol::Pcp, _) if self.has_answered => PCP_TRIES,
            (Protocol::Pcp, _) => PCP_TRIES_UNKNOWN,
        }
    }

    fn ask(&mut self, index: usize) {
        let lease = &self.leases[index];
        let lifetime = if lease.leaving { Duration::ZERO } else { self.config.lifetime };
        let lifetime_s = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        let request = match self.protocol {
            Protocol::Pcp => Request::Pcp(pcp_request(lease, lifetime_s, self.config.local)),
            Protocol::NatPmp => Request::NatPmp(nat_pmp::Request::Map {
                internal_port: lease.target.internal_port,
                external_port: if lease.leaving { 0 } else { lease.suggested.port() },
                lifetime_s,
            }),
        };
        let is_known = self.external_address.is_some();
        // With each renewal too: the address may have changed without a sound.
        let needs_address = !lease.leaving && (!is_known || lease.is_held());
        if self.protocol == Protocol::NatPmp && needs_address {
            self.is_address_asked = true;
            self.push(Request::NatPmp(nat_pmp::Request::ExternalAddress));
            if !is_known {
                return;
            }
        }
        self.push(request);
    }

    fn push(&mut self, request: Request) {
        if self.outbox.len() < OUTBOX_MAX {
            self.outbox.push_back(request);
        }
    }

    /// Nobody has answered: another protocol, or a long pause. Returns how many leases to step
    /// over.
    fn give_up(&mut self, now: Instant, index: usize) -> usize {
        let target = self.leases[index].target;
        if target.remote.is_some() {
            let failure = match self.protocol {
                Protocol::Pcp => Failure::NoAnswer,
                Protocol::NatPmp => Failure::Unsupported,
            };
            self.leases.remove(index);
            self.tell_unmapped(target, failure);
            return 0;
        }
        if self.protocol == Protocol::Pcp && !self.has_answered {
            self.fall_back(now);
            return 0;
        }
        self.forget_gateway();
        self.refused(now, index, Failure::NoAnswer, SILENCE_PAUSE);
        1
    }

    /// Asks with NAT-PMP from now on.
    fn fall_back(&mut self, now: Instant) {
        self.forget_gateway();
        self.protocol = Protocol::NatPmp;
        for lease in &mut self.leases {
            if !lease.leaving {
                lease.recreate(now);
            }
        }
    }

    fn take(&mut self, now: Instant, from: SocketAddrV4, payload: &[u8]) -> Result<(), Ignored> {
        if from != self.server() {
            return Err(Ignored::NotGateway);
        }
        match (payload.first(), self.protocol) {
            (Some(&pcp::VERSION), Protocol::Pcp) => self.take_pcp(now, &pcp_response(payload)?),
            (Some(&nat_pmp::VERSION), Protocol::NatPmp) => {
                self.take_nat_pmp(now, &nat_pmp::Response::parse(payload)?)
            }
            (Some(&nat_pmp::VERSION), Protocol::Pcp) => {
                let response = nat_pmp::Response::parse(payload)?;
                let refuses = response.result == nat_pmp::ResultCode::UNSUPPORTED_VERSION;
                self.take_other_version(now, refuses)
            }
            (Some(&pcp::VERSION), Protocol::NatPmp) => Err(Ignored::OtherProtocol),
            (Some(_) | None, _) => Err(Ignored::Malformed),
        }
    }

    /// A gateway that knows NAT-PMP only says so when it is asked with PCP.
    fn take_other_version(&mut self, now: Instant, refuses: bool) -> Result<(), Ignored> {
        let is_asking = self.main().is_some_and(|lease| lease.is_asking() && !lease.leaving);
        if !refuses || !is_asking {
            return Err(Ignored::OtherProtocol);
        }
        self.fall_back(now);
        Ok(())
    }

    fn take_pcp(&mut self, now: Instant, response: &pcp::Response) -> Result<(), Ignored> {
        let (mapping, remote) = match response.operation {
            Some(Operation::Map(mapping)) => (mapping, None),
            Some(Operation::Peer(mapping, remote)) => (mapping, Some(remote)),
            Some(Operation::Announce) => {
                let continues = |epoch: Epoch| epoch.continues_pcp(now, response.epoch_s);
                self.heed(now, self.epoch.is_none_or(continues));
                return Ok(());
            }
            None if response.result == pcp::ResultCode::UNSUPPORTED_VERSION => {
                return self.take_other_version(now, true);
            }
            None => return Err(Ignored::Unmatched),
        };
        let target = Target { internal_port: mapping.internal_port, remote };
        let index = self.leases.iter().position(|lease| {
            (lease.nonce, lease.target, UDP) == (mapping.nonce, target, mapping.protocol)
        });
        let index = index.ok_or(Ignored::Unmatched)?;
        if response.result == pcp::ResultCode::UNSUPPORTED_VERSION {
            return self.take_other_version(now, true);
        }
        let continues = |epoch: Epoch| epoch.continues_pcp(now, response.epoch_s);
        self.note_epoch(now, response.epoch_s, index, self.epoch.is_none_or(continues));
        let lifetime = Duration::from_secs(response.lifetime_s.into());
        if response.result == pcp::ResultCode::SUCCESS {
            self.granted(now, index, mapping.external, lifetime);
        } else {
            self.refused(now, index, Failure::from_pcp(response.result), lifetime);
        }
        Ok(())
    }

    fn take_nat_pmp(&mut self, now: Instant, response: &nat_pmp::Response) -> Result<(), Ignored> {
        let index = self.leases.iter().position(|lease| lease.target.remote.is_none());
        let index = index.ok_or(Ignored::Unmatched)?;
        let lease = &self.leases[index];
        let (port, leaving) = (lease.target.internal_port, lease.leaving);
        let continues = |epoch: Epoch| epoch.continues_nat_pmp(now, response.epoch_s);
        let continues = self.epoch.is_none_or(continues);
        match response.answer {
            Some(nat_pmp::Answer::ExternalAddress(address)) if !self.is_address_asked => {
                self.heed(now, continues && self.external_address == Some(address));
                Ok(())
            }
            Some(nat_pmp::Answer::ExternalAddress(address)) if !leaving => {
                self.is_address_asked = false;
                self.note_epoch(now, response.epoch_s, index, continues);
                if self.external_address.replace(address) != Some(address) || !continues {
                    self.leases[index].recreate(now);
                }
                Ok(())
            }
            Some(nat_pmp::Answer::Map { internal_port, external_port, lifetime_s })
                if internal_port == port && (lease.is_asking() || leaving) =>
            {
                self.note_epoch(now, response.epoch_s, index, continues);
                if !continues && !leaving {
                    // It may have another address too.
                    self.external_address = None;
                    self.leases[index].recreate(now);
                    return Ok(());
                }
                let lifetime = Duration::from_secs(lifetime_s.into());
                let address = self.external_address.unwrap_or(Ipv4Addr::UNSPECIFIED);
                self.granted(now, index, SocketAddrV4::new(address, external_port), lifetime);
                Ok(())
            }
            None if lease.is_asking() => {
                self.is_address_asked = false;
                self.note_epoch(now, response.epoch_s, index, continues);
                let failure = Failure::from_nat_pmp(response.result);
                self.refused(now, index, failure, Duration::ZERO);
                Ok(())
            }
            Some(_) | None => Err(Ignored::Unmatched),
        }
    }

    /// Takes an announcement: if the gateway may have forgotten something, asks. Everybody on the
    /// link hears it, so not all at once; and somebody may forge one, so not often.
    fn heed(&mut self, now: Instant, continues: bool) {
        if continues || self.heed_at > now {
            return;
        }
        self.heed_at = now + HEED_GAP;
        self.external_address = None;
        for lease in self.leases.iter_mut().filter(|lease| !lease.leaving) {
            lease.recreate(now + self.random.up_to(HEED_SPREAD));
        }
    }

    /// Takes the time of an answer about the lease at `index`. If the gateway has forgotten the
    /// others, they are asked for again.
    fn note_epoch(&mut self, now: Instant, seconds: u32, index: usize, continues: bool) {
        self.has_answered = true;
        self.epoch = Some(Epoch::new(now, seconds));
        if continues {
            return;
        }
        for (other, lease) in self.leases.iter_mut().enumerate() {
            if other != index && !lease.leaving {
                lease.recreate(now);
            }
        }
        self.tell(Event::GatewayRestarted);
    }

    fn granted(&mut self, now: Instant, index: usize, external: SocketAddrV4, lifetime: Duration) {
        if self.leases[index].leaving {
            self.leases.remove(index);
            return;
        }
        if external.port() == 0 || external.ip().is_unspecified() || lifetime < LIFETIME_MIN {
            return self.refused(now, index, Failure::Unusable, Duration::ZERO);
        }
        let lease = &mut self.leases[index];
        if !lease.grant(now, external, lifetime, &mut self.random) {
            return;
        }
        let Target { internal_port, remote } = lease.target;
        self.tell(match remote {
            None => Event::Mapped(external),
            Some(remote) => Event::PeerMapped { internal_port, remote, external },
        });
    }

    fn refused(&mut self, now: Instant, index: usize, failure: Failure, lifetime: Duration) {
        let lease = &mut self.leases[index];
        let target = lease.target;
        if lease.leaving || target.remote.is_some() {
            let is_news = !lease.leaving;
            self.leases.remove(index);
            if is_news {
                self.tell_unmapped(target, failure);
            }
            return;
        }
        if lease.refuse(now, failure, lifetime, &mut self.random) {
            self.tell_unmapped(target, failure);
        }
    }

    fn tell_unmapped(&mut self, target: Target, failure: Failure) {
        let Target { internal_port, remote } = target;
        self.tell(match remote {
            None => Event::Unmapped(failure),
            Some(remote) => Event::PeerUnmapped { internal_port, remote, failure },
        });
    }

    /// A host that does not listen loses the oldest news.
    fn tell(&mut self, event: Event) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

fn pcp_request(lease: &Lease, lifetime_s: u32, client: Ipv4Addr) -> pcp::Request {
    let mapping = pcp::Mapping {
        nonce: lease.nonce,
        protocol: UDP,
        internal_port: lease.target.internal_port,
        external: lease.suggested,
    };
    let operation = match lease.target.remote {
        None => Operation::Map(mapping),
        Some(remote) => Operation::Peer(mapping, remote),
    };
    pcp::Request { lifetime_s, client, operation }
}

fn pcp_response(payload: &[u8]) -> Result<pcp::Response, Ignored> {
    Ok(pcp::Response::parse(payload)?)
}

/// The longest request: a PEER.
pub const TRANSMIT_LEN_MAX: usize = 80;

/// UDP in an IPv4 header.
const UDP: u8 = 17;

/// Two hours (RFC 6886 section 3.3).
const LIFETIME: Duration = Duration::from_secs(7_200);
/// What is granted for less cannot be renewed in time.
const LIFETIME_MIN: Duration = Duration::from_secs(10);

/// The first and the longest wait for an answer (RFC 6887 section 8.1.1).
const PCP_WAIT: Duration = Duration::from_secs(3);
const PCP_WAIT_MAX: Duration = Duration::from_secs(1_024);
/// Three minutes: a gateway that boots is back by then.
const PCP_TRIES: u32 = 6;
/// After nine seconds without any answer the gateway is asked with NAT-PMP.
const PCP_TRIES_UNKNOWN: u32 = 2;
/// RFC 6886 section 3.1: nine tries, from 250 ms to 64 s.
const NAT_PMP_WAIT: Duration = Duration::from_millis(250);
const NAT_PMP_TRIES: u32 = 9;
/// A gateway that answered nothing is seldom asked again. Another one, or another address, is a
/// change of the network and asked at once.
const SILENCE_PAUSE: Duration = Duration::from_secs(1_800);

/// An announcement makes us ask within this time, so that not all hosts of the link do at once...
const HEED_SPREAD: Duration = Duration::from_secs(1);
/// ... and another one only after this time.
const HEED_GAP: Duration = Duration::from_secs(10);

/// PEER mappings at a time: few peers need one, and gateways give few.
const PEERS_MAX: usize = 16;
/// One request for each mapping, and one for the external address.
const OUTBOX_MAX: usize = 2 * (PEERS_MAX + 2);
/// Several events for each mapping.
const EVENTS_MAX: usize = 4 * (PEERS_MAX + 1);
