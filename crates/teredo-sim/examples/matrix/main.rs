//! All pairs of NATs, many times each: `matrix --seeds N [--workers N] [--techniques
//! rfc6081|rfc4380]`.
//!
//! Prints one line of JSON for each pair: `cargo xtask matrix` makes the table of them. Seeds count
//! from 1, so that anybody can see any of the runs again.

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a program with arguments and output; what it runs has none"
)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use teredo_proto::client::Traversal;
use teredo_sim::matrix::{Connection, KINDS, Options, Technique, connect};

fn main() -> ExitCode {
    let Some((seeds, traversal)) = arguments(std::env::args().skip(1)) else {
        eprintln!("usage: matrix [--seeds N] [--techniques rfc6081|rfc4380]");
        return ExitCode::from(2);
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, broken) = (AtomicUsize::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(pair) = pair(next.fetch_add(1, Ordering::Relaxed)) {
                    match Cell::run(pair, seeds, traversal) {
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

fn arguments(mut words: impl Iterator<Item = String>) -> Option<(u64, Traversal)> {
    let (mut seeds, mut traversal) = (200, Traversal::RFC6081);
    while let Some(word) = words.next() {
        match (word.as_str(), words.next()?.as_str()) {
            ("--seeds", number) => seeds = number.parse().ok()?,
            ("--techniques", "rfc6081") => traversal = Traversal::RFC6081,
            ("--techniques", "rfc4380") => traversal = Traversal::NONE,
            _ => return None,
        }
    }
    Some((seeds, traversal))
}

fn pair(index: usize) -> Option<[usize; 2]> {
    let count = KINDS.len();
    (index < count * count).then_some([index / count, index % count])
}

/// All runs of one pair.
struct Cell {
    kinds: [usize; 2],
    seeds: u64,
    took: Vec<Duration>,
    bubbles: Vec<usize>,
    /// The first seed that did not connect.
    failed: Option<u64>,
}

impl Cell {
    fn run(kinds: [usize; 2], seeds: u64, traversal: Traversal) -> Result<Self, String> {
        let mut cell = Self { kinds, seeds, took: Vec::new(), bubbles: Vec::new(), failed: None };
        let options = Options::both(traversal);
        for seed in 1..=seeds {
            let connection = connect(seed, kinds, &options).map_err(|stopped| {
                format!("{} to {}, seed {seed}: {stopped}", KINDS[kinds[0]], KINDS[kinds[1]])
            })?;
            match connection {
                Connection { took: Some(took), bubbles } => {
                    cell.took.push(took);
                    cell.bubbles.push(bubbles);
                }
                Connection { took: None, .. } => cell.failed = cell.failed.or(Some(seed)),
            }
        }
        cell.took.sort_unstable();
        cell.bubbles.sort_unstable();
        Ok(cell)
    }

    fn json(&self) -> String {
        let [from, to] = self.kinds;
        let ms = |took: Option<&Duration>| {
            took.map_or("null".to_owned(), |took| took.as_millis().to_string())
        };
        let number =
            |value: Option<u64>| value.map_or("null".to_owned(), |value| value.to_string());
        format!(
            "{{\"from\":\"{}\",\"to\":\"{}\",\"rfc\":\"{}\",\"seeds\":{},\"connected\":{},\
             \"median_ms\":{},\"worst_ms\":{},\"bubbles\":{},\"failed_seed\":{}}}",
            KINDS[from],
            KINDS[to],
            Technique::of(from, to).name(),
            self.seeds,
            self.took.len(),
            ms(self.took.get(self.took.len() / 2)),
            ms(self.took.last()),
            number(self.bubbles.get(self.bubbles.len() / 2).map(|bubbles| *bubbles as u64)),
            number(self.failed),
        )
    }
}
