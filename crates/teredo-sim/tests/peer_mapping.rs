//! Gateways that tell which port a flow will get (PCP PEER; RFC 6887 section 12).

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use teredo_proto::client::Traversal;
use teredo_sim::gateway::GatewayConfig;
use teredo_sim::{HostId, NatConfig, World};

use common::{SECOND, ping, qualify};

const PEERS_ONLY: GatewayConfig = GatewayConfig { peers_only: true, ..GatewayConfig::new() };

/// A client behind a NAT of this kind, whose gateway grants PEER and not MAP, and one of RFC 6081
/// alone behind another one.
fn pair(world: &mut World, kinds: [&str; 2], traversal: Traversal) -> [HostId; 2] {
    let servers = [(); 2].map(|()| world.add_server());
    let nats = kinds.map(|kind| world.add_nat(kind.parse::<NatConfig>().unwrap()));
    world.add_gateway(nats[0], PEERS_ONLY);
    let [own, other] = servers.map(|server| world.server_addresses(server));
    let asking = world.add_client_with(nats[0], |config| {
        (config.server, config.secondary) = own;
        config.traversal = traversal;
    });
    world.add_mapper(asking);
    let standard = world.add_client_with(nats[1], |config| {
        (config.server, config.secondary) = other;
        config.traversal = Traversal::RFC6081;
    });
    qualify(world, &[asking, standard]);
    world.run_for(SECOND).unwrap();
    [asking, standard]
}

/// Whoever asks begins or is called; with which NATs that leads to more than without.
#[test]
fn the_gateway_tells_a_port_that_nobody_could_guess() {
    for seed in 1..=20 {
        for (kinds, is_first) in
            [(["ps", "pr"], true), (["ps", "pr"], false), (["ps", "pp"], false)]
        {
            for traversal in [
                Traversal { peer_mapping: true, ..Traversal::RFC6081 },
                Traversal { peer_mapping: false, ..Traversal::default() },
            ] {
                let mut world = World::new(seed);
                let [a, b] = pair(&mut world, kinds, traversal);
                let (from, to) = if is_first { (a, b) } else { (b, a) };
                let answer = ping(&mut world, from, to, SECOND);
                let is_met = answer.is_some();
                assert_eq!(is_met, traversal.peer_mapping, "{kinds:?}\n{}", world.log_text());
                assert_eq!(world.mapper(a).unwrap().external(), None);
            }
        }
    }
}

/// What the RFC reaches is reached as before, and what was asked for is given back.
#[test]
fn it_is_given_back() {
    for kind in ["cone", "pr"] {
        let mut world = World::new(7);
        let [a, b] = pair(&mut world, ["ps", kind], Traversal::default());
        assert!(ping(&mut world, a, b, SECOND).is_some(), "{}", world.log_text());
        world.run_for(1_200 * SECOND).unwrap();
        let log = world.log_text();
        let count = |word| log.lines().filter(|line| line.contains(word)).count();
        assert_eq!(count(" MapPeer"), count(" UnmapPeer"), "{log}");
    }
}
