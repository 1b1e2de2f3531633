//! From clients to the native side (RFC 4380 section 5.4.2).

use std::net::{Ipv6Addr, SocketAddrV4};

use teredo_proto::relay::{Relay, Scope};
use teredo_proto::{DropReason, Inbound, Outbound, Role};
use teredo_wire::datagram::Malformed;
use teredo_wire::ipv6::next_header;
use teredo_wire::{Authentication, Ipv6};

use crate::packets::*;
use crate::relay_transmission::{RELAY, RELAY_AT, connect, data, direct, relay, relay_with};

/// Data from the client to the native side.
fn answer() -> Vec<u8> {
    udp(client(), NATIVE, b"answer")
}

fn connected() -> Relay {
    let mut relay = relay();
    connect(&mut relay, ms(0));
    relay
}

fn refusal(relay: &mut Relay, from: SocketAddrV4, payload: &[u8]) -> DropReason {
    match exchange(relay, ms(1), from, payload) {
        (Inbound::Dropped(reason), sent) if sent.is_empty() => reason,
        other => panic!("{other:?}"),
    }
}

/// The source of the bubble that `relay` sends, as the client gets to see it.
fn sought(relay: &mut Relay, millis: u64, packet: &[u8]) -> Ipv6Addr {
    assert_eq!(relay.handle_packet(ms(millis), packet), Outbound::Queued);
    let [Sent::Datagram { payload, .. }] = &drain(relay)[..] else { panic!() };
    Ipv6::parse(payload).unwrap().0.source()
}

//= R-RX-01: what is not an IPv6 packet is dropped
#[test]
fn malformed_datagrams_are_dropped() {
    let answer = answer();
    for (payload, malformed) in [
        (&answer[..39], Malformed::TruncatedIpv6Header),
        (&answer[..answer.len() - 1], Malformed::TruncatedIpv6Payload),
        (&[0x45; 60], Malformed::NotIpv6),
        (&[], Malformed::Empty),
    ] {
        assert_eq!(refusal(&mut connected(), CLIENT_AT, payload), malformed.into());
    }
}

//= R-RX-02, T-05: the source is Teredo and embeds the observed endpoint
#[test]
fn the_embedded_endpoint_has_to_be_the_observed_one() {
    let mut relay = connected();
    for from in ["192.0.2.1:4097", "192.0.2.2:4096", "198.51.100.7:50000"] {
        for payload in [answer(), bubble(client(), NATIVE), bubble(client(), LINK_LOCAL)] {
            let reason = refusal(&mut relay, endpoint(from), &payload);
            assert_eq!(reason, DropReason::EndpointMismatch, "{from}");
        }
    }
    for source in [NATIVE, LINK_LOCAL, v6("2002:c000:201::1")] {
        let reason = refusal(&mut relay, CLIENT_AT, &udp(source, NATIVE, &[]));
        assert_eq!(reason, DropReason::NotTeredoSource);
    }
    assert_eq!(relay.handle_packet(ms(2), &data(1)), direct(), "nothing has moved the client");
}

//= R-RX-03: a client that nobody here has packets for is ignored
#[test]
fn unknown_clients_are_ignored() {
    for payload in [answer(), bubble(client(), NATIVE)] {
        let mut relay = relay();
        assert_eq!(refusal(&mut relay, CLIENT_AT, &payload), DropReason::UnknownPeer);
        assert_eq!(relay.peer_count(), 0);
    }
}

//= T-23: what an echo service sends back of a relay's own bubble or data ends there
#[test]
fn an_echo_service_starts_no_loop() {
    let mut relay = relay();
    assert_eq!(relay.handle_packet(ms(0), &data(0)), Outbound::Queued);
    let sent = drain(&mut relay);
    assert!(!sent.is_empty());
    for sent in sent {
        let Sent::Datagram { to, payload, .. } = sent else { panic!("{sent:?}") };
        for from in [to, CLIENT_AT] {
            let (inbound, sent) = exchange(&mut relay, ms(1), from, &payload);
            assert_eq!(inbound, Inbound::Dropped(DropReason::NotTeredoSource));
            assert!(sent.is_empty());
        }
    }
    let (inbound, sent) = exchange(&mut relay, ms(1), CLIENT_AT, &data(0));
    assert_eq!((inbound, sent), (Inbound::Dropped(DropReason::NotTeredoSource), vec![]));
    // Nor are the ports of such services sent to at all.
    let echo_port = SocketAddrV4::new(*CLIENT_AT.ip(), 7);
    let to_service = udp(NATIVE, teredo(SERVER, echo_port), &[]);
    assert_eq!(relay.handle_packet(ms(1), &to_service), Outbound::Dropped(DropReason::DeniedPort));
}

