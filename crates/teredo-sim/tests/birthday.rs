//! Birthday probing between two clients of ours (protocol section 6.4, B): which pairs it connects,
//! how often and how fast, and what is to be seen of it on the wire.

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use core::net::SocketAddrV4;
use core::time::Duration;
use std::collections::BTreeSet;

use teredo_proto::client::Traversal;
use teredo_proto::role::BIRTHDAY_PORTS_MAX;
use teredo_proto::server::EndpointCheck;
use teredo_sim::matrix::{self, CONNECT_MAX, KINDS, Options, POOL};
use teredo_sim::predicate::Side;
use teredo_sim::{HostId, Link, Place, World};
use teredo_wire::TeredoAddress;

use common::{SECOND, bubbles_sent, ping, ping_until_answered, qualify};

/// Everything but what needs a helper or makes a lucky guess unnecessary.
const BIRTHDAY: Traversal = Traversal { birthday: true, ..Traversal::RFC6081 };

fn number(key: &str) -> usize {
    KINDS.iter().position(|kind| *kind == key).unwrap()
}

fn connect(seed: u64, kinds: [&str; 2], traversal: Traversal) -> Option<Duration> {
    let connection = matrix::connect(seed, kinds.map(number), &Options::both(traversal));
    connection.unwrap_or_else(|stopped| panic!("{kinds:?}, seed {seed}: {stopped}")).took
}

/// Two qualified clients, whose packets are kept from now on.
fn pair(seed: u64, kinds: [&str; 2], traversals: [Traversal; 2]) -> (World, [HostId; 2]) {
    let mut world = World::new(seed);
    let side = |at: usize| Side::of_kind(number(kinds[at]), traversals[at]);
    let sides = [side(0), side(1)];
    let clients = matrix::pair(&mut world, seed, &sides, Link::perfect(Duration::ZERO));
    qualify(&mut world, &clients);
    world.run_for(SECOND).unwrap();
    world.trace_mut().keep_frames();
    (world, clients)
}

/// The probes that `from` sent to `to`: bubbles to its address, but not to its endpoint.
fn probes(world: &World, from: HostId, to: HostId) -> Vec<(Duration, SocketAddrV4)> {
    let peer = TeredoAddress::parse(world.ipv6(to).unwrap()).unwrap();
    let bubbles = bubbles_sent(world, from);
    let is_probe = |to: &SocketAddrV4| to.ip() == peer.mapped.ip() && *to != peer.mapped;
    bubbles.map(|(at, to, _)| (at, to)).filter(|(_, to)| is_probe(to)).collect()
}

/// The chance that `ports` open ports and `probes` probes have met, if the NAT has `pool` addresses
/// of which one is probed: 1 - (1 - probes / (64,512 pool)) ^ ports.
fn chance(ports: usize, probes: usize, pool: u8) -> f64 {
    let one = probes as f64 / (64_512.0 * f64::from(pool));
    1.0 - (1.0 - one).powi(ports as i32)
}

//= X-B-01: pr and ps, addr, ups connect both ways, where nothing else does
#[test]
fn what_nothing_else_connects() {
    const SEEDS: u64 = 40;
    for (hard, at_least) in [("ps", SEEDS), ("ups", SEEDS), ("addr", SEEDS - 5)] {
        for kinds in [["pr", hard], [hard, "pr"]] {
            let took = |seed| connect(seed, kinds, BIRTHDAY);
            let connected: Vec<_> = (1..=SEEDS).filter_map(took).collect();
            assert!(connected.len() as u64 >= at_least, "{kinds:?}: {}", connected.len());
            assert!(connected.iter().all(|took| *took <= CONNECT_MAX));
            assert_eq!(connect(1, kinds, Traversal::RFC6081), None, "{kinds:?}");
        }
    }
}

//= X-B-01: as often as the formula says, for a NAT with one address and with several
#[test]
fn the_measured_rate_is_that_of_the_formula() {
    const SEEDS: usize = 200;
    for (hard, pool) in [("ps", 1), ("addr", POOL)] {
        let needed: Vec<usize> = (1..=SEEDS)
            .filter_map(|seed| {
                let (mut world, [easy, hard]) = pair(seed as u64, ["pr", hard], [BIRTHDAY; 2]);
                let way = [(easy, hard)];
                let answered = ping_until_answered(&mut world, &way, CONNECT_MAX);
                answered[0].then(|| probes(&world, easy, hard).len())
            })
            .collect();
        for probes in [128, 256, 512, 1024, 2048] {
            // Both sides begin together and take the same pace. The last probes before the way is
            // known do not count: a round trip of at most 10.
            let expected = chance(probes.min(BIRTHDAY_PORTS_MAX), probes, pool);
            let met = needed.iter().filter(|needed| **needed <= probes + 10).count();
            let measured = met as f64 / SEEDS as f64;
            let deviation = (expected * (1.0 - expected) / SEEDS as f64).sqrt();
            println!("{hard}: {probes} probes: {measured:.3}, expected {expected:.3}");
            let error = (measured - expected).abs();
            assert!(error <= 4.0 * deviation + 0.02, "{measured} but {expected}");
        }
    }
}

