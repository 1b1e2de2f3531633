//! TUN devices, their addresses and routes, and what the kernel then does with packets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsFd;

use common::{DEADLINE, in_namespace, packet, wait_for};
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use teredo_sys::netlink::{
    AddressScope, Family, InstalledRoute, InterfaceAddress, Lifetime, Monitor, Netlink,
    ROUTE_PROTOCOL, Route,
};
use teredo_sys::raw::{PingSocket, RawIpv6};
use teredo_sys::tun::Tun;
use teredo_sys::udp;

const OURS: Ipv6Addr = Ipv6Addr::new(0x2001, 0, 0xcb00, 0x710a, 0, 0, 0, 1);
const FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 6, 0, 0, 0, 0, 2);

fn ipv6(index: u32, lifetime: Lifetime) -> InterfaceAddress {
    InterfaceAddress { index, address: OURS.into(), prefix_len: 32, lifetime }
}

/// A device as the client has it: our address, and a default route without a router.
fn tunnel(netlink: &mut Netlink) -> (Tun, Route) {
    let tun = Tun::create("teredo").unwrap();
    netlink.disable_link_local(tun.index()).unwrap();
    netlink.set_link_mtu(tun.index(), 1280).unwrap();
    netlink.set_link_up(tun.index()).unwrap();
    netlink.add_address(&ipv6(tun.index(), Lifetime::FOREVER)).unwrap();
    let route = Route::on_link(Ipv6Addr::UNSPECIFIED.into(), 0, tun.index());
    netlink.add_route(&route).unwrap();
    (tun, route)
}

/// A UDP packet from `FAR` to `OURS`, with a correct checksum.
fn incoming_udp(port: u16, payload: [u8; 2]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 10, 17, 64];
    packet.extend(FAR.octets());
    packet.extend(OURS.octets());
    let [port_high, port_low] = port.to_be_bytes();
    packet.extend([0x12, 0x34, port_high, port_low, 0, 10, 0, 0]);
    packet.extend(payload);
    let words = packet[8..].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    // The pseudo-header adds length and protocol.
    let sum = words.sum::<u32>() + 10 + 17;
    let sum = (sum >> 16) + (sum & 0xffff);
    let checksum = !((sum >> 16) as u16).wrapping_add(sum as u16);
    packet[46..48].copy_from_slice(&checksum.to_be_bytes());
    packet
}

