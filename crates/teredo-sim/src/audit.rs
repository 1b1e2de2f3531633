//! What a client or relay may do, in the simplest terms: books of its own, apart from the role's,
//! that each datagram is checked against.
//!
//! **Trust.** Data goes only to an endpoint that has proven itself, lately and since the role
//! started. A Teredo peer has if something from it came from the endpoint embedded in its address,
//! or a bubble with the nonce of our last indirect bubble came from there; a neighbour by answering
//! from where it announced itself; whoever carries a native host's packets by returning what only
//! an echo request through our own server contained; a client to a relay also by answering to the
//! address that only the relay's bubble to it came from. Data to a peer that proved another
//! endpoint may also go to the embedded one (RFC 6081 section 5.3.4.3). Servers send no data.
//!
//! **Budget.** Four attempts in 300 s without a direct answer, of six datagrams at most, and so
//! many for each indirect bubble that came in (RFC 4380 section 5.2.6, E-13); a limit on answers to
//! all peers together. A server sends no more datagrams than it gets.

use core::net::{Ipv6Addr, SocketAddrV4};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use teredo_proto::Instant;
use teredo_proto::client::DISCOVERY_ENDPOINT;
use teredo_proto::role::State;
use teredo_wire::helper::{Frame, HELPER_PORT};
use teredo_wire::icmpv6::Icmpv6;
use teredo_wire::ipv6::{Ipv6, next_header};
use teredo_wire::{Datagram, TEREDO_PORT, TeredoAddress};

use crate::host::Plan;
use crate::stack;

/// What was done that may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// Data for this address went to an endpoint without proof that it leads there.
    Trust(Ipv6Addr, SocketAddrV4),
    /// So many bubbles for this address within the window after so many indirect ones from it, more
    /// than there may be.
    Bubbles(Ipv6Addr, usize, usize),
    /// Bubbles for more addresses at once than there may be.
    Answers,
    /// A server sent data, or a server or helper more than it got.
    Server,
    /// A client went from one state to another that cannot follow.
    State(State, State),
    /// A client took an address whose endpoint its NAT does not have.
    Address(Ipv6Addr),
}

/// The books of one role.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    peers: BTreeMap<Ipv6Addr, Books>,
    /// When a first bubble for some time went to each of the last addresses.
    answered: VecDeque<(Instant, Ipv6Addr)>,
    state: Option<State>,
    received_count: u64,
    sent_count: u64,
}

/// What passed between the role and one IPv6 address.
#[derive(Debug, Default)]
struct Books {
    /// The nonce of the last indirect bubble to it.
    nonce: Option<[u8; 4]>,
    /// What a relay's bubbles to it came from.
    signatures: BTreeSet<Ipv6Addr>,
    /// What echo requests to it contained.
    echoes: BTreeSet<Vec<u8>>,
    /// Where it announced itself on the link.
    announced: Option<SocketAddrV4>,
    proven: BTreeSet<SocketAddrV4>,
    /// When something last came from an endpoint that is proven.
    heard_at: Option<Instant>,
    /// When bubbles went out, and when indirect ones came in, within [`WINDOW`].
    bubbles: VecDeque<Instant>,
    indirect: VecDeque<Instant>,
}

impl Audit {
    /// The role gets a datagram.
    pub(crate) fn note_received(
        &mut self,
        now: Instant,
        plan: &Plan,
        [from, to]: [SocketAddrV4; 2],
        payload: &[u8],
    ) {
        self.received_count += 1;
        let (from, payload) = unwrap(from, payload);
        let Ok(datagram) = Datagram::parse(payload) else { return };
        let (source, is_bubble) = (datagram.ipv6.source(), datagram.ipv6.is_bubble());
        let books = self.peers.entry(source).or_default();
        if to == DISCOVERY_ENDPOINT {
            books.announced = Some(from);
            return;
        }
        if is_bubble && own_server(plan) == Some(from) {
            recent(&mut books.indirect, now, WINDOW).push_back(now);
            return;
        }
        let nonce = datagram.trailers().ok().and_then(|trailers| trailers.nonce);
        let is_proof = match TeredoAddress::parse(source) {
            Some(peer) => {
                peer.mapped == from
                    || books.announced == Some(from)
                    || (is_bubble && nonce.is_some() && nonce == books.nonce)
                    || (is_bubble && books.signatures.contains(&datagram.ipv6.destination()))
            }
            None => echo(&datagram.ipv6, true).is_some_and(|data| books.echoes.contains(data)),
        };
        if is_proof {
            books.proven.insert(from);
        }
        if books.proven.contains(&from) {
            books.heard_at = Some(now);
            books.bubbles.clear();
            books.indirect.clear();
        }
    }

