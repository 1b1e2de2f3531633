//! The IPv6 header (RFC 8200 section 3) and bubbles (RFC 4380 section 2.8).

use core::fmt;
use core::net::Ipv6Addr;
use core::str::FromStr;

use crate::datagram::Malformed;
use crate::writer::{NoSpace, Writer};

/// Length of the fixed IPv6 header in bytes.
pub const HEADER_LEN: usize = 40;

/// Next header values that matter to Teredo.
pub mod next_header {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// Routing header.
    pub const ROUTING: u8 = 43;
    /// Fragment header.
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// Nothing follows: a bubble has this.
    pub const NONE: u8 = 59;
    /// Destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// A view of one IPv6 packet: 40 + Payload Length bytes, checked to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6<'a> {
    header: &'a [u8; HEADER_LEN],
    bytes: &'a [u8],
}

impl<'a> Ipv6<'a> {
    /// Reads the packet at the front of `bytes` and returns what follows it.
    ///
    /// # Errors
    /// [`Malformed`] when the version is not 6 or the bytes are too few.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let first = *bytes.first().ok_or(Malformed::Empty)?;
        if first >> 4 != 6 {
            return Err(Malformed::NotIpv6);
        }
        let header = bytes.first_chunk().ok_or(Malformed::TruncatedIpv6Header)?;
        let payload_len = usize::from(u16::from_be_bytes([header[4], header[5]]));
        let (packet, rest) = bytes
            .split_at_checked(HEADER_LEN + payload_len)
            .ok_or(Malformed::TruncatedIpv6Payload)?;
        Ok((Self { header, bytes: packet }, rest))
    }

    /// Reads a packet as ICMPv6 errors quote it: the end may be missing, and then is missing from
    /// [`bytes`](Self::bytes) as well.
    ///
    /// # Errors
    /// [`Malformed`] when the version is not 6 or the header is not whole.
    pub fn parse_quoted(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match Self::parse(bytes) {
            Err(Malformed::TruncatedIpv6Payload) => {
                let header = bytes.first_chunk().ok_or(Malformed::TruncatedIpv6Header)?;
                Ok(Self { header, bytes })
            }
            parsed => parsed.map(|(packet, _)| packet),
        }
    }

    /// The whole packet.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the header.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }

    /// The source address.
    pub fn source(&self) -> Ipv6Addr {
        self.address_at(8)
    }

    /// The destination address.
    pub fn destination(&self) -> Ipv6Addr {
        self.address_at(24)
    }

    /// The next header field.
    pub fn next_header(&self) -> u8 {
        self.header[6]
    }

    /// The hop limit.
    pub fn hop_limit(&self) -> u8 {
        self.header[7]
    }

    /// The traffic class, with the two ECN bits lowest.
    pub fn traffic_class(&self) -> u8 {
        self.header[0] << 4 | self.header[1] >> 4
    }

    /// Whether this is a bubble: no payload and next header 59. The hop limit does not matter.
    pub fn is_bubble(&self) -> bool {
        self.next_header() == next_header::NONE && self.bytes.len() == HEADER_LEN
    }

    fn address_at(&self, offset: usize) -> Ipv6Addr {
        let mut octets = [0; 16];
        octets.copy_from_slice(&self.header[offset..offset + 16]);
        Ipv6Addr::from(octets)
    }
}

/// The fields of an IPv6 header to send; version 6, traffic class and flow label are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes that follow the header.
    pub payload_len: u16,
    /// What follows the header.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
}

impl Header {
    /// The header of a bubble. The RFCs leave its hop limit open; receivers take any (E-23).
    pub fn bubble(source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self { payload_len: 0, next_header: next_header::NONE, hop_limit: 255, source, destination }
    }

    /// Appends the header.
    ///
    /// # Errors
    /// [`NoSpace`] when fewer than 40 bytes are left.
    pub fn write(&self, writer: &mut Writer<'_>) -> Result<(), NoSpace> {
        writer.put_u32(6 << 28)?;
        writer.put_u16(self.payload_len)?;
        writer.put(&[self.next_header, self.hop_limit])?;
        writer.put_ipv6(self.source)?;
        writer.put_ipv6(self.destination)
    }
}

/// A range of IPv6 addresses, `address/len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ipv6Cidr {
    network: u128,
    len: u8,
}

impl Ipv6Cidr {
    /// The range that `address` and its first `len` bits name; `None` when `len` is over 128.
    pub const fn new(address: Ipv6Addr, len: u8) -> Option<Self> {
        if len > 128 {
            return None;
        }
        Some(Self { network: address.to_bits() & mask(len), len })
    }

    /// Whether `address` lies in the range.
    pub const fn contains(self, address: Ipv6Addr) -> bool {
        address.to_bits() & mask(self.len) == self.network
    }
}

impl fmt::Display for Ipv6Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv6Addr::from_bits(self.network), self.len)
    }
}

impl FromStr for Ipv6Cidr {
    type Err = InvalidCidr;

    /// Reads `address/len`, or a single address.
    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let (address, len) = match text.split_once('/') {
            // `parse` would take a sign.
            Some((_, len)) if len.starts_with('+') => return Err(InvalidCidr),
            Some((address, len)) => (address, len.parse().map_err(|_| InvalidCidr)?),
            None => (text, 128),
        };
        let address = address.parse().map_err(|_| InvalidCidr)?;
        Self::new(address, len).ok_or(InvalidCidr)
    }
}

/// The text is not an IPv6 address, or not one with `/0..128` behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCidr;

impl fmt::Display for InvalidCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected an IPv6 range such as 2001:db8:6::/48")
    }
}

impl core::error::Error for InvalidCidr {}

const fn mask(len: u8) -> u128 {
    if len == 0 { 0 } else { u128::MAX << (128 - len as u32) }
}
