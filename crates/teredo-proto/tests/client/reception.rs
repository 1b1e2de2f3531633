//! RFC 4380 section 5.2.3: what may come in, rule by rule.

use core::net::{Ipv4Addr, Ipv6Addr};

use teredo_proto::{DropReason, Event, Inbound, Outbound, Role};
use teredo_wire::address::{ALL_NODES, ALL_ROUTERS, CLIENT_LINK_LOCAL};
use teredo_wire::{Flags, TeredoAddress};

use crate::bytes::{
    Advertisement, bubble, echo_reply, endpoint, icmpv6, indirect_bubble, packet, udp,
};
use crate::harness::{
    Bench, NATIVE, RELAY_ADDRESS, SERVICE_PORT, config, mapped, peer, peer_address, peer_server,
    relay, server,
};

fn delivered(packet: &[u8]) -> Inbound {
    Inbound::Deliver(0..packet.len())
}

//= C-RX-01: only the own Teredo address is a destination
#[test]
fn other_destinations_are_dropped() {
    let mut bench = Bench::qualified();
    bench.befriend(&peer());
    let mut other_flags = TeredoAddress::parse(bench.own()).unwrap();
    other_flags.flags.0 ^= 1;
    let others = [
        other_flags.to_ipv6(),
        peer_address(),
        NATIVE,
        ALL_NODES,
        Ipv6Addr::UNSPECIFIED,
        Ipv6Addr::LOCALHOST,
        CLIENT_LINK_LOCAL,
    ];
    for destination in others {
        let data = udp(peer_address(), destination, b"x");
        assert_eq!(bench.inject_dropped(peer().mapped, &data), DropReason::NotOurAddress);
        let bubble = bubble(peer_address(), destination);
        assert_eq!(bench.inject_dropped(server(), &bubble), DropReason::NotOurAddress);
    }
}

//= C-RX-02: trusted and from its endpoint: accepted, and valid for another 30 s
#[test]
fn rule_1_accepts_and_keeps_valid() {
    let mut bench = Bench::quiet();
    bench.befriend_native();
    for _ in 0..5 {
        bench.wait_s(19.0);
        let data = udp(NATIVE, bench.own(), b"data");
        assert_eq!(bench.inject(relay(), &data), delivered(&data));
    }
    bench.wait_s(19.9);
    assert_eq!(bench.route(NATIVE), Some(relay()));
    assert_eq!(bench.client.counters().delivered, 5);
}

//= C-RX-03, T-05: trusted but from elsewhere: not accepted
//= SEC-07, T-08: and the peer is not moved
#[test]
fn rule_1_does_not_accept_from_elsewhere() {
    let mut bench = Bench::qualified();
    bench.befriend(&peer());
    let elsewhere = endpoint("192.0.2.66:8192");
    let before = bench.state_digest();
    for packet in [udp(peer_address(), bench.own(), b"x"), bubble(peer_address(), bench.own())] {
        assert_eq!(bench.inject_dropped(elsewhere, &packet), DropReason::UnprovenPeer);
    }
    assert!(bench.state_digest() == before);
    let forged = indirect_bubble(elsewhere, peer_address(), bench.own());
    assert_eq!(bench.inject(server(), &forged), Inbound::Consumed);
    assert!(bench.take().iter().all(|sent| !sent.is_to(elsewhere)));
    assert_eq!(bench.route(peer_address()), Some(peer().mapped));
}

//= C-RX-04: the echo reply with our nonce makes its endpoint the one to use, and frees the queue
#[test]
fn rule_2_learns_the_relay_from_the_echo_reply() {
    let mut bench = Bench::qualified();
    let packets: Vec<_> = (0..3).map(|n| udp(bench.own(), NATIVE, &[n])).collect();
    for packet in &packets {
        assert_eq!(bench.send(packet), Outbound::Queued);
    }
    let sent = bench.take();
    assert_eq!(sent.len(), 1);
    let reply = echo_reply(sent[0].datagram().1);
    assert_eq!(bench.inject(relay(), &reply), Inbound::Consumed);
    assert_eq!(bench.events(), [Event::PeerReached(NATIVE)]);
    let flushed = bench.take();
    assert_eq!(flushed.len(), 3);
    for (sent, packet) in flushed.iter().zip(&packets) {
        assert_eq!(sent.datagram(), (relay(), &packet[..]));
    }
    assert_eq!(bench.route(NATIVE), Some(relay()));
}

