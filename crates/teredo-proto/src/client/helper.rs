//! The client of a [helper](crate::helper): being registered there, and the frames around what goes
//! through it.
//!
//! Registration is asked for when it is needed and renewed while it is: for the sake of some peer
//! ([`HelperUse::Peers`]) or as long as the client serves ([`HelperUse::All`]). In the latter case
//! the client knows nothing of the frames: to it, the helper is its NAT.

use core::net::{Ipv6Addr, SocketAddrV4};
use core::time::Duration;

use teredo_wire::address::CLIENT_LINK_LOCAL;
use teredo_wire::helper::{
    self, Challenge, Cookie, FORWARD_HEADER_LEN, Forward, Frame, Register, Registered, Seal,
    Status, Token, forward_header,
};
use teredo_wire::{NoSpace, Writer};

use crate::client::outbox::Item;
use crate::client::peer::Trust;
use crate::client::qualification::Backoff;
use crate::client::{Client, Phase};
use crate::filter::DENIED_PORTS;
use crate::keys::{HelperKey, Secret};
use crate::reason::DropReason;
use crate::role::{Arrival, Event, Inbound, Local, Outbound};
use crate::time::Instant;

/// The helper that a client may use.
#[derive(Clone, Debug)]
pub struct HelperConfig {
    /// Where it is.
    pub endpoint: SocketAddrV4,
    /// What the client proves itself to it with.
    pub secret: Secret,
    /// For what.
    pub used_for: HelperUse,
}

/// What a helper is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HelperUse {
    /// For peers that cannot be met otherwise.
    #[default]
    Peers,
    /// For everything: the address is one at the helper. Only so can peers that know nothing of RFC
    /// 6081, and networks that let nothing but the helper be reached, be coped with.
    All,
}

impl HelperUse {
    /// The word used in configuration and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Peers => "peers",
            Self::All => "all",
        }
    }
}

/// How far a client is with its helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HelperState {
    /// It is not needed.
    Idle,
    /// It is being asked.
    Asking,
    /// It passes on what is for the client.
    Registered,
    /// It has refused; it will be asked again while it is needed.
    Refused(Status),
    /// It has not answered, or not with our key; it will be asked again while it is needed.
    Silent,
}

/// What the client has to do with its helper.
#[derive(Debug)]
pub(super) struct Registration {
    config: HelperConfig,
    key: HelperKey,
    cookie: Cookie,
    request: Option<Request>,
    grant: Option<Grant>,
    /// How the last attempt ended, if it did not end well.
    failure: Option<HelperState>,
    /// What was last told.
    told: HelperState,
    /// When something is to be done.
    due_at: Instant,
    /// When it was last of use for some peer.
    needed_at: Option<Instant>,
    /// Since when what went to the helper has had no echo.
    unanswered_since: Option<Instant>,
    backoff: Backoff,
    conflicts: u8,
}

/// A request under way.
#[derive(Debug)]
struct Request {
    nonce: [u8; 8],
    address: Ipv6Addr,
    transmissions: u8,
    /// Whether the last transmission has been answered with a cookie.
    is_challenged: bool,
}

/// What the helper has granted.
#[derive(Clone, Copy, Debug)]
struct Grant {
    address: Ipv6Addr,
    token: Token,
    until: Instant,
}

impl Registration {
    pub(super) fn new(config: HelperConfig) -> Self {
        Self {
            key: HelperKey::new(&config.secret),
            config,
            cookie: Cookie::default(),
            request: None,
            grant: None,
            failure: None,
            told: HelperState::Idle,
            due_at: Instant::default(),
            needed_at: None,
            unanswered_since: None,
            backoff: Backoff::default(),
            conflicts: 0,
        }
    }

    fn is_for_all(&self) -> bool {
        self.config.used_for == HelperUse::All
    }

