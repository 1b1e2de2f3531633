//! How long NATs remember, and what the client makes of it (RFC 4380 section 5.2.7).

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use core::net::SocketAddrV4;
use core::time::Duration;

use teredo_proto::client::Client;
use teredo_sim::nat::Allocation;
use teredo_sim::{HostId, Link, NatConfig, NatId, Place, World};
use teredo_wire::{TEREDO_PORT, TeredoAddress};

use common::{SECOND, bubbles_sent, datagrams, ping, qualify};

/// The longest that the procedure takes: qualified, then four candidates with their bubbles.
const PROCEDURE_MAX: Duration = Duration::from_secs(5 * 60);

/// A client that determines its interval, behind a NAT whose ports are never the same again.
fn net(seed: u64, nat: NatConfig) -> (World, NatId, HostId) {
    let mut world = World::new(seed);
    world.trace_mut().keep_frames();
    world.add_server();
    let pool = if nat == NatConfig::addr() { 4 } else { 1 };
    let nat = world.add_nat_at(Place::Internet, nat, pool);
    let client = world.add_client_with(nat, |config| config.determine_interval = true);
    qualify(&mut world, &[client]);
    (world, nat, client)
}

fn forgetful(lifetime_s: u64, inbound_refresh: bool) -> NatConfig {
    let lifetime = Duration::from_secs(lifetime_s);
    NatConfig { allocation: Allocation::Random, lifetime, inbound_refresh, ..NatConfig::pr() }
}

fn determined_s(world: &World, client: HostId) -> Option<f64> {
    world.client(client).and_then(Client::determined_interval).map(|it| it.as_secs_f64())
}

fn mapped(world: &World, client: HostId) -> Option<SocketAddrV4> {
    world.client(client).and_then(Client::mapped)
}

/// Solicitations that the client sent after `from`.
fn solicitations(world: &World, client: HostId, from: Duration) -> usize {
    let own = world.address_of(client);
    let sent = datagrams(world, client).filter(|(at, source, to, datagram)| {
        *at > from
            && *source.ip() == own
            && to.port() == TEREDO_PORT
            && datagram.authentication.is_some()
    });
    sent.count()
}

//= C-INT-02, C-INT-03, C-INT-05: for each lifetime the longest candidate below it, or none
#[test]
fn what_is_determined_is_below_the_lifetime() {
    let cases = [
        (10, None),
        (30, None),
        (40, Some(37.5)),
        (47, Some(45.0)),
        (72, Some(60.0)),
        (100, Some(90.0)),
        (300, Some(90.0)),
        (600, Some(90.0)),
    ];
    for (lifetime_s, expected) in cases {
        for inbound_refresh in [false, true] {
            let (mut world, _, client) = net(lifetime_s, forgetful(lifetime_s, inbound_refresh));
            assert_eq!(world.run_for(PROCEDURE_MAX), Ok(()));
            let found = determined_s(&world, client);
            assert_eq!(found, expected, "{lifetime_s} s\n{}", world.log_text());
            assert_eq!(world.socket_count(client), 1);
        }
    }
}

/// For half an hour the mapping then lives by what was found, with fewer solicitations.
#[test]
fn the_mapping_lives_by_it() {
    for lifetime_s in [40, 47, 72, 100, 300] {
        for inbound_refresh in [false, true] {
            let (mut world, _, client) = net(lifetime_s, forgetful(lifetime_s, inbound_refresh));
            assert_eq!(world.run_for(PROCEDURE_MAX), Ok(()));
            let (before, from) = (mapped(&world, client), world.elapsed());
            assert_eq!(world.run_for(Duration::from_secs(1800)), Ok(()));
            assert_eq!(mapped(&world, client), before, "{lifetime_s} s\n{}", world.log_text());
            let interval = determined_s(&world, client).unwrap();
            // Refreshes after 75 to 100 % of it; once the secondary address is asked, too.
            let most = (1800.0 / (0.75 * interval)) as usize + 3;
            assert!(solicitations(&world, client, from) <= most, "{lifetime_s} s");
        }
    }
}

