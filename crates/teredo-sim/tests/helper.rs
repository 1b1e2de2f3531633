//! Clients that a helper passes packets on for (protocol section 6.4, R1 and R2).

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use core::net::SocketAddrV4;

use teredo_proto::client::{HelperConfig, HelperState, HelperUse, Traversal};
use teredo_proto::keys::{Algorithm, Identifier, Secret, SharedKey};
use teredo_proto::role::{NatKind, OfflineReason, State};
use teredo_proto::server::{Clients, EndpointCheck, KnownClient};
use teredo_proto::{DropReason, Event};
use teredo_sim::matrix::KINDS;
use teredo_sim::nat::PortRange;
use teredo_sim::trace::Packet;
use teredo_sim::world::HOP_DELAY;
use teredo_sim::{HostId, Link, NatConfig, NatId, Place, World};
use teredo_wire::helper::Status;

use common::{SECOND, ping, ping_until_answered, qualify};

fn secret(name: &str) -> Secret {
    let key = SharedKey::new(Algorithm::default(), format!("the long key of {name}").as_bytes());
    Secret { identifier: Identifier::new(name.as_bytes()).unwrap(), key: key.unwrap() }
}

fn clients(names: &[&str]) -> Clients {
    let known = |name: &&str| KnownClient { secret: secret(name), is_renewal_due: false };
    Clients::new(names.iter().map(known).collect()).unwrap()
}

/// A helper for these clients, and where it is.
fn add_helper(world: &mut World, names: &[&str]) -> (HostId, SocketAddrV4) {
    let host = world.add_helper(clients(names), |_| {});
    (host, world.endpoint_of(host).unwrap())
}

/// A client of a server of its own behind a NAT of one of the nine kinds.
fn add_client(
    world: &mut World,
    kind: &str,
    traversal: Traversal,
    helper: Option<HelperConfig>,
) -> HostId {
    let pool = if kind == "addr" { 4 } else { 1 };
    let nat = world.add_nat_at(Place::Internet, kind.parse().unwrap(), pool);
    add_client_behind(world, nat, traversal, helper)
}

/// A client of a server of its own.
fn add_client_behind(
    world: &mut World,
    nat: NatId,
    traversal: Traversal,
    helper: Option<HelperConfig>,
) -> HostId {
    let server = world.add_server_with(|config| config.endpoint_check = EndpointCheck::Any);
    let addresses = world.server_addresses(server);
    world.add_client_with(nat, |config| {
        (config.server, config.secondary) = addresses;
        config.traversal = traversal;
        config.helper = helper;
    })
}

fn helped(name: &str, endpoint: SocketAddrV4, used_for: HelperUse) -> Option<HelperConfig> {
    Some(HelperConfig { endpoint, secret: secret(name), used_for })
}

/// What goes beyond RFC 6081 is the helper alone.
const ONLY_HELPER: Traversal = Traversal { helper: true, ..Traversal::RFC6081 };

/// What the client told of its helper.
fn told(world: &World, client: HostId) -> Vec<HelperState> {
    let states = world.events(client).filter_map(|(_, event)| {
        if let Event::HelperChanged(state) = event { Some(state) } else { None }
    });
    states.collect()
}

fn assert_connect(world: &mut World, pair: (HostId, HostId), what: &str) {
    qualify(world, &[pair.0, pair.1]);
    let answered = ping_until_answered(world, &[pair], 20 * SECOND);
    assert_eq!(answered, [true], "{what}\n{}", world.log_text());
}

/// The kinds of NAT that cannot meet each other otherwise.
const HARD: [&str; 2] = ["ps", "addr"];

//= X-R-01: one helper at either end connects what nothing else does, with a standard peer too
#[test]
fn one_helper_is_enough_for_any_two_random_nats() {
    for (seed, first) in (0..).zip(HARD) {
        for second in HARD {
            for peer in [Traversal::RFC6081, ONLY_HELPER] {
                for begins in [true, false] {
                    let mut world = World::new(seed);
                    let (helper, endpoint) = add_helper(&mut world, &["a"]);
                    let own = helped("a", endpoint, HelperUse::Peers);
                    let a = add_client(&mut world, first, ONLY_HELPER, own);
                    let b = add_client(&mut world, second, peer, None);
                    let pair = if begins { (a, b) } else { (b, a) };
                    assert_connect(&mut world, pair, &format!("{first} {second} {begins}"));
                    assert_eq!(world.helper(helper).unwrap().registered(world.now()), 1);
                    let state = world.client(a).unwrap().helper_state(world.now());
                    assert_eq!(state, Some(HelperState::Registered));
                    // Data goes on both ways for as long as somebody sends some.
                    for _ in 0..200 {
                        assert!(ping(&mut world, a, b, SECOND).is_some());
                        assert!(ping(&mut world, b, a, SECOND).is_some());
                        world.run_for(2 * SECOND).unwrap();
                    }
                }
            }
        }
    }
}

