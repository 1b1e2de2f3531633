//! What a server passes on, where to, and what it looks like then.

use std::net::SocketAddrV4;

use teredo_proto::server::Server;
use teredo_proto::{Arrival, DropReason, Inbound, Local, Outbound, Role};
use teredo_wire::address::server_link_local;
use teredo_wire::ipv6::next_header;

use crate::packets::*;
use crate::server_acceptance::{server, server_with};

fn from_client(packet: &[u8]) -> (Inbound, Vec<Sent>) {
    exchange(&mut server(), ms(0), CLIENT_AT, packet)
}

fn refused(packet: &[u8]) -> DropReason {
    match from_client(packet) {
        (Inbound::Dropped(reason), sent) if sent.is_empty() => reason,
        other => panic!("{other:?}"),
    }
}

//= S-FWD-01: destinations that are not global are not forwarded to
#[test]
fn only_global_destinations_are_forwarded_to() {
    for destination in [
        "::",
        "::1",
        "::ffff:192.0.2.1",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fdff::1",
        "ff02::1",
        "ff0e::1",
    ] {
        for packet in [bubble(client(), v6(destination)), echo(client(), v6(destination), &[1; 8])]
        {
            assert_eq!(refused(&packet), DropReason::NotGlobalScope, "{destination}");
        }
    }
}

//= S-FWD-02: no embedded IPv4 address that is not global unicast, nor port 0, nor a service
#[test]
fn embedded_endpoints_are_checked() {
    let production = || server_with(|config| config.filter = Default::default());
    let from = endpoint("9.9.9.9:4096");
    let refused = |mapped: String| {
        let packet = bubble(teredo(SERVER, from), teredo(OTHER_SERVER, endpoint(&mapped)));
        exchange(&mut production(), ms(0), from, &packet)
    };
    for address in not_global().chain(special_purpose()) {
        let expected = Inbound::Dropped(DropReason::ForbiddenIpv4);
        assert_eq!(refused(format!("{address}:4096")), (expected, vec![]), "{address}");
    }
    for port in [0, 7, 19, 53, 123, 1900] {
        let expected = Inbound::Dropped(DropReason::DeniedPort);
        assert_eq!(refused(format!("8.8.8.8:{port}")), (expected, vec![]), "{port}");
    }
    assert_eq!(refused("8.8.8.8:4096".into()).1.len(), 1);
}

//= S-FWD-03, S-FWD-04: from the primary address, with an origin for own clients only
#[test]
fn own_clients_get_an_origin_indication() {
    let to_own = bubble(stranger(), client());
    let to_other = bubble(stranger(), teredo(OTHER_SERVER, CLIENT_AT));
    for on in [Local::Primary, Local::Secondary] {
        let mut server = server();
        for payload in [&to_own, &to_other] {
            let arrival = Arrival { from: STRANGER_AT, on };
            assert_eq!(server.handle_datagram(ms(0), arrival, payload), Inbound::Consumed);
        }
        let with_origin = with_origin(STRANGER_AT, &to_own);
        let expected = [datagram(CLIENT_AT, with_origin), datagram(CLIENT_AT, to_other.clone())];
        assert_eq!(drain(&mut server), expected);
        assert_eq!(server.counters().sent, 2);
    }
}

//= S-FWD-05, S-FWD-06, S-FWD-10: to native nodes one hop further, without trailers
#[test]
fn native_nodes_get_the_bare_packet() {
    let asked = echo(client(), NATIVE, &[1; 8]);
    let trailers = [1, 4, 0xde, 0xad, 0xbe, 0xef];
    let (_, sent) = from_client(&[&asked[..], &trailers].concat());
    let mut expected = asked;
    assert_eq!(expected[7], 128);
    expected[7] = 127;
    assert_eq!(sent, [Sent::Packet(expected)]);
}

//= S-FWD-06: to clients with all trailers, known or not
#[test]
fn clients_get_the_trailers() {
    let trailers = [1, 4, 0xde, 0xad, 0xbe, 0xef, 0x41, 1, 9, 0xff];
    let packet = [&bubble(client(), stranger())[..], &trailers].concat();
    assert_eq!(from_client(&packet).1, [datagram(STRANGER_AT, packet)]);
}

//= S-FWD-07, S-FWD-09: of ICMPv6 only echo requests and replies pass
#[test]
fn only_echo_passes_of_icmpv6() {
    for kind in 0..=255 {
        let packet = icmpv6(client(), NATIVE, 64, &[kind, 0, 0, 0, 1, 2, 3, 4]);
        let passes = kind == 128 || kind == 129;
        assert_eq!(from_client(&packet).1.len(), usize::from(passes), "type {kind}");
    }
    assert_eq!(
        refused(&icmpv6(client(), NATIVE, 64, &[128, 1, 0, 0, 1, 2, 3, 4])),
        DropReason::NotForServer
    );
    assert_eq!(
        refused(&packet(client(), NATIVE, next_header::ICMPV6, &[128; 8])),
        DropReason::InvalidIcmpv6
    );
}

