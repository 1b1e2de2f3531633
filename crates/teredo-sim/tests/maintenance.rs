//! Mappings that change, servers that go away.

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use core::net::SocketAddrV4;
use core::time::Duration;

use teredo_proto::client::{Client, Traversal};
use teredo_proto::role::{OfflineReason, State};
use teredo_proto::{DropReason, Event};
use teredo_sim::nat::Allocation;
use teredo_sim::{HostId, NatConfig, NatId, World};
use teredo_wire::TeredoAddress;

use common::{SECOND, bubbles_sent, datagrams, ping, qualify};

/// A port-restricted NAT that maps anew to another port.
const FORGETFUL: NatConfig = NatConfig { allocation: Allocation::Random, ..NatConfig::pr() };

struct Net {
    world: World,
    server: HostId,
    nat: NatId,
    client: HostId,
    peer: HostId,
}

/// A client behind a NAT that can lose its mappings, and a peer; both qualified.
fn net(seed: u64) -> Net {
    let mut world = World::new(seed);
    world.trace_mut().keep_frames();
    let server = world.add_server();
    let nat = world.add_nat(FORGETFUL);
    let client = world.add_client(nat);
    let other = world.add_nat(NatConfig::pr());
    let peer = world.add_client(other);
    qualify(&mut world, &[client, peer]);
    assert_eq!(world.run_for(SECOND), Ok(()));
    Net { world, server, nat, client, peer }
}

fn mapped(world: &World, client: HostId) -> Option<SocketAddrV4> {
    world.client(client).and_then(Client::mapped)
}

fn teredo(world: &World, client: HostId) -> TeredoAddress {
    TeredoAddress::parse(world.ipv6(client).unwrap()).unwrap()
}

/// One refresh interval at its longest, and three solicitations four seconds apart.
const RECOVERY_MAX: Duration = Duration::from_secs(30 + 12);

//= N-NAT-11, C-MAINT-08, C-MAINT-09: after a NAT reboot the new mapping is found and used
#[test]
fn a_reboot_of_the_nat_is_survived() {
    for seed in 0..20 {
        let Net { mut world, nat, client, .. } = net(seed);
        let (before, old) = (world.ipv6(client), mapped(&world, client));
        assert_eq!(world.run_for(Duration::from_secs(7 * seed)), Ok(()));
        world.reboot_nat(nat);
        let moved = world.run_until(RECOVERY_MAX, |world| {
            world.is_qualified(client) && mapped(world, client) != old
        });
        assert!(moved.is_ok(), "{seed}\n{}", world.log_text());
        let embedded = teredo(&world, client).mapped;
        assert_eq!(Some(embedded), mapped(&world, client));
        assert_ne!(world.ipv6(client), before);
        let lost = Event::AddressChanged(None);
        assert!(world.events(client).all(|(_, event)| event != lost), "{}", world.log_text());
    }
}

//= P-ADDR-12: the random bits stay while the mapping does, and are drawn again for a new one
#[test]
fn random_bits_stay_with_the_mapping() {
    let Net { mut world, nat, client, .. } = net(30);
    let before = world.ipv6(client);
    for _ in 0..20 {
        assert_eq!(world.run_for(30 * SECOND), Ok(()));
        assert_eq!(world.ipv6(client), before);
    }
    let mut flags = vec![teredo(&world, client).flags];
    for _ in 0..6 {
        let old = mapped(&world, client);
        world.reboot_nat(nat);
        let moved = world.run_until(RECOVERY_MAX, |world| mapped(world, client) != old);
        assert!(moved.is_ok(), "{}", world.log_text());
        // A reboot while the two server addresses are compared looks like a symmetric NAT.
        assert_eq!(world.run_for(SECOND), Ok(()));
        flags.push(teredo(&world, client).flags);
    }
    let count = flags.len();
    flags.sort_unstable();
    flags.dedup();
    assert_eq!(flags.len(), count);
}

//= C-MAINT-10: with a new address no peer is trusted: bubbles go before data again
#[test]
fn a_new_address_begins_without_trust() {
    let Net { mut world, nat, client, peer, .. } = net(31);
    assert!(ping(&mut world, client, peer, SECOND).is_some());
    assert!(ping(&mut world, client, peer, SECOND).is_some());
    let old = mapped(&world, client);
    world.reboot_nat(nat);
    assert!(world.run_until(RECOVERY_MAX, |world| mapped(world, client) != old).is_ok());
    let changed = world.elapsed();
    assert_eq!(world.run_for(3 * SECOND), Ok(()));
    assert!(ping(&mut world, client, peer, SECOND).is_some(), "{}", world.log_text());
    let to_peer = world.ipv6(peer).unwrap();
    let first = datagrams(&world, client).find(|(at, from, _, datagram)| {
        *at > changed
            && *from.ip() == world.address_of(client)
            && datagram.ipv6.destination() == to_peer
    });
    assert!(first.is_some_and(|(.., datagram)| datagram.ipv6.is_bubble()));
}