    /// The role sends a datagram.
    pub(crate) fn note_sent(
        &mut self,
        now: Instant,
        plan: &Plan,
        to: SocketAddrV4,
        payload: &[u8],
    ) -> Result<(), Offence> {
        self.sent_count += 1;
        if matches!(plan, Plan::Helper(_)) {
            let is_balanced = self.sent_count <= self.received_count;
            return if is_balanced { Ok(()) } else { Err(Offence::Server) };
        }
        let (to, payload) = unwrap(to, payload);
        let Ok(datagram) = Datagram::parse(payload) else { return Ok(()) };
        let (ipv6, destination) = (&datagram.ipv6, datagram.ipv6.destination());
        if matches!(plan, Plan::Server(_)) {
            let is_balanced = self.sent_count <= self.received_count;
            return (is_balanced && stack::tag(ipv6.bytes()).is_none())
                .then_some(())
                .ok_or(Offence::Server);
        }
        if to == DISCOVERY_ENDPOINT || is_solicitation(ipv6) {
            return Ok(());
        }
        let books = self.peers.entry(destination).or_default();
        if ipv6.is_bubble() {
            let server = TeredoAddress::parse(destination).map(|peer| peer.server);
            if server.is_some_and(|server| to == SocketAddrV4::new(server, TEREDO_PORT)) {
                books.nonce = datagram.trailers().ok().and_then(|trailers| trailers.nonce);
            }
            if matches!(plan, Plan::Relay(_)) {
                books.signatures.insert(ipv6.source());
            }
            books.note_bubble(now, destination)?;
            return self.note_answer(now, destination);
        }
        if own_server(plan) == Some(to)
            && let Some(data) = echo(ipv6, false)
        {
            books.echoes.insert(data.to_vec());
            return Ok(());
        }
        if books.admits(now, destination, to) {
            Ok(())
        } else {
            Err(Offence::Trust(destination, to))
        }
    }

    /// The client says what its state is.
    pub(crate) fn note_state(&mut self, state: State) -> Result<(), Offence> {
        let is_legal = match (self.state, state) {
            (None, _) | (Some(_), State::Offline(_)) => true,
            (Some(State::Offline(_)), State::Probe) | (Some(State::Probe), State::Qualified) => {
                true
            }
            (Some(State::Qualified), State::Probe | State::Dormant) => true,
            (Some(State::Dormant), State::Probe) | (Some(State::Probe), State::Dormant) => true,
            // From one server address to the other.
            (Some(State::Probe), State::Probe) => true,
            _ => false,
        };
        let before = self.state.replace(state);
        match before {
            Some(before) if !is_legal => Err(Offence::State(before, state)),
            _ => Ok(()),
        }
    }

    /// Bubbles went for many addresses: more than there are answers, and own attempts.
    fn note_answer(&mut self, now: Instant, destination: Ipv6Addr) -> Result<(), Offence> {
        while self.answered.front().is_some_and(|(at, _)| *at + ANSWERS_WINDOW <= now) {
            self.answered.pop_front();
        }
        if self.answered.iter().all(|(_, known)| *known != destination) {
            self.answered.push_back((now, destination));
        }
        if self.answered.len() > ANSWERS_MAX { Err(Offence::Answers) } else { Ok(()) }
    }
}

impl Books {
    fn note_bubble(&mut self, now: Instant, destination: Ipv6Addr) -> Result<(), Offence> {
        let bubbles = recent(&mut self.bubbles, now, WINDOW);
        bubbles.push_back(now);
        let sent = bubbles.len();
        let asked = recent(&mut self.indirect, now, WINDOW).len();
        if sent > (ATTEMPTS_MAX + asked) * BATCH_MAX + 1 {
            return Err(Offence::Bubbles(destination, sent, asked));
        }
        Ok(())
    }

    fn admits(&self, now: Instant, destination: Ipv6Addr, to: SocketAddrV4) -> bool {
        let is_fresh = self.heard_at.is_some_and(|heard_at| now.since(heard_at) < VALID);
        let embedded = TeredoAddress::parse(destination).map(|peer| peer.mapped);
        is_fresh && (self.proven.contains(&to) || embedded == Some(to))
    }
}

/// What passes through a helper goes to, or comes from, whom the helper is told or tells.
fn unwrap(endpoint: SocketAddrV4, payload: &[u8]) -> (SocketAddrV4, &[u8]) {
    match Frame::parse(payload) {
        Ok(Frame::Forward(frame)) if endpoint.port() == HELPER_PORT => {
            (frame.endpoint, frame.datagram)
        }
        _ => (endpoint, payload),
    }
}

/// The endpoint that indirect bubbles come from, and echo requests go to.
fn own_server(plan: &Plan) -> Option<SocketAddrV4> {
    match plan {
        Plan::Client(config) => Some(SocketAddrV4::new(config.server, TEREDO_PORT)),
        Plan::Server(_) | Plan::Relay(_) | Plan::Helper(_) => None,
    }
}

/// The data of an echo reply, or of a request.
fn echo<'a>(packet: &Ipv6<'a>, reply: bool) -> Option<&'a [u8]> {
    let is_icmpv6 = packet.next_header() == next_header::ICMPV6;
    let echo = Icmpv6::parse(packet).ok().filter(|_| is_icmpv6)?.echo()?;
    (echo.reply == reply).then_some(echo.data)
}

fn is_solicitation(packet: &Ipv6<'_>) -> bool {
    teredo_wire::address::is_link_local(packet.source()) && !packet.is_bubble()
}

/// Without what is older than a window.
fn recent(times: &mut VecDeque<Instant>, now: Instant, window: Duration) -> &mut VecDeque<Instant> {
    while times.front().is_some_and(|at| *at + window <= now) {
        times.pop_front();
    }
    times
}

/// How long a proof serves without anything from there (RFC 4380 section 5.2.4).
const VALID: Duration = Duration::from_secs(30);
/// Attempts in a window without an answer (RFC 4380 section 5.2.6).
const ATTEMPTS_MAX: usize = 4;
const WINDOW: Duration = Duration::from_secs(300);
/// Datagrams of one attempt: direct, indirect, one to or from a random port, alternates.
const BATCH_MAX: usize = 6;
/// Addresses that bubbles go for within a second: what answers there are at once and in a second,
/// and some that this side begins with.
const ANSWERS_MAX: usize = 150 + 20;
const ANSWERS_WINDOW: Duration = Duration::from_secs(1);
