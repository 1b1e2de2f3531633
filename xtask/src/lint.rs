//! Everything that a reviewer should not have to say.

use anyhow::Result;

use crate::{floors, licences, tidy, workspace};

/// Runs all lints; stops at the first that fails.
pub(crate) fn run() -> Result<()> {
    workspace::run(workspace::cargo().args(["fmt", "--all", "--check"]))?;
    tidy::run()?;
    floors::run()?;
    licences::run()?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    workspace::run(workspace::cargo().args(clippy))?;
    let doc = ["doc", "--workspace", "--no-deps", "--locked"];
    workspace::run(workspace::cargo().args(doc).env("RUSTDOCFLAGS", "-D warnings"))?;
    println!("lint: ok");
    Ok(())
}
