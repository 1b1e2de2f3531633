//! Roles that read no configuration while they run, and several at once: each in a process of its
//! own, all together or none.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use teredo_sys::epoll::{Events, Interest, Poller};
use teredo_sys::process;
use teredo_sys::signal::{Signal, Signals};

use super::configuration::Configuration;
use crate::exit::Exit;

/// A role of the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Role {
    /// `[client]`.
    Client,
    /// `[server]`.
    Server,
    /// `[relay]`.
    Relay,
}

impl Role {
    /// The word for it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Relay => "relay",
        }
    }
}

/// Runs `roles` until the daemon is told to end or one of them ends; then all do.
pub(super) fn run(configuration: &Configuration, roles: &[Role]) -> anyhow::Result<Exit> {
    let caught = [Signal::Interrupt, Signal::Terminate, Signal::Hangup, Signal::Child];
    let signals = Signals::new(&caught)?;
    let mut children = Children(Vec::new());
    for role in roles {
        children.0.push((*role, spawn(configuration, *role)?));
    }
    let poller = Poller::new()?;
    poller.add(&signals, 0, Interest::Read)?;
    let mut events = Events::with_capacity(1);
    loop {
        poller.wait(&mut events, None)?;
        while let Some(caught) = signals.read()? {
            match caught.signal {
                Signal::Hangup => children.reload(),
                Signal::Interrupt | Signal::Terminate => return Ok(Exit::Ok),
                Signal::Child => {
                    if let Some((role, status)) = children.ended()? {
                        eprintln!("teredo: the {} has ended; so do the others", role.name());
                        return Ok(exit_of(status));
                    }
                }
            }
        }
    }
}

fn spawn(configuration: &Configuration, role: Role) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut command = Command::new(program);
    command.args(["daemon", "--only", role.name(), "--config"]).arg(configuration.file());
    command.arg("--policy").arg(configuration.policies());
    command.args(["--parent", &std::process::id().to_string()]);
    // So that a Ctrl-C reaches it once, through us.
    command.process_group(0);
    command.spawn().with_context(|| format!("cannot start the {}", role.name()))
}

/// The code of a role that ended by itself; one that a signal ended has failed.
fn exit_of(status: ExitStatus) -> Exit {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.filter(|code| *code != 0).map_or(Exit::Failed, Exit::Command)
}

/// The roles that run; dropping this ends them.
struct Children(Vec<(Role, Child)>);

impl Children {
    /// Has the client read the configuration again.
    fn reload(&self) {
        for (role, child) in &self.0 {
            if *role == Role::Client {
                // It may just have ended, which is told by another signal.
                let _ = process::signal(child, Signal::Hangup);
            } else {
                eprintln!("teredo: the {} keeps its settings until the next start", role.name());
            }
        }
    }

    /// The first one that has ended, if any.
    fn ended(&mut self) -> std::io::Result<Option<(Role, ExitStatus)>> {
        for (role, child) in &mut self.0 {
            if let Some(status) = child.try_wait()? {
                return Ok(Some((*role, status)));
            }
        }
        Ok(None)
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for (_, child) in &self.0 {
            let _ = process::signal(child, Signal::Terminate);
        }
        for (_, child) in &mut self.0 {
            wait_or_kill(child);
        }
    }
}

fn wait_or_kill(child: &mut Child) {
    for _ in 0..GRACE.as_millis() / LOOK.as_millis() {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(LOOK),
            Ok(Some(_)) | Err(_) => return,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// A role takes tens of milliseconds to take its interface down.
const GRACE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);
