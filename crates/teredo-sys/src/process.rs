//! Child processes, and the limits of this one.

use std::process::Child;
use std::{io, mem, ptr};

use rustix::process::{Pid, Resource, getppid, getrlimit, kill_process};

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

/// Has the kernel send `SIGTERM` to this process when the thread that started it ends. `parent` is
/// the process of that thread.
///
/// # Errors
/// `NotFound` if it has ended already.
pub fn end_with_parent(parent: u32) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::Terminate.into()))?;
    // It may have ended before, in which case somebody else has taken its place.
    let is_there =
        getppid().is_some_and(|now| now.as_raw_nonzero().get().cast_unsigned() == parent);
    if is_there { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// How many descriptors this process may have: each number is below this.
pub fn files_max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Lets the calling thread take every signal again. What it runs inherits that.
///
/// Only makes async-signal-safe calls, so that it may run between fork and exec.
pub(crate) fn unblock_signals() -> io::Result<()> {
    // SAFETY: all zeros is valid storage for a `sigset_t`, which `sigemptyset` then makes a set.
    let mut none: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: `none` is live and writable storage; a null old set is allowed.
    let errno = unsafe {
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut())
    };
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}
