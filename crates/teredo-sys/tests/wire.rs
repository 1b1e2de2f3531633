//! What our datagrams look like outside: the IPv4 header, captured on a TUN device.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::{Ipv4Addr, SocketAddrV4};

use common::{in_namespace, packet};
use teredo_sys::netlink::{InterfaceAddress, Lifetime, Netlink};
use teredo_sys::tun::Tun;
use teredo_sys::udp::{SendBatch, UdpSocket};

const MTU: u32 = 1400;
const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const ALSO_HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const THERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 9), 3544);

/// The first bytes of an IPv6 packet with the traffic class 0xff, so ECN 3 (congestion
/// experienced).
const INNER_START: [u8; 2] = [0x6f, 0xf0];

/// A TUN device as the way out to 192.0.2.0/24.
fn uplink() -> Tun {
    let tun = Tun::create("uplink").unwrap();
    let mut netlink = Netlink::open().unwrap();
    netlink.disable_link_local(tun.index()).unwrap();
    netlink.set_link_mtu(tun.index(), MTU).unwrap();
    netlink.set_link_up(tun.index()).unwrap();
    for address in [HERE, ALSO_HERE] {
        let index = tun.index();
        let address = InterfaceAddress {
            index,
            address: address.into(),
            prefix_len: 24,
            lifetime: Lifetime::FOREVER,
        };
        netlink.add_address(&address).unwrap();
    }
    tun
}

fn send(payload_len: usize, source: Option<Ipv4Addr>) {
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 3545)).unwrap();
    let mut batch = SendBatch::new(1, 2000);
    batch.slot().unwrap()[..2].copy_from_slice(&INNER_START);
    batch.commit(payload_len, THERE, source);
    assert_eq!(socket.send_batch(&mut batch).unwrap().sent, 1);
}

fn dont_fragment(packet: &[u8]) -> bool {
    packet[6] & 0x40 != 0
}

fn more_fragments(packet: &[u8]) -> bool {
    packet[6] & 0x20 != 0
}

//= P-WIRE-07: the outer header does not carry Don't Fragment
#[test]
fn the_outer_header_has_dont_fragment_clear() {
    in_namespace("the_outer_header_has_dont_fragment_clear", |_| {
        let uplink = uplink();
        for payload_len in [2, 1300] {
            send(payload_len, None);
            let packet = packet(&uplink);
            assert_eq!(packet.len(), 20 + 8 + payload_len);
            assert_eq!(packet[0] >> 4, 4);
            assert!(!dont_fragment(&packet));
        }
        // One longer than the link takes leaves in two fragments.
        send(1500, None);
        let fragments = [packet(&uplink), packet(&uplink)];
        assert_eq!(fragments.each_ref().map(|packet| more_fragments(packet)), [true, false]);
        assert!(!fragments.iter().any(|packet| dont_fragment(packet)));
    });
}

//= P-WIRE-09: the outer ECN field is zero whatever the inner one says
#[test]
fn the_outer_header_has_ecn_zero() {
    in_namespace("the_outer_header_has_ecn_zero", |_| {
        let uplink = uplink();
        send(100, None);
        let packet = packet(&uplink);
        assert_eq!(packet[28..30], INNER_START);
        assert_eq!(packet[1], 0, "type of service, whose last two bits are ECN");
    });
}

#[test]
fn the_source_is_the_one_asked_for() {
    in_namespace("the_source_is_the_one_asked_for", |_| {
        let uplink = uplink();
        for source in [HERE, ALSO_HERE] {
            send(100, Some(source));
            let packet = packet(&uplink);
            assert_eq!(packet[12..16], source.octets());
            assert_eq!(packet[16..20], THERE.ip().octets());
            assert_eq!(packet[20..24], [0x0d, 0xd9, 0x0d, 0xd8], "ports 3545 and 3544");
        }
    });
}

/// Five alike in one batch, first of a length that fits the way out, then of one that does not:
/// they are five datagrams on the wire all the same, none of them with Don't Fragment.
#[test]
fn alike_datagrams_of_a_batch_are_single_ones_on_the_wire() {
    in_namespace("alike_datagrams_of_a_batch_are_single_ones_on_the_wire", |_| {
        let tun = uplink();
        let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 3545)).unwrap();
        let mut batch = SendBatch::new(8, 2000);
        for (payload_len, packet_lens) in [(1300, &[1328][..]), (1390, &[1396, 42]), (100, &[128])]
        {
            for number in 0..5 {
                batch.slot().unwrap()[..payload_len].fill(number);
                batch.commit(payload_len, THERE, None);
            }
            assert_eq!(socket.send_batch(&mut batch).unwrap().sent, 5);
            for number in 0..5 {
                for packet_len in packet_lens {
                    let packet = packet(&tun);
                    assert_eq!((packet.len(), packet[packet_len - 1]), (*packet_len, number));
                    assert!(!dont_fragment(&packet));
                }
            }
        }
    });
}
