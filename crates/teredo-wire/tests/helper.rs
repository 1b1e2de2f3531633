//! Frames of the helper: layouts byte by byte, round trips, every length, random bytes.

mod common;

use common::*;
use teredo_wire::Writer;
use teredo_wire::helper::{
    Challenge, FORWARD_HEADER_LEN, Fault, Forward, Frame, Register, Registered, Seal, Status,
    forward_header, is_frame,
};

const NONCE: [u8; 8] = *b"nonce678";
const COOKIE: [u8; 16] = *b"cookie cookie 16";

fn register() -> Register<'static> {
    let address = ipv6("2001:0:cb00:710a::1");
    Register { nonce: NONCE, cookie: COOKIE, address, client_id: b"laptop" }
}

fn registered() -> Registered {
    let (status, token) = (Status::ADDRESS_IN_USE, *b"TOKN");
    Registered { status, nonce: NONCE, cookie: COOKIE, token, lifetime_s: 0x0102 }
}

fn signed(write: impl Fn(&mut Writer<'_>, u8) -> Result<(), teredo_wire::NoSpace>) -> Vec<u8> {
    let mut bytes = written(|writer| write(writer, 20));
    bytes.extend([0x5a; 20]);
    bytes
}

fn frames() -> [Vec<u8>; 4] {
    [
        signed(|writer, mac_len| register().write(writer, mac_len)),
        written(|writer| Challenge { nonce: NONCE, cookie: COOKIE }.write(writer)),
        signed(|writer, mac_len| registered().write(writer, mac_len)),
        written(|writer| forward().write(writer)),
    ]
}

fn forward() -> Forward<'static> {
    Forward { endpoint: endpoint("198.51.100.7:4096"), token: *b"TOKN", datagram: &[0x60, 0] }
}

#[test]
fn frames_byte_by_byte() {
    let [request, challenge, answer, forwarded] = frames();
    let tail = "5a".repeat(20);
    assert_eq!(
        request,
        hex(&format!(
            "80 00 06 14 6e6f6e6365363738 636f6f6b696520636f6f6b6965203136
             20010000cb00710a0000000000000001 6c6170746f70 {tail}"
        ))
    );
    assert_eq!(challenge, hex("81 00 00 00 6e6f6e6365363738 636f6f6b696520636f6f6b6965203136"));
    assert_eq!(
        answer,
        hex(&format!(
            "82 00 01 14 6e6f6e6365363738 636f6f6b696520636f6f6b6965203136 544f4b4e 0102 {tail}"
        ))
    );
    assert_eq!(forwarded, hex("83 00 efff 39cc9bf8 544f4b4e 6000"));
    assert_eq!(forwarded[..FORWARD_HEADER_LEN], forward_header(forward().endpoint, *b"TOKN"));
}

#[test]
fn frames_survive_the_round_trip() {
    let [request, challenge, answer, forwarded] = frames();
    let seal = |frame: &'static [u8]| {
        let (covered, mac) = frame.split_at(frame.len() - 20);
        Seal { mac, covered }
    };
    let (request, answer) = (request.leak(), answer.leak());
    assert_eq!(Frame::parse(request), Ok(Frame::Register(register(), seal(request))));
    let expected = Challenge { nonce: NONCE, cookie: COOKIE };
    assert_eq!(Frame::parse(&challenge), Ok(Frame::Challenge(expected)));
    assert_eq!(Frame::parse(answer), Ok(Frame::Registered(registered(), seal(answer))));
    assert_eq!(Frame::parse(&forwarded), Ok(Frame::Forward(forward())));
}

/// Nothing in Teredo begins like a frame, and no frame like Teredo.
#[test]
fn frames_and_teredo_tell_themselves_apart() {
    assert!(frames().iter().all(|frame| is_frame(frame)));
    assert!(frames().iter().all(|frame| teredo_wire::Datagram::parse(frame).is_err()));
    for first in (0..0x80).chain(0xc0..=0xff) {
        assert!(!is_frame(&[first, 0, 0]));
        assert_eq!(Frame::parse(&[first, 0, 0]), Err(Fault::Version));
    }
    assert!(!is_frame(&[]));
}

#[test]
fn every_length_but_the_right_one_is_refused() {
    for frame in frames() {
        let is_forward = frame[0] == 0x83;
        for len in 0..frame.len() {
            let expected = if is_forward && len >= FORWARD_HEADER_LEN {
                continue;
            } else {
                Err(Fault::Truncated)
            };
            assert_eq!(Frame::parse(&frame[..len]), expected, "{len} bytes of {frame:02x?}");
        }
        if !is_forward {
            assert_eq!(Frame::parse(&[&frame[..], &[0]].concat()), Err(Fault::TooLong));
        }
        let other_version = [&[frame[0], 1], &frame[2..]].concat();
        assert_eq!(Frame::parse(&other_version), Err(Fault::Version));
    }
    assert_eq!(Frame::parse(&[0x84, 0, 0, 0]), Err(Fault::Kind));
    let anonymous = Register { client_id: &[], ..register() };
    let anonymous = signed(|writer, mac_len| anonymous.write(writer, mac_len));
    assert_eq!(Frame::parse(&anonymous), Err(Fault::NoIdentifier));
}

#[test]
fn what_does_not_fit_is_not_written() {
    let long = Register { client_id: &[b'x'; 256], ..register() };
    assert!(long.write(&mut Writer::new(&mut [0; 400]), 20).is_err());
    for len in 0..14 {
        assert!(forward().write(&mut Writer::new(&mut vec![0; len])).is_err());
    }
}

#[test]
fn no_answer_is_longer_than_its_question() {
    let [request, challenge, answer, _] = frames();
    let shortest = Register { client_id: b"x", ..register() };
    let shortest = signed(|writer, mac_len| shortest.write(writer, mac_len));
    assert!(shortest.len() < request.len());
    assert!(challenge.len() < shortest.len() && answer.len() < shortest.len());
}

#[test]
fn random_bytes_do_no_harm() {
    let mut state = 7_u64;
    for round in 0..100_000 {
        let len = (round % 120) as usize;
        let mut bytes: Vec<u8> = (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        if let [first, second, ..] = &mut bytes[..] {
            (*first, *second) = (0x80 | *first & 7, 0);
        }
        if let Ok(Frame::Register(_, seal) | Frame::Registered(_, seal)) = Frame::parse(&bytes) {
            assert_eq!([seal.covered, seal.mac].concat(), bytes);
        }
    }
}