//= S-FWD-09: nothing remains of what was passed on, nor of whom, but the levels of the limits
#[test]
fn forwarding_leaves_no_state() {
    let state = |server: &Server| {
        let text = crate::sweeps::state(server);
        let limits = text.find("answers: Purse").unwrap()..text.find("outbox: Outbox").unwrap();
        [&text[..limits.start], &text[limits.end..]].concat()
    };
    let mut server = server();
    let longest = [bubble(stranger(), client()), vec![0xff; 128]].concat();
    let before = {
        let _ = exchange(&mut server, ms(0), STRANGER_AT, &longest);
        state(&server)
    };
    for port in 10_000..20_000 {
        let from = SocketAddrV4::new(*STRANGER_AT.ip(), port);
        let payload = bubble(teredo(OTHER_SERVER, from), client());
        assert_eq!(exchange(&mut server, ms(1), from, &payload).1.len(), 1);
    }
    let _ = exchange(&mut server, ms(2), STRANGER_AT, &longest);
    assert_eq!(state(&server), before);
}

//= S-FWD-08, SEC-13, T-13: 88 bytes of ICMPv6 and 168 bytes in all pass, one more does not
#[test]
fn large_packets_do_not_pass() {
    let passes = |packet: &[u8]| match from_client(packet) {
        (Inbound::Dropped(DropReason::TooLarge), sent) if sent.is_empty() => false,
        (Inbound::Consumed, sent) if sent.len() == 1 => true,
        other => panic!("{other:?}"),
    };
    for destination in [NATIVE, stranger()] {
        assert!(passes(&echo(client(), destination, &[0; 80])));
        assert!(!passes(&echo(client(), destination, &[0; 81])));
        assert!(!passes(&echo(client(), destination, &[0; 1200])));
        let with_trailers = |len| [bubble(client(), destination), vec![0xff; len]].concat();
        assert!(passes(&with_trailers(128)));
        assert!(!passes(&with_trailers(129)));
        let echo_with_trailers =
            |len| [echo(client(), destination, &[0; 80]), vec![0; len]].concat();
        assert!(passes(&echo_with_trailers(40)));
        assert!(!passes(&echo_with_trailers(41)));
    }
}

//= S-FWD-10: the hop limit must not run out on the native side
#[test]
fn a_used_up_hop_limit_ends_at_the_native_side() {
    let with_hop_limit = |destination, hop_limit| {
        let mut packet = echo(client(), destination, &[1; 8]);
        packet[7] = hop_limit;
        packet
    };
    assert_eq!(refused(&with_hop_limit(NATIVE, 0)), DropReason::HopLimit);
    assert_eq!(refused(&with_hop_limit(NATIVE, 1)), DropReason::HopLimit);
    assert_eq!(from_client(&with_hop_limit(NATIVE, 2)).1.len(), 1);
}

//= P-WIRE-11: bubbles pass to clients with any hop limit, unchanged
#[test]
fn bubbles_pass_with_any_hop_limit() {
    for hop_limit in 0..=255 {
        let mut packet = bubble(client(), stranger());
        packet[7] = hop_limit;
        assert_eq!(from_client(&packet).1, [datagram(STRANGER_AT, packet)]);
    }
}

#[test]
fn encapsulations_around_what_is_passed_on_are_taken_off() {
    let packet = bubble(client(), stranger());
    let wrapped = with_origin(endpoint("192.0.2.99:99"), &packet);
    assert_eq!(from_client(&wrapped).1, [datagram(STRANGER_AT, packet)]);
}

#[test]
fn the_servers_own_address_takes_nothing_but_solicitations() {
    let own = server_link_local(SERVER);
    assert_eq!(refused(&bubble(client(), own)), DropReason::NotForServer);
    assert_eq!(refused(&echo(client(), own, &[1; 8])), DropReason::NotForServer);
}

#[test]
fn the_ipv6_side_of_a_server_takes_nothing() {
    let mut server = server();
    let packet = echo_reply(NATIVE, client(), &[1; 8]);
    let dropped = server.handle_packet(ms(0), &packet);
    assert_eq!(dropped, Outbound::Dropped(DropReason::WrongDestination));
    let dropped = server.handle_packet(ms(0), &packet[..30]);
    assert_eq!(dropped, Outbound::Dropped(DropReason::InvalidPacket));
    assert!(drain(&mut server).is_empty());
}
