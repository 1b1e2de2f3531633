//! What the tests share: hexadecimal text, the vectors, a seeded generator.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "tests read files")]
#![allow(dead_code, reason = "not every test file uses all of it")]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use teredo_wire::{Flags, NoSpace, TeredoAddress, Writer};

/// Bytes of hexadecimal text; white space is for the reader.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    assert_eq!(digits.len() % 2, 0);
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// What `write` writes.
pub(crate) fn written(write: impl FnOnce(&mut Writer<'_>) -> Result<(), NoSpace>) -> Vec<u8> {
    let mut buffer = vec![0xaa; 0x1_1000];
    let mut writer = Writer::new(&mut buffer);
    write(&mut writer).unwrap();
    writer.written().to_vec()
}

pub(crate) fn endpoint(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

pub(crate) fn ipv4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

pub(crate) fn ipv6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// The client A of the vectors.
pub(crate) fn client_a() -> Ipv6Addr {
    teredo("203.0.113.120", 0, "192.0.2.1:4096")
}

/// The client B of the vectors.
pub(crate) fn client_b() -> Ipv6Addr {
    teredo("198.51.100.118", 0, "192.0.2.10:8192")
}

pub(crate) fn teredo(server: &str, flags: u16, mapped: &str) -> Ipv6Addr {
    TeredoAddress { server: ipv4(server), flags: Flags(flags), mapped: endpoint(mapped) }.to_ipv6()
}

/// The nonce of the vectors.
pub(crate) const NONCE: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// Router Solicitation with an empty authentication.
pub(crate) fn solicitation() -> Vec<u8> {
    hex("00010000 0001020304050607 00
         6000000000083aff fe80000000000000 0000ffffffffffff ff02000000000000 0000000000000002
         85007d37 00000000")
}

/// Router Advertisement with an empty authentication and an origin indication.
pub(crate) fn advertisement() -> Vec<u8> {
    hex("00010000 0001020304050607 00  0000 efff 3ffffdfe
         6000000000383aff fe80000000000000 8000f22734ff8e87 fe80000000000000 0000ffffffffffff
         8600954c 00000000 00000000 000007d0  03044040 ffffffff ffffffff 00000000
         20010000cb007178 0000000000000000  05010000 00000500")
}

/// Direct bubble from A to B.
pub(crate) fn bubble() -> Vec<u8> {
    hex("6000000000003bff 20010000cb007178 0000efff3ffffdfe 20010000c6336476 0000dfff3ffffdf5")
}

/// One trailer of each kind.
pub(crate) fn trailers() -> Vec<u8> {
    hex("0104deadbeef 0502c350 030e0000c0a8010a9c400a0000029c41 040400000000")
}

/// Echo request from A to a native host.
pub(crate) fn echo_request() -> Vec<u8> {
    hex("6000000000103a80 20010000cb007178 0000efff3ffffdfe 20010db800000000 0000000000000001
         8000e83c 12340001 0011223344556677")
}

/// Discovery bubble of A.
pub(crate) fn discovery_bubble() -> Vec<u8> {
    hex("6000000000003b01 20010000cb007178 0000efff3ffffdfe ff02000000000000 0000000000000001")
}

/// A bubble from A to B with these trailing bytes.
pub(crate) fn bubble_with(trailing: &[u8]) -> Vec<u8> {
    [&bubble(), trailing].concat()
}

/// Every UDP payload of the vectors.
pub(crate) fn payloads() -> [Vec<u8>; 6] {
    let with_trailers = bubble_with(&trailers());
    [solicitation(), advertisement(), bubble(), with_trailers, echo_request(), discovery_bubble()]
}

/// A xorshift generator: the same seed, the same bytes.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// A capture of another project, where they lie beside the repository.
pub(crate) fn foreign_capture(name: &str) -> Option<Vec<u8>> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures");
    let folder = std::env::var_os("TEREDO_CAPTURES").map_or(beside, PathBuf::from);
    let file = std::fs::read(folder.join(name)).ok();
    if file.is_none() {
        eprintln!("skipped: {name} is in neither $TEREDO_CAPTURES nor ../shared/captures");
    }
    file
}

/// An IPv4 packet with this UDP payload, between a client and the Teredo port of a server.
pub(crate) fn udp_packet(payload: &[u8]) -> Vec<u8> {
    udp_packet_between("192.0.2.1:4096", "203.0.113.120:3544", payload)
}

/// An IPv4 packet with this UDP payload, as another library builds it.
pub(crate) fn udp_packet_between(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (endpoint(source), endpoint(destination));
    let mut packet = Vec::new();
    etherparse::PacketBuilder::ipv4(source.ip().octets(), destination.ip().octets(), 64)
        .udp(source.port(), destination.port())
        .write(&mut packet, payload)
        .unwrap();
    packet
}
