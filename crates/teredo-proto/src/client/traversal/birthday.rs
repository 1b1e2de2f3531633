//! Birthday probing, beyond RFC 6081 and only between two clients that both have it switched on:
//! one side, whose NAT nobody can predict, opens many ports towards the one endpoint of the other;
//! that one sends to ports of the first one's NAT at random. After `n` ports and `k` probes of the
//! 64,512 there are, the chance that two have met is about 1 - (1 - k / 64,512)^`n`, and for a NAT
//! with `p` addresses that with 64,512 `p` in place of 64,512.
//!
//! A network may take this for a scan, so it comes last, after what needs no luck has been tried.
//! Each side says in its indirect bubbles what part it can take, and with the other's nonce that it
//! got the other's: that is as much as can be proven of a peer that cannot be reached. Probes go to
//! the IPv4 address embedded in the peer's, and nowhere else. Pace, number for one peer and number
//! for all are limited, and so is the number of sockets; one peer at a time is dealt with, until
//! the first success, and until nothing is heard of it any more.
//!
//! The side with many ports decides: its own bubbles carry no nonce and open its NAT only. The
//! first of its ports that a probe comes to is the way, and the only one that it answers from, so
//! that both sides agree about it. A bubble without nonce that gets through to the other side all
//! the same, to a port that was probed in vain before, is the next to be probed.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use core::time::Duration;

use teredo_wire::trailer::{Birthday, Part};

use crate::client::Client;
use crate::client::outbox::Trailers;
use crate::client::peer::{Path, Trust};
use crate::client::reception::Accepted;
use crate::client::traversal::RandomPort;
use crate::limiter::TokenBucket;
use crate::peers::PeerId;
use crate::random::Random;
use crate::role::{BIRTHDAY_PORTS_MAX, Event, Local, NatKind};
use crate::time::Instant;

/// The probing of all peers.
#[derive(Debug)]
pub(in crate::client) struct Probing {
    session: Option<Session>,
    budget: TokenBucket,
    /// Peers that have offered to take part, in the order of that.
    offers: Vec<Offer>,
}

/// What is remembered of a peer's offers, in no more than a few dozen entries and apart from the
/// peer list, so that it outlives what is learnt of the peer.
#[derive(Debug)]
struct Offer {
    peer: Ipv6Addr,
    /// When the first of those came that followed each other closely.
    offered_at: Instant,
    last_at: Instant,
    /// When it was probed.
    probed_at: Option<Instant>,
}

impl Offer {
    fn is_probed_lately(&self, now: Instant) -> bool {
        self.probed_at.is_some_and(|at| now.since(at) < PEER_WINDOW)
    }
}

/// The probing of one peer.
#[derive(Debug)]
struct Session {
    peer: Ipv6Addr,
    work: Work,
    /// When the next step is due.
    step_at: Instant,
    /// When it ends without success.
    ends_at: Instant,
    /// When the peer was last heard from, through the servers.
    heard_at: Instant,
}

/// What this side does.
#[derive(Debug)]
enum Work {
    /// Opens ports, these so far.
    Open { ports: Vec<u16>, is_complete: bool },
    /// Sends to ports of the address.
    Probe { address: Ipv4Addr, probed: Ports, heard_from: Option<u16> },
}

impl Probing {
    /// Bytes that it allocates at most.
    pub(in crate::client) const MEMORY_MAX: usize =
        Ports::BYTES + BIRTHDAY_PORTS_MAX * 4 + OFFERS_MAX * 2 * size_of::<Offer>();

    /// When the next step is due.
    pub(in crate::client) fn next_deadline(&self) -> Option<Instant> {
        self.session.as_ref().map(|session| session.step_at)
    }

    /// Whose port this is, if it was opened for probing.
    pub(super) fn owner(&self, number: u16) -> Option<Ipv6Addr> {
        let session = self.session.as_ref()?;
        let Work::Open { ports, .. } = &session.work else { return None };
        ports.contains(&number).then_some(session.peer)
    }

