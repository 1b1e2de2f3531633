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
//! **Budget.** Four attempts in 300 s without a direct answer, and one for each indirect bubble
//! that came in (RFC 4380 section 5.2.6, E-13): no more indirect bubbles than that, and of all
//! bubbles what so many attempts send at most; beside them only what an attempt from before the
//! last direct answer had yet to send. A limit on answers to all peers together. A server sends
//! no more datagrams than it gets. Birthday probing has a budget of its own (`probing`).
//!
//! **Helpers.** What goes through a helper counts as what the frame holds: it is for, or from, the
//! endpoint named there. A client sends frames to its own helper only; a helper passes on what is
//! for the address that it granted to the client at that endpoint, or comes from it (`helped`).

mod helped;
mod probing;

use core::net::{Ipv6Addr, SocketAddrV4};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use teredo_proto::client::DISCOVERY_ENDPOINT;
use teredo_proto::role::State;
use teredo_proto::{Instant, Local};
use teredo_wire::icmpv6::Icmpv6;
use teredo_wire::ipv6::{Ipv6, next_header};
use teredo_wire::{Datagram, TEREDO_PORT, TeredoAddress};

use crate::host::Plan;
use crate::stack;

use helped::Helped;
pub(crate) use helped::helper_of;
use probing::Probing;

