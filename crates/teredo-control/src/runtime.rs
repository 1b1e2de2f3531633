//! Where daemon and clients meet.

use std::io;
use std::path::{Path, PathBuf};

use teredo_sys::unix::secure_env;

use crate::server::make_directory;

/// The directory that holds the daemon's sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeDir {
    path: PathBuf,
}

impl RuntimeDir {
    /// `/run/teredo`, or what the environment variable `TEREDO_RUNTIME_DIR` names. Programs with
    /// more rights than their caller ignore the variable.
    pub fn from_environment() -> Self {
        let path = secure_env(VARIABLE).filter(|path| !path.is_empty());
        Self { path: path.map_or_else(|| PathBuf::from(DEFAULT), PathBuf::from) }
    }

    /// A directory of one's own choice, for tests and for several daemons on one host.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Makes the directory, unless it is there. A daemon does that by itself; one that enters a
    /// sandbox first does it before.
    ///
    /// # Errors
    /// The system's, or that others could replace what is in it.
    pub fn make(&self) -> io::Result<()> {
        make_directory(&self.path).map_err(io::Error::other)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The socket that hands out the page.
    pub fn page_socket(&self) -> PathBuf {
        self.path.join("page")
    }

    /// The socket that speaks Varlink.
    pub fn control_socket(&self) -> PathBuf {
        self.path.join("control")
    }
}

const DEFAULT: &str = "/run/teredo";
const VARIABLE: &str = "TEREDO_RUNTIME_DIR";
