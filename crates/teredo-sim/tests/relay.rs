//! The way between Teredo clients and native IPv6, through relays.

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use core::net::SocketAddrV4;
use core::time::Duration;

use teredo_proto::DropReason;
use teredo_sim::trace::{Packet, Wire};
use teredo_sim::{HostId, NatConfig, Place, World};
use teredo_wire::icmpv6::{ECHO_REPLY, ECHO_REQUEST, Icmpv6};
use teredo_wire::{Datagram, Ipv6, TEREDO_PORT, TeredoAddress};

use common::{PLAIN, SECOND, bubbles_sent, datagrams, ping, qualify, story};

struct Net {
    world: World,
    server: HostId,
    relay: HostId,
    native: HostId,
    client: HostId,
}

/// A server, a relay, a native host and a client behind a NAT of this kind, qualified.
fn net(seed: u64, kind: &str) -> Net {
    let mut world = World::new(seed);
    world.trace_mut().keep_frames();
    let server = world.add_server();
    let relay = world.add_relay(Place::Internet);
    let native = world.add_native_host();
    let nat = world.add_nat(kind.parse().unwrap());
    let client = world.add_client(nat);
    qualify(&mut world, &[client]);
    Net { world, server, relay, native, client }
}

/// Types of the ICMPv6 messages in datagrams that a client received.
fn icmpv6_kinds(world: &World, client: HostId) -> Vec<u8> {
    datagrams(world, client)
        .filter(|(_, from, ..)| *from.ip() != world.address_of(client))
        .filter_map(|(.., datagram)| Some(Icmpv6::parse(&datagram.ipv6).ok()?.kind))
        .collect()
}

//= C-RX-04: the echo reply with the right nonce teaches the relay's endpoint and frees the queue
#[test]
fn a_client_reaches_a_native_host() {
    for kind in PLAIN {
        let Net { mut world, relay, native, client, .. } = net(1, kind);
        let first = ping(&mut world, client, native, SECOND);
        assert!(first.is_some(), "{kind}\n{}", world.log_text());
        // The test: client, server, native host, relay, and around the bubble: 13 hops of 10 ms;
        // then the ping and its answer: 6.
        assert!(first <= Some(Duration::from_millis(190)), "{kind} {first:?}");
        let again = ping(&mut world, client, native, SECOND);
        assert_eq!(again, Some(Duration::from_millis(60)), "{kind}");
        let relay = world.endpoint_of(relay).unwrap();
        let straight = datagrams(&world, client)
            .filter(|(_, _, to, datagram)| *to == relay && !datagram.ipv6.is_bubble());
        assert_eq!(straight.count(), 2, "both pings went to the relay");
    }
}

#[test]
fn a_native_host_reaches_a_client() {
    for kind in PLAIN {
        let Net { mut world, native, client, .. } = net(2, kind);
        let first = ping(&mut world, native, client, SECOND);
        assert!(first.is_some(), "{kind}\n{}", world.log_text());
        let again = ping(&mut world, native, client, SECOND);
        assert_eq!(again, Some(Duration::from_millis(60)), "{kind}");
    }
}

//= C-PING-06: the reply to the connectivity test is consumed, not delivered
#[test]
fn the_reply_to_the_test_is_not_delivered() {
    let Net { mut world, native, client, .. } = net(3, "pr");
    assert!(ping(&mut world, client, native, SECOND).is_some());
    assert_eq!(world.run_for(10 * SECOND), Ok(()));
    let arrived = icmpv6_kinds(&world, client).iter().filter(|kind| **kind == ECHO_REPLY).count();
    assert_eq!(arrived, 2, "the reply to the test and the reply to the ping");
    assert_eq!(world.stack(client).received().len(), 1);
}

//= S-FWD-05: the server passes the echo request on to the IPv6 Internet
#[test]
fn the_server_routes_echo_requests_to_native_hosts() {
    let Net { mut world, server, native, client, .. } = net(4, "cone");
    let (from, to) = (world.ipv6(client).unwrap(), world.ipv6(native).unwrap());
    assert!(ping(&mut world, client, native, SECOND).is_some());
    let first = world.trace().frames().iter().find_map(|frame| match &frame.packet {
        Packet::Ipv6(packet) if frame.wire == Wire::Ipv6 => Some(packet),
        Packet::Ipv6(_) | Packet::Error(_) | Packet::Datagram { .. } => None,
    });
    let (packet, _) = Ipv6::parse(first.unwrap()).unwrap();
    assert_eq!((packet.source(), packet.destination()), (from, to));
    assert_eq!(Icmpv6::parse(&packet).unwrap().kind, ECHO_REQUEST);
    let received = datagrams(&world, server).find(|(.., d)| d.ipv6.destination() == to).unwrap();
    assert_eq!(packet.hop_limit() + 1, received.3.ipv6.hop_limit());
}

