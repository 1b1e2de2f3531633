//! The world: hosts, NATs and links under one clock.
//!
//! ```
//! use core::time::Duration;
//! use teredo_sim::{NatConfig, World};
//!
//! let mut world = World::new(1);
//! world.add_server();
//! let nat = world.add_nat(NatConfig::pr());
//! let client = world.add_client(nat);
//! let qualified = world.run_until(Duration::from_secs(1), |world| world.is_qualified(client));
//! assert!(qualified.is_ok());
//! ```

mod build;
mod forward;
mod gateway;
mod links;
mod observe;
mod story;
mod trouble;

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use teredo_proto::random::{Random, Seed};
use teredo_proto::{DropReason, Event, Instant};

use crate::audit::Offence;
use crate::gateway::Gateway;
use crate::host::{Host, HostId};
use crate::icmp::IcmpError;
use crate::ledger::Ledger;
use crate::link::{Lane, Link};
use crate::meter::BubbleMeter;
use crate::nat::Nat;
use crate::queue::Queue;
use crate::trace::Trace;

use forward::Arrival;
pub(crate) use gateway::Mapper;

/// A simulated Internet.
#[derive(Debug)]
pub struct World {
    seed: u64,
    now: Instant,
    /// Steps taken at this very moment.
    steps_now: u32,
    random: Random,
    queue: Queue<Arrival>,
    hosts: Vec<Host>,
    nats: Vec<NatBox>,
    attachments: BTreeMap<(Place, Ipv4Addr), Attachment>,
    native: BTreeMap<Ipv6Addr, HostId>,
    servers: Vec<HostId>,
    teredo_route: Option<HostId>,
    ipv6_link: Lane,
    host_link: Link,
    /// Internet addresses that are cut off from the others, and until when.
    partition: Option<(BTreeSet<Ipv4Addr>, Instant)>,
    boots: u64,
    pings: u16,
    pings_sent: BTreeMap<u16, Instant>,
    pings_answered: BTreeMap<u16, Duration>,
    ledger: Ledger,
    bubbles: BubbleMeter,
    /// Whether the books of each role are kept and checked.
    is_audited: bool,
    trace: Trace,
    log: Vec<LogEntry>,
    violation: Option<Violation>,
}

impl World {
    /// An empty world: everything random in it follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            now: START,
            steps_now: 0,
            random: Random::new(seed_for(seed, SeedUse::Links, 0)),
            queue: Queue::new(),
            hosts: Vec::new(),
            nats: Vec::new(),
            attachments: BTreeMap::new(),
            native: BTreeMap::new(),
            servers: Vec::new(),
            teredo_route: None,
            ipv6_link: Lane::new(Link::perfect(HOP_DELAY)),
            host_link: Link::perfect(HOP_DELAY),
            partition: None,
            boots: 0,
            pings: 0,
            pings_sent: BTreeMap::new(),
            pings_answered: BTreeMap::new(),
            ledger: Ledger::default(),
            bubbles: BubbleMeter::default(),
            is_audited: false,
            trace: Trace::default(),
            log: Vec::new(),
            violation: None,
        }
    }

    /// Lets everything happen until `condition` holds and returns how long that took.
    ///
    /// # Errors
    /// [`Stopped::Late`] when it does not hold within `limit`; the other variants are bugs.
    pub fn run_until(
        &mut self,
        limit: Duration,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> Result<Duration, Stopped> {
        let (start, end) = (self.now, self.now + limit);
        loop {
            if let Some(violation) = self.violation {
                return Err(Stopped::Violation(violation));
            }
            if condition(self) {
                return Ok(self.now.since(start));
            }
            if !self.step(end)? {
                return Err(Stopped::Late);
            }
        }
    }

    /// Lets everything happen for `duration`.
    ///
    /// # Errors
    /// [`Stopped`] at a bug; never [`Stopped::Late`].
    pub fn run_for(&mut self, duration: Duration) -> Result<(), Stopped> {
        match self.run_until(duration, |_| false) {
            Ok(_) | Err(Stopped::Late) => Ok(()),
            Err(stopped) => Err(stopped),
        }
    }

    /// Does what comes next, or moves the clock to `end` and returns false when that comes first.
    fn step(&mut self, end: Instant) -> Result<bool, Stopped> {
        let arrival = self.queue.next_at();
        let deadline = self.first_deadline();
        let next = match (arrival, deadline) {
            (Some(arrival), Some((deadline, ..))) => Some(arrival.min(deadline)),
            (arrival, deadline) => arrival.or(deadline.map(|(at, ..)| at)),
        };
        let Some(next) = next.filter(|next| *next <= end) else {
            self.advance_to(end);
            return Ok(false);
        };
        self.advance_to(next);
        self.steps_now += 1;
        if self.steps_now > STEPS_AT_ONCE_MAX {
            return Err(Stopped::Stall);
        }
        match deadline {
            Some((at, host, service)) if arrival.is_none_or(|arrival| at < arrival) => {
                self.on_deadline(host, service);
            }
            _ => {
                if let Some(arrival) = self.queue.pop() {
                    self.on_arrival(arrival);
                }
            }
        }
        Ok(true)
    }

    fn advance_to(&mut self, at: Instant) {
        if at > self.now {
            self.now = at;
            self.steps_now = 0;
        }
    }

    fn first_deadline(&self) -> Option<(Instant, HostId, usize)> {
        let deadlines = self.hosts.iter().enumerate().filter_map(|(index, host)| {
            host.deadline().map(|(at, service)| (at, HostId(index), service))
        });
        deadlines.min()
    }

    /// The seed for the next thing that needs one.
    fn next_seed(&mut self) -> Seed {
        self.boots += 1;
        seed_for(self.seed, SeedUse::Boot, self.boots)
    }
}