/// What was done that may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offence {
    /// Data for this address went to an endpoint without proof that it leads there.
    Trust(Ipv6Addr, SocketAddrV4),
    /// So many bubbles for this address within the window after so many indirect ones from it, more
    /// than there may be.
    Bubbles(Ipv6Addr, usize, usize),
    /// The same of the indirect ones among them.
    Calls(Ipv6Addr, usize, usize),
    /// Bubbles for more addresses at once than there may be.
    Answers,
    /// More probes for this address, so many in a window or so many in a second, than there may be.
    Probes(Ipv6Addr, usize, usize),
    /// A server sent data, or a server or helper more than it got.
    Server,
    /// A helper passed something on to this endpoint that was not for it, or that nobody may send
    /// through it; or a client sent a frame to somebody else than its helper.
    Helper(SocketAddrV4),
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
    probing: Probing,
    helped: Helped,
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
    /// When bubbles went out, the indirect ones among them, and when indirect ones came in, within
    /// [`WINDOW`] and since `heard_at`. What came in counts [`PREPARATION`] longer: so late its
    /// answer may go, which is no attempt (E-13) as long as that is in the window.
    bubbles: VecDeque<Instant>,
    calls: VecDeque<Instant>,
    indirect: VecDeque<Instant>,
    /// When the last attempt from before `heard_at` may have begun.
    begun_at: Option<Instant>,
    /// Indirect bubbles that go with birthday probing, beside those of attempts.
    beside: usize,
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
        if matches!(plan, Plan::Helper(_)) {
            return self.helped.note_received(from, payload);
        }
        let Some((from, payload)) = helped::unwrap(plan, from, payload) else { return };
        let Ok(datagram) = Datagram::parse(payload) else { return };
        let (source, is_bubble) = (datagram.ipv6.source(), datagram.ipv6.is_bubble());
        let books = self.peers.entry(source).or_default();
        if to == DISCOVERY_ENDPOINT {
            books.announced = Some(from);
            return;
        }
        if is_bubble && own_server(plan) == Some(from) {
            recent(&mut books.indirect, now, WINDOW + PREPARATION).push_back(now);
            let trailers = datagram.trailers().unwrap_or_default();
            self.probing.note_call(now, source, &trailers, books.nonce);
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
            books.note_heard(now);
            self.probing.note_heard(source, from);
        }
    }

    /// The role sends a datagram.
    pub(crate) fn note_sent(
        &mut self,
        now: Instant,
        plan: &Plan,
        (to, via): (SocketAddrV4, Local),
        payload: &[u8],
    ) -> Result<(), Offence> {
        self.sent_count += 1;
        if matches!(plan, Plan::Helper(_)) {
            let is_balanced = self.sent_count <= self.received_count;
            self.helped.note_sent(to, payload)?;
            return if is_balanced { Ok(()) } else { Err(Offence::Server) };
        }
        if helped::is_astray(plan, to, payload) {
            return Err(Offence::Helper(to));
        }
        let Some((to, payload)) = helped::unwrap(plan, to, payload) else { return Ok(()) };
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
        if ipv6.is_bubble() && self.probing.is_probe(now, plan, (to, via), &datagram) {
            return self.probing.note_probe(now, destination, via);
        }
        let books = self.peers.entry(destination).or_default();
        if ipv6.is_bubble() {
            let server = TeredoAddress::parse(destination).map(|peer| peer.server);
            let is_call = server.is_some_and(|server| to == SocketAddrV4::new(server, TEREDO_PORT));
            if is_call {
                books.nonce = datagram.trailers().ok().and_then(|trailers| trailers.nonce);
            }
            if matches!(plan, Plan::Relay(_)) {
                books.signatures.insert(ipv6.source());
            }
            books.beside = self.probing.calls(now, destination);
            books.note_bubble(now, destination, is_call)?;
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

    /// Whether a datagram is part of birthday probing, which has a budget of its own.
    pub(crate) fn is_probe(
        &self,
        now: Instant,
        plan: &Plan,
        (to, via): (SocketAddrV4, Local),
        payload: &[u8],
    ) -> bool {
        helped::unwrap(plan, to, payload).is_some_and(|(to, payload)| {
            let datagram = Datagram::parse(payload);
            datagram.is_ok_and(|datagram| {
                datagram.ipv6.is_bubble() && self.probing.is_probe(now, plan, (to, via), &datagram)
            })
        })
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
    /// Something came directly: the count begins again.
    fn note_heard(&mut self, now: Instant) {
        let last = self.bubbles.back().max(self.indirect.back()).copied();
        self.begun_at = self.begun_at.max(last);
        self.heard_at = Some(now);
        self.bubbles.clear();
        self.calls.clear();
        self.indirect.clear();
    }

    fn note_bubble(
        &mut self,
        now: Instant,
        destination: Ipv6Addr,
        is_call: bool,
    ) -> Result<(), Offence> {
        // What an attempt from before the count has yet to send: the role need not have taken what
        // came, and a port that is being prepared is not given up because of it.
        let until = self.begun_at.map(|begun_at| begun_at + PREPARATION);
        let late = |times: &VecDeque<Instant>, max: usize| {
            times.iter().filter(|at| Some(**at) <= until).count().min(max)
        };
        let bubbles = recent(&mut self.bubbles, now, WINDOW);
        bubbles.push_back(now);
        let (sent, sent_late) = (bubbles.len(), late(bubbles, LATE_MAX));
        let since = bubbles.front().map_or(Duration::ZERO, |first| now.since(*first));
        let refreshes = 1 + (since.as_secs() / REFRESH_TIMER.as_secs()) as usize;
        let calls = recent(&mut self.calls, now, WINDOW);
        if is_call {
            calls.push_back(now);
        }
        let (called, called_late) = (calls.len(), late(calls, 1));
        let asked = recent(&mut self.indirect, now, WINDOW + PREPARATION).len();
        let beside = self.beside;
        if called > ATTEMPTS_MAX + asked + called_late + beside {
            return Err(Offence::Calls(destination, called, asked));
        }
        let batch = BATCH_MAX + usize::from(self.announced.is_some());
        let attempts = (ATTEMPTS_MAX + asked) * batch + (1 + asked) * PREPARED_MAX;
        if sent > attempts + SINGLE_MAX + refreshes + sent_late + beside {
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
/// Datagrams of one attempt: direct, indirect, one to or from a random port, alternates. A
/// neighbour gets one more on the link.
const BATCH_MAX: usize = 6;
/// What an attempt sends beside when it is the one that prepares a random port, as the first one of
/// a search or an answer may: an echo test is done twice (RFC 6081 section 5.5.2.2), and what the
/// gateway tells of a flow is used at once (RFC 6887 section 12).
const PREPARED_MAX: usize = 2;
/// How long that takes at most: tests of one and two seconds, one second for the gateway.
const PREPARATION: Duration = Duration::from_secs(4);
/// What comes that late: the above, and the indirect bubble that waits for it.
const LATE_MAX: usize = PREPARED_MAX + 1;
/// Single bubbles: in answer to what was heard, and the last question to a peer that was met
/// before, which an attempt accompanies (RFC 6081 section 5.7).
const SINGLE_MAX: usize = 2;
/// A bubble each such time keeps an idle way through a random port open (RFC 6081 section 5.4.2.1).
const REFRESH_TIMER: Duration = Duration::from_secs(30);
/// Addresses that bubbles go for within a second: what answers there are at once and in a second,
/// and some that this side begins with.
const ANSWERS_MAX: usize = 150 + 20;
const ANSWERS_WINDOW: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Ipv6Addr = Ipv6Addr::LOCALHOST;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    /// So many attempts of six, two seconds apart; what the first offence is.
    fn attempts(books: &mut Books, from: u64, count: u64) -> Result<(), Offence> {
        for time in (0..count).map(|number| at(from + number * 2000)) {
            (0..5).try_for_each(|_| books.note_bubble(time, PEER, false))?;
            books.note_bubble(time, PEER, true)?;
        }
        Ok(())
    }

    //= C-BUB-06: the reference model allows four attempts, and one for each that the peer makes
    #[test]
    fn a_fifth_attempt_is_an_offence() {
        let mut books = Books::default();
        assert_eq!(attempts(&mut books, 0, 4), Ok(()));
        assert_eq!(attempts(&mut books, 8000, 1), Err(Offence::Calls(PEER, 5, 0)));
        let mut books = Books::default();
        books.indirect.push_back(at(0));
        assert_eq!(attempts(&mut books, 0, 5), Ok(()));
        assert_eq!(attempts(&mut books, 10_000, 1), Err(Offence::Calls(PEER, 6, 1)));
    }

    //= C-BUB-06: an answer whose indirect bubble had to wait is one still when the question is old
    #[test]
    fn a_late_answer_is_no_attempt() {
        let mut books = Books::default();
        books.indirect.push_back(at(0));
        assert_eq!(books.note_bubble(at(4000), PEER, true), Ok(()));
        assert_eq!(attempts(&mut books, 295_000, 4), Ok(()));
        let mut books = Books::default();
        books.indirect.push_back(at(0));
        assert_eq!(attempts(&mut books, 298_000, 4), Ok(()));
        assert_eq!(attempts(&mut books, 306_000, 1), Err(Offence::Calls(PEER, 5, 0)));
    }

    //= C-BUB-06: an attempt under way when something comes may end, and leaves room for no other
    #[test]
    fn an_attempt_under_way_may_end() {
        let under_way = || {
            let mut books = Books::default();
            books.indirect.push_back(at(0));
            (0..5).for_each(|_| assert_eq!(books.note_bubble(at(0), PEER, false), Ok(())));
            books.note_heard(at(20));
            books.note_heard(at(40));
            books
        };
        let mut books = under_way();
        assert_eq!(books.note_bubble(at(1000), PEER, false), Ok(()));
        assert_eq!(books.note_bubble(at(3000), PEER, true), Ok(()));
        assert_eq!(attempts(&mut books, 8000, 4), Ok(()));
        assert_eq!(books.note_bubble(at(15_000), PEER, true), Err(Offence::Calls(PEER, 6, 0)));
        let mut books = under_way();
        assert_eq!(attempts(&mut books, 4001, 4), Ok(()));
        assert_eq!(books.note_bubble(at(12_001), PEER, true), Err(Offence::Calls(PEER, 5, 0)));
    }
}
