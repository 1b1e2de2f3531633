//! Trailers (RFC 6081 section 4).

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use teredo_wire::trailer::{
    self, Alternates, Birthday, MAX_BYTES, MAX_TRAILERS, NeighborDiscovery, Part, RefusedTrailer,
    Trailer, Trailers,
};
use teredo_wire::{Datagram, NoSpace, Writer};

fn parse(bytes: &[u8]) -> Trailers<'_> {
    Trailers::parse(bytes).unwrap()
}

//= P-WIRE-12: the length counts the value only
#[test]
fn length_is_that_of_the_value() {
    for len in 0..=MAX_BYTES as u8 - 2 {
        let bytes = [&[0x80, len][..], &vec![7; len.into()]].concat();
        let found: Vec<_> = trailer::iter(&bytes).collect();
        assert_eq!(found, [Ok(Trailer::Ignored { kind: 0x80, value: &bytes[2..] })]);
    }
    let (bytes, nonce) = (hex("8000 8001ff 010411223344"), [0x11, 0x22, 0x33, 0x44]);
    assert_eq!(parse(&bytes).nonce, Some(nonce));
}

//= P-WIRE-13: type 1, length 4; any other length is no nonce
#[test]
fn nonce() {
    let bytes = written(|writer| Trailer::Nonce([1, 2, 3, 4]).write(writer));
    assert_eq!(bytes, hex("0104 01020304"));
    for len in (0..=20_u8).filter(|len| *len != 4) {
        let bytes = [&[1, len][..], &vec![9; len.into()], &bytes].concat();
        assert_eq!(parse(&bytes).nonce, Some([1, 2, 3, 4]), "length {len} is passed over");
    }
}

//= P-WIRE-14: type 3, reserved 0, one to four endpoints in clear
#[test]
fn alternate_addresses() {
    let all = ["192.168.1.10:40000", "10.0.0.2:1", "1.2.3.4:65535", "5.6.7.8:9"].map(endpoint);
    for count in 1..=4 {
        let bytes = written(|writer| Alternates::write(writer, &all[..count]));
        assert_eq!(bytes[..4], [3, 2 + 6 * count as u8, 0, 0]);
        let list = parse(&bytes).alternates.unwrap();
        assert!(list.endpoints().eq(all[..count].iter().copied()));
        assert_eq!(written(|writer| Trailer::Alternates(list).write(writer)), bytes);
    }
    let mut buffer = [0; 100];
    assert_eq!(Alternates::write(&mut Writer::new(&mut buffer), &[]), Err(NoSpace));
    assert_eq!(Alternates::write(&mut Writer::new(&mut buffer), &[all[0]; 5]), Err(NoSpace));
    for len in (0..=60_u8).filter(|len| ![8, 14, 20, 26].contains(len)) {
        let bytes = [&[3, len][..], &vec![9; len.into()]].concat();
        assert_eq!(parse(&bytes).alternates, None, "length {len}");
    }
    let reserved = hex("0308ffff c0a8010a9c40");
    assert!(parse(&reserved).alternates.unwrap().endpoints().eq([all[0]]));
}

//= P-WIRE-17: type 4, length 4; reserved is sent as 0 and ignored
#[test]
fn neighbor_discovery() {
    use NeighborDiscovery::{Advertisement, Solicitation};
    for (kind, sent, received) in [
        (Solicitation, hex("0404 00000000"), hex("0404 00ffffff")),
        (Advertisement, hex("0404 01000000"), hex("0404 01010203")),
    ] {
        assert_eq!(written(|writer| Trailer::NeighborDiscovery(kind).write(writer)), sent);
        assert_eq!(parse(&sent).neighbor_discovery, Some(kind));
        assert_eq!(parse(&received).neighbor_discovery, Some(kind));
    }
    assert_eq!(parse(&hex("0404 02000000")).neighbor_discovery, None);
    assert_eq!(parse(&hex("0403 000000")).neighbor_discovery, None);
}

//= P-WIRE-18: type 5 with 2 bytes in network order; type 2 is unknown
#[test]
fn random_port() {
    let bytes = written(|writer| Trailer::RandomPort(50000).write(writer));
    assert_eq!(bytes, hex("0502 c350"));
    assert_eq!(parse(&bytes).random_port, Some(50000));
    assert_eq!(parse(&hex("0202 c350")), Trailers::default());
    assert_eq!(parse(&hex("0501 c3 0503 c35000")).random_port, None);
}

