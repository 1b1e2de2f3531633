//! `teredo decode`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::net::{Ipv6Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use common::{command, run};
use serde_json::{Value, json};
use teredo_wire::address::{CLIENT_LINK_LOCAL, server_link_local};
use teredo_wire::datagram::write_origin;
use teredo_wire::icmpv6::{self, Echo, RouterAdvertisement};
use teredo_wire::ipv6::Header;
use teredo_wire::pcap::{self, LinkType};
use teredo_wire::{NoSpace, Writer, checksum};

const CLIENT: &str = "192.0.2.1:4096";
const SERVER: &str = "203.0.113.120:3544";

/// A capture that lies beside the tests of teredo-wire.
fn vectors() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../teredo-wire/tests/captures");
    folder.join("vectors.pcap").to_str().unwrap().to_owned()
}

/// Writes a capture of UDP payloads from client to server on a raw link.
fn capture(name: &str, payloads: &[Vec<u8>]) -> String {
    let mut file = pcap::file_header(LinkType::RAW).to_vec();
    for payload in payloads {
        let frame = udp_packet(payload);
        file.extend(pcap::record_header(Duration::ZERO, frame.len() as u32));
        file.extend(frame);
    }
    write(name, &file)
}

fn write(name: &str, contents: &[u8]) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, contents).unwrap();
    path.to_str().unwrap().to_owned()
}

fn udp_packet(payload: &[u8]) -> Vec<u8> {
    let [source, destination]: [SocketAddrV4; 2] = [CLIENT, SERVER].map(|it| it.parse().unwrap());
    let mut buffer = vec![0; 2000];
    let mut writer = Writer::new(&mut buffer);
    let udp_len = 8 + payload.len() as u16;
    let mut write = || {
        writer.put(&[0x45, 0])?;
        writer.put_u16(20 + udp_len)?;
        writer.put(&[0, 0, 0, 0, 64, 17, 0, 0])?;
        writer.put_ipv4(*source.ip())?;
        writer.put_ipv4(*destination.ip())?;
        for field in [source.port(), destination.port(), udp_len, 0] {
            writer.put_u16(field)?;
        }
        writer.put(payload)
    };
    write().unwrap();
    writer.written().to_vec()
}

fn written(write: impl FnOnce(&mut Writer<'_>) -> Result<(), NoSpace>) -> Vec<u8> {
    let mut buffer = vec![0; 2000];
    let mut writer = Writer::new(&mut buffer);
    write(&mut writer).unwrap();
    writer.written().to_vec()
}

fn client() -> Ipv6Addr {
    "2001:0:cb00:7178:0:efff:3fff:fdfe".parse().unwrap()
}

#[test]
fn json_has_the_agreed_members() {
    let decoded = run(&["decode", "--json", &vectors()]);
    assert_eq!((decoded.code, decoded.stderr.as_str()), (0, ""));
    let packets = decoded.json();
    let kinds: Vec<_> = packets.iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["rs", "ra", "bubble", "bubble", "echo-request", "bubble"]);
    let advertisement = json!({
        "frame": 2, "src": CLIENT, "dst": SERVER, "kind": "ra",
        "auth": {
            "client_id": "", "value": "", "nonce": "0001020304050607", "confirmation": 0,
        },
        "origin": CLIENT,
        "ipv6": {
            "src": "fe80::8000:f227:34ff:8e87", "dst": "fe80::ffff:ffff:ffff",
            "next_header": 58, "hop_limit": 255, "length": 56,
        },
        "trailers": [], "error": null,
    });
    assert_eq!(packets[1], advertisement);
    let trailers = json!([
        {"type": "nonce", "nonce": "deadbeef"},
        {"type": "random-port", "port": 50000},
        {"type": "alternate-address", "addresses": ["192.168.1.10:40000", "10.0.0.2:40001"]},
        {"type": "neighbor-discovery", "discovery": "solicitation"},
    ]);
    assert_eq!(packets[3]["trailers"], trailers);
    assert_eq!((&packets[4]["auth"], &packets[4]["origin"]), (&Value::Null, &Value::Null));
}

#[test]
fn text_is_one_line_a_packet() {
    let decoded = run(&["decode", &vectors()]);
    assert_eq!(decoded.code, 0);
    let lines: Vec<_> = decoded.stdout.lines().collect();
    assert_eq!(lines.len(), 6);
    let bubble = "    3    0.200000 192.0.2.1:4096 > 203.0.113.120:3544: bubble \
                  2001:0:cb00:7178:0:efff:3fff:fdfe > 2001:0:c633:6476:0:dfff:3fff:fdf5, \
                  hop limit 255, length 0";
    assert_eq!(lines[2], bubble);
    assert_eq!(decoded.stderr, "6 Teredo packets in 6 frames\n");
}

