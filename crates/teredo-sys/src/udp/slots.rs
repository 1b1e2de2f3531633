//! The memory that `recvmmsg` and `sendmmsg` work on, laid out once.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::{mem, ptr};

use super::Received;

/// The kernel handles no more messages in one call (`UIO_MAXIOV`).
const SLOTS_MAX: usize = 1024;

/// Room for one `IP_PKTINFO` control message, the only one a slot ever carries.
const CONTROL_BYTES: usize =
    // SAFETY: `CMSG_SPACE` is arithmetic on its argument.
    unsafe { libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as u32) as usize };

/// Control messages start with a `cmsghdr` and must be aligned like one.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

const _: () = assert!(align_of::<Control>() >= align_of::<libc::cmsghdr>());

/// `capacity` slots: each a payload buffer, an address and a control buffer, and the message header
/// that points at the three.
///
/// Invariant, which every `unsafe` block below rests on: all vectors are filled in [`Slots::new`]
/// and never grow, shrink or get replaced, so the heap addresses in `iovecs` and `headers` stay
/// valid as long as `self` lives, wherever `self` is moved. `headers[i]` points at `iovecs[i]`,
/// `names[i]` and `controls[i]` only, and `iovecs[i]` at the `datagram_len` bytes of slot `i` only.
/// The lengths in them never exceed these.
pub(super) struct Slots {
    datagram_len: usize,
    payload: Vec<u8>,
    names: Vec<libc::sockaddr_in>,
    controls: Vec<Control>,
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: the raw pointers lead to heap memory that `self` alone owns (see the invariant); they are
// followed only by calls that borrow `self`.
unsafe impl Send for Slots {}

impl Slots {
    pub(super) fn new(datagrams: usize, datagram_len: usize) -> Self {
        let capacity = datagrams.clamp(1, SLOTS_MAX);
        // SAFETY: all zeros is a valid value of these plain C structures: no address, no buffers.
        let (name, header): (libc::sockaddr_in, libc::mmsghdr) = unsafe { mem::zeroed() };
        let empty = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let mut slots = Self {
            datagram_len,
            payload: vec![0; capacity * datagram_len],
            names: vec![name; capacity],
            controls: vec![Control([0; CONTROL_BYTES]); capacity],
            iovecs: vec![empty; capacity],
            headers: vec![header; capacity],
        };
        for index in 0..capacity {
            // Pointers come from `as_mut_ptr` of the whole vector, not from a reference to one
            // element, so that later borrows of the vector leave them valid.
            let payload = slots.payload.as_mut_ptr().wrapping_add(index * datagram_len);
            let iovec = slots.iovecs.as_mut_ptr().wrapping_add(index);
            slots.iovecs[index].iov_base = payload.cast();
            let header = &mut slots.headers[index].msg_hdr;
            header.msg_iov = iovec;
            header.msg_iovlen = 1;
            header.msg_name = slots.names.as_mut_ptr().wrapping_add(index).cast();
            header.msg_control = slots.controls.as_mut_ptr().wrapping_add(index).cast();
        }
        slots
    }

    pub(super) fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// The payload buffer of a slot, at its full length.
    pub(super) fn buffer_mut(&mut self, index: usize) -> &mut [u8] {
        &mut self.payload[index * self.datagram_len..][..self.datagram_len]
    }

    /// Addresses the first `len` bytes of a slot.
    pub(super) fn address(
        &mut self,
        index: usize,
        len: usize,
        to: SocketAddrV4,
        source: Option<Ipv4Addr>,
    ) {
        assert!(len <= self.datagram_len, "a datagram of {len} bytes does not fit its slot");
        self.names[index] = socket_address(to);
        self.iovecs[index].iov_len = len;
        let header = &mut self.headers[index].msg_hdr;
        header.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        header.msg_controllen = source.map_or(0, |source| {
            self.controls[index] = source_control(source);
            CONTROL_BYTES as _
        });
    }

