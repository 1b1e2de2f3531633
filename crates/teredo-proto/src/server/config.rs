//! What an operator can set.

use core::net::{Ipv4Addr, SocketAddrV4};

use crate::filter::{DENIED_PORTS, Ipv4Filter};
use crate::limiter::Rate;
use crate::reason::DropReason;
use crate::server::Clients;
use crate::server::limits::Purse;
use crate::server::outbox::Outbox;

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address that clients are configured with, and that their own addresses contain.
    pub primary: Ipv4Addr,
    /// The second address. Clients assume the one after the primary. Without it they work but do
    /// not learn what kind of NAT they are behind.
    pub secondary: Option<Ipv4Addr>,
    /// Which IPv4 addresses may be sent to and believed.
    pub filter: Ipv4Filter,
    /// Ports to which no bubble or echo packet is forwarded.
    pub denied_ports: Vec<u16>,
    /// How closely a bubble's Teredo source has to fit where it came from.
    pub endpoint_check: EndpointCheck,
    /// How much is done for others.
    pub limits: Limits,
    /// A relay on this same host (RFC 4380 section 5.4.3). Its bubbles come from an own address
    /// and are no loop for that.
    pub relay: Option<SocketAddrV4>,
    /// A helper on this same host, which stands for its clients: what comes from there is no loop,
    /// nor is what goes there.
    pub helper: Option<SocketAddrV4>,
    /// The clients of a private server: nobody else gets an answer, and nothing is passed on
    /// between clients of other servers (RFC 4380 section 5.3.1). Without them the server is there
    /// for everybody. It keeps no list of who is qualified, so that whoever writes an address
    /// that fits where it is gets its bubbles and echo tests passed on without a key, as from any
    /// server.
    pub clients: Option<Clients>,
}

impl Config {
    /// The defaults for a server with these addresses.
    pub fn new(primary: Ipv4Addr, secondary: Option<Ipv4Addr>) -> Self {
        Self {
            primary,
            secondary,
            filter: Ipv4Filter::default(),
            denied_ports: DENIED_PORTS.to_vec(),
            endpoint_check: EndpointCheck::default(),
            limits: Limits::default(),
            relay: None,
            helper: None,
            clients: None,
        }
    }

    /// Bytes that a server allocates, whoever it serves: its limits, and answers that wait. The
    /// program around it takes some megabytes more, whatever happens, and a private server the keys
    /// of its clients.
    pub const fn memory_max(&self) -> usize {
        3 * Purse::BYTES + <Outbox>::BYTES
    }
}

/// How closely the Teredo source of a bubble for one of our clients has to fit the observed source.
/// All other packets with a Teredo source have to fit exactly.
///
/// RFC 4380 section 5.3.1 asks for an exact fit of bubbles as well, but from behind a symmetric NAT
/// a bubble to the peer's server leaves through another port than the one the address embeds, and
/// RFC 6081 relies on its arrival (E-11b). The relaxed checks open nothing new: rule 6 lets anybody
/// whose source is not Teredo send bubbles to the same clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndpointCheck {
    /// Address and port: RFC 4380 to the letter.
    Strict,
    /// The address alone.
    #[default]
    SameAddress,
    /// Nothing: for clients behind NATs with several addresses.
    Any,
}

impl EndpointCheck {
    pub(super) fn check(
        self,
        embedded: SocketAddrV4,
        observed: SocketAddrV4,
    ) -> Result<(), DropReason> {
        let fits = match self {
            Self::Strict => embedded == observed,
            Self::SameAddress => embedded.ip() == observed.ip(),
            Self::Any => true,
        };
        if fits { Ok(()) } else { Err(DropReason::EndpointMismatch) }
    }
}

/// How much a server does for others. Sources can be forged: without limits it would be a weak
/// amplifier, and a way to hide where a flood comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Solicitations answered. An answer is up to 1.74 times as large as its solicitation.
    pub answers: Budget,
    /// Bubbles passed on, each 8 bytes longer than it came at most.
    pub bubbles: Budget,
    /// Echo requests and replies passed on, the only packets that reach the IPv6 Internet.
    pub echoes: Budget,
}

/// How often something is done for one IPv4 address, for one /24 and for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// For one IPv4 address.
    pub per_source: Rate,
    /// For one /24.
    pub per_prefix: Rate,
    /// For everybody.
    pub total: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        let carrier_nat = Rate { per_s: 256, burst: 1024 };
        let relay = Rate { per_s: 4 * 1024, burst: 16 * 1024 };
        let budget = |per_source: Rate| Budget {
            per_source,
            per_prefix: Rate { per_s: 4 * per_source.per_s, burst: 4 * per_source.burst },
            total: TOTAL,
        };
        Self { answers: budget(carrier_nat), bubbles: budget(relay), echoes: budget(carrier_nat) }
    }
}

// A thousand clients behind one carrier NAT may start at once, then refresh every 30 s and test the
// way to 256 hosts a second; a relay seeks a thousand clients of one server a second, each of them
// four times. A /24 has room for four of either.

/// For everybody: a million answers make 1.2 Gbit/s, several times what one processor gives. So
/// this is out of the way of honest load, and keeps a server on fast hardware from being worth the
/// while as a reflector.
const TOTAL: Rate = Rate { per_s: 1_000_000, burst: 100_000 };
