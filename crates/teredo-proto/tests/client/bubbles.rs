//! RFC 4380 section 5.2.6: how many bubbles go out, and in answer to what.

use core::net::{Ipv4Addr, SocketAddrV4};

use teredo_proto::client::Config;
use teredo_proto::{DropReason, Inbound, Outbound, Role};
use teredo_wire::TeredoAddress;

use crate::bytes::{bubble, endpoint, indirect_bubble, udp};
use crate::harness::{
    Bench, RELAY_ADDRESS, Sent, config, mapped, peer, peer_address, peer_server, server,
};

fn attempts(bench: &mut Bench, start: teredo_proto::Instant) -> Vec<f64> {
    let sent = bench.take_since(start);
    sent.iter().filter(|(_, sent)| sent.is_to(peer_server())).map(|(at, _)| *at).collect()
}

//= C-BUB-01: the entry made for a new peer lets the first bubble go at once
//= C-BUB-02: and no other within two seconds, however many packets are for the peer
#[test]
fn the_first_bubble_goes_at_once_the_next_two_seconds_later() {
    let mut bench = Bench::quiet();
    let start = bench.now;
    for _ in 0..40 {
        let _ = bench.send(&udp(bench.own(), peer_address(), b"x"));
        bench.wait_s(0.05);
    }
    assert_eq!(attempts(&mut bench, start), [0.0, 2.0]);
}

//= C-BUB-03: four in 300 s without a direct answer
//= C-BUB-04: each one counts and moves the last transmission
#[test]
fn four_attempts_in_three_hundred_seconds() {
    let mut bench = Bench::quiet();
    let start = bench.now;
    for _ in 0..1000 {
        let _ = bench.send(&udp(bench.own(), peer_address(), b"x"));
        bench.wait_s(1.0);
    }
    let expected = [0, 300, 600, 900].map(|t| [t, t + 2, t + 4, t + 6]).concat();
    let seen: Vec<_> = attempts(&mut bench, start).iter().map(|at| at.round() as i32).collect();
    assert_eq!(seen, expected);
}

//= C-BUB-03: a peer that had to go from a full list gets what remains of its four when it is back
#[test]
fn whoever_had_to_go_gets_no_more_attempts() {
    let mut bench = Bench::qualified_with(Config {
        peers_max: 2,
        refresh_interval: core::time::Duration::from_secs(1_000_000),
        ..config()
    });
    let start = bench.now;
    for others in [1..=2, 3..=4, 5..=6] {
        let _ = bench.send(&udp(bench.own(), peer_address(), b"x"));
        bench.wait_s(3.0);
        for number in others {
            let mapped = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 66), number);
            let other = TeredoAddress { mapped, ..peer() }.to_ipv6();
            assert_eq!(bench.send(&udp(bench.own(), other, b"x")), Outbound::Queued);
        }
    }
    let sent = bench.take_since(start).into_iter();
    let to_peer = |sent: &Sent| sent.parsed().ipv6.destination() == peer_address();
    let calls = sent.filter(|(_, sent)| sent.is_to(peer_server()) && to_peer(sent));
    assert_eq!(calls.map(|(at, _)| at).collect::<Vec<_>>(), [0.0, 2.0, 4.0, 6.0]);
    let again = bench.send(&udp(bench.own(), peer_address(), b"x"));
    assert_eq!(again, Outbound::Dropped(DropReason::PeerUnreachable));
    bench.wait_s(300.0);
    assert_eq!(bench.send(&udp(bench.own(), peer_address(), b"x")), Outbound::Queued);
}

//= C-BUB-05: a direct packet starts the count again
#[test]
fn a_direct_packet_resets_the_count() {
    let mut bench = Bench::plain();
    let _ = bench.send(&udp(bench.own(), peer_address(), b"x"));
    bench.wait_s(9.0);
    let outbound = bench.send(&udp(bench.own(), peer_address(), b"x"));
    assert_eq!(outbound, Outbound::Dropped(DropReason::PeerUnreachable));
    let data = udp(peer_address(), bench.own(), b"direct");
    assert!(matches!(bench.inject(peer().mapped, &data), Inbound::Deliver(_)));
    bench.wait_s(31.0);
    bench.take();
    let start = bench.now;
    for _ in 0..10 {
        let _ = bench.send(&udp(bench.own(), peer_address(), b"x"));
        bench.wait_s(1.0);
    }
    assert_eq!(attempts(&mut bench, start), [0.0, 2.0, 4.0, 6.0]);
}

//= C-BUB-06: an indirect bubble is answered at once, whatever was sent just before
#[test]
fn answers_do_not_wait_for_the_gap() {
    let mut bench = Bench::plain();
    let _ = bench.send(&udp(bench.own(), peer_address(), b"x"));
    bench.take();
    let indirect = indirect_bubble(peer().mapped, peer_address(), bench.own());
    assert_eq!(bench.inject(server(), &indirect), Inbound::Consumed);
    let sent = bench.take();
    assert_eq!(sent.len(), 1, "one direct bubble, none through the server");
    assert!(sent[0].is_to(peer().mapped) && sent[0].is_bubble());
    assert_eq!(sent[0].parsed().ipv6.destination(), peer_address());
}

//= C-BUB-06: a storm of one peer gets two answers a second and eight in 30 s
#[test]
fn a_storm_of_one_peer_is_limited() {
    let mut bench = Bench::plain();
    for (peer, origin) in
        [(peer_address(), peer().mapped), (RELAY_ADDRESS, endpoint("203.0.113.20:9"))]
    {
        let indirect = indirect_bubble(origin, peer, bench.own());
        let mut per_second = Vec::new();
        for _ in 0..30 {
            for _ in 0..100 {
                let _ = bench.inject(server(), &indirect);
                bench.wait_s(0.01);
            }
            per_second.push(bench.take().len());
        }
        assert!(per_second.iter().all(|&count| count <= 2), "{per_second:?}");
        assert_eq!(per_second.iter().sum::<usize>(), 8);
    }
    assert!(bench.client.counters().dropped(DropReason::BubbleLimit) > 5_000);
}

