//! Router Advertisements (RFC 4380 section 5.3.2).

use std::net::SocketAddrV4;

use teredo_proto::{Arrival, DropReason, Inbound, Local, Role};
use teredo_wire::address::{CLIENT_LINK_LOCAL, client_prefix, server_link_local};
use teredo_wire::icmpv6::{Icmpv6, NdOption};
use teredo_wire::{Authentication, Datagram};

use crate::packets::*;
use crate::server_acceptance::{server, server_with, solicitation};

const NONCE: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// The one answer to a solicitation: where it goes, from where, and its bytes.
fn answer(on: Local, solicitation: &[u8]) -> (SocketAddrV4, Local, Vec<u8>) {
    let mut server = server();
    let arrival = Arrival { from: CLIENT_AT, on };
    assert_eq!(server.handle_datagram(ms(0), arrival, solicitation), Inbound::Consumed);
    match &drain(&mut server)[..] {
        [Sent::Datagram { to, via, payload }] => (*to, *via, payload.clone()),
        other => panic!("{other:?}"),
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.split_whitespace().flat_map(str::bytes).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

//= P-WIRE-25, S-RS-11: the whole answer, byte for byte
#[test]
fn the_answer_is_the_vector() {
    let mut server = server_with(|config| config.primary = OTHER_SERVER);
    let request = with_authentication(Authentication::nonce_only(NONCE), &solicitation());
    let (_, sent) = exchange(&mut server, ms(0), CLIENT_AT, &request);
    let expected = hex("00010000 0001020304050607 00  0000 efff 3ffffdfe
         6000000000383aff fe80000000000000 8000f22734ff8e87 fe80000000000000 0000ffffffffffff
         8600954c 00000000 00000000 000007d0
         03044040 ffffffff ffffffff 00000000 20010000cb007178 0000000000000000
         05010000 00000500");
    assert_eq!(sent, [datagram(CLIENT_AT, expected)]);
}

//= T-12: on the wire no answer is more than 1.74 times as large as what it answers
#[test]
fn no_answer_is_much_larger_than_its_question() {
    const HEADERS: usize = 20 + 8;
    let with_nonce = with_authentication(Authentication::nonce_only(NONCE), &solicitation());
    for request in [solicitation(), with_nonce] {
        let (inbound, sent) = exchange(&mut server(), ms(0), CLIENT_AT, &request);
        let [Sent::Datagram { payload, .. }] = &sent[..] else { panic!("{inbound:?}: {sent:?}") };
        let (asked, answered) = (HEADERS + request.len(), HEADERS + payload.len());
        assert!(100 * answered <= 174 * asked, "{asked} to {answered} bytes");
    }
}

//= S-RS-01, S-RS-06: the origin is the observed endpoint, and there the answer goes
#[test]
fn the_origin_is_the_observed_endpoint() {
    let (to, _, payload) = answer(Local::Primary, &solicitation());
    assert_eq!(to, CLIENT_AT);
    assert_eq!(payload[..8], [0, 0, 0xef, 0xff, 0x3f, 0xff, 0xfd, 0xfe]);
    assert_eq!(Datagram::parse(&payload).unwrap().origin, Some(CLIENT_AT));
}

//= S-RS-02: cone bit 0: from the address asked; cone bit 1: from the other one
#[test]
fn the_cone_bit_chooses_the_address() {
    for (flags, on, expected) in [
        (0x0000, Local::Primary, Local::Primary),
        (0x0000, Local::Secondary, Local::Secondary),
        (0x7fff, Local::Primary, Local::Primary),
        (0x8000, Local::Primary, Local::Secondary),
        (0x8000, Local::Secondary, Local::Primary),
        (0xffff, Local::Primary, Local::Secondary),
    ] {
        let source = v6(&format!("fe80::{flags:x}:5445:5245:444f"));
        let message = [133, 0, 0, 0, 0, 0, 0, 0];
        let asked = icmpv6(source, v6("ff02::2"), 255, &message);
        assert_eq!(answer(on, &asked).1, expected, "{flags:#x} on {on:?}");
    }
}

//= S-RS-02: without a second address the cone question is not answered wrongly
#[test]
fn without_a_second_address_the_cone_question_stays_open() {
    let mut server = server_with(|config| config.secondary = None);
    let message = [133, 0, 0, 0, 0, 0, 0, 0];
    let asked = icmpv6(v6("fe80::8000:5445:5245:444f"), v6("ff02::2"), 255, &message);
    let (inbound, sent) = exchange(&mut server, ms(0), CLIENT_AT, &asked);
    assert_eq!(inbound, Inbound::Dropped(DropReason::NoSecondary));
    assert!(sent.is_empty());
    assert_eq!(exchange(&mut server, ms(0), CLIENT_AT, &solicitation()).1.len(), 1);
}

//= S-RS-03, S-RS-04, S-RS-05: prefix and source of the primary address on both, back to the source
#[test]
fn both_addresses_advertise_the_primary_one() {
    for on in [Local::Primary, Local::Secondary] {
        let (_, via, payload) = answer(on, &solicitation());
        assert_eq!(via, on);
        let packet = Datagram::parse(&payload).unwrap().ipv6;
        assert_eq!(packet.source(), server_link_local(SERVER));
        assert_eq!(packet.source(), v6("fe80::8000:f227:34ff:8ef5"));
        assert_eq!(packet.destination(), CLIENT_LINK_LOCAL);
        let message = Icmpv6::parse(&packet).unwrap();
        let prefixes = message.advertisement_options().filter_map(|option| match option.unwrap() {
            NdOption::Prefix(prefix) => Some(prefix.prefix),
            NdOption::Mtu(_) | NdOption::Other(_) => None,
        });
        assert_eq!(prefixes.collect::<Vec<_>>(), [client_prefix(SERVER)]);
    }
}

//= S-RS-12, S-RS-13, P-WIRE-08: one /64 and an MTU of 1280
#[test]
fn one_prefix_and_the_mtu_are_advertised() {
    let (_, _, payload) = answer(Local::Primary, &solicitation());
    let packet = Datagram::parse(&payload).unwrap().ipv6;
    let message = Icmpv6::parse(&packet).unwrap();
    let options: Vec<_> = message.advertisement_options().map(Result::unwrap).collect();
    let [NdOption::Prefix(prefix), NdOption::Mtu(1280)] = options[..] else {
        panic!("{options:?}")
    };
    assert_eq!(prefix.prefix_len, 64);
}

//= S-RS-11, P-WIRE-03: authentication is mirrored, at all lengths, and only if it was there
#[test]
fn authentication_is_mirrored() {
    let (_, _, bare) = answer(Local::Primary, &solicitation());
    assert_eq!(Datagram::parse(&bare).unwrap().authentication, None);
    let bytes: Vec<u8> = (0..=255).collect();
    for len in 0..=255 {
        let (client_id, value) = (&bytes[..len], &bytes[..255 - len]);
        let asked = Authentication { client_id, value, nonce: NONCE, confirmation: 9 };
        let (_, _, payload) = answer(Local::Primary, &with_authentication(asked, &solicitation()));
        let answered = Datagram::parse(&payload).unwrap().authentication;
        let expected = Authentication { client_id, value: &[], nonce: NONCE, confirmation: 0 };
        assert_eq!(answered, Some(expected));
        assert!(payload.ends_with(&bare[..]));
    }
}
