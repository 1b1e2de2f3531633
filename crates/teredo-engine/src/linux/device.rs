//! The host's IPv6 side on Linux.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use teredo_sys::raw::RawIpv6;
use teredo_sys::tun::Tun;

use crate::io::PacketDevice;

/// Where a role's IPv6 packets go to and come from.
#[derive(Debug)]
pub enum HostDevice {
    /// A tunnel interface, both ways.
    Tun(Tun),
    /// Packets leave by the host's own routes, and none comes back.
    Raw(RawIpv6),
    /// None: every packet is refused.
    None,
}

impl HostDevice {
    /// What becomes readable when there is a packet.
    pub(crate) fn readable(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Tun(tun) => Some(tun.as_fd()),
            Self::Raw(_) | Self::None => None,
        }
    }
}

impl PacketDevice for HostDevice {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self::Tun(tun) = self else { return Err(io::ErrorKind::WouldBlock.into()) };
        tun.recv(buffer).map_err(|error| {
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
                return error;
            }
            let text = format!("the interface {} is gone ({error})", tun.name());
            io::Error::new(error.kind(), text)
        })
    }

    fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        match self {
            Self::Tun(tun) => tun.send(packet),
            Self::Raw(raw) => raw.send(packet),
            Self::None => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}
