//! RFC 4380 section 5.2.4: where packets of the stack go, case by case.

use core::net::{Ipv4Addr, Ipv6Addr};

use teredo_proto::client::Config;
use teredo_proto::{DropReason, Event, Inbound, Outbound, Role};
use teredo_wire::{Flags, TeredoAddress};

use crate::bytes::Advertisement;
use crate::bytes::{bubble, echo_reply, endpoint, icmpv6, mtu_option, packet, prefix_option, udp};
use crate::harness::{
    Bench, NATIVE, SERVER, Sent, config, mapped, peer, peer_address, peer_server, relay, server,
};

fn times_to(sent: &[(f64, Sent)], to: core::net::SocketAddrV4) -> Vec<f64> {
    sent.iter().filter(|(_, sent)| sent.is_to(to)).map(|(at, _)| *at).collect()
}

//= C-TX-01: to the endpoint of a trusted valid entry, at once, as it is
#[test]
fn case_1_sends_at_once() {
    let mut bench = Bench::quiet();
    bench.befriend(&peer());
    bench.befriend_native();
    assert_eq!(bench.route(peer_address()), Some(peer().mapped));
    assert_eq!(bench.route(NATIVE), Some(relay()));
    assert_eq!(bench.take(), []);
    assert_eq!(bench.client.counters().sent, 3);
}

//= C-TX-01, C-BUB-02: data counts as transmission, so a bubble waits for two seconds
#[test]
fn case_1_updates_the_last_transmission() {
    let mut bench = Bench::plain();
    bench.befriend(&peer());
    bench.wait_s(29.5);
    assert_eq!(bench.route(peer_address()), Some(peer().mapped));
    bench.wait_s(0.5);
    let start = bench.now;
    assert_eq!(bench.route(peer_address()), None);
    bench.wait_s(4.0);
    assert_eq!(times_to(&bench.take_since(start), peer_server()), [1.5, 3.5]);
}

//= C-TX-02: invalid 30 s after the last reception
#[test]
fn an_entry_is_valid_for_thirty_seconds() {
    let mut bench = Bench::quiet();
    bench.befriend(&peer());
    bench.wait_s(29.999);
    assert_eq!(bench.route(peer_address()), Some(peer().mapped));
    bench.wait_s(0.001);
    assert_eq!(bench.route(peer_address()), None);
}

//= C-TX-03: a native destination is tested first, its packet queued
//= C-TX-04: two seconds each, up to three repeats, then an error for the stack
#[test]
fn case_2_tests_native_destinations() {
    let mut bench = Bench::quiet();
    let start = bench.now;
    let packet = udp(bench.own(), NATIVE, b"first");
    assert_eq!(bench.send(&packet), Outbound::Queued);
    bench.wait_s(20.0);
    let sent = bench.take_since(start);
    assert_eq!(times_to(&sent, server()), [0.0, 2.0, 4.0, 6.0]);
    assert_eq!(sent.len(), 5);
    assert_eq!((sent[4].0, sent[4].1.error()), (8.0, Some((1, 3))));
    assert_eq!(bench.events(), [Event::PeerUnreachable(NATIVE)]);
    assert_eq!(bench.client.counters().dropped(DropReason::PeerUnreachable), 1);
}

//= C-TX-04: the reply to a repeated request is as good
#[test]
fn case_2_takes_the_reply_to_any_request() {
    for answered in 0..4 {
        let mut bench = Bench::quiet();
        let packet = udp(bench.own(), NATIVE, b"first");
        assert_eq!(bench.send(&packet), Outbound::Queued);
        bench.wait_s(6.5);
        let requests = bench.take();
        let reply = echo_reply(requests[answered].datagram().1);
        assert_eq!(bench.inject(relay(), &reply), Inbound::Consumed);
        assert_eq!(bench.take()[0].datagram(), (relay(), &packet[..]));
        bench.wait_s(20.0);
        assert_eq!(bench.take(), [], "the test is over");
    }
}

/// A flow in one direction to a native host is tested again before its entry becomes invalid.
#[test]
fn a_silent_native_peer_in_use_is_tested_again_in_time() {
    let mut bench = Bench::quiet();
    bench.befriend_native();
    let mut requests = 0;
    for _ in 0..1000 {
        bench.wait_s(0.1);
        assert_eq!(bench.route(NATIVE), Some(relay()));
        for sent in bench.take() {
            requests += 1;
            let reply = echo_reply(sent.datagram().1);
            assert_eq!(bench.inject(relay(), &reply), Inbound::Consumed);
        }
    }
    assert_eq!(requests, 5, "one each 20 s");
}

