//! Packets as a stack, a peer or a server writes them, and what can be wrong with them.

use std::net::{Ipv6Addr, SocketAddrV4};

use teredo_wire::datagram::write_origin;
use teredo_wire::icmpv6::{Echo, write_router_solicitation};
use teredo_wire::ipv6::{HEADER_LEN, Header, next_header};
use teredo_wire::{Authentication, Flags, NoSpace, TeredoAddress, Writer, checksum};

use crate::input::{Input, pick};

/// What a packet is before anything is wrong with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    kind: u8,
    /// Both ports in two halves, or an identifier: few, so that packets of one flow meet.
    ports: u8,
    /// TCP flags, a message type, the length of the data or a part's place in its whole.
    detail: u8,
}

impl Shape {
    pub(crate) fn decode(input: &mut Input<'_>) -> Self {
        Self { kind: input.byte(), ports: input.byte(), detail: input.byte() }
    }

    /// A number to choose something else by.
    pub(crate) fn seed(self) -> u8 {
        self.detail
    }

    /// The packet between these addresses.
    pub(crate) fn packet(self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let Self { kind, ports, detail } = self;
        let [high, low] = [ports >> 4, ports & 0xf].map(|half| PORT_BASE + u16::from(half));
        match kind % KINDS {
            0 => written(|writer| Header::bubble(source, destination).write(writer)),
            1 => packet(source, destination, next_header::UDP, &udp(high, low, detail)),
            2 => packet(source, destination, next_header::TCP, &tcp(high, low, detail)),
            3 | 4 => {
                let echo = Echo {
                    reply: kind % KINDS == 4,
                    identifier: high,
                    sequence: low,
                    data: &[detail; 16],
                };
                written(|writer| echo.write(writer, source, destination, 64))
            }
            5 => self.error(source, destination),
            6 => written(|writer| write_router_solicitation(writer, source)),
            7 => {
                let mut message = vec![133 + detail % 5, 0, 0, 0];
                message.resize(24, 0);
                icmpv6(source, destination, &message)
            }
            8 => {
                let place = u16::from(detail >> 1) << 3 | u16::from(detail & 1);
                let mut part = vec![next_header::UDP, 0];
                part.extend(place.to_be_bytes());
                part.extend([0, 0, 0, ports]);
                part.extend(udp(high, low, 16));
                packet(source, destination, next_header::FRAGMENT, &part)
            }
            9 => {
                let mut options = vec![next_header::UDP, 0, 1, 4, 0, 0, 0, 0];
                options.extend(udp(high, low, detail));
                packet(source, destination, next_header::DESTINATION_OPTIONS, &options)
            }
            10 => packet(source, destination, detail, &[ports; 24]),
            _ => packet(source, destination, next_header::UDP, &udp_of(high, low, 1_400)),
        }
    }

    /// An ICMPv6 error from `source` that quotes a packet of `destination`.
    fn error(self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let quoted = Self { kind: 1 + self.detail % 3, detail: 2, ..self };
        let mut message = vec![1 + (self.detail >> 4) % 5, 0, 0, 0, 0, 0, 5, 0];
        message.extend(quoted.packet(destination, source));
        icmpv6(source, destination, &message)
    }
}

/// What is wrong with a packet, and what is around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Damage<'a> {
    flags: u8,
    changes: [(u8, u8); 3],
    len: u8,
    bytes: &'a [u8],
    trailer: &'a [u8],
}

impl<'a> Damage<'a> {
    pub(crate) fn decode(input: &mut Input<'a>) -> Self {
        let flags = input.byte();
        let mut changes = [(0, 0); 3];
        for change in changes.iter_mut().take(usize::from(flags & CHANGES)) {
            *change = (input.byte(), input.byte());
        }
        let len = if flags & CUT != 0 { input.byte() } else { 0 };
        let bytes = if flags & REPLACED != 0 { input.bytes() } else { &[] };
        let trailer = if flags & TRAILER != 0 { input.bytes() } else { &[] };
        Self { flags, changes, len, bytes, trailer }
    }