//= R-RX-04: a known client becomes trusted by whatever it sends, and its packets go
#[test]
fn known_clients_become_trusted() {
    let mut relay = relay();
    assert_eq!(relay.handle_packet(ms(0), &data(0)), Outbound::Queued);
    drain(&mut relay);
    let (inbound, sent) = exchange(&mut relay, ms(1), CLIENT_AT, &answer());
    assert_eq!(inbound, Inbound::Deliver(0..answer().len()));
    assert_eq!(sent, [datagram(CLIENT_AT, data(0))]);
    assert_eq!(relay.handle_packet(ms(30_000), &data(1)), direct());
    assert_eq!((relay.counters().delivered, relay.counters().sent), (1, 2));
}

//= R-RX-05: packets for whom the relay serves are forwarded, no others
#[test]
fn only_the_served_range_is_delivered_to() {
    let site = Scope::Network { address: RELAY, served: vec!["2001:db8:6::/48".parse().unwrap()] };
    let mut relay = relay_with(|config| config.scope = site);
    connect(&mut relay, ms(0));
    let (inbound, _) = exchange(&mut relay, ms(1), CLIENT_AT, &answer());
    assert_eq!(inbound, Inbound::Deliver(0..answer().len()));
    let outside = udp(client(), v6("2001:db8:7::1"), &[]);
    assert_eq!(refusal(&mut relay, CLIENT_AT, &outside), DropReason::NotServed);

    let not_global = ":: ::1 fe80::1 fec0::1 fc00::1 fdff::1 ff02::1 ff0e::1 ::ffff:192.0.2.1";
    for destination in not_global.split_whitespace() {
        let packet = udp(client(), v6(destination), &[]);
        let reason = refusal(&mut connected(), CLIENT_AT, &packet);
        assert_eq!(reason, DropReason::NotGlobalScope, "{destination}");
    }
    let to_client = udp(client(), stranger(), &[]);
    assert_eq!(refusal(&mut connected(), CLIENT_AT, &to_client), DropReason::WrongDestination);
}

//= R-RX-06, P-WIRE-11: bubbles end here, whatever their destination and hop limit
#[test]
fn bubbles_are_not_forwarded() {
    let mut relay = connected();
    for hop_limit in 0..=255 {
        let mut bubble = bubble(client(), NATIVE);
        bubble[7] = hop_limit;
        assert_eq!(exchange(&mut relay, ms(1), CLIENT_AT, &bubble), (Inbound::Consumed, vec![]));
    }
    assert_eq!(relay.counters().bubbles_received, 257);
}

//= R-RX-07: authentication and origin are for servers to send
#[test]
fn encapsulations_are_not_accepted() {
    let authentication = Authentication::nonce_only([1; 8]);
    for payload in [
        with_origin(CLIENT_AT, &answer()),
        with_authentication(authentication, &answer()),
        with_authentication(authentication, &with_origin(CLIENT_AT, &answer())),
    ] {
        let reason = refusal(&mut connected(), CLIENT_AT, &payload);
        assert_eq!(reason, DropReason::UnexpectedEncapsulation);
    }
}

#[test]
fn trailers_are_skipped_or_refuse_the_packet() {
    let mut relay = connected();
    let with = |trailer: &[u8]| [&answer()[..], trailer].concat();
    let (inbound, _) = exchange(&mut relay, ms(1), CLIENT_AT, &with(&[1, 4, 1, 2, 3, 4]));
    assert_eq!(inbound, Inbound::Deliver(0..answer().len()));
    let reason = refusal(&mut relay, CLIENT_AT, &with(&[0x41, 0]));
    assert_eq!(reason, DropReason::RefusedTrailer);
}

