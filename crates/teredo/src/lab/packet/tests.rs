//! Real headers, changed as NATs change them.

use teredo_wire::checksum;

use super::*;

const INSIDE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 2), 40_000);
const OUTSIDE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 101), 1_024);
const REMOTE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 10), 3_544);

fn ipv4(protocol: u8, source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(IPV4_HEADER_LEN + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(len.to_be_bytes());
    packet.extend([0, 7, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    let sum = checksum::ipv4_header(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// A packet from [`INSIDE`] to [`REMOTE`] with a checksum at `sum_offset`.
fn transport(protocol: u8, len: usize, sum_offset: usize) -> Vec<u8> {
    let mut payload = vec![0x5A; len];
    payload[..2].copy_from_slice(&INSIDE.port().to_be_bytes());
    payload[2..4].copy_from_slice(&REMOTE.port().to_be_bytes());
    payload[sum_offset..sum_offset + 2].fill(0);
    let sum = checksum::ipv4(*INSIDE.ip(), *REMOTE.ip(), protocol, &payload);
    payload[sum_offset..sum_offset + 2].copy_from_slice(&sum.to_be_bytes());
    ipv4(protocol, *INSIDE.ip(), *REMOTE.ip(), &payload)
}

fn sums(packet: &mut [u8]) -> (u16, u16) {
    let header = checksum::ipv4_header(&packet[..IPV4_HEADER_LEN]);
    let view = Ipv4::parse(packet).unwrap();
    let (source, destination) = (view.address(End::Source), view.address(End::Destination));
    let protocol = view.protocol();
    (header, checksum::ipv4(source, destination, protocol, &packet[IPV4_HEADER_LEN..]))
}

#[test]
fn endpoints_change_with_their_checksums() {
    for (protocol, len, sum_offset) in [(UDP, 31, 6), (TCP, 20, 16), (TCP, 45, 16)] {
        let mut packet = transport(protocol, len, sum_offset);
        assert_eq!(sums(&mut packet), (0, 0));
        for (end, to) in [(End::Source, OUTSIDE), (End::Destination, INSIDE)] {
            let mut view = Ipv4::parse(&mut packet).unwrap();
            view.set_endpoint(end, to).unwrap();
            assert_eq!(view.endpoint(end), Some(to));
            assert_eq!(sums(&mut packet), (0, 0), "protocol {protocol}");
        }
    }
}

#[test]
fn a_checksum_that_is_absent_stays_absent_and_none_becomes_so() {
    let mut packet = transport(UDP, 12, 6);
    packet[IPV4_HEADER_LEN + 6..IPV4_HEADER_LEN + 8].fill(0);
    Ipv4::parse(&mut packet).unwrap().set_endpoint(End::Source, OUTSIDE).unwrap();
    assert_eq!(packet[IPV4_HEADER_LEN + 6..IPV4_HEADER_LEN + 8], [0, 0]);
    // Among all ports there is one for which the sum would come out as 0.
    for port in 0..=u16::MAX {
        let mut packet = transport(UDP, 12, 6);
        let to = SocketAddrV4::new(*OUTSIDE.ip(), port);
        Ipv4::parse(&mut packet).unwrap().set_endpoint(End::Source, to).unwrap();
        assert_ne!(packet[IPV4_HEADER_LEN + 6..IPV4_HEADER_LEN + 8], [0, 0], "port {port}");
        assert_eq!(sums(&mut packet), (0, 0), "port {port}");
    }
}

#[test]
fn echoes_have_their_identifier_for_a_port() {
    let mut message = vec![ECHO_REQUEST, 0, 0, 0, 0x12, 0x34, 0, 1, 0xAB];
    let sum = checksum::ipv4_header(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = ipv4(ICMP, *INSIDE.ip(), *REMOTE.ip(), &message);
    let mut view = Ipv4::parse(&mut packet).unwrap();
    assert_eq!(view.endpoint(End::Source), Some(SocketAddrV4::new(*INSIDE.ip(), 0x1234)));
    assert_eq!(view.endpoint(End::Destination), Some(SocketAddrV4::new(*REMOTE.ip(), 0)));
    view.set_endpoint(End::Source, OUTSIDE).unwrap();
    assert_eq!(checksum::ipv4_header(&packet[IPV4_HEADER_LEN..]), 0);
    assert_eq!(packet[IPV4_HEADER_LEN + 4..IPV4_HEADER_LEN + 6], OUTSIDE.port().to_be_bytes());

    packet[IPV4_HEADER_LEN] = ECHO_REPLY;
    let view = Ipv4::parse(&mut packet).unwrap();
    assert_eq!(view.endpoint(End::Source), Some(SocketAddrV4::new(*OUTSIDE.ip(), 0)));
    packet[IPV4_HEADER_LEN] = 13;
    assert_eq!(Ipv4::parse(&mut packet).unwrap().endpoint(End::Source), None);
}

#[test]
fn an_error_is_translated_with_what_it_quotes() {
    let mut about = transport(UDP, 31, 6);
    Ipv4::parse(&mut about).unwrap().set_endpoint(End::Source, OUTSIDE).unwrap();
    let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
    message.extend(&about[..IPV4_HEADER_LEN + 8]);
    let sum = checksum::ipv4_header(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = ipv4(ICMP, *REMOTE.ip(), *OUTSIDE.ip(), &message);

    let mut view = Ipv4::parse(&mut packet).unwrap();
    let mut quoted = view.quoted().unwrap();
    assert_eq!(quoted.endpoint(End::Source), Some(OUTSIDE));
    quoted.set_endpoint(End::Source, INSIDE).unwrap();
    view.redirect_error(*INSIDE.ip());
    assert_eq!(view.address(End::Destination), *INSIDE.ip());
    assert_eq!(checksum::ipv4_header(&packet[IPV4_HEADER_LEN..]), 0);
    let original = transport(UDP, 31, 6);
    assert_eq!(packet[28..], original[..28], "what the client had sent");
}

#[test]
fn a_hop_costs_one_and_the_last_is_refused() {
    let mut packet = transport(UDP, 8, 6);
    for ttl in (1..64).rev() {
        Ipv4::parse(&mut packet).unwrap().hop().unwrap();
        assert_eq!(packet[8], ttl);
    }
    assert_eq!(Ipv4::parse(&mut packet).unwrap().hop(), Err(DropReason::Expired));
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, 59, 2];
    packet.resize(40, 0);
    Ipv6::parse(&mut packet).unwrap().hop().unwrap();
    assert_eq!(Ipv6::parse(&mut packet).unwrap().hop(), Err(DropReason::Expired));
}

#[test]
fn broken_packets_are_refused_at_every_length() {
    let packet = transport(UDP, 31, 6);
    for len in 0..packet.len() {
        let mut cut = packet[..len].to_vec();
        assert_eq!(Ipv4::parse(&mut cut).err(), Some(DropReason::Broken), "{len} bytes");
    }
    for byte in 0..IPV4_HEADER_LEN {
        let mut wrong = packet.clone();
        wrong[byte] ^= 0x10;
        assert_eq!(Ipv4::parse(&mut wrong).err(), Some(DropReason::Broken), "byte {byte}");
    }
    let short = ipv4(UDP, *INSIDE.ip(), *REMOTE.ip(), &[0; 7]);
    assert_eq!(Ipv4::parse(&mut short.clone()).unwrap().endpoint(End::Source), None);
    let mut message = vec![3; 8];
    message.extend(&packet[..27]);
    for len in 0..message.len() {
        let mut error = ipv4(ICMP, *REMOTE.ip(), *OUTSIDE.ip(), &message[..len]);
        let mut view = Ipv4::parse(&mut error).unwrap();
        assert!(view.quoted().is_none_or(|quoted| quoted.endpoint(End::Source).is_none()));
    }
}

#[test]
fn a_reason_stands_at_its_number() {
    for (number, reason) in DropReason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, number);
    }
}
