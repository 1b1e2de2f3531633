//! Clients that ask their gateway for a port.

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use core::net::SocketAddrV4;
use core::time::Duration;

use teredo_proto::DropReason;
use teredo_proto::portmap::Protocol;
use teredo_proto::role::{NatKind, State};
use teredo_sim::gateway::Lie;
use teredo_sim::{GatewayConfig, HostId, Link, NatConfig, NatId, World};
use teredo_wire::pcp;

use common::{SECOND, ping_until_answered, qualify, story};

const KINDS: [GatewayConfig; 2] = [GatewayConfig::new(), GatewayConfig::nat_pmp()];

/// A world with a server, a NAT that grants ports and a client behind it.
fn world(seed: u64, nat: NatConfig, gateway: GatewayConfig) -> (World, NatId, HostId) {
    let mut world = World::new(seed);
    world.add_server();
    let nat = world.add_nat(nat);
    world.add_gateway(nat, gateway);
    let client = world.add_mapping_client(nat);
    (world, nat, client)
}

fn external(world: &World, client: HostId) -> Option<SocketAddrV4> {
    world.mapper(client).unwrap().external()
}

fn run_until_mapped(world: &mut World, client: HostId, limit: Duration) -> Duration {
    let is_mapped = |world: &World| external(world, client).is_some();
    world.run_until(limit, is_mapped).unwrap_or_else(|why| panic!("{}", story(world, &why)))
}

fn outside(at: std::net::Ipv4Addr) -> SocketAddrV4 {
    SocketAddrV4::new(at, 4_000)
}

/// Whether somebody whom the client has never heard of gets through to it.
fn is_open(world: &mut World, client: HostId) -> bool {
    let stranger = world.add_plain_host(teredo_sim::Place::Internet);
    let malformed = |world: &World| -> u64 {
        let reasons = teredo_wire::Malformed::ALL.iter();
        reasons.map(|reason| world.dropped(client, DropReason::Malformed(*reason))).sum()
    };
    let before = malformed(world);
    let mapped = world.client(client).unwrap().mapped().unwrap();
    let from = outside(world.address_of(stranger));
    world.send_datagram(stranger, from.port(), mapped, vec![9; 9]);
    world.run_for(SECOND).unwrap();
    malformed(world) > before
}

//= X-PCP-01: MAP before qualification, which takes no longer than without; M1 = M2 = assigned
#[test]
fn a_restricted_nat_with_an_explicit_mapping_is_open_to_everyone() {
    for gateway in KINDS {
        let (mut world, _, client) = world(1, NatConfig::pr(), gateway);
        let alone = world.add_nat(NatConfig::pr());
        let other = world.add_client(alone);
        qualify(&mut world, &[client, other]);
        assert_eq!(world.elapsed(), Duration::from_millis(40), "one round trip to the server");
        run_until_mapped(&mut world, client, 15 * SECOND);
        world.run_for(SECOND).unwrap();
        let seen = world.client(client).unwrap();
        assert_eq!(seen.explicit_mapping(), external(&world, client));
        assert_eq!(seen.mapped(), seen.explicit_mapping());
        assert_eq!(seen.alternate_mapping(), None, "a single NAT");
        let local = world.endpoint_of(client).unwrap();
        assert_eq!(seen.mapped().unwrap().port(), local.port(), "the port stays the same");
        let protocol = if gateway.pcp { Protocol::Pcp } else { Protocol::NatPmp };
        assert_eq!(world.mapper(client).unwrap().protocol(), Some(protocol));
        assert!(is_open(&mut world, client), "{protocol:?}");
        assert!(!is_open(&mut world, other), "without a mapping");
    }
}

#[test]
fn a_symmetric_nat_with_an_explicit_mapping_is_a_cone() {
    let symmetric = [NatConfig::pp(), NatConfig::seq(1), NatConfig::ps()];
    for (seed, nat) in (0..).zip(symmetric).flat_map(|(base, nat)| [(base, nat), (base + 9, nat)]) {
        for gateway in KINDS {
            let (mut world, _, client) = world(seed, nat, gateway);
            let other = world.add_nat(NatConfig::pr());
            let peer = world.add_client(other);
            let is_cone = |world: &World| {
                world.is_qualified(client)
                    && world.nat_kind(client) == Some(NatKind::EndpointIndependent)
                    && world.client(client).unwrap().mapped() == external(world, client)
            };
            let took = world.run_until(60 * SECOND, is_cone);
            assert!(took.is_ok(), "{nat:?}\n{}", world.log_text());
            qualify(&mut world, &[client, peer]);
            let pairs = [(client, peer), (peer, client)];
            let answered = ping_until_answered(&mut world, &pairs, 10 * SECOND);
            assert_eq!(answered, [true, true], "{nat:?}\n{}", world.log_text());
        }
    }
}

