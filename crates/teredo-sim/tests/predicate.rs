//! What parameters of NATs promise, and what happens.

#![allow(clippy::panic, reason = "these are tests")]

use core::time::Duration;

use teredo_proto::client::Traversal;
use teredo_sim::matrix::{KINDS, Technique, connect_sides};
use teredo_sim::predicate::{Side, Verdict, verdict};
use teredo_sim::{Link, NatConfig, Stopped};

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

const LONG: Duration = Duration::from_secs(600);
