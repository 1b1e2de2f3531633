//! Taking possession of the runtime directory: one daemon at a time, and its sockets.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, Stat, chmodat, flock, fstat, mkdir, open, openat,
    renameat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use crate::RuntimeDir;
use crate::connect::ROOT;

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// Another daemon serves this directory.
    AlreadyRunning(PathBuf),
    /// Others may write to the directory or own it, so that they could replace the sockets.
    UnsafeDirectory(PathBuf),
    /// The system failed.
    System {
        /// What was being done, and to what.
        what: String,
        /// Why it failed.
        error: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyRunning(path) => {
                write!(f, "already running: another daemon serves {}", path.display())
            }
            Self::UnsafeDirectory(path) => {
                write!(f, "{} belongs to somebody else or is writable by others", path.display())
            }
            Self::System { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { error, .. } => Some(error),
            Self::AlreadyRunning(_) | Self::UnsafeDirectory(_) => None,
        }
    }
}

/// The directory, while this process serves it. The sockets' names go with it.
pub(super) struct Claim {
    directory: RuntimeDir,
    fd: OwnedFd,
    /// Locked; the kernel unlocks it when the process ends, however it ends.
    _lock: OwnedFd,
    /// The names that we made, and what stands behind them.
    made: Vec<(&'static str, Identity)>,
}

impl Claim {
    /// Makes the directory if need be and locks it.
    pub(super) fn take(directory: &RuntimeDir) -> Result<Self, StartError> {
        let fd = open_directory(directory.path())?;
        let Some((lock, identity)) = lock(&fd).map_err(failed("locking", directory, LOCK))? else {
            return Err(StartError::AlreadyRunning(directory.path().to_owned()));
        };
        let made = vec![(LOCK, identity)];
        Ok(Self { directory: directory.clone(), fd, _lock: lock, made })
    }

    /// A socket at `name` that everybody may connect to. What stands there is replaced, unless
    /// somebody answers.
    pub(super) fn listen(
        &mut self,
        name: &'static str,
        kind: SocketType,
    ) -> Result<OwnedFd, StartError> {
        if self.answers(name, kind) {
            return Err(StartError::AlreadyRunning(self.directory.path().to_owned()));
        }
        self.bind(name, kind).map_err(failed("making the socket", &self.directory, name))
    }

    /// Whether somebody serves the socket, without the lock that we hold.
    fn answers(&self, name: &str, kind: SocketType) -> bool {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let attempt = || {
            let address = SocketAddrUnix::new(self.directory.path().join(name))?;
            connect(&socket_with(AddressFamily::UNIX, kind, flags, None)?, &address)
        };
        // A full backlog is an answer too.
        matches!(attempt(), Ok(()) | Err(Errno::AGAIN))
    }

    /// Under another name first: at its own name the socket is open and ready at once, and whatever
    /// was there is replaced without a gap.
    fn bind(&mut self, name: &'static str, kind: SocketType) -> rustix::io::Result<OwnedFd> {
        let new = format!(".{name}");
        match unlinkat(&self.fd, &new, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, kind, flags, None)?;
        bind(&socket, &SocketAddrUnix::new(self.directory.path().join(&new))?)?;
        let result = self.make_ready(&socket, &new, name);
        if result.is_err() {
            let _ = unlinkat(&self.fd, &new, AtFlags::empty());
        }
        result.map(|()| socket)
    }

    fn make_ready(
        &mut self,
        socket: &OwnedFd,
        new: &str,
        name: &'static str,
    ) -> rustix::io::Result<()> {
        // Connecting takes the right to write, and the process's umask takes that away.
        chmodat(&self.fd, new, Mode::from_raw_mode(0o666), AtFlags::empty())?;
        listen(socket, BACKLOG)?;
        let identity = Identity::of(&statat(&self.fd, new, AtFlags::SYMLINK_NOFOLLOW)?);
        renameat(&self.fd, new, &self.fd, name)?;
        self.made.push((name, identity));
        Ok(())
    }
}

impl Drop for Claim {
    /// The lock last: who gets it finds nothing of ours.
    fn drop(&mut self) {
        for (name, identity) in self.made.iter().rev() {
            let there = statat(&self.fd, *name, AtFlags::SYMLINK_NOFOLLOW);
            if there.is_ok_and(|there| Identity::of(&there) == *identity) {
                let _ = unlinkat(&self.fd, *name, AtFlags::empty());
            }
        }
    }
}

/// Tells one file from another.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// Makes the directory unless it is there, and looks whether it is a safe place.
pub(crate) fn make_directory(path: &Path) -> Result<(), StartError> {
    open_directory(path).map(drop)
}

fn open_directory(path: &Path) -> Result<OwnedFd, StartError> {
    let attempt = || {
        let made = match mkdir(path, ACCESS) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error),
        };
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let fd = open(path, flags, Mode::empty())?;
        if made {
            // The process's umask may have taken something away.
            rustix::fs::fchmod(&fd, ACCESS)?;
        }
        let stat = fstat(&fd)?;
        Ok((fd, stat))
    };
    let (fd, stat) = attempt().map_err(|error| StartError::System {
        what: format!("opening the directory {}", path.display()),
        error: error.into(),
    })?;
    let ours = stat.st_uid == ROOT || stat.st_uid == rustix::process::geteuid().as_raw();
    if ours && stat.st_mode & WRITABLE_BY_OTHERS == 0 {
        Ok(fd)
    } else {
        Err(StartError::UnsafeDirectory(path.to_owned()))
    }
}

/// The lock file, locked; nothing if somebody else holds it.
fn lock(directory: &OwnedFd) -> rustix::io::Result<Option<(OwnedFd, Identity)>> {
    loop {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Nobody else may open it: that is all it takes to lock it.
        let file = openat(directory, LOCK, flags, Mode::RUSR | Mode::WUSR)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error),
        }
        let identity = Identity::of(&fstat(&file)?);
        // A daemon that was about to end may have removed it between the two calls above.
        match statat(directory, LOCK, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if Identity::of(&there) == identity => return Ok(Some((file, identity))),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
}

fn failed(what: &str, directory: &RuntimeDir, name: &str) -> impl Fn(Errno) -> StartError {
    let what = format!("{what} {}", directory.path().join(name).display());
    move |error| StartError::System { what: what.clone(), error: error.into() }
}

/// Name of what a running daemon holds a lock on.
const LOCK: &str = "lock";
/// Everybody may enter the directory, only its owner may change what is in it.
const ACCESS: Mode = Mode::from_raw_mode(0o755);
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Connections that wait to be accepted; the kernel has a lower limit of its own
/// (`net.core.somaxconn`, usually 4,096). Beyond it connecting fails at once or waits.
const BACKLOG: i32 = 4096;
