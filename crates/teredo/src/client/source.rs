//! Where the options of a client come from, and how they change while it runs.

use teredo_control::Settings;
use teredo_control::server::SetError;

use super::Args;
use crate::allow::Rules;

/// Where a client's options come from.
pub(crate) trait Source {
    /// Takes settings that somebody asks for, for good, and returns the options that hold then.
    ///
    /// # Errors
    /// Why nothing has changed.
    fn set(&mut self, settings: &Settings) -> Result<Args, SetError>;

    /// Keeps what was added to these rules, for good, if it can; says whether it does.
    ///
    /// # Errors
    /// Why it cannot although it should.
    fn keep(&mut self, rules: &Rules) -> Result<bool, SetError>;

    /// Reads everything again; `None` if there is nothing to read, so that a hangup means the end.
    fn reload(&mut self) -> Option<anyhow::Result<Args>>;
}

/// The command line, which nobody can change.
pub(super) struct CommandLine;

impl Source for CommandLine {
    fn set(&mut self, _: &Settings) -> Result<Args, SetError> {
        Err(SetError::Failed(
            "its command line decides; start it again with another one, or run teredo daemon"
                .to_owned(),
        ))
    }

    /// Nothing would read it again.
    fn keep(&mut self, _: &Rules) -> Result<bool, SetError> {
        Ok(false)
    }

    fn reload(&mut self) -> Option<anyhow::Result<Args>> {
        None
    }
}
