//! Bad input against every entry point: truncations at every length, flipped bits, random bytes.

use std::collections::BTreeSet;
use std::fmt::Debug;

use teredo_proto::random::Random;
use teredo_proto::{DropReason, Inbound, Instant, Outbound, Role};
use teredo_wire::Authentication;

use crate::packets::*;
use crate::relay_transmission::{connect, data, direct, relay};
use crate::server_acceptance::{server, solicitation};

/// A role's state without its counters.
pub(crate) fn state(role: &impl Debug) -> String {
    let text = format!("{role:?}");
    let start = text.find("counters: Counters {").unwrap();
    let len = text[start..].find('}').unwrap();
    text[..start].to_owned() + &text[start + len..]
}

/// Datagrams that servers or relays act on, none with trailers.
fn datagrams() -> Vec<Vec<u8>> {
    let authentication =
        Authentication { client_id: b"client-1", value: &[9; 20], nonce: [1; 8], confirmation: 0 };
    vec![
        solicitation(),
        with_authentication(Authentication::nonce_only([1; 8]), &solicitation()),
        with_authentication(authentication, &with_origin(CLIENT_AT, &solicitation())),
        bubble(client(), stranger()),
        bubble(client(), LINK_LOCAL),
        bubble(LINK_LOCAL, client()),
        echo(client(), NATIVE, &[1; 18]),
        echo_reply(NATIVE, client(), &[1; 18]),
        udp(client(), NATIVE, &[0; 100]),
    ]
}

/// Puts in everything, and checks that each is dropped for a reason that is counted, with nothing
/// sent and nothing changed.
fn all_are_dropped<R: Role + Debug>(role: &mut R, inputs: &[(Instant, Vec<u8>)]) {
    let (before, mut survivors) = (state(role), Vec::new());
    for (now, payload) in inputs {
        let count = role.counters().dropped_total();
        match put(role, *now, CLIENT_AT, payload) {
            Inbound::Dropped(reason) => {
                assert!(!reason.name().is_empty() && role.counters().dropped(reason) > 0);
                assert_eq!(role.counters().dropped_total(), count + 1);
            }
            Inbound::Deliver(_) | Inbound::Consumed => survivors.push(payload.len()),
        }
    }
    assert!(survivors.is_empty(), "taken at these lengths: {survivors:?}");
    assert!(drain(role).is_empty());
    assert_eq!(state(role), before);
}

//= P-WIRE-05, P-WIRE-26, S-RX-01, R-RX-01: cut short at any length, nothing is taken or answered
#[test]
fn truncated_datagrams_change_nothing() {
    let cut = |whole: Vec<u8>| (0..whole.len()).map(move |len| (ms(9), whole[..len].to_vec()));
    let inputs: Vec<_> = datagrams().into_iter().flat_map(cut).collect();
    all_are_dropped(&mut server(), &inputs);
    let mut relay = relay();
    connect(&mut relay, ms(0));
    all_are_dropped(&mut relay, &inputs);
    assert_eq!(relay.handle_packet(ms(9), &data(1)), direct());
}

//= P-WIRE-05, P-WIRE-26: random bytes, most with the beginning of something
#[test]
fn random_datagrams_change_nothing() {
    let mut random = Random::new(SEED);
    let inputs: Vec<_> = (0..20_000).map(|_| (ms(9), random_bytes(&mut random))).collect();
    all_are_dropped(&mut server(), &inputs);
    let mut relay = relay();
    connect(&mut relay, ms(0));
    all_are_dropped(&mut relay, &inputs);
}

fn random_bytes(random: &mut Random) -> Vec<u8> {
    const BEGINNINGS: [&[u8]; 5] = [&[], &[0, 0], &[0, 1], &[0, 1, 0, 0], &[0x60]];
    let len = random.below(200) as usize;
    let beginning = BEGINNINGS[random.below(5) as usize];
    let rest = (0..len).map(|_| random.next_u64() as u8);
    beginning.iter().copied().chain(rest).collect()
}

//= P-WIRE-26, SEC-10, T-24: damaged datagrams never panic, and each is taken or dropped by name
#[test]
fn damaged_datagrams_are_taken_or_dropped_by_name() {
    let mut random = Random::new(SEED);
    let (mut server, mut relay, datagrams) = (server(), relay(), datagrams());
    let mut reasons = BTreeSet::new();
    for round in 0..40_000 {
        let now = ms(round * 10);
        let mut payload = datagrams[random.below(9) as usize].clone();
        for _ in 0..=random.below(3) {
            let place = random.below(payload.len() as u64) as usize;
            payload[place] ^= 1 << random.below(8);
        }
        let _ = relay.handle_packet(now, &data(0));
        relay.handle_timeout(now);
        for inbound in
            [put(&mut server, now, CLIENT_AT, &payload), put(&mut relay, now, CLIENT_AT, &payload)]
        {
            match inbound {
                Inbound::Dropped(reason) => _ = reasons.insert(reason),
                Inbound::Deliver(range) => assert!(range.end <= payload.len()),
                Inbound::Consumed => {}
            }
        }
        assert!(drain(&mut server).len() <= 1, "an answer at most");
        assert!(drain(&mut relay).len() <= 10);
        assert!(relay.peer_count() <= 1);
    }
    for role in [server.counters(), relay.counters()] {
        assert!(role.drops().all(|(reason, count)| count == 0 || reasons.contains(&reason)));
    }
}

//= P-WIRE-26: packets from the IPv6 side, cut short or random, are dropped by name
#[test]
fn bad_packets_change_nothing() {
    let mut random = Random::new(SEED);
    let whole = udp(NATIVE, client(), &[0; 100]);
    let cut = (0..whole.len()).map(|len| whole[..len].to_vec());
    let inputs: Vec<_> = cut.chain((0..20_000).map(|_| random_bytes(&mut random))).collect();
    packets_are_dropped(&mut server(), &inputs);
    let mut relay = relay();
    connect(&mut relay, ms(0));
    packets_are_dropped(&mut relay, &inputs);
}

fn packets_are_dropped<R: Role + Debug>(role: &mut R, inputs: &[Vec<u8>]) {
    let before = state(role);
    for packet in inputs {
        // Random bytes may be as long as they say, but never for a Teredo address.
        let Outbound::Dropped(reason) = role.handle_packet(ms(9), packet) else {
            panic!("taken: {packet:x?}")
        };
        assert!(matches!(reason, DropReason::InvalidPacket | DropReason::WrongDestination));
    }
    assert_eq!(role.counters().dropped_total(), inputs.len() as u64);
    assert!(drain(role).is_empty());
    assert_eq!(state(role), before);
}
