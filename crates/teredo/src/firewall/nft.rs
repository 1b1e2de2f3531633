//! Runs the program `nft`.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use teredo_sys::caps::Capability;
use teredo_sys::epoll::{Events, Interest, Poller};

use super::listing::Listing;
use super::model::Transaction;

/// `nft`, or only a printer of what it would be told.
#[derive(Debug, Default)]
pub(crate) struct Nft {
    /// Prints transactions instead of running them.
    pub(crate) is_dry: bool,
    /// The process id of the last run.
    process: u32,
}

/// Why a run failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is no such program.
    NotInstalled,
    /// The kernel does not let us.
    Denied,
    /// A table or set is not there.
    Missing,
    /// In the words of `nft` or of the system.
    Other(String),
}

impl Nft {
    /// Has the kernel take over a transaction, all of it or, after an error, nothing.
    pub(crate) fn apply(&mut self, transaction: &Transaction) -> Result<(), Fault> {
        let mut text = serde_json::to_vec(transaction).map_err(io::Error::from)?;
        if self.is_dry {
            text.push(b'\n');
            return Ok(io::stdout().lock().write_all(&text)?);
        }
        self.run(&["-j", "-f", "-"], &text).map(|_| ())
    }

    /// Has the kernel take over rules in the language of `nft`, all of them or none.
    pub(crate) fn load(&mut self, rules: &str) -> Result<(), Fault> {
        self.run(&["-f", "-"], rules.as_bytes()).map(|_| ())
    }

    /// Reads back what there is.
    pub(crate) fn list(&mut self, what: &[&str]) -> Result<Listing, Fault> {
        let text = self.run(&[&["-j", "list"], what].concat(), &[])?;
        Listing::parse(&text).map_err(|error| Fault::Other(format!("cannot read nft: {error}")))
    }

    /// The process that made the last change.
    pub(crate) fn process(&self) -> u32 {
        self.process
    }

    fn run(&mut self, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut child = spawn(arguments)?;
        self.process = child.id();
        let outputs = converse(&mut child, input, Instant::now() + RUN_MAX);
        if outputs.is_err() {
            // Whatever it did or did not do, it must not do it later.
            let _ = child.kill();
        }
        let status = child.wait()?;
        let [stdout, stderr] = outputs?;
        if status.success() {
            Ok(stdout)
        } else {
            Err(Fault::of(&String::from_utf8_lossy(&stderr)))
        }
    }
}

impl Fault {
    pub(super) fn of(stderr: &str) -> Self {
        if stderr.contains("Operation not permitted") {
            return Self::Denied;
        }
        if stderr.contains("No such file or directory") {
            return Self::Missing;
        }
        let line = stderr.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
        Self::Other(format!("nft: {}", line.trim()))
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Other(format!("cannot run nft: {error}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled => f.write_str("there is no nft (install nftables)"),
            Self::Denied => {
                let needed = Capability::NetAdmin;
                write!(f, "nft may not change the packet filter (run as root or with {needed})")
            }
            Self::Missing => f.write_str("it does not exist"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Fault {}

/// The PATH of ordinary users, and of root after `su`, lacks the administrator's programs.
const PROGRAMS: [&str; 3] = ["nft", "/usr/sbin/nft", "/sbin/nft"];

/// Longer than the largest ruleset takes on a busy host. Shorter than the timeout of the elements,
/// so that a run that hangs is known before they are gone.
const RUN_MAX: Duration = Duration::from_secs(5);

fn spawn(arguments: &[&str]) -> Result<Child, Fault> {
    for program in PROGRAMS {
        let mut command = Command::new(program);
        // We read its errors.
        command.args(arguments).env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        match command.spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => return Ok(result?),
        }
    }
    Err(Fault::NotInstalled)
}

/// Tells the child all and hears all from it, until it closes its outputs.
fn converse(child: &mut Child, input: &[u8], end: Instant) -> io::Result<[Vec<u8>; 2]> {
    if let Some(mut stdin) = child.stdin.take() {
        // What we write fits the pipe. One that has ended without reading says why.
        match stdin.write_all(input) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(ErrorKind::BrokenPipe.into());
    };
    let poller = Poller::new()?;
    poller.add(stdout.as_fd(), 0, Interest::Read)?;
    poller.add(stderr.as_fd(), 1, Interest::Read)?;
    let (mut outputs, mut open) = ([Vec::new(), Vec::new()], 2);
    let (mut events, mut buffer) = (Events::with_capacity(2), [0; 4_096]);
    while open > 0 {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(ErrorKind::TimedOut, "it does not end"));
        }
        poller.wait(&mut events, Some(left))?;
        for event in events.iter() {
            let output = usize::from(event.token == 1);
            let len =
                if output == 0 { stdout.read(&mut buffer)? } else { stderr.read(&mut buffer)? };
            outputs[output].extend_from_slice(&buffer[..len]);
            if len == 0 {
                open -= 1;
                let done = if output == 0 { stdout.as_fd() } else { stderr.as_fd() };
                poller.remove(done)?;
            }
        }
    }
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_nft_are_understood() {
        let denied = "Operation not permitted (you must be root)\nnetlink: Error: ...";
        assert_eq!(Fault::of(denied), Fault::Denied);
        assert_eq!(Fault::of("Error: No such file or directory\nlist set"), Fault::Missing);
        let other =
            Fault::of("\ninternal:0:0-0: Error: Could not process rule: Invalid argument\n");
        let text = "nft: internal:0:0-0: Error: Could not process rule: Invalid argument";
        assert_eq!(other.to_string(), text);
        assert_eq!(Fault::of("").to_string(), "nft: no reason given");
    }

    fn shell(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    #[test]
    fn long_outputs_on_both_sides_do_not_block() {
        let mut child = shell("cat; head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero");
        let end = Instant::now() + Duration::from_secs(20);
        let [stdout, stderr] = converse(&mut child, b"asked", end).unwrap();
        assert_eq!((&stdout[..5], stdout.len(), stderr.len()), (&b"asked"[..], 300_005, 300_000));
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn one_that_hangs_is_given_up() {
        let mut child = shell("exec sleep 60");
        let end = Instant::now() + Duration::from_millis(100);
        let error = converse(&mut child, b"", end).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
