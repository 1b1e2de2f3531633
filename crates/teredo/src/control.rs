//! Asking the Teredo daemon of this host.

use std::time::Duration;

use anyhow::Context;
use teredo_control::{Client, Error, RuntimeDir};

use crate::exit::Exit;

/// A connection to the daemon; none, after having said so, if none runs.
pub(crate) fn connect() -> anyhow::Result<Option<Client>> {
    match Client::connect(&RuntimeDir::from_environment(), PATIENCE) {
        Ok(client) => Ok(Some(client)),
        Err(Error::NotRunning) => {
            not_running();
            Ok(None)
        }
        Err(error) => Err(error).context("cannot ask the Teredo client of this host"),
    }
}

/// Says that there is no daemon.
pub(crate) fn not_running() -> Exit {
    eprintln!("teredo: Teredo is not running on this host");
    Exit::NotRunning
}

/// Longer than a busy host needs, and no longer than a person waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