    /// The packet as it arrives in the tunnel, where `origin` may stand in front of it.
    pub(crate) fn datagram(&self, packet: Vec<u8>, origin: SocketAddrV4) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.flags & AUTHENTICATED != 0 {
            bytes.extend(nonce_only([self.len; 8]));
        }
        if self.flags & WITH_ORIGIN != 0 {
            bytes.extend(written(|writer| write_origin(writer, origin)));
        }
        bytes.extend(self.packet(packet));
        bytes.extend(self.trailer);
        bytes
    }

    /// The packet with what is wrong with it.
    pub(crate) fn packet(&self, mut packet: Vec<u8>) -> Vec<u8> {
        if self.flags & REPLACED != 0 {
            return self.bytes.to_vec();
        }
        for (place, value) in self.changes.into_iter().take(usize::from(self.flags & CHANGES)) {
            let len = packet.len().max(1);
            if let Some(byte) = packet.get_mut(usize::from(place) % len) {
                *byte = value;
            }
        }
        if self.flags & REFITTED != 0 {
            refit(&mut packet);
        }
        if self.flags & CUT != 0 {
            packet.truncate(self.len.into());
        }
        packet
    }
}

/// Makes length and ICMPv6 checksum right again: nobody finds these by chance.
pub(crate) fn refit(packet: &mut [u8]) {
    let Some(payload_len) = packet.len().checked_sub(HEADER_LEN) else { return };
    packet[4..6].copy_from_slice(&(payload_len as u16).to_be_bytes());
    let [source, destination] = [8, 24].map(|at| address_at(packet, at));
    if packet[6] == next_header::ICMPV6 && payload_len >= 4 {
        packet[42..44].fill(0);
        let sum = checksum::ipv6(source, destination, next_header::ICMPV6, &packet[HEADER_LEN..]);
        packet[42..44].copy_from_slice(&sum.to_be_bytes());
    }
}

/// A Teredo address of a client of this server.
pub(crate) fn teredo(server: [u8; 4], mapped: SocketAddrV4) -> Ipv6Addr {
    TeredoAddress { server: server.into(), flags: Flags(0x1004), mapped }.to_ipv6()
}

/// An authentication without keys.
pub(crate) fn nonce_only(nonce: [u8; 8]) -> Vec<u8> {
    written(|writer| Authentication::nonce_only(nonce).write(writer))
}

/// What is written into a buffer that is always large enough.
pub(crate) fn written(write: impl FnOnce(&mut Writer<'_>) -> Result<(), NoSpace>) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let mut writer = Writer::new(&mut buffer);
    write(&mut writer).expect("no template is longer");
    writer.written().to_vec()
}

/// A packet with this behind its header.
pub(crate) fn packet(source: Ipv6Addr, destination: Ipv6Addr, kind: u8, body: &[u8]) -> Vec<u8> {
    let payload_len = body.len() as u16;
    let header = Header { payload_len, next_header: kind, hop_limit: 64, source, destination };
    written(|writer| {
        header.write(writer)?;
        writer.put(body)
    })
}

/// An ICMPv6 message with the right checksum.
pub(crate) fn icmpv6(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut bytes = packet(source, destination, next_header::ICMPV6, message);
    bytes[7] = 255;
    refit(&mut bytes);
    bytes
}

/// The address at a place in a packet that is long enough.
pub(crate) fn address_at(packet: &[u8], at: usize) -> Ipv6Addr {
    let octets: [u8; 16] = packet[at..at + 16].try_into().unwrap_or_default();
    Ipv6Addr::from(octets)
}

fn udp(source: u16, destination: u16, data_len: u8) -> Vec<u8> {
    udp_of(source, destination, data_len.into())
}

fn udp_of(source: u16, destination: u16, data_len: usize) -> Vec<u8> {
    let len = (8 + data_len) as u16;
    let mut bytes = [source, destination, len, 0].map(u16::to_be_bytes).concat();
    bytes.resize(len.into(), 0xda);
    bytes
}

/// A segment with some of the flags that matter.
fn tcp(source: u16, destination: u16, detail: u8) -> Vec<u8> {
    let flags = pick(&[0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0x01, 0x00, detail], detail);
    let mut bytes = [source, destination].map(u16::to_be_bytes).concat();
    bytes.extend([0; 8]);
    bytes.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    bytes
}

/// Kinds of packets.
const KINDS: u8 = 12;
/// The ports that packets are between.
pub(crate) const PORT_BASE: u16 = 20;

/// How many bytes are something else.
const CHANGES: u8 = 0b11;
/// Length and checksum are right in spite of that.
const REFITTED: u8 = 1 << 2;
/// The packet is cut short.
const CUT: u8 = 1 << 3;
/// It is something else altogether.
const REPLACED: u8 = 1 << 4;
const WITH_ORIGIN: u8 = 1 << 5;
const AUTHENTICATED: u8 = 1 << 6;
/// Something follows it.
const TRAILER: u8 = 1 << 7;