#[test]
fn another_port_than_the_one_asked_for_becomes_part_of_the_address() {
    for gateway in KINDS {
        let gateway = GatewayConfig { gives_other_ports: true, ..gateway };
        let (mut world, _, client) = world(3, NatConfig::pr(), gateway);
        run_until_mapped(&mut world, client, 15 * SECOND);
        world.run_for(SECOND).unwrap();
        let seen = world.client(client).unwrap();
        assert_eq!(seen.mapped(), external(&world, client));
        assert_ne!(seen.mapped().unwrap().port(), world.endpoint_of(client).unwrap().port());
        assert!(is_open(&mut world, client));
    }
}

#[test]
fn a_refusal_or_silence_leaves_the_client_as_it_is() {
    let refuses = Some(pcp::ResultCode::NO_RESOURCES);
    let silent = GatewayConfig { pcp: false, nat_pmp: false, ..GatewayConfig::new() };
    let refusing = KINDS.map(|gateway| GatewayConfig { refuses, ..gateway });
    for gateway in [silent, refusing[0], refusing[1]] {
        let (mut world, _, client) = world(4, NatConfig::pr(), gateway);
        let other = world.add_nat(NatConfig::pr());
        let peer = world.add_client(other);
        qualify(&mut world, &[client, peer]);
        world.run_for(400 * SECOND).unwrap();
        assert_eq!(external(&world, client), None);
        assert_eq!(world.client(client).unwrap().explicit_mapping(), None);
        let answered = ping_until_answered(&mut world, &[(peer, client)], 5 * SECOND);
        assert_eq!(answered, [true]);
    }
}

#[test]
fn a_gateway_that_reboots_is_asked_again_at_once() {
    for (seed, gateway) in (0..20).flat_map(|seed| KINDS.map(|gateway| (seed, gateway))) {
        let (mut world, nat, client) = world(seed, NatConfig::pr(), gateway);
        run_until_mapped(&mut world, client, 15 * SECOND);
        world.run_for(1_800 * SECOND).unwrap();
        world.reboot_nat(nat);
        let inside = world.endpoint_of(client).unwrap();
        let is_back =
            |world: &World| world.nat(nat).explicit_mapping(world.now(), inside).is_some();
        let took = world.run_until(10 * SECOND, is_back);
        assert!(took.is_ok_and(|took| took <= 2 * SECOND), "{took:?}");
        world.run_for(SECOND).unwrap();
        assert!(world.is_qualified(client));
        assert_eq!(world.client(client).unwrap().mapped(), external(&world, client));
    }
}

#[test]
fn a_reboot_without_announcement_is_seen_at_the_next_renewal() {
    for gateway in KINDS {
        let (mut world, nat, client) = world(5, NatConfig::pr(), gateway);
        run_until_mapped(&mut world, client, 15 * SECOND);
        world.set_up(client, false);
        world.reboot_nat(nat);
        world.run_for(SECOND).unwrap();
        world.set_up(client, true);
        let inside = world.endpoint_of(client).unwrap();
        assert_eq!(world.nat(nat).explicit_mapping(world.now(), inside), None);
        let is_back =
            |world: &World| world.nat(nat).explicit_mapping(world.now(), inside).is_some();
        assert!(world.run_until(7_200 * SECOND, is_back).is_ok());
    }
}

#[test]
fn the_mapping_lives_as_long_as_the_client_and_no_longer() {
    for gateway in KINDS {
        let gateway = GatewayConfig { lifetime_max: 120 * SECOND, ..gateway };
        let (mut world, nat, client) = world(6, NatConfig::pr(), gateway);
        run_until_mapped(&mut world, client, 15 * SECOND);
        let inside = world.endpoint_of(client).unwrap();
        for _ in 0..100 {
            world.run_for(60 * SECOND).unwrap();
            assert!(world.nat(nat).explicit_mapping(world.now(), inside).is_some());
        }
        world.stop_mapper(client);
        world.run_for(SECOND).unwrap();
        assert_eq!(world.nat(nat).explicit_mapping(world.now(), inside), None);
        assert!(world.mapper(client).unwrap().is_idle());
    }
}