//= C-RX-05: a wrong nonce proves nothing
//= SEC-08, T-03: so a spoofed relay gets no traffic
#[test]
fn rule_2_wants_the_nonce() {
    let mut bench = Bench::quiet();
    let packet = udp(bench.own(), NATIVE, b"secret");
    assert_eq!(bench.send(&packet), Outbound::Queued);
    let request = bench.take().pop().unwrap().datagram().1.to_vec();
    let spoofed = endpoint("203.0.113.66:5000");
    for byte in 48..request.len() {
        let mut wrong = request.clone();
        wrong[byte] ^= 0x80;
        let _ = bench.inject(spoofed, &echo_reply(&wrong));
    }
    for len in [44, 48, request.len() - 1] {
        let body = &request[44..len.max(44)];
        let _ = bench.inject(spoofed, &icmpv6(NATIVE, bench.own(), 129, &[body, &[0; 4]].concat()));
    }
    // A right nonce under a wrong checksum, or from another host, is none either.
    let mut broken = echo_reply(&request);
    broken[42] ^= 1;
    let _ = bench.inject(spoofed, &broken);
    let other = Ipv6Addr::from_bits(NATIVE.to_bits() + 1);
    let _ = bench.inject(spoofed, &icmpv6(other, bench.own(), 129, &request[44..]));
    assert_eq!(bench.events(), []);
    assert_eq!(bench.route(NATIVE), None);
    bench.wait_s(30.0);
    assert!(bench.take().iter().all(|sent| !sent.is_to(spoofed)));
}

//= C-RX-06, T-05: the holder of the embedded endpoint is trusted
//= C-RX-08: a bubble ends there, other packets are delivered, the queue is flushed in both cases
#[test]
fn rule_3_trusts_the_embedded_endpoint() {
    let mut bench = Bench::qualified();
    for data in [bubble(peer_address(), bench.own()), udp(peer_address(), bench.own(), b"hello")] {
        bench.client.network_changed(bench.now, None);
        bench.answer(server(), mapped());
        let data = [&data[..24], &bench.own().octets(), &data[40..]].concat();
        let waiting = udp(bench.own(), peer_address(), b"waiting");
        bench.wait_s(2.0);
        assert_eq!(bench.send(&waiting), Outbound::Queued);
        bench.take();
        let is_bubble = data.len() == 40;
        let expected = if is_bubble { Inbound::Consumed } else { delivered(&data) };
        assert_eq!(bench.inject(peer().mapped, &data), expected);
        assert!(bench.events().contains(&Event::PeerReached(peer_address())));
        assert_eq!(bench.take()[0].datagram(), (peer().mapped, &waiting[..]));
        assert_eq!(bench.route(peer_address()), Some(peer().mapped));
    }
}

//= C-RX-07: a new entry may get a bubble at once: last transmission long ago, none sent
#[test]
fn rule_3_makes_an_entry_that_may_get_bubbles() {
    let mut bench = Bench::plain();
    let bubble = bubble(peer_address(), bench.own());
    assert_eq!(bench.inject(peer().mapped, &bubble), Inbound::Consumed);
    let sent = bench.take();
    assert!(sent.len() == 1 && sent[0].is_bubble(), "at once: {sent:?}");
    assert_eq!(bench.inject(peer().mapped, &bubble), Inbound::Consumed);
    bench.wait_s(31.0);
    assert_eq!(bench.take(), []);
    let start = bench.now;
    for _ in 0..4 {
        let _ = bench.send(&udp(bench.own(), peer_address(), b"x"));
        bench.wait_s(2.0);
    }
    let times: Vec<_> = bench
        .take_since(start)
        .into_iter()
        .filter(|(_, sent)| sent.is_to(peer_server()))
        .map(|(at, _)| at)
        .collect();
    assert_eq!(times, [0.0, 2.0, 4.0, 6.0]);
}

//= C-RX-06, T-05: only if that endpoint is one packets may go to
#[test]
fn rule_3_does_not_trust_forbidden_endpoints() {
    let mut bench = Bench::qualified();
    for from in ["192.168.1.9:4000", "10.0.0.1:4000", "172.20.0.1:4000", "169.254.7.7:4000"] {
        let from = endpoint(from);
        let source = TeredoAddress { mapped: from, ..peer() }.to_ipv6();
        let data = udp(source, bench.own(), b"x");
        assert_eq!(bench.inject_dropped(from, &data), DropReason::ForbiddenIpv4);
    }
}

