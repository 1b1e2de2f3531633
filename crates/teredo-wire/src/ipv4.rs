//! Which IPv4 addresses a Teredo datagram may go to (RFC 4380 section 5.2.4).

use core::fmt;
use core::net::Ipv4Addr;
use core::str::FromStr;

/// A range of IPv4 addresses, `address/len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ipv4Cidr {
    network: u32,
    len: u8,
}

impl Ipv4Cidr {
    /// The range that `address` and its first `len` bits name; `None` when `len` is over 32.
    pub const fn new(address: Ipv4Addr, len: u8) -> Option<Self> {
        if len > 32 {
            return None;
        }
        Some(Self { network: address.to_bits() & mask(len), len })
    }

    /// Whether `address` lies in the range.
    pub const fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.len) == self.network
    }

    /// The lowest address of the range.
    pub const fn network(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network)
    }

    /// The highest address of the range: its directed broadcast when it is a subnet.
    pub const fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network | !mask(self.len))
    }

    /// Number of fixed bits, 0 to 32.
    pub const fn prefix_len(self) -> u8 {
        self.len
    }
}

impl fmt::Display for Ipv4Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.len)
    }
}

impl FromStr for Ipv4Cidr {
    type Err = InvalidCidr;

    /// Reads `a.b.c.d/len`, or a single address.
    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let (address, len) = match text.split_once('/') {
            // `parse` would take a sign.
            Some((_, len)) if len.starts_with('+') => return Err(InvalidCidr),
            Some((address, len)) => (address, len.parse().map_err(|_| InvalidCidr)?),
            None => (text, 32),
        };
        let address = address.parse().map_err(|_| InvalidCidr)?;
        Self::new(address, len).ok_or(InvalidCidr)
    }
}

/// The text is not `a.b.c.d` or `a.b.c.d/0..32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCidr;

impl fmt::Display for InvalidCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected an IPv4 range such as 203.0.113.0/24")
    }
}

impl core::error::Error for InvalidCidr {}

/// Whether `address` passes the global unicast test of RFC 4380 section 5.2.4, but for directed
/// broadcasts of attached subnets, which only the host knows.
pub fn is_global_unicast(address: Ipv4Addr) -> bool {
    !NOT_GLOBAL.iter().any(|range| range.contains(address))
}

/// Whether `address` lies in a special-purpose range that RFC 4380 does not list but that no
/// Teredo node on the Internet has (RFC 6890): shared address space, documentation, benchmarking,
/// protocol assignments, reserved.
pub fn is_special_purpose(address: Ipv4Addr) -> bool {
    SPECIAL_PURPOSE.iter().any(|range| range.contains(address))
}

const fn mask(len: u8) -> u32 {
    if len == 0 { 0 } else { u32::MAX << (32 - len as u32) }
}

const fn range(a: u8, b: u8, c: u8, len: u8) -> Ipv4Cidr {
    let network = Ipv4Addr::new(a, b, c, 0).to_bits() & mask(len);
    Ipv4Cidr { network, len }
}

/// The ranges RFC 4380 section 5.2.4 refuses.
const NOT_GLOBAL: [Ipv4Cidr; 9] = [
    range(0, 0, 0, 8),
    range(10, 0, 0, 8),
    range(127, 0, 0, 8),
    range(169, 254, 0, 16),
    range(172, 16, 0, 12),
    range(192, 88, 99, 24),
    range(192, 168, 0, 16),
    range(224, 0, 0, 4),
    Ipv4Cidr { network: u32::MAX, len: 32 },
];

const SPECIAL_PURPOSE: [Ipv4Cidr; 7] = [
    range(100, 64, 0, 10),
    range(192, 0, 0, 24),
    range(192, 0, 2, 24),
    range(198, 18, 0, 15),
    range(198, 51, 100, 24),
    range(203, 0, 113, 24),
    range(240, 0, 0, 4),
];
