//! One line of context for a kernel error.

use std::io;

use crate::caps::Capability;

/// Adds to a kernel error what a person needs to know.
pub(crate) trait Context<T> {
    /// Puts `what` was being done before the error's text; the [`io::ErrorKind`] stays.
    fn context(self, what: impl FnOnce() -> String) -> io::Result<T>;

    /// Replaces "not permitted" by the name of the capability that was needed, if it is missing.
    fn needs(self, capability: Capability) -> io::Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> io::Result<T> {
        self.map_err(|error| {
            let error = error.into();
            io::Error::new(error.kind(), format!("{}: {error}", what()))
        })
    }

    fn needs(self, capability: Capability) -> io::Result<T> {
        self.map_err(|error| {
            let error = error.into();
            let denied = error.kind() == io::ErrorKind::PermissionDenied;
            if denied && !capability.is_effective() {
                io::Error::new(error.kind(), format!("{capability} is missing"))
            } else {
                error
            }
        })
    }
}
