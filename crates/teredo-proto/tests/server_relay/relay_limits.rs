//! What keeps a relay alive under a flood.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::time::Duration;

use teredo_proto::relay::{NewPeers, Relay, Scope};
use teredo_proto::{DropReason, Event, Inbound, Outbound, Rate, Reason, Role};

use crate::packets::*;
use crate::relay_transmission::{RELAY, connect, data, direct, relay, relay_with};

/// A packet to one of very many clients.
fn to_client(number: u32) -> Vec<u8> {
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(11, 0, 0, 0).to_bits() + number);
    udp(NATIVE, teredo(SERVER, SocketAddrV4::new(address, 4096)), &[])
}

/// A packet from any node to one of very many clients, of any server.
fn scan(native: Ipv6Addr, server: Ipv4Addr, number: u32) -> Vec<u8> {
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(11, 0, 0, 0).to_bits() + number);
    udp(native, teredo(server, SocketAddrV4::new(address, 4096)), &[])
}

/// Clients that `relay` begins to seek for a scan of `count`; `native` makes up the sources.
fn sought(
    relay: &mut Relay,
    count: u32,
    native: impl Fn(u32) -> Ipv6Addr,
    server: impl Fn(u32) -> Ipv4Addr,
) -> usize {
    let mut seek = |number| {
        let packet = scan(native(number), server(number), number);
        let outbound = relay.handle_packet(ms(0), &packet);
        drain(relay);
        outbound == Outbound::Queued
    };
    (0..count).filter(|&number| seek(number)).count()
}

fn many_servers(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(12, 0, 0, 0).to_bits() + number)
}

//= R-LIM-01, T-14: a scanner gets its share of new clients and leaves the rest to others
#[test]
fn a_scanner_gets_its_share() {
    let in_prefix = |bits: u32| {
        move |number: u32| {
            let scattered = u128::from(number.wrapping_mul(0x9e37_79b9)) << 96 >> bits;
            Ipv6Addr::from_bits(v6("2a00::").to_bits() | scattered)
        }
    };
    for (bits, share) in [(128, 250), (64, 250), (48, 500), (32, 1000)] {
        let mut relay = relay();
        let from = in_prefix(bits.min(127));
        assert_eq!(sought(&mut relay, 20_000, from, many_servers), share, "of a /{bits}");
        assert_eq!(events(&mut relay), [], "one who is refused is no overload");
        assert_eq!(relay.handle_packet(ms(0), &data(0)), Outbound::Queued);
        assert_eq!(drain(&mut relay).len(), 1, "another one's bubble");
    }
}

//= R-LIM-01, T-14: a minute of scans from whole networks, and every new client of others is sought
#[test]
fn honest_hosts_find_new_clients_beside_scanners() {
    let mut relay = relay_with(|config| config.peers_max = 65_536);
    let mut number = 0_u32;
    let mut scan_once = |relay: &mut Relay, now| {
        // Two /32s, each with as many links as it likes.
        let network: u128 = [0x2a00_0001, 0x2a00_0002][number as usize % 2] << 96;
        let link = u128::from(number.wrapping_mul(0x9e37_79b9)) << 64;
        let native = Ipv6Addr::from_bits(network | link | 1);
        let _ = relay.handle_packet(now, &scan(native, many_servers(number), number));
        number += 1;
    };
    for second in 0..60 {
        for tick in 0..1000 {
            let now = ms(1000 * second + tick);
            relay.handle_timeout(now);
            for _ in 0..5 {
                scan_once(&mut relay, now);
            }
            drain(&mut relay);
        }
        let now = ms(1000 * second + 999);
        let mapped = SocketAddrV4::new(Ipv4Addr::new(13, 0, 0, second as u8), 4096);
        let honest = teredo(SERVER, mapped);
        assert_eq!(relay.handle_packet(now, &udp(NATIVE, honest, b"x")), Outbound::Queued);
        assert!(!drain(&mut relay).is_empty(), "nobody sought in second {second}");
        // And it is still sought when its answer comes.
        let (_, flushed) = exchange(&mut relay, now, mapped, &bubble(honest, LINK_LOCAL));
        assert_eq!(flushed.len(), 1);
    }
    assert!(relay.peer_count() <= 65_536);
    assert!(!events(&mut relay).contains(&Event::Overload(true)));
}

