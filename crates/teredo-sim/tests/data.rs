//! Data between peers.

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use teredo_sim::{HostId, NatConfig, Place, World};
use teredo_wire::ipv6::next_header;

use common::{SECOND, datagrams, qualify};

/// Two clients behind port-restricted NATs, a relay and a native host.
fn net(seed: u64) -> (World, HostId, [HostId; 3]) {
    let mut world = World::new(seed);
    world.trace_mut().keep_frames();
    let server = world.add_server();
    world.add_relay(Place::Internet);
    let native = world.add_native_host();
    let nats = [(); 2].map(|()| world.add_nat(NatConfig::pr()));
    let [a, b] = nats.map(|nat| world.add_client(nat));
    qualify(&mut world, &[a, b]);
    (world, server, [a, b, native])
}

//= C-TX-18: packets that wait for a peer arrive in the order in which they were sent
#[test]
fn what_waited_arrives_in_order() {
    let (mut world, _, [a, b, native]) = net(1);
    for (from, to) in [(a, b), (b, native), (native, a)] {
        let address = world.ipv6(to).unwrap();
        let before = world.stack(to).received().len();
        let lens = [300, 1280, 60, 700, 61];
        let tags = lens.map(|len| world.send_data(from, address, len).unwrap());
        let all = |world: &World| tags.iter().all(|tag| world.is_delivered(*tag));
        let took = world.run_until(SECOND, all);
        assert!(took.is_ok(), "{}", world.log_text());
        // A native host also sees the echo requests of the test.
        let packets = world.stack(to).received()[before..].iter().map(|received| &received.packet);
        let data = packets.filter(|packet| packet[6] == next_header::UDP);
        assert_eq!(data.map(Vec::len).collect::<Vec<_>>(), lens);
        assert_eq!(world.queued_count(from), 0);
    }
}

//= S-FWD-09: no data goes through the server
#[test]
fn the_server_carries_no_data() {
    let (mut world, server, hosts) = net(2);
    for from in hosts {
        for to in hosts.into_iter().filter(|to| *to != from) {
            let address = world.ipv6(to).unwrap();
            for _ in 0..3 {
                world.send_data(from, address, 500);
                assert_eq!(world.run_for(SECOND), Ok(()));
            }
        }
    }
    assert_eq!(world.data_totals(), (18, 18));
    let through = |header| {
        let seen = datagrams(&world, server).map(|(.., datagram)| datagram.ipv6.next_header());
        seen.filter(|seen| *seen == header).count()
    };
    assert_eq!(through(next_header::UDP), 0);
    assert!(through(next_header::NONE) > 0 && through(next_header::ICMPV6) > 0);
}
