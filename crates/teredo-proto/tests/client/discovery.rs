//! Local discovery (RFC 4380 section 5.2.8).

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use core::time::Duration;

use teredo_proto::client::{Config, DISCOVERY_ENDPOINT};
use teredo_proto::{Arrival, DropReason, Inbound, Local, Outbound, Role};
use teredo_wire::address::ALL_NODES;
use teredo_wire::{Flags, TeredoAddress};

use crate::bytes::{self, endpoint};
use crate::harness::{Bench, SERVER, config, mapped, peer, peer_server, server};

/// A client on a private link, whose server sees it and its neighbours at one address.
fn on_link() -> Bench {
    let mut bench = Bench::qualified_with(Config {
        refresh_interval: Duration::from_secs(1_000_000),
        ..link_config()
    });
    bench.wait_s(0.0);
    bench.take();
    bench
}

fn link_config() -> Config {
    let mut config = config();
    config.local_discovery = true;
    config.local_address = Some(Ipv4Addr::new(192, 168, 1, 2));
    config.filter.subnets = vec!["192.168.1.0/24".parse().unwrap()];
    config.filter.own = vec![Ipv4Addr::new(192, 168, 1, 2)];
    config
}

/// Another client behind the same NAT, and where it is on the link.
fn neighbour() -> TeredoAddress {
    let mapped = SocketAddrV4::new(*mapped().ip(), 9_000);
    TeredoAddress { server: SERVER, flags: Flags(0x0123), mapped }
}

fn neighbour_at() -> SocketAddrV4 {
    endpoint("192.168.1.7:40007")
}

fn discovery_bubble(source: TeredoAddress) -> Vec<u8> {
    bytes::bubble(source.to_ipv6(), ALL_NODES)
}

fn hear(bench: &mut Bench, from: SocketAddrV4, payload: &[u8]) -> Inbound {
    let arrival = Arrival { from, on: Local::Discovery };
    bench.client.handle_datagram(bench.now, arrival, payload)
}

/// The neighbour is heard of; the answer is looked at by nobody.
fn introduce(bench: &mut Bench) {
    let heard = hear(bench, neighbour_at(), &discovery_bubble(neighbour()));
    assert_eq!(heard, Inbound::Consumed);
    bench.take();
}

fn data_to(bench: &mut Bench, to: Ipv6Addr) -> Outbound {
    let packet = bytes::udp(bench.own(), to, b"data");
    bench.send(&packet)
}

/// Destinations of what was sent, all of it bubbles.
fn bubbles(bench: &mut Bench) -> Vec<SocketAddrV4> {
    let sent = bench.take();
    assert!(sent.iter().all(crate::harness::Sent::is_bubble));
    sent.iter().map(|sent| sent.datagram().0).collect()
}

//= C-LOC-02, C-LOC-03: the first with the address, then every 200 to 300 s, as section 2.7 has them
#[test]
fn discovery_bubbles_tell_the_link_of_the_address() {
    let mut config = link_config();
    (config.secondary, config.refresh_interval) = (None, Duration::from_secs(1_000_000));
    let mut bench = Bench::started(config);
    bench.answer(server(), mapped());
    let start = bench.now;
    bench.wait_s(25_000.0);
    let sent = bench.take_since(start);
    let bubbles: Vec<_> = sent.iter().filter(|(_, sent)| sent.is_to(DISCOVERY_ENDPOINT)).collect();
    assert_eq!(DISCOVERY_ENDPOINT, endpoint("224.0.0.253:3544"));
    assert_eq!(bubbles[0].0, 0.0);
    let gaps: Vec<_> = bubbles.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert!(gaps.iter().all(|gap| (200.0..=300.1).contains(gap)), "{gaps:?}");
    let (least, most) = gaps
        .iter()
        .fold((300.0f64, 200.0f64), |(least, most), gap| (least.min(*gap), most.max(*gap)));
    assert!(least < 215.0 && most > 285.0, "{least} {most}");
    for (_, sent) in bubbles {
        let packet = sent.parsed().ipv6;
        assert!(packet.is_bubble() && packet.hop_limit() == 1);
        assert_eq!((packet.source(), packet.destination()), (bench.own(), ALL_NODES));
    }
}

