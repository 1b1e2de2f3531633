//! What became of datagrams sent earlier, as told by ICMP or by this host.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::{io, mem};

use super::slots::{socket_address, socket_address_v4};

/// An earlier datagram did not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryError {
    /// Where that datagram was going.
    pub to: SocketAddrV4,
    /// The error number, such as `ECONNREFUSED`.
    pub errno: i32,
    /// Who says so. ICMP is not authenticated: a hint, never a proof.
    pub origin: ErrorOrigin,
}

/// Who reported a [`DeliveryError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorOrigin {
    /// This host, for example for want of a route.
    Local,
    /// An ICMP message.
    Icmp {
        /// The ICMP type.
        kind: u8,
        /// The ICMP code.
        code: u8,
        /// The router or host that sent it.
        from: Ipv4Addr,
    },
}

/// The kernel's `sock_extended_err` with the reporter's address behind it, as one control message.
#[derive(Clone, Copy)]
#[repr(C)]
struct Report {
    error: libc::sock_extended_err,
    offender: libc::sockaddr_in,
}

/// Room for that message and for the `IP_PKTINFO` that may stand beside it.
#[repr(C, align(8))]
struct Control([u8; 128]);

/// Takes the next error off the queue, if there is one.
pub(super) fn read_one(socket: BorrowedFd<'_>) -> io::Result<Option<DeliveryError>> {
    let mut to = socket_address(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    let mut control = Control([0; 128]);
    // SAFETY: all zeros is a valid `msghdr`: no address, no buffers, no control messages.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = (&raw mut to).cast();
    header.msg_namelen = size_of_val(&to) as libc::socklen_t;
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the header offers `to` and `control` with their true sizes, and both outlive the
    // call.
    let result = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
    }
    let report = find_report(&header).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some(DeliveryError {
        to: socket_address_v4(&to),
        errno: report.error.ee_errno.cast_signed(),
        origin: match report.error.ee_origin {
            libc::SO_EE_ORIGIN_ICMP => ErrorOrigin::Icmp {
                kind: report.error.ee_type,
                code: report.error.ee_code,
                from: *socket_address_v4(&report.offender).ip(),
            },
            _ => ErrorOrigin::Local,
        },
    }))
}

fn find_report(header: &libc::msghdr) -> Option<Report> {
    // SAFETY: `msg_control` points at the live, aligned buffer of `read_one`, which the kernel has
    // filled for `msg_controllen` bytes with well-formed control messages; the macros stay within.
    // The data is read unaligned, and only if the message is long enough for it.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(control) = message.as_ref() {
            if control.cmsg_level == libc::IPPROTO_IP
                && control.cmsg_type == libc::IP_RECVERR
                && control.cmsg_len >= libc::CMSG_LEN(size_of::<Report>() as u32) as _
            {
                return Some(libc::CMSG_DATA(message).cast::<Report>().read_unaligned());
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}
