//! What a packet is to the guard.

use teredo_wire::icmpv6;
use teredo_wire::ipv6::next_header;

use crate::guard::tcp::{Flags, Segment};
use crate::inspect::{Upper, is_error};
use crate::policy::Asked;

/// The upper layer of a packet, or of its first fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// A TCP segment.
    Tcp { ports: Ports, segment: Segment },
    /// A UDP datagram.
    Udp(Ports),
    /// An ICMPv6 echo request with this identifier.
    EchoRequest(u16),
    /// An ICMPv6 echo reply with this identifier.
    EchoReply(u16),
    /// An ICMPv6 error, with what it quotes of the packet that it is about.
    Error { kind: u8, quoted: &'a [u8] },
    /// A protocol that has no ports, or of which we do not know them.
    Other,
    /// Nothing that can be told: cut short, or ICMPv6 that is no part of any conversation.
    Unknown,
}

/// The ports of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) source: u16,
    pub(super) destination: u16,
}

impl<'a> Content<'a> {
    /// Reads the upper layer of a packet that is no later fragment.
    pub(super) fn read(upper: &Upper<'a>) -> Self {
        match (upper.protocol, upper.bytes) {
            (next_header::TCP, bytes) => match Ports::read(bytes).zip(read_segment(bytes)) {
                Some((ports, segment)) => Self::Tcp { ports, segment },
                None => Self::Unknown,
            },
            (next_header::UDP, bytes) => Ports::read(bytes).map_or(Self::Unknown, Self::Udp),
            (next_header::ICMPV6, bytes) => Self::read_icmpv6(bytes),
            (next_header::NONE, _) => Self::Unknown,
            _ => Self::Other,
        }
    }

    /// The same of a packet that an ICMPv6 error quotes: TCP is cut short before its flags.
    pub(super) fn read_quoted(upper: &Upper<'a>) -> Self {
        let content = Self::read(upper);
        if content != Self::Unknown || upper.protocol != next_header::TCP {
            return content;
        }
        let of = |ports| Self::Tcp { ports, segment: Segment::default() };
        Ports::read(upper.bytes).map_or(Self::Unknown, of)
    }

    fn read_icmpv6(bytes: &'a [u8]) -> Self {
        let &[kind, code, _, _, i0, i1, ..] = bytes else { return Self::Unknown };
        let identifier = u16::from_be_bytes([i0, i1]);
        match (kind, code) {
            (icmpv6::ECHO_REQUEST, 0) => Self::EchoRequest(identifier),
            (icmpv6::ECHO_REPLY, 0) => Self::EchoReply(identifier),
            (kind, _) if is_error(kind) => {
                Self::Error { kind, quoted: bytes.get(8..).unwrap_or_default() }
            }
            _ => Self::Unknown,
        }
    }

    /// The segment, if this is TCP.
    pub(super) fn segment(&self) -> Option<Segment> {
        if let Self::Tcp { segment, .. } = self { Some(*segment) } else { None }
    }

    /// What the packet asks of its destination.
    pub(super) fn asks(&self, protocol: u8) -> Asked {
        let port = self.ports().map(|ports| ports.destination);
        Asked { protocol, port, is_echo: matches!(self, Self::EchoRequest(_)) }
    }

    /// What the packet that this one answers, or the next one from there, asks of us.
    pub(super) fn answer_asks(&self, protocol: u8) -> Asked {
        let port = self.ports().map(|ports| ports.source);
        Asked { protocol, port, is_echo: matches!(self, Self::EchoReply(_)) }
    }

    fn ports(&self) -> Option<Ports> {
        if let Self::Tcp { ports, .. } | Self::Udp(ports) = self { Some(*ports) } else { None }
    }
}

impl Ports {
    fn read(bytes: &[u8]) -> Option<Self> {
        let &[s0, s1, d0, d1] = bytes.first_chunk()?;
        let [source, destination] = [[s0, s1], [d0, d1]].map(u16::from_be_bytes);
        Some(Self { source, destination })
    }
}

fn read_segment(bytes: &[u8]) -> Option<Segment> {
    let &[_, _, _, _, s0, s1, s2, s3, a0, a1, a2, a3, _, flags] = bytes.first_chunk()?;
    let [sequence, acknowledgment] = [[s0, s1, s2, s3], [a0, a1, a2, a3]].map(u32::from_be_bytes);
    Some(Segment { sequence, acknowledgment, flags: Flags::new(flags) })
}