    /// What is remembered of a peer that makes an offer; `None` if it finds no room.
    fn offer_of(&mut self, now: Instant, peer: Ipv6Addr) -> Option<&mut Offer> {
        if let Some(place) = self.offers.iter().position(|offer| offer.peer == peer) {
            let offer = self.offers.get_mut(place)?;
            if now.since(offer.last_at) >= OFFERS_APART {
                offer.offered_at = now;
            }
            offer.last_at = now;
            return Some(offer);
        }
        if self.offers.len() >= OFFERS_MAX {
            let place = self.offers.iter().position(|offer| !offer.is_probed_lately(now))?;
            self.offers.remove(place);
        }
        self.offers.push(Offer { peer, offered_at: now, last_at: now, probed_at: None });
        self.offers.last_mut()
    }

    fn session_with(&mut self, peer: Ipv6Addr) -> Option<&mut Session> {
        self.session.as_mut().filter(|session| session.peer == peer)
    }
}

impl Default for Probing {
    fn default() -> Self {
        let budget = TokenBucket::new(TOTAL_PER_S, TOTAL_BURST);
        Self { session: None, budget, offers: Vec::new() }
    }
}

impl Client {
    /// What an indirect bubble to a peer offers.
    pub(super) fn birthday_offer(&self, id: PeerId) -> Option<Birthday> {
        let mut part = self.part()?;
        if part == Part::ManyPorts && self.is_probing(id) {
            part = Part::OpenPorts;
        }
        let nonce = self.peers[id].approach.nonce_received.unwrap_or_default();
        Some(Birthday { part, nonce })
    }

    /// The part that our NAT lets us take.
    fn part(&self) -> Option<Part> {
        let part = match self.nat_kind {
            NatKind::Unknown => None,
            NatKind::None | NatKind::EndpointIndependent => Some(Part::OnePort),
            NatKind::PortSymmetric | NatKind::AddressSymmetric => Some(Part::ManyPorts),
        };
        part.filter(|_| self.config.traversal.birthday)
    }

    /// Whether a peer is being probed.
    pub(in crate::client) fn is_probing(&self, id: PeerId) -> bool {
        let session = self.probing.session.as_ref();
        session.is_some_and(|session| session.peer == self.peers.address(id))
    }

    /// Takes what the peer's indirect bubble offers, and begins if that is due: the peer has shown
    /// that it got our last indirect bubble, and a first exchange of bubbles came to nothing.
    pub(super) fn learn_birthday(&mut self, now: Instant, id: PeerId, offer: Option<Birthday>) {
        let Some((offer, part)) = offer.zip(self.part()) else { return };
        if self.peers[id].route(now).is_some_and(|path| !self.is_one_way(path)) {
            return;
        }
        self.peers[id].trust = Trust::Unproven;
        let address = self.peers.address(id);
        if let Some(session) = self.probing.session_with(address) {
            session.heard_at = now;
            return;
        }
        let is_answer = self.peers[id].approach.nonce_sent == Some(offer.nonce);
        let Some(known) = self.probing.offer_of(now, address) else { return };
        let (offered_at, is_rested) = (known.offered_at, !known.is_probed_lately(now));
        let is_free = self.probing.session.is_none() && self.probing.budget.has(now);
        if !is_answer || !is_rested || !is_free {
            return;
        }
        match (part, offer.part) {
            (Part::OnePort, Part::OpenPorts) => self.begin_probes(now, id),
            (Part::ManyPorts, Part::OnePort) if now.since(offered_at) >= OTHERS_FIRST => {
                self.begin_ports(now, id);
            }
            _ => {}
        }
    }

    fn begin_probes(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.teredo_peer(id) else { return };
        let (address, probed) = (*peer.mapped.ip(), Ports::default());
        self.begin_session(now, id, Work::Probe { address, probed, heard_from: None });
    }

    /// The peer is told at once, so that both sides begin together.
    fn begin_ports(&mut self, now: Instant, id: PeerId) {
        if !self.reserve_random_port(id) {
            return;
        }
        self.release_random_port(id);
        self.peers[id].approach.random_port = RandomPort::Unusable;
        self.begin_session(now, id, Work::Open { ports: Vec::new(), is_complete: false });
        self.send_indirect(now, id);
        self.counters.bubbles_sent += 1;
    }

    fn begin_session(&mut self, now: Instant, id: PeerId, work: Work) {
        let peer = self.peers.address(id);
        let ends_at = now + SESSION_MAX;
        if let Some(known) = self.probing.offer_of(now, peer) {
            known.probed_at = Some(now);
        }
        self.probing.session = Some(Session { peer, work, step_at: now, ends_at, heard_at: now });
    }

