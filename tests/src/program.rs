//! The program under test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Names a binary to test instead of building one.
const OVERRIDE: &str = "TEREDO_BIN";

/// The program as `cargo build` makes it; for tests.
///
/// # Errors
///
/// If it cannot be built.
pub fn debug() -> Result<PathBuf> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let built = BUILT.get_or_init(|| match build(&[]) {
        Ok(path) => Some(path),
        Err(error) => {
            eprintln!("{error:#}");
            None
        }
    });
    built.clone().context("the program could not be built")
}

/// The program as `cargo build --release` makes it; for measuring.
///
/// # Errors
///
/// If it cannot be built.
pub fn release() -> Result<PathBuf> {
    build(&["--release"])
}

fn build(options: &[&str]) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(OVERRIDE) {
        return Ok(PathBuf::from(path));
    }
    executable(&["--package", "teredo", "--bin", "teredo"], options)
}

/// Builds one executable of the workspace and tells where it is.
///
/// # Errors
///
/// If it cannot be built.
pub fn executable(target: &[&str], options: &[&str]) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .current_dir(root)
        .args(["build", "--locked", "--message-format", "json-render-diagnostics"])
        .args(target)
        .args(options)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo build")?;
    if !output.status.success() {
        bail!("cargo build {} failed ({})", target.join(" "), output.status);
    }
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut paths = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    paths.next_back().with_context(|| format!("cargo build {} made nothing", target.join(" ")))
}
