//! What goes wrong between hosts, and what NATs and links tell (protocol section 7.4).

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use core::time::Duration;

use teredo_sim::icmp::{IcmpError, Problem};
use teredo_sim::link::{Bursts, Mtu};
use teredo_sim::nat::{Filtering, Mapping, Refusal};
use teredo_sim::world::Happened;
use teredo_sim::{HostId, Link, NatConfig, NatId, World};

use common::{PLAIN, SECOND, ping, ping_until_answered, qualify, story};

const DELAY: Duration = Duration::from_millis(10);
const MS: Duration = Duration::from_millis(1);

/// Two clients of one server behind NATs of their own, qualified.
fn pair(seed: u64, configs: [NatConfig; 2]) -> (World, [HostId; 2], [NatId; 2]) {
    let mut world = World::new(seed);
    world.add_server();
    let nats = configs.map(|config| world.add_nat(config));
    let clients = nats.map(|nat| world.add_client(nat));
    qualify(&mut world, &clients);
    (world, clients, nats)
}

fn errors(world: &World, host: HostId) -> Vec<IcmpError> {
    let of_host = world.log().iter().filter(|entry| entry.host == host);
    let error = of_host.filter_map(|entry| match entry.what {
        Happened::Error(error) => Some(error),
        Happened::Event(_) | Happened::Dropped(_) => None,
    });
    error.collect()
}

#[test]
fn each_direction_has_a_link_of_its_own() {
    let (mut world, [a, b], _) = pair(1, [NatConfig::pr(); 2]);
    assert!(ping(&mut world, a, b, SECOND).is_some());
    world.set_links(a, Link::perfect(200 * MS), Link::perfect(30 * MS));
    assert_eq!(ping(&mut world, a, b, SECOND), Some(250 * MS));
    let deaf = Link { loss_permille: 1_000, ..Link::perfect(DELAY) };
    world.set_links(a, Link::perfect(DELAY), deaf);
    let data = world.send_data(a, world.ipv6(b).unwrap(), 200).unwrap();
    assert_eq!(ping(&mut world, a, b, SECOND), None);
    assert!(world.is_delivered(data), "what goes out arrives");
}

#[test]
fn a_partition_passes() {
    let (mut world, [a, b], nats) = pair(2, [NatConfig::pr(); 2]);
    assert!(ping(&mut world, a, b, SECOND).is_some());
    world.partition(&[], &nats[..1], 20 * SECOND);
    assert_eq!(ping_until_answered(&mut world, &[(a, b)], 20 * SECOND), [false]);
    assert_eq!(ping_until_answered(&mut world, &[(a, b), (b, a)], 10 * SECOND), [true; 2]);
    // With both on one side and the server on the other they do without it.
    world.partition(&[], &nats, 20 * SECOND);
    let other = world.add_nat(NatConfig::pr());
    let late = world.add_client(other);
    assert!(ping(&mut world, a, b, SECOND).is_some());
    qualify(&mut world, &[late]);
    assert_eq!(ping(&mut world, late, a, SECOND), None);
}

#[test]
fn packets_that_are_too_long_do_not_pass() {
    for tells in [false, true] {
        let narrow = Link { mtu: Some(Mtu { bytes: 1_000, tells }), ..Link::perfect(DELAY) };
        let wide = Link::perfect(DELAY);
        let (mut world, [a, b], _) = pair(3, [NatConfig::pr(), NatConfig::ar()]);
        assert!(ping(&mut world, a, b, SECOND).is_some());
        // On the sender's own link, then beyond its NAT and the peer's.
        for (out, into) in [(narrow, wide), (wide, narrow)] {
            world.set_links(a, out, wide);
            world.set_links(b, wide, into);
            let to = world.ipv6(b).unwrap();
            let [short, long] = [900, 1_000].map(|len| world.send_data(a, to, len).unwrap());
            let before = errors(&world, a).len();
            world.run_for(SECOND).unwrap();
            assert!(world.is_delivered(short) && !world.is_delivered(long));
            let new = errors(&world, a).split_off(before);
            assert_eq!(new.len(), usize::from(tells), "{}", world.log_text());
            for error in new {
                assert_eq!(error.problem, Problem::TooLong(1_000));
                assert_eq!(Some(error.from), world.endpoint_of(a), "as it was sent");
                assert_eq!(Some(error.to), world.client(b).unwrap().mapped());
            }
        }
    }
}

//= N-NAT-10: with bursts of loss, jitter and duplicates all connect within 30 s all the same
#[test]
fn bursts_and_jitter_only_delay_connections() {
    let bursts = Bursts { begin_permille: 20, end_permille: 200, loss_permille: 900 };
    let bad = Link {
        jitter: 80 * MS,
        bursts: Some(bursts),
        duplicate_permille: 50,
        ..Link::perfect(DELAY)
    };
    for seed in 0..10 {
        for first in PLAIN {
            for second in PLAIN {
                let configs = [first, second].map(|key| key.parse().unwrap());
                let (mut world, [a, b], _) = pair(seed, configs);
                for client in [a, b] {
                    world.set_link(client, bad);
                }
                let pairs = [(a, b), (b, a)];
                let answered = ping_until_answered(&mut world, &pairs, 30 * SECOND);
                assert_eq!(answered, [true; 2], "{seed} {}", story(&world, &first));
            }
        }
    }
}