// What is sent first waits for a way. The called side has told a new nonce by the time that it
// arrives, and takes it when the bubble with that one has come behind it.
#[test]
fn the_first_packet_is_not_lost() {
    for (seed, kind) in (0..40).flat_map(|seed| HARD.map(|kind| (seed, kind))) {
        let mut world = World::new(seed);
        let [a, b] = ["a", "b"].map(|name| {
            let (_, helper) = add_helper(&mut world, &[name]);
            add_client(&mut world, kind, ONLY_HELPER, helped(name, helper, HelperUse::Peers))
        });
        qualify(&mut world, &[a, b]);
        let delay = ping(&mut world, a, b, 10 * SECOND);
        assert!(delay.is_some(), "{kind} {seed}\n{}", world.log_text());
    }
}

//= X-R-01: with a helper at each end, and with one for both
#[test]
fn two_helpers_do_not_get_in_each_others_way() {
    for (seed, kinds) in (0..40).flat_map(|seed| HARD.map(|kind| (seed, kind))) {
        for shared in [false, true] {
            let mut world = World::new(seed);
            let (_, first) = add_helper(&mut world, &["a", "b"]);
            let (_, other) = add_helper(&mut world, &["a", "b"]);
            let second = if shared { first } else { other };
            let own = helped("a", first, HelperUse::Peers);
            let a = add_client(&mut world, kinds, ONLY_HELPER, own);
            let own = helped("b", second, HelperUse::Peers);
            let b = add_client(&mut world, "ps", ONLY_HELPER, own);
            qualify(&mut world, &[a, b]);
            let pairs: &[_] = if seed % 2 == 0 { &[(a, b)] } else { &[(a, b), (b, a)] };
            let answered = ping_until_answered(&mut world, pairs, 20 * SECOND);
            assert!(answered.iter().all(|it| *it), "{kinds} {seed}\n{}", world.log_text());
            for _ in 0..60 {
                assert!(ping(&mut world, a, b, SECOND).is_some(), "{}", world.log_text());
                assert!(ping(&mut world, b, a, SECOND).is_some(), "{}", world.log_text());
                world.run_for(SECOND).unwrap();
            }
        }
    }
}

//= X-R-02: everything through the helper: the address is one there, of a client that all can reach
#[test]
fn who_qualifies_through_a_helper_is_reached_by_everybody() {
    for (seed, kind) in (0..).zip(KINDS) {
        let mut world = World::new(seed);
        let (_, endpoint) = add_helper(&mut world, &["a"]);
        let own = helped("a", endpoint, HelperUse::All);
        // Not even what RFC 6081 has is needed on this side.
        let traversal = Traversal { helper: true, ..Traversal::NONE };
        let a = add_client(&mut world, kind, traversal, own);
        let b = add_client(&mut world, "pr", Traversal::NONE, None);
        let relay = world.add_relay(Place::Internet);
        let native = world.add_native_host();
        qualify(&mut world, &[a, b]);
        assert_eq!(world.client(a).unwrap().mapped(), Some(endpoint));
        world.run_for(SECOND).unwrap();
        assert_eq!(world.nat_kind(a), Some(NatKind::EndpointIndependent));
        for (from, to) in [(b, a), (a, b), (native, a), (a, native)] {
            let answered = ping(&mut world, from, to, 5 * SECOND);
            assert!(answered.is_some(), "{kind} {from:?} {to:?}\n{}", world.log_text());
        }
        assert_eq!(world.dropped(relay, DropReason::NotTeredoSource), 0);
        // It stays so, maintenance included.
        world.run_for(3_600 * SECOND).unwrap();
        assert!(ping(&mut world, b, a, 5 * SECOND).is_some());
    }
}

