//! Ports that are predicted before they are opened (protocol section 6.4, D).

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use core::net::SocketAddrV4;
use core::time::Duration;

use teredo_proto::client::Traversal;
use teredo_sim::matrix::{self, KINDS, Options};
use teredo_sim::{HostId, NatConfig, World};

use common::{SECOND, ping, ping_until_answered, qualify};

/// What is tried here, beside the RFC.
const DEFERRED: Traversal = Traversal { deferred_open: true, ..Traversal::RFC6081 };
const RFC: Traversal = Traversal::RFC6081;

const SEEDS: u64 = 40;

/// How many of [`SEEDS`] runs of a cell connect.
fn connections([from, to]: [&str; 2], traversals: [Traversal; 2]) -> u64 {
    let number = |key| KINDS.iter().position(|kind| *kind == key).unwrap();
    let kinds = [number(from), number(to)];
    let options = Options { traversals, ..Options::both(RFC) };
    let connected = |seed| matrix::connect(seed, kinds, &options).unwrap().took.is_some();
    (1..=SEEDS).filter(|&seed| connected(seed)).count() as u64
}

//= X-SS-13: with a peer of RFC 6081 alone, with one like us, and only with it
#[test]
fn sequential_ports_are_opened_late() {
    for to in ["pp", "seq"] {
        let pair = ["seq", to];
        assert_eq!(connections(pair, [DEFERRED, RFC]), SEEDS, "{pair:?}");
        assert_eq!(connections(pair, [DEFERRED, DEFERRED]), SEEDS, "{pair:?}");
        assert_eq!(connections(pair, [RFC, DEFERRED]), 0, "{pair:?}: the one that begins does it");
        assert_eq!(connections(pair, [RFC, RFC]), 0, "{pair:?}");
    }
}

/// What worked before goes on working.
#[test]
fn deferred_open_takes_nothing_away() {
    for other in ["cone", "ar", "pr", "upr", "pp"] {
        for traversals in [[DEFERRED, RFC], [DEFERRED, DEFERRED], [RFC, DEFERRED]] {
            let pairs = [["seq", other], [other, "seq"]];
            for pair in pairs.into_iter().filter(|pair| *pair != ["seq", "pp"]) {
                assert_eq!(connections(pair, traversals), SEEDS, "{pair:?}");
            }
        }
    }
}

/// Two clients of two servers behind NATs of these kinds.
fn pair(world: &mut World, configs: [NatConfig; 2]) -> [HostId; 2] {
    let servers = [(); 2].map(|()| world.add_server());
    let clients = [0, 1].map(|index| {
        let nat = world.add_nat(configs[index]);
        let addresses = world.server_addresses(servers[index]);
        world.add_client_with(nat, |config| {
            (config.server, config.secondary) = addresses;
            config.traversal = DEFERRED;
        })
    });
    qualify(world, &clients);
    world.run_for(SECOND).unwrap();
    clients
}

/// Both wait for the other one's port, and neither for ever.
#[test]
fn both_may_begin_at_once() {
    for (step, seed) in [(1, 1), (1, 2), (2, 3), (2, 4)] {
        let mut world = World::new(seed);
        let [a, b] = pair(&mut world, [NatConfig::seq(step), NatConfig::seq(1)]);
        let answered = ping_until_answered(&mut world, &[(a, b), (b, a)], 10 * SECOND);
        assert_eq!(answered, [true; 2], "{}", world.log_text());
    }
}

/// The step of the NAT is seen, not presumed.
#[test]
fn the_step_is_measured() {
    for step in 1..=8 {
        let mut world = World::new(5);
        let [a, b] = pair(&mut world, [NatConfig::seq(step), NatConfig::pp()]);
        assert!(ping(&mut world, a, b, SECOND).is_some(), "{step}\n{}", world.log_text());
    }
}

/// Other hosts behind the NAT take the port that was predicted. That is the end of it after four
/// attempts, and the next search begins from nothing.
#[test]
fn a_busy_nat_makes_it_fail_cleanly() {
    let mut world = World::new(6);
    let servers = [(); 2].map(|()| world.add_server());
    let nats = [NatConfig::seq(1), NatConfig::pp()].map(|config| world.add_nat(config));
    let clients = [0, 1].map(|index| world.add_client_of(servers[index], nats[index]));
    let busy = world.add_plain_host(nats[0]);
    qualify(&mut world, &clients);
    world.run_for(SECOND).unwrap();
    let [a, b] = clients;
    let there = world.ipv6(b).unwrap();
    let mut pings: Vec<u16> = world.ping(a, there).into_iter().collect();
    let disturb = |world: &mut World, rounds: u16| {
        for port in 0..rounds {
            let to = SocketAddrV4::new(world.address_of(servers[0]), 1_000 + port);
            world.send_datagram(busy, 5_000, to, vec![0]);
            world.run_for(Duration::from_millis(10)).unwrap();
        }
    };
    disturb(&mut world, 900);
    let left = pings.iter().filter(|&&ping| world.answer_time(ping).is_some()).count();
    assert_eq!(left, 0, "{}", world.log_text());
    assert!(world.log_text().contains("PeerUnreachable"), "{}", world.log_text());
    world.run_for(400 * SECOND).unwrap();
    pings.clear();
    assert!(ping(&mut world, a, b, SECOND).is_some(), "{}", world.log_text());
}

/// A NAT preserves no number that it has given to somebody else already (RFC 6081 section 2), and a
/// peer that was told it takes no other one within 30 s (section 5.4.4.4): that is the end of this
/// search, and the next one has another number.
#[test]
fn a_number_that_is_taken_makes_one_search_fail() {
    let mut world = World::new(7);
    let nats = [NatConfig::pp(), NatConfig::pr()].map(|config| world.add_nat(config));
    let server = world.add_server();
    let clients = nats.map(|nat| world.add_client_of(server, nat));
    let other = world.add_plain_host(nats[0]);
    qualify(&mut world, &clients);
    world.run_for(SECOND).unwrap();
    let [a, b] = clients;
    let to = SocketAddrV4::new(world.address_of(server), 1_000);
    for port in 49_152..=u16::MAX {
        world.send_datagram(other, port, to, vec![0]);
    }
    world.run_for(SECOND).unwrap();
    let there = *world.client(b).unwrap().mapped().unwrap().ip();
    assert!(!world.nat(nats[0]).is_displaced(world.now(), there));
    assert!(ping(&mut world, a, b, 30 * SECOND).is_none(), "{}", world.log_text());
    assert!(world.nat(nats[0]).is_displaced(world.now(), there));
    assert!(world.log_text().contains("PeerUnreachable"), "{}", world.log_text());
    world.run_for(300 * SECOND).unwrap();
    assert!(ping(&mut world, a, b, SECOND).is_some(), "{}", world.log_text());
}
