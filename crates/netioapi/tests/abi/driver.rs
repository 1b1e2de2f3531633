//! A C program that does what a test says, and the daemon beside it.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use teredo_control::server::{Config, Server};
use teredo_control::testing::snapshot;
use teredo_control::{RuntimeDir, State};
use teredo_tests::namespace::Namespace;

use crate::build;

/// Far longer than anything takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// In which what is not to happen does not happen.
pub(crate) const QUIET: Duration = Duration::from_millis(300);

/// The program `c/driver.c`, running.
pub(crate) struct Driver {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    events: VecDeque<String>,
}

impl Driver {
    /// Beside the daemon of `directory`, in the test's own network namespace.
    pub(crate) fn new(directory: &RuntimeDir) -> Self {
        Self::spawn(Command::new(executable()), directory)
    }

    /// One that may fork and go on in the child. AddressSanitizer may not: threads of the child
    /// wait for ever for its allocator if a thread of the parent was inside it (mended in LLVM 18).
    pub(crate) fn that_forks(directory: &RuntimeDir) -> Self {
        static EXECUTABLE: OnceLock<PathBuf> = OnceLock::new();
        Self::spawn(Command::new(EXECUTABLE.get_or_init(|| compile(false))), directory)
    }

    /// The same in another network namespace.
    pub(crate) fn inside(namespace: &Namespace, directory: &RuntimeDir) -> Self {
        Self::spawn(namespace.command(executable()), directory)
    }

    /// A command that has been prepared for the program.
    pub(crate) fn spawn(mut command: Command, directory: &RuntimeDir) -> Self {
        command.env("TEREDO_RUNTIME_DIR", directory.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let input = child.stdin.take();
        Self { child, input, lines, events: VecDeque::new() }
    }

    /// Gives a command and returns the answer to it.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.give(command);
        loop {
            let line = self.line(PATIENCE).unwrap_or_else(|| panic!("no answer to {command}"));
            match line.strip_prefix("= ") {
                Some(answer) => return answer.to_owned(),
                None => self.events.push_back(line),
            }
        }
    }

    /// Gives a command without waiting for its answer, which is then an event.
    pub(crate) fn give(&mut self, command: &str) {
        writeln!(self.input.as_mut().unwrap(), "{command}").unwrap();
    }

    /// The next event, without its `! `.
    pub(crate) fn event(&mut self) -> String {
        self.event_within(PATIENCE).expect("nothing happened")
    }

    /// The next event that comes in time.
    pub(crate) fn event_within(&mut self, time: Duration) -> Option<String> {
        let line = self.events.pop_front().or_else(|| self.line(time))?;
        Some(line.strip_prefix("! ").unwrap_or(&line).to_owned())
    }

    /// Fails if there is an event, or one comes in time.
    #[track_caller]
    pub(crate) fn expect_quiet(&mut self, time: Duration) {
        assert_eq!(self.event_within(time), None);
    }

    /// The program's process.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Lets it end, which the sanitizers use to look for leaks. Returns how long that took.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Duration {
        let start = Instant::now();
        self.input = None;
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        start.elapsed()
    }

    fn line(&self, time: Duration) -> Option<String> {
        self.lines.recv_timeout(time).ok()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A daemon in this process that has published a state and a port (0: none).
pub(crate) fn daemon(directory: &RuntimeDir, state: State, port: u16) -> Server {
    Server::start(directory, Config::default(), snapshot(state, port)).unwrap()
}

/// The same with its page for another network namespace.
pub(crate) fn daemon_inside(
    namespace: &Namespace,
    directory: &RuntimeDir,
    state: State,
    port: u16,
) -> Server {
    namespace.enter(|| daemon(directory, state, port)).unwrap()
}

/// The port of an event of a callback: `1 port 5000 type 0 thread other overlap 0`.
#[track_caller]
pub(crate) fn port_of(event: &str) -> u16 {
    let words: Vec<&str> = event.split(' ').collect();
    assert_eq!((words[1], words[3], words[4]), ("port", "type", "0"), "{event}");
    words[2].parse().unwrap()
}

pub(crate) fn executable() -> &'static Path {
    static EXECUTABLE: OnceLock<PathBuf> = OnceLock::new();
    EXECUTABLE.get_or_init(|| compile(true))
}

fn compile(sanitize: bool) -> PathBuf {
    build::program(&build::sources().join("driver.c"), "netioapi", sanitize)
}