/// What gives the mapping back says so, as the program does: the client finds out what its NAT is
/// without it, and names it to nobody any more.
#[test]
fn a_client_knows_that_its_mapping_was_given_back() {
    let (mut world, _, client) = world(13, NatConfig::ps(), GatewayConfig::new());
    run_until_mapped(&mut world, client, 15 * SECOND);
    world.run_for(SECOND).unwrap();
    assert_eq!(world.client(client).unwrap().nat_kind(), NatKind::EndpointIndependent);
    world.stop_mapper(client);
    world.run_for(60 * SECOND).unwrap();
    assert_eq!(world.client(client).unwrap().explicit_mapping(), None);
    assert_eq!(world.client(client).unwrap().nat_kind(), NatKind::PortSymmetric);
}

#[test]
fn behind_two_nats_the_mapping_of_the_inner_one_is_a_further_address() {
    let mut world = World::new(7);
    world.add_server();
    let outer = world.add_nat(NatConfig::pr());
    let inner = world.add_nat_at(outer, NatConfig::pr(), 1);
    world.add_gateway(inner, GatewayConfig::new());
    let client = world.add_mapping_client(inner);
    qualify(&mut world, &[client]);
    world.run_for(5 * SECOND).unwrap();
    let seen = world.client(client).unwrap();
    assert_eq!(seen.alternate_mapping(), external(&world, client));
    assert!(seen.alternate_mapping().unwrap().ip().is_private());
    assert!(!seen.mapped().unwrap().ip().is_private());
}

#[test]
fn a_second_host_gets_another_port_and_cannot_take_the_first_ones() {
    let (mut world, nat, client) = world(8, NatConfig::pr(), GatewayConfig::new());
    let second = world.add_mapping_client(nat);
    run_until_mapped(&mut world, client, 5 * SECOND);
    run_until_mapped(&mut world, second, 5 * SECOND);
    assert_ne!(external(&world, client), external(&world, second));
    // A new life of the same host has lost the nonce: the mapping stays until its end.
    world.restart(client);
    world.run_for(10 * SECOND).unwrap();
    assert_eq!(external(&world, client), None);
    assert!(matches!(world.state(client), Some(State::Qualified)));
}

/// Whether the client and one behind another port-restricted NAT reach each other, either way.
fn reaches_a_peer(world: &mut World, client: HostId) -> bool {
    let nat = world.add_nat(NatConfig::pr());
    let peer = world.add_client(nat);
    qualify(world, &[client, peer]);
    let answered = ping_until_answered(world, &[(peer, client), (client, peer)], 30 * SECOND);
    answered == [true; 2]
}

#[test]
fn a_gateway_that_lies_does_no_harm() {
    let own = std::net::Ipv4Addr::new(203, 0, 113, 101);
    for lie in [
        Lie::NothingMapped,
        Lie::OtherNonce,
        Lie::OtherAddress(std::net::Ipv4Addr::new(203, 0, 113, 200)),
        Lie::OtherAddress(std::net::Ipv4Addr::new(10, 0, 0, 1)),
        Lie::OtherAddress(std::net::Ipv4Addr::UNSPECIFIED),
        Lie::OtherAddress(std::net::Ipv4Addr::BROADCAST),
        Lie::OtherAddress(std::net::Ipv4Addr::LOCALHOST),
    ] {
        for config in [GatewayConfig::new(), GatewayConfig::nat_pmp(), GatewayConfig::upnp()] {
            for nat in [NatConfig::pr(), NatConfig::seq(1)] {
                let gateway = GatewayConfig { lie: Some(lie), ..config };
                let (mut world, _, client) = world(11, nat, gateway);
                qualify(&mut world, &[client]);
                assert_eq!(world.elapsed(), Duration::from_millis(40), "one round trip");
                for _ in 0..3 {
                    let reaches = reaches_a_peer(&mut world, client);
                    assert!(reaches, "{gateway:?} {nat}\n{}", world.log_text());
                    world.run_for(400 * SECOND).unwrap();
                }
                let seen = world.client(client).unwrap().mapped().unwrap();
                assert_eq!(*seen.ip(), own, "what the server sees is what counts");
            }
        }
    }
}

#[test]
fn late_answers_are_used_when_they_come() {
    for (gateway, answers_after) in KINDS.into_iter().flat_map(|it| [(it, 2), (it, 10)]) {
        let gateway = GatewayConfig { answers_after: answers_after * SECOND, ..gateway };
        let (mut world, _, client) = world(12, NatConfig::pr(), gateway);
        qualify(&mut world, &[client]);
        assert_eq!(world.elapsed(), Duration::from_millis(40), "it waits for nobody");
        let took = run_until_mapped(&mut world, client, 300 * SECOND);
        assert!(took >= (answers_after - 1) * SECOND, "{took:?}");
        world.run_for(SECOND).unwrap();
        assert!(is_open(&mut world, client) && reaches_a_peer(&mut world, client));
    }
}

