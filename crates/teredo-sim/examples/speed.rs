//! How fast the simulator is: connections a second of one core, over the pairs of NATs that RFC
//! 6081 connects. `cargo xtask bench sim [--seeds N]`, in one thread.
//!
//! A connection is a world from nothing: two servers, two NATs, two clients that qualify, bubbles,
//! a ping and its answer. What counts is the time of the processor, so that what else the machine
//! does matters little; the rate is that of all connections together, so that slow pairs weigh
//! more.

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a program with arguments, output and a clock; what it runs has none"
)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use teredo_proto::client::Traversal;
use teredo_sim::matrix::{KINDS, Options, Technique, connect};

fn main() -> ExitCode {
    let Some(seeds) = arguments(std::env::args().skip(1)) else {
        eprintln!("usage: speed [--seeds N]");
        return ExitCode::from(2);
    };
    let sets = [("RFC 6081", Traversal::RFC6081), ("everything", Traversal::ALL)];
    println!(
        "{:<12} {:>12} {:>12} {:>12}  slowest pair",
        "techniques", "connections", "1/s", "CPU 1/s"
    );
    for (name, traversal) in sets {
        match Speed::measure(seeds, &Options::both(traversal)) {
            Ok(speed) => {
                println!("{name:<12} {}", speed.line());
                if speed.per_cpu_second() < GOAL {
                    eprintln!("less than {GOAL} connections a second and core");
                    return ExitCode::FAILURE;
                }
            }
            Err(message) => {
                eprintln!("{message}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn arguments(mut words: impl Iterator<Item = String>) -> Option<u64> {
    match words.next().as_deref() {
        None => Some(SEEDS),
        Some("--seeds") => words.next()?.parse().ok().filter(|seeds| *seeds > 0),
        Some(_) => None,
    }
}

/// What all pairs took together.
#[derive(Default)]
struct Speed {
    connections: u64,
    wall: Duration,
    cpu: Duration,
    /// The pair that took longest for its connections, and how long.
    slowest: Option<(Duration, [usize; 2])>,
    seeds: u64,
}

impl Speed {
    fn measure(seeds: u64, options: &Options) -> Result<Self, String> {
        let mut speed = Self { seeds, ..Self::default() };
        let started = Instant::now();
        for kinds in positive_pairs() {
            let before = cpu_time()?;
            for seed in 1..=seeds {
                let connected = connect(seed, kinds, options);
                let took = connected.map_err(|stopped| stopped.to_string())?.took;
                if took.is_none() {
                    return Err(format!("{}, seed {seed}: not connected", pair_name(kinds)));
                }
                speed.connections += 1;
            }
            let cpu = cpu_time()?.saturating_sub(before);
            speed.cpu += cpu;
            speed.slowest = speed.slowest.max(Some((cpu, kinds)));
        }
        speed.wall = started.elapsed();
        Ok(speed)
    }

    fn per_cpu_second(&self) -> f64 {
        rate(self.connections, self.cpu)
    }

    fn line(&self) -> String {
        let (wall, cpu) = (rate(self.connections, self.wall), self.per_cpu_second());
        let slowest = self.slowest.map_or(String::new(), |(time, kinds)| {
            format!("{} {:.0}", pair_name(kinds), rate(self.seeds, time))
        });
        format!("{:>12} {wall:>12.0} {cpu:>12.0}  {slowest}", self.connections)
    }
}

fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(1e-9)
}

fn positive_pairs() -> impl Iterator<Item = [usize; 2]> {
    let pairs = (0..KINDS.len()).flat_map(|from| (0..KINDS.len()).map(move |to| [from, to]));
    pairs.filter(|&[from, to]| Technique::of(from, to) != Technique::None)
}

fn pair_name([from, to]: [usize; 2]) -> String {
    format!("{} to {}", KINDS[from], KINDS[to])
}

/// How long this thread has been on a processor.
fn cpu_time() -> Result<Duration, String> {
    let text =
        std::fs::read_to_string(SCHEDSTAT).map_err(|error| format!("{SCHEDSTAT}: {error}"))?;
    let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
    first.map(Duration::from_nanos).ok_or(format!("{SCHEDSTAT}: no number"))
}

/// On a processor and waiting for one, in nanoseconds; the first number is the former.
const SCHEDSTAT: &str = "/proc/thread-self/schedstat";

/// Enough for a few seconds.
const SEEDS: u64 = 1000;

/// Connections a second and core, so that long series are cheap.
const GOAL: f64 = 2000.0;
