//! The caller's command in client 1's namespace.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use teredo_sys::process;
use teredo_sys::signal::{Caught, Signal};

use super::cast::Note;
use super::place::{Host, SERVER, V6HOST};
use super::show::{Failure, Show};
use crate::exit::Exit;

/// Runs `command` where client 1 is, on the caller's terminal, and ends as it does.
pub(super) fn run(show: &mut Show<'_>, command: &[OsString]) -> Result<Exit, Failure> {
    let (program, arguments) = command.split_first().context("there is no command")?;
    let peer = show.results.client2.address.context("client 2 has no address")?;
    let client = show.roles[Host::Client1.index()].as_ref().context("client 1 is not there")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LAB_V6HOST", V6HOST.to_string())
        .env("LAB_PEER", peer.to_string())
        .env("LAB_SERVER", SERVER.to_string())
        .env("LAB_CLIENT_PID", client.pid().to_string())
        .env("TEREDO_RUNTIME_DIR", show.ground.runtime_directory(Host::Client1));
    let name = program.to_string_lossy();
    show.story.command(&name);
    let mut child =
        show.ground.namespace(Host::Client1).command(&mut command).spawn().map_err(|error| {
            Failure {
                exit: Exit::Command(if error.kind() == ErrorKind::NotFound { 127 } else { 126 }),
                error: anyhow!("cannot run {name}: {error}"),
            }
        })?;
    let status = wait(show, &mut child)?;
    Ok(Exit::Command(code(status)))
}

/// Waits for its end. It gets the signals that ask the lab to end; those of the terminal it has got
/// already, and what it makes of them is its own affair.
fn wait(show: &mut Show<'_>, child: &mut Child) -> Result<ExitStatus, Failure> {
    let mut give_up_at: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let patience = give_up_at.map_or(Duration::MAX, |at| at - Instant::now());
        let Ok(note) = show.notes.recv_timeout(patience) else {
            return Err(super::show::Interrupted.into());
        };
        match note {
            Note::Signal(Caught { signal, from_terminal }) => {
                if signal != Signal::Child && !from_terminal {
                    process::signal(child, signal)?;
                    give_up_at.get_or_insert_with(|| Instant::now() + LAST_WISHES_MAX);
                }
            }
            // The caller may end or kill a role to see what happens.
            Note::Ended(host) => show.story.step(&format!("{} has ended", host.name())),
            note @ Note::Fact(..) => show.take(note)?,
        }
    }
}

/// As a shell has it.
fn code(status: ExitStatus) -> u8 {
    const KILLED: i32 = 128;
    let code = status.code().or(status.signal().map(|signal| KILLED + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::Failed.code())
}

/// How long a command may take to end when it is asked to.
const LAST_WISHES_MAX: Duration = Duration::from_secs(2);
