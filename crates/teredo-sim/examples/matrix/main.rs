//! All pairs of NATs, many times each, and what connects them.
//!
//! Prints one line of JSON for each pair: `cargo xtask matrix` makes tables of them. Seeds count
//! from 1, so that anybody can see any of the runs again.

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a program with arguments and output; what it runs has none"
)]

mod cell;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use teredo_proto::client::Traversal;
use teredo_sim::matrix::KINDS;

use cell::Cell;

const USAGE: &str = "\
usage: matrix [--first SEED] [--seeds N] [--techniques NAMES] [--peer NAMES] [--loss PERMILLE]
              [--by yes|no]
Names are those of the client's techniques: all, rfc6081, none, symmetric,birthday and so on; --peer
is for the client that does not begin, if it has others. --by says which technique each needs.";

fn main() -> ExitCode {
    let Some(runs) = Runs::read(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, broken) = (AtomicUsize::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(pair) = pair(next.fetch_add(1, Ordering::Relaxed)) {
                    match Cell::run(pair, &runs) {
                        Ok(cell) => println!("{}", cell.json()),
                        Err(message) => {
                            if let Ok(mut broken) = broken.lock() {
                                *broken = Some(message);
                            }
                            return;
                        }
                    }
                }
            });
        }
    });
    match broken.into_inner() {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(message)) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// What is to be run for each pair.
#[derive(Clone, Copy, Debug)]
struct Runs {
    first: u64,
    seeds: u64,
    /// Of the client that begins, and of the other one.
    techniques: [Traversal; 2],
    loss_permille: u16,
    says_by: bool,
}

impl Runs {
    fn read(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let [rfc6081, mut peer] = [Traversal::RFC6081, Traversal::RFC6081].map(Some);
        let mut own = rfc6081;
        let (mut first, mut seeds, mut loss_permille, mut says_by) = (1, 200, 0, false);
        while let Some(word) = words.next() {
            let value = words.next()?;
            match word.as_str() {
                "--first" => first = value.parse().ok()?,
                "--seeds" => seeds = value.parse().ok().filter(|seeds| *seeds > 0)?,
                "--techniques" => (own, peer) = (Some(value.parse().ok()?), None),
                "--peer" => peer = Some(value.parse().ok()?),
                "--loss" => loss_permille = value.parse().ok()?,
                "--by" => says_by = value == "yes",
                _ => return None,
            }
        }
        let own = own?;
        let techniques = [own, peer.unwrap_or(own)];
        Some(Self { first, seeds, techniques, loss_permille, says_by })
    }
}

fn pair(index: usize) -> Option<[usize; 2]> {
    let count = KINDS.len();
    (index < count * count).then_some([index / count, index % count])
}