//= C-BUB-06, SEC-05, T-11: a storm of many gets 50 answers a second, 100 at once
#[test]
fn a_storm_of_many_peers_is_limited() {
    let mut bench = Bench::plain();
    let own = bench.own();
    let storm = |bench: &mut Bench, round: u8| {
        for number in 0..2_000u16 {
            let mapped = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 20 + round), 1024 + number);
            let peer = TeredoAddress { mapped, ..peer() };
            let _ = bench.inject(server(), &indirect_bubble(mapped, peer.to_ipv6(), own));
        }
        bench.take().len()
    };
    assert_eq!(storm(&mut bench, 0), 100);
    bench.wait_s(1.0);
    assert_eq!(storm(&mut bench, 1), 50);
}

//= SEC-05, T-11: one datagram in, at most one out
#[test]
fn no_datagram_leads_to_more_than_one() {
    let own = Bench::plain().own();
    let inputs = [
        (server(), indirect_bubble(peer().mapped, peer_address(), own)),
        (server(), indirect_bubble(endpoint("203.0.113.20:9"), RELAY_ADDRESS, own)),
        (server(), udp(crate::harness::NATIVE, own, b"x")),
        (peer().mapped, bubble(peer_address(), own)),
        (peer().mapped, udp(peer_address(), own, b"x")),
        (endpoint("203.0.113.20:9"), udp(crate::harness::NATIVE, own, b"x")),
    ];
    for (from, payload) in inputs {
        let mut bench = Bench::plain();
        for _ in 0..5 {
            let _ = bench.inject(from, &payload);
            assert!(bench.take().len() <= 1);
        }
        bench.wait_s(60.0);
        assert!(bench.take().len() <= 1);
    }
}

//= C-BUB-07: two clients that gave up on each other stay below two bubbles a second each
#[test]
fn two_clients_that_gave_up_are_silent() {
    let mut left = Bench::quiet();
    let mut right = Bench::with_seed(config(), [9; 32]);
    right.client.start(right.now);
    let right_mapped = endpoint("192.0.2.77:7777");
    right.answer(server(), right_mapped);
    right.take();
    // Both use one server, which passes their indirect bubbles on; nothing direct gets through.
    let mut sent_by = [0, 0];
    for second in 0..40 {
        let packets = [udp(left.own(), right.own(), b"x"), udp(right.own(), left.own(), b"x")];
        let _ = left.send(&packets[0]);
        let _ = right.send(&packets[1]);
        let mut sent_now = [0, 0];
        for _ in 0..10 {
            left.wait_s(0.1);
            right.wait_s(0.1);
            let directions = [(mapped(), &mut left), (right_mapped, &mut right)];
            let sent = directions.map(|(origin, bench)| (origin, bench.take()));
            for (index, (origin, sent)) in sent.into_iter().enumerate() {
                let bubbles: Vec<_> = sent.iter().filter(|sent| sent.is_bubble()).collect();
                sent_now[index] += bubbles.len();
                for bubble in bubbles.iter().filter(|sent| sent.is_to(server())) {
                    let ipv6 = bubble.parsed().ipv6;
                    let forwarded = indirect_bubble(origin, ipv6.source(), ipv6.destination());
                    let receiver = if index == 0 { &mut right } else { &mut left };
                    let _ = receiver.inject(server(), &forwarded);
                }
            }
        }
        if second > 10 {
            assert!(sent_now.iter().all(|&count| count <= 2), "{second} s: {sent_now:?}");
        }
        sent_by[0] += sent_now[0];
        sent_by[1] += sent_now[1];
    }
    // Four attempts of two bubbles, and an answer to each attempt of the other.
    assert!(sent_by.iter().all(|&count| (8..=12).contains(&count)), "{sent_by:?}");
}

//= C-BUB-08: an answer goes to the endpoint embedded in the source, not to the origin
#[test]
fn an_answer_goes_to_the_embedded_endpoint() {
    let mut bench = Bench::plain();
    let elsewhere = endpoint("192.0.2.99:999");
    let indirect = indirect_bubble(elsewhere, peer_address(), bench.own());
    assert_eq!(bench.inject(server(), &indirect), Inbound::Consumed);
    let sent: Vec<Sent> = bench.take();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].is_to(peer().mapped));
}

/// An indirect bubble is no proof: neither trust nor reception comes of it.
#[test]
fn an_indirect_bubble_gives_no_trust() {
    let mut bench = Bench::quiet();
    let indirect = indirect_bubble(peer().mapped, peer_address(), bench.own());
    assert_eq!(bench.inject(server(), &indirect), Inbound::Consumed);
    assert_eq!(bench.events(), []);
    assert_eq!(bench.route(peer_address()), None);
}

//= C-TX-11: no answer to a source that embeds a forbidden endpoint
#[test]
fn a_bubble_from_a_forbidden_endpoint_is_not_answered() {
    let mut bench = Bench::quiet();
    for mapped in ["10.0.0.1:4096", "192.168.1.1:4096", "224.0.0.1:1", "203.0.113.10:3544"] {
        let source = TeredoAddress { mapped: endpoint(mapped), ..peer() }.to_ipv6();
        let indirect = indirect_bubble(peer().mapped, source, bench.own());
        assert_eq!(bench.inject_dropped(server(), &indirect), DropReason::ForbiddenIpv4);
    }
    assert_eq!(bench.take(), []);
}
