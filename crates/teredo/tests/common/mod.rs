//! Runs the program.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "not every test file uses all of it")]

use std::process::{Command, Output};

use serde_json::Value;

/// What a run of the program left.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(Output { status, stdout, stderr }: Output) -> Self {
        Self {
            code: status.code().unwrap(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    pub(crate) fn json(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Asserts that the program failed with `code`, said why in one line, and nothing else.
    pub(crate) fn is_one_line(&self, code: i32, why: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stdout, "");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.starts_with("teredo: "), "{self:?}");
        assert!(self.stderr.contains(why), "{self:?}");
    }
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_teredo"));
    command.args(arguments).env_remove("TEREDO_LOG");
    command
}

pub(crate) fn run(arguments: &[&str]) -> Run {
    Run::of(command(arguments).output().unwrap())
}
