//! Network namespaces: threads and children inside, settings of their own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::mpsc;
use std::{panic, thread};

use common::in_namespace;
use rustix::net::sockopt::set_socket_send_buffer_size_force;
use teredo_sys::netlink::{InterfaceAddress, Lifetime, Netlink};
use teredo_sys::ns::NetNamespace;
use teredo_sys::sysctl;
use teredo_sys::tun::Tun;
use teredo_sys::udp::{SendBatch, UdpSocket};

#[test]
fn threads_and_children_see_the_inside_only() {
    in_namespace("threads_and_children_see_the_inside_only", |namespace| {
        let other = NetNamespace::create().unwrap();
        let tun = other.run(|| Tun::create("inside").unwrap()).unwrap();
        assert!(Netlink::open().unwrap().link_index("inside").is_err());
        other.run(|| Netlink::open().unwrap().link_index("inside").unwrap()).unwrap();
        for (namespace, expected) in [(namespace, false), (&other, true)] {
            let output =
                namespace.command(Command::new("cat").arg("/proc/net/dev")).output().unwrap();
            let devices = String::from_utf8(output.stdout).unwrap();
            assert!(devices.contains("lo:"), "{devices}");
            assert_eq!(devices.contains(tun.name()), expected, "{devices}");
        }
    });
}

#[test]
fn the_loopback_interface_is_up() {
    in_namespace("the_loopback_interface_is_up", |_| {
        let here = std::net::UdpSocket::bind("[::1]:0").unwrap();
        here.send_to(b"hello", here.local_addr().unwrap()).unwrap();
        assert_eq!(here.recv(&mut [0; 9]).unwrap(), 5);
    });
}

#[test]
fn a_panic_inside_comes_out() {
    in_namespace("a_panic_inside_comes_out", |namespace| {
        let body = || namespace.run(|| panic::resume_unwind(Box::new("inside")));
        let panic = panic::catch_unwind(panic::AssertUnwindSafe(body)).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"inside"));
    });
}

#[test]
fn a_child_dies_with_the_thread_that_started_it() {
    in_namespace("a_child_dies_with_the_thread_that_started_it", |namespace| {
        let (done, wait) = mpsc::channel::<()>();
        let mut child = thread::scope(|scope| {
            let spawner = scope.spawn(move || {
                let mut sleep = Command::new("sleep");
                let child = namespace.command(sleep.arg("60")).spawn().unwrap();
                wait.recv().unwrap_err();
                child
            });
            drop(done);
            spawner.join().unwrap()
        });
        let status = child.wait().unwrap();
        assert!(!status.success());
    });
}

#[test]
fn settings_belong_to_the_namespace() {
    in_namespace("settings_belong_to_the_namespace", |namespace| {
        const FORWARDING: &str = "ipv6/conf/all/forwarding";
        sysctl::write(FORWARDING, "1").unwrap();
        assert_eq!(sysctl::read(FORWARDING).unwrap(), "1");
        let other = NetNamespace::create().unwrap();
        assert_eq!(other.run(|| sysctl::read(FORWARDING).unwrap()).unwrap(), "0");
        let mut cat = Command::new("cat");
        cat.arg(format!("/proc/sys/net/{FORWARDING}"));
        assert_eq!(namespace.command(&mut cat).output().unwrap().stdout, b"1\n");
        let error = sysctl::read("no/such/thing").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("no/such/thing"), "{error}");
    });
}

/// On Ethernet, packets for a neighbour who has not answered yet stay charged to their socket.
#[test]
fn a_full_socket_keeps_the_rest_of_the_batch() {
    in_namespace("a_full_socket_keeps_the_rest_of_the_batch", |_| {
        let veth = ["link", "add", "here", "type", "veth", "peer", "name", "there"];
        if !Command::new("ip").args(veth).status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: no ip command to make a veth pair with");
            return;
        }
        let mut netlink = Netlink::open().unwrap();
        let index = netlink.link_index("here").unwrap();
        let address = Ipv4Addr::new(192, 0, 2, 1).into();
        let address =
            InterfaceAddress { index, address, prefix_len: 24, lifetime: Lifetime::FOREVER };
        for name in ["here", "there"] {
            let index = netlink.link_index(name).unwrap();
            netlink.set_link_up(index).unwrap();
        }
        netlink.add_address(&address).unwrap();

        let socket = UdpSocket::bind("192.0.2.1:0".parse().unwrap()).unwrap();
        set_socket_send_buffer_size_force(&socket, 8192)
            .or_else(|_| rustix::net::sockopt::set_socket_send_buffer_size(&socket, 8192))
            .unwrap();
        let mut batch = SendBatch::new(64, 1200);
        while batch.slot().is_some() {
            batch.commit(1200, "192.0.2.2:3544".parse().unwrap(), None);
        }
        let report = socket.send_batch(&mut batch).unwrap();
        assert!(report.sent > 0 && report.pending > 0, "{report:?}");
        assert_eq!((report.sent + report.pending, report.failed), (64, 0), "{report:?}");
        assert_eq!(batch.len(), report.pending);
        assert!(batch.is_full(), "room only comes once all is sent");
        let again = socket.send_batch(&mut batch).unwrap();
        assert_eq!((again.sent, again.pending), (0, report.pending));
    });
}
