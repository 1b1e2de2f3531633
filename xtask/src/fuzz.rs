//! Fuzzing: every target of `fuzz/` in turn, on a stable compiler.
//!
//! What is found on the way stays in `target/fuzz`; the committed inputs are only read. Continuous
//! integration replays those as an ordinary test (`crates/teredo-fuzz/tests/corpora.rs`).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Longer inputs show nothing that shorter ones do not, and take longer.
const INPUT_LEN_MAX: u32 = 1024;
/// Far more than any target needs with its tables full.
const MEMORY_MAX_MB: u32 = 1024;
/// An input that takes longer is a finding.
const INPUT_SECONDS_MAX: u32 = 20;

/// Runs each target for so many minutes; fails with the names of those that found something.
pub(crate) fn run(minutes: u32) -> Result<()> {
    let version = workspace::cargo().args(["fuzz", "--version"]).output();
    if !version.is_ok_and(|output| output.status.success()) {
        bail!("`cargo fuzz` is not there: `cargo install cargo-fuzz` gets it");
    }
    // Sanitizers want a nightly compiler; without `unsafe` they would find little.
    workspace::run(workspace::cargo().args(["fuzz", "build", "--sanitizer", "none"]))?;
    let mut failed = Vec::new();
    for name in names()? {
        match run_target(&name, minutes)? {
            Some(executions) => println!("{name}: {executions} executions in {minutes} min"),
            None => failed.push(name),
        }
    }
    if !failed.is_empty() {
        bail!("found something, see fuzz/artifacts: {}", failed.join(", "));
    }
    Ok(())
}

/// Runs a target; returns the number of executions, or none if it found something.
fn run_target(name: &str, minutes: u32) -> Result<Option<u64>> {
    let found = workspace::root().join("target/fuzz").join(name);
    std::fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
    let mut command = workspace::cargo();
    command.args(["fuzz", "run", "--sanitizer", "none", name]).arg(&found).arg(corpus(name));
    command.arg("--").arg(format!("-max_total_time={}", minutes * 60));
    command.arg(format!("-max_len={INPUT_LEN_MAX}")).arg("-len_control=0");
    command.arg(format!("-rss_limit_mb={MEMORY_MAX_MB}"));
    command.arg(format!("-timeout={INPUT_SECONDS_MAX}"));
    let mut child = command.stderr(Stdio::piped()).spawn().context("cannot run cargo fuzz")?;
    let stderr = child.stderr.take().context("no pipe from cargo fuzz")?;
    let mut executions = None;
    for line in BufReader::new(stderr).lines() {
        let line = line.context("cannot read the output of cargo fuzz")?;
        executions = executions_of(&line).or(executions);
        if !line.starts_with('#') {
            eprintln!("{line}");
        }
    }
    let status = child.wait().context("cargo fuzz")?;
    Ok(executions.filter(|_| status.success()))
}

/// The number in the last line of a run that ended by itself.
fn executions_of(line: &str) -> Option<u64> {
    line.strip_prefix("Done ")?.split(' ').next()?.parse().ok()
}

/// The targets: those that have inputs.
fn names() -> Result<Vec<String>> {
    let directory = corpus("");
    let entries = std::fs::read_dir(&directory)
        .with_context(|| format!("cannot read {}", directory.display()))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn corpus(name: &str) -> PathBuf {
    workspace::root().join(Path::new("fuzz/corpus")).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_read_from_the_last_line() {
        assert_eq!(executions_of("Done 17525 runs in 601 second(s)"), Some(17_525));
        assert_eq!(executions_of("#17525 DONE cov: 1"), None);
    }

    #[test]
    fn every_target_is_built_and_has_inputs() {
        let manifest = std::fs::read_to_string(workspace::root().join("fuzz/Cargo.toml")).unwrap();
        let names = names().unwrap();
        assert_eq!(manifest.matches("[[bin]]").count(), names.len());
        for name in names {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        }
    }
}