//= C-PING-07: when another relay takes over, a new test finds it, and nothing goes there before
#[test]
fn a_change_of_relay_is_survived() {
    let Net { mut world, relay, native, client, .. } = net(5, "pr");
    assert!(ping(&mut world, client, native, SECOND).is_some());
    let other = world.add_relay(Place::Internet);
    world.route_teredo_to(Some(other));
    world.set_up(relay, false);
    let recovered = (0..40).find(|_| ping(&mut world, client, native, SECOND).is_some());
    assert!(recovered.is_some(), "{}", world.log_text());
    let endpoint = world.endpoint_of(other).unwrap();
    let mut seen_reply = false;
    for (_, from, to, datagram) in datagrams(&world, client) {
        let echo = Icmpv6::parse(&datagram.ipv6).ok().and_then(|message| message.echo());
        let test_reply = echo.is_some_and(|echo| echo.reply && echo.data != b"teredo-sim ping");
        seen_reply |= from == endpoint && test_reply;
        assert!(to != endpoint || datagram.ipv6.is_bubble() || seen_reply, "trust without proof");
    }
    assert!(seen_reply);
}

//= R-BUB-02: a relay behind a NAT sends the direct bubble too, and so is reached
#[test]
fn a_relay_works_behind_a_nat() {
    for (outer, kind) in [("pr", "pr"), ("pr", "cone"), ("ar", "pr"), ("cone", "pr")] {
        let mut world = World::new(6);
        world.trace_mut().keep_frames();
        world.add_server();
        let nat = world.add_nat(outer.parse().unwrap());
        let relay = world.add_relay(nat);
        let native = world.add_native_host();
        let nat = world.add_nat(kind.parse().unwrap());
        let client = world.add_client(nat);
        qualify(&mut world, &[client]);
        assert!(ping(&mut world, native, client, SECOND).is_some(), "{outer} {kind}");
        assert!(ping(&mut world, client, native, SECOND).is_some(), "{outer} {kind}");
        let mapped = world.client(client).unwrap().mapped().unwrap();
        assert!(bubbles_sent(&world, relay).any(|(_, to, _)| to == mapped), "{outer} {kind}");
    }
}

//= R-HOST-04: a host-specific relay behind any cone to port-restricted NAT is reached and reaches
#[test]
fn a_host_specific_relay_works_behind_nats() {
    for outer in PLAIN {
        for kind in PLAIN {
            for relay_begins in [true, false] {
                let mut world = World::new(7);
                world.add_server();
                // The way for the client's connectivity test is the relay of somebody else.
                world.add_relay(Place::Internet);
                let nat = world.add_nat(outer.parse().unwrap());
                let host = world.add_host_relay(nat);
                let nat = world.add_nat(kind.parse().unwrap());
                let client = world.add_client(nat);
                qualify(&mut world, &[client]);
                let pair = if relay_begins { [host, client] } else { [client, host] };
                for [from, to] in [pair, [pair[1], pair[0]]] {
                    let answer = ping(&mut world, from, to, SECOND);
                    assert!(answer.is_some(), "{outer} {kind} {}", world.log_text());
                }
            }
        }
    }
}

//= S-REL-01: one host is server and relay, and both roles work
#[test]
fn a_server_can_be_a_relay_too() {
    for kind in PLAIN {
        let mut world = World::new(8);
        let both = world.add_server();
        world.add_relay_to(both);
        let native = world.add_native_host();
        let nat = world.add_nat(kind.parse().unwrap());
        let client = world.add_client(nat);
        qualify(&mut world, &[client]);
        let answer = ping(&mut world, client, native, SECOND);
        assert!(answer.is_some(), "{kind}\n{}", world.log_text());
        assert!(ping(&mut world, native, client, SECOND).is_some(), "{kind}");
    }
}

/// A peer made by hand behind a port-symmetric NAT: its address, its host, its port.
fn symmetric_peer(world: &mut World, server: HostId) -> (HostId, TeredoAddress) {
    let nat = world.add_nat(NatConfig::ps());
    let host = world.add_plain_host(nat);
    let server = SocketAddrV4::new(world.server_addresses(server).0, TEREDO_PORT);
    let mut buffer = [0; 100];
    let mut writer = teredo_wire::Writer::new(&mut buffer);
    let source = teredo_wire::address::CLIENT_LINK_LOCAL;
    teredo_wire::icmpv6::write_router_solicitation(&mut writer, source).unwrap();
    world.send_datagram(host, PEER_PORT, server, writer.written().to_vec());
    let answered = world.run_until(SECOND, |world| !world.datagrams(host).is_empty());
    answered.unwrap_or_else(|stopped| panic!("{}", story(world, &stopped)));
    let answer = world.take_datagrams(host);
    let mapped = Datagram::parse(&answer[0].payload).unwrap().origin.unwrap();
    (host, TeredoAddress { server: *server.ip(), flags: Default::default(), mapped })
}

