//! A Teredo packet as JSON.

use std::net::{Ipv6Addr, SocketAddrV4};

use serde::Serialize;
use teredo_wire::print::{Hex, Kind, Line};
use teredo_wire::trailer::{self, Trailer};
use teredo_wire::{Authentication, Ipv6};

use crate::decode::fault;

/// One line of `teredo decode --json`.
#[derive(Debug, Serialize)]
pub(super) struct Packet {
    /// 1-based.
    frame: u64,
    src: SocketAddrV4,
    dst: SocketAddrV4,
    kind: &'static str,
    auth: Option<Auth>,
    origin: Option<SocketAddrV4>,
    ipv6: Header,
    trailers: Vec<Tlv>,
    /// A drop reason.
    error: Option<&'static str>,
}

impl Packet {
    pub(super) fn new(frame: u64, line: &Line<'_>) -> Self {
        let datagram = &line.datagram;
        Self {
            frame,
            src: line.source,
            dst: line.destination,
            kind: Kind::of(&datagram.ipv6).name(),
            auth: datagram.authentication.as_ref().map(Auth::new),
            origin: datagram.origin,
            ipv6: Header::new(&datagram.ipv6),
            trailers: trailer::iter(datagram.trailer_bytes).flatten().map(Tlv::new).collect(),
            error: fault::of(datagram).map(|reason| reason.name()),
        }
    }
}

/// The authentication encapsulation; bytes in hexadecimal.
#[derive(Debug, Serialize)]
struct Auth {
    client_id: String,
    value: String,
    nonce: String,
    confirmation: u8,
}

impl Auth {
    fn new(authentication: &Authentication<'_>) -> Self {
        Self {
            client_id: Hex(authentication.client_id).to_string(),
            value: Hex(authentication.value).to_string(),
            nonce: Hex(&authentication.nonce).to_string(),
            confirmation: authentication.confirmation,
        }
    }
}

/// The header of the IPv6 packet.
#[derive(Debug, Serialize)]
struct Header {
    src: Ipv6Addr,
    dst: Ipv6Addr,
    next_header: u8,
    hop_limit: u8,
    /// Payload Length in bytes.
    length: usize,
}

impl Header {
    fn new(packet: &Ipv6<'_>) -> Self {
        Self {
            src: packet.source(),
            dst: packet.destination(),
            next_header: packet.next_header(),
            hop_limit: packet.hop_limit(),
            length: packet.payload().len(),
        }
    }
}

/// A trailer.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Tlv {
    Nonce { nonce: String },
    AlternateAddress { addresses: Vec<SocketAddrV4> },
    NeighborDiscovery { discovery: &'static str },
    RandomPort { port: u16 },
    Birthday { part: &'static str, nonce: String },
    Ignored { number: u8, value: String },
}

impl Tlv {
    fn new(trailer: Trailer<'_>) -> Self {
        match trailer {
            Trailer::Nonce(nonce) => Self::Nonce { nonce: Hex(&nonce).to_string() },
            Trailer::Alternates(list) => {
                Self::AlternateAddress { addresses: list.endpoints().collect() }
            }
            Trailer::NeighborDiscovery(kind) => Self::NeighborDiscovery { discovery: kind.name() },
            Trailer::RandomPort(port) => Self::RandomPort { port },
            Trailer::Birthday(offer) => {
                Self::Birthday { part: offer.part.name(), nonce: Hex(&offer.nonce).to_string() }
            }
            Trailer::Ignored { kind, value } => {
                Self::Ignored { number: kind, value: Hex(value).to_string() }
            }
        }
    }
}
