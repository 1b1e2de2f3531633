//! Everything that a reviewer should not have to say.

use anyhow::{Result, bail};

use crate::{floors, licences, tidy, workspace};

struct Lint {
    name: &'static str,
    run: fn() -> Result<()>,
}

const LINTS: [Lint; 6] = [
    Lint { name: "formatting", run: formatting },
    Lint { name: "tidy", run: tidy::run },
    Lint { name: "floors", run: floors::run },
    Lint { name: "licences", run: licences::run },
    Lint { name: "clippy", run: clippy },
    Lint { name: "documentation", run: documentation },
];

/// Runs all lints, also after one has failed.
pub(crate) fn run() -> Result<()> {
    let mut failed = Vec::new();
    for Lint { name, run } in LINTS {
        if let Err(error) = run() {
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
    workspace::run(workspace::cargo().args(["fmt", "--all", "--check"]))?;
    let fuzz = ["fmt", "--check", "--manifest-path", "fuzz/Cargo.toml"];
    workspace::run(workspace::cargo().args(fuzz))
}

fn clippy() -> Result<()> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    workspace::run(workspace::cargo().args(clippy))
}

fn documentation() -> Result<()> {
    let doc = ["doc", "--workspace", "--no-deps", "--locked"];
    workspace::run(workspace::cargo().args(doc).env("RUSTDOCFLAGS", "-D warnings"))
}
