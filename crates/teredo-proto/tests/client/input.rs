//! Bad input: any bytes in any state. No panic, always a named reason, and nothing changed but
//! counters.

use core::net::SocketAddrV4;
use core::time::Duration;

use teredo_proto::random::Random;
use teredo_proto::{DropReason, Inbound, Instant, Outbound, Role};

use crate::bytes::{Advertisement, bubble, echo_reply, endpoint, icmpv6, indirect_bubble, udp};
use crate::harness::{
    Bench, NATIVE, RELAY_ADDRESS, config, mapped, peer, peer_address, peer_server, relay,
    secondary, server,
};

/// A client in each of its states, with its name.
fn benches() -> Vec<(&'static str, Bench)> {
    let mut waiting_for_secondary =
        Bench::started(teredo_proto::client::Config { strict: true, ..config() });
    waiting_for_secondary.answer(server(), mapped());
    let mut given_up = Bench::started(config());
    given_up.wait_s(12.0);
    let mut symmetric = Bench::started(config());
    symmetric.answer(server(), mapped());
    symmetric.answer(secondary(), endpoint("192.0.2.1:4097"));
    let mut comparing = Bench::started(config());
    comparing.answer(server(), mapped());
    let mut refreshing = Bench::qualified();
    refreshing.wait_s(30.0);
    let mut searching = Bench::quiet();
    for destination in [peer_address(), NATIVE] {
        let packet = udp(searching.own(), destination, b"x");
        assert_eq!(searching.send(&packet), Outbound::Queued);
    }
    let mut connected = Bench::quiet();
    connected.befriend(&peer());
    connected.befriend_native();
    vec![
        ("stopped", Bench::new(config())),
        ("asking the primary", Bench::started(config())),
        ("asking the secondary", waiting_for_secondary),
        ("given up", given_up),
        ("symmetric", symmetric),
        ("comparing", comparing),
        ("refreshing", refreshing),
        ("searching", searching),
        ("connected", connected),
    ]
}

fn sources() -> [SocketAddrV4; 6] {
    [server(), secondary(), peer().mapped, peer_server(), relay(), endpoint("10.0.0.1:0")]
}

/// Datagrams that mean something to a client in some state.
fn datagrams(bench: &mut Bench) -> Vec<Vec<u8>> {
    let own = bench.client.address().unwrap_or(peer_address());
    let sent = bench.peek();
    let nonce = sent.iter().rev().find(|sent| sent.is_solicitation());
    let nonce = nonce.map_or([0; 8], |sent| sent.parsed().authentication.unwrap().nonce);
    let trailers = [1, 4, 1, 2, 3, 4, 5, 2, 0x9c, 0x40, 4, 4, 0, 0, 0, 0, 0x41, 2, 0, 0];
    let request = sent.iter().rev().find(|sent| sent.is_to(server()) && !sent.is_solicitation());
    let reply = match request {
        Some(request) => echo_reply(request.datagram().1),
        None => icmpv6(NATIVE, own, 129, &[7; 20]),
    };
    vec![
        Advertisement::new(nonce).to_bytes(),
        bubble(peer_address(), own),
        [bubble(peer_address(), own), trailers.to_vec()].concat(),
        indirect_bubble(peer().mapped, peer_address(), own),
        indirect_bubble(relay(), RELAY_ADDRESS, own),
        udp(peer_address(), own, b"data of a peer"),
        udp(NATIVE, own, b"data of a host"),
        icmpv6(peer_address(), own, 135, &[0; 20]),
        reply,
    ]
}

/// Checks that a dropped datagram changed nothing, and drains what others led to.
fn check_datagram(name: &str, bench: &mut Bench, from: SocketAddrV4, payload: &[u8]) {
    let before = bench.state_digest();
    let drops = bench.client.counters().dropped_total();
    match bench.inject(from, payload) {
        Inbound::Dropped(reason) => {
            assert!(!reason.name().is_empty());
            assert_eq!(bench.client.counters().dropped_total(), drops + 1);
            if !is_stateful(reason) {
                let is_same = bench.state_digest() == before;
                assert!(is_same, "{name}: {reason:?}: {payload:02x?}");
            }
        }
        Inbound::Deliver(range) => {
            assert!(range.len() >= 40 && payload[range.start] >> 4 == 6, "{name}");
            assert!(range.end <= payload.len());
        }
        Inbound::Consumed => {}
    }
}

/// A refusal is remembered, and the limit of strangers is a state of its own.
fn is_stateful(reason: DropReason) -> bool {
    matches!(reason, DropReason::Refused | DropReason::QueueFull)
}