//= C-RX-10: an unknown native source is tested first, its packet held and then delivered
#[test]
fn rule_6_tests_native_sources_first() {
    let mut bench = Bench::qualified();
    let data = udp(NATIVE, bench.own(), b"hello");
    assert_eq!(bench.inject(relay(), &data), Inbound::Consumed);
    let forged = udp(NATIVE, bench.own(), b"forged");
    assert_eq!(bench.inject(endpoint("203.0.113.66:1"), &forged), Inbound::Consumed);
    let sent = bench.take();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].is_to(server()));
    let reply = echo_reply(sent[0].datagram().1);
    bench.wait_s(0.2);
    assert_eq!(bench.inject(relay(), &reply), Inbound::Consumed);
    assert_eq!(bench.take(), [crate::harness::Sent::Packet(data.clone())]);
    let counters = bench.client.counters();
    assert_eq!((counters.delivered, counters.dropped(DropReason::UnprovenPeer)), (1, 1));
    assert_eq!(bench.inject(relay(), &data), delivered(&data));
}

//= C-RX-10: without an answer nothing is delivered
#[test]
fn rule_6_drops_what_was_held_in_vain() {
    let mut bench = Bench::qualified();
    let data = udp(NATIVE, bench.own(), b"hello");
    assert_eq!(bench.inject(relay(), &data), Inbound::Consumed);
    bench.wait_s(8.0);
    assert_eq!(bench.client.counters().dropped(DropReason::UnprovenPeer), 1);
    let sent = bench.take();
    assert_eq!(sent.len(), 1, "a stranger starts one request, not a series");
    let _ = bench.inject(relay(), &echo_reply(sent[0].datagram().1));
    assert_eq!(bench.client.counters().delivered, 0);
}

//= C-RX-10: a lost request is repeated with a later packet, also when no more can be held
#[test]
fn rule_6_asks_again_when_the_first_request_was_lost() {
    let mut bench = Bench::quiet();
    let data = udp(NATIVE, bench.own(), b"hello");
    for _ in 0..8 {
        assert_eq!(bench.inject(relay(), &data), Inbound::Consumed);
    }
    assert_eq!(bench.take().len(), 1);
    bench.wait_s(2.0);
    assert_eq!(bench.inject_dropped(relay(), &data), DropReason::QueueFull);
    let sent = bench.take();
    assert_eq!(sent.len(), 1);
    let reply = echo_reply(sent[0].datagram().1);
    assert_eq!(bench.inject(relay(), &reply), Inbound::Consumed);
    assert_eq!(bench.take().len(), 8);
    assert_eq!(bench.client.counters().delivered, 8);
}

//= C-RX-10, SEC-05: a flood of strangers is tested at a limited rate and in bounded memory
#[test]
fn rule_6_is_limited() {
    let mut bench = Bench::qualified();
    for number in 0..10_000 {
        let source = Ipv6Addr::from_bits(NATIVE.to_bits() + number);
        let _ = bench.inject(relay(), &udp(source, bench.own(), b"hello"));
    }
    assert_eq!(bench.take().len(), 64, "one relay's share");
    assert!(bench.client.counters().dropped(DropReason::RateLimit) > 9_000);
    // What comes through others is tested all the same, up to the share of all.
    for number in 0..5_000 {
        let source = Ipv6Addr::from_bits(NATIVE.to_bits() + 50_000 + number);
        let other = endpoint(&format!("198.51.100.{}:9", number % 250));
        let _ = bench.inject(other, &udp(source, bench.own(), b"hello"));
    }
    assert_eq!(bench.take().len(), 200 - 64);
    bench.wait_s(2.0);
    bench.befriend_native();
}

//= C-RX-11: a bubble answers the bubble that made its sender trusted, and no more than that
#[test]
fn a_bubble_may_answer_a_bubble() {
    let mut bench = Bench::qualified();
    let bubble = bubble(peer_address(), bench.own());
    for _ in 0..5 {
        assert_eq!(bench.inject(peer().mapped, &bubble), Inbound::Consumed);
    }
    let sent = bench.take();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].is_to(peer().mapped) && sent[0].is_bubble());
}

