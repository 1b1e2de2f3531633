//! Namespaces: a small Internet inside one process tree, without root.
//!
//! The order matters. In `main`, before there is a second thread: [`enter_user_namespace`], which
//! gives an ordinary user the capabilities for the rest; then [`fork_into_pid_namespace`], so that
//! nothing survives; then any number of [`NetNamespace`]s.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::resume_unwind;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{
    Pid, PidfdFlags, WaitOptions, getpid, getppid, pidfd_open, set_parent_process_death_signal,
    waitpid,
};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use crate::caps::Capability;
use crate::error::Context;
use crate::netlink::Netlink;
use crate::process::unblock_signals;
use crate::signal::{Signal, Signals};

/// Puts the process into a new user namespace, in which it is root with all capabilities, over the
/// namespaces made from then on. Outside it stays who it was. The only user in it is 0, so that a
/// program that changes to a user of its own does not run there.
///
/// # Errors
/// `InvalidInput` if the process has more than one thread. `PermissionDenied` where the system does
/// not allow user namespaces to ordinary users. Some systems refuse only what is done inside it.
pub fn enter_user_namespace() -> io::Result<()> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    unshare(UnshareFlags::NEWUSER).context(|| "making a user namespace".to_owned())?;
    // A group map is only accepted from somebody who has given up changing groups.
    write_map("setgroups", "deny".to_owned())?;
    write_map("uid_map", format!("0 {} 1", user.as_raw()))?;
    write_map("gid_map", format!("0 {} 1", group.as_raw()))
}

/// Forks. The child is process 1 of a new process-id namespace: when it ends, however it ends, the
/// kernel kills every process in the namespace, and when the parent ends, it kills the child.
///
/// The child also has mounts of its own, with a `/proc` that shows the new namespace; where that is
/// refused, as in some containers, the old one stays, which shows processes by their outer numbers.
///
/// Process 1 gets no signal that it does not handle, except a kill from outside: make [`Signals`]
/// before the fork. Orphans become its children; it need not reap them to end.
///
/// # Errors
/// `PermissionDenied` without `CAP_SYS_ADMIN`; `InvalidInput` if the process has more than one
/// thread.
pub fn fork_into_pid_namespace() -> io::Result<Forked> {
    // The child of a process with threads inherits their locks, held for ever.
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        let text = "cannot fork into a namespace with more than one thread";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let parent = pidfd_open(getpid(), PidfdFlags::empty())?;
    unshare(UnshareFlags::NEWPID | UnshareFlags::NEWNS)
        .needs(Capability::SysAdmin)
        .context(|| "making a process-id namespace".to_owned())?;
    // SAFETY: there is exactly one thread, so that the child is a complete copy in which no lock is
    // held by a thread that does not exist there; it may do whatever a process may do.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()).context(|| "forking".to_owned()),
        0 => become_init(&parent).map(|()| Forked::Child),
        pid => {
            let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
            Ok(Forked::Parent(Init { pid }))
        }
    }
}

/// On which side of [`fork_into_pid_namespace`] we are.
#[derive(Debug)]
pub enum Forked {
    /// Outside, with nothing left to do but to watch over the child: the kernel now refuses this
    /// process new threads, and would put new children into the namespace too.
    Parent(Init),
    /// Inside, as process 1.
    Child,
}

/// Process 1 of a namespace, seen from outside.
#[derive(Debug)]
pub struct Init {
    pid: Pid,
}

