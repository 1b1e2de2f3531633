//! What parameters of NATs promise, and what happens.

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use core::time::Duration;

use teredo_proto::client::Traversal;
use teredo_proto::random::Random;
use teredo_sim::matrix::{KINDS, Technique, connect_sides};
use teredo_sim::nat::Hairpin;
use teredo_sim::predicate::{
    Side, Verdict, draw_nat, verdict, verdict_behind_one, verdict_below_one,
};
use teredo_sim::{Link, NatConfig, NatId, Stopped, World};

use common::{SECOND, ping_until_answered};

const ALL: Traversal = Traversal::RFC6081;

/// Every switch of RFC 6081 off, one at a time.
fn reduced() -> [Traversal; 7] {
    [
        Traversal { symmetric: false, ..ALL },
        Traversal { mapped_symmetric: false, ..ALL },
        Traversal { port_preserving: false, ..ALL },
        Traversal { sequential: false, ..ALL },
        Traversal { hairpin: false, ..ALL },
        Traversal { load_reduction: false, ..ALL },
        Traversal::NONE,
    ]
}

fn is_promised(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Must(_))
}

/// Whether the two connect; a client that does not qualify connects to nobody.
fn connects(seed: u64, sides: &[Side; 2]) -> bool {
    match connect_sides(seed, sides, Link::perfect(Duration::ZERO)) {
        Ok(connection) => connection.took.is_some(),
        Err(Stopped::Late) => false,
        Err(stopped) => panic!("seed {seed}, {} and {}: {stopped}", sides[0], sides[1]),
    }
}

//= N-NAT-07: the reasoning about parameters gives figure 1, but for E-29 and chance
#[test]
fn reasoning_gives_figure_1() {
    let pairs = (0..KINDS.len()).flat_map(|from| (0..KINDS.len()).map(move |to| (from, to)));
    for (from, to) in pairs {
        let names = [KINDS[from], KINDS[to]];
        let verdict = verdict(&Side::of_kind(from, ALL), &Side::of_kind(to, ALL));
        let is_lucky = [["addr", "ar"], ["ar", "addr"]].contains(&names);
        if Technique::of(from, to) != Technique::None || names.contains(&"upr") {
            assert!(is_promised(verdict), "{names:?}");
        } else {
            assert_eq!(verdict == Verdict::MustNot, !is_lucky, "{names:?} {verdict:?}");
        }
    }
}

/// Draws pairs and holds what is said of them against what they do. `cargo run --example replay --
/// --draw SEED` shows one of them.
fn compare(first_seed: u64, count: u64, change: impl Fn(u64, &mut [Side; 2])) {
    let mut said = [0; 3];
    for seed in first_seed..first_seed + count {
        let mut sides = Side::draw_pair(seed);
        change(seed, &mut sides);
        let verdict = verdict(&sides[0], &sides[1]);
        let expected = match verdict {
            Verdict::Must(_) => Some(true),
            Verdict::MustNot => Some(false),
            Verdict::May => None,
        };
        said[expected.map_or(2, usize::from)] += 1;
        if let Some(expected) = expected {
            let [from, to] = &sides;
            assert_eq!(connects(seed, &sides), expected, "{seed}: {verdict}\n{from}\n{to}");
        }
    }
    assert!(said.iter().all(|times| *times > count / 30), "{said:?} of {count}");
}

//= N-NAT-07: any NATs, also behind one another: what must connect does, what must not does not
#[test]
fn any_pair_does_as_is_said_of_it() {
    compare(0, 2_000, |_, _| {});
}

//= X-INDEP-01: the same with techniques switched off at either end
#[test]
fn any_pair_with_less_does_as_is_said_of_it() {
    compare(1_000_000, 2_000, |seed, sides| {
        let [first, second] = sides;
        first.traversal = reduced()[seed as usize % 7];
        second.traversal = reduced()[seed as usize / 7 % 7];
    });
}

