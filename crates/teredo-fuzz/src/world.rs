//! The addresses and endpoints that the roles' inputs choose from.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use teredo_proto::Ipv4Filter;

use crate::packets::teredo;

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub(crate) const SECONDARY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
/// A relay, or where a host-specific one is.
pub(crate) const RELAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 20), 5_000);
/// The client, behind its NAT.
pub(crate) const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 4_096);
/// Another client, of another server.
pub(crate) const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 10), 8_192);
pub(crate) const PEER_SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 118);
pub(crate) const NATIVE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 6, 0, 0, 0, 0, 2);
/// A relay itself, and another native host on another link.
pub(crate) const RELAY_OWN: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 6, 0, 0, 0, 0, 1);
pub(crate) const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 1, 0, 0, 0, 9);

/// Where datagrams come from.
pub(crate) fn endpoints() -> [SocketAddrV4; 10] {
    let at = |address, port| SocketAddrV4::new(address, port);
    [
        at(SERVER, 3_544),
        at(SECONDARY, 3_544),
        CLIENT,
        PEER,
        at(PEER_SERVER, 3_544),
        RELAY,
        // Nobody in particular, nobody there can be, and two that nothing may be sent to.
        at(Ipv4Addr::new(198, 51, 100, 7), 50_000),
        at(Ipv4Addr::new(192, 0, 2, 77), 0),
        at(Ipv4Addr::new(10, 0, 0, 1), 9),
        at(Ipv4Addr::new(127, 0, 0, 1), 3_544),
    ]
}

/// What packets are between; the first is the role's own.
pub(crate) fn addresses(own: Ipv6Addr) -> [Ipv6Addr; 14] {
    [
        own,
        client(),
        peer(),
        NATIVE,
        OTHER,
        RELAY_OWN,
        teredo_wire::address::server_link_local(SERVER),
        teredo_wire::address::CLIENT_LINK_LOCAL,
        teredo_wire::address::ALL_ROUTERS,
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0x123, 4, 5, 6),
        // Embed what nothing may be sent to: a private address, the server itself, port 0.
        teredo([203, 0, 113, 10], SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 1), 1_000)),
        teredo([203, 0, 113, 10], SocketAddrV4::new(SERVER, 3_544)),
        teredo([10, 0, 0, 1], SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 77), 0)),
        Ipv6Addr::UNSPECIFIED,
    ]
}

pub(crate) fn client() -> Ipv6Addr {
    teredo(SERVER.octets(), CLIENT)
}

pub(crate) fn peer() -> Ipv6Addr {
    teredo(PEER_SERVER.octets(), PEER)
}

/// The filter of production, but that the ranges for documentation count as global.
pub(crate) fn filter() -> Ipv4Filter {
    let documentation = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"];
    let allowed = documentation.iter().filter_map(|range| range.parse().ok()).collect();
    Ipv4Filter { allowed, ..Ipv4Filter::default() }
}
