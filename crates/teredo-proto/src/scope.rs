//! Which IPv6 addresses packets may leave a tunnel for (RFC 4380 sections 5.3.1 and 5.4.2).

use core::net::{Ipv4Addr, Ipv6Addr};

use teredo_wire::TeredoAddress;

/// Whether `address` is global in scope: a node anywhere on the IPv6 Internet may have it.
pub(crate) fn is_global(address: Ipv6Addr) -> bool {
    let site_local = address.segments()[0] & 0xffc0 == 0xfec0;
    // ::/32 holds the unspecified and the loopback address and IPv4 addresses in disguise.
    let disguised = address.segments()[..2] == [0, 0];
    !(disguised
        || site_local
        || address.is_multicast()
        || address.is_unicast_link_local()
        || address.is_unique_local())
}

/// Whether no node has `address` as its own: unspecified, loopback, multicast.
pub(crate) fn is_impossible_source(address: Ipv6Addr) -> bool {
    address.is_unspecified() || address.is_loopback() || address.is_multicast()
}

/// The IPv4 address to which a tunnel mechanism would send packets for `address`: 6to4 (RFC 3056),
/// ISATAP (RFC 5214) or Teredo. A packet that another tunnel sends straight back is a loop
/// (RFC 6324).
pub(crate) fn tunnel_endpoint(address: Ipv6Addr) -> Option<Ipv4Addr> {
    if let Some(teredo) = TeredoAddress::parse(address) {
        return Some(*teredo.mapped.ip());
    }
    match address.octets() {
        [0x20, 0x02, a, b, c, d, ..] => Some(Ipv4Addr::new(a, b, c, d)),
        // The identifier is 0:5efe:IPv4, or 200:5efe:IPv4 for a globally unique address.
        [.., 0 | 2, 0, 0x5e, 0xfe, a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn global_scope_begins_and_ends_where_it_should() {
        let global = "2000:: 2001:db8::1 3fff:ffff:: 64:ff9b::c000:201 fbff:ffff:: fe00:: fe7f::1";
        let others = ":: ::1 ::192.0.2.1 ::ffff:192.0.2.1 fc00:: fdff:ffff::1 fe80::1 febf:ffff::1 \
                      fec0::1 feff:ffff::1 ff00:: ff02::1 ff0e::1";
        for address in global.split_whitespace() {
            assert!(is_global(parse(address)), "{address}");
        }
        for address in others.split_whitespace() {
            assert!(!is_global(parse(address)), "{address}");
        }
    }

    #[test]
    fn finds_the_endpoint_in_all_three_forms() {
        let endpoint = Some(Ipv4Addr::new(203, 0, 113, 20));
        for address in [
            "2002:cb00:7114::1",
            "2001:db8::5efe:cb00:7114",
            "2001:db8::200:5efe:cb00:7114",
            "2001:0:cb00:710a:0:efff:34ff:8eeb",
        ] {
            assert_eq!(tunnel_endpoint(parse(address)), endpoint, "{address}");
        }
        assert_eq!(tunnel_endpoint(parse("2001:db8::cb00:7114")), None);
    }
}
