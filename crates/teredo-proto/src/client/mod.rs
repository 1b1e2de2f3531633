//! The client (RFC 4380 section 5.2 as changed by RFC 5991).
//!
//! One module per activity: `qualification` and `maintenance` keep the address, `reception` and
//! `transmission` hold the numbered rules for packets, `search` finds out where a peer is, by
//! bubbles or by the echo test.
//!
//! `traversal` holds the extensions of RFC 6081, one module each, and the order in which they are
//! tried; further sockets are further values of [`Local`]. `discovery` finds peers on the same link
//! (RFC 4380 section 5.2.8); `interval` finds out how long the NAT remembers (section 5.2.7).

mod advertisement;
mod discovery;
mod dormancy;
mod echo;
mod exchange;
mod explicit;
mod helper;
mod interval;
mod maintenance;
mod outbox;
mod peer;
mod qualification;
mod reception;
mod search;
mod transmission;
mod traversal;
mod usage;

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use core::time::Duration;

use teredo_wire::{TEREDO_PORT, TeredoAddress};

pub use crate::client::discovery::DISCOVERY_ENDPOINT;
use crate::client::discovery::Neighbours;
use crate::client::echo::EchoKey;
use crate::client::exchange::Exchange;
use crate::client::explicit::Explicit;
use crate::client::helper::Registration;
use crate::client::interval::Determination;
use crate::client::maintenance::Service;
use crate::client::outbox::{Events, Keys, Outbox};
use crate::client::peer::Peer;
use crate::client::qualification::{Backoff, Mapping};
use crate::client::traversal::{AddressPool, Guesses, Probing, RandomPorts};
use crate::filter::Ipv4Filter;
use crate::guard::Guard;
use crate::keys::Secret;
use crate::limiter::{BucketSketch, Rate, Shares, TokenBucket};
use crate::peers::{AnswerLimits, EvictedBudgets, PacketQueue, PeerTable, QueueBudget};
use crate::policy::Policy;
use crate::random::{Key, Random, Seed};
use crate::reason::Counters;
use crate::role::{
    Arrival, Event, Inbound, Local, NatKind, OfflineReason, Outbound, Reason, Role, State, Transmit,
};
use crate::time::Instant;

pub use crate::client::helper::{HelperConfig, HelperState, HelperUse};
pub use crate::client::traversal::{Traversal, UnknownTechnique};
pub use crate::client::usage::QUEUED_TOTAL_MAX;

/// What a client is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The primary IPv4 address of the server.
    pub server: Ipv4Addr,
    /// Its secondary address; without one the kind of NAT stays unknown.
    pub secondary: Option<Ipv4Addr>,
    /// The local UDP port that all traffic leaves from.
    pub service_port: u16,
    /// The local IPv4 address towards the server, if known: tells whether there is a NAT at all.
    pub local_address: Option<Ipv4Addr>,
    /// How long a NAT mapping is presumed to live without traffic (RFC 4380 section 2.15).
    pub refresh_interval: Duration,
    /// Whether a longer interval is looked for with a second port (RFC 4380 section 5.2.7).
    pub determine_interval: bool,
    /// Serve only with the answers of both server addresses, as RFC 4380 section 5.2.1 has it
    /// (E-10).
    pub strict: bool,
    /// Which extensions of RFC 6081 are used.
    pub traversal: Traversal,
    /// What the client and its server prove themselves to each other with (RFC 4380 section 5.2.2).
    pub secret: Option<Secret>,
    /// Which IPv4 addresses may be sent to and believed.
    pub filter: Ipv4Filter,
    /// Which unsolicited packets may come in.
    pub policy: Policy,
    /// The most peers remembered at a time.
    pub peers_max: usize,
    /// How long a client that nobody needs stays qualified before it goes dormant; `None`: always.
    pub dormant_after: Option<Duration>,
    /// Whether the host has joined the group of local discovery for the client.
    pub local_discovery: bool,
    /// The helper that the client may use.
    pub helper: Option<HelperConfig>,
}

impl Config {
    /// Defaults for all but the server's addresses and the local port.
    pub fn new(server: Ipv4Addr, secondary: Option<Ipv4Addr>, service_port: u16) -> Self {
        Self {
            server,
            secondary: secondary.filter(|&secondary| secondary != server),
            service_port,
            local_address: None,
            refresh_interval: REFRESH_INTERVAL,
            determine_interval: false,
            strict: false,
            traversal: Traversal::default(),
            secret: None,
            filter: Ipv4Filter::default(),
            policy: Policy::default(),
            peers_max: PEERS_MAX,
            dormant_after: None,
            local_discovery: false,
            helper: None,
        }
    }

