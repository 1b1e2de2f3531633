//! Word of changes made by anybody.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::RECEIVE_BYTES;
use crate::error::Context;

/// Links too: the kernel does not tell of the IPv4 addresses and routes that go away with one.
const ADDRESSES: i32 = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
const ROUTES: i32 = libc::RTMGRP_IPV4_ROUTE | libc::RTMGRP_IPV6_ROUTE;

/// Becomes readable when a link, an address or a route has changed, by whomever.
///
/// It does not say what: read the lists again, after a short while, because changes come in bursts.
pub struct Monitor {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Listens in the network namespace of the calling thread, from now on.
    pub fn open() -> io::Result<Self> {
        Self::open_groups(ADDRESSES | ROUTES)
    }

    /// As [`open`](Self::open), but deaf to routes, which change a thousand times as often where a
    /// routing daemon runs.
    pub fn open_without_routes() -> io::Result<Self> {
        Self::open_groups(ADDRESSES)
    }

    fn open_groups(groups: i32) -> io::Result<Self> {
        let socket = open(groups).context(|| "listening for changes by netlink".to_owned())?;
        Ok(Self { socket, buffer: Vec::with_capacity(RECEIVE_BYTES) })
    }

    /// Takes off what waits and says whether that was anything.
    pub fn drain(&mut self) -> io::Result<bool> {
        let mut has_changed = false;
        // Bounded, so that a routing daemon that loads its table cannot keep the caller.
        for _ in 0..MESSAGES_PER_DRAIN_MAX {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => has_changed = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // More than the socket could hold: changes were lost, which is a change.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => has_changed = true,
                Err(error) => return Err(error),
            }
        }
        Ok(has_changed)
    }
}

/// What is left is reported by the poller again.
const MESSAGES_PER_DRAIN_MAX: usize = 256;

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn open(groups: i32) -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.set_non_blocking(true)?;
    socket.bind(&SocketAddr::new(0, groups.cast_unsigned()))?;
    Ok(socket)
}