#[test]
fn every_truncation_in_every_state() {
    for state in 0..benches().len() {
        let count = datagrams(&mut benches().swap_remove(state).1).len();
        for number in 0..count {
            let (name, mut bench) = benches().swap_remove(state);
            let datagram = datagrams(&mut bench).swap_remove(number);
            for from in sources() {
                for len in 0..datagram.len() {
                    check_datagram(name, &mut bench, from, &datagram[..len]);
                }
            }
            bench.take();
            bench.wait_s(20.0);
        }
    }
}

#[test]
fn random_bytes_in_every_state() {
    let mut random = Random::new([3; 32]);
    for (name, mut bench) in benches() {
        let datagrams = datagrams(&mut bench);
        for round in 0..1_200 {
            let from = sources()[random.below(6) as usize];
            let mut bytes = datagrams[random.below(datagrams.len() as u64) as usize].clone();
            if round % 3 == 0 {
                bytes = (0..random.below(200)).map(|_| random.next_u64() as u8).collect();
            }
            for _ in 0..random.below(4) {
                if let Some(at) =
                    bytes.len().checked_sub(1).map(|last| random.below(last as u64 + 1))
                {
                    bytes[at as usize] = random.next_u64() as u8;
                }
            }
            check_datagram(name, &mut bench, from, &bytes);
            if round % 50 == 0 {
                bench.take();
                bench.events();
                bench.wait(Duration::from_millis(random.below(500)));
            }
        }
    }
}

#[test]
fn packets_of_any_bytes_in_every_state() {
    let mut random = Random::new([4; 32]);
    for (name, mut bench) in benches() {
        let own = bench.client.address().unwrap_or(peer_address());
        let packets = [
            udp(own, peer_address(), b"to a peer"),
            udp(own, NATIVE, b"to a host"),
            icmpv6(own, NATIVE, 128, b"1234ping"),
        ];
        for packet in &packets {
            for len in 0..packet.len() {
                bench.peek();
                let before = bench.state_digest();
                let outbound = bench.send(&packet[..len]);
                assert_eq!(outbound, Outbound::Dropped(DropReason::InvalidPacket), "{name}");
                assert!(bench.state_digest() == before, "{name}");
            }
        }
        for _ in 0..3_000 {
            let mut bytes = packets[random.below(3) as usize].clone();
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.next_u64() as u8;
            }
            let drops = bench.client.counters().dropped_total();
            if let Outbound::Dropped(_) = bench.send(&bytes) {
                assert_eq!(bench.client.counters().dropped_total(), drops + 1);
            }
            bench.take();
            bench.events();
        }
    }
}

/// Times out of order and at the end of time do no harm either.
//= SEC-09: any sequence of times
#[test]
fn any_times() {
    let mut random = Random::new([5; 32]);
    for (_, mut bench) in benches() {
        for _ in 0..200 {
            let nanos = match random.below(4) {
                0 => 0,
                1 => u64::MAX,
                _ => random.below(1 << 40),
            };
            bench.now = Instant::from_nanos(nanos);
            bench.client.handle_timeout(bench.now);
            for datagram in datagrams(&mut bench) {
                for from in sources() {
                    let _ = bench.inject(from, &datagram);
                }
            }
            bench.take();
            bench.events();
        }
    }
}

//= SEC-09: a search ends at the end of time too
#[test]
fn a_search_at_the_end_of_time_ends() {
    let mut bench = Bench::quiet();
    let packet = udp(bench.own(), peer_address(), b"x");
    assert_eq!(bench.send(&packet), Outbound::Queued);
    bench.client.handle_timeout(Instant::from_nanos(u64::MAX));
    assert!(bench.take().len() < 20);
}

/// The same seed and the same input give the same output, byte for byte (invariant I8).
#[test]
fn the_same_input_gives_the_same_output() {
    let run = || {
        let mut bench = Bench::qualified();
        let mut random = Random::new([6; 32]);
        let mut sent = Vec::new();
        for _ in 0..2_000 {
            let number = u128::from(random.below(50));
            let host = core::net::Ipv6Addr::from_bits(NATIVE.to_bits() + number);
            if bench.client.address().is_some() {
                let packet = udp(bench.own(), host, b"x");
                let _ = bench.send(&packet);
                let data = udp(host, bench.own(), b"y");
                let _ = bench.inject(relay(), &data);
            }
            bench.wait(Duration::from_millis(random.below(300)));
            sent.extend(bench.take());
        }
        (sent, bench.state_digest())
    };
    assert!(run() == run());
}
