//! Frames of each link, and what is taken for Teredo.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use teredo_wire::Malformed;
use teredo_wire::capture::{NoDatagram, NotTeredo, Udp};
use teredo_wire::pcap::LinkType;

const MAC_ADDRESSES: &str = "020000000001 020000000002";

fn with_header(header: &str, packet: &[u8]) -> Vec<u8> {
    [&hex(header), packet].concat()
}

/// The packet in GTP-U, behind these flags and optional fields.
fn in_gtp(flags: u8, optional: &str, packet: &[u8]) -> Vec<u8> {
    let optional = hex(optional);
    let len = (optional.len() + packet.len()) as u16;
    let mut payload = vec![flags, 0xff];
    payload.extend(len.to_be_bytes());
    payload.extend([0, 0, 0, 7]);
    payload.extend(optional);
    payload.extend(packet);
    udp_packet_between("192.0.2.8:2152", "192.0.2.9:33333", &payload)
}

fn is_found(link: LinkType, frame: &[u8]) {
    let udp = Udp::find(link, frame).unwrap();
    assert_eq!(udp.source, endpoint("192.0.2.1:4096"));
    assert_eq!(udp.destination, endpoint("203.0.113.120:3544"));
    assert_eq!(udp.payload, solicitation());
    assert!(udp.teredo().is_ok());
}

#[test]
fn every_link() {
    let packet = udp_packet(&solicitation());
    for link in [LinkType::RAW, LinkType::RAW_BSD, LinkType::RAW_OPENBSD, LinkType::IPV4] {
        is_found(link, &packet);
    }
    let plain = with_header(&format!("{MAC_ADDRESSES} 0800"), &packet);
    is_found(LinkType::ETHERNET, &plain);
    is_found(LinkType::ETHERNET, &[plain, vec![0; 40]].concat());
    for tags in ["8100 2005", "88a8 0064 8100 0007", "9100 0001 9100 0002 8100 0003"] {
        is_found(
            LinkType::ETHERNET,
            &with_header(&format!("{MAC_ADDRESSES} {tags} 0800"), &packet),
        );
    }
    let cooked = "0004 0001 0006 020000000001 0000";
    is_found(LinkType::LINUX_COOKED, &with_header(&format!("{cooked} 0800"), &packet));
    is_found(LinkType::LINUX_COOKED, &with_header(&format!("{cooked} 8100 0005 0800"), &packet));
    let cooked = "0800 0000 00000003 0001 04 06 0200000000010000";
    is_found(LinkType::LINUX_COOKED_V2, &with_header(cooked, &packet));
}

#[test]
fn tunnelled_in_gtp() {
    let packet = udp_packet(&solicitation());
    for (flags, optional) in [
        (0x30, ""),
        (0x32, "0001 00 00"),
        (0x31, "0000 09 00"),
        (0x34, "0000 00 00"),
        (0x34, "0000 00 85 01 1000 00"),
        (0x36, "0001 00 c0 01 1000 85 02 1000 00000000 00"),
    ] {
        is_found(LinkType::RAW, &in_gtp(flags, optional, &packet));
    }
    // Behind an extension header of length 0 there is nothing to be found.
    let endless = in_gtp(0x34, "0000 00 85 00 1000 00", &packet);
    assert!(Udp::find(LinkType::RAW, &endless).unwrap().teredo().is_err());
    let over_ipv6 = {
        let gtp = &in_gtp(0x30, "", &packet)[28..];
        let mut outer = Vec::new();
        let builder = etherparse::PacketBuilder::ipv6([1; 16], [2; 16], 9).udp(2152, 2152);
        builder.write(&mut outer, gtp).unwrap();
        outer
    };
    is_found(LinkType::RAW, &over_ipv6);
    is_found(LinkType::ETHERNET, &with_header(&format!("{MAC_ADDRESSES} 86dd"), &over_ipv6));
    // A Teredo client may use the port of GTP-U.
    let client = udp_packet_between("192.0.2.1:2152", "203.0.113.120:3544", &solicitation());
    assert!(Udp::find(LinkType::RAW, &client).unwrap().teredo().is_ok());
    // A tunnel in a tunnel is not followed.
    let twice = in_gtp(0x30, "", &in_gtp(0x30, "", &packet));
    assert!(Udp::find(LinkType::RAW, &twice).unwrap().teredo().is_err());
    let echo_in_tunnel = in_gtp(0x30, "", &[0x60; 60]);
    assert_eq!(Udp::find(LinkType::RAW, &echo_in_tunnel), Err(NoDatagram::NotIpv4));
}