    /// Whether what leaves through `via` goes through the helper.
    pub(super) fn wraps(&self, via: Local) -> bool {
        match via {
            Local::Helper => true,
            Local::Primary => self.is_for_all(),
            Local::Secondary | Local::Discovery | Local::Random(_) => false,
        }
    }

    /// Where frames go.
    pub(super) fn endpoint(&self) -> SocketAddrV4 {
        self.config.endpoint
    }

    /// What stands before a datagram to an endpoint, while registered.
    pub(super) fn header(&self, to: SocketAddrV4) -> Option<[u8; FORWARD_HEADER_LEN]> {
        self.grant.map(|grant| forward_header(to, grant.token))
    }

    /// Where solicitations come from.
    pub(super) fn link_local(&self) -> Ipv6Addr {
        match self.grant.filter(|_| self.is_for_all()) {
            Some(grant) => helper::link_local(grant.address),
            None => CLIENT_LINK_LOCAL,
        }
    }

    /// Writes a request.
    pub(super) fn write(
        &self,
        writer: &mut Writer<'_>,
        nonce: [u8; 8],
        address: Ipv6Addr,
    ) -> Result<(), NoSpace> {
        let client_id = self.config.secret.identifier.as_bytes();
        let request = Register { nonce, cookie: self.cookie, address, client_id };
        self.key.seal(writer, |writer, mac_len| request.write(writer, mac_len))
    }

    fn state(&self, now: Instant) -> HelperState {
        match (self.grant, self.failure, &self.request) {
            (Some(grant), _, _) if now < grant.until => HelperState::Registered,
            (_, Some(failure), _) => failure,
            (_, None, Some(_)) => HelperState::Asking,
            (_, None, None) => HelperState::Idle,
        }
    }
}

impl Client {
    /// How far the client is with its helper; `None` without one.
    pub fn helper_state(&self, now: Instant) -> Option<HelperState> {
        self.helper.as_ref().map(|helper| helper.state(now))
    }

    /// Where the client's helper is; `None` without one.
    pub fn helper(&self) -> Option<SocketAddrV4> {
        self.helper.as_ref().map(Registration::endpoint)
    }

    /// Tells how far the client is with its helper, if that is new.
    fn tell_helper(&mut self, now: Instant) {
        let Some(helper) = &mut self.helper else { return };
        let state = helper.state(now);
        if state != helper.told {
            helper.told = state;
            self.events.push(Event::HelperChanged(state));
        }
    }

    /// Whether everything goes through the helper.
    pub(super) fn is_helped_throughout(&self) -> bool {
        self.helper.as_ref().is_some_and(Registration::is_for_all)
    }

    /// Whether the helper passes anything on.
    pub(super) fn is_helped(&self, now: Instant) -> bool {
        self.helper_state(now) == Some(HelperState::Registered)
    }

    /// There is another address to register, if that is wanted.
    pub(super) fn address_at_helper_changed(&mut self) {
        let address = self.address();
        let is_granted = |helper: &Registration| {
            address.is_none() || helper.grant.is_some_and(|grant| Some(grant.address) == address)
        };
        if self.helper.as_ref().is_some_and(|helper| !is_granted(helper)) {
            self.renew_registration();
        }
    }

    /// The helper's endpoint, if it passes on what is for our address.
    pub(super) fn helper_endpoint(&self, now: Instant) -> Option<SocketAddrV4> {
        let helper = self.helper.as_ref()?;
        let grant = helper.grant.filter(|grant| now < grant.until)?;
        (Some(grant.address) == self.address()).then_some(helper.config.endpoint)
    }

    /// The helper will be of use for some peer.
    pub(super) fn need_helper(&mut self, now: Instant) {
        if !self.config.traversal.helper {
            return;
        }
        if let Some(helper) = &mut self.helper {
            let was_needed =
                helper.needed_at.is_some_and(|needed_at| now.since(needed_at) < NEEDED);
            helper.needed_at = Some(now);
            if !was_needed {
                helper.due_at = now;
                self.advance_helper(now);
            }
        }
    }

