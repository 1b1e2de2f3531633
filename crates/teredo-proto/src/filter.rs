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
        is_global_unicast(address)
            && (!is_special_purpose(address) || allowed())
            && !self.is_broadcast(address)
    }

    /// Whether `address` is the directed broadcast of a subnet attached to this host.
    pub(crate) fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        let is_its = |subnet: &Ipv4Cidr| subnet.prefix_len() < 31 && subnet.broadcast() == address;
        self.subnets.iter().any(is_its)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// First and last address of each range RFC 4380 section 5.2.4 refuses.
    const NOT_GLOBAL: &str = "
        0.0.0.0 0.255.255.255         10.0.0.0 10.255.255.255       127.0.0.0 127.255.255.255
        169.254.0.0 169.254.255.255   172.16.0.0 172.31.255.255     192.88.99.0 192.88.99.255
        192.168.0.0 192.168.255.255   224.0.0.0 239.255.255.255     255.255.255.255";
    /// First and last address of each special-purpose range.
    const SPECIAL_PURPOSE: &str = "
        100.64.0.0 100.127.255.255    192.0.0.0 192.0.0.255         192.0.2.0 192.0.2.255
        198.18.0.0 198.19.255.255     198.51.100.0 198.51.100.255   203.0.113.0 203.0.113.255
        240.0.0.0 255.255.255.254";
    /// Their neighbours on either side, where those are in no other range.
    const GLOBAL: &str = "
        1.0.0.0                       9.255.255.255 11.0.0.0        126.255.255.255 128.0.0.0
        169.253.255.255 169.255.0.0   172.15.255.255 172.32.0.0     192.88.98.255 192.88.100.0
        192.167.255.255 192.169.0.0   223.255.255.255               100.63.255.255 100.128.0.0
        191.255.255.255 192.0.1.0     192.0.1.255 192.0.3.0         198.17.255.255 198.20.0.0
        198.51.99.255 198.51.101.0    203.0.112.255 203.0.114.0";

    fn addresses(text: &str) -> impl Iterator<Item = Ipv4Addr> + '_ {
        text.split_whitespace().map(|address| address.parse().unwrap())
    }

    fn allowing(ranges: &[&str]) -> Ipv4Filter {
        let allowed = ranges.iter().map(|range| range.parse().unwrap()).collect();
        Ipv4Filter { allowed, ..Default::default() }
    }

    //= SEC-01: every boundary address of both lists, from inside and from outside
    #[test]
    fn both_lists_begin_and_end_where_they_should() {
        let filter = Ipv4Filter::default();
        for address in addresses(NOT_GLOBAL).chain(addresses(SPECIAL_PURPOSE)) {
            assert!(!filter.permits(address) && !filter.is_global(address), "{address}");
        }
        for address in addresses(GLOBAL) {
            assert!(filter.permits(address) && filter.is_global(address), "{address}");
        }
    }

    //= SEC-02: the second list is lifted range by range, the first never
    #[test]
    fn allowed_ranges_lift_the_second_list_only() {
        let all = allowing(&["0.0.0.0/0"]);
        assert!(addresses(SPECIAL_PURPOSE).chain(addresses(GLOBAL)).all(|a| all.permits(a)));
        assert!(!addresses(NOT_GLOBAL).any(|address| all.permits(address)));

        let lab = allowing(&["203.0.113.0/25"]);
        let permitted: Vec<_> =
            addresses(SPECIAL_PURPOSE).filter(|&address| lab.permits(address)).collect();
        assert_eq!(permitted, [Ipv4Addr::new(203, 0, 113, 0)]);
    }

    //= SEC-01: own addresses and directed broadcasts are refused, allowed ranges or not
    #[test]
    fn own_addresses_and_broadcasts_are_refused() {
        let mut filter = allowing(&["0.0.0.0/0"]);
        filter.own = vec![Ipv4Addr::new(203, 0, 113, 10)];
        filter.subnets = vec!["203.0.113.0/25".parse().unwrap(), "9.9.9.8/31".parse().unwrap()];
        let own = Ipv4Addr::new(203, 0, 113, 10);
        assert!(filter.is_global(own) && !filter.permits(own));
        let broadcast = Ipv4Addr::new(203, 0, 113, 127);
        assert!(!filter.is_global(broadcast) && !filter.permits(broadcast));
        // A neighbour, the broadcast of no subnet here, and half of a point-to-point link.
        assert!(addresses("203.0.113.11 203.0.113.255 9.9.9.9").all(|a| filter.permits(a)));
    }
}
