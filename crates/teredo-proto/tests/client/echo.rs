//! RFC 4380 section 5.2.9: the direct IPv6 connectivity test.

use core::net::Ipv6Addr;

use teredo_proto::{Inbound, Local, Outbound, Role};
use teredo_wire::icmpv6::{Echo, Icmpv6};
use teredo_wire::ipv6::next_header;

use crate::bytes::{echo_reply, endpoint, udp};
use crate::harness::{Bench, NATIVE, Sent, relay, server};

/// Sends a packet to a native host and returns the echo request that makes.
fn request(bench: &mut Bench, host: Ipv6Addr) -> Vec<u8> {
    let packet = udp(bench.own(), host, b"x");
    assert_eq!(bench.send(&packet), Outbound::Queued);
    let sent = bench.take().pop().unwrap();
    assert!(sent.is_to(server()));
    sent.datagram().1.to_vec()
}

//= C-PING-01: from the own address, through the own server, with the nonce as data
//= C-PING-03: type 128, code 0, right checksum
//= C-PING-04: at most 88 bytes of ICMPv6
//= C-PING-02, T-03: at least 64 bits of nonce
#[test]
fn the_request() {
    let mut bench = Bench::quiet();
    let bytes = request(&mut bench, NATIVE);
    let sent = Sent::Datagram { to: server(), via: Local::Primary, payload: bytes };
    let datagram = sent.parsed();
    assert_eq!((datagram.authentication, datagram.origin), (None, None));
    let ipv6 = datagram.ipv6;
    assert_eq!((ipv6.source(), ipv6.destination()), (bench.own(), NATIVE));
    assert_eq!(ipv6.next_header(), next_header::ICMPV6);
    assert!(ipv6.hop_limit() >= 64);
    let message = Icmpv6::parse(&ipv6).unwrap();
    assert_eq!((message.kind, message.code), (128, 0));
    assert!(message.bytes.len() <= 88);
    let Echo { reply, data, .. } = message.echo().unwrap();
    assert!(!reply && data.len() >= 8);
}

//= C-PING-02, T-03: unpredictable: different for each peer, time and client
#[test]
fn nonces_differ() {
    let mut nonces = Vec::new();
    for seed in 0..4 {
        let mut bench = Bench::with_seed(crate::harness::config(), [seed; 32]);
        bench.client.start(bench.now);
        bench.answer(server(), crate::harness::mapped());
        bench.take();
        for number in 0..100 {
            let host = Ipv6Addr::from_bits(NATIVE.to_bits() + number);
            nonces.push(request(&mut bench, host)[48..].to_vec());
        }
        bench.wait_s(7.0);
        let repeats = bench.take();
        let repeats = repeats.iter().filter(|sent| sent.is_to(server()));
        nonces.extend(repeats.map(|sent| sent.datagram().1[48..].to_vec()));
    }
    assert!(nonces.len() >= 4 * 400);
    let count = nonces.len();
    nonces.sort_unstable();
    nonces.dedup();
    assert_eq!(nonces.len(), count);
}

//= C-PING-05, T-03: the nonce for one peer proves nothing about another
#[test]
fn a_nonce_is_for_one_peer() {
    let mut bench = Bench::quiet();
    let other = Ipv6Addr::from_bits(NATIVE.to_bits() + 1);
    let for_other = request(&mut bench, other);
    request(&mut bench, NATIVE);
    let body = &for_other[44..];
    let forged = crate::bytes::icmpv6(NATIVE, bench.own(), 129, body);
    let _ = bench.inject(relay(), &forged);
    assert_eq!(bench.events(), []);
    assert_eq!(bench.route(NATIVE), None);
}

//= C-PING-05, T-03: nor does it after 30 s
#[test]
fn a_nonce_lasts_thirty_seconds() {
    for (seconds, is_taken) in [(29.9, true), (30.1, false)] {
        let mut bench = Bench::quiet();
        let reply = echo_reply(&request(&mut bench, NATIVE));
        bench.wait_s(seconds);
        assert_eq!(bench.inject(relay(), &reply), Inbound::Consumed);
        assert_eq!(bench.route(NATIVE).is_some(), is_taken, "after {seconds} s");
    }
}

//= C-PING-05, SEC-08, T-06: nor a second time from elsewhere
#[test]
fn a_replay_proves_nothing() {
    let mut bench = Bench::quiet();
    let reply = echo_reply(&request(&mut bench, NATIVE));
    assert_eq!(bench.inject(relay(), &reply), Inbound::Consumed);
    let attacker = endpoint("203.0.113.66:6666");
    assert_eq!(bench.inject(attacker, &reply), Inbound::Consumed);
    assert_eq!(bench.route(NATIVE), Some(relay()));
    bench.wait_s(29.0);
    assert_eq!(bench.inject(attacker, &reply), Inbound::Consumed);
    bench.wait_s(2.0);
    assert_eq!(bench.route(NATIVE), None);
}

//= T-04: an ICMPv6 error that quotes our request proves nothing, whoever is said to send it
#[test]
fn an_error_about_our_request_proves_nothing() {
    let mut bench = Bench::quiet();
    let request = request(&mut bench, NATIVE);
    let router = Ipv6Addr::from_bits(NATIVE.to_bits() + 99);
    for (source, kind) in [(NATIVE, 1), (router, 1), (router, 3)] {
        let error =
            crate::bytes::icmpv6(source, bench.own(), kind, &[&[0; 4], &request[..]].concat());
        let inbound = bench.inject(endpoint("203.0.113.66:6666"), &error);
        assert!(!matches!(inbound, Inbound::Deliver(_)), "{inbound:?}");
        assert_eq!(bench.route(NATIVE), None);
    }
    assert_eq!(bench.inject(relay(), &echo_reply(&request)), Inbound::Consumed);
    assert_eq!(bench.route(NATIVE), Some(relay()), "the reply does");
}

//= C-PING-06: replies to our own requests are not for the stack, those to its requests are
#[test]
fn only_replies_to_our_requests_are_consumed() {
    let mut bench = Bench::quiet();
    let first = request(&mut bench, NATIVE);
    bench.wait_s(2.0);
    let second = bench.take().pop().unwrap().datagram().1.to_vec();
    for request in [&first, &second, &first] {
        let reply = echo_reply(request);
        assert_eq!(bench.inject(relay(), &reply), Inbound::Consumed);
    }
    let of_the_stack = crate::bytes::icmpv6(NATIVE, bench.own(), 129, b"1234ping from the stack");
    let delivered = Inbound::Deliver(0..of_the_stack.len());
    assert_eq!(bench.inject(relay(), &of_the_stack), delivered);
    assert_eq!(bench.client.counters().delivered, 1);
}

//= C-PING-07: another relay is followed after a new test only
#[test]
fn a_change_of_relay_is_followed_after_a_test() {
    let mut bench = Bench::quiet();
    bench.befriend_native();
    let other = endpoint("203.0.113.21:5001");
    let data = udp(NATIVE, bench.own(), b"through another relay");
    bench.wait_s(3.0);
    assert_eq!(bench.inject(other, &data), Inbound::Consumed);
    assert_eq!(bench.route(NATIVE), Some(relay()), "not by trust alone");
    let sent = bench.take();
    assert_eq!(sent.len(), 1);
    let reply = echo_reply(sent[0].datagram().1);
    assert_eq!(bench.inject(other, &reply), Inbound::Consumed);
    assert_eq!(bench.take(), [Sent::Packet(data)]);
    assert_eq!(bench.route(NATIVE), Some(other));
}
