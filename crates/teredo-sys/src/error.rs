//! One line of context for a kernel error.

use std::io;

/// Adds what was being done to an error of the kernel.
pub(crate) trait Context<T> {
    /// Puts `what` before the error's text; the [`io::ErrorKind`] stays.
    fn context(self, what: impl FnOnce() -> String) -> io::Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> io::Result<T> {
        self.map_err(|error| {
            let error = error.into();
            io::Error::new(error.kind(), format!("{}: {error}", what()))
        })
    }
}