//= C-LOC-08, C-LOC-09: an entry with the local endpoint, a unicast bubble in reply, and no trust
#[test]
fn a_discovery_bubble_is_answered_and_proves_nothing() {
    let mut bench = on_link();
    let heard = hear(&mut bench, neighbour_at(), &discovery_bubble(neighbour()));
    assert_eq!(heard, Inbound::Consumed);
    let sent = bench.take();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].is_to(neighbour_at()) && sent[0].is_bubble());
    assert_eq!(sent[0].parsed().ipv6.destination(), neighbour().to_ipv6());
    assert_eq!(bench.route(neighbour().to_ipv6()), None);

    // An update of the endpoint, by another bubble.
    let elsewhere = endpoint("192.168.1.9:1");
    assert_eq!(hear(&mut bench, elsewhere, &discovery_bubble(neighbour())), Inbound::Consumed);
    bench.take();
    let bubble = bytes::bubble(neighbour().to_ipv6(), bench.own());
    assert_eq!(bench.inject_dropped(neighbour_at(), &bubble), DropReason::UnprovenPeer);
    assert_eq!(bench.inject(elsewhere, &bubble), Inbound::Consumed);
    assert_eq!(bench.route(neighbour().to_ipv6()), Some(elsewhere));
}

//= C-LOC-04, C-LOC-05, C-LOC-06, C-LOC-07, T-15: what no neighbour sends has no effect at all
#[test]
fn forged_discovery_is_dropped() {
    let mut bench = on_link();
    let good = discovery_bubble(neighbour());
    assert_eq!(bench.inject_dropped(neighbour_at(), &good), DropReason::NotOurAddress);

    let state = bench.state_digest();
    let with = |mapped: &str, server: Ipv4Addr| {
        let mapped = endpoint(mapped);
        discovery_bubble(TeredoAddress { server, mapped, ..neighbour() })
    };
    let own = bytes::bubble(bench.own(), ALL_NODES);
    let native = bytes::bubble("2001:db8::1".parse().unwrap(), ALL_NODES);
    let data = bytes::udp(neighbour().to_ipv6(), ALL_NODES, b"data");
    let direct = bytes::bubble(neighbour().to_ipv6(), bench.own());
    let with_origin = [&[0, 0, 0xef, 0xff, 0x3f, 0xff, 0xfd, 0xfe], &good[..]].concat();
    let cases = [
        ("192.168.1.7:1", own, DropReason::OwnAddress),
        ("192.168.1.7:1", native, DropReason::ImpossibleIpv6Source),
        ("192.168.1.7:1", with("10.0.0.1:9", SERVER), DropReason::ForbiddenIpv4),
        ("192.168.1.7:1", with("192.0.2.1:0", SERVER), DropReason::ForbiddenIpv4),
        ("192.168.1.7:1", with("192.0.2.1:9", Ipv4Addr::LOCALHOST), DropReason::ForbiddenIpv4),
        ("192.168.1.7:1", discovery_bubble(peer()), DropReason::ForeignMapping),
        ("192.168.1.7:1", data, DropReason::NotDiscovery),
        ("192.168.1.7:1", direct, DropReason::NotDiscovery),
        ("192.168.1.7:1", with_origin, DropReason::UnexpectedEncapsulation),
        ("192.168.2.7:1", good.clone(), DropReason::OffLink),
        ("192.168.1.255:1", good.clone(), DropReason::OffLink),
        ("192.168.1.0:1", good.clone(), DropReason::OffLink),
        ("198.51.100.7:1", good.clone(), DropReason::OffLink),
        ("203.0.113.10:3544", good.clone(), DropReason::OffLink),
    ];
    for (from, payload, reason) in cases {
        let heard = hear(&mut bench, endpoint(from), &payload);
        assert_eq!(heard, Inbound::Dropped(reason), "{from}");
        assert!(bench.client.counters().dropped(reason) > 0);
    }
    assert!(bench.take().is_empty());
    assert_eq!(bench.state_digest(), state);
}

#[test]
fn off_a_private_link_nothing_is_said_or_believed() {
    let changes: [fn(&mut Config); 4] = [
        |config| config.local_discovery = false,
        |config| config.local_address = None,
        |config| config.filter.subnets.clear(),
        |config| {
            config.local_address = Some(Ipv4Addr::new(198, 51, 100, 2));
            config.filter.subnets = vec!["198.51.100.0/24".parse().unwrap()];
        },
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut config = link_config();
        config.refresh_interval = Duration::from_secs(1_000_000);
        change(&mut config);
        let mut bench = Bench::qualified_with(config);
        bench.wait_s(1_000.0);
        assert!(bench.take().is_empty(), "change {index}");
        let heard = hear(&mut bench, neighbour_at(), &discovery_bubble(neighbour()));
        assert_eq!(heard, Inbound::Dropped(DropReason::OffLink), "change {index}");
    }
}