impl Init {
    /// Waits until it ends and returns how. Meanwhile it gets the signals that ask us to end,
    /// unless the terminal has sent them to both.
    pub fn supervise(self) -> io::Result<ExitStatus> {
        let wanted = [Signal::Interrupt, Signal::Terminate, Signal::Hangup, Signal::Child];
        let signals = Signals::new(&wanted)?;
        loop {
            if let Some((_, status)) = waitpid(Some(self.pid), WaitOptions::NOHANG)? {
                return Ok(ExitStatus::from_raw(status.as_raw()));
            }
            match poll(&mut [PollFd::new(&signals, PollFlags::IN)], None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            while let Some(caught) = signals.read()? {
                if caught.signal != Signal::Child && !caught.from_terminal {
                    rustix::process::kill_process(self.pid, caught.signal.into())?;
                }
            }
        }
    }
}

impl From<Signal> for rustix::process::Signal {
    fn from(signal: Signal) -> Self {
        match signal {
            Signal::Interrupt => Self::INT,
            Signal::Terminate => Self::TERM,
            Signal::Hangup => Self::HUP,
            Signal::Child => Self::CHILD,
        }
    }
}

/// A network namespace. It lives as long as this value, a process or a socket in it.
#[derive(Clone, Debug)]
pub struct NetNamespace {
    fd: Arc<OwnedFd>,
}

impl NetNamespace {
    /// Makes one, with nothing in it but the loopback interface, which is up.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_SYS_ADMIN`.
    pub fn create() -> io::Result<Self> {
        // On a thread that then ends, because there is no safe way back if `setns` were to fail.
        on_new_thread(|| {
            unshare(UnshareFlags::NEWNET)
                .needs(Capability::SysAdmin)
                .context(|| "making a network namespace".to_owned())?;
            let fd = File::open("/proc/thread-self/ns/net")?.into();
            let mut netlink = Netlink::open()?;
            let loopback = netlink.link_index("lo")?;
            netlink.set_link_up(loopback)?;
            Ok(Self { fd: Arc::new(fd) })
        })
    }

    /// Runs `body` on a new thread inside and returns its result. Sockets, devices and netlink
    /// connections made there stay inside wherever they are used.
    ///
    /// Of [`Command`]s spawned in `body`, mind that [`command`](Self::command) kills them when that
    /// thread ends.
    ///
    /// # Panics
    /// If `body` does, with its panic.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_new_thread(|| {
            move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::Network))
                .needs(Capability::SysAdmin)
                .context(|| "entering a network namespace".to_owned())?;
            Ok(body())
        })
    }

    /// Makes `command` start its process inside, with no signal blocked, also after
    /// [`Signals`] has blocked some here.
    ///
    /// The process is killed when the *thread* that spawns it ends: spawn from one that stays.
    pub fn command<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let fd = Arc::clone(&self.fd);
        let parent = getpid();
        let enter = move || {
            move_into_link_name_space(fd.as_fd(), Some(LinkNameSpaceType::Network))?;
            unblock_signals()?;
            die_with(parent)
        };
        // SAFETY: between fork and exec of a process with threads only async-signal-safe functions
        // may run: `enter` makes four system calls, without allocating and without a lock; `fd`
        // and `parent` are the closure's own.
        unsafe { command.pre_exec(enter) }
    }
}

impl AsFd for NetNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().as_fd()
    }
}

/// Has the calling process killed when the thread that started it ends.
fn die_with(parent: Pid) -> io::Result<()> {
    set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // It may have ended before we asked.
    if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
}

fn become_init(parent: &OwnedFd) -> io::Result<()> {
    set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // It may have ended before we asked; from in here its number reads 0 in either case.
    let has_ended = poll(&mut [PollFd::new(parent, PollFlags::IN)], Some(&Timespec::default()))?;
    if has_ended != 0 {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    // Nothing that is mounted here may be seen outside.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).context(|| "making the mounts private".to_owned())?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // Refused where part of the old /proc is covered by other mounts.
    let _ = mount("proc", "/proc", "proc", flags, None);
    Ok(())
}

fn on_new_thread<T: Send>(body: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("namespace".into()).spawn_scoped(scope, body)?;
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: unsafe only because of `CLONE_FILES`, which could part a thread from descriptors that
    // others believe to share with it; no caller passes it.
    unsafe { unshare_unsafe(flags) }
}

fn write_map(name: &str, map: String) -> io::Result<()> {
    fs::write(format!("/proc/self/{name}"), map)
        .context(|| format!("setting {name} of the new user namespace"))
}