//= C-RX-11: and one answers a peer that talks while we are silent, so that it stays valid there
#[test]
fn a_flow_in_one_direction_gets_a_bubble_now_and_then() {
    let mut bench = Bench::quiet();
    bench.befriend(&peer());
    let start = bench.now;
    for _ in 0..1000 {
        bench.wait_s(0.1);
        let data = udp(peer_address(), bench.own(), b"stream");
        assert_eq!(bench.inject(peer().mapped, &data), delivered(&data));
    }
    let sent = bench.take_since(start);
    let bubbles: Vec<_> = sent
        .iter()
        .filter(|(_, sent)| sent.is_to(peer().mapped) && sent.is_bubble())
        .map(|(at, _)| at.round())
        .collect();
    assert_eq!(bubbles, [20.0, 40.0, 60.0, 80.0, 100.0]);
}

/// Its relay sends nothing to a client that was silent for 30 s.
//= C-RX-11: so does the relay of a native host that talks while we are silent
#[test]
fn a_flow_in_one_direction_through_a_relay_gets_a_bubble_now_and_then() {
    let mut bench = Bench::quiet();
    bench.befriend_native();
    let start = bench.now;
    for _ in 0..1000 {
        bench.wait_s(0.1);
        let data = udp(NATIVE, bench.own(), b"stream");
        assert_eq!(bench.inject(relay(), &data), delivered(&data));
    }
    let sent = bench.take_since(start);
    assert!(sent.iter().all(|(_, sent)| sent.is_to(relay()) && sent.is_bubble()));
    assert!(sent.iter().all(|(_, sent)| sent.parsed().ipv6.destination() == NATIVE));
    let times: Vec<_> = sent.iter().map(|(at, _)| at.round()).collect();
    assert_eq!(times, [20.0, 40.0, 60.0, 80.0, 100.0]);
}

//= C-RX-12: an origin indication from elsewhere is ignored
#[test]
fn a_forged_origin_is_ignored() {
    let mut bench = Bench::qualified();
    let victim = endpoint("203.0.113.66:53");
    let forged = indirect_bubble(victim, peer_address(), bench.own());
    assert_eq!(bench.inject(peer().mapped, &forged), Inbound::Consumed);
    let native = indirect_bubble(victim, NATIVE, bench.own());
    assert_eq!(bench.inject_dropped(relay(), &native), DropReason::UnprovenPeer);
    assert!(bench.take().iter().all(|sent| !sent.is_to(victim)));
    // Data behind an ignored origin is data.
    let data = udp(peer_address(), bench.own(), b"x");
    let bytes = [&forged[..8], &data].concat();
    assert_eq!(bench.inject(peer().mapped, &bytes), Inbound::Deliver(8..bytes.len()));
}

//= C-RX-13, T-19: link-local sources and neighbor discovery never pass
#[test]
fn link_local_sources_and_neighbor_discovery_never_pass() {
    let mut bench = Bench::qualified();
    bench.befriend(&peer());
    bench.befriend_native();
    let own = bench.own();
    for from in [peer().mapped, relay(), server()] {
        let data = udp(RELAY_ADDRESS, own, b"x");
        assert_eq!(bench.inject_dropped(from, &data), DropReason::LinkLocalSource);
    }
    let bubble = bubble(RELAY_ADDRESS, own);
    assert_eq!(bench.inject_dropped(relay(), &bubble), DropReason::LinkLocalSource);
    for kind in 133..=137 {
        let message = icmpv6(peer_address(), own, kind, &[0; 20]);
        let expected = match kind {
            134 => DropReason::UnsolicitedAdvertisement,
            _ => DropReason::NeighborDiscovery,
        };
        assert_eq!(bench.inject_dropped(peer().mapped, &message), expected);
        // Nor behind extension headers.
        let hidden = [&[58, 0, 1, 4, 0, 0, 0, 0], &message[40..]].concat();
        let hidden = packet(peer_address(), own, 0, 255, &hidden);
        assert_eq!(bench.inject_dropped(peer().mapped, &hidden), DropReason::NeighborDiscovery);
    }
    let solicitation = icmpv6(CLIENT_LINK_LOCAL, ALL_ROUTERS, 133, &[0; 4]);
    assert!(matches!(bench.inject(relay(), &solicitation), Inbound::Dropped(_)));
}

//= C-RX-14: the own address as source
#[test]
fn the_own_address_is_no_source() {
    let mut bench = Bench::qualified();
    for from in [peer().mapped, relay(), server()] {
        let data = udp(bench.own(), bench.own(), b"x");
        assert_eq!(bench.inject_dropped(from, &data), DropReason::OwnAddress);
    }
}

