//! Clients that nobody needs, behind NATs that forget them meanwhile.

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use core::time::Duration;

use teredo_proto::role::State;
use teredo_sim::nat::Allocation;
use teredo_sim::{HostId, NatConfig, World};

use common::{SECOND, datagrams, ping_until_answered, qualify};

const HOUR: Duration = Duration::from_secs(3_600);

/// A client that sleeps after an hour, behind `nat`, and a peer that never does; an hour later.
fn asleep(seed: u64, nat: NatConfig) -> (World, HostId, HostId) {
    let mut world = World::new(seed);
    world.trace_mut().keep_frames();
    world.add_server();
    let nat = world.add_nat(nat);
    let sleeper = world.add_client_with(nat, |config| config.dormant_after = Some(HOUR));
    let other = world.add_nat(NatConfig::pr());
    let peer = world.add_client(other);
    qualify(&mut world, &[sleeper, peer]);
    assert_eq!(world.run_for(HOUR + SECOND), Ok(()));
    assert_eq!(world.state(sleeper), Some(State::Dormant));
    (world, sleeper, peer)
}

//= API-74: dormant means silent; the first packet wakes the client and arrives
#[test]
fn the_first_packet_of_a_sleeper_arrives() {
    for seed in 0..20 {
        let (mut world, sleeper, peer) = asleep(seed, NatConfig::pr());
        let fell_asleep = world.elapsed();
        assert_eq!(world.run_for(HOUR), Ok(()));
        let later = |(at, ..): &(Duration, _, _, _)| *at > fell_asleep;
        assert_eq!(datagrams(&world, sleeper).filter(later).count(), 0);
        let to = world.ipv6(peer).unwrap();
        let ping = world.ping(sleeper, to).unwrap();
        let answered = world.run_until(3 * SECOND, |world| world.answer_time(ping).is_some());
        assert!(answered.is_ok(), "{seed}\n{}", world.log_text());
        assert!(world.is_qualified(sleeper));
    }
}

#[test]
fn behind_a_nat_that_gives_another_port_the_next_packet_arrives() {
    for seed in 0..20 {
        let nat = NatConfig { allocation: Allocation::Random, ..NatConfig::pr() };
        let (mut world, sleeper, peer) = asleep(seed, nat);
        let arrived = ping_until_answered(&mut world, &[(sleeper, peer)], 5 * SECOND);
        assert_eq!(arrived, [true], "{seed}\n{}", world.log_text());
    }
}
