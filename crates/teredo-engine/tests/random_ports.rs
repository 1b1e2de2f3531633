//! Random ports on the kernel: how many there may be, and what they carry. In a process of its own,
//! because the limit on descriptors is the process's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use teredo_engine::io::DatagramSocket;
use teredo_engine::linux::UdpPort;

const LOOPBACK: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
const FILES: u64 = 200;

/// Some descriptors are left, and one port is as good as before when another is refused.
#[test]
fn ports_leave_descriptors_to_others() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(FILES);
    setrlimit(Resource::Nofile, limit).unwrap();
    let service = UdpPort::bind(LOOPBACK).unwrap();
    let mut ports: Vec<UdpPort> = std::iter::from_fn(|| service.bind_beside().ok()).collect();
    assert!(ports.len() > 50 && ports.len() < 136, "{}", ports.len());
    assert!(UdpSocket::bind(LOOPBACK).is_ok(), "there is room for others");
    carries_more_than_one(&mut ports[0]);
    ports.truncate(1);
    assert!(service.bind_beside().is_ok());
    carries_more_than_one(&mut ports[0]);
}

/// A port begins with room for one datagram at a time, and loses none when many come.
fn carries_more_than_one(port: &mut UdpPort) {
    let there = UdpSocket::bind(LOOPBACK).unwrap();
    there.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let to = port.local_addr();
    for number in 0..40_u8 {
        there.send_to(&[number], to).unwrap();
    }
    let mut received = Vec::new();
    while received.len() < 40 {
        // On the loopback device everything has arrived when it is sent.
        let count = port.receive().unwrap();
        received.extend((0..count).map(|index| port.received(index).payload[0]));
    }
    assert_eq!(received, (0..40).collect::<Vec<u8>>());
    let std::net::SocketAddr::V4(back) = there.local_addr().unwrap() else { unreachable!() };
    for number in 0..40_u8 {
        if port.slot().is_none() {
            assert_eq!(port.flush().unwrap().pending, 0);
        }
        port.slot().unwrap()[0] = number;
        port.commit(1, back, None);
    }
    port.flush().unwrap();
    let mut buffer = [0; 8];
    for number in 0..40_u8 {
        assert_eq!(there.recv(&mut buffer).unwrap(), 1);
        assert_eq!(buffer[0], number);
    }
}
