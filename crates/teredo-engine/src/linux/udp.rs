//! A UDP socket with its two batches.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use teredo_sys::process::files_max;
use teredo_sys::udp::{Received, RecvBatch, SendBatch, SendReport, UdpSocket};

use crate::engine::BURST;
use crate::io::DatagramSocket;

/// Datagrams received by one call. Between 16 and 64 the cost of the call itself vanishes; more
/// only makes the other direction wait.
const RECEIVE_SLOTS: usize = BURST;

/// A burst from the device and as many answers of the role beside it.
const SEND_SLOTS: usize = 2 * BURST;

/// The same for a random port that serves a peer: 70 KB for both batches.
const RANDOM_PORT_SLOTS: usize = 16;

/// The same for one as long as nothing or little passes through: there may be hundreds of these.
const FIRST_SLOTS: usize = 1;

/// Descriptors that random ports leave to everything else in the process.
const FILES_FOR_OTHERS: u64 = 64;

/// The same for a multicast group, where clients say twice in ten minutes that they are there.
const GROUP_SLOTS: usize = 16;

/// Bytes a slot holds: an IPv6 packet on an interface of
/// [`INTERFACE_MTU_MAX`](crate::interface::INTERFACE_MTU_MAX), with the encapsulations and trailers
/// of RFC 4380 and RFC 6081 around it (at most 8 + 523 and a few dozen bytes).
const SLOT_BYTES: usize = 2_176;

/// A bound UDP socket.
pub struct UdpPort {
    socket: UdpSocket,
    inbox: RecvBatch,
    outbox: SendBatch,
    /// The batches are as small as can be, and grow with the second datagram that comes: one is
    /// what comes to a port that leads nowhere.
    is_small: bool,
    has_received: bool,
}

impl UdpPort {
    /// Binds to `addr`; port 0 lets the kernel choose one at random, which is at least 1,024
    /// (RFC 6056).
    ///
    /// # Errors
    /// One line that names the address and what is wrong with it.
    pub fn bind(addr: SocketAddrV4) -> io::Result<Self> {
        let socket = UdpSocket::bind(addr).map_err(|error| explain(addr, error))?;
        Ok(Self {
            socket,
            inbox: RecvBatch::new(RECEIVE_SLOTS, SLOT_BYTES),
            outbox: SendBatch::new(SEND_SLOTS, SLOT_BYTES),
            is_small: false,
            has_received: false,
        })
    }

    /// Binds to a multicast group, only to receive.
    pub(super) fn bind_group(group: SocketAddrV4) -> io::Result<Self> {
        let socket = UdpSocket::bind_group(group).map_err(|error| explain(group, error))?;
        Ok(Self {
            socket,
            inbox: RecvBatch::new(GROUP_SLOTS, SLOT_BYTES),
            outbox: SendBatch::new(1, SLOT_BYTES),
            is_small: false,
            has_received: false,
        })
    }

    /// Makes room for batches, with nothing in the present ones.
    fn grow(&mut self) {
        self.is_small = false;
        self.inbox = RecvBatch::new(RANDOM_PORT_SLOTS, SLOT_BYTES);
        self.outbox = SendBatch::new(RANDOM_PORT_SLOTS, SLOT_BYTES);
    }
}

impl DatagramSocket for UdpPort {
    fn bind_beside(&self) -> io::Result<Self> {
        let addr = SocketAddrV4::new(*self.local_addr().ip(), 0);
        let socket = UdpSocket::bind(addr)?;
        // The kernel gives the lowest free number, so this one says how many are in use.
        let number = u64::try_from(socket.as_fd().as_raw_fd()).unwrap_or_default();
        if number + FILES_FOR_OTHERS >= files_max() {
            return Err(io::Error::other("too many open files for one more port"));
        }
        Ok(Self {
            socket,
            inbox: RecvBatch::new(FIRST_SLOTS, SLOT_BYTES),
            outbox: SendBatch::new(FIRST_SLOTS, SLOT_BYTES),
            is_small: true,
            has_received: false,
        })
    }

    fn local_addr(&self) -> SocketAddrV4 {
        self.socket.local_addr()
    }

    fn receive(&mut self) -> io::Result<usize> {
        if self.is_small && self.has_received && self.outbox.is_empty() {
            self.grow();
        }
        let count = self.socket.recv_batch(&mut self.inbox)?;
        self.has_received = true;
        Ok(count)
    }

    fn received(&self, index: usize) -> Received<'_> {
        self.inbox.received(index)
    }

    fn slot(&mut self) -> Option<&mut [u8]> {
        self.outbox.slot()
    }

    fn commit(&mut self, len: usize, to: SocketAddrV4, source: Option<Ipv4Addr>) {
        self.outbox.commit(len, to, source);
    }

    fn pending(&self) -> usize {
        self.outbox.len()
    }

    fn flush(&mut self) -> io::Result<SendReport> {
        self.socket.send_batch(&mut self.outbox)
    }

    fn read_errors(&mut self) -> io::Result<usize> {
        self.socket.read_errors(|_| {})
    }
}

impl AsFd for UdpPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn explain(addr: SocketAddrV4, error: io::Error) -> io::Error {
    let (ip, port) = (addr.ip(), addr.port());
    let kind = error.kind();
    let text = if kind == io::ErrorKind::AddrInUse && ip.is_unspecified() {
        format!("UDP port {port} is in use by another program; choose another one with --port")
    } else if kind == io::ErrorKind::AddrInUse {
        format!("UDP port {port} on {ip} is in use by another program")
    } else if kind == io::ErrorKind::AddrNotAvailable {
        format!("address {ip} is not on this host")
    } else if kind == io::ErrorKind::PermissionDenied {
        format!("UDP port {port} needs CAP_NET_BIND_SERVICE; choose one from 1024 on")
    } else {
        return error;
    };
    io::Error::new(kind, text)
}