    /// The way to the helper, or what is to be registered there, may be another one.
    pub(super) fn renew_registration(&mut self) {
        if let Some(helper) = &mut self.helper {
            helper.due_at = Instant::default();
            helper.request = None;
            helper.backoff = Backoff::default();
        }
    }

    /// When something is to be done about the helper.
    pub(super) fn helper_deadline(&self) -> Option<Instant> {
        let helper = self.helper.as_ref()?;
        let end = helper.grant.map(|grant| grant.until);
        let (due_at, doubtful_at) = match self.is_helper_wanted(helper) {
            true => (Some(helper.due_at), helper.unanswered_since.map(|since| since + ECHO_MAX)),
            false => (None, None),
        };
        let doubtful_at = doubtful_at.filter(|_| helper.request.is_none());
        [end, due_at, doubtful_at].into_iter().flatten().min()
    }

    /// Whether a registration is to be had or kept. Need that has ended is noticed when the next
    /// renewal is due.
    fn is_helper_wanted(&self, helper: &Registration) -> bool {
        let is_global = self.config.filter.is_global(*helper.config.endpoint.ip());
        let is_needed = match (&self.phase, helper.config.used_for) {
            (Phase::Offline { .. } | Phase::Dormant, _) => false,
            (_, HelperUse::All) => true,
            (Phase::Qualified(_), HelperUse::Peers) => helper.needed_at.is_some(),
            (Phase::Primary(_) | Phase::Secondary { .. }, HelperUse::Peers) => false,
        };
        is_global && is_needed
    }

    /// Does what has become due about the helper.
    pub(super) fn advance_helper(&mut self, now: Instant) {
        self.keep_registered(now);
        self.tell_helper(now);
    }

    fn keep_registered(&mut self, now: Instant) {
        let Some(helper) = &mut self.helper else { return };
        if helper.grant.is_some_and(|grant| grant.until <= now) {
            self.lose_helper();
        }
        let Some(helper) = &mut self.helper else { return };
        let is_needed = helper.needed_at.is_some_and(|needed_at| now.since(needed_at) < NEEDED);
        if !is_needed {
            helper.needed_at = None;
        }
        let is_doubtful = helper.unanswered_since.is_some_and(|since| now.since(since) >= ECHO_MAX);
        if is_doubtful && helper.request.is_none() {
            helper.due_at = now;
            helper.unanswered_since = None;
        }
        let Some(helper) = &self.helper else { return };
        if !self.is_helper_wanted(helper) {
            if let Some(helper) = &mut self.helper {
                helper.request = None;
            }
            return;
        }
        if helper.due_at <= now {
            self.ask_helper(now);
        }
    }

    /// Sends a request for the first time or again, or gives up for now.
    fn ask_helper(&mut self, now: Instant) {
        let address = self.address_to_register();
        let Some(helper) = &mut self.helper else { return };
        let request = match helper.request.take().filter(|request| request.address == address) {
            Some(request) if request.transmissions == TRANSMISSIONS_MAX => {
                helper.due_at = now + helper.backoff.next(&mut self.random);
                helper.failure = Some(HelperState::Silent);
                return;
            }
            Some(request) => Request {
                transmissions: request.transmissions + 1,
                is_challenged: false,
                ..request
            },
            None => {
                let nonce = self.random.bytes();
                Request { nonce, address, transmissions: 1, is_challenged: false }
            }
        };
        helper.due_at = now + TIMEOUT * (1 << (request.transmissions - 1));
        let item = Item::Registration { nonce: request.nonce, address };
        helper.request = Some(request);
        self.outbox.push(item);
    }

    /// Whoever waited for the helper waits no longer.
    pub(super) fn helper_kept_silent(&mut self) {
        if let Some(helper) = &mut self.helper {
            helper.failure.get_or_insert(HelperState::Silent);
        }
    }

