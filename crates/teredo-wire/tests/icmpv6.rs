//! ICMPv6: solicitations, advertisements, echo and errors, with a second opinion on each checksum.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::Ipv6Addr;

use common::*;
use etherparse::{Icmpv6Slice, Ipv6Slice};
use teredo_wire::address::{ALL_ROUTERS, CLIENT_LINK_LOCAL, client_prefix, server_link_local};
use teredo_wire::icmpv6::{
    self, Echo, ErrorMessage, Icmpv6, InvalidIcmpv6, InvalidOption, NdOption, RouterAdvertisement,
};
use teredo_wire::ipv6::Header;
use teredo_wire::{Datagram, Ipv6, NoSpace, Writer, checksum};

/// An ICMPv6 packet with a right checksum; the one in `message` is overwritten.
fn packet(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    message[2..4].fill(0);
    let sum = checksum::ipv6(source, destination, 58, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let payload_len = message.len() as u16;
    let header = Header { payload_len, next_header: 58, hop_limit: 255, source, destination };
    [written(|writer| header.write(writer)), message].concat()
}

fn parse(bytes: &[u8]) -> Result<Icmpv6<'_>, InvalidIcmpv6> {
    Icmpv6::parse(&Datagram::parse(bytes).unwrap().ipv6)
}

/// What etherparse says of a packet that we wrote.
fn second_opinion(bytes: &[u8]) -> (u8, u8) {
    let slice = Ipv6Slice::from_slice(bytes).unwrap();
    let header = slice.header().to_header();
    let icmp = Icmpv6Slice::from_slice(slice.payload().payload).unwrap();
    assert!(icmp.is_checksum_valid(header.source, header.destination));
    let ours = Ipv6::parse(bytes).unwrap().0;
    assert_eq!(Ipv6Addr::from(header.source), ours.source());
    assert_eq!(Ipv6Addr::from(header.destination), ours.destination());
    assert_eq!(header.hop_limit, ours.hop_limit());
    assert_eq!(usize::from(header.payload_length), ours.payload().len());
    (icmp.type_u8(), icmp.code_u8())
}

//= P-WIRE-24: type 133, code 0, hop limit 255, reserved 0, valid checksum, to all routers
#[test]
fn router_solicitation() {
    let mut random = Random::new(24);
    for _ in 0..1000 {
        let source = Ipv6Addr::from(u128::from(random.next()) | 0xfe80 << 112);
        let bytes = written(|writer| icmpv6::write_router_solicitation(writer, source));
        assert_eq!(second_opinion(&bytes), (133, 0));
        let packet = Ipv6::parse(&bytes).unwrap().0;
        assert_eq!((packet.hop_limit(), packet.next_header()), (255, 58));
        assert_eq!((packet.source(), packet.destination()), (source, ALL_ROUTERS));
        assert_eq!((packet.payload().len(), &packet.payload()[4..]), (8, &[0; 4][..]));
    }
}

//= P-WIRE-25: type 134, one prefix of 64 bits with A and without L, MTU, valid checksum
#[test]
fn router_advertisement() {
    let mut random = Random::new(25);
    for mtu in [None, Some(1280), Some(65535)] {
        let server = (random.next() as u32).into();
        let source = server_link_local(server);
        let answer = RouterAdvertisement { source, destination: CLIENT_LINK_LOCAL, server, mtu };
        let bytes = written(|writer| answer.write(writer));
        assert_eq!(second_opinion(&bytes), (134, 0));
        let message = parse(&bytes).unwrap();
        let options: Vec<_> = message.advertisement_options().map(Result::unwrap).collect();
        let NdOption::Prefix(prefix) = options[0] else { panic!("{options:?}") };
        assert_eq!((prefix.prefix, prefix.prefix_len), (client_prefix(server), 64));
        assert_eq!((prefix.valid_lifetime_s, prefix.preferred_lifetime_s), (!0, !0));
        assert_eq!(options.get(1), mtu.map(NdOption::Mtu).as_ref());
        let option = &message.bytes[16..48];
        assert_eq!(option[..4], [3, 4, 64, 0x40]);
        assert_eq!(option[12..16], [0; 4]);
        let header_of_message = &message.bytes[4..16];
        assert_eq!(header_of_message, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x07, 0xd0]);
    }
}