#[test]
fn impossible_sources_are_dropped() {
    let mut config = config();
    config.local_address = Some(Ipv4Addr::new(198, 51, 100, 9));
    let mut bench = Bench::qualified_with(config);
    let data = udp(peer_address(), bench.own(), b"x");
    for from in
        ["192.0.2.10:0", "0.1.2.3:9", "127.0.0.1:9", "224.0.0.253:3544", "255.255.255.255:9"]
    {
        assert_eq!(bench.inject_dropped(endpoint(from), &data), DropReason::ImpossibleSource);
    }
    let own = format!("198.51.100.9:{SERVICE_PORT}");
    for from in [mapped(), endpoint(&own)] {
        assert_eq!(bench.inject_dropped(from, &data), DropReason::OwnEndpoint);
    }
    for source in ["::", "::1", "ff02::1", "ff0e::1", "fd00::1", "::ffff:192.0.2.10"] {
        let data = udp(source.parse().unwrap(), bench.own(), b"x");
        let reason = bench.inject_dropped(peer().mapped, &data);
        assert_eq!(reason, DropReason::ImpossibleIpv6Source, "{source}");
    }
    let with_authentication = [&[0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0][..], &data].concat();
    let reason = bench.inject_dropped(peer().mapped, &with_authentication);
    assert_eq!(reason, DropReason::UnexpectedEncapsulation);
}

//= C-RX-15: a relay's bubble, from whatever source, is answered to the origin, addresses swapped
#[test]
fn a_relays_bubble_is_answered_to_the_origin() {
    let mut bench = Bench::qualified();
    for source in [RELAY_ADDRESS, NATIVE] {
        let bubble = indirect_bubble(relay(), source, bench.own());
        assert_eq!(bench.inject(server(), &bubble), Inbound::Consumed);
        let sent = bench.take();
        assert_eq!(sent.len(), 1);
        assert!(sent[0].is_to(relay()) && sent[0].is_bubble());
        let answer = sent[0].parsed().ipv6;
        assert_eq!((answer.source(), answer.destination()), (bench.own(), source));
    }
    // Without an origin nobody knows where the relay is.
    let bare = bubble(RELAY_ADDRESS, bench.own());
    assert_eq!(bench.inject_dropped(server(), &bare), DropReason::UnusableOrigin);
}

/// Miredo's clients sign their bubbles as relays do; their data matches rule 3 (protocol 10.3).
#[test]
fn a_miredo_client_is_answered_like_a_relay_and_then_trusted() {
    let mut bench = Bench::qualified();
    let bubble = indirect_bubble(peer().mapped, RELAY_ADDRESS, bench.own());
    assert_eq!(bench.inject(server(), &bubble), Inbound::Consumed);
    let answer = bench.take().pop().unwrap();
    assert!(answer.is_to(peer().mapped));
    assert_eq!(answer.parsed().ipv6.destination(), RELAY_ADDRESS);
    let data = udp(peer_address(), bench.own(), b"data");
    assert_eq!(bench.inject(peer().mapped, &data), delivered(&data));
    assert_eq!(bench.route(peer_address()), Some(peer().mapped));
}

//= C-RX-16: but not to an origin that is not global
#[test]
fn a_relay_at_a_forbidden_origin_is_not_answered() {
    let mut bench = Bench::qualified();
    let forbidden =
        ["192.168.1.1:5000", "10.0.0.1:5000", "127.0.0.1:5000", "224.0.0.1:5000", "203.0.113.20:0"];
    for origin in forbidden.map(endpoint).into_iter().chain([mapped()]) {
        let bubble = indirect_bubble(origin, RELAY_ADDRESS, bench.own());
        assert_eq!(bench.inject_dropped(server(), &bubble), DropReason::UnusableOrigin);
    }
    assert_eq!(bench.take(), []);
}

//= C-RX-17, T-18: routing headers, wherever they are
#[test]
fn routing_headers_are_dropped() {
    let mut bench = Bench::qualified();
    bench.befriend(&peer());
    let own = bench.own();
    for kind in [0, 2, 3, 4] {
        let header = [17, 2, kind, 1, 0, 0, 0, 0];
        let routed = [&header[..], &[0; 24]].concat();
        let direct = packet(peer_address(), own, 43, 64, &routed);
        assert_eq!(bench.inject_dropped(peer().mapped, &direct), DropReason::RoutingHeader);
        let behind = [&[43, 0, 1, 4, 0, 0, 0, 0], &routed[..]].concat();
        for first in [0, 60] {
            let packet = packet(peer_address(), own, first, 64, &behind);
            assert_eq!(bench.inject_dropped(peer().mapped, &packet), DropReason::RoutingHeader);
        }
    }
}

