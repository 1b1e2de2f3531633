//! What an operator can set.

use core::net::SocketAddrV4;
use core::time::Duration;

use crate::filter::{DENIED_PORTS, Ipv4Filter};
use crate::helper::table::Table;
use crate::limiter::Rate;
use crate::role::TRANSMIT_LEN_MAX;
use crate::server::limits::Purse;
use crate::server::outbox::Outbox;
use crate::server::{Budget, Clients};

/// How a helper is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it is reached.
    pub endpoint: SocketAddrV4,
    /// Whom it helps: nobody else gets anything passed on. Each has one registration at a time.
    pub clients: Clients,
    /// Which IPv4 addresses may be sent to and believed.
    pub filter: Ipv4Filter,
    /// Ports to which nothing is passed on.
    pub denied_ports: Vec<u16>,
    /// The endpoints of a server on this same host, which clients may reach through the helper
    /// although they are own ones.
    pub neighbours: Vec<SocketAddrV4>,
    /// How long a registration lives without being renewed.
    pub lifetime: Duration,
    /// How much is done for others.
    pub limits: Limits,
}

impl Config {
    /// The defaults for a helper at this endpoint.
    pub fn new(endpoint: SocketAddrV4, clients: Clients) -> Self {
        Self {
            endpoint,
            clients,
            filter: Ipv4Filter::default(),
            denied_ports: DENIED_PORTS.to_vec(),
            neighbours: Vec::new(),
            lifetime: LIFETIME,
            limits: Limits::default(),
        }
    }

    /// Bytes that a helper allocates beside the keys of its clients, whoever it serves.
    pub fn memory_max(&self) -> usize {
        let table = self.clients.len() * Table::ENTRY_BYTES;
        Purse::BYTES + Outbox::<TRANSMIT_LEN_MAX>::BYTES + table
    }
}

/// How much a helper does for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Clients registered at a time.
    pub clients_max: usize,
    /// Requests looked at.
    pub requests: Budget,
    /// What is passed on for each client, in each direction.
    pub client: Capacity,
    /// What is passed on for all of them, both directions together.
    pub total: Capacity,
}

/// How much is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Bytes, those of IPv4 and UDP not counted.
    pub bytes: Rate,
    /// Datagrams.
    pub packets: Rate,
}

impl Capacity {
    /// So many kilobits a second, in packets not much smaller than 250 bytes on average; a tenth of
    /// a second's worth at once, and not less than one window of a TCP connection that begins.
    pub fn kbit_per_s(kbit_per_s: u32) -> Self {
        let bytes_per_s = kbit_per_s.saturating_mul(1_000 / 8).max(1);
        let packets_per_s = (bytes_per_s / 250).max(PACKETS_PER_S_MIN);
        Self {
            bytes: Rate { per_s: bytes_per_s, burst: (bytes_per_s / 10).max(BYTES_BURST_MIN) },
            packets: Rate {
                per_s: packets_per_s,
                burst: (packets_per_s / 10).max(PACKETS_BURST_MIN),
            },
        }
    }
}

impl Default for Limits {
    /// 4 Mbit/s for each, which is a video call, and 40 Mbit/s for all.
    fn default() -> Self {
        let requests = Rate { per_s: 64, burst: 256 };
        Self {
            clients_max: 1024,
            requests: Budget {
                per_source: requests,
                per_prefix: Rate { per_s: 4 * requests.per_s, burst: 4 * requests.burst },
                total: Rate { per_s: 10_000, burst: 20_000 },
            },
            client: Capacity::kbit_per_s(4_000),
            total: Capacity::kbit_per_s(40_000),
        }
    }
}

/// Four times as long as a NAT is presumed to remember (RFC 4380 section 2.15), so that three
/// requests in a row may get lost.
const LIFETIME: Duration = Duration::from_secs(120);

/// Bubbles and acknowledgements are to pass whatever the rate.
const PACKETS_PER_S_MIN: u32 = 50;
const PACKETS_BURST_MIN: u32 = 100;
const BYTES_BURST_MIN: u32 = 64 * 1024;