//= C-INT-01: behind each kind of NAT the procedure comes to its end
#[test]
fn it_works_behind_every_kind_of_nat() {
    for key in NatConfig::KEYS {
        let (mut world, _, client) = net(7, key.parse().unwrap());
        assert_eq!(world.run_for(PROCEDURE_MAX), Ok(()));
        assert_eq!(determined_s(&world, client), Some(90.0), "{key}\n{}", world.log_text());
    }
}

//= C-INT-06: the secondary port sends solicitations to the server and nothing else, to the end
#[test]
fn the_secondary_port_only_solicits() {
    let (mut world, _, client) = net(8, NatConfig::pr());
    let other = world.add_nat(NatConfig::pr());
    let peer = world.add_client(other);
    qualify(&mut world, &[peer]);
    for _ in 0..60 {
        assert!(ping(&mut world, client, peer, 5 * SECOND).is_some());
        assert_eq!(world.run_for(5 * SECOND), Ok(()));
    }
    assert_eq!(determined_s(&world, client), Some(90.0));
    let service = world.endpoint_of(client).unwrap();
    let server = TeredoAddress::parse(world.ipv6(client).unwrap()).unwrap().server;
    let own = world.address_of(client);
    let sent = datagrams(&world, client).filter(|(_, from, ..)| *from.ip() == own);
    let others: Vec<_> = sent.filter(|(_, from, ..)| *from != service).collect();
    assert!(others.iter().all(|(_, from, ..)| from.port() == others[0].1.port()));
    // One for each candidate: what decides the last one needs no mapping made anew.
    assert_eq!(others.len(), 2);
    for (_, _, to, datagram) in others {
        assert_eq!(to, SocketAddrV4::new(server, TEREDO_PORT));
        assert!(datagram.authentication.is_some());
    }
    assert!(bubbles_sent(&world, client).count() >= 2);
}

/// A NAT that forgets sooner than it did costs the mapping once; then the interval fits it.
#[test]
fn a_nat_that_changes_is_noticed() {
    let (mut world, nat, client) = net(9, forgetful(300, false));
    assert_eq!(world.run_for(PROCEDURE_MAX), Ok(()));
    assert_eq!(determined_s(&world, client), Some(90.0));
    world.set_nat_lifetime(nat, 50 * SECOND);
    let before = mapped(&world, client);
    let moved = world.run_until(200 * SECOND, |world| mapped(world, client) != before);
    assert!(moved.is_ok(), "{}", world.log_text());
    assert_eq!(determined_s(&world, client), None);
    let before = mapped(&world, client);
    assert_eq!(world.run_for(Duration::from_secs(3600)), Ok(()));
    assert_eq!(mapped(&world, client), before, "{}", world.log_text());
    assert_eq!(determined_s(&world, client), Some(45.0));
}

/// A NAT that boots again does not stop the search, it only makes it more careful.
#[test]
fn a_reboot_of_the_nat_is_survived() {
    for at_s in [20, 61, 100, 200, 400] {
        let (mut world, nat, client) = net(at_s, forgetful(300, false));
        assert_eq!(world.run_for(Duration::from_secs(at_s)), Ok(()));
        world.reboot_nat(nat);
        assert_eq!(world.run_for(2 * PROCEDURE_MAX), Ok(()));
        let found = determined_s(&world, client);
        assert!(found.is_some_and(|found| found >= 37.5), "{at_s}: {found:?}");
        let before = mapped(&world, client);
        assert_eq!(world.run_for(Duration::from_secs(1800)), Ok(()));
        assert_eq!(mapped(&world, client), before);
    }
}

/// Loss does not make it believe in more than the NAT does, and seldom in less.
#[test]
fn loss_does_not_make_it_longer() {
    let mut found = Vec::new();
    for seed in 0..50 {
        let mut world = World::new(seed);
        world.add_server();
        let nat = world.add_nat(forgetful(72, false));
        let client = world.add_client_with(nat, |config| config.determine_interval = true);
        let link = Link { loss_permille: 100, ..Link::perfect(Duration::from_millis(20)) };
        world.set_link(client, link);
        qualify(&mut world, &[client]);
        assert_eq!(world.run_for(PROCEDURE_MAX), Ok(()));
        found.push(determined_s(&world, client));
    }
    assert!(found.iter().all(|found| found.is_none_or(|found| found <= 60.0)), "{found:?}");
    let right = found.iter().filter(|found| **found == Some(60.0)).count();
    assert!(right >= 45, "{right} of 50");
}