/// Protocol section 7.4: latency from 1 to 500 ms.
#[test]
fn slow_links_only_delay_connections() {
    for delay in [1, 50, 200, 500] {
        for first in PLAIN {
            let mut world = World::new(delay);
            world.add_server();
            world.set_host_link(Link::perfect(MS * delay as u32));
            let nats = [first, "pr"].map(|key| world.add_nat(key.parse().unwrap()));
            let clients = nats.map(|nat| world.add_client(nat));
            qualify(&mut world, &clients);
            let answered = ping_until_answered(
                &mut world,
                &[(clients[0], clients[1]), (clients[1], clients[0])],
                30 * SECOND,
            );
            assert_eq!(answered, [true; 2], "{delay} {}", story(&world, &first));
        }
    }
}

/// RFC 4787 section 9: a NAT may say that it refuses, and mappings outlive it.
#[test]
fn refusals_are_told_where_a_nat_tells_them() {
    let telling = NatConfig { refusal: Refusal::PortUnreachable, ..NatConfig::pr() };
    for (peer, is_told) in [(NatConfig::pr(), false), (telling, true)] {
        let (mut world, [a, b], _) = pair(4, [NatConfig::pr(), peer]);
        assert!(ping(&mut world, a, b, SECOND).is_some(), "it makes no difference");
        let errors = errors(&world, a);
        assert_eq!(errors.len(), usize::from(is_told), "the first bubble");
        for error in errors {
            let mapped = world.client(b).unwrap().mapped().unwrap();
            assert_eq!((error.problem, error.reporter), (Problem::PortUnreachable, *mapped.ip()));
            assert_eq!((Some(error.from), error.to), (world.endpoint_of(a), mapped));
        }
    }
}

/// A NAT that takes an error for the end of a mapping, as RFC 4787 REQ-10 forbids: its client asks
/// the server again and again, and connects within 30 s.
#[test]
fn an_error_that_ends_a_mapping_does_no_lasting_harm() {
    let telling = NatConfig { refusal: Refusal::PortUnreachable, ..NatConfig::pr() };
    let touchy = NatConfig { icmp_ends_mapping: true, ..NatConfig::pr() };
    for seed in 0..10 {
        let (mut world, [a, b], _) = pair(seed, [touchy, telling]);
        let answered = ping_until_answered(&mut world, &[(a, b), (b, a)], 30 * SECOND);
        assert_eq!(answered, [true; 2], "{seed} {}", story(&world, &"touchy"));
    }
}

/// Protocol section 7.4: mappings that live 10 s, between clients that speak every 30 s.
#[test]
fn short_lifetimes_only_delay_connections() {
    let short = |config| NatConfig { lifetime: 10 * SECOND, ..config };
    for seed in 0..10 {
        for first in PLAIN {
            let configs = [first, "pr"].map(|key| short(key.parse().unwrap()));
            let (mut world, [a, b], _) = pair(seed, configs);
            world.run_for(45 * SECOND).unwrap();
            let answered = ping_until_answered(&mut world, &[(a, b), (b, a)], 60 * SECOND);
            assert_eq!(answered, [true; 2], "{seed} {}", story(&world, &first));
        }
    }
}

//= X-R-03: a random port is no less a way than the service port until the peer uses that one
/// A NAT that lets everybody in and out by other ports, as some gateways do: which of our bubbles
/// the peer hears first, and so where it sends, is not told by its own.
#[test]
fn the_order_of_bubbles_does_not_decide_who_meets() {
    let (mapping, filtering) = (Mapping::AddressAndPortDependent, Filtering::EndpointIndependent);
    let open = NatConfig { mapping, filtering, ..NatConfig::pp() };
    for other in [NatConfig::cone(), NatConfig::ar()] {
        for (seed, is_first) in (0..20).flat_map(|seed| [(seed, true), (seed, false)]) {
            let configs = if is_first { [open, other] } else { [other, open] };
            let (mut world, [a, b], _) = pair(seed, configs);
            world.run_for(SECOND).unwrap();
            let shuffled =
                Link { reorder_permille: 400, reorder_delay: 60 * MS, ..Link::perfect(DELAY) };
            world.set_link(a, shuffled);
            world.set_link(b, shuffled);
            let answered = ping_until_answered(&mut world, &[(a, b)], 10 * SECOND);
            assert_eq!(answered, [true], "seed {seed}, {configs:?}");
        }
    }
}