//= C-TX-06: a peer with the cone bit gets bubbles first like any other
#[test]
fn the_cone_bit_of_peers_is_ignored() {
    let mut bench = Bench::quiet();
    let cone = TeredoAddress { flags: Flags(0x8000), ..peer() };
    let packet = udp(bench.own(), cone.to_ipv6(), b"x");
    assert_eq!(bench.send(&packet), Outbound::Queued);
    let sent = bench.take();
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(Sent::is_bubble));
}

//= C-TX-07: an indirect bubble goes to the peer's server, not to ours
//= C-TX-08: a direct one always goes along, and first
//= C-BUB-08: to the endpoint embedded in the peer's address
#[test]
fn case_5_sends_a_direct_and_an_indirect_bubble() {
    let mut bench = Bench::plain();
    let packet = udp(bench.own(), peer_address(), b"x");
    assert_eq!(bench.send(&packet), Outbound::Queued);
    let sent = bench.take();
    assert_eq!(sent.len(), 2);
    assert!(sent[0].is_to(peer().mapped) && sent[1].is_to(peer_server()));
    for sent in &sent {
        assert!(sent.is_bubble());
        assert_eq!(sent.datagram().1.len(), 40);
        let ipv6 = sent.parsed().ipv6;
        assert_eq!((ipv6.source(), ipv6.destination()), (bench.own(), peer_address()));
        assert_eq!(sent.parsed().origin, None);
    }
    assert_eq!(bench.client.counters().bubbles_sent, 1);
}

//= C-TX-09: the first direct packet of the peer releases the queue
//= C-TX-18: in order
#[test]
fn the_first_direct_packet_releases_the_queue_in_order() {
    let mut bench = Bench::quiet();
    let packets: Vec<_> = (0..8).map(|n| udp(bench.own(), peer_address(), &[n])).collect();
    for packet in &packets {
        assert_eq!(bench.send(packet), Outbound::Queued);
    }
    assert_eq!(bench.take().len(), 2);
    let bubble = bubble(peer_address(), bench.own());
    assert_eq!(bench.inject(peer().mapped, &bubble), Inbound::Consumed);
    let sent = bench.take();
    for (sent, packet) in sent.iter().zip(&packets) {
        assert_eq!(sent.datagram(), (peer().mapped, &packet[..]));
    }
    assert!(sent.len() >= 8);
}

//= C-TX-18: a later packet does not overtake those that wait to be taken out
#[test]
fn a_later_packet_does_not_overtake() {
    let mut bench = Bench::quiet();
    let own = bench.own();
    let packets: Vec<_> = (0..4).map(|n| udp(own, peer_address(), &[n])).collect();
    assert_eq!(bench.send(&packets[0]), Outbound::Queued);
    assert_eq!(bench.send(&packets[1]), Outbound::Queued);
    bench.take();
    let bubble = bubble(peer_address(), own);
    assert_eq!(bench.inject(peer().mapped, &bubble), Inbound::Consumed);
    // The caller hands over more of a batch before it drains.
    let now = bench.now;
    assert_eq!(bench.client.handle_packet(now, &packets[2]), Outbound::Queued);
    assert_eq!(bench.client.handle_packet(now, &packets[3]), Outbound::Queued);
    let sent = bench.take();
    let data: Vec<_> = sent.iter().filter(|sent| !sent.is_bubble()).collect();
    assert_eq!(data.len(), 4);
    for (sent, packet) in data.iter().zip(&packets) {
        assert_eq!(sent.datagram(), (peer().mapped, &packet[..]));
    }
    assert!(matches!(bench.send(&packets[0]), Outbound::Send { .. }));
}

//= C-TX-10: two seconds, up to three repeats, then an error and silence
#[test]
fn case_5_repeats_and_gives_up() {
    let mut bench = Bench::quiet();
    let start = bench.now;
    let packet = udp(bench.own(), peer_address(), b"x");
    assert_eq!(bench.send(&packet), Outbound::Queued);
    bench.wait_s(20.0);
    let sent = bench.take_since(start);
    assert_eq!(times_to(&sent, peer_server()), [0.0, 2.0, 4.0, 6.0]);
    assert_eq!(times_to(&sent, peer().mapped), [0.0, 2.0, 4.0, 6.0]);
    let last = sent.last().unwrap();
    assert_eq!((last.0, last.1.error()), (8.0, Some((1, 3))));
    assert_eq!(bench.events(), [Event::PeerUnreachable(peer_address())]);
    assert_eq!(bench.send(&packet), Outbound::Dropped(DropReason::PeerUnreachable));
    let sent = bench.take();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].error(), Some((1, 3)));
}

