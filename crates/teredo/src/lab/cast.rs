//! The roles: child processes of this very program, each in the namespace of its host.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::Ipv6Addr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use anyhow::Context;
use serde::Deserialize;
use teredo_sys::signal::Caught;

use super::ground::Ground;
use super::place::Host;
use super::story;

/// Something that the lab has to know.
#[derive(Debug)]
pub(super) enum Note {
    /// A role has printed a fact, at this time.
    Fact(Host, Instant, Fact),
    /// A role has closed its output, as it does when it ends.
    Ended(Host),
    /// Somebody wants the lab to end.
    Signal(Caught),
}

/// A line of JSON that a role prints.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Fact {
    /// What it is about: `ready`, `state` or `mapping`.
    pub(super) event: String,
    /// A client's state.
    #[serde(default)]
    pub(super) state: Option<String>,
    /// Why a client is off-line.
    #[serde(default)]
    pub(super) reason: Option<String>,
    /// A client's word for its NAT.
    #[serde(default)]
    pub(super) nat: Option<String>,
    /// A client's mapped address and port.
    #[serde(default)]
    pub(super) mapped: Option<String>,
    /// The address: a client's is a Teredo address.
    #[serde(default)]
    pub(super) address: Option<String>,
    /// The UDP port.
    #[serde(default)]
    pub(super) port: Option<u16>,
    /// The endpoint that a client's gateway has mapped to it.
    #[serde(default)]
    pub(super) external: Option<String>,
}

impl Fact {
    /// A client's Teredo address.
    pub(super) fn teredo_address(&self) -> Option<Ipv6Addr> {
        self.address.as_ref()?.parse().ok()
    }
}

/// A running role.
#[derive(Debug)]
pub(super) struct Role {
    child: Child,
    /// When it was about to be started.
    pub(super) started: Instant,
    last_words: Arc<Mutex<VecDeque<String>>>,
    /// Keeps the last words.
    listener: Option<JoinHandle<()>>,
}

impl Role {
    /// Starts `program` on `host`. What it prints comes as [`Note`]s; what it says on standard
    /// error is kept, and passed on if `is_verbose`.
    ///
    /// It is killed when the calling thread ends.
    pub(super) fn start<S: AsRef<OsStr>>(
        program: &Path,
        ground: &Ground,
        host: Host,
        arguments: &[S],
        notes: Sender<Note>,
        is_verbose: bool,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments);
        if is_verbose {
            command.arg("--verbose");
        }
        // In a process group of its own, so that a Ctrl-C is not for it.
        command
            .env("TEREDO_RUNTIME_DIR", ground.runtime_directory(host))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let started = Instant::now();
        let mut child = ground
            .namespace(host)
            .command(&mut command)
            .spawn()
            .with_context(|| format!("cannot start {}: {}", host.name(), program.display()))?;
        let last_words = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(stdout) = child.stdout.take() {
            spawn_reader(move || read_facts(stdout, host, &notes))?;
        }
        let kept = Arc::clone(&last_words);
        let listen = |stderr| spawn_reader(move || read_words(stderr, host, &kept, is_verbose));
        let listener = child.stderr.take().map(listen).transpose()?;
        Ok(Self { child, started, last_words, listener })
    }

    /// Its process, as everybody in the lab sees it.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines that it has said last.
    pub(super) fn last_words(&self) -> Vec<String> {
        let lines = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }

    /// How it has ended; waits until it has, and until its last words have been heard.
    pub(super) fn end(&mut self) -> std::io::Result<ExitStatus> {
        let status = self.child.wait();
        if let Some(listener) = self.listener.take() {
            // It cannot have panicked in a way that matters now.
            let _ = listener.join();
        }
        status
    }
}

fn spawn_reader(read: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
    thread::Builder::new().name("reader".into()).spawn(read).context("cannot start a thread")
}

fn read_facts(output: impl Read, host: Host, notes: &Sender<Note>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let now = Instant::now();
        if let Ok(fact) = serde_json::from_str(&line) {
            // Nobody listens any more when the lab is ending.
            let _ = notes.send(Note::Fact(host, now, fact));
        }
    }
    let _ = notes.send(Note::Ended(host));
}

fn read_words(
    output: impl Read,
    host: Host,
    last_words: &Mutex<VecDeque<String>>,
    is_verbose: bool,
) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if is_verbose {
            eprintln!("{}", story::line_of(host, &line));
        }
        let mut lines = last_words.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LAST_WORDS_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// Enough for an error and what led to it, not so much that nobody reads it.
const LAST_WORDS_LINES_MAX: usize = 5;