#[test]
fn packets_pass_both_ways_without_a_header_before_them() {
    in_namespace("packets_pass_both_ways_without_a_header_before_them", |_| {
        let (tun, _) = tunnel(&mut Netlink::open().unwrap());
        // Usable at once: without NODAD, binding would fail while the address is tentative.
        let socket = UdpSocket::bind((OURS, 0)).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.send_to(b"out", (FAR, 0x1234)).unwrap();
        let out = packet(&tun);
        assert_eq!(out[0] >> 4, 6);
        assert_eq!((&out[8..24], &out[24..40]), (&OURS.octets()[..], &FAR.octets()[..]));
        assert_eq!(out[48..], *b"out");

        let port = socket.local_addr().unwrap().port();
        tun.send(&incoming_udp(port, *b"in")).unwrap();
        let mut buf = [0; 16];
        let (len, from) = socket.recv_from(&mut buf).unwrap();
        assert_eq!((&buf[..len], from), (&b"in"[..], (FAR, 0x1234).into()));
        // Nothing else, such as a router solicitation from an address of the kernel's choice.
        let error = tun.recv(&mut [0; 1280]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    });
}

#[test]
fn a_device_takes_whole_packets_only() {
    in_namespace("a_device_takes_whole_packets_only", |_| {
        let tun = Tun::create("teredo").unwrap();
        assert!(tun.send(&incoming_udp(1, *b"in")).is_err(), "the interface is down");
        Netlink::open().unwrap().set_link_up(tun.index()).unwrap();
        for junk in [&b""[..], &[0x50; 40]] {
            assert_eq!(tun.send(junk).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn a_name_is_checked_filled_in_and_never_shared() {
    in_namespace("a_name_is_checked_filled_in_and_never_shared", |_| {
        for name in ["", "0123456789abcdef", "a/b", "a b", "a:b"] {
            let error = Tun::create(name).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        }
        let first = Tun::create("tun%d").unwrap();
        assert_eq!(first.name(), "tun0");
        let netlink = Netlink::open().unwrap();
        assert_eq!(netlink.link_index("tun0").unwrap(), first.index());
        for name in ["tun0", "lo"] {
            let error = Tun::create(name).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ResourceBusy, "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    });
}

#[test]
fn a_device_disappears_with_its_descriptor() {
    in_namespace("a_device_disappears_with_its_descriptor", |_| {
        let mut netlink = Netlink::open().unwrap();
        let (tun, _) = tunnel(&mut netlink);
        drop(tun);
        let error = netlink.link_index("teredo").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(netlink.routes(Family::V6, |_| true).unwrap().is_empty());
    });
}

#[test]
fn children_inherit_nothing() {
    in_namespace("children_inherit_nothing", |namespace| {
        let closed_on_exec = |fd: &dyn Fn() -> FdFlags| fd().contains(FdFlags::CLOEXEC);
        let tun = Tun::create("teredo").unwrap();
        let socket = udp::UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let raw = RawIpv6::open().unwrap();
        let monitor = Monitor::open().unwrap();
        for fd in [tun.as_fd(), socket.as_fd(), raw.as_fd(), monitor.as_fd(), namespace.as_fd()] {
            assert!(closed_on_exec(&|| fcntl_getfd(fd).unwrap()));
        }
    });
}

#[test]
fn an_address_is_listed_renewed_and_deleted() {
    in_namespace("an_address_is_listed_renewed_and_deleted", |_| {
        let mut netlink = Netlink::open().unwrap();
        let (tun, _) = tunnel(&mut netlink);
        let ipv4 = InterfaceAddress {
            address: Ipv4Addr::new(192, 0, 2, 1).into(),
            prefix_len: 24,
            ..ipv6(tun.index(), Lifetime::FOREVER)
        };
        netlink.add_address(&ipv4).unwrap();
        let on_tunnel = |netlink: &mut Netlink| {
            let mut entries = netlink.addresses().unwrap();
            entries.retain(|entry| entry.index == tun.index());
            entries
        };
        let entries = on_tunnel(&mut netlink);
        let seen: Vec<_> = entries.iter().map(|entry| (entry.address, entry.prefix_len)).collect();
        assert_eq!(seen, [(ipv4.address, 24), (OURS.into(), 32)]);
        for entry in entries {
            assert_eq!(entry.scope, AddressScope::Global);
            assert!(!entry.tentative && !entry.deprecated);
        }

        netlink.add_address(&ipv6(tun.index(), Lifetime { preferred_s: 0, valid_s: 60 })).unwrap();
        netlink.delete_address(tun.index(), ipv4.address, 24).unwrap();
        let entries = on_tunnel(&mut netlink);
        assert_eq!(entries.len(), 1);
        assert!(entries[0].deprecated);

        let error = netlink.delete_address(tun.index(), ipv4.address, 24).unwrap_err();
        assert!(error.to_string().contains("192.0.2.1"), "{error}");
    });
}

#[test]
fn an_address_may_come_before_the_interface_is_up() {
    in_namespace("an_address_may_come_before_the_interface_is_up", |_| {
        let mut netlink = Netlink::open().unwrap();
        let tun = Tun::create("teredo").unwrap();
        netlink.disable_link_local(tun.index()).unwrap();
        netlink.add_address(&ipv6(tun.index(), Lifetime::FOREVER)).unwrap();
        netlink.set_link_up(tun.index()).unwrap();
        UdpSocket::bind((OURS, 0)).unwrap();
    });
}

#[test]
fn a_packet_right_after_an_address_is_added_is_accepted() {
    in_namespace("a_packet_right_after_an_address_is_added_is_accepted", |_| {
        for _ in 0..20 {
            let (tun, _) = tunnel(&mut Netlink::open().unwrap());
            let socket = UdpSocket::bind((OURS, 0)).unwrap();
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            let port = socket.local_addr().unwrap().port();
            tun.send(&incoming_udp(port, *b"in")).unwrap();
            assert_eq!(socket.recv_from(&mut [0; 16]).unwrap().0, 2);
        }
    });
}

#[test]
fn routes_are_ours_to_recognise_replace_and_delete() {
    in_namespace("routes_are_ours_to_recognise_replace_and_delete", |_| {
        let mut netlink = Netlink::open().unwrap();
        let (tun, default) = tunnel(&mut netlink);
        let lists = |netlink: &mut Netlink, family| {
            netlink.routes(family, |found| found.protocol == ROUTE_PROTOCOL).unwrap()
        };
        let error = netlink.add_route(&default).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{error}");
        let found = lists(&mut netlink, Family::V6);
        let kernels_metric = Route { metric: 1024, ..default };
        assert_eq!(found, [InstalledRoute { route: kernels_metric, protocol: ROUTE_PROTOCOL }]);
        assert!(found[0].route.is_default());

        let gateway = IpAddr::from(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 9));
        let subnet = Route {
            destination: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0).into(),
            prefix_len: 32,
            gateway: Some(gateway),
            interface: Some(tun.index()),
            metric: 77,
            source: Some(OURS.into()),
        };
        netlink.replace_route(&Route { source: None, ..subnet }).unwrap();
        netlink.replace_route(&subnet).unwrap();
        let found = lists(&mut netlink, Family::V6);
        assert!(found.iter().any(|found| found.route == subnet), "{found:?}");
        assert_eq!(found.len(), 2);
        for found in found {
            netlink.delete_route(&found.route).unwrap();
        }
        assert!(lists(&mut netlink, Family::V6).is_empty());
        assert!(netlink.delete_route(&subnet).is_err());
    });
}

#[test]
fn ipv4_routes_work_the_same() {
    in_namespace("ipv4_routes_work_the_same", |_| {
        let mut netlink = Netlink::open().unwrap();
        let (tun, _) = tunnel(&mut netlink);
        let on_link = Route::on_link(Ipv4Addr::new(198, 51, 100, 0).into(), 24, tun.index());
        let default = Route {
            gateway: Some(Ipv4Addr::new(198, 51, 100, 1).into()),
            metric: 5,
            ..Route::on_link(Ipv4Addr::UNSPECIFIED.into(), 0, tun.index())
        };
        for route in [&on_link, &default] {
            netlink.add_route(route).unwrap();
        }
        let found = netlink.routes(Family::V4, |_| true).unwrap();
        let found: Vec<_> = found.iter().map(|found| found.route).collect();
        assert_eq!(found, [default, on_link]);
        for route in [&default, &on_link] {
            netlink.delete_route(route).unwrap();
        }
        assert!(netlink.routes(Family::V4, |_| true).unwrap().is_empty());
    });
}

#[test]
fn the_monitor_tells_of_changes_by_anybody() {
    in_namespace("the_monitor_tells_of_changes_by_anybody", |_| {
        let mut netlink = Netlink::open().unwrap();
        let tun = Tun::create("teredo").unwrap();
        netlink.set_link_up(tun.index()).unwrap();
        let mut monitor = Monitor::open().unwrap();
        // The kernel may still be telling that the link has come up.
        std::thread::sleep(std::time::Duration::from_millis(50));
        monitor.drain().unwrap();
        assert!(!monitor.drain().unwrap());
        netlink.add_address(&ipv6(tun.index(), Lifetime::FOREVER)).unwrap();
        wait_for(&monitor);
        assert!(monitor.drain().unwrap());
        netlink.delete_link(tun.index()).unwrap();
        wait_for(&monitor);
        assert!(monitor.drain().unwrap());
    });
}

#[test]
fn errors_name_the_missing_capability() {
    in_namespace("errors_name_the_missing_capability", |_| {
        let mut netlink = Netlink::open().unwrap();
        let tun = Tun::create("teredo").unwrap();
        let mut sets = capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW);
        set_capabilities(None, sets).unwrap();
        let errors = [
            (Tun::create("other").map(drop), "CAP_NET_ADMIN"),
            (Netlink::open().unwrap().set_link_up(tun.index()), "CAP_NET_ADMIN"),
            (RawIpv6::open().map(drop), "CAP_NET_RAW"),
        ];
        for (result, capability) in errors {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert!(error.to_string().contains(capability), "{error}");
        }
        assert!(netlink.addresses().is_ok(), "reading needs no privilege");
    });
}

#[test]
fn a_raw_socket_sends_from_a_source_that_is_not_ours() {
    in_namespace("a_raw_socket_sends_from_a_source_that_is_not_ours", |_| {
        let (tun, _) = tunnel(&mut Netlink::open().unwrap());
        let raw = RawIpv6::open().unwrap();
        let mut sent = incoming_udp(7, *b"ok");
        sent[8..24].copy_from_slice(&Ipv6Addr::new(0x2001, 0, 1, 2, 3, 4, 5, 6).octets());
        sent[24..40].copy_from_slice(&FAR.octets());
        raw.send(&sent).unwrap();
        assert_eq!(packet(&tun), sent);
        let error = raw.send(&sent[..39]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    });
}

#[test]
fn a_ping_is_answered_or_times_out() {
    in_namespace("a_ping_is_answered_or_times_out", |_| {
        let ping = PingSocket::open().unwrap();
        ping.send(Ipv6Addr::LOCALHOST, 0x1234, 7, &[0; 100]).unwrap();
        let reply = ping.receive(DEADLINE).unwrap().unwrap();
        assert_eq!((reply.from, reply.id, reply.sequence), (Ipv6Addr::LOCALHOST, 0x1234, 7));
        assert_eq!(reply.payload_len, 100);
        let short = std::time::Duration::from_millis(5);
        assert_eq!(ping.receive(short).unwrap(), None);
    });
}
