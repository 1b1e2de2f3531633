//! Everything that a reviewer should not have to say.

use anyhow::{Result, bail};

use crate::{floors, licences, tidy, workspace};

/// Runs all lints, also after one has failed.
pub(crate) fn run() -> Result<()> {
    let lints: [(&str, fn() -> Result<()>); 6] = [
        ("formatting", formatting),
        ("tidy", tidy::run),
        ("floors", floors::run),
        ("licences", licences::run),
        ("clippy", clippy),
        ("documentation", documentation),
    ];
    let mut failed = Vec::new();
    for (name, lint) in lints {
        if let Err(error) = lint() {
            eprintln!("{name}: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("lint: {}", failed.join(", "));
    }
    println!("lint: ok");
    Ok(())
}

fn formatting() -> Result<()> {
    workspace::run(workspace::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    workspace::run(workspace::cargo().args(clippy))
}

fn documentation() -> Result<()> {
    let doc = ["doc", "--workspace", "--no-deps", "--locked"];
    workspace::run(workspace::cargo().args(doc).env("RUSTDOCFLAGS", "-D warnings"))
}