//= C-TX-11, SEC-01: embedded addresses that are not global unicast are dropped silently
#[test]
fn forbidden_embedded_addresses_are_dropped() {
    let filter = Default::default();
    let server: Ipv4Addr = "65.55.158.80".parse().unwrap();
    let mut bench = Bench::started(Config { server, filter, ..config() });
    let at = core::net::SocketAddrV4::new(server, 3544);
    let nonce = bench.nonce(at);
    let origin = Some(endpoint("65.55.1.1:4096"));
    let options = prefix_option(server);
    let answer = Advertisement { origin, options, ..Advertisement::new(nonce) };
    assert_eq!(bench.inject(at, &answer.to_bytes()), Inbound::Consumed);
    bench.take();
    // Each range with both its ends and its neighbours.
    let ranges = [
        ("0.0.0.0", "0.255.255.255"),
        ("10.0.0.0", "10.255.255.255"),
        ("100.64.0.0", "100.127.255.255"),
        ("127.0.0.0", "127.255.255.255"),
        ("169.254.0.0", "169.254.255.255"),
        ("172.16.0.0", "172.31.255.255"),
        ("192.0.0.0", "192.0.0.255"),
        ("192.0.2.0", "192.0.2.255"),
        ("192.88.99.0", "192.88.99.255"),
        ("192.168.0.0", "192.168.255.255"),
        ("198.18.0.0", "198.19.255.255"),
        ("198.51.100.0", "198.51.100.255"),
        ("203.0.113.0", "203.0.113.255"),
        ("224.0.0.0", "255.255.255.255"),
    ];
    for (low, high) in ranges {
        let [low, high]: [Ipv4Addr; 2] = [low, high].map(|text| text.parse().unwrap());
        let outcome = |bench: &mut Bench, address: Ipv4Addr, as_server: bool| {
            let mapped = core::net::SocketAddrV4::new(address, 4096);
            let mut peer = TeredoAddress { server, flags: Flags(0), mapped };
            if as_server {
                (peer.server, peer.mapped) = (address, endpoint("65.55.2.2:4096"));
            }
            let packet = udp(bench.own(), peer.to_ipv6(), b"x");
            let outbound = bench.send(&packet);
            let is_silent = bench.take().is_empty();
            assert_eq!(outbound != Outbound::Queued, is_silent);
            outbound
        };
        let dropped = Outbound::Dropped(DropReason::ForbiddenIpv4);
        for forbidden in [low, high] {
            assert_eq!(outcome(&mut bench, forbidden, false), dropped, "{forbidden}");
            assert_eq!(outcome(&mut bench, forbidden, true), dropped, "{forbidden}");
        }
        let before = low.to_bits().checked_sub(1).map(Ipv4Addr::from_bits);
        let after = high.to_bits().checked_add(1).map(Ipv4Addr::from_bits);
        for fine in [before, after].into_iter().flatten() {
            assert_eq!(outcome(&mut bench, fine, false), Outbound::Queued, "{fine}");
        }
    }
}

//= C-TX-11: port 0 is no port
//= C-TX-12: directed broadcasts of attached subnets are refused
//= C-TX-17: so are own endpoints, own addresses and our server as a client
#[test]
fn loops_and_broadcasts_are_refused() {
    let mut config = config();
    config.filter.subnets = vec!["198.51.100.64/26".parse().unwrap()];
    config.filter.own = vec!["198.51.100.70".parse().unwrap()];
    let mut bench = Bench::qualified_with(config);
    let refused = [
        mapped(),
        server(),
        endpoint("203.0.113.11:3544"),
        endpoint("198.51.100.127:4096"),
        endpoint("198.51.100.70:4096"),
        endpoint("192.0.2.10:0"),
    ];
    for mapped in refused {
        let packet = udp(bench.own(), TeredoAddress { mapped, ..peer() }.to_ipv6(), b"x");
        assert_eq!(bench.send(&packet), Outbound::Dropped(DropReason::ForbiddenIpv4), "{mapped}");
        assert_eq!(bench.take(), []);
    }
    let fine = endpoint("198.51.100.126:4096");
    let packet = udp(bench.own(), TeredoAddress { mapped: fine, ..peer() }.to_ipv6(), b"x");
    assert_eq!(bench.send(&packet), Outbound::Queued);
}

//= C-TX-14: the source is the own Teredo address, else administratively prohibited
#[test]
fn a_wrong_source_is_prohibited() {
    let mut bench = Bench::quiet();
    bench.befriend_native();
    for source in [peer_address(), "2001:db8::7".parse().unwrap(), "fe80::7".parse().unwrap()] {
        let outbound = bench.send(&udp(source, NATIVE, b"x"));
        assert_eq!(outbound, Outbound::Dropped(DropReason::WrongSource));
        let sent = bench.take();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].error(), Some((1, 1)));
    }
    let _ = bench.send(&udp(Ipv6Addr::UNSPECIFIED, NATIVE, b"x"));
    assert_eq!(bench.take(), []);
}