    /// Bytes that the client allocates at most: for each peer its entry and its place in the
    /// table's lists, for all together the packets that wait, what is remembered of those that had
    /// to go, and the flows of the inbound policy. The program around it takes some megabytes more,
    /// whatever happens.
    pub const fn memory_max(&self) -> usize {
        let peers = PeerTable::<Peer>::memory_max(self.peers_max);
        let packets = self.peers_max * Peer::IDLE_BYTES + QUEUED_BYTES_MAX + HELD_BYTES_MAX;
        let limits = EvictedBudgets::MEMORY_MAX + Guesses::MEMORY_MAX;
        peers + packets + limits + Guard::MEMORY_MAX + Probing::MEMORY_MAX
    }

    /// Who does everything through a helper is not on any link but with it.
    fn behind_helper(&mut self) {
        if self.helper.as_ref().is_some_and(|helper| helper.used_for == HelperUse::All) {
            self.local_address = None;
            self.local_discovery = false;
            self.determine_interval = false;
        }
    }

    fn server_endpoint(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.server, TEREDO_PORT)
    }
}

/// A Teredo client.
///
/// It begins off-line; [`start`](Self::start) makes it qualify and stay qualified.
#[derive(Debug)]
pub struct Client {
    config: Config,
    random: Random,
    phase: Phase,
    nat_kind: NatKind,
    /// What the gateway was asked for and granted.
    explicit: Option<Explicit>,
    helper: Option<Registration>,
    /// Whether the server last asked for a new key.
    is_renewal_due: bool,
    /// The last address in use: the same mapping gets the same address again.
    last_address: Option<TeredoAddress>,
    backoff: Backoff,
    /// When somebody last needed the address.
    needed_at: Instant,
    /// The address that the host keeps while the client sleeps, and until it is qualified again.
    resting: Option<Ipv6Addr>,
    /// Packets that ended the sleep and wait for the address.
    early: PacketQueue,
    peers: PeerTable<Peer>,
    /// How often those were called lately that had to go.
    evicted: EvictedBudgets,
    neighbours: Neighbours,
    ports: RandomPorts,
    probing: Probing,
    pool: AddressPool,
    /// Whether the gateway, which grants no mapping for all, may grant one for a flow.
    maps_peers: bool,
    interval: Determination,
    guard: Guard,
    /// Packets of the stack that wait, and those that wait no more and are to be taken out.
    queued: QueueBudget,
    /// Packets for the stack that wait for a proof: strangers send them.
    held: QueueBudget,
    echo_key: EchoKey,
    answers: AnswerLimits,
    /// Entries made for native sources that nobody here has written to.
    strangers: TokenBucket,
    /// Entries made for sources that came by themselves, by the IPv4 addresses they came from.
    newcomers: Shares<1>,
    /// ICMPv6 errors to the stack.
    errors: TokenBucket,
    outbox: Outbox,
    events: Events,
    counters: Counters,
    /// Behind the counters because it only counts, too: a wrong nonce changes nothing else.
    guesses: Guesses,
}

/// How far the client is.
#[derive(Debug)]
enum Phase {
    /// Out of service; qualifies again at a set time, or never by itself.
    Offline { reason: OfflineReason, restart_at: Option<Instant> },
    /// Waiting for the primary server address.
    Primary(Exchange),
    /// Waiting for the secondary one too: only when service without its answer is out of question.
    Secondary { exchange: Exchange, found: Mapping },
    /// In service.
    Qualified(Service),
    /// Asleep until somebody needs the address.
    Dormant,
}

impl Client {
    /// A client at rest. All that it draws at random comes out of `seed`.
    pub fn new(mut config: Config, seed: Seed) -> Self {
        let is_helped = config.traversal.helper;
        config.traversal = config.traversal.with_dependencies();
        config.helper = config.helper.filter(|helper| match helper.used_for {
            HelperUse::Peers => config.traversal.helper,
            HelperUse::All => is_helped,
        });
        config.behind_helper();
        let mut random = Random::new(seed);
        Self {
            phase: Phase::Offline { reason: OfflineReason::Stopped, restart_at: None },
            nat_kind: NatKind::Unknown,
            explicit: None,
            helper: config.helper.clone().map(Registration::new),
            is_renewal_due: false,
            last_address: None,
            backoff: Backoff::default(),
            needed_at: Instant::default(),
            resting: None,
            early: PacketQueue::default(),
            peers: PeerTable::new(config.peers_max, seed),
            evicted: EvictedBudgets::new(seed),
            ports: RandomPorts::default(),
            probing: Probing::default(),
            pool: AddressPool::default(),
            maps_peers: false,
            interval: Determination::default(),
            neighbours: Neighbours::default(),
            guard: Guard::new(config.policy.clone(), seed),
            queued: QueueBudget::new(QUEUED_BYTES_MAX),
            held: QueueBudget::new(HELD_BYTES_MAX),
            echo_key: EchoKey::new(seed, &mut random),
            answers: AnswerLimits::new(seed),
            strangers: TokenBucket::new(STRANGERS_PER_S, STRANGERS_BURST),
            newcomers: newcomers(seed),
            errors: TokenBucket::new(ERRORS_PER_S, ERRORS_BURST),
            outbox: Outbox::default(),
            events: Events::default(),
            counters: Counters::default(),
            guesses: Guesses::new(seed),
            random,
            config,
        }
    }