//= X-R-02: nothing but the helper is reached, and nothing that does not come from it counts
#[test]
fn a_client_that_does_everything_through_its_helper_has_no_other_traffic() {
    let mut world = World::new(1);
    world.trace_mut().keep_frames();
    let (_, endpoint) = add_helper(&mut world, &["a"]);
    let a = add_client(&mut world, "cone", ONLY_HELPER, helped("a", endpoint, HelperUse::All));
    let b = add_client(&mut world, "cone", ONLY_HELPER, None);
    assert_connect(&mut world, (b, a), "");
    world.run_for(600 * SECOND).unwrap();
    let own = world.address_of(a);
    let elsewhere = world.trace().frames().iter().filter(|frame| match &frame.packet {
        Packet::Datagram { from, to, .. } => *from.ip() == own && *to != endpoint,
        Packet::Error(_) | Packet::Ipv6(_) => false,
    });
    assert_eq!(elsewhere.count(), 0);
    let mapped = world.endpoint_of(b).unwrap();
    let outer = world.trace().frames().iter().find_map(|frame| match &frame.packet {
        Packet::Datagram { from, to, .. } if *to == endpoint && *from.ip() != own => Some(*from),
        Packet::Datagram { .. } | Packet::Error(_) | Packet::Ipv6(_) => None,
    });
    world.inject(mapped, outer.unwrap(), vec![0x60; 40]);
    world.run_for(SECOND).unwrap();
    assert_eq!(world.dropped(a, DropReason::NotThroughHelper), 1);
}

/// Two that are both at one helper, and one that is a peer of the other there.
#[test]
fn clients_of_one_helper_reach_each_other() {
    for uses in [[HelperUse::All; 2], [HelperUse::Peers, HelperUse::All]] {
        for begins in [true, false] {
            let mut world = World::new(7);
            let (_, endpoint) = add_helper(&mut world, &["a", "b"]);
            let a = add_client(&mut world, "ps", ONLY_HELPER, helped("a", endpoint, uses[0]));
            let b = add_client(&mut world, "ps", ONLY_HELPER, helped("b", endpoint, uses[1]));
            let pair = if begins { (a, b) } else { (b, a) };
            assert_connect(&mut world, pair, &format!("{uses:?}"));
            assert_ne!(world.ipv6(a), world.ipv6(b));
        }
    }
}

//= N-NAT-09: a NAT that rewrites addresses in payloads leaves those in frames alone, also its own
#[test]
fn a_neighbour_behind_a_nat_that_rewrites_payloads_is_met_through_the_helper() {
    for begins in [true, false] {
        let mut world = World::new(1);
        let (_, endpoint) = add_helper(&mut world, &["a"]);
        let own = helped("a", endpoint, HelperUse::All);
        world.add_server();
        let nat = world.add_nat(NatConfig { rewrites_payload: true, ..NatConfig::cone() });
        let [a, b] =
            [own, None].map(|helper| world.add_client_with(nat, |config| config.helper = helper));
        qualify(&mut world, &[a, b]);
        let (from, to) = if begins { (a, b) } else { (b, a) };
        let delay = ping(&mut world, from, to, SECOND);
        assert!(delay.is_some(), "{begins}\n{}", world.log_text());
    }
}

//= N-NAT-09, X-R-03: the local address that such a NAT makes the mapped one of is no other way
#[test]
fn a_nat_that_rewrites_payloads_hides_no_need_of_a_helper() {
    for kinds in [["pr", "ups"], ["ups", "pr"]] {
        let mut world = World::new(1);
        let [a, b] = [("a", kinds[0]), ("b", kinds[1])].map(|(name, kind)| {
            let (_, endpoint) = add_helper(&mut world, &[name]);
            let server = world.add_server();
            let addresses = world.server_addresses(server);
            let config: NatConfig = kind.parse().unwrap();
            let nat = world.add_nat(NatConfig { rewrites_payload: true, ..config });
            world.add_client_with(nat, |config| {
                (config.server, config.secondary) = addresses;
                config.helper = helped(name, endpoint, HelperUse::Peers);
            })
        });
        qualify(&mut world, &[a, b]);
        assert_connect(&mut world, (a, b), &format!("{kinds:?}"));
    }
}

