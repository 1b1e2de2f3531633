//! Word of changes to the packet filter.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::{RECEIVE_BYTES, split_message};
use crate::caps::Capability;
use crate::error::Context;

/// Becomes readable when somebody has changed the nftables ruleset.
///
/// It does not say what: look at what matters, after a short while, because changes come in bursts.
pub struct RulesetMonitor {
    socket: Socket,
    buffer: Vec<u8>,
}

impl RulesetMonitor {
    /// Listens in the network namespace of the calling thread, from now on.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_ADMIN`.
    pub fn open() -> io::Result<Self> {
        let socket = open()
            .needs(Capability::NetAdmin)
            .context(|| "listening for changes of the packet filter".to_owned())?;
        Ok(Self { socket, buffer: Vec::with_capacity(RECEIVE_BYTES) })
    }

    /// Takes off what waits and says whether any of it was the work of another process than `own`.
    /// Whatever a process has changed is there to be taken off when that process has ended.
    pub fn drain(&mut self, own: u32) -> io::Result<bool> {
        let mut has_changed = false;
        // Bounded, so that a ruleset that keeps changing cannot keep the caller.
        for _ in 0..MESSAGES_PER_DRAIN_MAX {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => has_changed |= is_of_others(&self.buffer, own),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // More than the socket could hold: whose changes were lost, nobody knows.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => has_changed = true,
                Err(error) => return Err(error),
            }
        }
        Ok(has_changed)
    }
}

impl AsFd for RulesetMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What is left is reported by the poller again.
const MESSAGES_PER_DRAIN_MAX: usize = 256;

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.set_non_blocking(true)?;
    let groups = 1 << (libc::NFNLGRP_NFTABLES - 1);
    socket.bind(&SocketAddr::new(0, groups))?;
    Ok(socket)
}

/// Each message carries the port of the socket by which the change was asked for. The kernel gives
/// the first socket of a process the process id for that.
fn is_of_others(mut messages: &[u8], own: u32) -> bool {
    while let Some((message, behind)) = split_message(messages) {
        let port = message.get(PORT_AT..).and_then(|rest| rest.first_chunk());
        if port.is_none_or(|port| u32::from_ne_bytes(*port) != own) {
            return true;
        }
        messages = behind;
    }
    false
}

/// Where the port stands in the header of a message.
const PORT_AT: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(port: u32, padding: usize) -> Vec<u8> {
        let mut message = vec![0; 16 + padding];
        let len = message.len() as u32;
        message[..4].copy_from_slice(&len.to_ne_bytes());
        message[PORT_AT..16].copy_from_slice(&port.to_ne_bytes());
        message
    }

    #[test]
    fn one_message_of_another_process_is_enough() {
        assert!(!is_of_others(&[], 7));
        assert!(!is_of_others(&[message(7, 4), message(7, 0)].concat(), 7));
        assert!(is_of_others(&[message(7, 4), message(8, 0)].concat(), 7));
        assert!(is_of_others(&message(7, 0), 8));
    }

    #[test]
    fn what_is_no_message_is_nobodys_or_somebody_elses() {
        let mut short = message(7, 0);
        for len in 0..short.len() {
            // Longer than what is there: nothing can be said of it.
            assert!(!is_of_others(&short[..len], 7), "{len}");
        }
        short[..4].copy_from_slice(&8_u32.to_ne_bytes());
        assert!(is_of_others(&short, 7), "too short to say whose");
    }
}