#[test]
fn echo_round_trip() {
    let mut random = Random::new(26);
    for len in (0..70).chain([1231, 1232, 65531 - 4]) {
        let data = random.bytes(len);
        let reply = len % 2 == 0;
        let (identifier, sequence) = (random.next() as u16, random.next() as u16);
        let echo = Echo { reply, identifier, sequence, data: &data };
        let bytes = written(|writer| echo.write(writer, client_a(), client_b(), 64));
        assert_eq!(second_opinion(&bytes), (if reply { 129 } else { 128 }, 0));
        assert_eq!(parse(&bytes).unwrap().echo(), Some(echo));
    }
    let data = vec![0; 65528];
    let too_long = Echo { reply: false, identifier: 1, sequence: 1, data: &data };
    let mut buffer = vec![0; 100_000];
    let mut writer = Writer::new(&mut buffer);
    assert_eq!(too_long.write(&mut writer, client_a(), client_b(), 64), Err(NoSpace));
    let with_code = packet(client_a(), client_b(), &[128, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(parse(&with_code).unwrap().echo(), None);
}

#[test]
fn errors_quote_up_to_the_minimum_mtu() {
    let offending = vec![0x60; 1500];
    for (error, kind, parameter) in [
        (ErrorMessage::Prohibited, (1, 1), 0),
        (ErrorMessage::AddressUnreachable, (1, 3), 0),
        (ErrorMessage::TooBig(1280), (2, 0), 1280_u32),
    ] {
        for len in [0, 40, 1231, 1232, 1233, 1500] {
            let bytes =
                written(|writer| error.write(writer, client_a(), client_b(), &offending[..len]));
            assert_eq!(second_opinion(&bytes), kind);
            assert_eq!(bytes.len(), (48 + len).min(1280));
            assert_eq!(bytes[44..48], parameter.to_be_bytes());
            assert_eq!(bytes[48..], offending[..len.min(1232)]);
        }
    }
}

#[test]
fn damage_is_found() {
    for original in [solicitation()[13..].to_vec(), advertisement()[21..].to_vec(), echo_request()]
    {
        assert!(parse(&original).is_ok());
        for bit in 8 * 8..8 * original.len() {
            let mut damaged = original.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let packet = Datagram::parse(&damaged).unwrap().ipv6;
            assert_eq!(Icmpv6::parse(&packet), Err(InvalidIcmpv6::Checksum), "bit {bit}");
        }
    }
    for len in 0..8 {
        let mut bytes = written(|writer| {
            Header { payload_len: len, next_header: 58, ..Header::bubble(client_a(), client_b()) }
                .write(writer)
        });
        bytes.resize(40 + usize::from(len), 0);
        assert_eq!(parse(&bytes), Err(InvalidIcmpv6::Truncated));
    }
}

#[test]
fn options_of_solicitations() {
    let solicitation = |options: &[u8]| {
        let message = [&[133, 0, 0, 0, 0, 0, 0, 0][..], options].concat();
        let bytes = packet(CLIENT_LINK_LOCAL, ALL_ROUTERS, &message);
        let found: Vec<_> = parse(&bytes).unwrap().solicitation_options().collect();
        found
    };
    assert_eq!(solicitation(&[]), []);
    // As Windows XP sent it: a source link-layer address of 16 bytes.
    assert_eq!(solicitation(&[&[1, 2][..], &[0; 14]].concat()), [Ok(NdOption::Other(1))]);
    assert_eq!(solicitation(&[1, 0, 0, 0, 0, 0, 0, 0]), [Err(InvalidOption)]);
    assert_eq!(solicitation(&[1, 2, 0, 0, 0, 0, 0, 0]), [Err(InvalidOption)]);
    assert_eq!(solicitation(&[1]), [Err(InvalidOption)]);
    let other_then_cut = [&[14, 1, 0, 0, 0, 0, 0, 0][..], &[1, 1, 0]].concat();
    assert_eq!(solicitation(&other_then_cut), [Ok(NdOption::Other(14)), Err(InvalidOption)]);
}

#[test]
fn options_of_advertisements() {
    let advertisement = |options: &[u8]| {
        let message = [&[134, 0][..], &[0; 14], options].concat();
        let bytes = packet(ipv6("fe80::1"), CLIENT_LINK_LOCAL, &message);
        let found: Vec<_> = parse(&bytes).unwrap().advertisement_options().collect();
        found
    };
    assert_eq!(advertisement(&hex("05010000 00000500")), [Ok(NdOption::Mtu(1280))]);
    assert_eq!(advertisement(&[&[5, 2][..], &[0; 14]].concat()), [Err(InvalidOption)]);
    for length in (1..6).filter(|length| *length != 4) {
        let prefix = [&[3, length][..], &vec![0; 8 * usize::from(length) - 2]].concat();
        assert_eq!(advertisement(&prefix), [Err(InvalidOption)], "prefix of length {length}");
    }
    let garbage_behind =
        hex("03042040 00000001 00000002 deadbeef 20010000ffffffffffffffffffffffff");
    let found = advertisement(&garbage_behind);
    let [Ok(NdOption::Prefix(prefix))] = found[..] else { panic!("{found:?}") };
    assert_eq!(
        (prefix.prefix_len, prefix.valid_lifetime_s, prefix.preferred_lifetime_s),
        (32, 1, 2)
    );
    let short = packet(ipv6("fe80::1"), CLIENT_LINK_LOCAL, &[134, 0, 0, 0, 0, 0, 0, 0, 9]);
    assert_eq!(parse(&short).unwrap().advertisement_options().count(), 0);
}

/// The sum against a plain one, for all lengths and alignments that matter.
#[test]
fn checksum_is_that_of_a_naive_loop() {
    let mut random = Random::new(27);
    for len in (0..300).chain([1279, 1280, 65535]) {
        let payload = match len % 3 {
            0 => vec![0xff; len],
            _ => random.bytes(len),
        };
        let (source, destination) = (client_a(), Ipv6Addr::from(u128::MAX));
        let mut bytes = [source.octets(), destination.octets()].concat();
        bytes.extend((len as u32).to_be_bytes());
        bytes.extend([0, 0, 0, 17]);
        bytes.extend(&payload);
        assert_eq!(checksum::ipv6(source, destination, 17, &payload), naive(&bytes), "{len}");
        let (source, destination) = (ipv4("192.0.2.1"), ipv4("255.255.255.255"));
        let mut bytes = [source.octets(), destination.octets()].concat();
        bytes.extend([0, 17]);
        bytes.extend((len as u16).to_be_bytes());
        bytes.extend(&payload);
        assert_eq!(checksum::ipv4(source, destination, 17, &payload), naive(&bytes), "{len}");
    }
}

fn naive(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