//= C-TX-05, C-TX-13: to a private address, and to the group, within 600 s of its discovery bubble
#[test]
fn a_neighbour_is_sought_on_the_link() {
    let mut bench = on_link();
    introduce(&mut bench);
    bench.wait_s(10.0);
    assert_eq!(data_to(&mut bench, neighbour().to_ipv6()), Outbound::Queued);
    assert_eq!(bubbles(&mut bench), [neighbour_at(), DISCOVERY_ENDPOINT]);

    // It may have left the link, so the other way is tried as well.
    bench.wait_s(2.0);
    let both = [neighbour_at(), DISCOVERY_ENDPOINT, neighbour().mapped, server()];
    assert_eq!(bubbles(&mut bench), both);

    // Its answer, and what waited goes to it.
    let bubble = bytes::bubble(neighbour().to_ipv6(), bench.own());
    assert_eq!(bench.inject(neighbour_at(), &bubble), Inbound::Consumed);
    let sent = bench.take();
    assert!(sent.iter().all(|sent| sent.is_to(neighbour_at())));
    assert_eq!(sent.iter().filter(|sent| !sent.is_bubble()).count(), 1, "{sent:?}");
}

//= C-LOC-10: after 600 s without another discovery bubble it is a peer like any other
#[test]
fn what_is_known_of_a_neighbour_ends() {
    for (after_s, is_known) in [(599.0, true), (601.0, false)] {
        let mut bench = on_link();
        introduce(&mut bench);
        bench.wait_s(after_s);
        bench.take();
        assert_eq!(data_to(&mut bench, neighbour().to_ipv6()), Outbound::Queued);
        let sent = bubbles(&mut bench);
        assert_eq!(sent.contains(&neighbour_at()), is_known, "{after_s}");
        assert_eq!(sent.contains(&server()), !is_known, "{after_s}");
    }
}

//= C-RX-09, T-15: a packet from the endpoint that was told makes trust, and takes no way in use
#[test]
fn only_the_told_endpoint_is_believed() {
    let mut bench = on_link();
    introduce(&mut bench);
    let bubble = bytes::bubble(neighbour().to_ipv6(), bench.own());
    let data = bytes::udp(neighbour().to_ipv6(), bench.own(), b"data");
    for from in ["192.168.1.7:40008", "192.168.1.8:40007"] {
        assert_eq!(bench.inject_dropped(endpoint(from), &bubble), DropReason::UnprovenPeer);
    }
    // Another way is in use: it stays until it has been silent for 30 s.
    assert_eq!(bench.inject(neighbour().mapped, &bubble), Inbound::Consumed);
    assert_eq!(bench.inject_dropped(neighbour_at(), &data), DropReason::UnprovenPeer);
    assert_eq!(bench.route(neighbour().to_ipv6()), Some(neighbour().mapped));
    bench.wait_s(31.0);
    bench.take();
    let inbound = bench.inject(neighbour_at(), &data);
    assert!(matches!(inbound, Inbound::Deliver(_)), "{inbound:?}");
    assert_eq!(bench.route(neighbour().to_ipv6()), Some(neighbour_at()));
    assert!(bench.take().is_empty(), "data needs no answer");
}

#[test]
fn an_indirect_bubble_of_a_neighbour_is_answered_on_the_link_too() {
    let mut bench = on_link();
    introduce(&mut bench);
    bench.wait_s(3.0);
    let bubble = bytes::bubble(neighbour().to_ipv6(), bench.own());
    assert_eq!(bench.inject(server(), &bubble), Inbound::Consumed);
    let all = [neighbour_at(), DISCOVERY_ENDPOINT, neighbour().mapped, server()];
    assert_eq!(bubbles(&mut bench), all);
    assert!(!bench.peek().iter().any(|sent| sent.is_to(peer_server())));
}

//= T-15: bubbles to the group are answered at most eight times in 30 s each, and fill no list
#[test]
fn a_flood_of_discovery_bubbles_gets_few_answers() {
    let mut bench = on_link();
    for _ in 0..1_000 {
        let _ = hear(&mut bench, neighbour_at(), &discovery_bubble(neighbour()));
    }
    assert!(bench.take().len() <= 2);
    for flags in 0..2_000 {
        let source = TeredoAddress { flags: Flags(flags & 0x3fff), ..neighbour() };
        let _ = hear(&mut bench, neighbour_at(), &discovery_bubble(source));
    }
    assert!(bench.take().len() <= 64, "one address makes 64 entries at once");
    assert!(bench.client.counters().dropped(DropReason::RateLimit) > 1_900);
}

#[test]
fn another_network_begins_with_strangers() {
    let mut bench = on_link();
    introduce(&mut bench);
    bench.client.network_changed(bench.now, Some(Ipv4Addr::new(192, 168, 1, 3)));
    bench.answer(server(), mapped());
    bench.wait_s(3.0);
    bench.take();
    assert_eq!(data_to(&mut bench, neighbour().to_ipv6()), Outbound::Queued);
    assert!(!bubbles(&mut bench).contains(&neighbour_at()));
}
