//! Whole IPv6 packets, and pings, past the tunnel.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recvfrom, sendto,
};

use crate::caps::Capability;
use crate::error::Context;

/// A socket that sends complete IPv6 packets by the host's own routes, whatever their source.
///
/// The server forwards connectivity tests with it, whose source is a client's Teredo address.
#[derive(Debug)]
pub struct RawIpv6 {
    fd: OwnedFd,
}

impl RawIpv6 {
    /// Needs `CAP_NET_RAW`; an error says so.
    pub fn open() -> io::Result<Self> {
        // Protocol RAW implies IPV6_HDRINCL and receives nothing.
        Ok(Self { fd: open(ipproto::RAW)? })
    }

    /// Sends `packet`, which starts with its IPv6 header, to the destination in that header.
    ///
    /// # Errors
    /// `InvalidInput` if it is shorter than a header; else the kernel's, such as no route.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        let destination = packet.get(24..40).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        let destination = Ipv6Addr::from(destination.ok_or(io::ErrorKind::InvalidInput)?);
        let to = SocketAddrV6::new(destination, 0, 0, 0);
        sendto(&self.fd, packet, SendFlags::empty(), &to)?;
        Ok(())
    }
}

impl AsFd for RawIpv6 {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sends ICMPv6 echo requests and hears the replies.
#[derive(Debug)]
pub struct PingSocket {
    fd: OwnedFd,
}

impl PingSocket {
    /// Needs `CAP_NET_RAW`; an error says so.
    pub fn open() -> io::Result<Self> {
        let fd = open(ipproto::ICMPV6)?;
        pass_only_echo_replies(&fd)?;
        Ok(Self { fd })
    }

    /// Sends an echo request; the kernel chooses the source and fills in the checksum.
    pub fn send(&self, to: Ipv6Addr, id: u16, sequence: u16, payload: &[u8]) -> io::Result<()> {
        let mut message = vec![ECHO_REQUEST, 0, 0, 0];
        message.extend(id.to_be_bytes());
        message.extend(sequence.to_be_bytes());
        message.extend(payload);
        sendto(&self.fd, &message, SendFlags::empty(), &SocketAddrV6::new(to, 0, 0, 0))?;
        Ok(())
    }

    /// Waits for the next echo reply to anybody on this host, at most for `timeout`; the caller
    /// picks out its own by `id`.
    pub fn receive(&self, timeout: Duration) -> io::Result<Option<EchoReply>> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.receive_waiting() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result.map(Some),
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let left = left.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
            match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn receive_waiting(&self) -> io::Result<EchoReply> {
        let mut buf = [0; ECHO_BYTES_MAX];
        let (received, len, from) = recvfrom(&self.fd, &mut buf, RecvFlags::TRUNC)?;
        let from = from.and_then(|addr| SocketAddrV6::try_from(addr).ok());
        let (Some(from), Some(&[_, _, _, _, id0, id1, seq0, seq1])) =
            (from, buf[..received].first_chunk())
        else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        Ok(EchoReply {
            from: *from.ip(),
            id: u16::from_be_bytes([id0, id1]),
            sequence: u16::from_be_bytes([seq0, seq1]),
            payload_len: len.saturating_sub(ECHO_HEADER_BYTES),
        })
    }
}

impl AsFd for PingSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An ICMPv6 echo reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EchoReply {
    /// Who answered.
    pub from: Ipv6Addr,
    /// The identifier of the request.
    pub id: u16,
    /// The sequence number of the request.
    pub sequence: u16,
    /// Bytes behind the echo header.
    pub payload_len: usize,
}

/// RFC 4443, sections 4.1 and 4.2.
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
const ECHO_HEADER_BYTES: usize = 8;

/// Only the header is looked at; the kernel tells the true length of what it cuts off.
const ECHO_BYTES_MAX: usize = ECHO_HEADER_BYTES;

fn open(protocol: rustix::net::Protocol) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::INET6, SocketType::RAW, flags, Some(protocol))
        .needs(Capability::NetRaw)
        .context(|| "opening a raw IPv6 socket".to_owned())
}

fn pass_only_echo_replies(fd: &OwnedFd) -> io::Result<()> {
    // RFC 3542, section 3.2: one bit for each ICMPv6 type, set where the type is blocked.
    let mut blocked = [u32::MAX; 8];
    blocked[usize::from(ECHO_REPLY) / 32] &= !(1 << (ECHO_REPLY % 32));
    // SAFETY: the value is a live array with the layout of `struct icmp6_filter`, and its true size
    // is given; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_ICMPV6,
            ICMPV6_FILTER,
            blocked.as_ptr().cast(),
            size_of_val(&blocked) as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `ICMPV6_FILTER` of the kernel's `linux/icmpv6.h`.
const ICMPV6_FILTER: libc::c_int = 1;
