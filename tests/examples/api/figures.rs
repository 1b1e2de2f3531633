//! What the interface costs, beside a round trip over a Unix socket in the same run.

use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::{Value, json};
use teredo_control::server::{Config, Server};
use teredo_control::testing::{TestDir, snapshot};
use teredo_control::{NotReady, PortReader, RuntimeDir, State};
use teredo_sys::clock::now_ns;

use crate::processes::{Asked, wait_until_told};

/// Each cost is the median of so many rounds; all are measured in every round.
const ROUNDS: usize = 9;
const CALLS: u32 = 2_000_000;
const ROUND_TRIPS: u32 = 5_000;
const REQUESTS: u32 = 2_000;
const CHANGES: u16 = 400;
/// Between two changes: longer than the slowest needs to be told.
const PAUSE: Duration = Duration::from_millis(20);
/// Processes with one registration each, and then with many.
const PROCESSES: usize = 100;
const REGISTRATIONS_EACH: usize = 100;
/// Published in a row, as fast as they are made.
const BURST: u16 = 100;

/// Measures everything and prints one JSON object.
pub(crate) fn print(port_cost: &Path) -> Result<()> {
    ensure!(port_cost.is_file(), "{} is not there", port_cost.display());
    let costs = costs(port_cost)?;
    let changes = [changes(1)?, changes(PROCESSES)?];
    let registrations = registrations()?;
    println!("{}", json!({"costs": costs, "changes": changes, "registrations": registrations}));
    Ok(())
}

/// Nanoseconds of a round trip and of a call, alone and while a writer does nothing but write.
fn costs(port_cost: &Path) -> Result<Value> {
    let directory = TestDir::new()?;
    // The daemon with its threads on one core, whoever asks on another.
    let last = thread::available_parallelism()?.get() - 1;
    on_core(last, || {
        let server = Server::start(
            directory.runtime(),
            Config::default(),
            snapshot(State::Qualified, PORT),
        )?;
        let measure = || on_core(0, || Costs::measure(directory.runtime(), port_cost));
        let mut quiet = Vec::new();
        for _ in 0..ROUNDS {
            quiet.push(measure()?);
        }
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| write(&server, last, &stop));
            let busy = (0..ROUNDS).map(|_| measure()).collect::<Result<Vec<_>>>();
            stop.store(true, Ordering::Relaxed);
            let write_ns = writer.join().map_err(|_| anyhow::anyhow!("the writer failed"))??;
            let busy = busy?;
            Ok(json!({
                "round_trip_ns": median(&quiet, |it| it.round_trip_ns),
                "c_ns": median(&quiet, |it| it.c_ns),
                "rust_ns": median(&quiet, |it| it.rust_ns),
                "c_while_written_ns": median(&busy, |it| it.c_ns),
                "rust_while_written_ns": median(&busy, |it| it.rust_ns),
                "write_ns": write_ns,
                "first_ns": on_core(0, || first_calls(directory.runtime()))?,
                "absent_ns": on_core(0, absent_calls)?,
            }))
        })
    })
}

/// Nanoseconds of a call that has to fetch the page.
fn first_calls(directory: &RuntimeDir) -> Result<f64> {
    per(REQUESTS, || Ok(PortReader::at(directory.clone()).port().map(|_| ())?))
}

/// Nanoseconds of a call where no daemon runs.
fn absent_calls() -> Result<f64> {
    let directory = TestDir::new()?;
    let reader = PortReader::at(directory.runtime().clone());
    per(REQUESTS, || {
        ensure!(reader.port() == Err(NotReady::NotRunning), "there is a daemon");
        Ok(())
    })
}

struct Costs {
    round_trip_ns: f64,
    c_ns: f64,
    rust_ns: f64,
}

impl Costs {
    fn measure(directory: &RuntimeDir, port_cost: &Path) -> Result<Self> {
        let round_trip_ns = round_trip()?;
        let ask = |program: &Path, arguments: &[&str]| -> Result<f64> {
            let mut command = Command::new(program);
            command.args(arguments).arg(CALLS.to_string());
            let output = command.env("TEREDO_RUNTIME_DIR", directory.path()).output()?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            ensure!(output.status.success(), "{} read what nobody wrote", program.display());
            said.trim().parse().context(said)
        };
        let c_ns = ask(port_cost, &[])?;
        let rust_ns = ask(&std::env::current_exe()?, &[COST])?;
        Ok(Self { round_trip_ns, c_ns, rust_ns })
    }
}

/// The body of a process that does what `port_cost.c` does, in Rust.
pub(crate) fn port_cost(calls: u32) -> Result<()> {
    let mut torn = 0;
    netioapi::port()?;
    let ns = per(calls, || {
        let port = black_box(netioapi::port())?.get();
        torn |= (port >> 8) ^ (port & 0xff);
        Ok(())
    })?;
    println!("{ns}");
    ensure!(torn == 0, "a port that nobody wrote");
    Ok(())
}

