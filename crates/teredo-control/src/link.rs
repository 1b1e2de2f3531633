//! A connection to the control socket, from the client's end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType, recv, send};
use teredo_sys::fork::Private;

use crate::RuntimeDir;
use crate::connect::{ConnectError, Patience, connect};
use crate::varlink::Frames;

/// A connection, and what has come in over it.
#[derive(Debug)]
pub(crate) struct Link {
    socket: Private<OwnedFd>,
    pub(crate) frames: Frames,
}

impl Link {
    /// Connects. May wait only for that.
    pub(crate) fn open(directory: &RuntimeDir, patience: Patience) -> Result<Self, ConnectError> {
        let socket = connect(directory, &directory.control_socket(), SocketType::STREAM, patience)?;
        let socket = Private::new(socket).map_err(ConnectError::System)?;
        Ok(Self { socket, frames: Frames::default() })
    }

    /// Sends as much of `bytes` as there is room for and returns how much that was.
    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match send(&self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                result => return Ok(result?),
            }
        }
    }

    /// Takes in what has come, without waiting.
    pub(crate) fn receive(&mut self) -> io::Result<Received> {
        let mut bytes = [0; CHUNK_LEN];
        loop {
            match recv(&self.socket, &mut bytes, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Ok(Received::End),
                Ok((len, _)) => {
                    self.frames.push(&bytes[..len]);
                    return Ok(Received::Some);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Received::Nothing),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What has come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Bytes, now in the frames.
    Some,
    /// Nothing yet.
    Nothing,
    /// Nothing more ever.
    End,
}

/// Several statuses fit.
const CHUNK_LEN: usize = 4096;
