//! What waits to be sent: small descriptions that become bytes in the caller's buffer.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::collections::VecDeque;

use teredo_wire::address::{ALL_NODES, CLIENT_LINK_LOCAL};
use teredo_wire::icmpv6::{Echo, ErrorMessage, write_router_solicitation};
use teredo_wire::ipv6::Header;
use teredo_wire::trailer::{Alternates, Birthday, NeighborDiscovery, Trailer};
use teredo_wire::{Authentication, NoSpace, TEREDO_PORT, Writer};

use crate::client::discovery::DISCOVERY_ENDPOINT;
use crate::client::echo::Probe;
use crate::client::helper::Registration;
use crate::keys::Secret;
use crate::peers::{QueueBudget, QueueFull};
use crate::role::{Event, Local, Transmit};

/// Things to send, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    items: VecDeque<Item>,
    taken: u64,
}

/// A place in the outbox; the default one is long past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// One thing to send.
#[derive(Debug)]
pub(super) enum Item {
    Solicitation {
        server: Ipv4Addr,
        via: Local,
        nonce: [u8; 8],
    },
    /// A request to the helper.
    Registration {
        nonce: [u8; 8],
        address: Ipv6Addr,
    },
    /// A solicitation to a server that is not ours, sent for the mapping that it makes. It is not
    /// signed: our key is no business of that server.
    ThrowAway {
        server: Ipv4Addr,
        nonce: [u8; 8],
    },
    Bubble {
        to: SocketAddrV4,
        via: Local,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        trailers: Trailers,
    },
    /// A discovery bubble, to the whole link.
    Discovery {
        source: Ipv6Addr,
    },
    EchoRequest {
        to: SocketAddrV4,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        probe: Probe,
    },
    /// A packet that waited for its peer.
    Packet {
        to: SocketAddrV4,
        via: Local,
        packet: Box<[u8]>,
    },
    /// A packet for the stack that was held until its source was proven.
    Delivery {
        packet: Box<[u8]>,
    },
    /// An error for the stack; the offending packet is cut to what is quoted.
    Error {
        message: ErrorMessage,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        offending: Box<[u8]>,
    },
}

/// What things to send are signed with, and by whom they are passed on.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub(super) server: Option<&'a Secret>,
    pub(super) helper: Option<&'a Registration>,
}

/// What follows a bubble (RFC 6081 section 4).
#[derive(Debug, Default)]
pub(super) struct Trailers {
    pub(super) nonce: Option<[u8; 4]>,
    pub(super) random_port: Option<u16>,
    /// None, or up to [`Alternates::MAX`].
    pub(super) alternates: Vec<SocketAddrV4>,
    pub(super) discovery: Option<NeighborDiscovery>,
    pub(super) birthday: Option<Birthday>,
}

impl Trailers {
    fn write(&self, writer: &mut Writer<'_>) -> Result<(), NoSpace> {
        if let Some(nonce) = self.nonce {
            Trailer::Nonce(nonce).write(writer)?;
        }
        if let Some(port) = self.random_port {
            Trailer::RandomPort(port).write(writer)?;
        }
        if !self.alternates.is_empty() {
            Alternates::write(writer, &self.alternates)?;
        }
        if let Some(kind) = self.discovery {
            Trailer::NeighborDiscovery(kind).write(writer)?;
        }
        match self.birthday {
            Some(offer) => Trailer::Birthday(offer).write(writer),
            None => Ok(()),
        }
    }
}

impl Outbox {
    /// Appends something that is not a kept packet. If the caller has not drained thousands of
    /// items, this one is lost, as it might be on the way.
    pub(super) fn push(&mut self, item: Item) {
        if self.items.len() < ITEMS_MAX {
            self.items.push_back(item);
        }
    }

    /// Appends a packet that left its queue, keeping it charged. The budget bounds these.
    pub(super) fn push_kept(
        &mut self,
        budget: &mut QueueBudget,
        item: Item,
    ) -> Result<Ticket, QueueFull> {
        budget.charge(item.kept_bytes())?;
        self.items.push_back(item);
        Ok(Ticket(self.taken + self.items.len() as u64))
    }

    /// Whether everything up to `ticket` was taken out.
    pub(super) fn is_past(&self, ticket: Ticket) -> bool {
        ticket.0 <= self.taken
    }

    /// Takes the next item and writes it.
    pub(super) fn write_next(
        &mut self,
        keys: Keys<'_>,
        budget: &mut QueueBudget,
        buffer: &mut [u8],
    ) -> Option<Transmit> {
        loop {
            let item = self.items.pop_front()?;
            self.taken += 1;
            budget.release(item.kept_bytes());
            // Everything fits into a buffer as the contract has it; a smaller one loses the item,
            // as does a helper that does not know us yet.
            if let Ok(transmit) = item.write(keys, buffer) {
                return Some(transmit);
            }
        }
    }
}

