//! The vectors that were computed from the RFCs by hand, written and read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use teredo_wire::address::{ALL_NODES, CLIENT_LINK_LOCAL, server_link_local};
use teredo_wire::datagram::write_origin;
use teredo_wire::icmpv6::{self, Echo, RouterAdvertisement};
use teredo_wire::ipv6::Header;
use teredo_wire::trailer::{Alternates, NeighborDiscovery, Trailer, Trailers};
use teredo_wire::{Authentication, Datagram};

//= P-ADDR-01, P-ADDR-02: field order and obfuscation, the figures of RFC 6081
#[test]
fn addresses() {
    let vectors = [
        ("203.0.113.120", 0, "192.0.2.1:4096", "2001:0:cb00:7178:0:efff:3fff:fdfe"),
        ("198.51.100.118", 0, "192.0.2.10:8192", "2001:0:c633:6476:0:dfff:3fff:fdf5"),
        ("203.0.113.120", 0, "198.51.100.118:4095", "2001:0:cb00:7178:0:f000:39cc:9b89"),
        ("198.51.100.118", 0x3cff, "192.0.2.10:8192", "2001:0:c633:6476:3cff:dfff:3fff:fdf5"),
    ];
    for (server, flags, mapped, address) in vectors {
        assert_eq!(teredo(server, flags, mapped), ipv6(address));
    }
    assert_eq!(server_link_local(ipv4("203.0.113.120")), ipv6("fe80::8000:f227:34ff:8e87"));
    assert_eq!(server_link_local(ipv4("65.55.158.80")), ipv6("fe80::8000:f227:bec8:61af"));
}

//= P-WIRE-02: the origin indication of RFC 4380
#[test]
fn origin() {
    let bytes = written(|writer| write_origin(writer, endpoint("1.2.3.4:337")));
    assert_eq!(bytes, hex("00 00 FE AE FE FD FC FB"));
}

//= P-WIRE-24: the solicitation of the vectors, byte for byte
#[test]
fn router_solicitation() {
    let bytes = written(|writer| {
        Authentication::nonce_only(NONCE).write(writer)?;
        icmpv6::write_router_solicitation(writer, CLIENT_LINK_LOCAL)
    });
    assert_eq!(bytes, solicitation());
    assert_eq!(bytes.len(), 61);
    let cone = written(|writer| {
        icmpv6::write_router_solicitation(writer, ipv6("fe80::8000:5445:5245:444f"))
    });
    assert_eq!(cone[42..44], [0x12, 0x5d]);
}

//= P-WIRE-25: the advertisement of the vectors, byte for byte
#[test]
fn router_advertisement() {
    let server = ipv4("203.0.113.120");
    let packet = |mtu| RouterAdvertisement {
        source: server_link_local(server),
        destination: CLIENT_LINK_LOCAL,
        server,
        mtu,
    };
    let bytes = written(|writer| {
        Authentication::nonce_only(NONCE).write(writer)?;
        write_origin(writer, endpoint("192.0.2.1:4096"))?;
        packet(Some(1280)).write(writer)
    });
    assert_eq!(bytes, advertisement());
    assert_eq!(bytes.len(), 117);
    assert_eq!(written(|writer| packet(None).write(writer)).len(), 40 + 48);
}

//= P-WIRE-10: a bubble is a header with payload length 0 and next header 59
#[test]
fn bubbles() {
    let direct = written(|writer| Header::bubble(client_a(), client_b()).write(writer));
    assert_eq!(direct, bubble());
    let discovery = written(|writer| {
        Header { hop_limit: 1, ..Header::bubble(client_a(), ALL_NODES) }.write(writer)
    });
    assert_eq!(discovery, discovery_bubble());
    for bytes in [direct, discovery] {
        let datagram = Datagram::parse(&bytes).unwrap();
        assert!(datagram.ipv6.is_bubble());
        assert_eq!((datagram.ipv6.payload().len(), datagram.ipv6.next_header()), (0, 59));
    }
}

#[test]
fn trailers_of_every_kind() {
    let alternates = [endpoint("192.168.1.10:40000"), endpoint("10.0.0.2:40001")];
    let bytes = written(|writer| {
        Trailer::Nonce([0xde, 0xad, 0xbe, 0xef]).write(writer)?;
        Trailer::RandomPort(50000).write(writer)?;
        Alternates::write(writer, &alternates)?;
        Trailer::NeighborDiscovery(NeighborDiscovery::Solicitation).write(writer)
    });
    assert_eq!(bytes, trailers());
    let found = Trailers::parse(&bytes).unwrap();
    assert_eq!(found.nonce, Some([0xde, 0xad, 0xbe, 0xef]));
    assert_eq!(found.random_port, Some(50000));
    assert!(found.alternates.unwrap().endpoints().eq(alternates));
    assert_eq!(found.neighbor_discovery, Some(NeighborDiscovery::Solicitation));
}

#[test]
fn echo() {
    let echo = Echo {
        reply: false,
        identifier: 0x1234,
        sequence: 1,
        data: &[0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77],
    };
    let bytes = written(|writer| echo.write(writer, client_a(), ipv6("2001:db8::1"), 128));
    assert_eq!(bytes, echo_request());
    let datagram = Datagram::parse(&bytes).unwrap();
    assert_eq!(icmpv6::Icmpv6::parse(&datagram.ipv6).unwrap().echo(), Some(echo));
}
