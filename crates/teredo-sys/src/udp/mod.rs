//! UDP over IPv4 in batches.
//!
//! The batch is the interface; a single datagram is a batch of one. Buffers, addresses and control
//! messages are laid out once and used again by every call, so neither direction allocates, and a
//! packet can be read from the TUN device straight into the slot it leaves from.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, set_ip_mtu_discover, set_ip_tos, set_socket_recv_buffer_size,
    set_socket_recv_buffer_size_force, set_socket_reuseaddr, set_socket_send_buffer_size,
    set_socket_send_buffer_size_force,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

pub use self::batch::{RecvBatch, SendBatch};
pub use self::error_queue::{DeliveryError, ErrorOrigin};
use crate::caps::Capability;
use crate::error::Context;

mod batch;
mod error_queue;
pub mod multicast;
mod slots;
#[cfg(test)]
mod tests;

/// Bytes asked for on either side of a socket. The kernel charges a 1,300-byte datagram with about
/// 2.3 kB, so this holds some 3,600 of them twice over: 70 ms at 100,000 a second, longer than the
/// event loop is ever kept away by another process on the same core.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// How often one receive call skips over an error left by an earlier ICMP message. Each skip
/// consumes one, and there is at most one unless more arrive meanwhile; then the poller reports the
/// rest.
const STALE_ERRORS_MAX: usize = 16;

/// A bound, non-blocking IPv4 UDP socket for tunnel traffic.
///
/// Outer headers carry no Don't Fragment bit (RFC 4380, section 5.1.2) and ECN zero (RFC 9601).
/// There is no address reuse: nobody else can take over the service port. Only a socket bound to a
/// multicast group shares its address, since each of those gets all that is sent to the group.
#[derive(Debug)]
pub struct UdpSocket {
    fd: OwnedFd,
    local: SocketAddrV4,
}

impl UdpSocket {
    /// Binds to `addr`; port 0 lets the kernel choose one.
    ///
    /// # Errors
    /// `AddrInUse`, `AddrNotAvailable`, `PermissionDenied`, each naming `addr`.
    pub fn bind(addr: SocketAddrV4) -> io::Result<Self> {
        let bind = || bind(open()?, addr);
        bind().context(|| format!("binding UDP {addr}"))
    }

    /// Binds to a multicast group, which is then to be [joined](multicast::join); other programs
    /// may do the same. What is sent to this host's own addresses does not arrive, nor what arrives
    /// where somebody else has joined the group.
    ///
    /// # Errors
    /// `AddrInUse` if another program has the port for itself.
    pub fn bind_group(group: SocketAddrV4) -> io::Result<Self> {
        let bind = || {
            let fd = open()?;
            set_socket_reuseaddr(&fd, true)?;
            set_ip_option(&fd, libc::IP_MULTICAST_ALL, 0)?;
            bind(fd, group)
        };
        bind().context(|| format!("binding UDP {group}"))
    }

    /// The address and port bound to.
    pub fn local_addr(&self) -> SocketAddrV4 {
        self.local
    }

    /// Receives what waits, up to the capacity of `batch`, and returns how many that are (not
    /// zero).
    ///
    /// Errors left behind by ICMP messages are skipped here; [`read_errors`](Self::read_errors)
    /// tells them in full.
    ///
    /// # Errors
    /// `WouldBlock` if nothing waits. The batch is then empty.
    pub fn recv_batch(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        for _ in 0..STALE_ERRORS_MAX {
            match batch.receive(self.as_fd()) {
                Err(error) if is_stale(&error) => {}
                result => return result,
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Sends the batch and says what became of each datagram.
    ///
    /// A datagram that the kernel refuses is dropped, counted, and does not stop the others. If the
    /// socket is full, the rest stays in the batch ([`SendReport::pending`]): wait until the socket
    /// is writable and call again.
    ///
    /// # Errors
    /// Only if the call as such is refused; the batch is then unchanged from there on.
    pub fn send_batch(&self, batch: &mut SendBatch) -> io::Result<SendReport> {
        batch.send(self.as_fd())
    }

    /// Empties the error queue and returns how many errors it told.
    ///
    /// The poller reports a waiting error as [`Event::error`](crate::epoll::Event::error). At most
    /// [`ERRORS_PER_CALL_MAX`] are read at once; the poller reports what is left.
    pub fn read_errors(&self, mut tell: impl FnMut(DeliveryError)) -> io::Result<usize> {
        for count in 0..ERRORS_PER_CALL_MAX {
            match error_queue::read_one(self.as_fd()) {
                Ok(Some(error)) => tell(error),
                Ok(None) => return Ok(count),
                Err(error) => return Err(error),
            }
        }
        Ok(ERRORS_PER_CALL_MAX)
    }
}

/// Errors read by one [`UdpSocket::read_errors`], so that a flood of ICMP cannot keep the loop.
pub const ERRORS_PER_CALL_MAX: usize = 64;

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A received datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// Who sent it, as the last NAT shows it.
    pub from: SocketAddrV4,
    /// The destination address in its IPv4 header, which a broadcast or multicast shows too.
    pub to: Option<Ipv4Addr>,
    /// The UDP payload.
    pub payload: &'a [u8],
    /// Whether the datagram was longer than the slot; `payload` is then its beginning.
    pub truncated: bool,
}

/// What became of a batch of outgoing datagrams: `sent + failed + pending` were in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendReport {
    /// Accepted by the kernel.
    pub sent: usize,
    /// Refused and dropped.
    pub failed: usize,
    /// Why the first of them was refused, as an error number.
    pub first_errno: Option<i32>,
    /// Still in the batch, because the socket is full.
    pub pending: usize,
}

fn open() -> io::Result<OwnedFd> {
    let fd = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    set_ip_mtu_discover(&fd, Ipv4PathMtuDiscovery::DONT)?;
    set_ip_tos(&fd, 0)?;
    set_ip_option(&fd, libc::IP_PKTINFO, 1)?;
    set_ip_option(&fd, libc::IP_RECVERR, 1)?;
    enlarge_buffers(&fd)?;
    Ok(fd)
}

fn bind(fd: OwnedFd, addr: SocketAddrV4) -> io::Result<UdpSocket> {
    rustix::net::bind(&fd, &addr).needs(Capability::NetBindService)?;
    let local = rustix::net::getsockname(&fd)?.try_into()?;
    Ok(UdpSocket { fd, local })
}

/// As far as allowed: beyond the system's limit with `CAP_NET_ADMIN`, else up to it.
fn enlarge_buffers(fd: &OwnedFd) -> io::Result<()> {
    if set_socket_recv_buffer_size_force(fd, SOCKET_BUFFER_BYTES).is_err() {
        set_socket_recv_buffer_size(fd, SOCKET_BUFFER_BYTES)?;
    }
    if set_socket_send_buffer_size_force(fd, SOCKET_BUFFER_BYTES).is_err() {
        set_socket_send_buffer_size(fd, SOCKET_BUFFER_BYTES)?;
    }
    Ok(())
}

fn set_ip_option(fd: &OwnedFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the value is a live `c_int` and its true size is given; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_IP,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether an error on receive is what an ICMP message about an earlier datagram left behind. The
/// list is the kernel's table of ICMP codes; all of it is consumed by being reported.
fn is_stale(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::EMSGSIZE
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::ENONET
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::EPROTO
                | libc::EINTR
        )
    )
}
