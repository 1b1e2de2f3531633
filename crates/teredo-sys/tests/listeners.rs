//! Which sockets listen, as the kernel tells it.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};

use teredo_sys::netlink::{Listener, Listeners, Transport};

fn look() -> Vec<Listener> {
    let mut found = Vec::new();
    Listeners::open().unwrap().look(|listener| found.push(listener)).unwrap();
    found
}

#[test]
fn sockets_that_listen_are_found_with_their_owner() {
    let Ok(tcp) = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)) else {
        println!("skipped: no IPv6 here");
        return;
    };
    let port = tcp.local_addr().unwrap().port();
    let udp = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    let udp_port = udp.local_addr().unwrap().port();
    let connected = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
    connected.connect((Ipv6Addr::LOCALHOST, udp_port)).unwrap();
    let old = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let stream = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).unwrap();

    let found = look();
    let user = rustix::process::geteuid().as_raw();
    let of = |transport, port| {
        let mut found = found.iter().filter(|it| (it.transport, it.port) == (transport, port));
        found.next().copied()
    };
    let tcp_found = of(Transport::Tcp, port).unwrap();
    assert_eq!((tcp_found.address, tcp_found.user), (Ipv6Addr::UNSPECIFIED, user));
    assert_eq!(tcp_found.interface, 0);
    let udp_found = of(Transport::Udp, udp_port).unwrap();
    assert_eq!((udp_found.address, udp_found.user), (Ipv6Addr::LOCALHOST, user));
    assert_eq!(udp_found.cgroup, tcp_found.cgroup);
    let others = [
        (Transport::Udp, connected.local_addr().unwrap().port()),
        (Transport::Tcp, stream.local_addr().unwrap().port()),
        (Transport::Tcp, old.local_addr().unwrap().port()),
    ];
    for (transport, port) in others {
        assert_eq!(of(transport, port), None, "does not listen to everybody's IPv6");
    }
    drop(tcp);
    assert!(look().iter().all(|it| (it.transport, it.port) != (Transport::Tcp, port)));
}