#[test]
fn mappings_that_a_gateway_forgets_come_back() {
    for gateway in KINDS {
        let (mut world, nat, client) = world(13, NatConfig::pr(), gateway);
        run_until_mapped(&mut world, client, 15 * SECOND);
        world.run_for(5 * SECOND).unwrap();
        world.forget_mappings(nat);
        assert!(reaches_a_peer(&mut world, client), "meanwhile it is as without one");
        let inside = world.endpoint_of(client).unwrap();
        let is_back =
            |world: &World| world.nat(nat).explicit_mapping(world.now(), inside).is_some();
        assert!(world.run_until(7_200 * SECOND, is_back).is_ok());
        assert!(is_open(&mut world, client));
    }
}

#[test]
fn a_gateway_that_refuses_the_nonce_is_asked_anew_and_does_no_harm() {
    let lifetime_max = 600 * SECOND;
    let pcp = GatewayConfig { nat_pmp: false, ..GatewayConfig::new() };
    let gateway = GatewayConfig { refuses_renewals: true, lifetime_max, ..pcp };
    for nat in [NatConfig::pr(), NatConfig::seq(1)] {
        let (mut world, id, client) = world(14, nat, gateway);
        run_until_mapped(&mut world, client, 15 * SECOND);
        let inside = world.endpoint_of(client).unwrap();
        let is_lost = |world: &World| external(world, client).is_none();
        let took = world.run_until(lifetime_max, is_lost);
        assert!(took.is_ok_and(|took| took > lifetime_max / 2), "{took:?}");
        assert!(reaches_a_peer(&mut world, client), "{nat}\n{}", world.log_text());
        let is_mapped =
            |world: &World| world.nat(id).explicit_mapping(world.now(), inside).is_some();
        assert!(world.run_until(3_600 * SECOND, is_mapped).is_ok());
    }
}

//= X-UPNP-05: a mapping by UPnP makes a restricted NAT a cone, a second later
//= X-UPNP-03: a port that somebody else has is done without
#[test]
fn upnp_comes_after_a_second_of_silence() {
    let (mut world, nat, client) = world(15, NatConfig::pr(), GatewayConfig::upnp());
    qualify(&mut world, &[client]);
    assert!(!is_open(&mut world, client));
    world.run_for(SECOND).unwrap();
    let inside = world.endpoint_of(client).unwrap();
    let mapped = world.nat(nat).explicit_mapping(world.now(), inside);
    assert_eq!(world.client(client).unwrap().explicit_mapping(), mapped);
    assert!(mapped.is_some() && is_open(&mut world, client));
    world.reboot_nat(nat);
    assert!(reaches_a_peer(&mut world, client));
    let is_back = |world: &World| world.nat(nat).explicit_mapping(world.now(), inside).is_some();
    assert!(world.run_until(1_300 * SECOND, is_back).is_ok(), "asked again");

    let (mut world, nat, client) = self::world(16, NatConfig::pr(), GatewayConfig::upnp());
    let taken = world.add_gateway_guest(nat, world.endpoint_of(client).unwrap().port());
    world.run_for(5 * SECOND).unwrap();
    assert!(taken.is_some());
    assert_eq!(world.client(client).unwrap().explicit_mapping(), None);
    assert!(reaches_a_peer(&mut world, client));
}

//= X-HP-09: two NATs below a third that turns nothing back, each with a mapping by its gateway
#[test]
fn a_mapping_of_the_inner_nat_connects_neighbours_below_one_nat() {
    for gateway in [GatewayConfig::new(), GatewayConfig::nat_pmp(), GatewayConfig::upnp()] {
        let mut world = World::new(17);
        world.add_server();
        let outer = world.add_nat(NatConfig::pr());
        let clients = [(); 2].map(|()| {
            let inner = world.add_nat_at(outer, NatConfig::pr(), 1);
            world.add_gateway(inner, gateway);
            world.add_mapping_client(inner)
        });
        qualify(&mut world, &clients);
        world.run_for(3 * SECOND).unwrap();
        let [a, b] = clients;
        let answered = ping_until_answered(&mut world, &[(a, b), (b, a)], 10 * SECOND);
        assert_eq!(answered, [true; 2], "{gateway:?}\n{}", world.log_text());
    }
}

#[test]
fn loss_on_the_link_is_made_up_for() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let link = Link { loss_permille: 300, ..Link::perfect(Duration::from_millis(10)) };
        world.add_server();
        world.set_host_link(link);
        let nat = world.add_nat(NatConfig::pr());
        world.add_gateway(nat, KINDS[seed as usize % 2]);
        let client = world.add_mapping_client(nat);
        run_until_mapped(&mut world, client, 300 * SECOND);
    }
}