//= X-B-01: our own trailer has a type that others pass over, and one form for each meaning
#[test]
fn birthday() {
    assert_eq!(trailer::BIRTHDAY >> 6, 0b10);
    for (part, name, bytes) in [
        (Part::OnePort, "one-port", hex("8b05 00 01020304")),
        (Part::ManyPorts, "many-ports", hex("8b05 01 01020304")),
        (Part::OpenPorts, "open-ports", hex("8b05 02 01020304")),
    ] {
        let offer = Birthday { part, nonce: [1, 2, 3, 4] };
        assert_eq!(written(|writer| Trailer::Birthday(offer).write(writer)), bytes);
        assert_eq!(parse(&bytes).birthday, Some(offer));
        assert_eq!(part.name(), name);
    }
    for bytes in ["8b05 03 01020304", "8b05 ff 01020304", "8b04 00 010203", "8b06 00 0102030405"] {
        assert_eq!(parse(&hex(bytes)), Trailers::default(), "{bytes}");
    }
}

//= P-WIRE-19: in wire order; of duplicates, the first counts
#[test]
fn wire_order() {
    let bytes = hex("0104 00000001 0502 0001 0104 00000002 0502 0002");
    let kinds: Vec<_> = trailer::iter(&bytes).map(Result::unwrap).collect();
    let [first, second] = [[0, 0, 0, 1], [0, 0, 0, 2]].map(Trailer::Nonce);
    assert_eq!(kinds, [first, Trailer::RandomPort(1), second, Trailer::RandomPort(2)]);
    assert_eq!(parse(&bytes).nonce, Some([0, 0, 0, 1]));
    assert_eq!(parse(&bytes).random_port, Some(1));
    // Refusal depends on the order too: what follows a malformed trailer is never seen.
    assert!(Trailers::parse(&hex("4000 01ff")).is_err());
    assert!(Trailers::parse(&hex("01ff 4000")).is_ok());
}

//= P-WIRE-20: an unknown type with the top bits 01 refuses the whole packet
#[test]
fn refused_types() {
    for kind in 0x40..=0x7f {
        let bytes = bubble_with(&[&hex("0104deadbeef")[..], &[kind, 1, 0]].concat());
        let datagram = Datagram::parse(&bytes).unwrap();
        assert_eq!(datagram.trailers(), Err(RefusedTrailer { kind }));
    }
}

//= P-WIRE-21: all other unknown types are skipped
#[test]
fn skipped_types() {
    let unknown = [0, 2].into_iter().chain(6..=0x3f).chain(0x80..=0xff);
    for kind in unknown {
        let bytes = [&[kind, 3, 1, 2, 3][..], &hex("0104deadbeef")].concat();
        let expected = Trailers { nonce: Some([0xde, 0xad, 0xbe, 0xef]), ..Trailers::default() };
        assert_eq!(parse(&bytes), expected, "type {kind:#x}");
    }
}

//= P-WIRE-22: cut anywhere, the trailers before the cut stay
#[test]
fn cut_short() {
    let bytes = trailers();
    let ends = [6, 10, 26, 32];
    for len in 0..=bytes.len() {
        let whole = ends.iter().filter(|end| **end <= len).count();
        assert_eq!(trailer::iter(&bytes[..len]).count(), whole, "{len} bytes");
        let datagram = bubble_with(&bytes[..len]);
        let found = Datagram::parse(&datagram).unwrap().trailers().unwrap();
        assert_eq!(found.nonce.is_some(), whole > 0);
        assert_eq!(found.neighbor_discovery.is_some(), whole > 3);
    }
}

//= P-WIRE-26: no more than 8 trailers and 128 bytes are looked at
#[test]
fn bounded_work() {
    let mut bytes = hex("8000").repeat(MAX_TRAILERS);
    assert_eq!(trailer::iter(&bytes).count(), MAX_TRAILERS);
    bytes.extend(hex("4000"));
    assert_eq!(Trailers::parse(&bytes), Ok(Trailers::default()));
    let fits =
        [&[0x80, MAX_BYTES as u8 - 8][..], &[0; MAX_BYTES - 8], &hex("0104deadbeef")].concat();
    assert_eq!(fits.len(), MAX_BYTES);
    assert!(parse(&fits).nonce.is_some());
    let past =
        [&[0x80, MAX_BYTES as u8 - 7][..], &[0; MAX_BYTES - 7], &hex("0104deadbeef")].concat();
    assert!(parse(&past).nonce.is_none());
}
