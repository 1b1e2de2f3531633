//! From the native side to clients (RFC 4380 section 5.4.1): which packets, and where to.

use std::net::{Ipv6Addr, SocketAddrV4};

use teredo_proto::relay::{Config, NewPeers, Relay, Scope};
use teredo_proto::{DropReason, Event, Inbound, Instant, Local, Outbound, Role};
use teredo_wire::icmpv6::Icmpv6;
use teredo_wire::ipv6::next_header;
use teredo_wire::{Flags, Ipv6};

use crate::packets::*;

pub(crate) const RELAY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 6, 0, 0, 0, 0, 0x20);
pub(crate) const RELAY_AT: SocketAddrV4 =
    SocketAddrV4::new(std::net::Ipv4Addr::new(203, 0, 113, 20), 3545);
pub(crate) const SERVER_AT: SocketAddrV4 = SocketAddrV4::new(SERVER, 3544);

pub(crate) fn relay() -> Relay {
    relay_with(|_| {})
}

pub(crate) fn relay_with(change: impl FnOnce(&mut Config)) -> Relay {
    let mut config = Config::new(RELAY_AT, Scope::internet(RELAY));
    config.filter = lab_filter();
    change(&mut config);
    Relay::new(config, SEED)
}

/// Data from the native side to the client.
pub(crate) fn data(number: u8) -> Vec<u8> {
    udp(NATIVE, client(), &[number])
}

/// Has the client prove itself: a packet makes the relay seek it, and it answers.
pub(crate) fn connect(relay: &mut Relay, now: Instant) {
    assert_eq!(relay.handle_packet(now, &data(0)), Outbound::Queued);
    let bubbles = drain(relay);
    assert!(!bubbles.is_empty());
    let (_, flushed) = exchange(relay, now, CLIENT_AT, &bubble(client(), LINK_LOCAL));
    assert_eq!(flushed, [datagram(CLIENT_AT, data(0))]);
    assert_eq!(relay.poll_event(), Some(Event::PeerReached(client())));
}

pub(crate) fn direct() -> Outbound {
    Outbound::Send { to: CLIENT_AT, via: Local::Primary }
}

/// Why the relay drops the first packet it sees; nothing may be sent then, and nobody sought.
fn refusal(relay: &mut Relay, packet: &[u8]) -> DropReason {
    let Outbound::Dropped(reason) = relay.handle_packet(ms(0), packet) else { panic!("taken") };
    assert!(drain(relay).is_empty());
    assert_eq!((relay.peer_count(), relay.poll_timeout()), (0, None));
    assert_eq!(relay.counters().dropped(reason), relay.counters().dropped_total());
    reason
}

//= R-TX-01, SEC-01, T-14: no embedded IPv4 address that is not global unicast, silently
#[test]
fn forbidden_endpoints_are_silently_dropped() {
    let mut production = relay_with(|config| config.filter = Default::default());
    for address in not_global().chain(special_purpose()) {
        let mapped = SocketAddrV4::new(address, 4096);
        let to_client = udp(NATIVE, teredo(v4("9.9.9.9"), mapped), &[]);
        assert_eq!(refusal(&mut production, &to_client), DropReason::ForbiddenIpv4);
        let through_server = udp(NATIVE, teredo(address, endpoint("9.9.9.9:4096")), &[]);
        assert_eq!(refusal(&mut production, &through_server), DropReason::ForbiddenIpv4);
        let large = udp(NATIVE, teredo(v4("9.9.9.9"), mapped), &[0; 1300]);
        assert_eq!(refusal(&mut production, &large), DropReason::ForbiddenIpv4);
        production = relay_with(|config| config.filter = Default::default());
    }
    for port in [0, 7, 19, 53, 123, 1900] {
        let mapped = SocketAddrV4::new(v4("9.9.9.9"), port);
        let packet = udp(NATIVE, teredo(v4("8.8.8.8"), mapped), &[]);
        assert_eq!(refusal(&mut relay(), &packet), DropReason::DeniedPort);
    }
}

//= R-TX-02: only packets for Teredo addresses are sent over UDP
#[test]
fn only_teredo_destinations_are_reached() {
    for destination in ["2001:db8::1", "2001:1::1", "2000:ffff::", "2002::1", "fe80::1", "ff02::1"]
    {
        let packet = udp(NATIVE, v6(destination), &[]);
        assert_eq!(refusal(&mut relay(), &packet), DropReason::WrongDestination, "{destination}");
    }
}