    /// Begins to qualify, at once; nothing if the client is running already.
    pub fn start(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Offline { .. }) {
            self.needed_at = now;
            self.qualify_afresh(now);
        }
    }

    /// Goes off-line for good.
    pub fn stop(&mut self) {
        self.go_offline(OfflineReason::Stopped, None);
        self.forget_early();
    }

    /// Takes the addresses that the server's name stands for now. Other ones than before make a
    /// running client qualify anew. `false` if nothing may be sent there: a portal that stands in
    /// for every name, for instance. Then the client goes on with those of before.
    pub fn set_server(
        &mut self,
        now: Instant,
        primary: Ipv4Addr,
        secondary: Option<Ipv4Addr>,
    ) -> bool {
        if !self.config.filter.is_global(primary) {
            return false;
        }
        let secondary = secondary.filter(|&secondary| secondary != primary);
        if (primary, secondary) != (self.config.server, self.config.secondary) {
            self.config.server = primary;
            self.config.secondary = secondary;
            self.requalify(now);
        }
        true
    }

    /// The host's IPv4 side changed (address, default route, resume): a running client qualifies
    /// anew at once. `local_address` is as in [`Config`].
    pub fn network_changed(&mut self, now: Instant, local_address: Option<Ipv4Addr>) {
        self.config.local_address = local_address;
        self.config.behind_helper();
        self.renew_registration();
        self.requalify(now);
    }

    /// Takes another refresh interval; it counts from the next refresh on. Whether a longer one
    /// does, too, is found out anew.
    pub fn set_refresh_interval(&mut self, refresh_interval: Duration) {
        if self.config.refresh_interval != refresh_interval {
            self.config.refresh_interval = refresh_interval;
            self.forget_interval();
            self.determine_interval();
        }
    }

    /// Begins or ceases to look for a longer refresh interval than the configured one.
    pub fn set_determine_interval(&mut self, determine_interval: bool) {
        if self.config.determine_interval != determine_interval {
            self.config.determine_interval = determine_interval;
            self.forget_interval();
            self.determine_interval();
        }
    }

    /// Takes another filter, because the addresses of this host have changed.
    pub fn set_filter(&mut self, filter: Ipv4Filter) {
        self.config.filter = filter;
    }

    /// Takes another inbound policy. What was opened from outside under a rule that is gone ends;
    /// connections that this side opened do not.
    pub fn set_policy(&mut self, policy: Policy) {
        self.guard.set_policy(policy);
    }

    /// The state.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Offline { reason, .. } => State::Offline(reason),
            Phase::Primary(_) | Phase::Secondary { .. } => State::Probe,
            Phase::Qualified(_) => State::Qualified,
            Phase::Dormant => State::Dormant,
        }
    }

    /// Whether the state is [`State::Probe`] and it is the secondary server address that is asked.
    pub fn is_asking_secondary(&self) -> bool {
        matches!(self.phase, Phase::Secondary { .. })
    }

    /// The kind of NAT the server's addresses last showed.
    pub fn nat_kind(&self) -> NatKind {
        self.nat_kind
    }

    /// Whether the server asks for a new key for this client; `None` without a key. The old one
    /// still serves.
    pub fn key_renewal(&self) -> Option<bool> {
        self.config.secret.as_ref().map(|_| self.is_renewal_due)
    }

    /// The Teredo address, while qualified.
    pub fn address(&self) -> Option<Ipv6Addr> {
        self.service().map(|service| service.address)
    }

    /// The mapped address and port, while qualified.
    pub fn mapped(&self) -> Option<SocketAddrV4> {
        self.service().map(|service| service.mapping.mapped)
    }

    /// The MTU of the Teredo link in bytes, while qualified.
    pub fn mtu(&self) -> Option<u16> {
        self.service().map(|service| service.mapping.mtu)
    }

    fn service(&self) -> Option<&Service> {
        match &self.phase {
            Phase::Qualified(service) => Some(service),
            Phase::Offline { .. }
            | Phase::Primary(_)
            | Phase::Secondary { .. }
            | Phase::Dormant => None,
        }
    }
}

impl Role for Client {
    fn handle_datagram(&mut self, now: Instant, arrival: Arrival, payload: &[u8]) -> Inbound {
        let inbound = match self.receive_any(now, arrival, payload) {
            Ok(inbound) => inbound,
            Err(reason) => Inbound::Dropped(reason),
        };
        match inbound {
            Inbound::Deliver(_) => {
                self.counters.delivered += 1;
                self.needed_at = now;
            }
            Inbound::Dropped(reason) => self.counters.count_drop(reason),
            Inbound::Consumed => {}
        }
        inbound
    }