//= X-R-03: one way is not taken for both as long as the own kind of NAT is unknown, or after that
#[test]
fn a_client_that_does_not_know_its_nat_yet_meets_everybody() {
    for (seed, kind) in (0..4).flat_map(|seed| KINDS.map(|kind| (seed, kind))) {
        for (begins, is_late) in [(true, false), (true, true), (false, false), (false, true)] {
            let mut world = World::new(seed);
            let [(_, a), (server, b)] = [("a", kind), ("b", "ups")].map(|(name, kind)| {
                let (_, endpoint) = add_helper(&mut world, &[name]);
                let server = world.add_server();
                let addresses = world.server_addresses(server);
                let nat = world.add_nat(kind.parse().unwrap());
                let client = world.add_client_with(nat, |config| {
                    (config.server, config.secondary) = addresses;
                    config.helper = helped(name, endpoint, HelperUse::Peers);
                });
                (server, client)
            });
            qualify(&mut world, &[a, b]);
            assert_eq!(world.nat_kind(b), Some(NatKind::Unknown));
            let (from, to) = if begins { (a, b) } else { (b, a) };
            if is_late {
                // The secondary address is asked again after four seconds.
                world.set_up(server, false);
                ping(&mut world, from, to, SECOND / 2);
                world.set_up(server, true);
                assert_eq!(world.nat_kind(b), Some(NatKind::Unknown));
            }
            let answered = ping_until_answered(&mut world, &[(from, to)], 8 * SECOND);
            let what = format!("{kind} {seed} {begins} {is_late}");
            assert_eq!(answered, [true], "{what}\n{}", world.log_text());
        }
    }
}

//= X-R-03: what a peer was asked in vain long ago does not count when it comes back
#[test]
fn a_peer_that_was_away_is_asked_again_whether_it_hears() {
    for kind in ["pr", "seq"] {
        let mut world = World::new(1);
        let [a, b] = [("a", kind), ("b", "ups")].map(|(name, kind)| {
            let (_, endpoint) = add_helper(&mut world, &[name]);
            let own = helped(name, endpoint, HelperUse::Peers);
            add_client(&mut world, kind, Traversal::default(), own)
        });
        qualify(&mut world, &[a, b]);
        world.run_for(SECOND).unwrap();
        world.set_up(a, false);
        assert_eq!(ping_until_answered(&mut world, &[(b, a)], 20 * SECOND), [false]);
        world.run_for(300 * SECOND).unwrap();
        world.set_up(a, true);
        world.run_for(100 * SECOND).unwrap();
        assert_connect(&mut world, (a, b), kind);
    }
}

/// The server that a client asks may be on the helper's host.
#[test]
fn a_helper_and_a_server_share_a_host() {
    for used_for in [HelperUse::Peers, HelperUse::All] {
        let mut world = World::new(3);
        let server = world.add_server_with(|config| config.endpoint_check = EndpointCheck::Any);
        world.add_helper_to(server, clients(&["a"]), |_| {});
        let endpoint = world.endpoint_of(server).unwrap();
        let [a, b] = [helped("a", endpoint, used_for), None].map(|helper| {
            let nat = world.add_nat("ps".parse().unwrap());
            world.add_client_with(nat, |config| {
                config.helper = helper;
                config.traversal = ONLY_HELPER;
            })
        });
        for pair in [(a, b), (b, a)] {
            assert_connect(&mut world, pair, &format!("{used_for:?}"));
        }
    }
}

/// Protocol section 8.1: a helper sends nothing to some ports, from which its client hears a peer
/// all the same if a NAT gives one to what that sends to the helper.
//= X-R-03: a way from a port that the helper refuses is none, and another one is taken
#[test]
fn a_port_that_helpers_refuse_is_no_way_to_a_peer() {
    let (peers, all) = (HelperUse::Peers, HelperUse::All);
    let without_port = Traversal { sequential: false, ..ONLY_HELPER };
    let cases = [
        (all, ONLY_HELPER, false),   // the random port is another way
        (all, without_port, true),   // the peer's helper is
        (peers, without_port, true), // the same
        (peers, ONLY_HELPER, false), // there is none
    ];
    for (used_for, traversal, has_own) in cases {
        let mut refused = 0;
        for seed in 0..200 {
            let mut world = World::new(seed);
            let [first, second] = ["a", "b"].map(|name| add_helper(&mut world, &[name]).1);
            let own = helped("a", first, used_for);
            let a = add_client(&mut world, "ps", ONLY_HELPER, own);
            let ports = PortRange::new(1869, 1932);
            let nat = world.add_nat(NatConfig { ports, ..NatConfig::ps() });
            let own = helped("b", second, peers).filter(|_| has_own);
            let b = add_client_behind(&mut world, nat, traversal, own);
            qualify(&mut world, &[a, b]);
            if world.client(b).unwrap().mapped().unwrap().port() == 1900 {
                continue; // servers refuse it too
            }
            let answered = ping_until_answered(&mut world, &[(a, b)], 20 * SECOND);
            let is_refused = world.dropped(a, DropReason::DeniedPort) > 0;
            let must_meet = !is_refused || used_for == all || has_own;
            refused += u32::from(is_refused);
            assert_eq!(answered, [must_meet], "{used_for:?} {seed}\n{}", world.log_text());
        }
        assert!(refused > 0, "{used_for:?} {has_own}");
    }
}

