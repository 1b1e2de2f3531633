//! Where the options of a client come from, and how they change while it runs.

use teredo_control::Settings;
use teredo_control::server::SetError;

use super::Args;

/// Where a client's options come from.
pub(crate) trait Source {
    /// Takes settings that somebody asks for, for good, and returns the options that hold then.
    ///
    /// # Errors
    /// Why nothing has changed.
    fn set(&mut self, settings: &Settings) -> Result<Args, SetError>;

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

    fn reload(&mut self) -> Option<anyhow::Result<Args>> {
        None
    }
}
