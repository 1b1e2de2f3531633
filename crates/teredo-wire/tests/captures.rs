//! Whole captures: our own, which are generated from the vectors, and those of other projects.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "tests read files")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::*;
use teredo_wire::capture::Udp;
use teredo_wire::datagram::write_origin;
use teredo_wire::icmpv6::{self, Icmpv6, NdOption, RouterAdvertisement};
use teredo_wire::ipv6::{Header, Ipv6};
use teredo_wire::pcap::{self, LinkType, Reader};
use teredo_wire::print::{Kind, Line};
use teredo_wire::trailer;
use teredo_wire::{Datagram, NoSpace, TeredoAddress, Writer};

/// The Teredo packets of a capture and the numbers of their frames.
fn teredo_packets(file: &[u8]) -> (Vec<(usize, Line<'_>)>, usize) {
    let records: Vec<_> = Reader::new(file).unwrap().map(Result::unwrap).collect();
    let packets = records.iter().zip(1..).filter_map(|(record, number)| {
        let udp = Udp::find(record.link, record.bytes).ok()?;
        let datagram = udp.teredo().ok()?;
        Some((number, Line { source: udp.source, destination: udp.destination, datagram }))
    });
    (packets.collect(), records.len())
}

/// Writes what was read, part by part with the writers that we send with.
fn write_again(writer: &mut Writer<'_>, datagram: &Datagram<'_>) -> Result<(), NoSpace> {
    if let Some(authentication) = datagram.authentication {
        authentication.write(writer)?;
    }
    if let Some(origin) = datagram.origin {
        write_origin(writer, origin)?;
    }
    write_packet_again(writer, &datagram.ipv6)?;
    for trailer in trailer::iter(datagram.trailer_bytes).flatten() {
        trailer.write(writer)?;
    }
    Ok(())
}

fn write_packet_again(writer: &mut Writer<'_>, packet: &Ipv6<'_>) -> Result<(), NoSpace> {
    let (source, destination) = (packet.source(), packet.destination());
    let bubble = Header { hop_limit: packet.hop_limit(), ..Header::bubble(source, destination) };
    match Kind::of(packet) {
        Kind::Bubble => bubble.write(writer),
        Kind::RouterSolicitation => icmpv6::write_router_solicitation(writer, source),
        Kind::RouterAdvertisement => {
            let message = Icmpv6::parse(packet).unwrap();
            let (mut prefix, mut mtu) = (None, None);
            for option in message.advertisement_options() {
                match option.unwrap() {
                    NdOption::Prefix(it) => prefix = Some(it.prefix),
                    NdOption::Mtu(it) => mtu = Some(it),
                    NdOption::Other(kind) => panic!("option {kind}"),
                }
            }
            let server = TeredoAddress::parse(prefix.unwrap()).unwrap().server;
            RouterAdvertisement { source, destination, server, mtu }.write(writer)
        }
        Kind::EchoRequest | Kind::EchoReply => {
            let echo = Icmpv6::parse(packet).unwrap().echo().unwrap();
            echo.write(writer, source, destination, packet.hop_limit())
        }
        Kind::Data | Kind::Icmpv6 | Kind::Icmpv6Error | Kind::NeighborDiscovery => {
            let payload_len = packet.payload().len() as u16;
            Header { payload_len, next_header: packet.next_header(), ..bubble }.write(writer)?;
            writer.put(packet.payload())
        }
    }
}

/// The payload that a line was read from.
fn payload<'a>(datagram: &Datagram<'a>, file: &'a [u8]) -> &'a [u8] {
    let end = datagram.trailer_bytes.as_ptr_range().end as usize - file.as_ptr() as usize;
    let len = datagram.packet_range().end + datagram.trailer_bytes.len();
    &file[end - len..end]
}

//= P-WIRE-01, P-WIRE-02, P-WIRE-03: a Windows client of 2008, its server and a relay
#[test]
fn windows_client_of_2008() {
    let Some(file) = foreign_capture("teredo-2008.pcap") else { return };
    let (packets, frames) = teredo_packets(&file);
    assert_eq!(frames, 78);
    let numbers: Vec<_> = packets.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [6, 7].into_iter().chain(29..50).chain(52..58).collect::<Vec<_>>());
    let at = |frame| packets.iter().find(|(number, _)| *number == frame).unwrap().1;
    let kinds = [6, 7, 29, 30, 31, 32, 33, 34].map(|frame| Kind::of(&at(frame).datagram.ipv6));
    let names = kinds.map(Kind::name);
    let expected = ["rs", "ra", "bubble", "echo-request", "bubble", "bubble", "echo-reply", "data"];
    assert_eq!(names, expected);

    let (asked, answered) = (at(6).datagram, at(7).datagram);
    assert_eq!(asked.authentication, answered.authentication);
    assert_eq!(answered.origin, Some(endpoint("70.55.215.234:3797")));
    assert_eq!(at(29).datagram.ipv6.hop_limit(), 21);
    assert_eq!(at(31).datagram.origin, Some(endpoint("83.170.1.38:32900")));
    assert_eq!(at(31).datagram.ipv6.hop_limit(), 0);
    let client = TeredoAddress::parse(at(29).datagram.ipv6.source()).unwrap();
    assert_eq!((client.server, client.mapped), (ipv4("65.55.158.80"), answered.origin.unwrap()));
    for (_, line) in &packets {
        assert!(line.datagram.ipv6.bytes().len() <= 1272);
        assert_eq!(line.datagram.trailer_bytes, []);
    }
    // All but the solicitation, which carries an option, are such as we send.
    for (number, line) in packets.iter().filter(|(number, _)| *number != 6) {
        let again = written(|writer| write_again(writer, &line.datagram));
        assert_eq!(again, payload(&line.datagram, &file), "frame {number}");
    }
}