/// One helper is not yet enough where one NAT is a UPnP-enabled symmetric one and the other no
/// cone: it takes one at each end.
//= X-R-01: any two of the nine kinds of NAT, with a helper at either end or at both
#[test]
fn every_pair_of_nats_connects() {
    let mut failed = Vec::new();
    let pairs = KINDS.into_iter().flat_map(|first| KINDS.map(|second| (first, second)));
    for (first, second) in pairs {
        for (seed, has_helper) in (0..).zip([[true, true], [true, false], [false, true]]) {
            if has_helper != [true, true] && [first, second].contains(&"ups") {
                continue;
            }
            let mut world = World::new(seed);
            let [a, b] = [0, 1].map(|side| {
                let name = ["a", "b"][side];
                let (_, endpoint) = add_helper(&mut world, &[name]);
                let own = helped(name, endpoint, HelperUse::Peers).filter(|_| has_helper[side]);
                add_client(&mut world, [first, second][side], ONLY_HELPER, own)
            });
            qualify(&mut world, &[a, b]);
            world.run_for(SECOND).unwrap();
            if ping_until_answered(&mut world, &[(a, b)], 30 * SECOND) != [true] {
                failed.push((first, second, has_helper));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// A helper that has lost its memory is asked again, and the connection goes on.
#[test]
fn connections_outlive_a_restart_of_the_helper() {
    for seed in 0..10 {
        let mut world = World::new(seed);
        let (helper, endpoint) = add_helper(&mut world, &["a"]);
        let own = helped("a", endpoint, HelperUse::Peers);
        let a = add_client(&mut world, "ps", ONLY_HELPER, own);
        let b = add_client(&mut world, "ps", Traversal::RFC6081, None);
        assert_connect(&mut world, (a, b), "");
        world.restart(helper);
        // Silence for five seconds, then two round trips.
        let answered = ping_until_answered(&mut world, &[(a, b)], 10 * SECOND);
        assert_eq!(answered, [true], "{}", world.log_text());
        assert_eq!(world.helper(helper).unwrap().registered(world.now()), 1);
    }
}

/// An idle connection ends as any other, and can be had again.
#[test]
fn a_registration_that_nobody_needs_lapses() {
    let mut world = World::new(5);
    let (helper, endpoint) = add_helper(&mut world, &["a"]);
    let a = add_client(&mut world, "ps", ONLY_HELPER, helped("a", endpoint, HelperUse::Peers));
    let b = add_client(&mut world, "ps", ONLY_HELPER, None);
    let registered = |world: &World| world.helper(helper).unwrap().registered(world.now());
    qualify(&mut world, &[a, b]);
    world.run_for(600 * SECOND).unwrap();
    assert_eq!(world.counters(helper).unwrap().registrations, 0, "nobody was sought");
    for pair in [(a, b), (b, a)] {
        assert_connect(&mut world, pair, "");
        assert_eq!(registered(&world), 1);
        world.run_for(600 * SECOND).unwrap();
        assert_eq!(registered(&world), 0);
    }
    let once = [HelperState::Asking, HelperState::Registered, HelperState::Idle];
    assert_eq!(told(&world, a), once.repeat(2));
}

/// A refusal is told with its reason, also by a client that is off-line because of it.
#[test]
fn a_helper_that_is_full_says_so() {
    let mut world = World::new(7);
    let helper = world.add_helper(clients(&["a", "b"]), |config| config.limits.clients_max = 1);
    let endpoint = world.endpoint_of(helper).unwrap();
    let all = |name| helped(name, endpoint, HelperUse::All);
    let a = add_client(&mut world, "ps", ONLY_HELPER, all("a"));
    qualify(&mut world, &[a]);
    let b = add_client(&mut world, "ps", ONLY_HELPER, all("b"));
    world.run_for(20 * SECOND).unwrap();
    assert_eq!(world.state(b), Some(State::Offline(OfflineReason::NoHelper)));
    let refused = HelperState::Refused(Status::FULL);
    assert_eq!(world.client(b).unwrap().helper_state(world.now()), Some(refused));
    assert_eq!(told(&world, b), [HelperState::Asking, refused]);
}

/// Without the right key there is no help, and no harm: what connects otherwise still does.
#[test]
fn a_wrong_key_is_as_good_as_no_helper() {
    let mut world = World::new(6);
    let (helper, endpoint) = add_helper(&mut world, &["b"]);
    let a = add_client(&mut world, "ps", ONLY_HELPER, helped("a", endpoint, HelperUse::Peers));
    let b = add_client(&mut world, "ps", ONLY_HELPER, None);
    let c = add_client(&mut world, "cone", ONLY_HELPER, None);
    qualify(&mut world, &[a, b, c]);
    assert_eq!(ping_until_answered(&mut world, &[(a, b)], 30 * SECOND), [false]);
    assert_eq!(ping_until_answered(&mut world, &[(a, c)], 5 * SECOND), [true]);
    assert_eq!(world.helper(helper).unwrap().registered(world.now()), 0);
    assert!(world.dropped(helper, DropReason::UnknownIdentifier) > 0);
    let all = add_client(&mut world, "cone", ONLY_HELPER, helped("a", endpoint, HelperUse::All));
    world.run_for(20 * SECOND).unwrap();
    let offline = State::Offline(OfflineReason::NoHelper);
    assert_eq!(world.state(all), Some(offline));
    // Which is seen, and told.
    for client in [a, all] {
        let state = world.client(client).unwrap().helper_state(world.now());
        assert_eq!(state, Some(HelperState::Silent));
    }
    assert_eq!(told(&world, a), [HelperState::Asking, HelperState::Silent]);
}

/// What gets lost on the way to the helper is made up for.
#[test]
fn loss_does_not_keep_clients_from_their_helper() {
    let mut late = 0;
    for seed in 0..100 {
        let mut world = World::new(seed);
        world.set_host_link(Link { loss_permille: 10, ..Link::perfect(HOP_DELAY) });
        let (_, endpoint) = add_helper(&mut world, &["a"]);
        let own = helped("a", endpoint, HelperUse::Peers);
        let a = add_client(&mut world, "ps", ONLY_HELPER, own);
        let b = add_client(&mut world, "ps", ONLY_HELPER, None);
        qualify(&mut world, &[a, b]);
        late += usize::from(ping_until_answered(&mut world, &[(a, b)], 30 * SECOND) != [true]);
    }
    assert!(late <= 1, "{late} of 100");
}

/// Helpers bear a flood of everything towards their port and their clients, and go on.
#[test]
fn a_flood_does_not_end_help() {
    let mut world = World::new(8);
    let (helper, endpoint) = add_helper(&mut world, &["a"]);
    let a = add_client(&mut world, "ps", ONLY_HELPER, helped("a", endpoint, HelperUse::Peers));
    let b = add_client(&mut world, "ps", ONLY_HELPER, None);
    assert_connect(&mut world, (a, b), "");
    let target = world.ipv6(a).unwrap();
    for number in 0..20_000_u32 {
        let from = SocketAddrV4::new(core::net::Ipv4Addr::from_bits((11 << 24) + number), 4096);
        let header = teredo_wire::ipv6::Header::bubble("2001:db8::1".parse().unwrap(), target);
        let mut bytes = [0; 60];
        let mut writer = teredo_wire::Writer::new(&mut bytes);
        header.write(&mut writer).unwrap();
        let len = writer.len();
        world.inject(from, endpoint, bytes[..len].to_vec());
        if number % 500 == 0 {
            world.run_for(SECOND / 4).unwrap();
        }
    }
    assert!(world.dropped(helper, DropReason::RateLimit) > 0);
    world.run_for(SECOND).unwrap();
    assert!(ping(&mut world, a, b, SECOND).is_some());
    assert!(ping(&mut world, b, a, SECOND).is_some());
}
