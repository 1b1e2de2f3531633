//! NATs with several external addresses (protocol section 6.4, L).

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use teredo_proto::client::Traversal;
use teredo_proto::server::EndpointCheck;
use teredo_sim::{HostId, NatConfig, Place, World};

use common::{SECOND, ping_until_answered, qualify};

const RFC: Traversal = Traversal::RFC6081;
const POOL: Traversal = Traversal { address_pool: true, ..RFC };

/// A client behind an address-symmetric NAT with so many addresses, and one behind an
/// address-restricted NAT.
fn pair(world: &mut World, pool: u8, traversals: [Traversal; 2]) -> [HostId; 2] {
    let mut add = |config, pool, traversal| {
        let server = world.add_server_with(|config| config.endpoint_check = EndpointCheck::Any);
        let addresses = world.server_addresses(server);
        let nat = world.add_nat_at(Place::Internet, config, pool);
        world.add_client_with(nat, |config| {
            (config.server, config.secondary) = addresses;
            config.traversal = traversal;
        })
    };
    let clients =
        [add(NatConfig::addr(), pool, traversals[0]), add(NatConfig::ar(), 1, traversals[1])];
    qualify(world, &clients);
    clients
}

fn connections(pool: u8, traversals: [Traversal; 2], is_first: bool, seeds: u64) -> u64 {
    let connects = |seed| {
        let mut world = World::new(seed);
        let [a, b] = pair(&mut world, pool, traversals);
        let pair = if is_first { (a, b) } else { (b, a) };
        ping_until_answered(&mut world, &[pair], 20 * SECOND) == [true]
    };
    (1..=seeds).filter(|&seed| connects(seed)).count() as u64
}

/// Whoever begins, as soon as there is an address, with a peer of the RFC alone; and only so.
#[test]
fn all_addresses_of_a_pool_are_named() {
    for pool in 2..=4 {
        for is_first in [true, false] {
            assert_eq!(connections(pool, [POOL, RFC], is_first, 40), 40, "{pool} {is_first}");
            assert_eq!(connections(pool, [POOL, POOL], is_first, 20), 20, "{pool} {is_first}");
            assert!(connections(pool, [RFC, POOL], is_first, 40) < 40, "{pool} {is_first}");
        }
    }
}

/// More addresses than one bubble can name take more than one.
#[test]
fn a_larger_pool_is_named_in_turns() {
    for is_first in [true, false] {
        let count = connections(7, [POOL, RFC], is_first, 40);
        assert!(count >= 38, "{count} {is_first}");
    }
}

/// Where there is one address, nothing is asked of it beyond what prediction asks anyhow.
#[test]
fn one_address_costs_nothing() {
    for config in [NatConfig::pr(), NatConfig::pp(), NatConfig::seq(1), NatConfig::ups()] {
        let mut world = World::new(3);
        world.trace_mut().keep_frames();
        world.add_server();
        let nat = world.add_nat(config);
        let client = world.add_client_with(nat, |config| config.traversal = POOL);
        qualify(&mut world, &[client]);
        world.run_for(10 * SECOND).unwrap();
        let sent = common::datagrams(&world, client)
            .filter(|(_, from, ..)| *from.ip() == world.address_of(client));
        assert!(sent.count() <= 4, "{config:?}");
    }
}