    /// Takes the step that has become due.
    pub(in crate::client) fn advance_probing(&mut self, now: Instant) {
        let Some(session) = self.probing.session.as_ref().filter(|it| it.step_at <= now) else {
            return;
        };
        let is_alive = now < session.ends_at && now.since(session.heard_at) < QUIET_MAX;
        let id = self.peers.find(session.peer).filter(|_| is_alive);
        let Some(id) = id else { return self.end_probing(None) };
        let called_at = self.peers[id].approach.called_at;
        if called_at.is_none_or(|at| now.since(at) >= REMIND_EVERY) {
            self.send_indirect(now, id);
            self.counters.bubbles_sent += 1;
        }
        let is_at_work = self.open_port(now) || self.send_probe_to_port(now, id);
        if let Some(session) = &mut self.probing.session {
            session.step_at = now + if is_at_work { PACE } else { IDLE_STEP };
        }
    }

    /// Asks the host for one more port; `false` if there is no more to open.
    fn open_port(&mut self, now: Instant) -> bool {
        let Some(Session { work: Work::Open { ports, is_complete }, .. }) =
            &mut self.probing.session
        else {
            return false;
        };
        if *is_complete || ports.len() >= BIRTHDAY_PORTS_MAX || !self.probing.budget.take(now) {
            *is_complete = true;
            return false;
        }
        let mut number = self.ports.draw_number();
        while ports.contains(&number) || self.interval.is_on(Local::Random(number)) {
            number = self.ports.draw_number();
        }
        ports.push(number);
        self.events.push(Event::BindPort(Local::Random(number)));
        true
    }

    /// Takes the host's answer; `false` if the port is not one of these. One that is not to be had
    /// is the last that was asked for.
    pub(super) fn probing_port_bound(
        &mut self,
        now: Instant,
        number: u16,
        local_port: Option<u16>,
    ) -> bool {
        let Some(peer) = self.probing.owner(number) else { return false };
        if local_port.is_none() {
            if let Some(Session { work: Work::Open { ports, is_complete }, .. }) =
                &mut self.probing.session
            {
                ports.retain(|&port| port != number);
                *is_complete = true;
            }
            return true;
        }
        if let Some(id) = self.peers.find(peer)
            && let Some(teredo) = self.teredo_peer(id)
        {
            let to = (teredo.mapped, Local::Random(number));
            self.send_bubble(now, to, peer, Trailers::default());
            self.counters.bubbles_sent += 1;
        }
        true
    }

    /// Sends the next probe; `false` if there is none left.
    fn send_probe_to_port(&mut self, now: Instant, id: PeerId) -> bool {
        let Some(Session { work: Work::Probe { address, probed, heard_from }, ends_at, .. }) =
            &mut self.probing.session
        else {
            return false;
        };
        if usize::from(probed.count) >= PROBES_MAX || !self.probing.budget.take(now) {
            *ends_at = (*ends_at).min(now + LINGER);
            return false;
        }
        let port = heard_from.take().unwrap_or_else(|| probed.draw(&mut self.random));
        probed.count += 1;
        let to = SocketAddrV4::new(*address, port);
        let nonce = self.peers[id].approach.nonce_received;
        let peer = self.peers.address(id);
        let trailers = Trailers { nonce, ..Trailers::default() };
        self.send_bubble(now, (to, Local::Primary), peer, trailers);
        self.counters.bubbles_sent += 1;
        true
    }

    /// Takes a bubble that proves nothing, but comes from a port that the peer has opened: that one
    /// is probed next. `false` if it is none.
    pub(in crate::client) fn take_opener(&mut self, id: PeerId, accepted: &Accepted<'_>) -> bool {
        let peer = self.peers.address(id);
        let Some(Session { work: Work::Probe { address, heard_from, .. }, .. }) =
            self.probing.session_with(peer)
        else {
            return false;
        };
        let is_opener = accepted.on == Local::Primary && accepted.from.ip() == address;
        if is_opener {
            *heard_from = Some(accepted.from.port());
            self.counters.bubbles_received += 1;
        }
        is_opener
    }

    /// A bubble came to a port that was opened for probing: that is the way, although something may
    /// be heard along another one, which may lead in one direction only.
    pub(in crate::client) fn note_hit(&mut self, id: PeerId, accepted: &Accepted<'_>) {
        let is_embedded = self.teredo_peer(id).is_some_and(|peer| peer.mapped == accepted.from);
        if let Local::Random(number) = accepted.on
            && accepted.is_bubble()
            && is_embedded
            && self.probing.owner(number) == Some(accepted.source)
        {
            self.peers[id].trust = Trust::Unproven;
        }
    }

