//! The memory that `recvmmsg` and `sendmmsg` work on, laid out once.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::{mem, ptr};

use super::Received;

/// The kernel handles no more messages in one call (`UIO_MAXIOV`).
const SLOTS_MAX: usize = 1024;

/// Room for an `IP_PKTINFO` control message and one for `UDP_SEGMENT`, all that there ever is.
const CONTROL_BYTES: usize =
    // SAFETY: `CMSG_SPACE` is arithmetic on its argument.
    unsafe {
        let pktinfo = libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as u32);
        (pktinfo + libc::CMSG_SPACE(size_of::<u16>() as u32)) as usize
    };

/// The kernel makes no more datagrams of one message (`UDP_MAX_SEGMENTS`; 128 since Linux 6.9).
const SEGMENTS_MAX: usize = 64;

/// The most bytes in one message, segmented or not: what fits an IPv4 packet.
const MESSAGE_BYTES_MAX: usize = 65_507;

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
    sources: Vec<Option<Ipv4Addr>>,
    controls: Vec<Control>,
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
    /// What [`Slots::send`] sends, made anew by each call: copies of headers, of which each may
    /// cover the slots that follow its own. Nothing points in here.
    runs: Vec<libc::mmsghdr>,
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
            sources: vec![None; capacity],
            controls: vec![Control([0; CONTROL_BYTES]); capacity],
            iovecs: vec![empty; capacity],
            headers: vec![header; capacity],
            runs: Vec::with_capacity(capacity),
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
        self.sources[index] = source;
        self.headers[index].msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    }

    /// Sends the slots in `range` (not empty); returns how many were taken, which is not zero.
    ///
    /// When `segmenting`, neighbours that are alike go to the kernel as one message, which it takes
    /// apart again as late as it can: below the network stack, or in the network card.
    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        range: Range<usize>,
        segmenting: bool,
    ) -> io::Result<usize> {
        self.runs.clear();
        let mut rest = range;
        while !rest.is_empty() {
            let len = if segmenting { self.run_len(rest.clone()) } else { 1 };
            self.push_run(rest.start, len);
            rest.start += len;
        }
        // SAFETY: the runs are `runs.len()` live `mmsghdr`; by the invariant and `push_run` their
        // pointers and lengths hold, `address` having set the lengths of the slots; the kernel
        // writes only `msg_len`.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), self.runs.as_mut_ptr(), self.runs.len() as u32, 0)
        };
        let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
        Ok(self.runs[..sent].iter().map(slots_of).sum())
    }

    /// How many slots the first message of the last [`Slots::send`] covered.
    pub(super) fn first_run_len(&self) -> usize {
        self.runs.first().map_or(1, slots_of)
    }

    /// How many slots from the first in `range` (not empty) on make one message: all to and from
    /// the same addresses and of the same length, but for the last, which may be shorter.
    fn run_len(&self, range: Range<usize>) -> usize {
        let first = range.start;
        let segment = self.iovecs[first].iov_len;
        let mut total = segment;
        let mut end = first + 1;
        while range.contains(&end) && end - first < SEGMENTS_MAX {
            let len = self.iovecs[end].iov_len;
            total += len;
            let is_alike = self.iovecs[end - 1].iov_len == segment
                && (1..=segment).contains(&len)
                && self.sources[end] == self.sources[first]
                && socket_address_v4(&self.names[end]) == socket_address_v4(&self.names[first]);
            if !is_alike || total > MESSAGE_BYTES_MAX {
                break;
            }
            end += 1;
        }
        end - first
    }

    /// Makes a message of `len` slots from `first` on.
    fn push_run(&mut self, first: usize, len: usize) {
        let segment = (len > 1).then_some(self.iovecs[first].iov_len as u16);
        let (control, control_len) = control(self.sources[first], segment);
        self.controls[first] = control;
        let mut run = self.headers[first];
        // The `iovec`s of these slots follow each other in their vector.
        assert!(first + len <= self.iovecs.len());
        run.msg_hdr.msg_iovlen = len as _;
        run.msg_hdr.msg_controllen = control_len as _;
        self.runs.push(run);
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

/// The number of slots that a message covers.
#[allow(clippy::unnecessary_cast, reason = "not a usize on every C library")]
fn slots_of(run: &libc::mmsghdr) -> usize {
    run.msg_hdr.msg_iovlen as usize
}

/// The control messages that make datagrams leave from `source`, and be cut into segments of this
/// length, with the number of bytes that they take.
fn control(source: Option<Ipv4Addr>, segment_len: Option<u16>) -> (Control, usize) {
    let mut control = Control([0; CONTROL_BYTES]);
    let mut len = 0;
    if let Some(source) = source {
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: in_addr(source),
            ipi_addr: in_addr(Ipv4Addr::UNSPECIFIED),
        };
        len = push_control(&mut control, len, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
    }
    if let Some(segment_len) = segment_len {
        len = push_control(&mut control, len, libc::SOL_UDP, libc::UDP_SEGMENT, segment_len);
    }
    (control, len)
}

/// Writes a control message behind the first `at` bytes, a multiple of the alignment of one, and
/// returns where it ends.
fn push_control<T>(
    control: &mut Control,
    at: usize,
    level: libc::c_int,
    kind: libc::c_int,
    data: T,
) -> usize {
    // SAFETY: `CMSG_SPACE` is arithmetic on its argument.
    let end = at + unsafe { libc::CMSG_SPACE(size_of::<T>() as u32) } as usize;
    assert!(end <= CONTROL_BYTES && at.is_multiple_of(align_of::<libc::cmsghdr>()));
    let message: *mut libc::cmsghdr = control.0[at..].as_mut_ptr().cast();
    // SAFETY: by the assertion there is room for a `cmsghdr` followed by a `T`, aligned for the
    // former as `Control` is; all zeros is a valid `cmsghdr`. The data is written unaligned.
    unsafe {
        (*message).cmsg_len = libc::CMSG_LEN(size_of::<T>() as u32) as _;
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(data);
    }
    end
}