//= C-MAINT-12: a server silent for three tries: down, resolve again, qualify again
#[test]
fn a_lost_server_is_asked_again() {
    let Net { mut world, server, client, .. } = net(32);
    world.set_up(server, false);
    let down = State::Offline(OfflineReason::NoAnswer);
    let took = world.run_until(RECOVERY_MAX, |world| world.state(client) == Some(down));
    assert!(took.is_ok(), "{}", world.log_text());
    let lost = |(_, event): (Duration, Event)| event == Event::ServerLost;
    assert!(world.events(client).any(lost), "{}", world.log_text());
    let gone = Event::AddressChanged(None);
    assert!(world.events(client).any(|(_, event)| event == gone), "{}", world.log_text());
    world.set_up(server, true);
    let back = world.run_until(60 * SECOND, |world| world.is_qualified(client));
    assert!(back.is_ok(), "{}", world.log_text());
}

//= C-QUAL-24: while there is no server, attempts get rarer
#[test]
fn attempts_get_rarer_without_a_server() {
    let mut world = World::new(33);
    world.trace_mut().keep_frames();
    let server = world.add_server();
    world.set_up(server, false);
    let nat = world.add_nat(NatConfig::pr());
    let client = world.add_client(nat);
    assert_eq!(world.run_for(3600 * SECOND), Ok(()));
    let sent = datagrams(&world, client).count();
    // Three at once, then three for each delay of 30, 60, 120, 240 and again and again 300 s.
    assert!((3 * 10..=3 * 18).contains(&sent), "{sent}");
    world.set_up(server, true);
    let back = world.run_until(400 * SECOND, |world| world.is_qualified(client));
    assert!(back.is_ok(), "{}", world.log_text());
}

//= C-MAINT-04: a mapping of ten seconds is kept alive by a refresh interval that fits it
#[test]
fn a_short_lived_mapping_needs_a_short_interval() {
    for (refresh_s, stays) in [(8, true), (30, false)] {
        let mut world = World::new(34);
        world.add_server();
        let nat = world.add_nat(NatConfig { lifetime: 10 * SECOND, ..FORGETFUL });
        let client = world.add_client_with(nat, |config| {
            config.refresh_interval = Duration::from_secs(refresh_s);
        });
        qualify(&mut world, &[client]);
        let before = world.ipv6(client);
        assert_eq!(world.run_for(300 * SECOND), Ok(()));
        assert_eq!(world.ipv6(client) == before, stays, "{}", world.log_text());
        assert!(world.is_qualified(client));
    }
}

//= C-BUB-07: two clients that cannot meet send few bubbles once both gave up
#[test]
fn clients_that_cannot_meet_stay_quiet() {
    let mut world = World::new(35);
    world.trace_mut().keep_frames();
    world.add_server();
    // Behind one NAT that does not turn packets back, nothing direct ever arrives.
    let nat = world.add_nat(NatConfig::pr());
    let pair =
        [(); 2].map(|()| world.add_client_with(nat, |config| config.traversal = Traversal::NONE));
    qualify(&mut world, &pair);
    let addresses = pair.map(|client| world.ipv6(client).unwrap());
    let begun = world.elapsed();
    for _ in 0..600 {
        world.send_data(pair[0], addresses[1], 100);
        world.send_data(pair[1], addresses[0], 100);
        assert_eq!(world.run_for(Duration::from_millis(100)), Ok(()));
    }
    let gave_up = begun + 10 * SECOND;
    for client in pair {
        let sent: Vec<Duration> =
            bubbles_sent(&world, client).map(|(at, ..)| at).filter(|at| *at > gave_up).collect();
        let most = sent
            .iter()
            .map(|from| sent.iter().filter(|at| (*from..*from + SECOND).contains(at)).count());
        assert!(most.max().unwrap_or(0) <= 2, "{sent:?}");
        assert_eq!(world.queued_count(client), 0);
        assert!(world.dropped(client, DropReason::PeerUnreachable) > 0);
    }
}

/// A peer that knows the way to us only answers, and never tells its nonce: the search ends all the
/// same, with the packets on their way.
#[test]
fn a_peer_that_still_knows_us_is_met_again() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.add_server();
        let nats =
            [NatConfig { allocation: Allocation::Random, ..NatConfig::seq(1) }, NatConfig::cone()];
        let [client, peer] = nats.map(|nat| {
            let nat = world.add_nat(nat);
            world.add_client(nat)
        });
        qualify(&mut world, &[client, peer]);
        assert!(ping(&mut world, client, peer, 20 * SECOND).is_some(), "{}", world.log_text());
        world.with_client(client, |client, now| client.network_changed(now, None));
        qualify(&mut world, &[client]);
        assert!(ping(&mut world, client, peer, 10 * SECOND).is_some(), "{}", world.log_text());
    }
}
