//! Handing the page from the daemon to a reader.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketType, recvmsg, sendmsg,
};
use teredo_sys::page::MappedPage;

use crate::connect::{ConnectError, Patience, connect, wait};
use crate::{RuntimeDir, State};

/// Why there is no port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// No daemon runs here.
    NotRunning,
    /// A daemon runs, but holds no port in this state.
    NoPort(State),
    /// The daemon is in another network namespace than the calling thread.
    OtherNamespace,
    /// What answers is neither root, nor this user, nor the owner of the runtime directory.
    Untrusted,
    /// What stands in the daemon's place is none, or one of another version.
    Invalid,
    /// The daemon did not answer in time.
    TimedOut,
    /// The system failed, for example because it is out of descriptors or memory.
    System(io::ErrorKind),
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning => f.write_str("no Teredo daemon runs here"),
            Self::NoPort(state) => write!(f, "Teredo is {} and has no port", state.name()),
            Self::OtherNamespace => {
                f.write_str("the Teredo daemon is in another network namespace")
            }
            Self::Untrusted => f.write_str("the runtime directory holds a stranger's socket"),
            Self::Invalid => f.write_str("the runtime directory holds no Teredo daemon's socket"),
            Self::TimedOut => f.write_str("the Teredo daemon does not answer"),
            Self::System(kind) => write!(f, "asking for the Teredo port: {kind}"),
        }
    }
}

impl std::error::Error for NotReady {}

impl From<ConnectError> for NotReady {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::NotRunning => Self::NotRunning,
            ConnectError::Invalid => Self::Invalid,
            ConnectError::Untrusted => Self::Untrusted,
            ConnectError::TimedOut => Self::TimedOut,
            ConnectError::System(error) => Self::System(error.kind()),
        }
    }
}

/// Gets the daemon's page.
pub(super) fn fetch(directory: &RuntimeDir) -> Result<MappedPage, NotReady> {
    let deadline = Instant::now() + TIMEOUT;
    let patience = Patience::Until(deadline);
    let socket = connect(directory, &directory.page_socket(), SocketType::SEQPACKET, patience)?;
    let fd = receive(&socket, deadline)?;
    MappedPage::map(fd.as_fd()).map_err(|error| {
        let is_page = error.kind() != io::ErrorKind::InvalidData;
        if is_page { NotReady::System(error.kind()) } else { NotReady::Invalid }
    })
}

fn receive(socket: &OwnedFd, deadline: Instant) -> Result<OwnedFd, NotReady> {
    loop {
        wait(socket, PollFlags::IN, deadline)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let mut bytes = [IoSliceMut::new(&mut byte)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        match recvmsg(socket, &mut bytes, &mut control, flags) {
            // The daemon, or whoever it is, has ended.
            Ok(message) if message.bytes == 0 => return Err(NotReady::NotRunning),
            Err(Errno::CONNRESET) => return Err(NotReady::NotRunning),
            Ok(_) => {}
            Err(Errno::AGAIN | Errno::INTR) => continue,
            Err(error) => return Err(NotReady::System(error.kind())),
        }
        // There is room for one descriptor; the kernel closes any more.
        let descriptor = control.drain().find_map(|message| {
            let RecvAncillaryMessage::ScmRights(mut descriptors) = message else { return None };
            descriptors.next()
        });
        return descriptor.ok_or(NotReady::Invalid);
    }
}

/// Sends the page to somebody who has just connected. Never waits: there is room for one message.
pub(crate) fn send(socket: BorrowedFd<'_>, page: BorrowedFd<'_>) -> io::Result<()> {
    let descriptors = [page];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(socket, &[IoSlice::new(b"p")], &mut control, flags)?;
    Ok(())
}

/// How long a reader waits for a page: far longer than a busy host needs, and bearable when a
/// daemon is stopped or something else stands in its place.
const TIMEOUT: Duration = Duration::from_secs(1);
