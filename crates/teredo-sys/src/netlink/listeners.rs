//! Which sockets listen, and whose they are, by `NETLINK_SOCK_DIAG`.

use std::io;
use std::net::Ipv6Addr;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

use super::{RECEIVE_BYTES, split_message};
use crate::error::Context;

/// A socket that takes what comes to a port by IPv6, from anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// TCP or UDP.
    pub transport: Transport,
    /// The address that it is bound to; unspecified for all.
    pub address: Ipv6Addr,
    /// The port that it is bound to.
    pub port: u16,
    /// The interface that it is bound to; 0 for all.
    pub interface: u32,
    /// The user who has made it, as the caller's user namespace numbers users.
    pub user: u32,
    /// The number of the control group that its maker was in: that of the group's directory. Older
    /// than 5.10, a kernel does not tell.
    pub cgroup: Option<u64>,
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A connection to the kernel's lists of sockets.
pub struct Listeners {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Listeners {
    /// Opens a connection for the network namespace of the calling thread. Needs no privilege.
    ///
    /// # Errors
    /// If the kernel does not have that.
    pub fn open() -> io::Result<Self> {
        let open = || {
            let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok::<_, io::Error>(socket)
        };
        let socket = open().context(|| "opening a socket to list sockets".to_owned())?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(RECEIVE_BYTES) })
    }

    /// Shows `each` of the sockets of the IPv6 family that listen: TCP in that state, UDP that is
    /// bound to a port and connected to nobody. One that comes or goes meanwhile may be missed.
    ///
    /// # Errors
    /// If the kernel does not have one of these lists.
    pub fn look(&mut self, mut each: impl FnMut(Listener)) -> io::Result<()> {
        for transport in [Transport::Tcp, Transport::Udp] {
            self.dump(transport, &mut each).context(|| "listing sockets".to_owned())?;
        }
        Ok(())
    }

    fn dump(&mut self, transport: Transport, each: &mut impl FnMut(Listener)) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&request(transport, self.sequence), 0)?;
        loop {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0)?;
            let mut rest = self.buffer.as_slice();
            while let Some((message, behind)) = split_message(rest) {
                rest = behind;
                match answer(message, self.sequence) {
                    Answer::Socket(body) => {
                        if let Some(listener) = listener(transport, body) {
                            each(listener);
                        }
                    }
                    Answer::End => return Ok(()),
                    Answer::Error(error) => return Err(error),
                    Answer::Other => {}
                }
            }
        }
    }
}

/// A message of the kernel's.
enum Answer<'a> {
    Socket(&'a [u8]),
    End,
    Error(io::Error),
    /// An answer to somebody else, or one that we know nothing of.
    Other,
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(transport: Transport, sequence: u32) -> [u8; REQUEST_LEN] {
    let (protocol, states) = match transport {
        Transport::Tcp => (libc::IPPROTO_TCP, 1_u32 << TCP_LISTEN),
        Transport::Udp => (libc::IPPROTO_UDP, 1_u32 << TCP_CLOSE),
    };
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut request = [0; REQUEST_LEN];
    let mut put = |at: usize, bytes: &[u8]| request[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(REQUEST_LEN as u32).to_ne_bytes());
    put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(6, &flags.to_ne_bytes());
    put(8, &sequence.to_ne_bytes());
    put(HEADER_LEN, &[libc::AF_INET6 as u8, protocol as u8]);
    put(HEADER_LEN + 4, &states.to_ne_bytes());
    request
}

fn answer(message: &[u8], sequence: u32) -> Answer<'_> {
    let Some((header, body)) = message.split_first_chunk::<HEADER_LEN>() else {
        return Answer::Other;
    };
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    if u32::from_ne_bytes([header[8], header[9], header[10], header[11]]) != sequence {
        return Answer::Other;
    }
    match i32::from(kind) {
        libc::NLMSG_DONE => Answer::End,
        libc::NLMSG_ERROR => {
            let code = body.first_chunk().map_or(libc::EIO, |code| -i32::from_ne_bytes(*code));
            Answer::Error(io::Error::from_raw_os_error(code))
        }
        _ if kind == SOCK_DIAG_BY_FAMILY => Answer::Socket(body),
        _ => Answer::Other,
    }
}

/// Reads `struct inet_diag_msg` and the attributes behind it.
fn listener(transport: Transport, body: &[u8]) -> Option<Listener> {
    let (fixed, attributes) = body.split_at_checked(MESSAGE_LEN)?;
    let octets: [u8; 16] = *fixed.get(8..)?.first_chunk()?;
    Some(Listener {
        transport,
        address: Ipv6Addr::from(octets),
        port: u16::from_be_bytes(*fixed.get(4..)?.first_chunk()?),
        interface: u32::from_ne_bytes(*fixed.get(40..)?.first_chunk()?),
        user: u32::from_ne_bytes(*fixed.get(64..)?.first_chunk()?),
        cgroup: attribute(attributes, INET_DIAG_CGROUP_ID)
            .and_then(|value| value.first_chunk().map(|number| u64::from_ne_bytes(*number))),
    })
}

/// The value of the first attribute of a kind.
fn attribute(mut rest: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let len = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?);
        let value = rest.get(4..len)?;
        if kind == wanted {
            return Some(value);
        }
        rest = rest.get(len.next_multiple_of(4)..)?;
    }
}

/// Of `linux/netlink.h`, `linux/sock_diag.h`, `linux/inet_diag.h` and `net/tcp_states.h`.
const HEADER_LEN: usize = 16;
const REQUEST_LEN: usize = HEADER_LEN + 56;
const MESSAGE_LEN: usize = 72;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const INET_DIAG_CGROUP_ID: u16 = 21;
const TCP_CLOSE: u32 = 7;
const TCP_LISTEN: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> Vec<u8> {
        let mut message = vec![0; MESSAGE_LEN];
        message[4..6].copy_from_slice(&8080_u16.to_be_bytes());
        message[8..24].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
        message[40] = 3;
        message[64..68].copy_from_slice(&1000_u32.to_ne_bytes());
        // An attribute of five bytes, then the one looked for.
        message.extend([9, 0, 8, 0, 1, 2, 3, 4, 5, 0, 0, 0]);
        message.extend([12, 0, 21, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
        message
    }

    #[test]
    fn a_socket_is_read_at_any_length_without_a_panic() {
        let whole = message();
        let read = listener(Transport::Tcp, &whole).unwrap();
        let expected = Listener {
            transport: Transport::Tcp,
            address: Ipv6Addr::LOCALHOST,
            port: 8080,
            interface: 3,
            user: 1000,
            cgroup: cfg!(target_endian = "little").then_some(7),
        };
        assert_eq!(read, expected);
        for len in 0..whole.len() {
            let read = listener(Transport::Tcp, &whole[..len]);
            assert_eq!(read.is_some(), len >= MESSAGE_LEN, "{len}");
            assert_eq!(read.and_then(|read| read.cgroup), None, "{len}");
        }
    }

    #[test]
    fn an_attribute_without_a_length_ends_the_search() {
        let mut message = message();
        message[MESSAGE_LEN..MESSAGE_LEN + 2].copy_from_slice(&0_u16.to_ne_bytes());
        assert_eq!(listener(Transport::Udp, &message).unwrap().cgroup, None);
    }
}
