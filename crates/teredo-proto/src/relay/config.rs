//! What an operator can set.

use core::net::{Ipv6Addr, SocketAddrV4};

use teredo_wire::ipv6::Ipv6Cidr;

use crate::filter::{DENIED_PORTS, Ipv4Filter};
use crate::limiter::Rate;
use crate::policy::Policy;

/// How a relay is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The endpoint of its socket. Any port will do, but it should stay the same: the NATs of
    /// clients open towards it.
    pub service: SocketAddrV4,
    /// Which IPv4 addresses may be sent to and believed.
    pub filter: Ipv4Filter,
    /// Embedded ports to which nothing is sent.
    pub denied_ports: Vec<u16>,
    /// Whom it serves.
    pub scope: Scope,
    /// Which unsolicited packets may reach this host, if the relay is a host-specific one.
    ///
    /// Any other relay forwards for others and is no firewall. What its clients may send to whom is
    /// for the nodes that are written to, as it is on the native Internet; and it could not tell,
    /// since packets to a client may take another relay than those from it.
    pub policy: Policy,
    /// Whether a NAT may stand in front of the relay. A bubble then also goes to the client
    /// directly, to open it. A host-specific relay sends both in any case.
    pub behind_nat: bool,
    /// The most clients remembered at a time.
    pub peers_max: usize,
    /// How many clients per second may be sought that are not known yet.
    pub new_peers: Rate,
}

impl Config {
    /// The defaults for a relay on this endpoint.
    pub fn new(service: SocketAddrV4, scope: Scope) -> Self {
        Self {
            service,
            filter: Ipv4Filter::default(),
            denied_ports: DENIED_PORTS.to_vec(),
            scope,
            policy: Policy::default(),
            behind_nat: false,
            peers_max: PEERS_MAX,
            new_peers: NEW_PEERS,
        }
    }
}

/// Whom a relay serves: the only sources of packets to clients, and the only destinations of
/// packets from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A relay: the native IPv6 Internet or a part of it.
    Network {
        /// The relay's own IPv6 address, the source of its ICMPv6 errors.
        address: Ipv6Addr,
        /// The prefixes served.
        served: Vec<Ipv6Cidr>,
    },
    /// A host-specific relay: this host's own native IPv6 addresses. While it has none, the relay
    /// serves nobody.
    Host {
        /// The addresses.
        own: Vec<Ipv6Addr>,
    },
}

impl Scope {
    /// Everybody, from the relay with this IPv6 address.
    pub fn internet(address: Ipv6Addr) -> Self {
        let everybody = Ipv6Cidr::new(Ipv6Addr::UNSPECIFIED, 0);
        Self::Network { address, served: everybody.into_iter().collect() }
    }

    pub(super) fn contains(&self, address: Ipv6Addr) -> bool {
        match self {
            Self::Network { served, .. } => served.iter().any(|prefix| prefix.contains(address)),
            Self::Host { own } => own.contains(&address),
        }
    }

    /// The source of ICMPv6 errors.
    pub(super) fn error_source(&self) -> Option<Ipv6Addr> {
        match self {
            Self::Network { address, .. } => Some(*address),
            Self::Host { own } => own.first().copied(),
        }
    }

    pub(super) fn is_host(&self) -> bool {
        matches!(self, Self::Host { .. })
    }
}

/// Clients of a busy site; 70 MB when all are there.
const PEERS_MAX: usize = 1 << 18;
/// New clients: a site's worth at once. Each costs memory and bubbles, and the bubbles go to
/// whichever server the destination names, so a scan of the address space must stay a trickle of
/// half a megabit per second.
const NEW_PEERS: Rate = Rate { per_s: 1_000, burst: 4_000 };