/// Protocol section 6.5: two NATs in a row are as the more restrictive of them.
//= X-HP-09: CGN and home NAT
#[test]
fn two_nats_in_a_row_are_as_the_worse_one() {
    let through_two = |inner: NatConfig, outer: NatConfig| {
        let nats = vec![NatConfig { gives_explicit: false, ..inner }, outer];
        Side { nats, pool: 1, traversal: ALL }
    };
    for inner in KINDS.map(|key| key.parse().unwrap_or(NatConfig::cone())) {
        let inner = NatConfig { gives_explicit: false, ..inner };
        let outer = [NatConfig::cone(), NatConfig { lifetime: LONG, ..NatConfig::pr() }];
        for peer in [NatConfig::cone(), NatConfig::ar(), NatConfig::pr(), NatConfig::pp()] {
            let peer = Side::behind(peer, ALL);
            let alone = verdict(&Side::behind(inner, ALL), &peer);
            let sides = [through_two(inner, outer[0]), peer.clone()];
            assert_eq!(verdict(&sides[0], &sides[1]), alone, "{} {peer}", sides[0]);
            assert_eq!(connects(1, &sides), is_promised(alone), "{} {peer}", sides[0]);
            let sides = [through_two(inner, outer[1]), peer];
            let is_promised = is_promised(verdict(&sides[0], &sides[1]));
            assert_eq!(connects(2, &sides), is_promised, "{} {}", sides[0], sides[1]);
        }
    }
}

/// Two clients where `add` puts them: whether the first one gets an answer from the other.
fn neighbours_connect(
    seed: u64,
    traversals: [Traversal; 2],
    add: impl FnOnce(&mut World) -> [NatId; 2],
) -> bool {
    let mut world = World::new(seed);
    world.add_server();
    let places = add(&mut world);
    let clients = [0, 1].map(|index| {
        world.add_client_with(places[index], |config| {
            config.traversal = traversals[index];
            config.local_discovery = false;
        })
    });
    let all = |world: &World| clients.iter().all(|client| world.is_qualified(*client));
    if world.run_until(3 * SECOND, all).is_err() {
        return false;
    }
    ping_until_answered(&mut world, &[(clients[0], clients[1])], 30 * SECOND) == [true]
}

fn assert_said(verdict: Verdict, is_so: bool, told: &str) -> bool {
    match verdict {
        Verdict::Must(_) => assert!(is_so, "{told}: {verdict}"),
        Verdict::MustNot => assert!(!is_so, "{told}: {verdict}"),
        Verdict::May => return false,
    }
    true
}

/// A NAT of any parameters, with any hairpinning.
fn draw(random: &mut Random) -> NatConfig {
    let hairpin = [Hairpin::None, Hairpin::External, Hairpin::Internal][random.below(3) as usize];
    NatConfig { hairpin, ..draw_nat(random) }
}

/// Protocol section 6.5, first rows of the table.
//= X-HP-09: same NAT, with hairpinning of either sort or without
#[test]
fn neighbours_behind_one_nat_do_as_is_said_of_them() {
    let mut said = 0;
    for seed in 0..600_u64 {
        let mut bytes = *b"two clients behind any one NAT..";
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut random = Random::new(bytes);
        let nat = draw(&mut random);
        let traversals = [(); 2].map(|()| match random.below(3) {
            0 => ALL,
            _ => reduced()[random.below(7) as usize],
        });
        let is_so = neighbours_connect(seed, traversals, |world| [world.add_nat(nat); 2]);
        let verdict = verdict_behind_one(&nat, traversals);
        said += u32::from(assert_said(verdict, is_so, &format!("{seed}: {nat} {traversals:?}")));
    }
    assert!(said > 150, "{said}");
}

/// Protocol section 6.5: two NATs under one that turns nothing back.
//= X-HP-09: nested NATs with mapped addresses of the inner ones
#[test]
fn neighbours_below_one_nat_do_as_is_said_of_them() {
    let mut said = 0;
    for seed in 0..600_u64 {
        let mut bytes = *b"two clients below any three NATs";
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut random = Random::new(bytes);
        let outer = NatConfig { hairpin: Hairpin::None, ..draw_nat(&mut random) };
        let inner = [(); 2]
            .map(|()| NatConfig { gives_explicit: random.below(2) == 0, ..draw_nat(&mut random) });
        let is_so = neighbours_connect(seed, [ALL; 2], |world| {
            let outer = world.add_nat(outer);
            inner.map(|inner| world.add_nat_at(outer, inner, 1))
        });
        let verdict = verdict_below_one(&outer, inner.each_ref(), [ALL; 2]);
        let told = format!("{seed}: {} and {} below {outer}", inner[0], inner[1]);
        said += u32::from(assert_said(verdict, is_so, &told));
    }
    assert!(said > 60, "{said}");
}

const LONG: Duration = Duration::from_secs(600);
