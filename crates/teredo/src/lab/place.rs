//! Who is where in the lab's Internet.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A host of the lab. Each has a network namespace and one wire, its uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// A Teredo client behind the first NAT.
    Client1,
    /// A Teredo client behind the second NAT.
    Client2,
    /// The Teredo server.
    Server,
    /// The Teredo relay, to which the IPv6 Internet routes 2001::/32.
    Relay,
    /// A host that has IPv6 and knows nothing of Teredo.
    Native,
}

impl Host {
    /// All of them; the position is the [`index`](Self::index).
    pub(super) const ALL: [Self; 5] =
        [Self::Client1, Self::Client2, Self::Server, Self::Relay, Self::Native];

    /// The two behind NATs.
    pub(super) const CLIENTS: [Self; 2] = [Self::Client1, Self::Client2];

    /// Number for tables of one entry a host.
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// The name that people read.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Client1 => "client 1",
            Self::Client2 => "client 2",
            Self::Server => "the server",
            Self::Relay => "the relay",
            Self::Native => "the IPv6 host",
        }
    }

    /// The name of its directory and of the trace of its wire.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Client1 => "client1",
            Self::Client2 => "client2",
            Self::Server => "server",
            Self::Relay => "relay",
            Self::Native => "v6host",
        }
    }

    /// Its IPv4 addresses, all in a /24.
    pub(super) const fn ipv4(self) -> &'static [Ipv4Addr] {
        match self {
            Self::Client1 => &[CLIENT1],
            Self::Client2 => &[CLIENT2],
            Self::Server => &[SERVER, SERVER_SECONDARY],
            Self::Relay => &[RELAY],
            Self::Native => &[],
        }
    }

    /// Its native IPv6 address, in a /64.
    pub(super) const fn ipv6(self) -> Option<Ipv6Addr> {
        match self {
            Self::Client1 | Self::Client2 => None,
            Self::Server => Some(Ipv6Addr::new(0x2001, 0xdb8, 4, 0, 0, 0, 0, 2)),
            Self::Relay => Some(Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, 0, 0, 2)),
            Self::Native => Some(V6HOST),
        }
    }

    /// The public addresses of the NAT before it, of which most kinds use the first one only.
    pub(super) const fn publics(self) -> &'static [Ipv4Addr] {
        match self {
            Self::Client1 => &PUBLIC1,
            Self::Client2 => &PUBLIC2,
            Self::Server | Self::Relay | Self::Native => &[],
        }
    }

    /// The network between two NATs before it, a /24: the router and, of the inner NAT, as many
    /// addresses as [`publics`](Self::publics).
    pub(super) const fn between(self) -> &'static [Ipv4Addr] {
        match self {
            Self::Client1 => &BETWEEN1,
            Self::Client2 => &BETWEEN2,
            Self::Server | Self::Relay | Self::Native => &[],
        }
    }

    /// The router at the other end of its wire, as it signs its ICMP errors.
    pub(super) const fn router(self) -> Ipv4Addr {
        match self {
            Self::Client1 => Ipv4Addr::new(192, 168, 1, 1),
            Self::Client2 => Ipv4Addr::new(192, 168, 2, 1),
            Self::Server | Self::Relay | Self::Native => Ipv4Addr::new(203, 0, 113, 1),
        }
    }
}

/// The IPv4 Internet, which no Teredo node would take for one by itself: it is a range for
/// documentation.
pub(super) const INTERNET: &str = "203.0.113.0/24";
const CLIENT1: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
const CLIENT2: Ipv4Addr = Ipv4Addr::new(192, 168, 2, 2);
/// Four for each client's NAT, so that one with several external addresses has some.
const PUBLIC1: [Ipv4Addr; 4] = [public(101), public(111), public(121), public(131)];
const PUBLIC2: [Ipv4Addr; 4] = [public(102), public(112), public(122), public(132)];
/// Of the range for networks between NATs (RFC 6598).
const BETWEEN1: [Ipv4Addr; 5] = between(1);
const BETWEEN2: [Ipv4Addr; 5] = between(2);
/// The server's primary address.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The server's secondary address.
pub(super) const SERVER_SECONDARY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
/// The relay's IPv4 address.
pub(super) const RELAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
/// The native IPv6 host.
pub(super) const V6HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 6, 0, 0, 0, 0, 2);
/// The routers of the IPv6 Internet, as they sign their ICMPv6 errors.
pub(super) const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// Bytes of the largest packet on a wire.
pub(super) const WIRE_MTU: usize = 1500;

const fn public(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, host)
}

const fn between(net: u8) -> [Ipv4Addr; 5] {
    let [a, b, c] = [100, 64, net];
    [
        Ipv4Addr::new(a, b, c, 1),
        Ipv4Addr::new(a, b, c, 2),
        Ipv4Addr::new(a, b, c, 3),
        Ipv4Addr::new(a, b, c, 4),
        Ipv4Addr::new(a, b, c, 5),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_stands_at_its_index() {
        for (index, host) in Host::ALL.into_iter().enumerate() {
            assert_eq!(host.index(), index);
        }
    }
}