#[test]
fn destinations_nobody_can_have_are_dropped_silently() {
    let mut bench = Bench::quiet();
    let own = bench.own();
    let others =
        ["ff02::1", "ff0e::1", "fe80::1", "::", "::1", "fd00::1", "::ffff:192.0.2.1"].map(|text| {
            let address: Ipv6Addr = text.parse().unwrap();
            address
        });
    for destination in others.into_iter().chain([own]) {
        let outbound = bench.send(&udp(own, destination, b"x"));
        assert_eq!(outbound, Outbound::Dropped(DropReason::WrongDestination), "{destination}");
        assert_eq!(bench.take(), []);
    }
}

/// Larger than the MTU: Packet Too Big with the MTU of the link.
#[test]
fn a_packet_that_is_too_big_is_reported() {
    let mut bench = Bench::started(config());
    let nonce = bench.nonce(server());
    let options = [prefix_option(SERVER), mtu_option(1400)].concat();
    let answer = Advertisement { options, ..Advertisement::new(nonce) }.to_bytes();
    assert_eq!(bench.inject(server(), &answer), Inbound::Consumed);
    bench.befriend(&peer());
    let fits = udp(bench.own(), peer_address(), &[1; 1400 - 48]);
    assert!(matches!(bench.send(&fits), Outbound::Send { .. }));
    let too_big = udp(bench.own(), peer_address(), &[1; 1400 - 47]);
    assert_eq!(bench.send(&too_big), Outbound::Dropped(DropReason::TooBig));
    let sent = bench.take();
    assert_eq!(sent[0].error(), Some((2, 0)));
    let Sent::Packet(error) = &sent[0] else { panic!("{sent:?}") };
    assert_eq!(error[44..48], 1400u32.to_be_bytes());
    assert_eq!(error.len(), 1280);
    assert_eq!(error[48..], too_big[..1280 - 48]);
}

#[test]
fn what_is_not_one_whole_ipv6_packet_is_dropped() {
    let mut bench = Bench::quiet();
    let whole = udp(bench.own(), NATIVE, b"x");
    let longer = [&whole[..], &[0]].concat();
    for bytes in [&[][..], &whole[..39], &whole[..whole.len() - 1], &longer, &[0x45; 60]] {
        assert_eq!(bench.send(bytes), Outbound::Dropped(DropReason::InvalidPacket));
    }
    assert_eq!(bench.take(), []);
}

//= C-TX-15, T-10: eight packets for one peer; the newest is refused
#[test]
fn a_full_queue_refuses_the_newest() {
    let mut bench = Bench::quiet();
    let packets: Vec<_> = (0..9).map(|n| udp(bench.own(), peer_address(), &[n])).collect();
    for packet in &packets[..8] {
        assert_eq!(bench.send(packet), Outbound::Queued);
    }
    assert_eq!(bench.send(&packets[8]), Outbound::Dropped(DropReason::QueueFull));
    // Twelve megabytes for as many peers: a mebibyte is kept, what it takes to keep it included.
    let mut kept = 0;
    for number in 0..10_000 {
        let host = Ipv6Addr::from_bits(NATIVE.to_bits() + number);
        let packet = udp(bench.own(), host, &[0; 1232]);
        kept += usize::from(bench.send(&packet) == Outbound::Queued);
    }
    assert!((780..=790).contains(&kept), "{kept}");
}

//= C-TX-16, SEC-06: errors for the stack are limited to ten a second, twenty at once
#[test]
fn errors_are_limited() {
    let mut bench = Bench::quiet();
    let wrong = udp(peer_address(), NATIVE, b"x");
    let errors = |bench: &mut Bench| {
        for _ in 0..200 {
            let _ = bench.send(&wrong);
        }
        bench.take().len()
    };
    assert_eq!(errors(&mut bench), 20);
    bench.wait_s(1.0);
    assert_eq!(errors(&mut bench), 10);
}

//= SEC-06: none about ICMPv6 errors, not even at the first fragment
#[test]
fn no_errors_about_errors() {
    let mut bench = Bench::quiet();
    for kind in [1, 2, 3, 4, 100, 137] {
        let message = icmpv6(peer_address(), NATIVE, kind, &[0; 44]);
        assert_eq!(bench.send(&message), Outbound::Dropped(DropReason::WrongSource));
        let hidden = [&[58, 0, 0, 1, 0, 0, 0, 1], &message[40..]].concat();
        let hidden = packet(peer_address(), NATIVE, 44, 64, &hidden);
        assert_eq!(bench.send(&hidden), Outbound::Dropped(DropReason::WrongSource));
        assert_eq!(bench.take(), []);
    }
    let request = icmpv6(peer_address(), NATIVE, 128, &[0; 4]);
    let _ = bench.send(&request);
    assert_eq!(bench.take()[0].error(), Some((1, 1)));
}
