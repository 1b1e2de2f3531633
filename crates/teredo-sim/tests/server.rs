//! Servers among themselves.

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use core::net::SocketAddrV4;

use teredo_proto::DropReason;
use teredo_proto::role::State;
use teredo_sim::nat::PortRange;
use teredo_sim::{NatConfig, Place, World};
use teredo_wire::ipv6::Header;
use teredo_wire::{TEREDO_PORT, TeredoAddress, Writer};

use common::{SECOND, ping, qualify};

fn bubble(from: TeredoAddress, to: TeredoAddress) -> Vec<u8> {
    let mut bytes = [0; 40];
    Header::bubble(from.to_ipv6(), to.to_ipv6()).write(&mut Writer::new(&mut bytes)).unwrap();
    bytes.to_vec()
}

//= S-LOOP-01, S-LOOP-02, S-LOOP-03: no bubble goes around between servers or inside one
#[test]
fn no_bubble_goes_around() {
    let mut world = World::new(1);
    let servers = [world.add_server(), world.add_server()];
    let endpoints: Vec<SocketAddrV4> = servers
        .iter()
        .flat_map(|server| {
            let (primary, secondary) = world.server_addresses(*server);
            [primary, secondary.unwrap()]
        })
        .map(|address| SocketAddrV4::new(address, TEREDO_PORT))
        .collect();
    let mut injected = 0;
    for mapped_from in &endpoints {
        for mapped_to in &endpoints {
            for server in [endpoints[0], endpoints[2]] {
                for entry in &endpoints {
                    let flags = Default::default();
                    let from = TeredoAddress { server: *server.ip(), flags, mapped: *mapped_from };
                    let to = TeredoAddress { server: *server.ip(), flags, mapped: *mapped_to };
                    world.inject(*mapped_from, *entry, bubble(from, to));
                    injected += 1;
                }
            }
        }
    }
    assert_eq!(world.run_for(60 * SECOND), Ok(()));
    let frames = world.trace().frame_count();
    // Each injected one is seen once; one may pass a server once, and is then dropped by the other.
    assert!(frames <= 3 * injected, "{frames} frames from {injected} bubbles");
    let dropped: u64 = servers
        .iter()
        .map(|server| {
            world.dropped(*server, DropReason::OwnEndpoint)
                + world.dropped(*server, DropReason::Loop)
        })
        .sum();
    assert!(dropped > 0);
}

#[test]
fn a_server_serves_from_both_addresses() {
    let mut world = World::new(2);
    let server = world.add_server();
    let (_, secondary) = world.server_addresses(server);
    let nat = world.add_nat(NatConfig::pr());
    // For this client the roles of the two addresses are exchanged; the prefix it is told is the
    // primary's, so it may not qualify (C-QUAL-15).
    let client = world.add_client_with(nat, |config| {
        config.server = secondary.unwrap();
        config.secondary = None;
    });
    assert_eq!(world.run_for(SECOND), Ok(()));
    assert_eq!(world.state(client), Some(State::Probe));
    assert!(world.dropped(client, DropReason::UnusablePrefix) > 0);
    assert_eq!(world.counters(server).map(|counters| counters.advertisements_sent), Some(1));
}

//= C-QUAL-07: a server with one address: qualified in degraded mode, off-line when strict
#[test]
fn a_silent_secondary_address() {
    for strict in [false, true] {
        let mut world = World::new(3);
        world.add_server_with(|config| config.secondary = None);
        let nat = world.add_nat(NatConfig::pr());
        let client = world.add_client_with(nat, |config| config.strict = strict);
        assert_eq!(world.run_for(20 * SECOND), Ok(()));
        assert_eq!(world.is_qualified(client), !strict, "{}", world.log_text());
    }
}

#[test]
fn clients_return_after_a_server_restart() {
    let mut world = World::new(4);
    let server = world.add_server();
    let nats = [(); 2].map(|()| world.add_nat(NatConfig::pr()));
    let pair = nats.map(|nat| world.add_client(nat));
    qualify(&mut world, &pair);
    world.restart(server);
    assert_eq!(world.run_for(100 * SECOND), Ok(()));
    assert!(pair.iter().all(|client| world.is_qualified(*client)));
    let client = world.add_client(Place::Internet);
    qualify(&mut world, &[client]);
}

/// Protocol section 8.1: servers send nothing to some ports. A client that its NAT gives one of
/// them meets others, and is met by nobody who needs its server for that.
#[test]
fn a_client_at_a_port_that_servers_refuse_is_met_by_nobody() {
    for port in [1900, 1901] {
        let mut world = World::new(1);
        let server = world.add_server();
        let config = NatConfig { ports: PortRange::new(port, port), ..NatConfig::pr() };
        let nat = world.add_nat(config);
        let client = world.add_client(nat);
        let [first, second] = [(); 2].map(|()| world.add_client(Place::Internet));
        qualify(&mut world, &[client, first, second]);
        assert_eq!(world.client(client).unwrap().mapped().unwrap().port(), port);
        assert!(ping(&mut world, client, first, SECOND).is_some());
        let is_refused = port == 1900;
        assert_eq!(ping(&mut world, second, client, SECOND).is_none(), is_refused);
        assert_eq!(world.dropped(server, DropReason::DeniedPort) > 0, is_refused);
    }
}
