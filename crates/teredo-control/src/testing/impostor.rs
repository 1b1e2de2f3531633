//! Whatever may stand in the daemon's place and answer.

use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, accept, bind, connect, listen, sendmsg, socket_with,
};

use crate::RuntimeDir;

/// Serves a socket of a runtime directory and gives everybody the same answer, until it is dropped.
#[derive(Debug)]
pub struct Impostor {
    path: PathBuf,
    kind: SocketType,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Impostor {
    /// Hands out these descriptors for pages; with none, a message without.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn pages(directory: &RuntimeDir, descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        Self::start(directory.page_socket(), SocketType::SEQPACKET, move |client| {
            let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(RIGHTS_MAX))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(&descriptors));
            }
            let _ = sendmsg(client, &[IoSlice::new(b"x")], &mut control, SendFlags::NOSIGNAL);
        })
    }

    /// Says this on the control socket, whatever it is asked, and then nothing more.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn control(directory: &RuntimeDir, says: Vec<u8>) -> io::Result<Self> {
        Self::start(directory.control_socket(), SocketType::STREAM, move |client| {
            // A client need not listen to all of it.
            let Ok(mut client) = client.try_clone().map(UnixStream::from) else { return };
            let _ = client.set_write_timeout(Some(WRITE_TIMEOUT));
            let _ = client.write_all(&says);
        })
    }

    fn start(
        path: PathBuf,
        kind: SocketType,
        answer: impl Fn(&OwnedFd) + Send + 'static,
    ) -> io::Result<Self> {
        let socket = listening(&path, kind)?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let body = move || {
            // They stay open: nobody is told that there is no more to come.
            let mut clients = Vec::new();
            while let Ok(client) = accept(&socket) {
                if told.load(Ordering::Acquire) {
                    return;
                }
                answer(&client);
                clients.push(client);
            }
        };
        let thread = Some(thread::Builder::new().name("impostor".into()).spawn(body)?);
        Ok(Self { path, kind, stop, thread })
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let woken = connecting(&self.path, self.kind).is_ok();
        let _ = std::fs::remove_file(&self.path);
        if let Some(thread) = self.thread.take()
            && woken
        {
            let _ = thread.join();
        }
    }
}

/// A socket that others can connect to, and that nobody accepts from.
///
/// # Errors
/// The system's.
pub fn listening(path: &Path, kind: SocketType) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn connecting(path: &Path, kind: SocketType) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// What a message may carry, more or less.
const RIGHTS_MAX: usize = 200;
const BACKLOG: i32 = 100;
/// How long a client that does not listen is talked to.
const WRITE_TIMEOUT: Duration = Duration::from_millis(200);
