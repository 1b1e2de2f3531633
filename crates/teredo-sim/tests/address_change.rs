//! Packets of a stack that are on their way to its client when the address changes.

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use core::net::Ipv6Addr;

use teredo_proto::DropReason;
use teredo_proto::client::Client;
use teredo_sim::{HostId, NatConfig, NatId, World};
use teredo_wire::Writer;
use teredo_wire::icmpv6::Echo;

use common::{SECOND, qualify};

/// A client, the NAT in front of it, which gives it another port after each boot, and a peer.
fn pair() -> (World, NatId, [HostId; 2]) {
    let mut world = World::new(1);
    world.add_server();
    let config = NatConfig { allocation: NatConfig::ps().allocation, ..NatConfig::pr() };
    let nats = [(); 2].map(|()| world.add_nat(config));
    let clients = nats.map(|nat| world.add_client(nat));
    qualify(&mut world, &clients);
    (world, nats[0], clients)
}

fn echo_request(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let mut buffer = [0; 128];
    let mut writer = Writer::new(&mut buffer);
    let echo = Echo { reply: false, identifier: 1, sequence: 1, data: b"ping" };
    echo.write(&mut writer, source, destination, 64).unwrap();
    writer.written().to_vec()
}

//= C-TX-14: what is said of a packet from the address of before is for nobody any more
#[test]
fn an_error_about_a_packet_from_the_old_address_is_discarded() {
    let (mut world, nat, [client, peer]) = pair();
    let (old, to) = (world.ipv6(client).unwrap(), world.ipv6(peer).unwrap());
    world.reboot_nat(nat);
    let local = Some(world.address_of(client));
    world.with_client(client, |client, now| client.network_changed(now, local));
    qualify(&mut world, &[client]);
    assert_ne!(world.ipv6(client), Some(old));
    world.send_packet(client, echo_request(old, to));
    assert_eq!(world.run_for(SECOND), Ok(()));
    assert_eq!(world.dropped(client, DropReason::WrongSource), 1);
    assert_eq!(world.stack(client).errors().count(), 0);
}

//= C-TX-14: nor what is said of one that finds no address at all
#[test]
fn an_error_about_a_packet_of_a_client_that_has_stopped_is_discarded() {
    let (mut world, _, [client, peer]) = pair();
    let to = world.ipv6(peer).unwrap();
    world.send_data(client, to, 100);
    world.with_client(client, |client, _| Client::stop(client));
    assert_eq!(world.run_for(SECOND), Ok(()));
    assert_eq!(world.dropped(client, DropReason::NotQualified), 1);
    assert_eq!(world.stack(client).errors().count(), 0);
}
