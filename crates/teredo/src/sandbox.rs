//! The sandbox of a role: what it keeps, and telling so.

use std::cell::Cell;
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;
use teredo_control::{RuntimeDir, Sandbox};
use teredo_sys::sandbox::{self, Needs};

use crate::report::Report;

/// The sandbox that this process is in.
pub(crate) struct Entered {
    state: Sandbox,
    missing: Vec<String>,
    is_told: Cell<bool>,
}

impl Entered {
    /// What is published of it.
    pub(crate) fn state(&self) -> &Sandbox {
        &self.state
    }

    /// Tells it once, however often a role starts again in it. Only who has got that far tells it:
    /// a role that cannot start says why, and nothing else.
    pub(crate) fn tell(&self, report: &Report, role: &'static str) {
        if self.is_told.replace(true) {
            return;
        }
        for missing in &self.missing {
            report.say(&format!("without a part of the sandbox: {missing}"));
        }
        report.say(&format!("sandbox: {}", self.state));
        report.fact(&Fact { event: "sandbox", role, sandbox: &self.state });
    }
}

/// Printed when a role that is in a sandbox starts.
#[derive(Serialize)]
struct Fact<'a> {
    event: &'static str,
    role: &'static str,
    #[serde(flatten)]
    sandbox: &'a Sandbox,
}

/// Gives up all that is not needed, for good.
///
/// There must be no second thread yet: it would stay outside. What is opened before stays usable.
pub(crate) fn enter(needs: &Needs) -> anyhow::Result<Entered> {
    let entered = sandbox::enter(needs).context("cannot enter the sandbox")?;
    let state = Sandbox {
        capabilities: entered.capabilities.iter().map(|left| left.name().to_owned()).collect(),
        no_new_privileges: entered.no_new_privileges,
        landlock: entered.landlock,
        seccomp: entered.seccomp,
    };
    Ok(Entered { state, missing: entered.missing, is_told: Cell::new(false) })
}

/// The runtime directory of a role that publishes its state, to be written to from the sandbox. It
/// is made now, because in the sandbox its parent is out of reach.
pub(crate) fn runtime_directory() -> PathBuf {
    let runtime = RuntimeDir::from_environment();
    // Whoever serves it will say why it cannot.
    let _ = runtime.make();
    runtime.path().to_owned()
}