/// One NAT of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NatId(pub(crate) usize);

/// Where something is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The public IPv4 Internet.
    Internet,
    /// The private network behind a NAT.
    Behind(NatId),
}

impl From<NatId> for Place {
    fn from(nat: NatId) -> Self {
        Self::Behind(nat)
    }
}

/// Why a run ended before its condition held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The time was up.
    Late,
    /// The clock stands still: more than [`STEPS_AT_ONCE_MAX`] steps at one moment.
    Stall,
    /// Something happened that may never happen.
    Violation(Violation),
}

/// What may never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A role handed a packet to the stack of a host that does not have its destination. What the
    /// role itself says of a packet that the stack sent before its address changed is none: that
    /// goes to where the packet came from (RFC 4443 section 2.2), and any host discards it there.
    Misdelivered(HostId, Ipv6Addr),
    /// A stack got test data that nobody sent to it, or not these bytes.
    Altered(HostId),
    /// A role handed out what nobody at its host had asked for or allowed.
    Unsolicited(HostId),
    /// A role had more than [`STEPS_AT_ONCE_MAX`] things to send at once.
    Torrent(HostId),
    /// A role did what its books forbid.
    Offended(HostId, Offence),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => f.write_str("the time was up"),
            Self::Stall => f.write_str("the clock stands still"),
            Self::Violation(violation) => write!(f, "{violation:?}"),
        }
    }
}

impl core::error::Error for Stopped {}

/// Something that a log tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// When.
    pub at: Instant,
    /// Where.
    pub host: HostId,
    /// What.
    pub what: Happened,
}

/// What happened at a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// Its role had something to tell.
    Event(Event),
    /// Its role dropped a packet.
    Dropped(DropReason),
    /// It was sent an ICMP error.
    Error(IcmpError),
}

#[derive(Debug)]
struct NatBox {
    nat: Nat,
    place: Place,
    /// Its access link, out and in.
    lanes: [Lane; 2],
    gateway: Option<Gateway>,
}

/// What answers to an IPv4 address in a place.
#[derive(Clone, Copy, Debug)]
enum Attachment {
    Host(HostId),
    Nat(NatId),
}

/// What a seed is for.
#[derive(Clone, Copy)]
enum SeedUse {
    Links,
    Boot,
}

fn seed_for(seed: u64, what: SeedUse, count: u64) -> Seed {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    bytes[8..16].copy_from_slice(&count.to_be_bytes());
    bytes[16] = what as u8;
    bytes
}

/// One way over one access link unless told otherwise: 40 ms between two hosts and back.
pub const HOP_DELAY: Duration = Duration::from_millis(10);

/// No burst of a small world takes as many steps; a timer that is due for ever does.
pub const STEPS_AT_ONCE_MAX: u32 = 20_000;

/// When worlds begin: late enough that nothing that happened an hour ago was before the origin.
pub const START: Instant = Instant::from_nanos(3_600_000_000_000);

/// A run that logs more than this is no longer read by anyone.
const LOG_MAX: usize = 100_000;