//= R-TX-03: a trusted client gets packets at its endpoint, for 30 s after it was heard
#[test]
fn trusted_clients_get_packets_at_once() {
    let mut relay = relay();
    connect(&mut relay, ms(0));
    for millis in [0, 1, 1000, 29_999] {
        assert_eq!(relay.handle_packet(ms(millis), &data(1)), direct());
    }
    assert_eq!(relay.handle_packet(ms(30_000), &data(2)), Outbound::Queued);

    let heard = udp(client(), NATIVE, &[]);
    assert_eq!(put(&mut relay, ms(40_000), CLIENT_AT, &heard), Inbound::Deliver(0..48 - 8));
    assert_eq!(drain(&mut relay).last(), Some(&datagram(CLIENT_AT, data(2))));
    assert_eq!(relay.handle_packet(ms(69_999), &data(3)), direct());
}

//= R-TX-03: each packet counts as the last transmission, which a bubble follows 2 s later
#[test]
fn packets_count_as_transmissions() {
    let mut relay = relay();
    connect(&mut relay, ms(0));
    assert_eq!(relay.handle_packet(ms(29_500), &data(1)), direct());
    assert_eq!(relay.handle_packet(ms(30_500), &data(2)), Outbound::Queued);
    assert!(drain(&mut relay).is_empty());
    let bubbles = run(&mut relay, ms(32_000));
    assert_eq!(bubbles.iter().map(|(when, _)| *when).collect::<Vec<_>>(), [ms(31_500)]);
}

//= R-TX-04, P-ADDR-08: the cone bit and all other flags change nothing
#[test]
fn the_cone_bit_is_ignored() {
    for flags in [0x0000, 0x8000, 0x4000, 0x0300, 0xffff] {
        let destination = teredo_with(Flags(flags), SERVER, CLIENT_AT);
        let mut relay = relay();
        let packet = udp(NATIVE, destination, &[]);
        assert_eq!(relay.handle_packet(ms(0), &packet), Outbound::Queued);
        let [Sent::Datagram { to: SERVER_AT, .. }] = drain(&mut relay)[..] else { panic!() };
    }
}

//= R-TX-05, T-10: 8 packets or 16 KiB wait for one client, 64 MiB for all; the first ones are kept
#[test]
fn queues_are_bounded() {
    let mut relay = relay();
    for number in 0..8 {
        assert_eq!(relay.handle_packet(ms(0), &data(number)), Outbound::Queued);
    }
    let full = Outbound::Dropped(DropReason::QueueFull);
    assert_eq!(relay.handle_packet(ms(0), &data(8)), full);
    drain(&mut relay);
    let (_, flushed) = exchange(&mut relay, ms(1), CLIENT_AT, &bubble(client(), LINK_LOCAL));
    assert_eq!(flushed, (0..8).map(|number| datagram(CLIENT_AT, data(number))).collect::<Vec<_>>());
}

//= R-TX-05, T-10: clients that do not answer do not take the room of those that do
#[test]
fn a_scan_does_not_use_up_the_queues() {
    let mut relay =
        relay_with(|config| config.new_peers = NewPeers::undivided(config.new_peers.total));
    let mut dropped = 0;
    // As many new clients as are taken at once and in the 8 s of a search, a full packet for each.
    for number in 0..11_900_u64 {
        let mapped = SocketAddrV4::new(*CLIENT_AT.ip(), 10_000 + number as u16);
        let packet = udp(NATIVE, teredo(SERVER, mapped), &[0; 1240]);
        let outbound = relay.handle_packet(ms(number * 2 / 3), &packet);
        drain(&mut relay);
        dropped += usize::from(outbound != Outbound::Queued);
    }
    assert_eq!(dropped, 0);
    assert_eq!(relay.handle_packet(ms(8_000), &data(0)), Outbound::Queued);
}

//= R-TX-06: the queue goes out in its order when the client is trusted, and no packet overtakes
#[test]
fn packets_keep_their_order() {
    let mut relay = relay();
    for number in 0..3 {
        assert_eq!(relay.handle_packet(ms(0), &data(number)), Outbound::Queued);
    }
    drain(&mut relay);
    assert_eq!(put(&mut relay, ms(1), CLIENT_AT, &bubble(client(), LINK_LOCAL)), Inbound::Consumed);
    assert_eq!(relay.handle_packet(ms(1), &data(3)), Outbound::Queued);
    let expected: Vec<_> = (0..4).map(|number| datagram(CLIENT_AT, data(number))).collect();
    assert_eq!(drain(&mut relay), expected);
    assert_eq!(relay.handle_packet(ms(1), &data(4)), direct());
    assert_eq!(relay.counters().sent, 5);
}