#[test]
fn frames_without_a_datagram() {
    let packet = udp_packet(&solicitation());
    let find = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = packet.clone();
        change(&mut packet);
        Udp::find(LinkType::RAW, &packet).unwrap_err()
    };
    assert_eq!(find(&|it| it[0] = 0x65), NoDatagram::NotIpv4);
    assert_eq!(find(&|it| it[0] = 0x55), NoDatagram::NotIpv4);
    assert_eq!(find(&|it| it[0] = 0x44), NoDatagram::InvalidIpv4);
    assert_eq!(find(&|it| it[2..4].fill(1)), NoDatagram::Truncated);
    assert_eq!(find(&|it| it[2..4].copy_from_slice(&[0, 19])), NoDatagram::InvalidIpv4);
    assert_eq!(find(&|it| it[9] = 6), NoDatagram::NotUdp);
    assert_eq!(find(&|it| it[6] = 0x20), NoDatagram::Fragment);
    assert_eq!(find(&|it| it[7] = 1), NoDatagram::Fragment);
    assert_eq!(find(&|it| it[24..26].copy_from_slice(&[0, 7])), NoDatagram::InvalidUdp);
    assert_eq!(find(&|it| it[25] += 1), NoDatagram::Truncated);
    assert_eq!(find(&|it| it.truncate(80)), NoDatagram::Truncated);
    assert_eq!(find(&|it| it.clear()), NoDatagram::Truncated);
    assert_eq!(Udp::find(LinkType(147), &packet), Err(NoDatagram::UnknownLink));
    let arp = with_header(&format!("{MAC_ADDRESSES} 0806"), &[0; 28]);
    assert_eq!(Udp::find(LinkType::ETHERNET, &arp), Err(NoDatagram::NotIpv4));
}

#[test]
fn headers_that_are_fine() {
    let mut with_options = udp_packet(&solicitation());
    with_options.splice(20..20, [1; 40]);
    with_options[0] = 0x4f;
    let total_len = with_options.len() as u16;
    with_options[2..4].copy_from_slice(&total_len.to_be_bytes());
    is_found(LinkType::RAW, &with_options);
    let mut offloaded = udp_packet(&solicitation());
    offloaded[2..4].fill(0);
    is_found(LinkType::RAW, &offloaded);
    let mut unfragmentable = udp_packet(&solicitation());
    unfragmentable[6] = 0x40;
    is_found(LinkType::RAW, &unfragmentable);
}

#[test]
fn what_is_taken_for_teredo() {
    let teredo = |source, destination, payload: &[u8]| {
        let packet = udp_packet_between(source, destination, payload);
        Udp::find(LinkType::RAW, &packet).unwrap().teredo().map(|_| ())
    };
    let (client, peer, server) = ("192.0.2.1:4096", "192.0.2.2:5000", "192.0.2.3:3544");
    let mut native = echo_request();
    native[8..24].copy_from_slice(&ipv6("2001:db8::2").octets());
    let mut link_local = native.clone();
    link_local[24..40].copy_from_slice(&ipv6("fe80::1").octets());

    assert_eq!(teredo(client, peer, &bubble()), Ok(()));
    assert_eq!(teredo(client, peer, &echo_request()), Ok(()));
    assert_eq!(teredo(client, peer, &link_local), Ok(()));
    assert_eq!(teredo(client, peer, &native), Err(NotTeredo::Unmarked));
    assert_eq!(teredo(client, server, &native), Ok(()));
    assert_eq!(teredo(server, client, &native), Ok(()));
    let cut = &native[..50];
    assert_eq!(teredo(client, peer, cut), Err(NotTeredo::Unmarked));
    let malformed = NotTeredo::Malformed(Malformed::TruncatedIpv6Payload);
    assert_eq!(teredo(client, server, cut), Err(malformed));
}