#[test]
fn dns_is_not_teredo() {
    let Some(file) = foreign_capture("false-teredo-dns.pcap") else { return };
    let (packets, frames) = teredo_packets(&file);
    assert_eq!((packets.len(), frames), (0, 18));
}

/// UDP over IPv6 is not the envelope of Teredo, whatever it carries.
#[test]
fn udp_over_ipv6_is_not_teredo() {
    let Some(file) = foreign_capture("teredo-udp-in-udp.pcap") else { return };
    let (packets, frames) = teredo_packets(&file);
    assert_eq!((packets.len(), frames), (0, 1));
}

/// `TEREDO_BLESS=1` writes the file anew.
#[test]
fn own_captures_are_as_generated() {
    for (name, contents) in [("vectors.pcap", vectors()), ("links.pcap", links())] {
        let path = own(name);
        if std::env::var_os("TEREDO_BLESS").is_some() {
            std::fs::write(&path, &contents).unwrap();
        }
        assert!(std::fs::read(&path).unwrap() == contents, "{name} differs");
    }
}

//= P-WIRE-12, P-WIRE-24, P-WIRE-25: the vectors in a capture, read and written again
#[test]
fn vectors_in_a_capture() {
    let file = std::fs::read(own("vectors.pcap")).unwrap();
    let (packets, frames) = teredo_packets(&file);
    assert_eq!((packets.len(), frames), (6, 6));
    for ((_, line), expected) in packets.iter().zip(payloads()) {
        assert_eq!(written(|writer| write_again(writer, &line.datagram)), expected);
    }
    let lines: Vec<_> = packets.iter().map(|(_, line)| line.to_string()).collect();
    assert_eq!(lines, LINES);
}

/// The same packets as another tool converted them to pcapng.
#[test]
fn vectors_in_pcapng() {
    let [classic, next] =
        ["vectors.pcap", "vectors.pcapng"].map(|it| std::fs::read(own(it)).unwrap());
    let records = |file| Reader::new(file).unwrap().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(records(&classic), records(&next));
}

