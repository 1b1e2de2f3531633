//! The hand-overs between threads, in all interleavings that the models allow.

use anyhow::Result;

use crate::workspace;

/// The crates that have such models, in modules named `loom_tests`.
const MODELS: [&str; 4] = ["--package", "netioapi", "--package", "teredo-control"];

/// Runs all models.
pub(crate) fn run() -> Result<()> {
    let mut test = workspace::cargo();
    // Other flags build everything anew, here where that disturbs no other build.
    test.env("RUSTFLAGS", "--cfg loom").args(["test", "--locked", "--target-dir", "target/loom"]);
    workspace::run(test.args(MODELS).args(["--lib", "loom"]))
}
