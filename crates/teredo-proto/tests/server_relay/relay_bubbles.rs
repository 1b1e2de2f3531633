//! How a relay seeks clients: bubbles, their number, and what follows when they are not answered.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use teredo_proto::relay::Relay;
use teredo_proto::{DropReason, Event, Inbound, Outbound, Role};
use teredo_wire::icmpv6::Icmpv6;
use teredo_wire::{Ipv6, address};

use crate::packets::*;
use crate::relay_transmission::{RELAY, SERVER_AT, connect, data, direct, relay, relay_with};

/// Where bubbles went that are due up to `until_ms`, and when, in milliseconds.
fn bubbles(relay: &mut Relay, until_ms: u64) -> Vec<(u64, SocketAddrV4)> {
    let sent = run(relay, ms(until_ms)).into_iter();
    sent.filter_map(|(when, item)| match item {
        Sent::Datagram { to, .. } => Some((when.since(ms(0)).as_millis() as u64, to)),
        Sent::Packet(_) => None,
    })
    .collect()
}

//= R-BUB-01: one bubble, from a local address to the client, through the client's server
#[test]
fn a_bubble_goes_to_the_clients_server() {
    let mut relay = relay();
    assert_eq!(relay.handle_packet(ms(0), &data(0)), Outbound::Queued);
    let [Sent::Datagram { to, payload, .. }] = &drain(&mut relay)[..] else { panic!() };
    assert_eq!(*to, SERVER_AT);
    let (packet, rest) = Ipv6::parse(payload).unwrap();
    assert!(packet.is_bubble() && rest.is_empty());
    assert_eq!(packet.destination(), client());
    assert!(address::is_link_local(packet.source()));
    assert_eq!(relay.handle_packet(ms(1), &data(1)), Outbound::Queued);
    assert!(drain(&mut relay).is_empty());
    assert_eq!(relay.counters().bubbles_sent, 1);
}

//= R-BUB-02: behind a port-restricted NAT the direct bubble lets the answer in
#[test]
fn a_relay_behind_a_nat_opens_it() {
    let mut relay = relay_with(|config| config.behind_nat = true);
    assert_eq!(relay.handle_packet(ms(0), &data(0)), Outbound::Queued);
    let sent = drain(&mut relay);
    let opened_to: BTreeSet<_> = sent
        .iter()
        .map(|item| match item {
            Sent::Datagram { to, .. } => *to,
            Sent::Packet(_) => panic!(),
        })
        .collect();
    assert_eq!(opened_to, BTreeSet::from([SERVER_AT, CLIENT_AT]));
    assert_eq!(relay.counters().bubbles_sent, 1, "both are one attempt");
}

//= R-BUB-03, R-BUB-06: repeated after 2 s, three times at most
#[test]
fn bubbles_are_repeated_three_times() {
    let mut relay = relay();
    assert_eq!(relay.handle_packet(ms(0), &data(0)), Outbound::Queued);
    assert_eq!(drain(&mut relay).len(), 1);
    let expected = [2000, 4000, 6000].map(|when| (when, SERVER_AT));
    assert_eq!(bubbles(&mut relay, 290_000), expected);
}

//= R-BUB-03: an answer ends the repeats
#[test]
fn an_answer_ends_the_repeats() {
    let mut relay = relay();
    connect(&mut relay, ms(0));
    assert_eq!(relay.poll_timeout(), None);
    assert!(bubbles(&mut relay, 300_000).is_empty());
}

//= R-BUB-04, R-TX-06: no answer: queue and entry go, and the sources of its packets are told
#[test]
fn a_silent_client_is_given_up() {
    let mut relay = relay();
    for number in 0..2 {
        assert_eq!(relay.handle_packet(ms(0), &data(number)), Outbound::Queued);
    }
    drain(&mut relay);
    let sent = run(&mut relay, ms(8000));
    let errors: Vec<_> = sent.iter().filter(|(_, item)| matches!(item, Sent::Packet(_))).collect();
    assert_eq!(errors.len(), 2);
    for (number, (when, item)) in errors.into_iter().enumerate() {
        assert_eq!(*when, ms(8000));
        let Sent::Packet(error) = item else { panic!() };
        let packet = Ipv6::parse(error).unwrap().0;
        assert_eq!((packet.source(), packet.destination()), (RELAY, NATIVE));
        let message = Icmpv6::parse(&packet).unwrap();
        assert_eq!((message.kind, message.code), (1, 3));
        assert_eq!(message.bytes[8..], data(number as u8));
    }
    assert_eq!(relay.poll_event(), Some(Event::PeerUnreachable(client())));
    assert_eq!(relay.poll_event(), None);
    assert_eq!(relay.counters().dropped(DropReason::PeerUnreachable), 2);

    run(&mut relay, ms(306_000));
    assert_eq!((relay.peer_count(), relay.poll_timeout()), (0, None));
    let late = exchange(&mut relay, ms(306_000), CLIENT_AT, &bubble(client(), LINK_LOCAL));
    assert_eq!(late, (Inbound::Dropped(DropReason::UnknownPeer), vec![]));
}

