//! No input makes a parser panic: every length of every vector, bits flipped, random bytes.

mod common;

use std::fmt::Write;

use common::*;
use teredo_wire::capture::Udp;
use teredo_wire::icmpv6::Icmpv6;
use teredo_wire::pcap::{self, LinkType, Reader};
use teredo_wire::print::Line;
use teredo_wire::{Datagram, Ipv6, Malformed, trailer};

const LINKS: [LinkType; 8] = [
    LinkType::ETHERNET,
    LinkType::RAW,
    LinkType::RAW_BSD,
    LinkType::RAW_OPENBSD,
    LinkType::IPV4,
    LinkType::LINUX_COOKED,
    LinkType::LINUX_COOKED_V2,
    LinkType(9999),
];

/// Everything that reads a UDP payload reads `payload`; what was found must hold together.
fn read_payload(payload: &[u8]) -> Result<(), Malformed> {
    let datagram = Datagram::parse(payload)?;
    assert_eq!(&payload[datagram.packet_range()], datagram.ipv6.bytes());
    assert_eq!(datagram.packet_range().end + datagram.trailer_bytes.len(), payload.len());
    let _ = datagram.trailers();
    for trailer in trailer::iter(datagram.trailer_bytes).flatten() {
        assert!(!format!("{trailer:?}").is_empty());
    }
    if let Ok(message) = Icmpv6::parse(&datagram.ipv6) {
        let _ = (message.echo(), message.solicitation_options().count());
        let _ = message.advertisement_options().count();
    }
    let (source, destination) = (endpoint("192.0.2.1:1"), endpoint("192.0.2.2:2"));
    let mut line = String::new();
    assert!(write!(line, "{}", Line { source, destination, datagram }).is_ok());
    assert!(!line.contains('\n'));
    Ok(())
}

fn read_frame(frame: &[u8]) {
    for link in LINKS {
        if let Ok(udp) = Udp::find(link, frame) {
            assert!(udp.payload.len() <= frame.len());
            let _ = udp.teredo();
        }
    }
}

/// Number of records and how it ended.
fn read_file(file: &[u8]) -> Result<usize, pcap::Error> {
    let mut count = 0;
    for record in Reader::new(file)? {
        let record = record?;
        assert!(record.bytes.len() <= file.len());
        read_frame(record.bytes);
        count += 1;
    }
    Ok(count)
}

/// A frame of each kind that the finder looks into.
fn frames() -> Vec<Vec<u8>> {
    let datagram = udp_packet(&solicitation());
    let mut extended = hex("34ff 0000 00000001 0001 00 85 01 100000 00 01 200000 00");
    extended.extend(&datagram);
    let len = (extended.len() - 8) as u16;
    extended[2..4].copy_from_slice(&len.to_be_bytes());
    let gtp = udp_packet_between("192.0.2.8:2152", "192.0.2.9:2152", &extended);
    let ethernet = |tags: &str, packet: &[u8]| {
        [&hex("020000000001 020000000002"), &hex(tags), packet].concat()
    };
    vec![
        datagram.clone(),
        gtp.clone(),
        ethernet("0800", &datagram),
        ethernet("88a8 0001 8100 0002 0800", &gtp),
        [hex("0000 0001 0006 020000000001 0000 0800"), datagram.clone()].concat(),
        [hex("0800 0000 00000001 0001 00 06 0200000000010000"), datagram].concat(),
    ]
}

//= P-WIRE-26: every length of every vector is refused or read, never a panic
#[test]
fn truncation() {
    for payload in payloads() {
        let mut accepted = Vec::new();
        for len in 0..=payload.len() {
            if read_payload(&payload[..len]).is_ok() {
                accepted.push(len);
            }
        }
        assert_eq!(accepted.last(), Some(&payload.len()));
        let packet = accepted[0];
        assert_eq!(
            accepted,
            (packet..=payload.len()).collect::<Vec<_>>(),
            "only trailers may be cut"
        );
    }
    for frame in frames() {
        for len in 0..=frame.len() {
            read_frame(&frame[..len]);
        }
    }
    for file in files() {
        let records = frames().len();
        let mut whole = Vec::new();
        for len in 0..=file.len() {
            match read_file(&file[..len]) {
                Ok(count) => whole.push((len, count)),
                Err(error) => assert!(
                    [pcap::Error::Truncated, pcap::Error::NotACapture, pcap::Error::Empty]
                        .contains(&error),
                    "{len} bytes: {error}"
                ),
            }
        }
        assert_eq!(whole.last(), Some(&(file.len(), records)));
    }
}

//= P-WIRE-26: a byte set to anything, at every place
#[test]
fn damage() {
    for payload in payloads() {
        for at in 0..payload.len() {
            let mut damaged = payload.clone();
            for value in 0..=255 {
                damaged[at] = value;
                let _ = read_payload(&damaged);
            }
        }
    }
    for frame in frames() {
        for at in 0..frame.len() {
            let mut damaged = frame.clone();
            for value in 0..=255 {
                damaged[at] = value;
                read_frame(&damaged);
            }
        }
    }
    for file in files() {
        for at in 0..file.len() {
            let mut damaged = file.clone();
            for value in [0, 1, 2, 3, 4, 0x0a, 0x7f, 0x80, 0xff] {
                damaged[at] = value;
                let _ = read_file(&damaged);
            }
        }
    }
}

//= P-WIRE-26: random bytes, bare and behind a plausible beginning
#[test]
fn random_bytes() {
    let mut random = Random::new(0x7e12_0ed0);
    let beginnings: Vec<Vec<u8>> = payloads().into_iter().chain(frames()).chain(files()).collect();
    for round in 0..60_000 {
        let len = random.below(if round % 16 == 0 { 2000 } else { 160 });
        let mut bytes = random.bytes(len);
        let beginning = &beginnings[random.below(beginnings.len())];
        let kept = random.below(beginning.len() + 1).min(len);
        if round % 4 != 0 {
            bytes[..kept].copy_from_slice(&beginning[..kept]);
        }
        let _ = read_payload(&bytes);
        let _ = Ipv6::parse(&bytes);
        read_frame(&bytes);
        let _ = read_file(&bytes);
    }
}

/// The frames in a pcap and in a pcapng file, link types aside.
fn files() -> [Vec<u8>; 2] {
    let mut classic = pcap::file_header(LinkType::ETHERNET).to_vec();
    let mut next = hex("0a0d0d0a 0000001c 1a2b3c4d 0001 0000 ffffffffffffffff 0000001c
                        00000001 00000014 0001 0000 00000000 00000014");
    for frame in frames() {
        let len = frame.len() as u32;
        classic.extend(pcap::record_header(std::time::Duration::new(1, 2), len));
        classic.extend(&frame);
        let padded = len.next_multiple_of(4);
        for field in [6, 32 + padded, 0, 1, 2, len, len] {
            next.extend(field.to_be_bytes());
        }
        next.extend(&frame);
        next.resize(next.len() + (padded - len) as usize, 0);
        next.extend((32 + padded).to_be_bytes());
    }
    [classic, next]
}
