//! Processes that read or follow the port, and how they are asked what they have seen.

use std::io::{BufRead, BufReader, Write};
use std::num::NonZeroU16;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netioapi::{PortEvent, PortEventKind, Watch, watch_port};
use teredo_control::RuntimeDir;
use teredo_sys::clock::now_ns;

/// Asks for the port whenever it is told to.
pub(crate) const READ: &str = "read";
/// Registers so many times and remembers what it is told.
pub(crate) const WATCH: &str = "watch";

/// Far longer than anything takes that does not hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that answers each line with one.
pub(crate) struct Asked {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Asked {
    /// A process that asks for the port of the daemon in `directory`.
    pub(crate) fn reader(directory: &RuntimeDir) -> Result<Self> {
        Self::start(directory, &[READ])
    }

    /// A process that has registered so many times when this returns.
    pub(crate) fn watcher(directory: &RuntimeDir, registrations: usize) -> Result<Self> {
        let mut watcher = Self::start(directory, &[WATCH, &registrations.to_string()])?;
        let said = watcher.answer()?;
        ensure!(said == "registered", "a watcher: {said}");
        Ok(watcher)
    }

    fn start(directory: &RuntimeDir, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).env("TEREDO_RUNTIME_DIR", directory.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("no pipe")?;
        let output = BufReader::new(child.stdout.take().context("no pipe")?);
        Ok(Self { child, input, output })
    }

    /// Asks without waiting for the answer.
    pub(crate) fn give(&mut self, question: &str) -> Result<()> {
        Ok(writeln!(self.input, "{question}")?)
    }

    /// The answer to the oldest question that is open.
    pub(crate) fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        let len = self.output.read_line(&mut line)?;
        ensure!(len > 0, "a process has ended without an answer");
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until every registration of every watcher was told `port`. Returns when the last was.
pub(crate) fn wait_until_told(watchers: &mut [Asked], port: u16) -> Result<u64> {
    let mut last_ns = 0;
    watchers.iter_mut().try_for_each(|watcher| watcher.give(&format!("told {port}")))?;
    for watcher in watchers {
        let said = watcher.answer()?;
        let (told_ns, repeated) = said.split_once(' ').context(said.clone())?;
        ensure!(repeated == "0", "the same port twice in a row, {repeated} times");
        last_ns = last_ns.max(told_ns.parse().with_context(|| said.clone())?);
    }
    Ok(last_ns)
}

/// The body of a reader.
pub(crate) fn read() -> Result<()> {
    for line in std::io::stdin().lines() {
        line?;
        match netioapi::port() {
            Ok(port) => println!("0 {port}"),
            Err(error) => println!("{} 0", error.code()),
        }
    }
    Ok(())
}

/// The body of a watcher: `told PORT` is answered when all have been told so, `log` with all that
/// the first registration was told.
pub(crate) fn watch(registrations: usize) -> Result<()> {
    let told = Arc::new(Told::new(registrations));
    let watches: Vec<Watch> = (0..registrations)
        .map(|number| {
            let told = Arc::clone(&told);
            watch_port(false, move |event| told.take(number, event))
        })
        .collect::<Result<_, _>>()?;
    println!("registered");
    for line in std::io::stdin().lines() {
        match line?.strip_prefix("told ") {
            Some(port) => println!("{}", told.wait_for(port.parse()?)),
            None => println!("{}", told.log()),
        }
    }
    drop(watches);
    Ok(())
}

/// What the registrations of a process have been told.
struct Told {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// By registration; 0 for no port.
    last: Vec<Option<u16>>,
    /// When the youngest of those was told.
    last_ns: u64,
    /// How often a registration was told the same port twice in a row.
    repeated: u32,
    /// Port and time of all that the first registration was told.
    log: Vec<(u16, u64)>,
}

impl Told {
    fn new(registrations: usize) -> Self {
        let last = vec![None; registrations];
        let state = State { last, last_ns: 0, repeated: 0, log: Vec::new() };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn take(&self, number: usize, event: PortEvent) {
        let now_ns = now_ns();
        if event.kind == PortEventKind::Initial {
            return;
        }
        let port = event.port.map_or(0, NonZeroU16::get);
        let mut state = self.lock();
        if number == 0 {
            state.log.push((port, now_ns));
        }
        let before = state.last[number].replace(port);
        state.repeated += u32::from(before == Some(port));
        state.last_ns = now_ns;
        drop(state);
        self.changed.notify_all();
    }

    fn wait_for(&self, port: u16) -> String {
        let differs = |state: &mut State| state.last.iter().any(|last| *last != Some(port));
        let state = self.lock();
        let (state, waited) = self
            .changed
            .wait_timeout_while(state, PATIENCE, differs)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            let others = state.last.iter().filter(|last| **last != Some(port));
            return format!("late: {} of {}", others.count(), state.last.len());
        }
        format!("{} {}", state.last_ns, state.repeated)
    }

    fn log(&self) -> String {
        let log = std::mem::take(&mut self.lock().log);
        let words = log.iter().map(|(port, at_ns)| format!("{port} {at_ns}"));
        words.collect::<Vec<_>>().join(" ")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
