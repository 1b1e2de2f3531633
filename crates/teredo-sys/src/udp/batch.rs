//! Batches of datagrams, safe on top of [`Slots`].

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::BorrowedFd;

use super::slots::Slots;
use super::{Received, SendReport};

/// Slots for datagrams to receive.
pub struct RecvBatch {
    slots: Slots,
    received: usize,
}

impl RecvBatch {
    /// Room for `datagrams` (1 to 1,024) of up to `datagram_len` bytes of UDP payload each.
    pub fn new(datagrams: usize, datagram_len: usize) -> Self {
        Self { slots: Slots::new(datagrams, datagram_len), received: 0 }
    }

    /// The datagrams of the last [`recv_batch`](super::UdpSocket::recv_batch), in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = Received<'_>> {
        (0..self.received).map(|index| self.slots.received(index))
    }

    /// One datagram of the last [`recv_batch`](super::UdpSocket::recv_batch).
    ///
    /// # Panics
    /// If it had no more than `index`.
    pub fn received(&self, index: usize) -> Received<'_> {
        assert!(index < self.received, "datagram {index} of {}", self.received);
        self.slots.received(index)
    }

    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.received = 0;
        self.received = self.slots.receive(socket)?;
        Ok(self.received)
    }
}

/// Slots for datagrams to send.
///
/// Fill the buffer of [`slot`](Self::slot), then [`commit`](Self::commit) it; an uncommitted slot
/// is handed out again.
///
/// Neighbours of equal length with equal addresses pass the network stack as one, if the kernel can
/// (UDP segmentation offload, Linux 4.18); on the wire they are the datagrams that were committed.
pub struct SendBatch {
    slots: Slots,
    /// The datagrams waiting are `head..tail`.
    head: usize,
    tail: usize,
    /// Until the kernel refuses it.
    segmenting: bool,
}

impl SendBatch {
    /// Room for `datagrams` (1 to 1,024) of up to `datagram_len` bytes of UDP payload each.
    pub fn new(datagrams: usize, datagram_len: usize) -> Self {
        Self { slots: Slots::new(datagrams, datagram_len), head: 0, tail: 0, segmenting: true }
    }

    /// The buffer of the next free slot, or nothing if the batch is full.
    pub fn slot(&mut self) -> Option<&mut [u8]> {
        (!self.is_full()).then(|| self.slots.buffer_mut(self.tail))
    }

    /// Makes the first `len` bytes of the next free slot a datagram to `to`.
    ///
    /// With a `source`, it leaves from that local address, and from the bound port as always.
    ///
    /// # Panics
    /// If there was no free slot or it is shorter than `len`.
    pub fn commit(&mut self, len: usize, to: SocketAddrV4, source: Option<Ipv4Addr>) {
        self.slots.address(self.tail, len, to, source);
        self.tail += 1;
    }

    /// How many datagrams wait.
    pub fn len(&self) -> usize {
        self.tail - self.head
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Whether there is no free slot. Sending makes room only once nothing is pending.
    pub fn is_full(&self) -> bool {
        self.tail == self.slots.capacity()
    }

    /// Forgets the datagrams waiting.
    pub fn clear(&mut self) {
        self.head = 0;
        self.tail = 0;
    }

    pub(super) fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<SendReport> {
        let mut report = SendReport::default();
        let mut is_retry = false;
        while !self.is_empty() {
            let error = match self.slots.send(socket, self.head..self.tail, self.segmenting) {
                Ok(sent) => {
                    self.head += sent;
                    report.sent += sent;
                    is_retry = false;
                    continue;
                }
                Err(error) => error,
            };
            let refused = self.slots.first_run_len();
            match Refusal::of(&error) {
                Refusal::Full => break,
                Refusal::Call => return Err(error),
                // The error may stem from an ICMP message about an earlier datagram. Reporting
                // it has consumed it: only a second refusal is this message's own.
                Refusal::Message | Refusal::Segmenting if !is_retry => is_retry = true,
                // An old kernel, a route of small MTU, a device without checksums: for good, since
                // trying again would cost a call each time.
                Refusal::Segmenting if refused > 1 => {
                    self.segmenting = false;
                    is_retry = false;
                }
                Refusal::Message | Refusal::Segmenting => {
                    self.head += refused;
                    report.failed += refused;
                    report.first_errno = report.first_errno.or(error.raw_os_error());
                    is_retry = false;
                }
            }
        }
        report.pending = self.len();
        if self.is_empty() {
            self.clear();
        }
        Ok(report)
    }
}

/// What an error of `sendmmsg` is about.
enum Refusal {
    /// The socket's buffer is full.
    Full,
    /// The first message, or a datagram sent long ago; an interrupted call counts as that too.
    Message,
    /// The same, or segmenting the first message.
    Segmenting,
    /// The call itself, whatever is in the batch.
    Call,
}

impl Refusal {
    fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EAGAIN) => Self::Full,
            Some(libc::EBADF | libc::EFAULT | libc::ENOSYS | libc::ENOTSOCK) => Self::Call,
            Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE) => Self::Segmenting,
            Some(_) | None => Self::Message,
        }
    }
}