/// What every receiver drops is listed with the name of the reason.
#[test]
fn errors_are_drop_reasons() {
    let header = Header::bubble(client(), client());
    let bubble = written(|writer| header.write(writer));
    let echo = Echo { reply: false, identifier: 1, sequence: 1, data: &[] };
    let mut damaged = written(|writer| echo.write(writer, client(), client(), 64));
    damaged[47] ^= 1;
    let mut solicitation =
        written(|writer| icmpv6::write_router_solicitation(writer, CLIENT_LINK_LOCAL));
    solicitation[7] = 64;
    let server = [203, 0, 113, 120].into();
    let source = server_link_local(server);
    let advertisement =
        RouterAdvertisement { source, destination: CLIENT_LINK_LOCAL, server, mtu: None };
    let without_origin = written(|writer| advertisement.write(writer));
    let with_origin = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = without_origin.clone();
        change(&mut packet);
        packet[42..44].fill(0);
        let sum = checksum::ipv6(source, CLIENT_LINK_LOCAL, 58, &packet[40..]);
        packet[42..44].copy_from_slice(&sum.to_be_bytes());
        let origin = written(|writer| write_origin(writer, CLIENT.parse().unwrap()));
        [origin, packet].concat()
    };
    let of = |next_header| written(|writer| Header { next_header, ..header }.write(writer));
    let from = |source| written(|writer| Header { source, ..header }.write(writer));
    let cases = [
        (bubble.clone(), None),
        ([&bubble[..], &[0x45, 1, 7]].concat(), Some("refused-trailer")),
        ([&bubble[..], &[0x05, 1, 7]].concat(), None),
        (damaged, Some("invalid-icmpv6")),
        (of(58), Some("invalid-icmpv6")),
        (of(43), Some("routing-header")),
        (from(Ipv6Addr::LOCALHOST), Some("impossible-ipv6-source")),
        (from("ff02::1".parse().unwrap()), Some("impossible-ipv6-source")),
        (solicitation, Some("invalid-solicitation")),
        (with_origin(&|_| {}), None),
        (without_origin.clone(), Some("unusable-origin")),
        (with_origin(&|it| it[41] = 1), Some("invalid-advertisement")),
        (with_origin(&|it| it[57] = 0), Some("invalid-advertisement")),
        (with_origin(&|it| it[56] = 14), Some("unusable-prefix")),
        (with_origin(&|it| it[40] = 136), Some("neighbor-discovery")),
    ];
    let file = capture("errors.pcap", &cases.clone().map(|(payload, _)| payload));
    let decoded = run(&["decode", "--json", &file]).json();
    let text = run(&["decode", &file]).stdout;
    assert_eq!((decoded.len(), text.lines().count()), (cases.len(), cases.len()));
    for ((packet, line), (_, expected)) in decoded.iter().zip(text.lines()).zip(&cases) {
        assert_eq!(packet["error"].as_str(), *expected, "{packet}");
        let suffix = expected.map(|it| format!(", error {it}"));
        assert_eq!(
            line.split_once(", error "),
            suffix
                .as_ref()
                .and_then(|it| { Some((line.strip_suffix(it.as_str())?, (*expected)?)) })
        );
    }
    assert_eq!(decoded[2]["trailers"], json!([{"type": "ignored", "number": 5, "value": "07"}]));
}

/// Port 3544 alone does not make a packet: what does not parse is counted, not listed.
#[test]
fn what_does_not_parse_is_counted() {
    let file = capture("noise.pcap", &[b"noise".to_vec(), vec![0, 1, 0, 0], vec![]]);
    let decoded = run(&["decode", &file]);
    assert_eq!((decoded.code, decoded.stdout.as_str()), (0, ""));
    let summary = "0 Teredo packets in 3 frames, 3 datagrams of port 3544 that are not Teredo \
                   (first: frame 1, truncated-ipv6-header)\n";
    assert_eq!(decoded.stderr, summary);
    assert_eq!(run(&["decode", "--json", &file]).stdout, "");
}

#[test]
fn files_that_cannot_be_read_take_one_line() {
    let missing = "no-such-directory/x.pcap";
    run(&["decode", missing]).is_one_line(1, "cannot read no-such-directory/x.pcap: No such file");
    run(&["decode", "--json", missing]).is_one_line(1, "No such file");
    run(&["decode", env!("CARGO_TARGET_TMPDIR")]).is_one_line(1, "directory");
    let text = write("text.pcap", b"this is not a capture, is it?");
    run(&["decode", &text]).is_one_line(1, "not a capture file (pcap or pcapng)");
    run(&["decode", &write("empty.pcap", b"")]).is_one_line(1, "the file is empty");
    let usb =
        pcap::file_header(LinkType(220)).into_iter().chain(pcap::record_header(Duration::ZERO, 0));
    let usb = write("usb.pcap", &usb.collect::<Vec<_>>());
    run(&["decode", "--json", &usb]).is_one_line(1, "link type 220 is unknown");
}

#[test]
fn a_cut_capture_gives_what_it_has() {
    let mut contents = fs::read(vectors()).unwrap();
    contents.truncate(contents.len() - 1);
    let decoded = run(&["decode", "--json", &write("cut.pcap", &contents)]);
    assert_eq!((decoded.code, decoded.json().len()), (1, 5));
    assert!(decoded.stderr.contains("past frame 5: the capture is cut short"), "{decoded:?}");
}

/// A reader that has seen enough is not a failure.
#[test]
fn a_closed_pipe_is_fine() {
    let mut child = command(&["decode", &vectors()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(!String::from_utf8(output.stderr).unwrap().contains("panic"));
}

#[test]
fn real_captures() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures");
    let folder = std::env::var_os("TEREDO_CAPTURES").map_or(beside, PathBuf::from);
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    if !folder.exists() {
        eprintln!("skipped: the captures are in neither $TEREDO_CAPTURES nor ../shared/captures");
        return;
    }
    let decoded = run(&["decode", "--json", &file("teredo-2008.pcap")]).json();
    assert_eq!(decoded.len(), 29);
    assert!(decoded.iter().all(|packet| packet["error"].is_null()));
    for name in ["false-teredo-dns.pcap", "teredo-udp-in-udp.pcap"] {
        let decoded = run(&["decode", "--json", &file(name)]);
        assert_eq!((decoded.code, decoded.stdout.as_str()), (0, ""), "{name}");
    }
}