    /// Sends the slots in `range` (not empty); returns how many were taken, which is not zero.
    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        range: Range<usize>,
    ) -> io::Result<usize> {
        let headers = &mut self.headers[range];
        // SAFETY: the headers are `headers.len()` live `mmsghdr` whose pointers and lengths hold by
        // the invariant, `address` having set the lengths; the kernel writes only `msg_len`.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, 0)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Receives into the slots from the first on; returns how many were filled, which is not zero.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        for (header, iovec) in self.headers.iter_mut().zip(&mut self.iovecs) {
            // The kernel overwrites these with what it received; offer full room again.
            iovec.iov_len = self.datagram_len;
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            header.msg_hdr.msg_controllen = CONTROL_BYTES as _;
        }
        // SAFETY: the headers are `headers.len()` live `mmsghdr`; by the invariant and the loop
        // above each offers exactly the memory of its own slot, which nobody else borrows while we
        // hold `&mut self`. A null timeout is allowed.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as u32,
                0,
                ptr::null_mut(),
            )
        };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }

    /// What [`Slots::receive`] has put into a slot that it has filled.
    pub(super) fn received(&self, index: usize) -> Received<'_> {
        let header = &self.headers[index];
        let len = (header.msg_len as usize).min(self.datagram_len);
        Received {
            from: socket_address_v4(&self.names[index]),
            to: self.destination(index),
            payload: &self.payload[index * self.datagram_len..][..len],
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        }
    }

    fn destination(&self, index: usize) -> Option<Ipv4Addr> {
        let header = &self.headers[index].msg_hdr;
        // SAFETY: `msg_control` points at this slot's control buffer, which the kernel has filled
        // for `msg_controllen` bytes with well-formed control messages; the macros stay within that
        // length. The data is read unaligned, and only if the message is as long as an
        // `in_pktinfo`.
        unsafe {
            let mut message = libc::CMSG_FIRSTHDR(header);
            while let Some(control) = message.as_ref() {
                let len = libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as u32);
                if control.cmsg_level == libc::IPPROTO_IP
                    && control.cmsg_type == libc::IP_PKTINFO
                    && control.cmsg_len >= len as _
                {
                    let info: libc::in_pktinfo =
                        libc::CMSG_DATA(message).cast::<libc::in_pktinfo>().read_unaligned();
                    return Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()));
                }
                message = libc::CMSG_NXTHDR(header, message);
            }
        }
        None
    }
}

pub(super) fn socket_address(addr: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: addr.port().to_be(),
        sin_addr: in_addr(*addr.ip()),
        sin_zero: [0; 8],
    }
}

pub(super) fn socket_address_v4(addr: &libc::sockaddr_in) -> SocketAddrV4 {
    let ip = Ipv4Addr::from(addr.sin_addr.s_addr.to_ne_bytes());
    SocketAddrV4::new(ip, u16::from_be(addr.sin_port))
}

fn in_addr(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) }
}

/// The control message that makes a datagram leave from `source`.
fn source_control(source: Ipv4Addr) -> Control {
    let info = libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: in_addr(source),
        ipi_addr: in_addr(Ipv4Addr::UNSPECIFIED),
    };
    let mut control = Control([0; CONTROL_BYTES]);
    let message: *mut libc::cmsghdr = (&raw mut control).cast();
    // SAFETY: `control` is aligned for a `cmsghdr` and has room for one followed by an `in_pktinfo`
    // (`CONTROL_BYTES`); all zeros is a valid `cmsghdr`. The data is written unaligned.
    unsafe {
        (*message).cmsg_len = libc::CMSG_LEN(size_of_val(&info) as u32) as _;
        (*message).cmsg_level = libc::IPPROTO_IP;
        (*message).cmsg_type = libc::IP_PKTINFO;
        libc::CMSG_DATA(message).cast::<libc::in_pktinfo>().write_unaligned(info);
    }
    control
}