//= R-LIM-01, T-14: no server gets more than half of all bubbles, whoever asks for them
#[test]
fn no_server_gets_all_bubbles() {
    let mut relay = relay();
    let anywhere = |number: u32| Ipv6Addr::from_bits(0x2a00_u128 << 112 | u128::from(number) << 90);
    assert_eq!(sought(&mut relay, 20_000, anywhere, |_| OTHER_SERVER), 2000);
    assert_eq!(events(&mut relay), []);
    assert_eq!(sought(&mut relay, 20_000, anywhere, many_servers), 2000);
    assert_eq!(events(&mut relay), [Event::Overload(true)], "now everybody is refused");
}

/// New clients that are taken of `count`, from `first` on, at one moment.
fn taken(relay: &mut Relay, millis: u64, first: u32, count: u32) -> usize {
    let mut take = |number| {
        let outbound = relay.handle_packet(ms(millis), &to_client(number));
        drain(relay);
        outbound == Outbound::Queued
    };
    (first..first + count).filter(|&number| take(number)).count()
}

//= R-LIM-01: only served sources
#[test]
fn only_served_sources_reach_clients() {
    let site = Scope::Network { address: RELAY, served: vec!["2001:db8:6::/48".parse().unwrap()] };
    let mut relay = relay_with(|config| config.scope = site);
    let outside = udp(v6("2001:db8:7::1"), client(), &[]);
    let refused = relay.handle_packet(ms(0), &outside);
    assert_eq!(refused, Outbound::Dropped(DropReason::NotServed));
    assert_eq!(relay.handle_packet(ms(0), &data(0)), Outbound::Queued);
}

//= R-LIM-01: new clients are taken at a limited rate, known ones are served all the same
#[test]
fn new_clients_are_limited() {
    let mut relay = relay_with(|config| {
        config.new_peers = NewPeers::undivided(Rate { per_s: 10, burst: 20 });
    });
    connect(&mut relay, ms(0));
    assert_eq!(taken(&mut relay, 0, 0, 100), 19);
    assert_eq!(taken(&mut relay, 1000, 1000, 100), 10);
    assert_eq!(relay.counters().dropped(DropReason::NewPeerLimit), 81 + 90);
    assert_eq!(relay.handle_packet(ms(1000), &data(1)), direct());
}

//= R-ADV-01: overload is told when it begins and when it is over, so that routes can follow
#[test]
fn overload_is_told() {
    let mut relay = relay_with(|config| {
        config.new_peers = NewPeers::undivided(Rate { per_s: 1, burst: 2 });
    });
    taken(&mut relay, 0, 0, 2);
    assert_eq!(relay.poll_event(), None);
    taken(&mut relay, 0, 2, 2);
    assert_eq!(relay.poll_event(), Some(Event::Overload(true)));
    assert_eq!(relay.poll_event(), None);
    taken(&mut relay, 500, 4, 10);
    run(&mut relay, ms(30_000));
    assert!(events(&mut relay).iter().all(|event| matches!(event, Event::PeerUnreachable(_))));
    let deadlines =
        std::iter::from_fn(|| relay.poll_timeout().inspect(|&(due, _)| relay.handle_timeout(due)));
    assert!(deadlines.take(1).eq([(ms(30_500), Reason::Overload)]));
    assert_eq!(events(&mut relay), [Event::Overload(false)]);
}

//= R-ADV-01: a full list of clients is overload as well
#[test]
fn a_full_list_is_overload() {
    let mut relay = relay_with(|config| config.peers_max = 1);
    connect(&mut relay, ms(0));
    let refused = relay.handle_packet(ms(0), &to_client(1));
    assert_eq!(refused, Outbound::Dropped(DropReason::PeerListFull));
    assert_eq!(events(&mut relay), [Event::Overload(true)]);
}

fn events(relay: &mut Relay) -> Vec<Event> {
    std::iter::from_fn(|| relay.poll_event()).collect()
}

