//! TUN devices: IP packets to and from the kernel.

use std::fs::OpenOptions;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::{mem, ptr};

use rustix::net::netdevice;

use crate::caps::Capability;
use crate::error::Context;

/// Where the kernel offers TUN devices.
const CLONE_DEVICE: &str = "/dev/net/tun";

/// A TUN device. It, its addresses and its routes disappear when the last descriptor is closed,
/// which the kernel takes 15 to 25 ms for.
///
/// Every packet travels behind a virtio header, the place where segmentation offload will be
/// negotiated; for now none is, so that one read is one packet of at most the interface's MTU.
#[derive(Debug)]
pub struct Tun {
    fd: OwnedFd,
    name: String,
    index: u32,
}

impl Tun {
    /// Creates the device `name` in the network namespace of the calling thread. It is down, with
    /// no address. A `%d` in the name is replaced by the first free number.
    ///
    /// # Errors
    /// `NotFound`: no TUN driver. `PermissionDenied`: the text says whether `CAP_NET_ADMIN` is
    /// missing or a security module refuses. `ResourceBusy`: an interface of that name exists.
    /// `InvalidInput`: not an interface name.
    pub fn create(name: &str) -> io::Result<Self> {
        let mut request = interface_request(name)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(CLONE_DEVICE)
            .map_err(explain_open)?;
        let fd = OwnedFd::from(file);
        attach(&fd, &mut request)
            .map_err(explain_attach)
            .needs(Capability::NetAdmin)
            .context(|| format!("creating the TUN interface {name}"))?;
        let name = interface_name(&request);
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::DGRAM,
            None,
        )?;
        let index = netdevice::name_to_index(&socket, &name)
            .context(|| format!("finding the interface {name} just created"))?;
        Ok(Self { fd, name, index })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface's index, as netlink wants it.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Reads the next packet that the kernel routes into the device, without a header before it.
    ///
    /// `buf` must be as long as the interface's MTU: of a longer packet the rest is lost.
    ///
    /// # Errors
    /// `WouldBlock` if none waits.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        let VirtioHeader(mut header) = VirtioHeader::PLAIN;
        let header_len = header.len();
        let mut parts = [IoSliceMut::new(&mut header), IoSliceMut::new(buf)];
        let len = rustix::io::readv(&self.fd, &mut parts)?;
        Ok(len.saturating_sub(header_len))
    }

    /// Hands a complete IPv4 or IPv6 packet to the kernel, as if it had come in by the interface.
    ///
    /// # Errors
    /// `InvalidInput` for anything else, an I/O error while the interface is down.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        let VirtioHeader(header) = VirtioHeader::PLAIN;
        rustix::io::writev(&self.fd, &[IoSlice::new(&header), IoSlice::new(packet)])?;
        Ok(())
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The header before each packet, a `struct virtio_net_hdr` without its buffer count, in native
/// byte order: flags (1 byte), what is segmented (1), header length (2), segment length (2), where
/// the checksum starts (2) and where it goes (2).
struct VirtioHeader([u8; 10]);

impl VirtioHeader {
    /// An ordinary packet: not segmented, checksums complete.
    const PLAIN: Self = Self([0; 10]);
}

fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all zeros is a valid `ifreq`: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    let is_name = (1..request.ifr_name.len()).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':');
    if !is_name {
        let text = format!("{name:?} is not an interface name: 1 to 15 characters, no / or :");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    Ok(request)
}

fn interface_name(request: &libc::ifreq) -> String {
    let bytes = request.ifr_name.iter().map(|&byte| byte as u8).take_while(|&byte| byte != 0);
    bytes.map(char::from).collect()
}

fn attach(fd: &OwnedFd, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: `TUNSETIFF` reads and writes one `ifreq`, which is live and exclusively borrowed.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, ptr::from_mut(request)) })?;
    // The device may be a persistent one that somebody else has set up: header length and offloads
    // are the device's, not the descriptor's, and stay with it.
    let header_len = VirtioHeader::PLAIN.0.len() as libc::c_int;
    // SAFETY: `TUNSETVNETHDRSZ` reads one `c_int`, which is live.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const header_len) })?;
    let no_offload: libc::c_ulong = 0;
    // SAFETY: `TUNSETOFFLOAD` takes its argument by value.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, no_offload) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn explain_open(error: io::Error) -> io::Error {
    let text = match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => {
            format!("no TUN driver at {CLONE_DEVICE}: load the module tun or pass the device in")
        }
        _ => format!("opening {CLONE_DEVICE}: {error}"),
    };
    let kind = match error.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => io::ErrorKind::NotFound,
        _ => error.kind(),
    };
    io::Error::new(kind, text)
}

fn explain_attach(error: io::Error) -> io::Error {
    let (kind, why) = match error.raw_os_error() {
        Some(libc::EPERM) => (
            io::ErrorKind::PermissionDenied,
            "it belongs to somebody else, or a security module such as AppArmor refuses it",
        ),
        Some(libc::EBUSY) => (io::ErrorKind::ResourceBusy, "an interface of that name is in use"),
        Some(libc::EINVAL) => {
            (io::ErrorKind::ResourceBusy, "an interface of that name and another kind exists")
        }
        _ => return error,
    };
    io::Error::new(kind, why)
}
