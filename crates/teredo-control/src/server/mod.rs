//! The daemon's end: publishes what is the case, and takes calls.
//!
//! ```no_run
//! use teredo_control::server::{Config, Server};
//! use teredo_control::{RuntimeDir, Snapshot};
//!
//! let directory = RuntimeDir::from_environment();
//! let server = Server::start(&directory, Config::default(), Snapshot::default())?;
//! // In the daemon's event loop, of which the server's descriptor is a source:
//! server.publish(Snapshot::default());
//! while let Some(command) = server.command() {
//!     println!("{command:?}");
//! }
//! # Ok::<(), teredo_control::server::StartError>(())
//! ```

mod clients;
mod command;
mod connection;
mod directory;
mod inbox;
mod worker;

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{fs, io};

use rustix::net::SocketType;
use rustix::process::{Resource, getrlimit};
use teredo_sys::page::OwnedPage;

pub use command::{Command, Responder, SetError};
pub use directory::StartError;
pub(crate) use directory::make_directory;

use crate::RuntimeDir;
use crate::page::Word;
use crate::rules::AllowedRule;
use crate::server::command::Commands;
use crate::server::directory::Claim;
use crate::server::inbox::{EventFd, Inbox};
use crate::server::worker::{ToWorker, Worker};
use crate::status::{Snapshot, Status};

/// Who may do what, and how many at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The group whose members may change settings, besides root and the daemon's own user.
    pub group: Option<u32>,
    /// The most connections to the control socket. A part is kept free for root, so that no user
    /// can keep an administrator out.
    pub clients_max: usize,
    /// The most of one user.
    pub clients_per_user_max: usize,
    /// How long a connection may say nothing, or nothing whole, before it has to make room.
    /// Subscribers may for ever.
    pub silence_max: Duration,
}

impl Config {
    /// The number of the group with this name in `/etc/group`, for [`group`](Self::group).
    pub fn group_named(name: &str) -> Option<u32> {
        let file = fs::read_to_string("/etc/group").ok()?;
        file.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
        })
    }
}

impl Default for Config {
    /// No group; as many connections as the limit on open files leaves room for.
    fn default() -> Self {
        let files = getrlimit(Resource::Nofile).current;
        let files = files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
        let clients_max = files.saturating_sub(FILES_FOR_OTHERS).clamp(CLIENTS_MIN, CLIENTS_MAX);
        Self {
            group: None,
            clients_max,
            clients_per_user_max: clients_max.div_ceil(2),
            silence_max: SILENCE_MAX,
        }
    }
}

/// Serves the runtime directory, on a thread of its own, until it is dropped.
pub struct Server {
    page: Arc<OwnedPage>,
    status: Mutex<Arc<Status>>,
    worker: Arc<Inbox<ToWorker>>,
    commands: Arc<Inbox<Commands>>,
    thread: Option<JoinHandle<()>>,
    /// Dropped after the thread has ended, and with it the sockets.
    _claim: Claim,
}

impl Server {
    /// Takes possession of the directory, publishes `first` and begins to serve.
    ///
    /// The page is one of the network namespace that the calling thread is in.
    ///
    /// # Errors
    /// Why not; [`StartError::AlreadyRunning`] if another daemon serves the directory.
    pub fn start(
        directory: &RuntimeDir,
        config: Config,
        first: Snapshot,
    ) -> Result<Self, StartError> {
        let mut claim = Claim::take(directory)?;
        let failed = |error: io::Error| StartError::System {
            what: "starting the control interface".to_owned(),
            error,
        };
        let page = Arc::new(OwnedPage::create().map_err(failed)?);
        let status = Arc::new(Status { snapshot: first, generation: 1, port_changes: 0 });
        page.publish(Word::of(&status.snapshot, status.generation).bits());
        let worker = Arc::new(Inbox::new(ToWorker::default(), EventFd::new().map_err(failed)?));
        let commands = Arc::new(Inbox::new(Commands::default(), EventFd::new().map_err(failed)?));
        let pages = claim.listen("page", SocketType::SEQPACKET)?;
        let calls = claim.listen("control", SocketType::STREAM)?;
        let inboxes = (Arc::clone(&worker), Arc::clone(&commands));
        let mut body =
            Worker::new(config, Arc::clone(&page), pages, calls, inboxes, Arc::clone(&status))
                .map_err(failed)?;
        let thread = thread::Builder::new()
            .name("teredo-control".into())
            .spawn(move || body.run())
            .map_err(failed)?;
        let status = Mutex::new(status);
        Ok(Self { page, status, worker, commands, thread: Some(thread), _claim: claim })
    }

    /// Tells everybody what is the case now. Does nothing if that is what was published last.
    ///
    /// Readers of the page see it before this returns; subscribers are told by the server's
    /// thread. Never waits for any of them.
    pub fn publish(&self, snapshot: Snapshot) {
        let mut last = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if last.snapshot == snapshot {
            return;
        }
        let generation = last.generation + 1;
        let port_changes = last.port_changes + u64::from(last.snapshot.port != snapshot.port);
        self.page.publish(Word::of(&snapshot, generation).bits());
        let status = Arc::new(Status { snapshot, generation, port_changes });
        *last = Arc::clone(&status);
        self.worker.with(|to_worker| to_worker.status = Some(status));
    }

    /// Tells what may come in unasked now, to those who ask.
    pub fn publish_rules(&self, rules: Vec<AllowedRule>) {
        self.worker.with(|to_worker| to_worker.rules = Some(rules));
    }

    /// What was published last.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The next thing that a client wants, if any; never waits.
    pub fn command(&self) -> Option<Command> {
        self.commands.with(Commands::next)
    }
}

impl AsFd for Server {
    /// Readable while a [`command`](Self::command) waits.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.commands.as_fd()
    }
}

impl Drop for Server {
    /// Readers see that there is no port before subscribers see that there is no daemon.
    fn drop(&mut self) {
        self.page.publish(Word::of(&Snapshot::default(), 0).bits());
        self.worker.with(|to_worker| to_worker.stop = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// More than a host has programs that follow the port, and bounded by what each costs: a
/// descriptor and, when it is slow or unfinished, about 64 KiB.
const CLIENTS_MAX: usize = 2048;
/// What a service is good for even where descriptors are scarce.
const CLIENTS_MIN: usize = 16;
/// A person who types calls by hand is allowed to think.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Descriptors that the rest of the daemon may need: sockets, devices, netlink, logs.
const FILES_FOR_OTHERS: usize = 128;