    /// A way to the peer is found, by probing or otherwise: what is not needed for it ends.
    pub(in crate::client) fn note_way(&mut self, now: Instant, id: PeerId, path: Path) {
        if !self.is_probing(id) || self.is_one_way(path) {
            return;
        }
        let peer = self.peers.address(id);
        self.probing.offers.retain(|offer| offer.peer != peer);
        let found = match path.via {
            Local::Random(number) if self.probing.owner(number) == Some(peer) => Some(number),
            Local::Random(_)
            | Local::Primary
            | Local::Secondary
            | Local::Helper
            | Local::Discovery => None,
        };
        self.end_probing(found);
        if let Some(number) = found {
            self.release_random_port(id); // one for each peer
            self.ports.adopt(now, number, peer);
            self.peers[id].approach.random_port = RandomPort::Held(number);
        }
    }

    /// Ends the probing and closes its ports, all but one that is kept.
    pub(in crate::client) fn end_probing(&mut self, kept: Option<u16>) {
        let Some(session) = self.probing.session.take() else { return };
        let Work::Open { ports, .. } = session.work else { return };
        self.ports.is_one_reserved = false;
        for number in ports.into_iter().filter(|&number| Some(number) != kept) {
            self.events.push(Event::ReleasePort(Local::Random(number)));
        }
    }
}

/// A set of ports from 1024 on, which is where NATs map to (RFC 4787 section 4.2.2).
#[derive(Debug)]
struct Ports {
    drawn: Box<[u64]>,
    /// How many probes went out.
    count: u16,
}

impl Ports {
    const BYTES: usize = PORTS / 8;

    /// One that was not drawn before.
    fn draw(&mut self, random: &mut Random) -> u16 {
        loop {
            // Few are drawn, so the second or third is a new one almost always.
            let place = random.below(PORTS as u64);
            let (word, bit) = ((place / 64) as usize, 1 << (place % 64));
            if self.count as usize >= PORTS || self.drawn[word] & bit == 0 {
                self.drawn[word] |= bit;
                return FIRST_PORT + place as u16;
            }
        }
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self { drawn: vec![0; PORTS / 64].into(), count: 0 }
    }
}

/// What needs no luck has the first exchange of bubbles to itself. The second one comes 2 s later.
const OTHERS_FIRST: Duration = Duration::from_millis(1500);
/// An offer after a longer time than this begins anew: it is not about the same search.
const OFFERS_APART: Duration = Duration::from_secs(10);
/// Between two ports opened, or two probes: 100 a second (protocol section 6.4).
const PACE: Duration = Duration::from_millis(10);
/// Between two looks at a session that has nothing left to send.
const IDLE_STEP: Duration = Duration::from_secs(1);
/// Probes of one peer in [`PEER_WINDOW`]. With all ports open two have met after these with a
/// chance of 0.9999999, behind a NAT of four addresses 0.98.
const PROBES_MAX: usize = 2048;
/// One session with one peer in this time, unless it succeeded.
const PEER_WINDOW: Duration = Duration::from_secs(300);
/// Peers of which is remembered that they have offered to take part: more than can be probed in
/// [`PEER_WINDOW`], so that one that was is never forgotten too early.
const OFFERS_MAX: usize = 64;
/// Probes and ports of all peers: at once, and a second on average. At most 3,972 in 300 s.
const TOTAL_BURST: u32 = 3072;
const TOTAL_PER_S: u32 = 3;
/// Time for all probes, and for the last to be answered.
const SESSION_MAX: Duration = Duration::from_secs(25);
/// Time for the last probe to be answered.
const LINGER: Duration = Duration::from_secs(2);
/// An indirect bubble after this time tells the peer a new nonce, in case the last was lost, and
/// that we are still there. Eight in 30 s are the most that get answers.
const REMIND_EVERY: Duration = Duration::from_secs(6);
/// Two such bubbles may get lost.
const QUIET_MAX: Duration = Duration::from_secs(15);

const FIRST_PORT: u16 = 1024;
const PORTS: usize = 65_536 - FIRST_PORT as usize;
