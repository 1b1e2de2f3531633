//! A gateway that lets all in and out only by other ports: what comes in proves nothing of the way
//! out.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use core::time::Duration;

use teredo_proto::client::Traversal;
use teredo_sim::matrix::{self, KINDS, Options};

fn number(key: &str) -> usize {
    KINDS.iter().position(|kind| *kind == key).unwrap()
}

/// The longest time of a few runs; none if one does not connect.
fn longest(from: &str, to: &str, options: &Options) -> Option<Duration> {
    let kinds = [number(from), number(to)];
    let runs: Option<Vec<_>> =
        (1..=SEEDS).map(|seed| matrix::connect(seed, kinds, options).unwrap().took).collect();
    runs?.into_iter().max()
}

const SEEDS: u64 = 20;

//= X-R-03: both directions are proven before other ways are given up
#[test]
fn a_peer_that_does_not_hear_us_is_met_through_the_helper() {
    let everything = Options::both(Traversal::default());
    for other in ["pr", "pp", "seq", "ps", "addr"] {
        for (from, to) in [("ups", other), (other, "ups")] {
            let took = longest(from, to, &everything);
            assert!(took.is_some_and(|took| took < Duration::from_secs(6)), "{from} {to} {took:?}");
        }
    }
}

#[test]
fn a_peer_that_hears_us_is_met_as_fast_as_ever() {
    let everything = Options::both(Traversal::default());
    for other in ["cone", "ar", "upr", "ups"] {
        for (from, to) in [("ups", other), (other, "ups")] {
            let took = longest(from, to, &everything);
            assert!(
                took.is_some_and(|took| took < Duration::from_millis(450)),
                "{from} {to} {took:?}"
            );
        }
    }
}

/// A peer that does not answer solicitations (RFC 6081 section 5.7 is optional).
#[test]
fn a_peer_that_answers_no_questions_is_believed_in_the_end() {
    let old = Traversal { load_reduction: false, ..Traversal::RFC6081 };
    for traversals in [[Traversal::default(), old], [old, Traversal::default()]] {
        for other in ["cone", "ar", "upr", "ups"] {
            let pair = if traversals[0] == old { [other, "ups"] } else { ["ups", other] };
            let options = Options { traversals, ..Options::both(old) };
            let took = longest(pair[0], pair[1], &options);
            assert!(took.is_some_and(|took| took < Duration::from_secs(10)), "{pair:?} {took:?}");
        }
    }
}
