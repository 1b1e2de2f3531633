//! Random worlds, many of them: `soak [--runs N] [--seed S] [--verbose] [--pcap DIR]`, or one that
//! a file of bytes is: `soak --input FILE`.
//!
//! Run *i* has the seed S + *i*. The first violation ends the soak with exit status 1 and tells how
//! to see it again; with `--keep-going` the others are run too, and each violation takes a line.
//! `--verbose` prints what happened in each run, `--pcap` writes what was on its wires.

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a program with arguments, output and a clock; what it runs has none"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use teredo_sim::scenario::{self, Failure, Outcome};

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let soak = Soak::new(arguments);
    if let Some(path) = &soak.arguments.input {
        return soak.replay(path);
    }
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| soak.work());
        }
    });
    soak.report()
}

struct Arguments {
    runs: u64,
    seed: u64,
    keep_going: bool,
    verbose: bool,
    pcap: Option<PathBuf>,
    input: Option<PathBuf>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self {
            runs: 1000,
            seed: 1,
            keep_going: false,
            verbose: false,
            pcap: None,
            input: None,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            let number = |value: String| {
                value.parse().map_err(|_| format!("{word} needs a number, not {value}"))
            };
            match word.as_str() {
                "--runs" => arguments.runs = number(value()?)?,
                "--seed" => arguments.seed = number(value()?)?,
                "--keep-going" => arguments.keep_going = true,
                "--verbose" => arguments.verbose = true,
                "--pcap" => arguments.pcap = Some(value()?.into()),
                "--input" => arguments.input = Some(value()?.into()),
                _ => return Err(format!("unknown option {word}")),
            }
        }
        Ok(arguments)
    }
}

/// All runs together.
struct Soak {
    arguments: Arguments,
    started: Instant,
    next: AtomicU64,
    done: AtomicU64,
    totals: Mutex<Totals>,
    /// The violation with the lowest seed so far.
    failed: Mutex<Option<(u64, Failure)>>,
}

#[derive(Default)]
struct Totals {
    frames: u64,
    packets_sent: u64,
    packets_delivered: u64,
    simulated: Duration,
    most_bubbles: usize,
    connections: u64,
    digest: u64,
}

impl Soak {
    fn new(arguments: Arguments) -> Self {
        Self {
            arguments,
            started: Instant::now(),
            next: AtomicU64::new(0),
            done: AtomicU64::new(0),
            totals: Mutex::default(),
            failed: Mutex::default(),
        }
    }

    /// Takes one run after the other, until all are done or one fails.
    fn work(&self) {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let is_over = !self.arguments.keep_going && lock(&self.failed).is_some();
            if index >= self.arguments.runs || is_over {
                return;
            }
            let seed = self.arguments.seed.wrapping_add(index);
            match self.run(seed, &scenario::bytes(seed), index.is_multiple_of(REPEAT_EVERY)) {
                Ok(outcome) => self.count(seed, &outcome),
                Err(failure) => {
                    if self.arguments.keep_going {
                        println!("seed {seed}: {}", failure.what);
                    }
                    let mut failed = lock(&self.failed);
                    if failed.as_ref().is_none_or(|(known, _)| seed < *known) {
                        *failed = Some((seed, failure));
                    }
                }
            }
        }
    }

    fn run(&self, seed: u64, bytes: &[u8], twice: bool) -> Result<Outcome, Failure> {
        let Arguments { verbose, pcap, .. } = &self.arguments;
        let run = || {
            let watched = *verbose || pcap.is_some();
            let caught = catch_unwind(AssertUnwindSafe(|| scenario::run(bytes, watched)));
            caught.unwrap_or_else(|_| Err(failure("panic")))
        };
        let outcome = run()?;
        if *verbose {
            println!("seed {seed}: trace {:016x}\n{}", outcome.trace, outcome.story);
        }
        if twice && run()?.trace != outcome.trace {
            return Err(failure("the same seed gave another trace"));
        }
        self.write_captures(seed, &outcome.captures);
        Ok(outcome)
    }

    /// Runs what a file says, and tells all about it.
    fn replay(&self, path: &Path) -> ExitCode {
        let run = std::fs::read(path).map_err(|error| failure(&error.to_string()));
        match run.and_then(|bytes| scenario::run(&bytes, true)) {
            Ok(outcome) => {
                println!("{}", outcome.story);
                self.write_captures(0, &outcome.captures);
                ExitCode::SUCCESS
            }
            Err(failure) => {
                println!("{}\n{}: {}", failure.story, path.display(), failure.what);
                self.write_captures(0, &failure.captures);
                ExitCode::FAILURE
            }
        }
    }

    fn write_captures(&self, seed: u64, captures: &[(String, Vec<u8>)]) {
        let Some(directory) = &self.arguments.pcap else { return };
        for (wire, file) in captures {
            let path = directory.join(format!("{seed}-{wire}.pcap"));
            if let Err(error) = std::fs::write(&path, file) {
                eprintln!("{}: {error}", path.display());
            }
        }
    }

    fn count(&self, seed: u64, outcome: &Outcome) {
        let mut totals = lock(&self.totals);
        totals.frames += outcome.frames;
        totals.packets_sent += outcome.packets_sent;
        totals.packets_delivered += outcome.packets_delivered;
        totals.simulated += outcome.simulated;
        totals.connections += outcome.connections;
        totals.most_bubbles = totals.most_bubbles.max(outcome.most_bubbles);
        // Runs end in any order.
        totals.digest = totals.digest.wrapping_add(outcome.trace ^ seed);
        drop(totals);
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(PROGRESS_EVERY) {
            println!("{done} runs, {:.0} runs/s", self.rate(done));
        }
    }

    fn report(&self) -> ExitCode {
        if let Some((seed, failure)) = &*lock(&self.failed) {
            println!("{}", failure.story);
            self.write_captures(*seed, &failure.captures);
            println!("soak: VIOLATION with seed {seed}: {}", failure.what);
            println!(
                "again: cargo run --release -p teredo-sim --example soak -- \
                 --runs 1 --seed {seed} --verbose"
            );
            return ExitCode::FAILURE;
        }
        let (totals, done) = (lock(&self.totals), self.done.load(Ordering::Relaxed));
        println!(
            "soak: {done} runs from seed {}, no violation: {:.1} s, {:.0} runs/s, {:.0} simulated \
             hours, {} frames, {} of {} packets delivered, {} connections in peace, at most {} \
             bubbles in 10 s, digest {:016x}",
            self.arguments.seed,
            self.started.elapsed().as_secs_f64(),
            self.rate(done),
            totals.simulated.as_secs_f64() / 3600.0,
            totals.frames,
            totals.packets_delivered,
            totals.packets_sent,
            totals.connections,
            totals.most_bubbles,
            totals.digest,
        );
        ExitCode::SUCCESS
    }

    fn rate(&self, done: u64) -> f64 {
        done as f64 / self.started.elapsed().as_secs_f64().max(1e-9)
    }
}

fn failure(what: &str) -> Failure {
    Failure { what: what.to_owned(), story: String::new(), captures: Vec::new() }
}

/// A lock that a panicking run does not spoil for the others.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

const USAGE: &str = "usage: soak [--runs N] [--seed S] [--keep-going] [--verbose] [--pcap DIR] | \
     soak --input FILE [--pcap DIR]";
/// Every so many runs one is done twice, to see that it is the same again.
const REPEAT_EVERY: u64 = 50;
const PROGRESS_EVERY: u64 = 5000;