/// Publishes without a pause; nanoseconds for each.
fn write(server: &Server, core: usize, stop: &AtomicBool) -> Result<f64> {
    on_core(core, || {
        let (start, mut written) = (Instant::now(), 0_u32);
        for byte in (1..=u8::MAX).cycle() {
            server.publish(snapshot(State::Qualified, u16::from_ne_bytes([byte; 2])));
            written += 1;
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(written))
    })
}

/// The fewest bytes there and back between two threads of one core.
fn round_trip() -> Result<f64> {
    let (mut ours, mut theirs) = UnixStream::pair()?;
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut byte = [0];
            while theirs.read_exact(&mut byte).and_then(|()| theirs.write_all(&byte)).is_ok() {}
        });
        let ns = per(ROUND_TRIPS, || {
            ours.write_all(&[0])?;
            Ok(ours.read_exact(&mut [0])?)
        });
        drop(ours);
        ns
    })
}

/// Nanoseconds of each of so many times.
fn per(times: u32, mut body: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..times {
        body()?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(times))
}

/// From a change to the callback in each of so many processes, in milliseconds.
fn changes(processes: usize) -> Result<Value> {
    let directory = TestDir::new()?;
    let first = snapshot(State::Qualified, PORT);
    let server = Server::start(directory.runtime(), Config::default(), first)?;
    let watchers = (0..processes).map(|_| Asked::watcher(directory.runtime(), 1));
    let mut watchers: Vec<Asked> = watchers.collect::<Result<_>>()?;
    let mut published_ns = Vec::new();
    for port in 1..=CHANGES {
        thread::sleep(PAUSE);
        let next = snapshot(State::Qualified, port);
        published_ns.push(now_ns());
        server.publish(next);
    }
    wait_until_told(&mut watchers, CHANGES)?;
    let mut late_ns = Vec::new();
    for watcher in &mut watchers {
        watcher.give("log")?;
        late_ns.extend(lateness(&published_ns, &watcher.answer()?)?);
    }
    late_ns.sort_unstable();
    let at = |part: f64| late_ns[((late_ns.len() - 1) as f64 * part) as usize] as f64 / 1e6;
    Ok(json!({"processes": processes, "changes": CHANGES,
              "median_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1.0)}))
}

/// How late each change was told: itself, or the first later one if it was merged with that.
fn lateness(published_ns: &[u64], log: &str) -> Result<Vec<u64>> {
    let words: Vec<u64> = log.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let mut late_ns = Vec::new();
    for told in words.chunks_exact(2) {
        let (port, at_ns) = (usize::try_from(told[0])?, told[1]);
        // Ports are counted from 1.
        let told = &published_ns[late_ns.len()..port];
        late_ns.extend(told.iter().map(|published_ns| at_ns - published_ns));
    }
    ensure!(late_ns.len() == published_ns.len(), "a change was lost");
    Ok(late_ns)
}

/// Many registrations, a burst of changes, and whether all end with the last.
fn registrations() -> Result<Value> {
    let directory = TestDir::new()?;
    let first = snapshot(State::Qualified, PORT);
    let server = Server::start(directory.runtime(), Config::default(), first)?;
    let watchers = (0..PROCESSES).map(|_| Asked::watcher(directory.runtime(), REGISTRATIONS_EACH));
    let mut watchers: Vec<Asked> = watchers.collect::<Result<_>>()?;
    let connections = connections(directory.runtime())?;
    for port in 1..=BURST {
        server.publish(snapshot(State::Qualified, port));
    }
    let published_ns = now_ns();
    let told_ns = wait_until_told(&mut watchers, BURST)?;
    let all_ms = told_ns.saturating_sub(published_ns) as f64 / 1e6;
    Ok(json!({"processes": PROCESSES, "registrations": PROCESSES * REGISTRATIONS_EACH,
              "connections": connections, "all_ms": all_ms}))
}

/// How many clients are connected to the control socket.
fn connections(directory: &RuntimeDir) -> Result<usize> {
    // The socket got its name only when it was ready, and is listed under another one.
    let path = format!("{}/", directory.path().display());
    let sockets = std::fs::read_to_string("/proc/net/unix")?;
    let is_client = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(7).is_some_and(|it| it.starts_with(&path)) && fields[4..6] == CONNECTED_STREAM
    };
    Ok(sockets.lines().filter(is_client).count())
}

/// Runs `body` on a thread that stays on one core, and with it all that it starts.
fn on_core<T: Send>(core: usize, body: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut one = CpuSet::new();
            one.set(core);
            sched_setaffinity(None, &one).context("sched_setaffinity")?;
            body()
        });
        thread.join().map_err(|_| anyhow::anyhow!("a thread failed"))?
    })
}

fn median(rounds: &[Costs], value: impl Fn(&Costs) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The command of a process that runs [`port_cost`].
pub(crate) const COST: &str = "cost";
/// Both bytes are equal: see `port_cost.c`.
const PORT: u16 = 0xabab;
/// Type and state of a socket in `/proc/net/unix`.
const CONNECTED_STREAM: [&str; 2] = ["0001", "03"];