const PEER_PORT: u16 = 4242;

//= R-SYM-01: a client behind a symmetric NAT that answers the relay's bubble reaches native hosts
#[test]
fn a_symmetric_client_that_answers_is_served() {
    let Net { mut world, server, relay, native, .. } = net(9, "cone");
    let (peer, address) = symmetric_peer(&mut world, server);
    let relay_endpoint = world.endpoint_of(relay).unwrap();
    let ping = world.ping(native, address.to_ipv6()).unwrap();

    let bubble_came = |world: &World| !world.datagrams(peer).is_empty();
    assert!(world.run_until(SECOND, bubble_came).is_ok(), "{}", world.log_text());
    let bubble = world.take_datagrams(peer).remove(0);
    let bubble = Datagram::parse(&bubble.payload).unwrap();
    assert_eq!((bubble.ipv6.is_bubble(), bubble.origin), (true, Some(relay_endpoint)));
    let answer = teredo_wire::ipv6::Header::bubble(address.to_ipv6(), bubble.ipv6.source());
    let mut bytes = [0; 40];
    answer.write(&mut teredo_wire::Writer::new(&mut bytes)).unwrap();
    world.send_datagram(peer, PEER_PORT, relay_endpoint, bytes.to_vec());

    assert!(world.run_until(SECOND, bubble_came).is_ok(), "{}", world.log_text());
    let request = world.take_datagrams(peer).remove(0);
    assert_eq!(request.from, relay_endpoint);
    let request = Datagram::parse(&request.payload).unwrap().ipv6;
    let echo = Icmpv6::parse(&request).unwrap().echo().unwrap();
    let reply = teredo_wire::icmpv6::Echo { reply: true, ..echo };
    let mut bytes = [0; 200];
    let mut writer = teredo_wire::Writer::new(&mut bytes);
    reply.write(&mut writer, request.destination(), request.source(), 64).unwrap();
    world.send_datagram(peer, PEER_PORT, relay_endpoint, writer.written().to_vec());
    let answered = world.run_until(SECOND, |world| world.answer_time(ping).is_some());
    assert!(answered.is_ok(), "{}", world.log_text());
}

//= R-SYM-02: a bubble to an address that is not the relay's for this client proves nothing
#[test]
fn a_symmetric_client_that_guesses_is_not_served() {
    let Net { mut world, server, relay, native, .. } = net(10, "cone");
    let (peer, address) = symmetric_peer(&mut world, server);
    let relay_endpoint = world.endpoint_of(relay).unwrap();
    world.ping(native, address.to_ipv6()).unwrap();
    let bubble_came = |world: &World| !world.datagrams(peer).is_empty();
    assert!(world.run_until(SECOND, bubble_came).is_ok(), "{}", world.log_text());
    world.take_datagrams(peer);
    let guess = "fe80::1234:5678:9abc:def0".parse().unwrap();
    let answer = teredo_wire::ipv6::Header::bubble(address.to_ipv6(), guess);
    let mut bytes = [0; 40];
    answer.write(&mut teredo_wire::Writer::new(&mut bytes)).unwrap();
    world.send_datagram(peer, PEER_PORT, relay_endpoint, bytes.to_vec());
    assert_eq!(world.run_for(20 * SECOND), Ok(()));
    let direct = |datagram: &teredo_sim::host::Datagram| datagram.from == relay_endpoint;
    assert!(!world.datagrams(peer).iter().any(direct));
    assert_eq!(world.dropped(relay, DropReason::EndpointMismatch), 1, "{}", world.log_text());
}

//= R-TX-06, R-BUB-04: what is queued for a client that is gone is dropped and reported
#[test]
fn an_unreachable_client_is_reported_to_the_native_host() {
    let Net { mut world, relay, native, client, .. } = net(11, "pr");
    let to = world.ipv6(client).unwrap();
    world.set_up(client, false);
    let tag = world.send_data(native, to, 500).unwrap();
    let reported = world.run_until(20 * SECOND, |world| world.is_reported(tag));
    assert!(reported.is_ok(), "{}", world.log_text());
    assert_eq!(world.run_for(SECOND), Ok(()));
    let error = world.stack(native).errors().next().unwrap();
    assert_eq!((error.kind, error.code, error.refused), (1, 3, to));
    assert_eq!(world.dropped(relay, DropReason::PeerUnreachable), 1);
    assert_eq!(world.queued_count(relay), 0);
}
