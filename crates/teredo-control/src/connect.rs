//! Connecting to a daemon's socket, or finding out that there is none.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, lstat, stat};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use teredo_sys::unix::peer;

use crate::RuntimeDir;

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// There is nothing there, or nobody behind it.
    NotRunning,
    /// It is no socket, or one of another kind.
    Invalid,
    /// Who listens is neither root, nor this user, nor the owner of the directory.
    Untrusted,
    /// Who listens does not accept.
    TimedOut,
    /// The system failed.
    System(io::Error),
}

impl From<Errno> for ConnectError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::CONNREFUSED => Self::NotRunning,
            // Too long a path can lead to no socket, nor can a loop.
            Errno::PROTOTYPE | Errno::NOTSOCK | Errno::NAMETOOLONG | Errno::LOOP => Self::Invalid,
            Errno::AGAIN => Self::TimedOut,
            other => Self::System(other.into()),
        }
    }
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Not at all; the socket is then non-blocking.
    None,
    /// Until a moment.
    Until(Instant),
}

/// Connects to `path`, a socket in `directory`.
pub(crate) fn connect(
    directory: &RuntimeDir,
    path: &Path,
    kind: SocketType,
    patience: Patience,
) -> Result<OwnedFd, ConnectError> {
    // Cheaper than a socket when there is nothing, and no link leads us astray.
    if FileType::from_raw_mode(lstat(path)?.st_mode) != FileType::Socket {
        return Err(ConnectError::Invalid);
    }
    let address = SocketAddrUnix::new(path)?;
    let flags = match patience {
        Patience::None => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Patience::Until(_) => SocketFlags::CLOEXEC,
    };
    let socket = socket_with(AddressFamily::UNIX, kind, flags, None)?;
    loop {
        if let Patience::Until(deadline) = patience {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ConnectError::TimedOut);
            }
            // What connecting waits by when the backlog is full. A zero would mean for ever.
            set_socket_timeout(&socket, Timeout::Send, Some(left))?;
        }
        match rustix::net::connect(&socket, &address) {
            Err(Errno::INTR) => {}
            result => break result?,
        }
    }
    let user = peer(&socket).map_err(ConnectError::System)?.user;
    let trusted = user == ROOT
        || user == rustix::process::geteuid().as_raw()
        // Whoever owns the directory decides what is in it, as the daemon's own user does.
        || user == stat(directory.path())?.st_uid;
    if trusted { Ok(socket) } else { Err(ConnectError::Untrusted) }
}

/// Waits until `socket` is ready for `what`, or will never be.
pub(crate) fn wait(
    socket: impl AsFd,
    what: PollFlags,
    deadline: Instant,
) -> Result<(), ConnectError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| ConnectError::TimedOut)?;
        match poll(&mut [PollFd::new(&socket, what)], Some(&left)) {
            Ok(0) => return Err(ConnectError::TimedOut),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The user id of root.
pub(crate) const ROOT: u32 = 0;