#[test]
fn what_must_not_leave_a_tunnel_does_not() {
    let mut relay = connected();
    let routed = packet(client(), NATIVE, next_header::ROUTING, &[59, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(refusal(&mut relay, CLIENT_AT, &routed), DropReason::RoutingHeader);
    for kind in 133..=137 {
        let discovery = icmpv6(client(), NATIVE, 255, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(refusal(&mut relay, CLIENT_AT, &discovery), DropReason::NeighborDiscovery);
    }
    let mut used_up = answer();
    used_up[7] = 0;
    assert_eq!(refusal(&mut relay, CLIENT_AT, &used_up), DropReason::HopLimit);
}

//= R-SYM-01: the answer to a bubble counts from any endpoint, and there the client is from then on
#[test]
fn a_client_behind_a_symmetric_nat_is_reached() {
    let mut relay = relay();
    let source = sought(&mut relay, 0, &data(0));
    let elsewhere = endpoint("192.0.2.1:61000");
    assert_eq!(refusal(&mut relay, elsewhere, &answer()), DropReason::EndpointMismatch);

    let (inbound, sent) = exchange(&mut relay, ms(1), elsewhere, &bubble(client(), source));
    assert_eq!(inbound, Inbound::Consumed);
    assert_eq!(sent, [datagram(elsewhere, data(0))]);
    let (inbound, _) = exchange(&mut relay, ms(2), elsewhere, &answer());
    assert_eq!(inbound, Inbound::Deliver(0..answer().len()));
    let Outbound::Send { to, .. } = relay.handle_packet(ms(3), &data(1)) else { panic!() };
    assert_eq!(to, elsewhere);

    // A forged packet from the embedded endpoint does not move it.
    let _ = exchange(&mut relay, ms(4), CLIENT_AT, &bubble(client(), NATIVE));
    let Outbound::Send { to, .. } = relay.handle_packet(ms(5), &data(2)) else { panic!() };
    assert_eq!(to, elsewhere);
}

//= R-SYM-02: a source that the relay never had, had too long ago, or had for another client
#[test]
fn a_wrong_or_stale_answer_is_rejected() {
    let mut relay = relay();
    let source = sought(&mut relay, 0, &data(0));
    let others_source = sought(&mut relay, 0, &udp(NATIVE, stranger(), &[]));
    let elsewhere = endpoint("192.0.2.1:61000");
    for bit in 0..128 {
        let forged = Ipv6Addr::from_bits(source.to_bits() ^ 1 << bit);
        let reason = refusal(&mut relay, elsewhere, &bubble(client(), forged));
        assert_eq!(reason, DropReason::EndpointMismatch);
    }
    for payload in
        [bubble(client(), others_source), bubble(stranger(), source), udp(client(), source, &[])]
    {
        assert_eq!(refusal(&mut relay, elsewhere, &payload), DropReason::EndpointMismatch);
    }
    let (stale, _) = exchange(&mut relay, ms(30_000), elsewhere, &bubble(client(), source));
    assert_eq!(stale, Inbound::Dropped(DropReason::EndpointMismatch));
    assert_eq!(exchange(&mut relay, ms(14_000), elsewhere, &bubble(client(), source)).1.len(), 1);
}

//= R-LOOP-01: nothing is delivered to an address through which it would come back
#[test]
fn nothing_is_delivered_to_our_own_tunnels() {
    let mut relay = connected();
    for destination in [
        "2002:cb00:7114::1",
        "2002:cb00:7114:ffff::",
        "2001:db8::5efe:cb00:7114",
        "2001:db8::200:5efe:cb00:7114",
    ] {
        let packet = udp(client(), v6(destination), &[]);
        assert_eq!(refusal(&mut relay, CLIENT_AT, &packet), DropReason::Loop, "{destination}");
    }
    let others = udp(client(), v6("2002:cb00:7115::1"), &[]);
    assert_ne!(put(&mut relay, ms(1), CLIENT_AT, &others), Inbound::Dropped(DropReason::Loop));
}

//= R-LOOP-01, SEC-01: nothing is believed from an own, impossible or forbidden IPv4 source
#[test]
fn observed_sources_are_checked() {
    let mut relay = relay();
    assert_eq!(relay.handle_packet(ms(0), &data(0)), Outbound::Queued);
    drain(&mut relay);
    for (from, reason) in [
        (RELAY_AT, DropReason::OwnEndpoint),
        (SocketAddrV4::new(*RELAY_AT.ip(), 9), DropReason::OwnEndpoint),
        (endpoint("192.0.2.1:0"), DropReason::ImpossibleSource),
        (endpoint("10.0.0.1:4096"), DropReason::ForbiddenSource),
    ] {
        let payload = bubble(teredo(SERVER, from), LINK_LOCAL);
        assert_eq!(refusal(&mut relay, from, &payload), reason, "{from}");
    }
    let mut production = relay_with(|config| config.filter = Default::default());
    for address in not_global().chain(special_purpose()) {
        let from = SocketAddrV4::new(address, 4096);
        let payload = bubble(teredo(SERVER, from), LINK_LOCAL);
        assert_eq!(refusal(&mut production, from, &payload), DropReason::ForbiddenSource);
    }
}
