//! A daemon for tests: it publishes what it is told and can be killed.
//!
//! In the process of the test a [`Server`] is all it takes. [`FakeDaemon`] is one in a process of
//! its own. That process is the test's own executable, started again, so that there is nothing to
//! build and to find. It needs a place in every executable that makes use of it:
//!
//! ```no_run
//! // Among the tests, under any name; or at the beginning of the `main` of a program.
//! #[test]
//! fn fake_daemon() {
//!     teredo_control::testing::serve_if_asked();
//! }
//! ```
//!
//! No part of the programming interface: made for the tests of this workspace, and may change with
//! them.

mod impostor;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU16;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

pub use impostor::{Impostor, listening};

use crate::server::{self, Config, Server};
use crate::varlink::Frames;
use crate::{Role, RuntimeDir, Snapshot, State, Type};

/// A runtime directory of a test's own, removed with everything in it when dropped.
#[derive(Debug)]
pub struct TestDir {
    directory: RuntimeDir,
}

impl TestDir {
    /// A new, empty one.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("teredo-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::DirBuilder::new().mode(0o755).create(&path)?;
        Ok(Self { directory: RuntimeDir::at(path) })
    }

    /// The directory.
    pub fn runtime(&self) -> &RuntimeDir {
        &self.directory
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.directory.path());
    }
}

/// What a client tells in `state` that holds `port`; 0 for none.
pub fn snapshot(state: State, port: u16) -> Snapshot {
    let port = NonZeroU16::new(port);
    Snapshot {
        kind: Type::Client,
        server_name: Some("teredo.example".to_owned()),
        refresh_interval_s: 30,
        state,
        role: port.map(|_| Role::Client),
        local_mapping: port.map(|port| SocketAddrV4::new(LOCAL_ADDRESS, port.get())),
        port,
        ..Snapshot::default()
    }
}

/// A daemon in a process of its own.
#[derive(Debug)]
pub struct FakeDaemon {
    child: Child,
    /// Nothing once it is closed, which asks the daemon to end.
    orders: Option<ChildStdin>,
    reports: Receiver<Report>,
    /// Wishes of clients that arrived while something else was waited for.
    wakes: usize,
}

impl FakeDaemon {
    /// Starts one that serves `directory` and has published `first`.
    ///
    /// `arguments` make this executable call [`serve_if_asked`]: for a test the name of the test
    /// function, with `--exact` and `--nocapture`, as [`test_arguments`] puts them.
    ///
    /// # Errors
    /// If it cannot be started, or another daemon serves the directory.
    pub fn start(directory: &RuntimeDir, arguments: &[&str], first: &Snapshot) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .env(DIRECTORY, directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (orders, output) = (child.stdin.take(), child.stdout.take());
        let reports = reports(output.ok_or(io::ErrorKind::BrokenPipe)?)?;
        let mut daemon = Self { child, orders, reports, wakes: 0 };
        daemon.publish(first)?;
        Ok(daemon)
    }

    /// Publishes `snapshot`; readers of the page see it when this returns.
    ///
    /// # Errors
    /// If the daemon has ended.
    pub fn publish(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let mut order = serde_json::to_vec(snapshot)?;
        order.push(0);
        self.orders.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write_all(&order)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.report(deadline)? {
                Report::Published => return Ok(()),
                Report::Woken => self.wakes += 1,
            }
        }
    }

    /// Waits until a client has asked it to wake; `false` if none has in time.
    ///
    /// # Errors
    /// If the daemon has ended.
    pub fn is_woken_within(&mut self, timeout: Duration) -> io::Result<bool> {
        if self.wakes > 0 {
            self.wakes -= 1;
            return Ok(true);
        }
        match self.report(Instant::now() + timeout) {
            Ok(report) => Ok(report == Report::Woken),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Its process.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, as `kill -9` does, and waits for its end.
    ///
    /// # Errors
    /// If it had ended before.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Lets it end in order, and waits for that.
    ///
    /// # Errors
    /// If it had ended before.
    pub fn stop(mut self) -> io::Result<ExitStatus> {
        self.orders = None;
        self.child.wait()
    }

    fn report(&self, deadline: Instant) -> io::Result<Report> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.reports.recv_timeout(left).map_err(|error| match error {
            RecvTimeoutError::Timeout => io::ErrorKind::TimedOut.into(),
            RecvTimeoutError::Disconnected => io::Error::other("the fake daemon has ended"),
        })
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The arguments that make a test executable run one test.
pub fn test_arguments(name: &str) -> [&str; 3] {
    [name, "--exact", "--nocapture"]
}

/// In a process that [`FakeDaemon::start`] has started: serves, and ends the process when the one
/// that started it ends or says so. In any other process: returns at once.
pub fn serve_if_asked() {
    let Some(path) = std::env::var_os(DIRECTORY) else { return };
    if let Err(error) = serve(&RuntimeDir::at(path)) {
        eprintln!("fake daemon: {error}");
        std::process::exit(1);
    }
    std::process::exit(0);
}

/// What the daemon's process tells of itself, as lines of its standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Report {
    Published,
    Woken,
}

impl Report {
    fn line(self) -> &'static str {
        match self {
            Self::Published => "fake daemon: published",
            Self::Woken => "fake daemon: woken",
        }
    }
}

/// Reads the reports of a daemon as long as it lives.
fn reports(output: ChildStdout) -> io::Result<Receiver<Report>> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("fake-daemon".into()).spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // The test harness writes there too, and not always whole lines.
            let mut known = [Report::Published, Report::Woken].into_iter();
            let Some(report) = known.find(|report| line.ends_with(report.line())) else { continue };
            if sender.send(report).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

fn serve(directory: &RuntimeDir) -> Result<(), Box<dyn std::error::Error>> {
    let (mut input, mut orders) = (io::stdin().lock(), Frames::default());
    let mut server: Option<Server> = None;
    loop {
        let mut sources = vec![PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN)];
        sources.extend(server.iter().map(|server| PollFd::new(server, PollFlags::IN)));
        poll(&mut sources, None)?;
        let has_orders = !sources[0].revents().is_empty();
        while let Some(command) = server.as_ref().and_then(Server::command) {
            match command {
                server::Command::Wake => println!("{}", Report::Woken.line()),
                server::Command::Set(_, responder) => responder.answer(Ok(())),
                server::Command::Rules(_, responder) => responder.answer_kept(Ok(false)),
            }
        }
        if !has_orders {
            continue;
        }
        let mut bytes = [0; 4096];
        let len = input.read(&mut bytes)?;
        if len == 0 {
            return Ok(());
        }
        orders.push(&bytes[..len]);
        while let Some(order) = orders.next_message()? {
            let snapshot: Snapshot = serde_json::from_slice(order)?;
            match &server {
                Some(server) => server.publish(snapshot),
                None => server = Some(Server::start(directory, Config::default(), snapshot)?),
            }
            println!("{}", Report::Published.line());
        }
    }
}

const LOCAL_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
/// Says where to serve; set only for a daemon's process.
const DIRECTORY: &str = "TEREDO_FAKE_DAEMON";
/// Far longer than a daemon needs for anything.
const PATIENCE: Duration = Duration::from_secs(10);
