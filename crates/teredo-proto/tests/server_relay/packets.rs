//! Packets to put in, and what came out.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::time::Duration;

use teredo_proto::role::TRANSMIT_LEN_MAX;
use teredo_proto::{Arrival, Inbound, Instant, Ipv4Filter, Local, Role, Transmit};
use teredo_wire::datagram::write_origin;
use teredo_wire::icmpv6::Echo;
use teredo_wire::ipv6::{Header, next_header};
use teredo_wire::{Authentication, Flags, NoSpace, TeredoAddress, Writer};

pub(crate) const SEED: [u8; 32] = [7; 32];

/// A client of the server at 203.0.113.10, mapped to this.
pub(crate) const CLIENT_AT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 4096);
/// A client of another server, mapped to this.
pub(crate) const STRANGER_AT: SocketAddrV4 =
    SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 50_000);
/// A native IPv6 node.
pub(crate) const NATIVE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 6, 0, 0, 0, 0, 2);
/// A relay's bubble source, as anybody may make one up.
pub(crate) const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x1234, 0, 0, 1);

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub(crate) const SECONDARY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
pub(crate) const OTHER_SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 120);

pub(crate) fn client() -> Ipv6Addr {
    teredo(SERVER, CLIENT_AT)
}

pub(crate) fn stranger() -> Ipv6Addr {
    teredo(OTHER_SERVER, STRANGER_AT)
}

pub(crate) fn teredo(server: Ipv4Addr, mapped: SocketAddrV4) -> Ipv6Addr {
    teredo_with(Flags(0x1004), server, mapped)
}

pub(crate) fn teredo_with(flags: Flags, server: Ipv4Addr, mapped: SocketAddrV4) -> Ipv6Addr {
    TeredoAddress { server, flags, mapped }.to_ipv6()
}

pub(crate) fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

pub(crate) fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