//= SEC-04: a flood of destinations evicts neither trusted clients nor memory
#[test]
fn a_trusted_client_survives_a_flood() {
    let mut relay = relay_with(|config| {
        config.peers_max = 64;
        config.new_peers = NewPeers::undivided(Rate { per_s: 1_000_000, burst: 1_000_000 });
    });
    connect(&mut relay, ms(0));
    for number in 0..100_000 {
        let now = ms(0) + Duration::from_micros(100) * number;
        let _ = relay.handle_packet(now, &to_client(number));
        relay.handle_timeout(now);
        drain(&mut relay);
        assert!(relay.peer_count() <= 64);
    }
    assert_eq!(relay.handle_packet(ms(10_000), &data(1)), direct());
}

//= SEC-04, SEC-10: a flood of unasked datagrams leaves no trace but counters
#[test]
fn unasked_datagrams_leave_no_trace() {
    let mut relay = relay();
    for number in 0..100_000_u32 {
        let from = SocketAddrV4::new(Ipv4Addr::from_bits((11 << 24) | number), 4096);
        let payload = udp(teredo(SERVER, from), NATIVE, &[]);
        let dropped = put(&mut relay, ms(0), from, &payload);
        assert_eq!(dropped, Inbound::Dropped(DropReason::UnknownPeer));
    }
    assert_eq!((relay.peer_count(), relay.poll_timeout()), (0, None));
    assert!(drain(&mut relay).is_empty());
}

//= SEC-06: ICMPv6 errors: ten a second, and never about errors, multicasts or to nobody
#[test]
fn errors_are_limited_and_exclude_what_rfc_4443_excludes() {
    let mut relay = relay();
    let large = |kind, message: u8| packet(NATIVE, client(), kind, &[message; 1300]);
    let errors = |relay: &mut Relay, millis, packet: &[u8]| {
        let ask = |_| {
            let _ = relay.handle_packet(ms(millis), packet);
            drain(relay).len()
        };
        (0..100).map(ask).sum::<usize>()
    };
    for about in [1, 2, 3, 4, 127, 137] {
        assert_eq!(errors(&mut relay, 0, &large(58, about)), 0, "ICMPv6 type {about}");
    }
    assert_eq!(errors(&mut relay, 0, &large(58, 128)), 10);
    assert_eq!(errors(&mut relay, 500, &large(17, 0)), 5);
}

//= SEC-06: who makes errors all the time keeps nobody else from learning the path's MTU
#[test]
fn errors_are_shared_fairly() {
    let mut relay = relay();
    let large = |native| packet(native, client(), 17, &[0; 1300]);
    let errors = |relay: &mut Relay, native, count| {
        let ask = |_| {
            let _ = relay.handle_packet(ms(0), &large(native));
            drain(relay).len()
        };
        (0..count).map(ask).sum::<usize>()
    };
    assert_eq!(errors(&mut relay, v6("2a00:1::66"), 1000), 10);
    assert_eq!(errors(&mut relay, v6("2a00:1::67"), 1), 0, "of the same link");
    assert_eq!(errors(&mut relay, NATIVE, 1), 1);
    let from_all_over = (0..10_000_u128).map(|link| {
        errors(&mut relay, Ipv6Addr::from_bits(v6("2a01::1").to_bits() + (link << 64)), 1)
    });
    assert_eq!(from_all_over.sum::<usize>(), 500 - 11, "and not without bounds");
}

//= SEC-10: a thousand clients at once are sought in bounded batches, and none is forgotten
#[test]
fn many_clients_are_sought_in_batches() {
    let mut relay =
        relay_with(|config| config.new_peers = NewPeers::undivided(config.new_peers.total));
    for number in 0..3000 {
        assert_eq!(relay.handle_packet(ms(0), &to_client(number)), Outbound::Queued);
        drain(&mut relay);
    }
    let mut repeats = 0;
    while relay.poll_timeout().is_some_and(|(due, _)| due <= ms(2000)) {
        relay.handle_timeout(ms(2000));
        let sent = drain(&mut relay).len();
        assert!((1..=1024).contains(&sent), "{sent} in one batch");
        repeats += sent;
    }
    assert_eq!(repeats, 3000);
}

#[test]
fn undrained_bubbles_are_bounded() {
    let mut relay =
        relay_with(|config| config.new_peers = NewPeers::undivided(config.new_peers.total));
    let queued = (0..3000)
        .filter(|&number| relay.handle_packet(ms(0), &to_client(number)) == Outbound::Queued);
    assert_eq!(queued.count(), 1024);
}
