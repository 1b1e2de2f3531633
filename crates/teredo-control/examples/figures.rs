//! What the control interface costs: reading the port, beside a round trip over a Unix socket in
//! the same run; and how long a change takes to reach other processes.
//!
//! `cargo run --release -p teredo-control --example figures`

#![allow(clippy::unwrap_used, reason = "a program for developers, who read panics")]

use std::error::Error;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use teredo_control::server::{Config, Server};
use teredo_control::testing::{TestDir, snapshot};
use teredo_control::{Event, PortReader, RuntimeDir, State, Subscription};
use teredo_sys::clock::now_ns;

const READS: u32 = 20_000_000;
const REQUESTS: u32 = 2_000;
const ROUND_TRIPS: u32 = 20_000;
const CHANGES: u16 = 500;
/// Between two changes: long enough for the slowest subscriber.
const PAUSE: Duration = Duration::from_millis(10);
/// Names the directory to subscribe in, for the processes that do only that.
const SUBSCRIBE: &str = "TEREDO_FIGURES_SUBSCRIBE";

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(path) = std::env::var_os(SUBSCRIBE) {
        return subscribe(RuntimeDir::at(path));
    }
    let directory = TestDir::new()?;
    let start = || {
        let first = snapshot(State::Qualified, 1);
        Server::start(directory.runtime(), Config::default(), first)
    };
    let server = start()?;
    let reader = PortReader::at(directory.runtime().clone());
    reader.port()?;
    println!("{:<48} {:>12}", "port, page mapped", shown_ns(read(&reader)));
    println!("{:<48} {:>12}", "port, while it changes all the time", {
        shown_ns(read_while_written(&server, &reader))
    });
    println!("{:<48} {:>12}", "port, first call of a process", shown_ns(request(&directory)));
    drop(server);
    println!(
        "{:<48} {:>12}",
        "port, no daemon",
        shown_ns(per(REQUESTS, || {
            let _ = black_box(reader.port());
        }))
    );
    println!("{:<48} {:>12}", "round trip over a Unix socket, one core", {
        shown_ns(round_trip())
    });
    for subscribers in [1, 100] {
        let server = start()?;
        let mut latencies = change(&server, directory.runtime(), subscribers)?;
        latencies.sort_unstable();
        let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
        println!(
            "change to {subscribers} processes, {} changes: {:>20} median {} p99 {} max",
            CHANGES,
            shown_ns(at(0.5) as f64),
            shown_ns(at(0.99) as f64),
            shown_ns(at(1.0) as f64)
        );
    }
    Ok(())
}

fn shown_ns(ns: f64) -> String {
    if ns < 1e3 {
        format!("{ns:.1} ns")
    } else if ns < 1e6 {
        format!("{:.1} us", ns / 1e3)
    } else {
        format!("{:.2} ms", ns / 1e6)
    }
}

/// Nanoseconds for each of so many calls.
fn per(times: u32, mut body: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..times {
        body();
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(times)
}

fn read(reader: &PortReader) -> f64 {
    per(READS, || {
        black_box(reader.port()).unwrap();
    })
}

fn read_while_written(server: &Server, reader: &PortReader) -> f64 {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for port in (1..=u16::MAX).cycle() {
                server.publish(snapshot(State::Qualified, port));
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        let ns = read(reader);
        stop.store(true, Ordering::Relaxed);
        ns
    })
}

fn request(directory: &TestDir) -> f64 {
    per(REQUESTS, || {
        black_box(PortReader::at(directory.runtime().clone()).port()).unwrap();
    })
}

/// Two threads on one core.
fn round_trip() -> f64 {
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let before = sched_getaffinity(None).unwrap();
    let mut one = CpuSet::new();
    one.set(0);
    let echo = thread::spawn(move || {
        sched_setaffinity(None, &one).unwrap();
        let mut bytes = [0; 32];
        while theirs.read_exact(&mut bytes).is_ok() {
            theirs.write_all(&bytes).unwrap();
        }
    });
    sched_setaffinity(None, &one).unwrap();
    let ns = per(ROUND_TRIPS, || {
        let mut bytes = [0; 32];
        ours.write_all(&bytes).unwrap();
        ours.read_exact(&mut bytes).unwrap();
    });
    sched_setaffinity(None, &before).unwrap();
    drop(ours);
    echo.join().unwrap();
    ns
}

/// Nanoseconds from the change to each of the subscribers, for each change.
fn change(
    server: &Server,
    directory: &RuntimeDir,
    subscribers: usize,
) -> Result<Vec<u64>, Box<dyn Error>> {
    let mut children = Vec::new();
    for _ in 0..subscribers {
        let mut child = Command::new(std::env::current_exe()?)
            .env(SUBSCRIBE, directory.path())
            .stdout(Stdio::piped())
            .spawn()?;
        // It says when it has subscribed.
        child.stdout.as_mut().unwrap().read_exact(&mut [0])?;
        children.push(child);
    }
    for round in 1..=CHANGES {
        thread::sleep(PAUSE);
        let mut next = snapshot(State::Qualified, 1 + round);
        next.reason = Some(now_ns().to_string());
        server.publish(next);
    }
    server.publish(snapshot(State::Offline, 0));
    children.into_iter().map(latencies).try_fold(Vec::new(), |mut all, of_one| {
        all.extend(of_one?);
        Ok(all)
    })
}

fn latencies(mut child: Child) -> Result<Vec<u64>, Box<dyn Error>> {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text)?;
    child.wait()?;
    Ok(text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

/// What a subscribing process does: prints how old each change is when it comes.
fn subscribe(directory: RuntimeDir) -> Result<(), Box<dyn Error>> {
    let mut subscription = Subscription::new(directory)?;
    let mut ages_ns = Vec::with_capacity(CHANGES.into());
    while let Some(Event::Status(status)) = subscription.next(Some(Duration::from_secs(60)))? {
        let now_ns = now_ns();
        match &status.snapshot.reason {
            Some(sent_ns) => ages_ns.push(now_ns - sent_ns.parse::<u64>()?),
            None if status.snapshot.port.is_some() => {
                print!(" ");
                std::io::stdout().flush()?;
            }
            None => break,
        }
    }
    for age_ns in ages_ns {
        println!("{age_ns}");
    }
    Ok(())
}
