//! The program while it runs.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::internet::{Host, PATIENCE, RANGE};

/// A role that has been started.
pub(crate) struct Running {
    child: Child,
    facts: Receiver<Value>,
}

impl Running {
    /// Starts `teredo ROLE ARGUMENTS --allow-ipv4 RANGE --json` on a host.
    pub(crate) fn start(host: &Host, arguments: &[&str]) -> Self {
        Self::spawn(host, command(arguments))
    }

    /// Starts a command that runs the program, with these further arguments.
    pub(crate) fn spawn(host: &Host, mut command: Command) -> Self {
        command.args(["--allow-ipv4", RANGE, "--json"]);
        Self::spawn_as_it_is(host, command)
    }

    /// Starts a command that says all that is to be said.
    pub(crate) fn spawn_as_it_is(host: &Host, mut command: Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = host.command(&mut command).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, facts) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let fact = serde_json::from_str(&line).expect("a line that is not JSON");
                if sender.send(fact).is_err() {
                    break;
                }
            }
        });
        Self { child, facts }
    }

    /// The next fact but the one about the sandbox, which every role tells first.
    pub(crate) fn fact(&self) -> Value {
        loop {
            let fact = self.any_fact();
            if fact["event"] != "sandbox" {
                return fact;
            }
        }
    }

    /// The next fact.
    pub(crate) fn any_fact(&self) -> Value {
        self.facts.recv_timeout(PATIENCE).expect("nothing is told")
    }

    /// The next fact with this state.
    pub(crate) fn wait_for(&self, state: &str) -> Value {
        loop {
            let fact = self.fact();
            if fact["state"] == state {
                return fact;
            }
        }
    }

    /// All facts that have been told and not been looked at.
    pub(crate) fn facts(&self) -> Vec<Value> {
        self.facts.try_iter().collect()
    }

    /// Whether nothing is told for this long.
    pub(crate) fn is_silent_for(&self, time: Duration) -> bool {
        self.facts.recv_timeout(time).is_err()
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let kill = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// Sends a signal, waits for the end and returns how it ended, with what was said.
    pub(crate) fn end(mut self, signal: &str) -> (ExitStatus, String) {
        self.signal(signal);
        self.wait()
    }

    /// Waits for the end and returns how it ended, with what was said.
    pub(crate) fn wait(&mut self) -> (ExitStatus, String) {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it does not end");
            thread::sleep(Duration::from_millis(5));
        };
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (status, said)
    }

    /// Ends it by Ctrl-C and asserts that this went well.
    pub(crate) fn interrupt(self) -> String {
        let (status, said) = self.end("-INT");
        assert_eq!((status.code(), status.signal()), (Some(0), None), "{said}");
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_teredo"));
    command.args(arguments).env_remove("TEREDO_LOG");
    command
}
