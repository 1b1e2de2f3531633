//! Runs the lab that was built.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The lab with `arguments`.
pub(crate) fn lab(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_teredo"));
    command.arg("lab").args(arguments);
    command
}

/// Whether the calling test is to be left out because there can be no lab here. Says so then.
pub(crate) fn is_impossible() -> bool {
    if let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") {
        println!("skipped: /dev/net/tun: {error}");
        return true;
    }
    let output = lab(&["--bytes", "1", "--", "true"]).output().unwrap();
    let errors = stderr(&output);
    if errors.contains("namespaces") && errors.contains("run the lab as root")
        || errors.contains("run it as root")
    {
        println!("skipped: {}", errors.lines().last().unwrap_or_default());
        return true;
    }
    false
}

/// The object that the lab has printed.
pub(crate) fn json(output: &Output) -> Value {
    match serde_json::from_slice(&output.stdout) {
        Ok(json) => json,
        Err(error) => fail(output, &error.to_string()),
    }
}

/// Asserts the exit status.
pub(crate) fn expect_code(output: &Output, code: i32) {
    if output.status.code() != Some(code) {
        fail(output, &format!("{}, expected {code}", output.status));
    }
}

/// What was said to people.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[expect(clippy::panic, reason = "a test fails by panicking")]
fn fail(output: &Output, why: &str) -> ! {
    panic!("{why}\n{}{}", String::from_utf8_lossy(&output.stdout), stderr(output))
}

/// A directory that is removed at the end of a test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one for the test `name`.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("teredo-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
