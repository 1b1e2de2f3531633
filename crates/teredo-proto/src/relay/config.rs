//! What an operator can set.

use core::net::{Ipv6Addr, SocketAddrV4};

use teredo_wire::ipv6::Ipv6Cidr;

use crate::filter::{DENIED_PORTS, Ipv4Filter};
use crate::guard::Guard;
use crate::limiter::Rate;
use crate::peers::{PacketQueue, PeerTable};
use crate::policy::Policy;
use crate::relay::QUEUED_BYTES_MAX;
use crate::relay::peer::Peer;

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
    /// How many clients may be sought that are not known yet.
    pub new_peers: NewPeers,
}

/// How many clients may be sought that are not known yet. Anybody on the IPv6 Internet can have
/// some sought, so nobody gets more than a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewPeers {
    /// For the native sources of one /64: a link, and all the addresses a host may take there.
    pub per_link: Rate,
    /// For those of one /48, a site.
    pub per_site: Rate,
    /// For those of one /32, a network.
    pub per_network: Rate,
    /// Of one server, to which their bubbles go: no server, and nobody who is said to be one,
    /// gets all bubbles of a relay.
    pub per_server: Rate,
    /// For everybody.
    pub total: Rate,
}

impl NewPeers {
    /// No shares, only a limit for everybody: right if all native sources are the operator's own.
    pub const fn undivided(total: Rate) -> Self {
        const ALL: Rate = Rate { per_s: u32::MAX, burst: u32::MAX };
        Self { per_link: ALL, per_site: ALL, per_network: ALL, per_server: ALL, total }
    }

    /// Shares of `total`: a sixteenth for a link, an eighth for a site, a quarter for a network,
    /// half for a server.
    pub const fn shared(total: Rate) -> Self {
        const fn part(total: Rate, of: u32) -> Rate {
            Rate { per_s: total.per_s.div_ceil(of), burst: total.burst.div_ceil(of) }
        }
        Self {
            per_link: part(total, 16),
            per_site: part(total, 8),
            per_network: part(total, 4),
            per_server: part(total, 2),
            total,
        }
    }
}

impl Config {
    /// The defaults for a relay on this endpoint.
    pub fn new(service: SocketAddrV4, scope: Scope) -> Self {
        let new_peers = if scope.is_host() {
            NewPeers::undivided(NEW_PEERS)
        } else {
            NewPeers::shared(NEW_PEERS)
        };
        Self {
            service,
            filter: Ipv4Filter::default(),
            denied_ports: DENIED_PORTS.to_vec(),
            scope,
            policy: Policy::default(),
            behind_nat: false,
            peers_max: PEERS_MAX,
            new_peers,
        }
    }

    /// Bytes that the relay allocates at most: for each client its entry and its place in the
    /// table's lists, and for all together the packets that wait; for a host-specific relay the
    /// flows of the inbound policy. The program around it takes some megabytes more, whatever
    /// happens.
    pub const fn memory_max(&self) -> usize {
        let peers = PeerTable::<Peer>::memory_max(self.peers_max);
        let guard = if self.scope.is_host() { Guard::MEMORY_MAX } else { 0 };
        peers + self.peers_max * PacketQueue::IDLE_BYTES + QUEUED_BYTES_MAX + guard
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

    pub(super) const fn is_host(&self) -> bool {
        matches!(self, Self::Host { .. })
    }
}

/// Clients of a busy site; [`Config::memory_max`] tells what they take when all are there.
const PEERS_MAX: usize = 1 << 18;
/// New clients: a site's worth at once. Each costs memory and bubbles, and the bubbles go to
/// whichever server the destination names, so a scan of the address space must stay a trickle of
/// half a megabit per second.
const NEW_PEERS: Rate = Rate { per_s: 1_000, burst: 4_000 };

#[cfg(test)]
mod tests {
    use super::*;

    //= SEC-10, T-09: what is documented: half a kilobyte for a client, and 64 MiB for packets
    #[test]
    fn memory_is_half_a_kilobyte_for_a_client() {
        let service = SocketAddrV4::new([192, 0, 2, 1].into(), 3545);
        let config = Config {
            peers_max: 1 << 16,
            ..Config::new(service, Scope::internet(Ipv6Addr::LOCALHOST))
        };
        assert!(config.memory_max() <= (64 << 20) + 512 * config.peers_max);
    }
}
