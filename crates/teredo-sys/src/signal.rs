//! Signals as something to read.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::{io, mem, ptr};

/// A signal that the program reacts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGINT`: Ctrl-C.
    Interrupt,
    /// `SIGTERM`: asked to end.
    Terminate,
    /// `SIGHUP`: terminal gone, or asked to reload.
    Hangup,
    /// `SIGCHLD`: a child has ended.
    Child,
}

impl Signal {
    /// The kernel's number.
    pub fn number(self) -> i32 {
        match self {
            Self::Interrupt => libc::SIGINT,
            Self::Terminate => libc::SIGTERM,
            Self::Hangup => libc::SIGHUP,
            Self::Child => libc::SIGCHLD,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        [Self::Interrupt, Self::Terminate, Self::Hangup, Self::Child]
            .into_iter()
            .find(|signal| signal.number().cast_unsigned() == number)
    }
}

/// A descriptor that becomes readable when one of a set of signals arrives.
///
/// The signals stay blocked for the calling thread and the threads it starts, also after this value
/// is dropped: make it first thing in `main`. A child started by [`std::process::Command`] inherits
/// that, unless [`NetNamespace::command`](crate::ns::NetNamespace::command) starts it.
#[derive(Debug)]
pub struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Blocks `signals` and catches them from now on.
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        // SAFETY: all zeros is valid storage for a `sigset_t`; `sigemptyset` then makes it a set,
        // `sigaddset` gets live storage and valid numbers.
        let set = unsafe {
            let mut set: libc::sigset_t = mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in signals {
                libc::sigaddset(&raw mut set, signal.number());
            }
            set
        };
        // SAFETY: `set` is a live signal set; a null old set is allowed.
        let errno =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) };
        if errno != 0 {
            return Err(io::Error::from_raw_os_error(errno));
        }
        // SAFETY: `set` is a live signal set; -1 asks for a new descriptor.
        let fd =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` has just been opened and belongs to nobody else.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The next signal that has arrived, if any. Equal ones may have been merged into one.
    pub fn read(&self) -> io::Result<Option<Caught>> {
        // SAFETY: all zeros is a valid `signalfd_siginfo`, a structure of plain integers.
        let mut info: libc::signalfd_siginfo = unsafe { mem::zeroed() };
        let len = size_of_val(&info);
        // SAFETY: `info` is writable for `len` bytes, and any bytes are valid in it.
        let read = unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut info).cast(), len) };
        if read < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
        }
        let signal = Signal::from_number(info.ssi_signo).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Some(Caught { signal, from_terminal: info.ssi_code == libc::SI_KERNEL }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Runs `work` with every signal blocked in the calling thread. Threads that `work` starts keep
/// them blocked for good: in somebody else's process, a library's threads must take no signal.
pub fn with_all_blocked<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: all zeros is valid storage for two `sigset_t`; `sigfillset` then makes one a set.
    let (mut all, mut old): (libc::sigset_t, libc::sigset_t) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    // SAFETY: both are live signal sets, the second one writable.
    let errno = unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old)
    };
    let restore = Restore((errno == 0).then_some(old));
    let result = work();
    drop(restore);
    result
}

/// Puts the signal mask back, also when what was run panics.
struct Restore(Option<libc::sigset_t>);

impl Drop for Restore {
    fn drop(&mut self) {
        if let Some(old) = &self.0 {
            // SAFETY: `old` is the mask that this thread had; a null set to fill is allowed.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old, ptr::null_mut()) };
        }
    }
}

/// A signal that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caught {
    /// Which one.
    pub signal: Signal,
    /// Whether the kernel sent it by itself, as it does for Ctrl-C: then every process of the
    /// terminal's foreground group has got one too, and it need not be passed on to children.
    pub from_terminal: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked() -> String {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find(|line| line.starts_with("SigBlk:")).unwrap().to_owned()
    }

    #[test]
    fn threads_started_inside_keep_signals_blocked() {
        let before = blocked();
        let inside = with_all_blocked(|| std::thread::spawn(blocked)).join().unwrap();
        assert_ne!(inside, before);
        assert_eq!(blocked(), before);
    }

    #[test]
    fn a_signal_is_read_instead_of_ending_the_process() {
        let signals = Signals::new(&[Signal::Hangup, Signal::Terminate]).unwrap();
        assert_eq!(signals.read().unwrap(), None);
        // SAFETY: sends a signal to the calling thread, which has just blocked it.
        assert_eq!(unsafe { libc::raise(Signal::Hangup.number()) }, 0);
        let caught = signals.read().unwrap();
        assert_eq!(caught, Some(Caught { signal: Signal::Hangup, from_terminal: false }));
        assert_eq!(signals.read().unwrap(), None);
    }
}
