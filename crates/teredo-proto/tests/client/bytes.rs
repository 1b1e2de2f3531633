//! Datagrams and packets to feed the client with.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use teredo_wire::address::{CLIENT_LINK_LOCAL, client_prefix, server_link_local};
use teredo_wire::datagram::write_origin;
use teredo_wire::ipv6::Header;
use teredo_wire::trailer::{Alternates, Trailer};
use teredo_wire::{Authentication, Writer, checksum};

use crate::harness::{SERVER, mapped};

pub(crate) fn endpoint(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

/// A Router Advertisement, each part of which can be made wrong.
#[derive(Clone, Debug)]
pub(crate) struct Advertisement {
    pub(crate) nonce: Option<[u8; 8]>,
    pub(crate) confirmation: u8,
    pub(crate) origin: Option<SocketAddrV4>,
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    pub(crate) hop_limit: u8,
    pub(crate) code: u8,
    pub(crate) router_lifetime_s: u16,
    pub(crate) options: Vec<u8>,
    /// Cuts the ICMPv6 message to this length, checksum still right.
    pub(crate) len_max: usize,
    pub(crate) checksum_error: u16,
}

impl Advertisement {
    /// A valid one with MTU 1280.
    pub(crate) fn new(nonce: [u8; 8]) -> Self {
        Self {
            nonce: Some(nonce),
            confirmation: 0,
            origin: Some(mapped()),
            source: server_link_local(SERVER),
            destination: CLIENT_LINK_LOCAL,
            hop_limit: 255,
            code: 0,
            router_lifetime_s: 0,
            options: [prefix_option(SERVER), mtu_option(1280)].concat(),
            len_max: usize::MAX,
            checksum_error: 0,
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let lifetime = self.router_lifetime_s.to_be_bytes();
        let mut message = vec![134, self.code, 0, 0, 0, 0, lifetime[0], lifetime[1]];
        message.extend([0; 8]);
        message.extend(&self.options);
        message.truncate(self.len_max);
        let sum = checksum::ipv6(self.source, self.destination, 58, &message);
        message[2..4].copy_from_slice(&(sum ^ self.checksum_error).to_be_bytes());
        let mut bytes = Vec::new();
        if let Some(nonce) = self.nonce {
            let confirmation = self.confirmation;
            let authentication =
                Authentication { confirmation, ..Authentication::nonce_only(nonce) };
            bytes.extend(written(|writer| authentication.write(writer)));
        }
        if let Some(origin) = self.origin {
            bytes.extend(written(|writer| write_origin(writer, origin)));
        }
        bytes.extend(packet(self.source, self.destination, 58, self.hop_limit, &message));
        bytes
    }
}

/// A Prefix Information option for a server, infinite lifetimes, A flag.
pub(crate) fn prefix_option(server: Ipv4Addr) -> Vec<u8> {
    let mut option = vec![3, 4, 64, 0x40];
    option.extend([0xff; 8]);
    option.extend([0; 4]);
    option.extend(client_prefix(server).octets());
    option
}

pub(crate) fn mtu_option(mtu: u32) -> Vec<u8> {
    let mut option = vec![5, 1, 0, 0];
    option.extend(mtu.to_be_bytes());
    option
}

/// An IPv6 packet.
pub(crate) fn packet(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    next_header: u8,
    hop_limit: u8,
    payload: &[u8],
) -> Vec<u8> {
    let payload_len = payload.len() as u16;
    let header = Header { payload_len, next_header, hop_limit, source, destination };
    let mut bytes = written(|writer| header.write(writer));
    bytes.extend(payload);
    bytes
}

pub(crate) fn bubble(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    packet(source, destination, 59, 0, &[])
}

/// A bubble with an origin indication in front, as a server forwards it.
pub(crate) fn indirect_bubble(
    origin: SocketAddrV4,
    source: Ipv6Addr,
    destination: Ipv6Addr,
) -> Vec<u8> {
    let mut bytes = written(|writer| write_origin(writer, origin));
    bytes.extend(bubble(source, destination));
    bytes
}

/// What follows a bubble (RFC 6081 section 4).
pub(crate) fn trailers(all: &[Trailer<'_>]) -> Vec<u8> {
    written(|writer| all.iter().try_for_each(|trailer| trailer.write(writer)))
}

/// An Alternate Address Trailer.
pub(crate) fn alternates(endpoints: &[&str]) -> Vec<u8> {
    let endpoints: Vec<_> = endpoints.iter().map(|text| endpoint(text)).collect();
    written(|writer| Alternates::write(writer, &endpoints))
}

/// A UDP packet with these bytes of data (its own checksum is nobody's business here).
pub(crate) fn udp(source: Ipv6Addr, destination: Ipv6Addr, data: &[u8]) -> Vec<u8> {
    let len = (8 + data.len()) as u16;
    let mut payload = [9u16, 9, len, 0].map(u16::to_be_bytes).concat();
    payload.extend(data);
    packet(source, destination, 17, 64, &payload)
}

/// An ICMPv6 message with a right checksum.
pub(crate) fn icmpv6(source: Ipv6Addr, destination: Ipv6Addr, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(body);
    let sum = checksum::ipv6(source, destination, 58, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    packet(source, destination, 58, 255, &message)
}

/// What the host that an echo request pings would reply.
pub(crate) fn echo_reply(request: &[u8]) -> Vec<u8> {
    let (source, destination) = (address_at(request, 24), address_at(request, 8));
    icmpv6(source, destination, 129, &request[44..])
}

fn address_at(packet: &[u8], offset: usize) -> Ipv6Addr {
    let octets: [u8; 16] = packet[offset..offset + 16].try_into().unwrap();
    Ipv6Addr::from(octets)
}

fn written(write: impl FnOnce(&mut Writer<'_>) -> Result<(), teredo_wire::NoSpace>) -> Vec<u8> {
    let mut buffer = [0; 600];
    let mut writer = Writer::new(&mut buffer);
    write(&mut writer).unwrap();
    writer.written().to_vec()
}
