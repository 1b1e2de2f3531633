//! Local discovery: clients behind one NAT that turns nothing back.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use core::net::Ipv6Addr;
use core::time::Duration;

use teredo_proto::client::Traversal;
use teredo_proto::{DropReason, Reason, Role};
use teredo_sim::{HostId, NatConfig, NatId, World};

const SECOND: Duration = Duration::from_secs(1);

/// A home: a NAT without hairpinning, and what is behind it.
struct Home {
    world: World,
    nat: NatId,
}

impl Home {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        world.add_server();
        let nat = world.add_nat(NatConfig::pr());
        Self { world, nat }
    }

    fn add(&mut self, local_discovery: bool) -> HostId {
        let nat = self.nat;
        // Hairpinning of RFC 6081 would bring them together as well.
        let client = self.world.add_client_with(nat, |config| {
            config.local_discovery = local_discovery;
            config.traversal = Traversal::NONE;
        });
        let qualified = self.world.run_until(SECOND, |world| world.is_qualified(client));
        qualified.unwrap();
        client
    }

    fn address(&self, host: HostId) -> Ipv6Addr {
        self.world.ipv6(host).unwrap()
    }

    /// How long data from one to the other takes.
    fn data(&mut self, from: HostId, to: HostId, limit: Duration) -> Option<Duration> {
        let tag = self.world.send_data(from, self.address(to), 100).unwrap();
        self.world.run_until(limit, |world| world.is_delivered(tag)).ok()
    }
}

//= C-LOC-01, C-LOC-10, C-RX-09, C-TX-13: neighbours meet within seconds, whoever came first
#[test]
fn two_clients_behind_a_nat_without_hairpinning_meet_on_the_link() {
    for is_first_to_speak in [false, true] {
        let mut home = Home::new(7);
        let (first, second) = (home.add(true), home.add(true));
        home.world.run_for(5 * SECOND).unwrap();
        let (from, to) = if is_first_to_speak { (first, second) } else { (second, first) };
        let took = home.data(from, to, 4 * SECOND).expect("not met");
        assert!(took < Duration::from_millis(500), "{took:?}");
        // And back at once, 40 ms between two hosts.
        assert!(home.data(to, from, SECOND).unwrap() <= Duration::from_millis(50));
        assert_eq!(home.world.queued_count(from), 0);
    }
}

#[test]
fn without_it_they_never_meet() {
    for switches in [[false, false], [true, false], [false, true]] {
        let mut home = Home::new(7);
        let [first, second] = switches.map(|is_on| home.add(is_on));
        assert_eq!(home.data(first, second, 20 * SECOND), None);
    }
}

#[test]
fn the_next_discovery_bubble_is_enough() {
    let mut home = Home::new(8);
    let (first, second) = (home.add(true), home.add(true));
    home.world.run_for(700 * SECOND).unwrap();
    for (from, to) in [(first, second), (second, first)] {
        assert!(home.data(from, to, SECOND).is_some());
        home.world.run_for(300 * SECOND).unwrap();
    }
}

#[test]
fn that_a_neighbour_has_gone_is_told() {
    let mut home = Home::new(10);
    let (first, second) = (home.add(true), home.add(true));
    home.world.run_for(SECOND).unwrap();
    home.world.set_up(second, false);
    // Sought on the link in vain, then also by its server: nobody answers, and that is told.
    let address = home.address(second);
    let tag = home.world.send_data(first, address, 100).unwrap();
    let reported = home.world.run_until(10 * SECOND, |world| world.is_reported(tag));
    assert!(reported.is_ok());
}

#[test]
fn strangers_elsewhere_hear_nothing() {
    let mut home = Home::new(11);
    let first = home.add(true);
    let other_nat = home.world.add_nat(NatConfig::pr());
    let other = home.world.add_client_with(other_nat, |config| config.local_discovery = true);
    let public = home.world.add_client_with(teredo_sim::Place::Internet, |config| {
        config.local_discovery = true;
    });
    home.world.run_for(1_000 * SECOND).unwrap();
    for host in [first, other, public] {
        let counters = home.world.counters(host).unwrap();
        assert_eq!((counters.bubbles_received, counters.bubbles_sent), (0, 0));
        assert_eq!(home.world.dropped(host, DropReason::NotDiscovery), 0);
    }
    let due = home.world.client(public).unwrap().poll_timeout().unwrap();
    assert_ne!(due.1, Reason::Discovery, "a public address is not told to its link");
}
