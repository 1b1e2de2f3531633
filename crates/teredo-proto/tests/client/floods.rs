//! What a flood of strangers may not do: fill the peer list, take the room of our own packets, or
//! end a search of ours.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use teredo_proto::client::Config;
use teredo_proto::{DropReason, Inbound, Outbound, Role};
use teredo_wire::TeredoAddress;

use crate::bytes::{bubble, echo_reply, indirect_bubble, packet, udp};
use crate::harness::{Bench, NATIVE, config, peer, peer_address, relay, server};

//= SEC-04, T-09: one host that pings from very many addresses does not fill the peer list
#[test]
fn one_host_cannot_fill_the_peer_list() {
    let mut bench = Bench::qualified_with(Config { peers_max: 1_000, ..config() });
    let own = bench.own();
    for port in 1024..4096 {
        let mapped = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 66), port);
        let source = TeredoAddress { mapped, ..peer() }.to_ipv6();
        // The stack answers, so we seem to want this peer.
        if let Inbound::Deliver(_) = bench.inject(mapped, &udp(source, own, b"ping")) {
            assert_eq!(bench.route(source), Some(mapped));
        }
    }
    assert!(bench.client.counters().dropped(DropReason::RateLimit) > 2_900);
    assert_eq!(bench.send(&udp(own, peer_address(), b"x")), Outbound::Queued);
    // The host itself is not locked out for good, nor is anybody else.
    bench.wait_s(1.0);
    for host in [66, 67] {
        let mapped = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, host), 9999);
        let source = TeredoAddress { mapped, ..peer() }.to_ipv6();
        assert!(matches!(bench.inject(mapped, &udp(source, own, b"x")), Inbound::Deliver(_)));
    }
}

//= SEC-04, T-09: indirect bubbles past the limit of answers displace no entry
#[test]
fn indirect_bubbles_past_the_limit_do_not_displace_a_search() {
    let mut bench = Bench::qualified_with(Config { peers_max: 500, ..config() });
    let own = bench.own();
    let waiting = udp(own, peer_address(), b"waiting");
    assert_eq!(bench.send(&waiting), Outbound::Queued);
    for number in 0..5_000 {
        let mapped = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 66), 1024 + number);
        let stranger = TeredoAddress { mapped, ..peer() }.to_ipv6();
        let _ = bench.inject(server(), &indirect_bubble(mapped, stranger, own));
    }
    bench.take();
    assert_eq!(bench.inject(peer().mapped, &bubble(peer_address(), own)), Inbound::Consumed);
    assert_eq!(bench.take()[0].datagram(), (peer().mapped, &waiting[..]));
}

//= C-TX-15, T-10: what strangers have us hold does not take the room of what our stack sends
#[test]
fn strangers_do_not_take_the_room_of_our_own_packets() {
    let mut bench = Bench::qualified();
    let own = bench.own();
    for second in 0..7 {
        for number in 0..40 {
            let host = Ipv6Addr::from_bits(NATIVE.to_bits() + 1000 * (second + 1) + number);
            for _ in 0..8 {
                let _ = bench.inject(relay(), &packet(host, own, 17, 64, &[0; 1240]));
            }
        }
        bench.wait_s(1.0);
        bench.take();
    }
    assert!(bench.client.counters().dropped(DropReason::QueueFull) > 0, "no flood");
    assert_eq!(bench.send(&udp(own, NATIVE, &[0; 1200])), Outbound::Queued);
}

//= SEC-04, T-09: direct bubbles from very many peers do not displace whom our stack seeks
#[test]
fn a_search_of_ours_outlasts_a_flood_of_peers() {
    let mut bench = Bench::qualified_with(Config { peers_max: 1_000, ..config() });
    let own = bench.own();
    let waiting = udp(own, peer_address(), b"waiting");
    assert_eq!(bench.send(&waiting), Outbound::Queued);
    let mut answered = 0;
    for number in 0..20_000_u32 {
        let mapped = SocketAddrV4::new(Ipv4Addr::from_bits((11 << 24) + number), 4096);
        let stranger = TeredoAddress { mapped, ..peer() }.to_ipv6();
        let _ = bench.inject(mapped, &bubble(stranger, own));
        let sent = bench.take();
        answered += sent.iter().filter(|sent| sent.is_to(mapped)).count();
    }
    assert!(answered > 3_000, "no flood: {answered}");
    assert_eq!(bench.inject(peer().mapped, &bubble(peer_address(), own)), Inbound::Consumed);
    assert!(bench.take().iter().any(|sent| sent.is_to(peer().mapped)));
    assert_eq!(bench.route(peer_address()), Some(peer().mapped));
}

//= SEC-04: nor does a single one, however long ago a peer was met that is sought again
#[test]
fn a_search_for_an_old_friend_is_one_of_ours() {
    for friend in [peer_address(), NATIVE] {
        let refresh_interval = core::time::Duration::from_secs(1_000_000);
        let mut bench =
            Bench::qualified_with(Config { peers_max: 1, refresh_interval, ..config() });
        let own = bench.own();
        assert_eq!(bench.send(&udp(own, friend, b"first")), Outbound::Queued);
        let request = bench.take().pop().unwrap();
        if friend == NATIVE {
            let reply = echo_reply(request.datagram().1);
            assert_eq!(bench.inject(relay(), &reply), Inbound::Consumed);
        } else {
            assert_eq!(bench.inject(peer().mapped, &bubble(friend, own)), Inbound::Consumed);
        }
        assert!(bench.route(friend).is_some());
        bench.wait_s(400.0);
        assert_eq!(bench.send(&udp(own, friend, b"again")), Outbound::Queued);
        let mapped = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 66), 4096);
        let stranger = TeredoAddress { mapped, ..peer() }.to_ipv6();
        let refused = bench.inject_dropped(mapped, &bubble(stranger, own));
        assert_eq!(refused, DropReason::PeerListFull);
    }
}

//= SEC-04, T-09: strangers that the stack answers, however many, do not keep us from new peers
#[test]
fn answered_strangers_do_not_keep_us_from_new_peers() {
    let mut bench = Bench::qualified_with(Config { peers_max: 1_000, ..config() });
    let own = bench.own();
    for number in 0..3_000_u32 {
        let mapped = SocketAddrV4::new(Ipv4Addr::from_bits((11 << 24) + number), 4096);
        let stranger = TeredoAddress { mapped, ..peer() }.to_ipv6();
        if let Inbound::Deliver(_) = bench.inject(mapped, &udp(stranger, own, b"ping")) {
            assert_eq!(bench.route(stranger), Some(mapped));
        }
    }
    assert!(bench.client.counters().dropped(DropReason::PeerListFull) > 0, "no flood");
    bench.take();
    assert_eq!(bench.send(&udp(own, peer_address(), b"x")), Outbound::Queued);
    assert_eq!(bench.inject(peer().mapped, &bubble(peer_address(), own)), Inbound::Consumed);
    assert_eq!(bench.route(peer_address()), Some(peer().mapped));
}

//= SEC-10, T-09: what is documented: a kilobyte for a peer, 1.25 MiB for packets, 6 MiB for flows,
//= SEC-10: and less than 1 MiB for the limits of those that had to go
#[test]
fn memory_is_a_kilobyte_for_a_peer() {
    let config = Config { peers_max: 1 << 16, ..config() };
    let of_one = (config.memory_max() - (5 << 18) - (6 << 20) - (3 << 18)) / config.peers_max;
    assert!(of_one <= 1024, "{of_one} bytes");
}