//= R-BUB-05: a new entry is not trusted: its packets wait
#[test]
fn a_new_client_is_not_trusted() {
    let mut relay = relay();
    for number in 0..3 {
        assert_eq!(relay.handle_packet(ms(0), &data(number)), Outbound::Queued);
    }
    assert_eq!(relay.peer_count(), 1);
}

//= R-BUB-06: four bubbles in 300 s, however many packets there are; then four more
#[test]
fn four_bubbles_in_five_minutes() {
    let mut relay = relay();
    let mut times = Vec::new();
    for millis in (0..600_000).step_by(500) {
        let _ = relay.handle_packet(ms(millis), &data(0));
        let count = |sent: Vec<Sent>| {
            sent.iter().filter(|item| matches!(item, Sent::Datagram { .. })).count()
        };
        times.extend(vec![millis; count(drain(&mut relay))]);
        times.extend(bubbles(&mut relay, millis).into_iter().map(|(when, _)| when));
    }
    let expected = [0, 2000, 4000, 6000, 300_000, 302_000, 304_000, 306_000];
    assert_eq!(times, expected);
}

//= R-BUB-06: four bubbles in any 300 s, also when the relay slept between them
#[test]
fn a_pause_makes_no_new_budget() {
    let mut relay = relay();
    let _ = relay.handle_packet(ms(0), &data(0));
    drain(&mut relay);
    relay.handle_timeout(ms(200_000));
    let first = drain(&mut relay).len();
    let mut times: Vec<_> =
        bubbles(&mut relay, 300_500).into_iter().map(|(when, _)| when).collect();
    let _ = relay.handle_packet(ms(301_000), &data(0));
    let fourth = drain(&mut relay).len();
    times.extend(bubbles(&mut relay, 400_000).into_iter().map(|(when, _)| when));
    assert_eq!((first, fourth, times), (1, 1, vec![202_000, 204_000]));
}

//= R-BUB-06: what comes directly from the client starts the count again
#[test]
fn a_direct_answer_resets_the_count() {
    let mut relay = relay();
    assert_eq!(relay.handle_packet(ms(0), &data(0)), Outbound::Queued);
    drain(&mut relay);
    run(&mut relay, ms(9000));
    let lost = Outbound::Dropped(DropReason::PeerUnreachable);
    assert_eq!(relay.handle_packet(ms(10_000), &data(1)), lost);
    let (inbound, _) = exchange(&mut relay, ms(11_000), CLIENT_AT, &bubble(client(), LINK_LOCAL));
    assert_eq!(inbound, Inbound::Consumed);
    assert_eq!(relay.handle_packet(ms(11_000), &data(2)), direct());
    assert_eq!(relay.handle_packet(ms(42_000), &data(3)), Outbound::Queued);
    assert_eq!(drain(&mut relay).len(), 1);
    let expected = [44_000, 46_000, 48_000].map(|when| (when, SERVER_AT));
    assert_eq!(bubbles(&mut relay, 300_000), expected);
}

//= SEC-09: a clock that jumps by a day does no harm: the client is sought anew
#[test]
fn sleep_does_no_harm() {
    const DAY_MS: u64 = 86_400_000;
    let mut relay = relay();
    connect(&mut relay, ms(0));
    let other = udp(NATIVE, stranger(), &[]);
    assert_eq!(relay.handle_packet(ms(0), &other), Outbound::Queued);
    drain(&mut relay);
    relay.handle_timeout(ms(DAY_MS));
    assert_eq!(relay.handle_packet(ms(DAY_MS), &data(1)), Outbound::Queued);
    assert_eq!(drain(&mut relay).len(), 2, "a repeat for one, a first bubble for the other");
    let (_, flushed) = exchange(&mut relay, ms(DAY_MS), CLIENT_AT, &bubble(client(), LINK_LOCAL));
    assert_eq!(flushed, [datagram(CLIENT_AT, data(1))]);
}
