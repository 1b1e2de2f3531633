//! Packets must not go in circles (section 8.4 of the digest; the form of RFC 6324 for Teredo).

use std::net::SocketAddrV4;

use teredo_proto::relay::{self, Relay, Scope};
use teredo_proto::server::Server;
use teredo_proto::{DropReason, Inbound, Outbound, Role};

use crate::packets::*;
use crate::server_acceptance::{server, server_with, solicitation};

fn dropped(server: &mut Server, from: SocketAddrV4, payload: &[u8]) -> DropReason {
    match exchange(server, ms(0), from, payload) {
        (Inbound::Dropped(reason), sent) if sent.is_empty() => reason,
        other => panic!("{other:?}"),
    }
}

//= S-LOOP-01: nothing is taken from an own address or port 0
#[test]
fn nothing_comes_from_ourselves() {
    let third = v4("203.0.113.12");
    let mut server = server_with(|config| config.filter.own = vec![third]);
    for own in [SERVER, SECONDARY, third] {
        for port in [1, 3544, 65535] {
            let from = SocketAddrV4::new(own, port);
            let to_itself = bubble(teredo(SERVER, from), teredo(SERVER, from));
            for payload in [to_itself, solicitation()] {
                assert_eq!(dropped(&mut server, from, &payload), DropReason::OwnEndpoint);
            }
        }
    }
    let from_port_0 = endpoint("192.0.2.1:0");
    assert_eq!(dropped(&mut server, from_port_0, &solicitation()), DropReason::ImpossibleSource);
}

//= S-LOOP-02: nothing goes to an own address, of whichever server the client is said to be
#[test]
fn nothing_goes_to_ourselves() {
    let third = v4("203.0.113.12");
    let mut server = server_with(|config| config.filter.own = vec![third]);
    for own in [SERVER, SECONDARY, third] {
        for (of_server, port) in [(SERVER, 3544), (SERVER, 9), (OTHER_SERVER, 3544)] {
            let destination = teredo(of_server, SocketAddrV4::new(own, port));
            let payload = bubble(client(), destination);
            assert_eq!(dropped(&mut server, CLIENT_AT, &payload), DropReason::Loop);
        }
    }
}

//= S-LOOP-02: nor to a native address through which another tunnel would bring it back
#[test]
fn nothing_goes_to_ourselves_through_other_tunnels() {
    let mut server = server();
    for own in ["2002:cb00:710a::1", "2002:cb00:710b::1", "2001:db8::5efe:cb00:710a"] {
        let payload = echo(client(), v6(own), b"nonce");
        assert_eq!(dropped(&mut server, CLIENT_AT, &payload), DropReason::Loop, "{own}");
    }
    let others = echo(client(), v6("2002:c000:201::1"), b"nonce");
    assert_eq!(exchange(&mut server, ms(0), CLIENT_AT, &others).1.len(), 1);
}

//= S-LOOP-03: from port 3544 to port 3544 nothing is passed on; clients mapped there are reached
#[test]
fn nothing_passes_between_server_ports() {
    let at_3544 = SocketAddrV4::new(*CLIENT_AT.ip(), 3544);
    let from_3544 = SocketAddrV4::new(*STRANGER_AT.ip(), 3544);
    let mut server = server();
    let both = bubble(teredo(OTHER_SERVER, from_3544), teredo(SERVER, at_3544));
    assert_eq!(dropped(&mut server, from_3544, &both), DropReason::Loop);
    let to_client_at_3544 = bubble(stranger(), teredo(SERVER, at_3544));
    assert_eq!(exchange(&mut server, ms(0), STRANGER_AT, &to_client_at_3544).1.len(), 1);
    let from_client_at_3544 = bubble(teredo(OTHER_SERVER, from_3544), client());
    assert_eq!(exchange(&mut server, ms(0), from_3544, &from_client_at_3544).1.len(), 1);
}

//= S-LOOP-02, S-LOOP-03: two servers, each said to be the other's client, end it at once
#[test]
fn two_servers_do_not_play_ball() {
    let (a, b) = (SERVER, OTHER_SERVER);
    let mut servers = [(a, server()), (b, server_with(|config| config.primary = b))];
    let at = |address| SocketAddrV4::new(address, 3544);
    for source in [LINK_LOCAL, teredo(a, at(b)), teredo(b, at(a)), teredo(a, at(a)), stranger()] {
        for destination in [teredo(a, at(b)), teredo(b, at(a)), teredo(a, at(a))] {
            let mut on_the_way = vec![(STRANGER_AT, a, bubble(source, destination))];
            let mut hops = 0;
            while let Some((from, to, payload)) = on_the_way.pop() {
                hops += 1;
                let (_, server) = servers.iter_mut().find(|(address, _)| *address == to).unwrap();
                for sent in exchange(server, ms(0), from, &payload).1 {
                    let Sent::Datagram { to: next, payload, .. } = sent else { panic!("{sent:?}") };
                    on_the_way.push((at(to), *next.ip(), payload));
                }
                assert!(hops <= 2, "{source} to {destination} goes on and on");
            }
        }
    }
}

//= S-REL-01: server and relay on one host, at one address: the relay reaches the server's clients
#[test]
fn a_relay_beside_the_server_reaches_its_clients() {
    let relay_at = SocketAddrV4::new(SERVER, 3545);
    let server_at = SocketAddrV4::new(SERVER, 3544);
    let mut server = server_with(|config| config.relay = Some(relay_at));
    let mut config = relay::Config::new(relay_at, Scope::internet(v6("2001:db8:6::20")));
    config.filter = lab_filter();
    config.filter.own = vec![SERVER, SECONDARY];
    let mut relay = Relay::new(config, SEED);

    let data = udp(NATIVE, client(), b"hello");
    assert_eq!(relay.handle_packet(ms(0), &data), Outbound::Queued);
    let [Sent::Datagram { to, payload, .. }] = &drain(&mut relay)[..] else { panic!() };
    assert_eq!(*to, server_at);
    let (_, forwarded) = exchange(&mut server, ms(1), relay_at, payload);
    assert_eq!(forwarded, [datagram(CLIENT_AT, with_origin(relay_at, payload))]);

    let bubble_source = teredo_wire::Ipv6::parse(payload).unwrap().0.source();
    let answer = bubble(client(), bubble_source);
    let (_, flushed) = exchange(&mut relay, ms(2), CLIENT_AT, &answer);
    assert_eq!(flushed, [datagram(CLIENT_AT, data)]);
    assert_eq!(
        dropped(&mut server, SocketAddrV4::new(SERVER, 3546), payload),
        DropReason::OwnEndpoint
    );
}
