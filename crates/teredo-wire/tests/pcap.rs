//! Capture files: both byte orders, both resolutions, pcapng, and what is wrong with others.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::*;
use teredo_wire::pcap::{self, Error, LinkType, Reader, Record};

fn read(file: &[u8]) -> Result<Vec<Record<'_>>, Error> {
    Reader::new(file)?.collect()
}

#[test]
fn classic_in_every_dress() {
    let big = "0002 0004 00000000 00000000 00040000 00000065
               00000064 00000007 00000002 00000009 abcd";
    let little = "0200 0400 00000000 00000000 00000400 65000000
                  64000000 07000000 02000000 09000000 abcd";
    for (magic, rest, nanoseconds) in [
        ("a1b2c3d4", big, 7_000),
        ("a1b23c4d", big, 7),
        ("d4c3b2a1", little, 7_000),
        ("4d3cb2a1", little, 7),
    ] {
        let file = hex(&format!("{magic} {rest}"));
        let time = Duration::new(100, nanoseconds);
        let record = Record { link: LinkType::RAW, time, original_len: 9, bytes: &[0xab, 0xcd] };
        assert_eq!(read(&file), Ok(vec![record]));
    }
    let checked_frames = hex("a1b2c3d4 0002 0004 00000000 00000000 00040000 f4000001
                              00000064 00000000 00000000 00000000");
    assert_eq!(read(&checked_frames).unwrap()[0].link, LinkType::ETHERNET);
}

#[test]
fn written_and_read() {
    let mut file = pcap::file_header(LinkType::RAW).to_vec();
    let mut expected = Vec::new();
    let payloads = payloads();
    for (at, bytes) in payloads.iter().enumerate() {
        let time = Duration::new(1_700_000_000 + at as u64, 999_999_999 - at as u32);
        let original_len = bytes.len() as u32;
        file.extend(pcap::record_header(time, original_len));
        file.extend(bytes);
        expected.push(Record { link: LinkType::RAW, time, original_len, bytes });
    }
    assert_eq!(read(&file), Ok(expected));
}

const SECTION: &str = "0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000";
const PACKET: &str =
    "06000000 24000000 00000000 01000000 40420f00 02000000 05000000 abcd0000 24000000";

#[test]
fn pcapng_in_little_endian() {
    let interface = "01000000 14000000 6500 0000 00000000 14000000";
    let nanoseconds = "01000000 20000000 0100 0000 00000400 0900 0100 09000000 0000 0000 20000000";
    let statistics = "05000000 10000000 00000000 10000000";
    let second = PACKET.replacen("00000000", "01000000", 1);
    let simple = "03000000 14000000 02000000 abcd0000 14000000";
    let file =
        hex(&[SECTION, interface, statistics, nanoseconds, PACKET, &second, simple].concat());
    let stamp = (1_u64 << 32) + 1_000_000;
    let packet =
        |link, time, original_len| Record { link, time, original_len, bytes: &[0xab, 0xcd] };
    let expected = vec![
        packet(LinkType::RAW, Duration::from_micros(stamp), 5),
        packet(LinkType::ETHERNET, Duration::from_nanos(stamp), 5),
        packet(LinkType::RAW, Duration::ZERO, 2),
    ];
    assert_eq!(read(&file), Ok(expected));
    // A second section forgets the interfaces of the first.
    let other = hex(&[SECTION, interface, SECTION, PACKET].concat());
    assert_eq!(read(&other), Err(Error::UnknownInterface));
}

#[test]
fn pcapng_in_other_dresses() {
    let big = hex("0a0d0d0a 0000001c 1a2b3c4d 0001 0000 ffffffffffffffff 0000001c
                   00000001 00000020 0001 0000 00000003 0009 0001 94000000 0000 0000 00000020
                   00000006 00000024 00000000 00000000 00180000 00000002 00000002 abcd0000 00000024
                   00000002 00000024 0000 0001 00000000 00180000 00000002 00000002 abcd0000 00000024
                   00000003 00000014 00000009 abcdef00 00000014");
    let records = read(&big).unwrap();
    let halves = Duration::from_millis(1500);
    assert_eq!(records[0].time, halves, "units of 2 to the power of -20 seconds");
    assert_eq!((records[1].time, records[1].bytes), (halves, &[0xab, 0xcd][..]));
    assert_eq!((records[2].bytes, records[2].original_len), (&[0xab, 0xcd, 0xef][..], 9));
}

#[test]
fn errors_have_names() {
    assert_eq!(read(&[]), Err(Error::Empty));
    assert_eq!(read(b"GIF"), Err(Error::NotACapture));
    assert_eq!(read(b"#!/bin/sh and more than enough bytes"), Err(Error::NotACapture));
    assert_eq!(read(&hex("a1b2c3d4 0002 0004")), Err(Error::Truncated));
    let not_a_section = hex("0a0d0d0a 1c000000 00000000 0100 0000 ffffffffffffffff 1c000000");
    assert_eq!(read(&not_a_section), Err(Error::NotACapture));
    assert_eq!(read(&hex(&[SECTION, PACKET].concat())), Err(Error::UnknownInterface));
    for block in ["06000000 08000000 00000000", "06000000 0d000000 00000000 0d000000"] {
        assert_eq!(read(&hex(&[SECTION, block].concat())), Err(Error::InvalidBlock));
    }
    let long = "06000000 24000000 00000000 01000000 40420f00 05000000 05000000 abcd0000 24000000";
    let interface = "01000000 14000000 6500 0000 00000000 14000000";
    assert_eq!(read(&hex(&[SECTION, interface, long].concat())), Err(Error::InvalidBlock));
    let many = [SECTION, &interface.repeat(33)].concat();
    assert_eq!(read(&hex(&many)), Err(Error::TooManyInterfaces));
    for error in [Error::Empty, Error::NotACapture, Error::Truncated, Error::InvalidBlock] {
        assert!(!error.to_string().is_empty());
    }
}

/// What was whole before the cut is still read.
#[test]
fn a_cut_file_gives_what_it_has() {
    let mut file = pcap::file_header(LinkType::RAW).to_vec();
    for _ in 0..3 {
        file.extend(pcap::record_header(Duration::ZERO, 4));
        file.extend([1, 2, 3, 4]);
    }
    file.pop();
    let records: Vec<_> = Reader::new(&file).unwrap().collect();
    assert_eq!(records.len(), 3);
    assert!(records[0].is_ok() && records[1].is_ok());
    assert_eq!(records[2], Err(Error::Truncated));
}