//= R-TX-06: the queue is deleted with the entry
#[test]
fn an_evicted_client_takes_its_queue_along() {
    let mut relay = relay_with(|config| config.peers_max = 1);
    assert_eq!(relay.handle_packet(ms(0), &data(0)), Outbound::Queued);
    let other = udp(NATIVE, stranger(), &[]);
    assert_eq!(relay.handle_packet(ms(0), &other), Outbound::Queued);
    drain(&mut relay);
    let answer = bubble(client(), LINK_LOCAL);
    let (inbound, sent) = exchange(&mut relay, ms(1), CLIENT_AT, &answer);
    assert_eq!(inbound, Inbound::Dropped(DropReason::UnknownPeer));
    assert!(sent.is_empty());
    assert_eq!(relay.counters().dropped(DropReason::PeerListFull), 1);
}

//= R-TX-07: Teredo, link-local, multicast and other impossible sources are refused
#[test]
fn sources_that_cannot_be_native_are_refused() {
    let sources = ":: ::1 fe80::1 fec0::1 fc00::1 fd00::1 ff02::1 ff0e::1 ::ffff:192.0.2.1";
    for source in sources.split_whitespace().map(v6).chain([client(), stranger()]) {
        let packet = udp(source, client(), &[]);
        assert_eq!(refusal(&mut relay(), &packet), DropReason::WrongSource, "{source}");
        let large = udp(source, client(), &[0; 1300]);
        assert_eq!(refusal(&mut relay(), &large), DropReason::WrongSource, "{source}");
    }
}

//= R-TX-08: a packet over 1280 bytes is answered with Packet Too Big
#[test]
fn large_packets_are_too_big() {
    let mut relay = relay();
    let fits = udp(NATIVE, client(), &[0; 1240]);
    assert_eq!(relay.handle_packet(ms(0), &fits), Outbound::Queued);
    drain(&mut relay);
    let large = udp(NATIVE, client(), &[0; 1241]);
    let dropped = relay.handle_packet(ms(0), &large);
    assert_eq!(dropped, Outbound::Dropped(DropReason::TooBig));
    let [Sent::Packet(error)] = &drain(&mut relay)[..] else { panic!() };
    let (packet, rest) = Ipv6::parse(error).unwrap();
    assert_eq!((packet.source(), packet.destination(), rest.len()), (RELAY, NATIVE, 0));
    let message = Icmpv6::parse(&packet).unwrap();
    assert_eq!((message.kind, message.code), (2, 0));
    assert_eq!(message.bytes[4..8], 1280_u32.to_be_bytes());
    assert_eq!(message.bytes[8..], large[..1232]);
    assert_eq!(error.len(), 1280);
}

//= R-LOOP-01: nothing is sent to an own IPv4 address, nor to ourselves as a server
#[test]
fn nothing_is_sent_to_ourselves() {
    let own = v4("203.0.113.21");
    let relay_with_two = || relay_with(|config| config.filter.own = vec![own]);
    for address in [*RELAY_AT.ip(), own] {
        let packet = udp(NATIVE, teredo(SERVER, SocketAddrV4::new(address, 9)), &[]);
        assert_eq!(refusal(&mut relay_with_two(), &packet), DropReason::Loop);
    }
    let at_3544 = SocketAddrV4::new(*RELAY_AT.ip(), 3544);
    let mut on_3544 = relay_with(|config| config.service = at_3544);
    let packet = udp(NATIVE, teredo(*RELAY_AT.ip(), CLIENT_AT), &[]);
    assert_eq!(refusal(&mut on_3544, &packet), DropReason::Loop);
    for source in ["2002:cb00:7114::1", "2001:db8::5efe:cb00:7114", "2001:db8::200:5efe:cb00:7114"]
    {
        let packet = udp(v6(source), client(), &[]);
        assert_eq!(refusal(&mut relay(), &packet), DropReason::Loop, "{source}");
    }
}

#[test]
fn what_is_not_one_whole_packet_is_dropped() {
    let packet = data(0);
    for broken in [&packet[..40], &packet[..packet.len() - 1], &[&packet[..], &[0]].concat()] {
        assert_eq!(refusal(&mut relay(), broken), DropReason::InvalidPacket);
    }
    let mut used_up = packet;
    used_up[7] = 0;
    assert_eq!(refusal(&mut relay(), &used_up), DropReason::HopLimit);
    let bubble = packet_of_no_use();
    assert_eq!(relay().handle_packet(ms(0), &bubble), Outbound::Queued);
}

/// A bubble from the native side: nothing forbids it.
fn packet_of_no_use() -> Vec<u8> {
    packet(NATIVE, client(), next_header::NONE, &[])
}