    /// Our address, or the one that it will be once a server is asked through the helper.
    fn address_to_register(&mut self) -> Ipv6Addr {
        let future = match (self.address(), &self.helper) {
            (Some(address), _) => return address,
            (None, Some(helper)) => helper.config.endpoint,
            (None, None) => return Ipv6Addr::UNSPECIFIED,
        };
        self.address_for(future)
    }

    /// What the helper has passed on so far comes no more.
    fn lose_helper(&mut self) {
        if let Some(helper) = &mut self.helper {
            helper.grant = None;
            helper.unanswered_since = None;
        }
        for id in self.peers.ids() {
            let is_helped = |path: crate::client::peer::Path| path.via == Local::Helper;
            if self.peers[id].proven_path().is_some_and(is_helped) {
                self.peers[id].trust = Trust::Unproven;
            }
        }
    }

    /// Takes a datagram, be it one that the helper has passed on or not.
    pub(super) fn receive_any(
        &mut self,
        now: Instant,
        arrival: Arrival,
        payload: &[u8],
    ) -> Result<Inbound, DropReason> {
        let Some(helper) = self.helper.as_ref().filter(|_| arrival.on == Local::Primary) else {
            return self.receive(now, arrival, payload);
        };
        let is_from_helper = arrival.from == helper.config.endpoint && helper::is_frame(payload);
        if is_from_helper {
            return match Frame::parse(payload).map_err(|_| DropReason::BadFrame)? {
                Frame::Challenge(challenge) => self.take_challenge(&challenge),
                Frame::Registered(answer, seal) => self.take_answer(now, &answer, &seal),
                Frame::Forward(frame) => self.take_forwarded(now, &frame),
                Frame::Register(..) => Err(DropReason::BadFrame),
            };
        }
        if helper.is_for_all() {
            return Err(DropReason::NotThroughHelper);
        }
        self.receive(now, arrival, payload)
    }

    fn take_challenge(&mut self, challenge: &Challenge) -> Result<Inbound, DropReason> {
        let helper = self.helper.as_mut().ok_or(DropReason::UnsolicitedFrame)?;
        let request = helper.request.as_mut();
        let request = request
            .filter(|request| request.nonce == challenge.nonce && !request.is_challenged)
            .ok_or(DropReason::UnsolicitedFrame)?;
        request.is_challenged = true;
        let item = Item::Registration { nonce: request.nonce, address: request.address };
        helper.cookie = challenge.cookie;
        self.outbox.push(item);
        Ok(Inbound::Consumed)
    }

    fn take_answer(
        &mut self,
        now: Instant,
        answer: &Registered,
        seal: &Seal<'_>,
    ) -> Result<Inbound, DropReason> {
        let helper = self.helper.as_mut().ok_or(DropReason::UnsolicitedFrame)?;
        let request = helper.request.take_if(|request| request.nonce == answer.nonce);
        let request = request.ok_or(DropReason::UnsolicitedFrame)?;
        if let Err(reason) = helper.key.check(seal) {
            helper.request = Some(request); // a good one may still come
            return Err(reason);
        }
        helper.cookie = answer.cookie;
        if answer.status == Status::GRANTED {
            self.registered(now, request.address, answer);
        } else {
            self.refused(now, answer.status);
        }
        self.tell_helper(now);
        Ok(Inbound::Consumed)
    }

    fn registered(&mut self, now: Instant, address: Ipv6Addr, answer: &Registered) {
        let Some(helper) = &mut self.helper else { return };
        let lifetime = Duration::from_secs(answer.lifetime_s.into());
        let had_other = helper.grant.is_none_or(|grant| grant.address != address);
        helper.grant = Some(Grant { address, token: answer.token, until: now + lifetime });
        helper.failure = None;
        helper.conflicts = 0;
        helper.backoff = Backoff::default();
        helper.unanswered_since = None;
        let interval = self.config.refresh_interval.min(lifetime / 2).max(RENEWAL_MIN);
        helper.due_at = now + interval * 3 / 4 + self.random.up_to(interval / 4);
        if had_other && helper.is_for_all() {
            self.repeat_solicitation();
        }
    }

