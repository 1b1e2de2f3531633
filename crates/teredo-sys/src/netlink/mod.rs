//! Interfaces, addresses and routes, by rtnetlink; word of changes to the packet filter; and which
//! sockets listen.
//!
//! Everything is synchronous: a call returns when the kernel has acknowledged it, and its error
//! names what was asked. [`Monitor`] and [`RulesetMonitor`] tell when something has changed. A
//! socket stays in the network namespace of the thread that opened it.
//!
//! The codec crates change often; their types do not leave this module.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the codec's enums list all that a kernel may say; we look for a few things in it"
)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

pub use self::address::{AddressEntry, AddressOrigin, AddressScope, InterfaceAddress, Lifetime};
pub use self::link::{LinkCounters, LinkEntry, LinkState};
pub use self::listeners::{Listener, Listeners, Transport};
pub use self::monitor::Monitor;
pub use self::route::{InstalledRoute, ROUTE_PROTOCOL, Route};
pub use self::ruleset::RulesetMonitor;
use crate::caps::Capability;
use crate::error::Context;

mod address;
mod link;
mod listeners;
mod monitor;
mod route;
mod ruleset;

/// The kernel fills dumps in pieces of at most 32 KiB.
const RECEIVE_BYTES: usize = 64 << 10;

/// How often a list is asked for again because it changed while it was read.
const DUMP_ATTEMPTS: usize = 4;

/// A connection to the kernel's network configuration.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Netlink {
    /// Opens a connection in the network namespace of the calling thread. Reading needs no
    /// privilege, changing needs `CAP_NET_ADMIN`.
    pub fn open() -> io::Result<Self> {
        let socket = open().context(|| "opening a netlink socket".to_owned())?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(RECEIVE_BYTES) })
    }

    /// Asks for a change and waits for the acknowledgement.
    fn change(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.request(message, flags).needs(Capability::NetAdmin)
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let sequence = self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        loop {
            for message in self.receive(sequence)? {
                if let NetlinkPayload::Error(error) = message.payload {
                    return if error.code.is_none() { Ok(()) } else { Err(error.to_io()) };
                }
            }
        }
    }

    /// Asks for a list and keeps what `pick` picks. One that keeps changing while it is read, as on
    /// a busy router, is taken as it is: who must know it exactly has a [`Monitor`].
    fn dump<T>(
        &mut self,
        message: RouteNetlinkMessage,
        pick: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        for _ in 1..DUMP_ATTEMPTS {
            let (list, is_consistent) = self.dump_once(message.clone(), &pick)?;
            if is_consistent {
                return Ok(list);
            }
        }
        let (list, _) = self.dump_once(message, pick)?;
        Ok(list)
    }

    /// The list, and whether it stayed the same while it was read.
    fn dump_once<T>(
        &mut self,
        message: RouteNetlinkMessage,
        pick: impl Fn(RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<(Vec<T>, bool)> {
        let sequence = self.send(message, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut list = Vec::new();
        let mut is_consistent = true;
        loop {
            for message in self.receive(sequence)? {
                is_consistent &= message.header.flags & NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => list.extend(pick(inner)),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::Done(_) => return Ok((list, is_consistent)),
                    _ => {}
                }
            }
        }
    }

    /// Asks one question and returns the answer to it.
    fn ask(&mut self, message: RouteNetlinkMessage) -> io::Result<RouteNetlinkMessage> {
        let sequence = self.send(message, NLM_F_REQUEST)?;
        loop {
            for message in self.receive(sequence)? {
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => return Ok(inner),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut request = vec![0; message.buffer_len()];
        message.serialize(&mut request);
        self.socket.send(&request, 0)?;
        Ok(self.sequence)
    }

    /// The next messages that answer request `sequence`. One that the codec cannot read, such as a
    /// route of a kind that is newer than it, is left out.
    fn receive(
        &mut self,
        sequence: u32,
    ) -> io::Result<impl Iterator<Item = NetlinkMessage<RouteNetlinkMessage>> + use<'_>> {
        self.buffer.clear();
        self.socket.recv(&mut self.buffer, 0)?;
        let mut rest = self.buffer.as_slice();
        let messages = std::iter::from_fn(move || {
            let (message, behind) = split_message(rest)?;
            rest = behind;
            Some(message)
        });
        Ok(messages
            .filter_map(|bytes| NetlinkMessage::deserialize(bytes).ok())
            .filter(move |message| message.header.sequence_number == sequence))
    }
}

impl From<Family> for AddressFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::Inet,
            Family::V6 => Self::Inet6,
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// The first message by its own length field, and what is behind it.
fn split_message(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let behind = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    bytes.get(..len).filter(|message| !message.is_empty()).map(|message| (message, behind))
}
