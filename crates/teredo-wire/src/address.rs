//! Teredo IPv6 addresses (RFC 4380 section 4, flags as changed by RFC 5991 section 3).

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use crate::TEREDO_PORT;

/// What a Teredo IPv6 address says: who serves the client and where it is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TeredoAddress {
    /// The primary IPv4 address of the client's server.
    pub server: Ipv4Addr,
    /// The flags field.
    pub flags: Flags,
    /// The mapped IPv4 address and UDP port of the client, in clear.
    pub mapped: SocketAddrV4,
}

impl TeredoAddress {
    /// Reads an address of the service prefix 2001:0000::/32; `None` for any other.
    pub fn parse(address: Ipv6Addr) -> Option<Self> {
        is_teredo(address).then(|| Self::from_octets(address.octets()))
    }

    /// The IPv6 address.
    pub fn to_ipv6(self) -> Ipv6Addr {
        let [s0, s1, s2, s3] = self.server.octets();
        let prefix = [SERVICE_PREFIX, [s0, s1, s2, s3]];
        let mut octets = [0; 16];
        octets[..8].copy_from_slice(prefix.as_flattened());
        octets[8..].copy_from_slice(&interface_identifier(self.flags, self.mapped));
        Ipv6Addr::from(octets)
    }

    fn from_octets(octets: [u8; 16]) -> Self {
        let [_, _, _, _, s0, s1, s2, s3, f0, f1, p0, p1, c0, c1, c2, c3] = octets;
        Self {
            server: Ipv4Addr::new(s0, s1, s2, s3),
            flags: Flags(u16::from_be_bytes([f0, f1])),
            mapped: SocketAddrV4::new(
                Ipv4Addr::new(!c0, !c1, !c2, !c3),
                !u16::from_be_bytes([p0, p1]),
            ),
        }
    }
}

/// The flags field of a Teredo address: `CzAAAAUG AAAAAAAA`, A random (RFC 5991 section 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flags(pub u16);

impl Flags {
    /// The cone bit. Clients send 0 and ignore it in peers (RFC 5991 section 3.2).
    pub const CONE: Self = Self(0x8000);
    /// The twelve random bits.
    pub const RANDOM_MASK: u16 = 0x3CFF;

    /// Flags of a client's own address: cone, z, U and G bits 0, the rest out of `random`.
    pub fn from_random(random: u16) -> Self {
        Self(random & Self::RANDOM_MASK)
    }

    /// Whether the cone bit is set.
    pub fn is_cone(self) -> bool {
        self.0 & Self::CONE.0 != 0
    }
}

/// The link-local source of a client's Router Solicitations: cone bit 0, nothing embedded.
pub const CLIENT_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xffff, 0xffff, 0xffff);

/// The all-routers group to which Router Solicitations go.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// The all-nodes group to which discovery bubbles go.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Whether `address` lies in the service prefix 2001:0000::/32.
pub fn is_teredo(address: Ipv6Addr) -> bool {
    address.octets()[..4] == SERVICE_PREFIX
}

/// Whether `address` lies in fe80::/10.
pub fn is_link_local(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local()
}

/// The link-local address of the server whose primary IPv4 address is `primary`; the same also
/// when it sends from its secondary address.
pub fn server_link_local(primary: Ipv4Addr) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets[..2].copy_from_slice(&[0xfe, 0x80]);
    let endpoint = SocketAddrV4::new(primary, TEREDO_PORT);
    octets[8..].copy_from_slice(&interface_identifier(Flags::CONE, endpoint));
    Ipv6Addr::from(octets)
}

/// Whether a link-local Teredo identifier has the cone bit set.
pub fn link_local_is_cone(address: Ipv6Addr) -> bool {
    address.octets()[8] & 0x80 != 0
}

/// The /64 of the clients of one server.
pub fn client_prefix(server: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = server.octets();
    let mut octets = [0; 16];
    octets[..8].copy_from_slice([SERVICE_PREFIX, [a, b, c, d]].as_flattened());
    Ipv6Addr::from(octets)
}

fn interface_identifier(flags: Flags, mapped: SocketAddrV4) -> [u8; 8] {
    let [f0, f1] = flags.0.to_be_bytes();
    let [p0, p1] = (!mapped.port()).to_be_bytes();
    let [c0, c1, c2, c3] = mapped.ip().octets();
    [f0, f1, p0, p1, !c0, !c1, !c2, !c3]
}

const SERVICE_PREFIX: [u8; 4] = [0x20, 0x01, 0, 0];
