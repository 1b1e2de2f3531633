//! What NATs and links tell the sender of a datagram that goes no further (RFC 792).

use core::fmt;
use core::net::{Ipv4Addr, SocketAddrV4};

use teredo_wire::checksum;

use crate::trace::{IPV4_HEADER_LEN, UDP, UDP_HEADER_LEN, write_ipv4_header};

/// An ICMP error about a UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// What is wrong.
    pub problem: Problem,
    /// Who says so.
    pub reporter: Ipv4Addr,
    /// The source of the datagram, which the error goes to.
    pub from: SocketAddrV4,
    /// The destination of the datagram.
    pub to: SocketAddrV4,
    /// How many bytes the datagram carried.
    pub payload_len: u16,
}

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Nobody may come in there, or nobody is there.
    PortUnreachable,
    /// The datagram is longer than this many bytes with its headers.
    TooLong(u16),
}

impl IcmpError {
    /// The packet from its IPv4 header on.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let message_len = ICMP_HEADER_LEN + IPV4_HEADER_LEN + UDP_HEADER_LEN;
        let mut packet = vec![0; IPV4_HEADER_LEN + message_len];
        let (header, message) = packet.split_at_mut(IPV4_HEADER_LEN);
        write_ipv4_header(header, ICMP, [self.reporter, *self.from.ip()], message_len as u16);
        let (code, mtu) = match self.problem {
            Problem::PortUnreachable => (PORT_UNREACHABLE, 0),
            Problem::TooLong(mtu) => (FRAGMENTATION_NEEDED, mtu),
        };
        message[..2].copy_from_slice(&[DESTINATION_UNREACHABLE, code]);
        message[6..8].copy_from_slice(&mtu.to_be_bytes());
        let quote = &mut message[ICMP_HEADER_LEN..];
        let (header, udp) = quote.split_at_mut(IPV4_HEADER_LEN);
        let udp_len = UDP_HEADER_LEN as u16 + self.payload_len;
        write_ipv4_header(header, UDP, [*self.from.ip(), *self.to.ip()], udp_len);
        udp[..2].copy_from_slice(&self.from.port().to_be_bytes());
        udp[2..4].copy_from_slice(&self.to.port().to_be_bytes());
        udp[4..6].copy_from_slice(&udp_len.to_be_bytes());
        let sum = checksum::ipv4_header(message); // the same sum, over another header
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        packet
    }
}

impl fmt::Display for IcmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}: ICMP ", self.reporter, self.from.ip())?;
        match self.problem {
            Problem::PortUnreachable => f.write_str("port unreachable")?,
            Problem::TooLong(mtu) => write!(f, "fragmentation needed, MTU {mtu}")?,
        }
        write!(f, ", of {} > {}", self.from, self.to)
    }
}

const ICMP: u8 = 1;
const ICMP_HEADER_LEN: usize = 8;
const DESTINATION_UNREACHABLE: u8 = 3;
const PORT_UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;