impl Item {
    /// Where it goes, unless that is the stack.
    pub(super) fn destination(&self) -> Option<SocketAddrV4> {
        match self {
            Self::Solicitation { server, .. } | Self::ThrowAway { server, .. } => {
                Some(SocketAddrV4::new(*server, TEREDO_PORT))
            }
            Self::Bubble { to, .. } | Self::EchoRequest { to, .. } | Self::Packet { to, .. } => {
                Some(*to)
            }
            Self::Discovery { .. } => Some(DISCOVERY_ENDPOINT),
            Self::Registration { .. } | Self::Delivery { .. } | Self::Error { .. } => None,
        }
    }

    /// The socket it leaves from.
    fn via(&self) -> Local {
        match self {
            Self::Solicitation { via, .. }
            | Self::Bubble { via, .. }
            | Self::Packet { via, .. } => *via,
            Self::ThrowAway { .. }
            | Self::Discovery { .. }
            | Self::Registration { .. }
            | Self::EchoRequest { .. }
            | Self::Delivery { .. }
            | Self::Error { .. } => Local::Primary,
        }
    }

    fn kept_bytes(&self) -> usize {
        match self {
            Self::Packet { packet, .. } | Self::Delivery { packet } => packet.len(),
            Self::Solicitation { .. }
            | Self::Registration { .. }
            | Self::ThrowAway { .. }
            | Self::Bubble { .. }
            | Self::Discovery { .. }
            | Self::EchoRequest { .. }
            | Self::Error { .. } => 0,
        }
    }

    fn write(&self, keys: Keys<'_>, buffer: &mut [u8]) -> Result<Transmit, NoSpace> {
        let mut writer = Writer::new(buffer);
        let (destination, via) = (self.destination(), self.via());
        if let (Self::Registration { nonce, address }, Some(helper)) = (self, keys.helper) {
            helper.write(&mut writer, *nonce, *address)?;
            return Ok(Transmit::Datagram { to: helper.endpoint(), via, len: writer.len() });
        }
        let way = match (destination, keys.helper.filter(|helper| helper.wraps(via))) {
            (Some(to), Some(helper)) => {
                writer.put(&helper.header(to).ok_or(NoSpace)?)?;
                Some((helper.endpoint(), Local::Primary))
            }
            (Some(to), None) => Some((to, via)),
            (None, _) => None,
        };
        self.write_payload(keys, &mut writer)?;
        let len = writer.len();
        Ok(match way {
            Some((to, via)) => Transmit::Datagram { to, via, len },
            None => Transmit::Packet { len },
        })
    }

    fn write_payload(&self, keys: Keys<'_>, writer: &mut Writer<'_>) -> Result<(), NoSpace> {
        match self {
            Self::Registration { .. } => Ok(()),
            Self::Solicitation { nonce, .. } => write_solicitation(*nonce, keys, writer),
            Self::ThrowAway { nonce, .. } => {
                write_solicitation(*nonce, Keys { server: None, ..keys }, writer)
            }
            Self::Bubble { source, destination, trailers, .. } => {
                Header::bubble(*source, *destination).write(writer)?;
                trailers.write(writer)
            }
            Self::Discovery { source } => {
                Header { hop_limit: 1, ..Header::bubble(*source, ALL_NODES) }.write(writer)
            }
            Self::EchoRequest { source, destination, probe, .. } => Echo {
                reply: false,
                identifier: probe.identifier,
                sequence: probe.sequence,
                data: &probe.nonce,
            }
            .write(writer, *source, *destination, ECHO_HOP_LIMIT),
            Self::Packet { packet, .. } | Self::Delivery { packet } => writer.put(packet),
            Self::Error { message, source, destination, offending } => {
                message.write(writer, *source, *destination, offending)
            }
        }
    }
}

fn write_solicitation(
    nonce: [u8; 8],
    keys: Keys<'_>,
    writer: &mut Writer<'_>,
) -> Result<(), NoSpace> {
    let source = keys.helper.map_or(CLIENT_LINK_LOCAL, Registration::link_local);
    let write = |writer: &mut Writer<'_>| write_router_solicitation(writer, source);
    match keys.server {
        Some(secret) => secret.write_signed(writer, (nonce, 0), write),
        None => {
            Authentication::nonce_only(nonce).write(writer)?;
            write(writer)
        }
    }
}

/// Things to tell, in order.
#[derive(Debug, Default)]
pub(super) struct Events {
    events: VecDeque<Event>,
}

impl Events {
    pub(super) fn push(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Appends news of a peer. If the caller does not drain, these are lost and no others: their
    /// number is up to strangers.
    pub(super) fn push_peer(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

/// Undrained items at which new ones are lost: more than the largest batch of input leads to.
const ITEMS_MAX: usize = 4096;
/// Undrained events at which those about peers are lost, for the same reason.
const EVENTS_MAX: usize = 1024;
/// Hop limit of echo requests: enough for any path; small ones made hosts unreachable (protocol
/// section 2.10).
const ECHO_HOP_LIMIT: u8 = 128;
