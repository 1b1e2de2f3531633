//! Teredo addresses and IPv4 ranges.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use teredo_wire::address::{
    CLIENT_LINK_LOCAL, client_prefix, is_link_local, is_teredo, link_local_is_cone,
    server_link_local,
};
use teredo_wire::ipv4::{InvalidCidr, Ipv4Cidr, is_global_unicast, is_special_purpose};
use teredo_wire::ipv6::{self, Ipv6Cidr};
use teredo_wire::{Flags, TeredoAddress};

//= P-ADDR-01, P-ADDR-02: any address says what it was made of
#[test]
fn round_trip() {
    let mut random = Random::new(1);
    for _ in 0..10_000 {
        let bits = random.next();
        let address = TeredoAddress {
            server: (bits as u32).into(),
            flags: Flags((bits >> 32) as u16),
            mapped: std::net::SocketAddrV4::new((random.next() as u32).into(), (bits >> 48) as u16),
        };
        assert_eq!(TeredoAddress::parse(address.to_ipv6()), Some(address));
    }
}

//= P-ADDR-02: both parts are inverted on the wire
#[test]
fn mapped_endpoint_is_inverted() {
    let octets = teredo("1.2.3.4", 0, "192.0.2.10:3544").octets();
    assert_eq!(octets[4..8], [1, 2, 3, 4]);
    assert_eq!(octets[10..12], (3544 ^ 0xffff_u16).to_be_bytes());
    assert_eq!(octets[12..], [!192, !0, !2, !10]);
}

//= P-ADDR-03: the prefix is 2001:0000::/32, no more and no less
#[test]
fn service_prefix() {
    for address in ["2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "2001:0:1::1"] {
        assert!(is_teredo(ipv6(address)), "{address}");
    }
    for address in ["2001:1::", "2000:ffff::", "2001:db8::", "3ffe:831f::1", "fe80::1", "::"] {
        assert!(!is_teredo(ipv6(address)), "{address}");
        assert_eq!(TeredoAddress::parse(ipv6(address)), None);
    }
    assert_eq!(client_prefix(ipv4("203.0.113.120")), ipv6("2001:0:cb00:7178::"));
}

//= P-ADDR-08: whatever the flags, the address is read the same
#[test]
fn flags_do_not_matter() {
    let plain = TeredoAddress::parse(client_a()).unwrap();
    for flags in 0..=u16::MAX {
        let address = teredo("203.0.113.120", flags, "192.0.2.1:4096");
        let parsed = TeredoAddress::parse(address).unwrap();
        assert_eq!((parsed.server, parsed.mapped), (plain.server, plain.mapped));
        assert_eq!(parsed.flags, Flags(flags));
    }
}

#[test]
fn own_flags_are_the_random_ones() {
    for random in 0..=u16::MAX {
        let Flags(flags) = Flags::from_random(random);
        assert_eq!(flags, random & 0b0011_1100_1111_1111);
        assert!(!Flags(flags).is_cone());
    }
}

#[test]
fn cone_bit_of_link_local_addresses() {
    assert!(!link_local_is_cone(CLIENT_LINK_LOCAL));
    assert!(link_local_is_cone(ipv6("fe80::8000:ffff:ffff:fffd")));
    assert!(link_local_is_cone(server_link_local(ipv4("192.0.2.1"))));
    assert!(is_link_local(ipv6("fe80::1")) && is_link_local(ipv6("febf::1")));
    assert!(!is_link_local(ipv6("fec0::1")) && !is_link_local(ipv6("ff02::1")));
}

/// First and last address of each range RFC 4380 section 5.2.4 refuses, and their neighbours.
#[test]
fn global_unicast_test() {
    let refused = [
        ("0.0.0.0", "0.255.255.255"),
        ("10.0.0.0", "10.255.255.255"),
        ("127.0.0.0", "127.255.255.255"),
        ("169.254.0.0", "169.254.255.255"),
        ("172.16.0.0", "172.31.255.255"),
        ("192.88.99.0", "192.88.99.255"),
        ("192.168.0.0", "192.168.255.255"),
        ("224.0.0.0", "239.255.255.255"),
        ("255.255.255.255", "255.255.255.255"),
    ];
    for (first, last) in refused {
        let (first, last) = (ipv4(first).to_bits(), ipv4(last).to_bits());
        assert!(!is_global_unicast(first.into()) && !is_global_unicast(last.into()));
        if let Some(before) =
            first.checked_sub(1).filter(|it| *it != ipv4("239.255.255.255").into())
        {
            assert!(is_global_unicast(before.into()), "before {first:x}");
        }
        if let Some(after) = last.checked_add(1) {
            assert!(is_global_unicast(after.into()), "after {last:x}");
        }
    }
    let special = "100.64.0.0 100.127.255.255 192.0.0.255 192.0.2.1 198.18.0.1 198.19.255.255 \
                   198.51.100.1 203.0.113.1 240.0.0.0 255.255.255.254";
    for address in special.split_whitespace() {
        assert!(is_special_purpose(ipv4(address)), "{address}");
        assert!(is_global_unicast(ipv4(address)), "{address} is in the second list only");
    }
    let ordinary =
        "100.63.255.255 100.128.0.0 192.0.1.0 192.0.3.0 198.17.255.255 198.20.0.0 1.1.1.1";
    for address in ordinary.split_whitespace() {
        assert!(
            !is_special_purpose(ipv4(address)) && is_global_unicast(ipv4(address)),
            "{address}"
        );
    }
}

#[test]
fn ranges() {
    let range: Ipv4Cidr = "203.0.113.77/24".parse().unwrap();
    assert_eq!(range.to_string(), "203.0.113.0/24");
    assert_eq!((range.network(), range.broadcast()), (ipv4("203.0.113.0"), ipv4("203.0.113.255")));
    assert!(range.contains(ipv4("203.0.113.255")) && !range.contains(ipv4("203.0.114.0")));
    assert_eq!("10.1.2.3".parse::<Ipv4Cidr>().unwrap().prefix_len(), 32);
    let everything: Ipv4Cidr = "1.2.3.4/0".parse().unwrap();
    assert!(everything.contains(ipv4("0.0.0.0")) && everything.contains(ipv4("255.255.255.255")));
    assert_eq!(everything.broadcast(), ipv4("255.255.255.255"));
    for text in ["", "/", "1.2.3.4/", "1.2.3.4/33", "1.2.3/8", "1.2.3.4/-1", "1.2.3.4/+8", "::/0"] {
        assert_eq!(text.parse::<Ipv4Cidr>(), Err(InvalidCidr), "{text}");
    }
}

#[test]
fn ipv6_ranges_contain_what_begins_like_them() {
    let contains = |range: &str, address: &str| {
        range.parse::<Ipv6Cidr>().unwrap().contains(address.parse().unwrap())
    };
    let site = "2001:db8:6::/48";
    assert!(contains(site, "2001:db8:6::") && contains(site, "2001:db8:6:ffff::1"));
    assert!(!contains(site, "2001:db8:5:ffff::1") && !contains(site, "2001:db8:7::"));
    assert!(contains("::/0", "2001:db8::1"));
    assert!(contains("2001:db8::1", "2001:db8::1") && !contains("2001:db8::1", "2001:db8::2"));
    assert_eq!("2001:db8:6::7/48".parse::<Ipv6Cidr>().unwrap().to_string(), site);
    for text in ["", "/", "::/129", "192.0.2.0/24", "::/x", "::/-1", "::/+1", "::/", "/64"] {
        assert_eq!(text.parse::<Ipv6Cidr>(), Err(ipv6::InvalidCidr), "{text}");
    }
}