#[test]
fn links_in_a_capture() {
    let file = std::fs::read(own("links.pcap")).unwrap();
    let (packets, frames) = teredo_packets(&file);
    let numbers: Vec<_> = packets.iter().map(|(number, _)| *number).collect();
    assert_eq!((numbers, frames), (vec![1, 2, 3, 4], 6));
    for (_, line) in packets {
        assert_eq!(payload(&line.datagram, &file), solicitation());
    }
}

fn own(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(name)
}

/// Every vector, on a raw link.
fn vectors() -> Vec<u8> {
    let frames = payloads().map(|payload| udp_packet(&payload));
    capture(LinkType::RAW, &frames)
}

/// Ethernet bare, with one tag, with two, and a GTP-U tunnel; then what is not to be found: a
/// fragment, and port 3544 with something else.
fn links() -> Vec<u8> {
    let packet = udp_packet(&solicitation());
    let len = (packet.len() as u16).to_be_bytes();
    let tunnelled = [&[0x30, 0xff, len[0], len[1], 0, 0, 0, 1][..], &packet].concat();
    let tunnel = udp_packet_between("192.0.2.8:2152", "192.0.2.9:2152", &tunnelled);
    let mut fragment = packet.clone();
    fragment[6] = 0x20;
    let noise = udp_packet(b"not Teredo");
    let frames = [
        ("0800", &packet),
        ("8100 0001 0800", &packet),
        ("88a8 0001 8100 0002 0800", &packet),
        ("0800", &tunnel),
        ("0800", &fragment),
        ("0800", &noise),
    ];
    let frames = frames.map(|(types, packet)| {
        [&hex(&format!("020000000001 020000000002 {types}")), &packet[..]].concat()
    });
    capture(LinkType::ETHERNET, &frames)
}

fn capture(link: LinkType, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = pcap::file_header(link).to_vec();
    for (frame, milliseconds) in frames.iter().zip((1_140_000_000_000..).step_by(100)) {
        let time = Duration::from_millis(milliseconds);
        file.extend(pcap::record_header(time, frame.len() as u32));
        file.extend(frame);
    }
    file
}

const LINES: [&str; 6] = [
    "192.0.2.1:4096 > 203.0.113.120:3544: rs fe80::ffff:ffff:ffff > ff02::2, hop limit 255, \
     length 8, cone bit 0, auth nonce 0001020304050607",
    "192.0.2.1:4096 > 203.0.113.120:3544: ra fe80::8000:f227:34ff:8e87 > fe80::ffff:ffff:ffff, \
     hop limit 255, length 56, prefix 2001:0:cb00:7178::/64, mtu 1280, \
     auth nonce 0001020304050607, origin 192.0.2.1:4096",
    "192.0.2.1:4096 > 203.0.113.120:3544: bubble 2001:0:cb00:7178:0:efff:3fff:fdfe > \
     2001:0:c633:6476:0:dfff:3fff:fdf5, hop limit 255, length 0",
    "192.0.2.1:4096 > 203.0.113.120:3544: bubble 2001:0:cb00:7178:0:efff:3fff:fdfe > \
     2001:0:c633:6476:0:dfff:3fff:fdf5, hop limit 255, length 0, nonce deadbeef, \
     random port 50000, alternate addresses 192.168.1.10:40000 10.0.0.2:40001, \
     neighbor discovery solicitation",
    "192.0.2.1:4096 > 203.0.113.120:3544: echo-request 2001:0:cb00:7178:0:efff:3fff:fdfe > \
     2001:db8::1, hop limit 128, length 16, id 0x1234, seq 1, data 0011223344556677",
    "192.0.2.1:4096 > 203.0.113.120:3544: bubble 2001:0:cb00:7178:0:efff:3fff:fdfe > ff02::1, \
     hop limit 1, length 0",
];