    /// The way to the server is open now.
    fn repeat_solicitation(&mut self) {
        if let Phase::Primary(exchange) | Phase::Secondary { exchange, .. } = &self.phase {
            let solicitation = exchange.solicitation();
            self.outbox.push(solicitation);
        }
    }

    fn refused(&mut self, now: Instant, status: Status) {
        let Some(helper) = &mut self.helper else { return };
        helper.failure = Some(HelperState::Refused(status));
        let is_free_to_choose = status == Status::ADDRESS_IN_USE
            && helper.is_for_all()
            && helper.conflicts < CONFLICTS_MAX;
        if is_free_to_choose {
            helper.conflicts += 1;
            helper.due_at = now;
            self.last_address = None;
            self.ask_helper(now);
        } else {
            helper.conflicts = 0;
            helper.due_at = now + helper.backoff.next(&mut self.random);
        }
    }

    /// Takes a datagram that the helper has passed on: it came from where the helper says, and to
    /// the client that it is all the same with.
    fn take_forwarded(&mut self, now: Instant, frame: &Forward<'_>) -> Result<Inbound, DropReason> {
        let helper = self.helper.as_mut().ok_or(DropReason::UnsolicitedFrame)?;
        let is_ours = helper.grant.is_some_and(|grant| {
            u32::from_ne_bytes(grant.token) ^ u32::from_ne_bytes(frame.token) == 0
        });
        if !is_ours {
            return Err(DropReason::UnsolicitedFrame);
        }
        helper.unanswered_since = None;
        // The helper passes on what comes from there, and nothing back: no way for a peer to keep.
        if DENIED_PORTS.contains(&frame.endpoint.port()) {
            return Err(DropReason::DeniedPort);
        }
        let on = if helper.is_for_all() { Local::Primary } else { Local::Helper };
        let inbound = self.receive(now, Arrival { from: frame.endpoint, on }, frame.datagram)?;
        if let Some(helper) = &mut self.helper
            && on == Local::Helper
        {
            helper.needed_at = Some(now);
        }
        Ok(match inbound {
            Inbound::Deliver(range) => {
                let shifted = range.start + FORWARD_HEADER_LEN..range.end + FORWARD_HEADER_LEN;
                Inbound::Deliver(shifted)
            }
            Inbound::Consumed | Inbound::Dropped(_) => inbound,
        })
    }

    /// Puts what stands before a datagram through the helper before a packet of the stack that is
    /// sent at once.
    pub(super) fn wrap(&mut self, now: Instant, outbound: Outbound) -> Outbound {
        let Outbound::Send { to, via } = outbound else { return outbound };
        let Some(helper) = self.helper.as_mut().filter(|helper| helper.wraps(via)) else {
            return outbound;
        };
        let Some(header) = helper.header(to) else {
            return Outbound::Dropped(DropReason::NotRegistered);
        };
        if via == Local::Helper {
            helper.needed_at = Some(now);
        }
        helper.unanswered_since.get_or_insert(now);
        Outbound::Wrap { header, to: helper.config.endpoint, via: Local::Primary }
    }
}

/// How long a registration is kept for the sake of a peer: as long as NATs remember at the most.
const NEEDED: Duration = Duration::from_secs(300);
/// The first wait for an answer; each one after that is twice as long.
const TIMEOUT: Duration = Duration::from_millis(500);
/// Requests before the next longer pause: 15.5 s in all.
const TRANSMISSIONS_MAX: u8 = 5;
/// Nothing is renewed more often, whatever the helper grants.
const RENEWAL_MIN: Duration = Duration::from_secs(2);
/// Silence after something was sent through the helper, after which it may have forgotten us.
const ECHO_MAX: Duration = Duration::from_secs(5);
/// Other flags that are tried at once for an address at the helper. There are 4096.
const CONFLICTS_MAX: u8 = 8;