//= X-B-01: on the wire at most 100 probes a second, to the peer's NAT only, each port once
#[test]
fn on_the_wire_it_keeps_its_limits() {
    // A NAT with so many addresses that the two do not meet.
    let mut world = World::new(3);
    world.add_server_with(|config| config.endpoint_check = EndpointCheck::Any);
    let nats = [("pr", 1), ("addr", 150)];
    let [easy, hard] = nats.map(|(kind, pool)| {
        let nat = world.add_nat_at(Place::Internet, kind.parse().unwrap(), pool);
        world.add_client_with(nat, |config| config.traversal = BIRTHDAY)
    });
    qualify(&mut world, &[easy, hard]);
    world.run_for(SECOND).unwrap();
    world.trace_mut().keep_frames();
    let peer = TeredoAddress::parse(world.ipv6(hard).unwrap()).unwrap();
    let own = TeredoAddress::parse(world.ipv6(easy).unwrap()).unwrap();
    let (mut sockets, mut answered) = (0, false);
    for _ in 0..30 {
        answered |= ping(&mut world, easy, hard, SECOND).is_some();
        sockets = sockets.max(world.socket_count(hard));
    }
    assert!(!answered, "another seed, please");
    assert_eq!(sockets, 1 + BIRTHDAY_PORTS_MAX);
    assert_eq!(world.socket_count(hard), 1, "all are closed again");
    let probes = probes(&world, easy, hard);
    assert_eq!(probes.len(), 2_048);
    for second in probes.windows(101) {
        assert!(second[100].0 - second[0].0 >= SECOND, "more than 100 in a second");
    }
    let ports: BTreeSet<u16> = probes.iter().map(|(_, to)| to.port()).collect();
    assert_eq!(ports.len(), probes.len());
    let is_other = |to: &SocketAddrV4| *to.ip() != own.server && !to.ip().is_private();
    let sent_by = |host| bubbles_sent(&world, host).map(|(_, to, _)| to).filter(is_other);
    assert!(sent_by(easy).all(|to| to.ip() == peer.mapped.ip()));
    assert!(sent_by(hard).all(|to| to == own.mapped));
}

//= X-B-01: a peer without the switch is never probed, whoever begins
#[test]
fn a_standard_peer_is_never_probed() {
    for traversals in [[BIRTHDAY, Traversal::RFC6081], [Traversal::default(), BIRTHDAY]] {
        for kinds in [["pr", "ps"], ["ps", "pr"]] {
            let (mut world, [a, b]) = pair(1, kinds, traversals);
            ping_until_answered(&mut world, &[(a, b), (b, a)], 20 * SECOND);
            for (from, to) in [(a, b), (b, a)] {
                assert_eq!(probes(&world, from, to).len(), 0, "{kinds:?}");
                assert!(world.socket_count(from) <= 2, "{kinds:?}");
            }
        }
    }
}

/// The way that was found stays while nobody speaks, and while both do.
#[test]
fn the_way_stays() {
    for hard in ["ps", "ups"] {
        let (mut world, [easy, hard]) = pair(5, ["pr", hard], [BIRTHDAY; 2]);
        let answered = ping_until_answered(&mut world, &[(easy, hard)], CONNECT_MAX);
        assert_eq!(answered, [true]);
        world.run_for(3 * SECOND).unwrap();
        let before = probes(&world, easy, hard).len();
        for (from, to) in [(easy, hard), (hard, easy)] {
            assert!(ping(&mut world, from, to, SECOND).is_some());
            world.run_for(20 * SECOND).unwrap();
        }
        world.run_for(100 * SECOND).unwrap();
        assert!(ping(&mut world, hard, easy, 2 * SECOND).is_some());
        assert!(ping(&mut world, easy, hard, 2 * SECOND).is_some());
        assert!(probes(&world, easy, hard).len() < before + 20);
    }
}