    fn handle_packet(&mut self, now: Instant, packet: &[u8]) -> Outbound {
        let outbound = match self.transmit(now, packet) {
            Ok(outbound) => outbound,
            Err(reason) => Outbound::Dropped(reason),
        };
        let outbound = self.wrap(now, outbound);
        match outbound {
            Outbound::Send { .. } | Outbound::Wrap { .. } => self.counters.sent += 1,
            Outbound::Dropped(reason) => self.counters.count_drop(reason),
            Outbound::Queued => {}
        }
        outbound
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.advance_phase(now);
        self.advance_helper(now);
        self.advance_discovery(now);
        self.advance_searches(now);
        self.advance_random_ports(now);
        self.advance_probing(now);
        self.advance_address_pool(now);
        self.advance_interval(now);
    }

    fn handle_bound(&mut self, now: Instant, local: Local, port: Option<u16>) {
        if self.interval.is_on(local) {
            self.secondary_port_bound(now, port);
        } else {
            self.random_port_bound(now, local, port);
        }
    }

    fn poll_transmit(&mut self, buffer: &mut [u8]) -> Option<Transmit> {
        let keys = Keys { server: self.config.secret.as_ref(), helper: self.helper.as_ref() };
        self.outbox.write_next(keys, &mut self.queued, buffer)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let phase = match &self.phase {
            Phase::Offline { restart_at, .. } => restart_at.map(|at| (at, Reason::Restart)),
            Phase::Primary(exchange) | Phase::Secondary { exchange, .. } => {
                Some((exchange.deadline(), Reason::Solicitation))
            }
            Phase::Qualified(service) => Some(service.deadline()),
            Phase::Dormant => None,
        };
        let sleep = self.sleepy_at().map(|at| (at, Reason::Dormancy));
        let peers = self.peers.next_deadline().map(|deadline| (deadline, Reason::Peer));
        let ports = self.ports.next_deadline().into_iter().chain(self.pool.next_deadline()).min();
        let ports = ports.map(|deadline| (deadline, Reason::RandomPort));
        let probing = self.probing.next_deadline().map(|deadline| (deadline, Reason::Birthday));
        let discovery = self.discovery_due_at().map(|at| (at, Reason::Discovery));
        let interval = self.interval.deadline().map(|at| (at, Reason::Interval));
        let helper = self.helper_deadline().map(|at| (at, Reason::Helper));
        let deadlines = [phase, sleep, peers, ports, probing, discovery, interval, helper];
        deadlines.into_iter().flatten().min_by_key(|&(deadline, _)| deadline)
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

fn newcomers(seed: Seed) -> Shares<1> {
    let by_address = Key::new(seed, b"newcomers");
    let by_address = BucketSketch::new(NEWCOMERS_PER_ADDRESS, NEWCOMER_CELLS, by_address);
    Shares::new([by_address], NEWCOMERS)
}

/// The interval RFC 4380 section 2.15 presumes.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// Peers remembered by default: more than a busy peer-to-peer application talks to, at less than
/// a kilobyte each.
const PEERS_MAX: usize = 16_384;

/// Entries made for unsolicited native sources, on average and at once: each costs an echo request
/// through the server (protocol section 8.2, flooding of the peer list).
const STRANGERS_PER_S: u32 = 100;
const STRANGERS_BURST: u32 = 200;

/// Entries made for sources at one IPv4 address: many peers behind one carrier NAT or relay may
/// turn up at once, but one host alone can neither fill the peer list with addresses of its own nor
/// take the share of all others.
const NEWCOMERS_PER_ADDRESS: Rate = Rate { per_s: 16, burst: 64 };
/// Entries made for all of them: many times what a busy peer-to-peer application meets. Each costs
/// a bubble or an echo request, whoever the source is said to be.
const NEWCOMERS: Rate = Rate { per_s: 1_000, burst: 4_000 };
/// Cells in each row of the limit by address, 16 KiB in all: several times the hosts that are at it
/// when there is room for no more.
const NEWCOMER_CELLS: usize = 1 << 10;

/// Bytes of the stack's packets that wait for all peers at most, so that a scan of the address
/// space cannot take memory.
const QUEUED_BYTES_MAX: usize = 1 << 20;
/// Bytes of strangers' packets that wait at most: apart, so that they take no room from ours.
const HELD_BYTES_MAX: usize = 1 << 18;

/// ICMPv6 errors to the stack, on average and at once (RFC 4443 section 2.4 (f)).
const ERRORS_PER_S: u32 = 10;
const ERRORS_BURST: u32 = 20;
