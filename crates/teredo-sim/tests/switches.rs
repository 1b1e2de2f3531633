//! Techniques beyond RFC 6081, one at a time: each can be switched off, and an explicit mapping
//! makes them needless.

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use teredo_proto::client::Traversal;
use teredo_proto::role::NatKind;
use teredo_proto::server::EndpointCheck;
use teredo_sim::matrix::{self, KINDS, Options, POOL, Technique};
use teredo_sim::{GatewayConfig, HostId, NatConfig, Place, World};

use common::{SECOND, ping_until_answered, qualify};

const SEEDS: u64 = 3;

fn pairs() -> impl Iterator<Item = [usize; 2]> {
    (0..KINDS.len()).flat_map(|from| (0..KINDS.len()).map(move |to| [from, to]))
}

fn connections(kinds: [usize; 2], traversals: [Traversal; 2]) -> u64 {
    let options = Options { traversals, ..Options::both(Traversal::RFC6081) };
    let connected = |seed| matrix::connect(seed, kinds, &options).unwrap().took.is_some();
    (1..=SEEDS).filter(|&seed| connected(seed)).count() as u64
}

//= X-INDEP-01: with any technique off, at either end, what the RFC promises with the rest holds
#[test]
fn each_technique_can_be_switched_off() {
    for name in Traversal::NAMES {
        let off = Traversal::ALL.without(name.parse().unwrap()).with_dependencies();
        if !off.symmetric {
            continue; // then no client behind a symmetric NAT is in service
        }
        for kinds in pairs() {
            let technique = Technique::of(kinds[0], kinds[1]);
            if technique == Technique::None || !technique.is_in(off) {
                continue;
            }
            for traversals in [[off, Traversal::ALL], [Traversal::ALL, off]] {
                let connected = connections(kinds, traversals);
                assert_eq!(connected, SEEDS, "{kinds:?} without {name}");
            }
        }
    }
}

/// An endpoint that a gateway keeps, and that packets leave from, is as good as a cone: every other
/// kind is reached, whoever begins, with peers of the RFC alone (protocol section 6.4, O).
#[test]
fn a_kept_endpoint_is_a_cone() {
    let upr = KINDS.iter().position(|kind| *kind == "upr").unwrap();
    for other in 0..KINDS.len() {
        for kinds in [[upr, other], [other, upr]] {
            let connected = connections(kinds, [Traversal::RFC6081; 2]);
            assert_eq!(connected, SEEDS, "{kinds:?}");
        }
    }
}

/// Two clients of two servers; the first one's gateway grants MAP.
fn mapped_pair(world: &mut World, kinds: [&str; 2]) -> [HostId; 2] {
    let pool = |kind: &str| if kind == "addr" { POOL } else { 1 };
    let mut add = |kind: &str, asks: bool| {
        let server = world.add_server_with(|config| config.endpoint_check = EndpointCheck::Any);
        let config: NatConfig = kind.parse().unwrap();
        // What PCP grants is where packets leave from (RFC 6887 section 11.1).
        let config = NatConfig { uses_explicit: true, ..config };
        let config = if asks { NatConfig { gives_explicit: false, ..config } } else { config };
        let nat = world.add_nat_at(Place::Internet, config, pool(kind));
        let addresses = world.server_addresses(server);
        if asks {
            world.add_gateway(nat, GatewayConfig::new());
        }
        let client = world.add_client_with(nat, |config| {
            (config.server, config.secondary) = addresses;
            config.traversal = Traversal::RFC6081;
        });
        if asks {
            world.add_mapper(client);
        }
        client
    };
    let clients = [add(kinds[0], true), add(kinds[1], false)];
    qualify(world, &clients);
    world.run_for(SECOND).unwrap();
    clients
}

//= X-PCP-01: a mapping that the gateway grants turns any NAT into a cone: a whole row and column
#[test]
fn a_granted_mapping_is_a_cone() {
    for kind in ["ups", "pp", "seq", "ps", "addr"] {
        for other in KINDS {
            for is_first in [true, false] {
                let mut world = World::new(1);
                let [a, b] = mapped_pair(&mut world, [kind, other]);
                let seen = [world.mapper(a).unwrap().external(), world.client(a).unwrap().mapped()];
                assert!(seen[0].is_some() && seen[0] == seen[1], "{kind} {seen:?}");
                assert_eq!(world.nat_kind(a), Some(NatKind::EndpointIndependent), "{kind}");
                let pair = if is_first { (a, b) } else { (b, a) };
                let answered = ping_until_answered(&mut world, &[pair], 5 * SECOND);
                assert_eq!(answered, [true], "{kind} {other}\n{}", world.log_text());
            }
        }
    }
}
