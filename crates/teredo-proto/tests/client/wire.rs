//! How datagrams are read: lengths, encapsulations, trailers.

use teredo_proto::{DropReason, Inbound, Role};
use teredo_wire::{Datagram, Malformed};

use crate::bytes::{bubble, indirect_bubble, packet, udp};
use crate::harness::{Bench, config, peer, peer_address, relay, server};

//= P-WIRE-05: malformed encapsulations are dropped without any reply
#[test]
fn malformed_encapsulations_are_dropped_silently() {
    let mut bench = Bench::qualified();
    let packet = udp(peer_address(), bench.own(), b"x");
    let behind = |prefix: &[u8]| [prefix, &packet[..]].concat();
    let malformed = [
        (vec![], Malformed::Empty),
        (vec![0], Malformed::UnknownEncapsulation),
        (behind(&[0, 2, 0, 0, 0, 0, 0, 0]), Malformed::UnknownEncapsulation),
        (behind(&[0, 255]), Malformed::UnknownEncapsulation),
        (vec![0, 0, 1], Malformed::TruncatedOrigin),
        (vec![0, 1, 0, 0, 1], Malformed::TruncatedAuthentication),
        (
            behind(&[0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 1, 2, 3, 4, 5, 6]),
            Malformed::MisorderedEncapsulation,
        ),
        (vec![0x45; 60], Malformed::NotIpv6),
        (packet[..39].to_vec(), Malformed::TruncatedIpv6Header),
    ];
    let before = bench.state_digest();
    for (payload, reason) in malformed {
        for from in [peer().mapped, server(), relay()] {
            assert_eq!(bench.inject_dropped(from, &payload), DropReason::Malformed(reason));
        }
    }
    assert!(bench.state_digest() == before);
    assert_eq!(bench.take(), []);
}

//= P-WIRE-06: 40 + Payload Length may be less than what is there, not more
#[test]
fn a_byte_more_is_fine_and_a_byte_less_is_not() {
    let mut bench = Bench::qualified();
    let mut packet = udp(peer_address(), bench.own(), b"data");
    let from = peer().mapped;
    let cut = &packet[..packet.len() - 1];
    let truncated = DropReason::Malformed(Malformed::TruncatedIpv6Payload);
    assert_eq!(bench.inject_dropped(from, cut), truncated);
    let range = 0..packet.len();
    assert_eq!(bench.inject(from, &packet), Inbound::Deliver(range.clone()));
    packet.push(0);
    assert_eq!(bench.inject(from, &packet), Inbound::Deliver(range));
    packet[0] = 0x45;
    assert_eq!(bench.inject_dropped(from, &packet), DropReason::Malformed(Malformed::NotIpv6));
}

//= P-WIRE-11: bubbles with any hop limit
#[test]
fn bubbles_with_any_hop_limit_are_taken() {
    for hop_limit in 0..=255 {
        let mut bench = Bench::qualified();
        let bubble = packet(peer_address(), bench.own(), 59, hop_limit, &[]);
        assert_eq!(bench.inject(peer().mapped, &bubble), Inbound::Consumed, "{hop_limit}");
        assert_eq!(bench.client.counters().bubbles_received, 1);
    }
}

fn with_trailers(trailers: &[u8]) -> Result<(), DropReason> {
    let mut bench = Bench::qualified();
    let bubble = bubble(peer_address(), bench.own());
    match bench.inject(peer().mapped, &[&bubble[..], trailers].concat()) {
        Inbound::Consumed => Ok(()),
        Inbound::Dropped(reason) => Err(reason),
        Inbound::Deliver(range) => panic!("bubble delivered: {range:?}"),
    }
}

//= P-WIRE-20, P-WIRE-21: unknown types 0x40 to 0x7f refuse the packet, others are skipped
#[test]
fn unknown_trailers() {
    for kind in 0..=255 {
        let expected = if kind >> 6 == 1 { Err(DropReason::RefusedTrailer) } else { Ok(()) };
        for len in [0, 1, 4, 8] {
            let trailer = [&[kind, len][..], &vec![0; usize::from(len)]].concat();
            assert_eq!(with_trailers(&trailer), expected, "{kind:#04x}, {len} bytes");
        }
    }
}

//= P-WIRE-19, P-WIRE-22: in wire order, up to the first malformed one
#[test]
fn trailers_are_read_in_order_up_to_a_malformed_one() {
    let refused = Err(DropReason::RefusedTrailer);
    let nonce = [1, 4, 0xde, 0xad, 0xbe, 0xef];
    let refusing = [0x41, 0];
    let malformed = [5, 200];
    assert_eq!(with_trailers(&[&nonce[..], &refusing].concat()), refused);
    assert_eq!(with_trailers(&[&refusing[..], &malformed].concat()), refused);
    assert_eq!(with_trailers(&[&malformed[..], &refusing].concat()), Ok(()));
    assert_eq!(with_trailers(&[&nonce[..], &[0x41]].concat()), Ok(()));
}

/// A peer with the extensions of RFC 6081 sends trailers of all kinds; they are tolerated.
#[test]
fn all_trailers_of_rfc_6081_are_tolerated() {
    let trailers = [
        &[1, 4, 0xde, 0xad, 0xbe, 0xef][..],
        &[5, 2, 0xc3, 0x50],
        &[3, 14, 0, 0, 192, 168, 1, 10, 0x9c, 0x40, 10, 0, 0, 2, 0x9c, 0x41],
        &[4, 4, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(with_trailers(&trailers), Ok(()));
    let mut bench = Bench::qualified();
    let bubble = indirect_bubble(peer().mapped, peer_address(), bench.own());
    assert_eq!(bench.inject(server(), &[bubble, trailers].concat()), Inbound::Consumed);
    assert!(bench.take()[0].is_to(peer().mapped));
}

//= P-WIRE-24: the solicitation is that of the vector, but for the nonce
#[test]
fn the_solicitation_is_that_of_the_vector() {
    let mut bench = Bench::started(config());
    let sent = bench.take();
    let (_, payload) = sent[0].datagram();
    let nonce = Datagram::parse(payload).unwrap().authentication.unwrap().nonce;
    let packet = concat!(
        "6000000000083aff",
        "fe800000000000000000ffffffffffff",
        "ff020000000000000000000000000002",
        "85007d3700000000"
    );
    let packet: Vec<u8> = (0..packet.len() / 2)
        .map(|at| u8::from_str_radix(&packet[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    assert_eq!(payload, [&[0, 1, 0, 0][..], &nonce, &[0], &packet].concat());
}