//= C-RX-13, C-RX-17: nor does anything hide behind more extension headers than are looked at
#[test]
fn endless_extension_headers_are_dropped() {
    let mut bench = Bench::qualified();
    bench.befriend(&peer());
    for count in 8..12 {
        let options = [60, 0, 1, 4, 0, 0, 0, 0].repeat(count);
        let last = [43, 0, 1, 4, 0, 0, 0, 0];
        let bytes = [&options[..], &last, &[17, 2, 0, 1, 0, 0, 0, 0], &[0; 16]].concat();
        let hidden = packet(peer_address(), bench.own(), 60, 64, &bytes);
        assert_eq!(bench.inject_dropped(peer().mapped, &hidden), DropReason::ExtensionHeaders);
    }
}

//= C-RX-18: a server that is a relay too: its data passes rules 1 to 6
#[test]
fn a_server_may_be_a_relay_too() {
    let mut bench = Bench::qualified();
    let bubble = indirect_bubble(server(), RELAY_ADDRESS, bench.own());
    assert_eq!(bench.inject(server(), &bubble), Inbound::Consumed);
    assert!(bench.take()[0].is_to(server()));
    let data = udp(NATIVE, bench.own(), b"data");
    assert_eq!(bench.inject(server(), &data), Inbound::Consumed);
    let request = bench.take().pop().unwrap();
    let reply = echo_reply(request.datagram().1);
    assert_eq!(bench.inject(server(), &reply), Inbound::Consumed);
    assert_eq!(bench.inject(server(), &data), delivered(&data));
    assert_eq!(bench.route(NATIVE), Some(server()));
}

//= C-RX-19: nothing but advertisements before qualification
#[test]
fn before_qualification_everything_is_dropped() {
    let own = Bench::qualified().own();
    let mut bench = Bench::started(config());
    bench.take();
    let packets =
        [udp(peer_address(), own, b"x"), bubble(peer_address(), own), udp(NATIVE, own, b"x")];
    for packet in packets {
        for from in [peer().mapped, server(), relay()] {
            assert_eq!(bench.inject_dropped(from, &packet), DropReason::NotQualified);
        }
    }
    assert_eq!(bench.take(), []);
    let nonce = Bench::started(config()).nonce(server());
    assert_eq!(bench.inject(server(), &Advertisement::new(nonce).to_bytes()), Inbound::Consumed);
}

//= C-RX-20: an indirect bubble from a server that is not ours is an ordinary packet
#[test]
fn an_indirect_bubble_of_another_server_is_an_ordinary_packet() {
    let mut bench = Bench::qualified();
    let bubble = indirect_bubble(peer().mapped, peer_address(), bench.own());
    assert_eq!(bench.inject_dropped(peer_server(), &bubble), DropReason::UnprovenPeer);
    let foreign = endpoint("203.0.113.11:3544");
    assert_eq!(bench.inject_dropped(foreign, &bubble), DropReason::UnprovenPeer);
    assert_eq!(bench.take(), []);
}

//= C-LOC-11: discovery bubbles are not processed
#[test]
fn discovery_is_off_unless_the_host_joins_the_group() {
    let mut bench = Bench::qualified();
    let bubble = packet(peer_address(), ALL_NODES, 59, 1, &[]);
    let reason = bench.inject_dropped(endpoint("192.168.1.7:40000"), &bubble);
    assert_eq!(reason, DropReason::NotOurAddress);
}

//= SEC-04: a trusted active peer survives a flood of strangers, in bounded memory
#[test]
fn a_trusted_active_peer_survives_a_flood() {
    let mut config = config();
    config.peers_max = 1_000;
    let mut bench = Bench::qualified_with(config);
    bench.befriend(&peer());
    assert_eq!(bench.route(peer_address()), Some(peer().mapped));
    let own = bench.own();
    for number in 0..200_000u32 {
        let octets = number.to_be_bytes();
        let host = Ipv4Addr::new(192, 0, 2, octets[3]);
        let mapped = core::net::SocketAddrV4::new(host, 1024 + (number % 60_000) as u16);
        let flags = Flags((number >> 8) as u16 & 0x3cff);
        let stranger = TeredoAddress { mapped, flags, ..peer() };
        let _ = bench.inject(mapped, &bubble(stranger.to_ipv6(), own));
        if number % 1_000 == 0 {
            bench.take();
            bench.events();
            bench.wait_s(0.01);
        }
    }
    assert_eq!(bench.route(peer_address()), Some(peer().mapped));
}
