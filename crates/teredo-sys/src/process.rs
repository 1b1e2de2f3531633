//! Child processes.

use std::io;
use std::process::Child;

use rustix::process::{Pid, kill_process};

use crate::signal::Signal;

/// Sends a signal to a child that has not been waited for yet.
///
/// # Errors
/// `PermissionDenied` if it has become somebody else.
pub fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    // Until it is waited for, its number cannot become another process's.
    let pid = Pid::from_child(child);
    Ok(kill_process(pid, signal.into())?)
}
