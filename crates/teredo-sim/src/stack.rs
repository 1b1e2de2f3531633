//! The IPv6 side of a host: addresses, an echo responder, and what came in.

use core::net::Ipv6Addr;

use teredo_proto::Instant;
use teredo_wire::icmpv6::{self, Echo, Icmpv6};
use teredo_wire::ipv6::{HEADER_LEN, Header, Ipv6, next_header};
use teredo_wire::{Datagram, Writer, checksum};

use crate::asked::Asked;

/// An IPv6 packet that a stack took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// The packet.
    pub packet: Vec<u8>,
}

/// What an ICMPv6 error told a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedError {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Destination of the packet that was refused.
    pub refused: Ipv6Addr,
}

/// The IPv6 stack of a host, as far as Teredo sees it.
#[derive(Debug, Default)]
pub struct Stack {
    /// Addresses of the host itself.
    pub(crate) native: Vec<Ipv6Addr>,
    /// The address that its Teredo client gave it.
    pub(crate) teredo: Option<Ipv6Addr>,
    /// What it has asked of others.
    pub(crate) asked: Asked,
    received: Vec<Received>,
}

impl Stack {
    /// Its Teredo address, else the first of its own.
    pub fn address(&self) -> Option<Ipv6Addr> {
        self.teredo.or_else(|| self.native.first().copied())
    }

    /// What came in, as far as the first [`RECEIVED_MAX`] packets.
    pub fn received(&self) -> &[Received] {
        &self.received
    }

    /// The ICMPv6 errors among that.
    pub fn errors(&self) -> impl Iterator<Item = ReceivedError> + '_ {
        self.received.iter().filter_map(|received| read_error(&received.packet))
    }

    pub(crate) fn owns(&self, address: Ipv6Addr) -> bool {
        self.teredo == Some(address) || self.native.contains(&address)
    }

    /// Takes a packet for one of its addresses and returns the answer to it.
    pub(crate) fn receive(&mut self, at: Instant, packet: &[u8]) -> Option<Vec<u8>> {
        if self.received.len() < RECEIVED_MAX {
            self.received.push(Received { at, packet: packet.to_vec() });
        }
        answer(packet)
    }
}

/// An echo request with `sequence` and some data.
pub(crate) fn echo_request(source: Ipv6Addr, destination: Ipv6Addr, sequence: u16) -> Vec<u8> {
    let data = b"teredo-sim ping";
    let echo = Echo { reply: false, identifier: ECHO_IDENTIFIER, sequence, data };
    write(|writer| echo.write(writer, source, destination, HOP_LIMIT))
}

/// The sequence number of an echo reply to one of our requests.
pub(crate) fn echo_reply_sequence(packet: &[u8]) -> Option<u16> {
    let (ipv6, _) = Ipv6::parse(packet).ok()?;
    let echo = Icmpv6::parse(&ipv6).ok()?.echo()?;
    (echo.reply && echo.identifier == ECHO_IDENTIFIER).then_some(echo.sequence)
}

/// A UDP packet of `len` bytes in all, as far as that fits, that carries `tag`.
pub(crate) fn data(source: Ipv6Addr, destination: Ipv6Addr, tag: u64, len: usize) -> Vec<u8> {
    let mut datagram = vec![0; len.clamp(DATA_LEN_MIN, DATA_LEN_MAX) - HEADER_LEN];
    let payload_len = datagram.len() as u16;
    datagram[..2].copy_from_slice(&DATA_PORT.to_be_bytes());
    datagram[2..4].copy_from_slice(&DATA_PORT.to_be_bytes());
    datagram[4..6].copy_from_slice(&payload_len.to_be_bytes());
    datagram[8..16].copy_from_slice(&tag.to_be_bytes());
    let sum = checksum::ipv6(source, destination, next_header::UDP, &datagram);
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    let next_header = next_header::UDP;
    let header = Header { payload_len, next_header, hop_limit: HOP_LIMIT, source, destination };
    write(|writer| {
        header.write(writer)?;
        writer.put(&datagram)
    })
}

/// The tag of a packet that [`data`] made, be it cut short after the tag.
pub(crate) fn tag(packet: &[u8]) -> Option<u64> {
    let ports = u32::from(DATA_PORT) << 16 | u32::from(DATA_PORT);
    let (header, datagram) = packet.split_first_chunk::<HEADER_LEN>()?;
    let (head, rest) = datagram.split_first_chunk::<8>()?;
    let ours = header[6] == next_header::UDP && head[..4] == ports.to_be_bytes();
    rest.first_chunk().filter(|_| ours).map(|tag| u64::from_be_bytes(*tag))
}

/// The tag of test data in a datagram, whatever is before it.
pub(crate) fn find_tag(payload: &[u8]) -> Option<u64> {
    tag(Datagram::parse(payload).ok()?.ipv6.bytes())
}

/// The packet that an ICMPv6 error quotes; the quote may be cut short.
pub(crate) fn quoted<'a>(packet: &Ipv6<'a>) -> Option<&'a [u8]> {
    let message = (packet.next_header() == next_header::ICMPV6).then(|| packet.payload())?;
    let is_error = message.first().is_some_and(|kind| *kind < icmpv6::ECHO_REQUEST);
    message.get(8..).filter(|_| is_error)
}

fn read_error(packet: &[u8]) -> Option<ReceivedError> {
    let (ipv6, _) = Ipv6::parse(packet).ok()?;
    let quoted = quoted(&ipv6)?;
    let message = Icmpv6::parse(&ipv6).ok()?;
    let refused: [u8; 16] = *quoted.get(24..)?.first_chunk()?;
    Some(ReceivedError { kind: message.kind, code: message.code, refused: refused.into() })
}

fn answer(packet: &[u8]) -> Option<Vec<u8>> {
    let (ipv6, _) = Ipv6::parse(packet).ok()?;
    let is_icmpv6 = ipv6.next_header() == next_header::ICMPV6;
    let request = Icmpv6::parse(&ipv6).ok().filter(|_| is_icmpv6)?.echo()?;
    if request.reply {
        return None;
    }
    let reply = Echo { reply: true, ..request };
    let (source, destination) = (ipv6.destination(), ipv6.source());
    Some(write(|writer| reply.write(writer, source, destination, HOP_LIMIT)))
}

fn write(fill: impl FnOnce(&mut Writer<'_>) -> Result<(), teredo_wire::NoSpace>) -> Vec<u8> {
    let mut buffer = vec![0; PACKET_LEN_MAX];
    let mut writer = Writer::new(&mut buffer);
    let written = fill(&mut writer).map_or(0, |()| writer.len());
    buffer.truncate(written);
    buffer
}

/// More than a test looks at; a flood stays bounded.
pub const RECEIVED_MAX: usize = 10_000;
/// No packet of a stack is longer.
const PACKET_LEN_MAX: usize = 2048;
/// IPv6 header, UDP header and tag.
const DATA_LEN_MIN: usize = HEADER_LEN + 16;
const DATA_LEN_MAX: usize = PACKET_LEN_MAX;
const HOP_LIMIT: u8 = 64;
const ECHO_IDENTIFIER: u16 = 0x7e5e;
/// Both ports of test data: discard (RFC 863).
const DATA_PORT: u16 = 9;
