//! All tests (the tidy check is one of them), then the conformance table, the matrix with few
//! seeds, and a plain summary.
//!
//! A test that cannot run on this machine prints `skipped: reason` and returns; those are listed by
//! name. Tests that continuous integration requires fail by themselves there.

use std::io::{BufRead, BufReader};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::{conformance, matrix, workspace};

const SKIPPED: &str = "skipped: ";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// Runs everything, also after a failure; the last line is the count.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut tally = Tally::default();
    let tests_ran = cargo_test(arguments, &mut tally)?;
    let mut failures = Vec::new();
    if !tests_ran && tally.failed == 0 {
        failures.push("cargo test did not come to its end".to_owned());
    }
    match conformance::check() {
        Ok(text) => println!("\n{text}"),
        Err(error) => failures.push(format!("conformance: {error:#}")),
    }
    if arguments.filter.is_none() {
        match matrix::check() {
            Ok(text) => println!("{text}"),
            Err(error) => failures.push(format!("matrix: {error:#}")),
        }
    }
    for skipped in &tally.skipped {
        println!("skipped: {skipped}");
    }
    for failure in &failures {
        println!("FAILED: {failure}");
    }
    let failed = tally.failed + failures.len();
    println!("{} passed, {failed} failed", tally.passed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs `cargo test`, showing its output as it comes; whether it succeeded.
fn cargo_test(arguments: &Arguments, tally: &mut Tally) -> Result<bool> {
    let mut command = workspace::cargo();
    command.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    command.args(&arguments.filter);
    // Passing tests are silent without this, and then nobody learns that one was skipped.
    command.args(["--", "--show-output"]);
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot run cargo test")?;
    let stdout = child.stdout.take().context("no pipe from cargo test")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("cannot read the output of cargo test")?;
        if tally.take(&line) {
            println!("{line}");
        }
    }
    Ok(child.wait().context("cargo test")?.success())
}

/// What the test runners said.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    /// `name: reason`.
    skipped: Vec<String>,
    /// The passing test whose output is being shown.
    current: String,
    in_output_of_passing: bool,
}

impl Tally {
    /// Takes a line of output; whether it is worth showing.
    fn take(&mut self, line: &str) -> bool {
        if let Some(name) =
            line.strip_prefix("---- ").and_then(|it| it.strip_suffix(" stdout ----"))
        {
            self.current = name.to_owned();
        }
        if let Some(reason) = line.strip_prefix(SKIPPED) {
            self.skipped.push(format!("{}: {reason}", self.current));
        }
        match line {
            "successes:" => self.in_output_of_passing = true,
            "failures:" => self.in_output_of_passing = false,
            _ => {}
        }
        if let Some(result) = line.strip_prefix("test result: ") {
            self.in_output_of_passing = false;
            for part in result.split([';', '.']) {
                let mut words = part.split_whitespace();
                let (number, word) =
                    (words.next().and_then(|it| it.parse::<usize>().ok()), words.next());
                match (number, word) {
                    (Some(number), Some("passed")) => self.passed += number,
                    (Some(number), Some("failed")) => self.failed += number,
                    _ => {}
                }
            }
        }
        !self.in_output_of_passing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_tallied() {
        let output = "test a ... ok\n\nsuccesses:\n\n---- a stdout ----\nskipped: needs root\n\n\
                      successes:\n    a\n\ntest result: ok. 3 passed; 0 failed; 1 ignored\n\
                      failures:\ntest result: FAILED. 1 passed; 2 failed; 0 ignored\n";
        let mut tally = Tally::default();
        let shown: Vec<&str> = output.lines().filter(|line| tally.take(line)).collect();
        assert_eq!((tally.passed, tally.failed), (4, 2));
        assert_eq!(tally.skipped, ["a: needs root"]);
        assert!(!shown.contains(&"---- a stdout ----"));
        assert!(shown.contains(&"failures:"));
    }
}