pub(crate) fn endpoint(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

/// The moment so many milliseconds after the test began.
pub(crate) fn ms(millis: u64) -> Instant {
    Instant::from_nanos(0) + Duration::from_hours(1) + Duration::from_millis(millis)
}

/// The production filter, with the RFCs' example ranges let through.
pub(crate) fn lab_filter() -> Ipv4Filter {
    let allowed = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"];
    Ipv4Filter { allowed: allowed.map(|range| range.parse().unwrap()).into(), ..Default::default() }
}

pub(crate) fn written(write: impl FnOnce(&mut Writer<'_>) -> Result<(), NoSpace>) -> Vec<u8> {
    let mut buffer = [0; 4000];
    let mut writer = Writer::new(&mut buffer);
    write(&mut writer).unwrap();
    writer.written().to_vec()
}

pub(crate) fn bubble(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    written(|writer| Header::bubble(source, destination).write(writer))
}

pub(crate) fn echo(source: Ipv6Addr, destination: Ipv6Addr, data: &[u8]) -> Vec<u8> {
    let echo = Echo { reply: false, identifier: 0x1234, sequence: 1, data };
    written(|writer| echo.write(writer, source, destination, 128))
}

pub(crate) fn echo_reply(source: Ipv6Addr, destination: Ipv6Addr, data: &[u8]) -> Vec<u8> {
    let echo = Echo { reply: true, identifier: 0x1234, sequence: 1, data };
    written(|writer| echo.write(writer, source, destination, 128))
}

/// A packet whose content nobody on the way understands.
pub(crate) fn packet(source: Ipv6Addr, destination: Ipv6Addr, kind: u8, body: &[u8]) -> Vec<u8> {
    let payload_len = u16::try_from(body.len()).unwrap();
    let header = Header { payload_len, next_header: kind, hop_limit: 64, source, destination };
    written(|writer| {
        header.write(writer)?;
        writer.put(body)
    })
}

pub(crate) fn udp(source: Ipv6Addr, destination: Ipv6Addr, body: &[u8]) -> Vec<u8> {
    packet(source, destination, next_header::UDP, body)
}

/// An ICMPv6 message of these bytes, with the right checksum.
pub(crate) fn icmpv6(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    hop_limit: u8,
    message: &[u8],
) -> Vec<u8> {
    let mut bytes = packet(source, destination, next_header::ICMPV6, message);
    bytes[7] = hop_limit;
    let sum = teredo_wire::checksum::ipv6(source, destination, next_header::ICMPV6, &bytes[40..]);
    bytes[42..44].copy_from_slice(&sum.to_be_bytes());
    bytes
}

pub(crate) fn with_authentication(authentication: Authentication<'_>, rest: &[u8]) -> Vec<u8> {
    written(|writer| {
        authentication.write(writer)?;
        writer.put(rest)
    })
}

pub(crate) fn with_origin(origin: SocketAddrV4, rest: &[u8]) -> Vec<u8> {
    written(|writer| {
        write_origin(writer, origin)?;
        writer.put(rest)
    })
}

/// What a role sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Datagram { to: SocketAddrV4, via: Local, payload: Vec<u8> },
    Packet(Vec<u8>),
}

pub(crate) fn datagram(to: SocketAddrV4, payload: Vec<u8>) -> Sent {
    Sent::Datagram { to, via: Local::Primary, payload }
}

pub(crate) fn drain(role: &mut impl Role) -> Vec<Sent> {
    let mut buffer = [0; TRANSMIT_LEN_MAX];
    let mut sent = Vec::new();
    while let Some(transmit) = role.poll_transmit(&mut buffer) {
        sent.push(match transmit {
            Transmit::Datagram { to, via, len } => {
                Sent::Datagram { to, via, payload: buffer[..len].to_vec() }
            }
            Transmit::Packet { len } => Sent::Packet(buffer[..len].to_vec()),
        });
    }
    sent
}

/// Puts in a datagram that arrives on the primary socket.
pub(crate) fn put(
    role: &mut impl Role,
    now: Instant,
    from: SocketAddrV4,
    payload: &[u8],
) -> Inbound {
    role.handle_datagram(now, Arrival { from, on: Local::Primary }, payload)
}

/// The same, and what is sent in answer.
pub(crate) fn exchange(
    role: &mut impl Role,
    now: Instant,
    from: SocketAddrV4,
    payload: &[u8],
) -> (Inbound, Vec<Sent>) {
    let inbound = put(role, now, from, payload);
    (inbound, drain(role))
}

/// Does all that is due up to `until`, and says when what was sent.
pub(crate) fn run(role: &mut impl Role, until: Instant) -> Vec<(Instant, Sent)> {
    let mut sent = Vec::new();
    while let Some((due, _)) = role.poll_timeout().filter(|&(due, _)| due <= until) {
        role.handle_timeout(due);
        sent.extend(drain(role).into_iter().map(|item| (due, item)));
        assert!(role.poll_timeout().is_none_or(|(next, _)| next > due), "stalled at {due:?}");
    }
    sent
}

/// Addresses at both ends of the ranges of RFC 4380 section 5.2.4, all inside.
pub(crate) fn not_global() -> impl Iterator<Item = Ipv4Addr> {
    "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 127.0.0.0 127.255.255.255 \
     169.254.0.0 169.254.255.255 172.16.0.0 172.31.255.255 192.88.99.0 192.88.99.255 \
     192.168.0.0 192.168.255.255 224.0.0.0 239.255.255.255 255.255.255.255"
        .split_whitespace()
        .map(v4)
}

/// Addresses at both ends of the special-purpose ranges, all inside.
pub(crate) fn special_purpose() -> impl Iterator<Item = Ipv4Addr> {
    "100.64.0.0 100.127.255.255 192.0.0.0 192.0.0.255 192.0.2.0 192.0.2.255 \
     198.18.0.0 198.19.255.255 198.51.100.0 198.51.100.255 203.0.113.0 203.0.113.255 \
     240.0.0.0 255.255.255.254"
        .split_whitespace()
        .map(v4)
}
