//! What was on the wires: a hash of every byte, and the packets themselves when asked for.

mod pcapng;

use core::fmt;
use core::hash::Hasher;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::hash::DefaultHasher;

use teredo_proto::Instant;
use teredo_wire::{checksum, pcap};

use crate::host::HostId;
use crate::icmp::IcmpError;
use crate::world::NatId;

/// The wires of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wire {
    /// The access link of a host.
    Host(HostId),
    /// The access link of a NAT, on its outer side.
    Nat(NatId),
    /// The IPv6 Internet.
    Ipv6,
}

/// One packet on one wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When the near end saw it.
    pub at: Instant,
    /// Where.
    pub wire: Wire,
    /// The packet.
    pub packet: Packet,
    /// What became of it next, if that was its end.
    pub end: Option<End>,
}

/// Why a packet went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The NAT lets in nobody from there.
    Refused,
    /// The link before it lost it, or was down.
    Lost,
    /// It does not fit the link before it.
    TooLong,
    /// There is nobody at its destination.
    NoHost,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused by the NAT",
            Self::Lost => "lost",
            Self::TooLong => "too long for the link",
            Self::NoHost => "nobody is there",
        })
    }
}

/// A packet on a wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A UDP datagram over IPv4.
    Datagram {
        /// Source.
        from: SocketAddrV4,
        /// Destination.
        to: SocketAddrV4,
        /// Payload.
        payload: Vec<u8>,
    },
    /// An ICMP error.
    Error(IcmpError),
    /// An IPv6 packet.
    Ipv6(Vec<u8>),
}

impl Packet {
    /// The packet from its IP header on.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Datagram { from, to, payload } => udp_packet(*from, *to, payload),
            Self::Error(error) => error.to_bytes(),
            Self::Ipv6(packet) => packet.clone(),
        }
    }
}

/// The record of all wires.
#[derive(Debug, Default)]
pub struct Trace {
    hasher: DefaultHasher,
    frame_count: u64,
    frames: Option<Vec<Frame>>,
}

impl Trace {
    /// Keeps the packets from now on, the first [`FRAMES_MAX`] of them.
    pub fn keep_frames(&mut self) {
        self.frames.get_or_insert_default();
    }

    /// The packets kept.
    pub fn frames(&self) -> &[Frame] {
        self.frames.as_deref().unwrap_or_default()
    }

    /// The packets kept of one wire as a capture file, its times counted from the world's origin.
    pub fn pcap(&self, wire: Wire) -> Vec<u8> {
        let mut file = pcap::file_header(pcap::LinkType::RAW).to_vec();
        for frame in self.frames().iter().filter(|frame| frame.wire == wire) {
            let packet = frame.packet.to_bytes();
            let time = Duration::from_nanos(frame.at.as_nanos());
            file.extend_from_slice(&pcap::record_header(time, packet.len() as u32));
            file.extend_from_slice(&packet);
        }
        file
    }

    /// The packets kept of all wires as one capture file (pcapng), an interface with a name for
    /// each, its times counted from `start`. Where a packet went no further, a comment says why.
    pub fn pcapng(&self, start: Instant, wires: &[(String, Wire)]) -> Vec<u8> {
        pcapng::write(self.frames(), start, wires)
    }

    /// How many packets there were on all wires.
    pub fn frame_count(&self) -> u64 {
        self.frame_count
    }

    /// A hash of time, wire, addresses and bytes of all packets so far.
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    pub(crate) fn datagram(
        &mut self,
        at: Instant,
        wire: Wire,
        from: SocketAddrV4,
        to: SocketAddrV4,
        payload: &[u8],
    ) {
        self.mark(at, wire);
        for endpoint in [from, to] {
            self.hasher.write_u32(endpoint.ip().to_bits());
            self.hasher.write_u16(endpoint.port());
        }
        self.hasher.write(payload);
        self.keep(at, wire, || Packet::Datagram { from, to, payload: payload.to_vec() });
    }

    pub(crate) fn error(&mut self, at: Instant, wire: Wire, error: IcmpError) {
        self.mark(at, wire);
        self.hasher.write(&error.to_bytes());
        self.keep(at, wire, || Packet::Error(error));
    }

    pub(crate) fn ipv6(&mut self, at: Instant, packet: &[u8]) {
        self.mark(at, Wire::Ipv6);
        self.hasher.write(packet);
        self.keep(at, Wire::Ipv6, || Packet::Ipv6(packet.to_vec()));
    }

    /// The datagram from there that has just been on a wire goes no further.
    pub(crate) fn end(&mut self, at: Instant, source: SocketAddrV4, end: End) {
        let Some(frame) = self.frames.as_mut().and_then(|frames| frames.last_mut()) else { return };
        let is_it = match &frame.packet {
            Packet::Datagram { from, .. } => (frame.at, *from) == (at, source),
            Packet::Error(_) | Packet::Ipv6(_) => false,
        };
        if is_it {
            frame.end = Some(end);
        }
    }

    fn mark(&mut self, at: Instant, wire: Wire) {
        self.frame_count += 1;
        self.hasher.write_u64(at.as_nanos());
        let (kind, index) = match wire {
            Wire::Host(HostId(index)) => (0, index),
            Wire::Nat(NatId(index)) => (1, index),
            Wire::Ipv6 => (2, 0),
        };
        self.hasher.write_u8(kind);
        self.hasher.write_usize(index);
    }

    fn keep(&mut self, at: Instant, wire: Wire, packet: impl FnOnce() -> Packet) {
        if let Some(frames) = self.frames.as_mut().filter(|frames| frames.len() < FRAMES_MAX) {
            frames.push(Frame { at, wire, packet: packet(), end: None });
        }
    }
}

/// An IPv4 packet with a UDP datagram, as a host sends it.
fn udp_packet(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let udp_len = UDP_HEADER_LEN + payload.len();
    let mut packet = vec![0; IPV4_HEADER_LEN + udp_len];
    let (header, udp) = packet.split_at_mut(IPV4_HEADER_LEN);
    write_ipv4_header(header, UDP, [*from.ip(), *to.ip()], udp_len as u16);
    udp[..2].copy_from_slice(&from.port().to_be_bytes());
    udp[2..4].copy_from_slice(&to.port().to_be_bytes());
    udp[4..6].copy_from_slice(&(udp_len as u16).to_be_bytes());
    udp[UDP_HEADER_LEN..].copy_from_slice(payload);
    let sum = checksum::ipv4(*from.ip(), *to.ip(), UDP, udp);
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// Writes the header of a packet from one address to another into 20 zero bytes.
pub(crate) fn write_ipv4_header(
    header: &mut [u8],
    protocol: u8,
    [from, to]: [Ipv4Addr; 2],
    payload_len: u16,
) {
    header[0] = 0x45;
    header[2..4].copy_from_slice(&(IPV4_HEADER_LEN as u16 + payload_len).to_be_bytes());
    header[8] = IPV4_TTL;
    header[9] = protocol;
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    let sum = checksum::ipv4_header(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

pub(crate) const IPV4_HEADER_LEN: usize = 20;
pub(crate) const UDP_HEADER_LEN: usize = 8;
const IPV4_TTL: u8 = 64;
pub(crate) const UDP: u8 = 17;

/// Enough for minutes of a small world, and at most some hundred megabytes.
pub const FRAMES_MAX: usize = 200_000;
