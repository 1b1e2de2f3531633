//! Which IPv4 addresses a role may send to or believe (RFC 4380 section 5.2.4).

use core::net::{Ipv4Addr, SocketAddrV4};

use teredo_wire::ipv4::{Ipv4Cidr, is_global_unicast, is_special_purpose};

use crate::reason::DropReason;

/// The global unicast test with what only this host knows.
#[derive(Clone, Debug, Default)]
pub struct Ipv4Filter {
    /// Special-purpose ranges (not those RFC 4380 itself refuses) that count as global here:
    /// private networks, labs, tests.
    pub allowed: Vec<Ipv4Cidr>,
    /// This host's own IPv4 addresses.
    pub own: Vec<Ipv4Addr>,
    /// The subnets attached to this host, whose directed broadcasts are refused.
    pub subnets: Vec<Ipv4Cidr>,
}

impl Ipv4Filter {
    /// Whether `address` may be sent to.
    pub fn permits(&self, address: Ipv4Addr) -> bool {
        self.is_global(address) && !self.own.contains(&address)
    }

    /// Whether `address` counts as global unicast, own or not: a mapped address may be an own one
    /// when there is no NAT.
    pub fn is_global(&self, address: Ipv4Addr) -> bool {
        let allowed = || self.allowed.iter().any(|range| range.contains(address));
        let broadcast =
            |subnet: &Ipv4Cidr| subnet.prefix_len() < 31 && subnet.broadcast() == address;
        is_global_unicast(address)
            && (!is_special_purpose(address) || allowed())
            && !self.subnets.iter().any(broadcast)
    }

    /// Checks the endpoint embedded in a Teredo address to which a server or relay would send.
    pub(crate) fn check_embedded(
        &self,
        endpoint: SocketAddrV4,
        denied_ports: &[u16],
    ) -> Result<(), DropReason> {
        if !self.is_global(*endpoint.ip()) {
            return Err(DropReason::ForbiddenIpv4);
        }
        if self.own.contains(endpoint.ip()) {
            return Err(DropReason::Loop);
        }
        if endpoint.port() == 0 || denied_ports.contains(&endpoint.port()) {
            return Err(DropReason::DeniedPort);
        }
        Ok(())
    }
}

/// The ports that servers and relays refuse by default as embedded ones: services that answer
/// anything they are sent (echo, character generator) or are known as amplifiers (DNS, NTP, SSDP).
/// No NAT is likely to map a client to one of them.
pub const DENIED_PORTS: [u16; 5] = [7, 19, 53, 123, 1900];
