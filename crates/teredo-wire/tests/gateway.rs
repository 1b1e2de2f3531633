//! PCP and NAT-PMP: layouts byte by byte, round trips, every length, random bytes.

mod common;

use std::net::{Ipv4Addr, SocketAddrV4};

use common::*;
use teredo_wire::Writer;
use teredo_wire::nat_pmp;
use teredo_wire::pcp::{self, Fault, Mapping, Operation};

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);

fn mapping() -> Mapping {
    Mapping {
        nonce: *b"abcdefghijkl",
        protocol: 17,
        internal_port: 0x0dd8,
        external: endpoint("203.0.113.101:4096"),
    }
}

fn pcp_request(operation: Operation) -> (pcp::Request, Vec<u8>) {
    let request = pcp::Request { lifetime_s: 7200, client: CLIENT, operation };
    (request, written(|writer| request.write(writer)))
}

fn pcp_response(operation: Operation) -> (pcp::Response, Vec<u8>) {
    let (result, operation) = (pcp::ResultCode::SUCCESS, Some(operation));
    let response = pcp::Response { result, lifetime_s: 120, epoch_s: 0x01020304, operation };
    (response, written(|writer| response.write(writer)))
}

fn operations() -> [Operation; 3] {
    let remote = endpoint("198.51.100.7:3544");
    [Operation::Announce, Operation::Map(mapping()), Operation::Peer(mapping(), remote)]
}

#[test]
fn a_pcp_map_request_byte_by_byte() {
    let (_, bytes) = pcp_request(Operation::Map(mapping()));
    let expected = [
        &[2, 1, 0, 0, 0, 0, 0x1c, 0x20][..],
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 1, 2],
        b"abcdefghijkl",
        &[17, 0, 0, 0, 0x0d, 0xd8, 0x10, 0x00],
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 101],
    ];
    assert_eq!(bytes, expected.concat());
}

#[test]
fn a_pcp_peer_response_byte_by_byte() {
    let (_, bytes) = pcp_response(operations()[2]);
    let header = [2, 0x82, 0, 0, 0, 0, 0, 120, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(bytes[..24], header);
    let remote = [&[0x0d, 0xd8, 0, 0][..], &[0; 10], &[0xff, 0xff, 198, 51, 100, 7]].concat();
    assert_eq!(bytes[60..], remote);
}

#[test]
fn nat_pmp_messages_byte_by_byte() {
    let ask = nat_pmp::Request::ExternalAddress;
    assert_eq!(written(|writer| ask.write(writer)), [0, 0]);
    let map = nat_pmp::Request::Map { internal_port: 3545, external_port: 4096, lifetime_s: 7200 };
    let bytes = [0, 1, 0, 0, 0x0d, 0xd9, 0x10, 0, 0, 0, 0x1c, 0x20];
    assert_eq!(written(|writer| map.write(writer)), bytes);
    let answer = nat_pmp::Response::parse(&[0, 128, 0, 0, 0, 0, 1, 0, 203, 0, 113, 101]).unwrap();
    let address = nat_pmp::Answer::ExternalAddress(Ipv4Addr::new(203, 0, 113, 101));
    assert_eq!((answer.epoch_s, answer.answer), (256, Some(address)));
    let refusal = nat_pmp::Response::parse(&[0, 129, 0, 4, 0, 0, 0, 9]).unwrap();
    assert_eq!((refusal.result, refusal.answer), (nat_pmp::ResultCode::NO_RESOURCES, None));
}

#[test]
fn what_is_written_is_read_again() {
    for operation in operations() {
        let (request, bytes) = pcp_request(operation);
        assert_eq!(pcp::Request::parse(&bytes), Ok(request));
        assert_eq!(pcp::Response::parse(&bytes), Err(Fault::Direction));
        let (response, bytes) = pcp_response(operation);
        assert_eq!(pcp::Response::parse(&bytes), Ok(response));
        assert_eq!(pcp::Request::parse(&bytes), Err(Fault::Direction));
    }
    for (request, answer) in nat_pmp_pairs() {
        let bytes = written(|writer| request.write(writer));
        assert_eq!(nat_pmp::Request::parse(&bytes), Ok(request));
        let result = nat_pmp::ResultCode::SUCCESS;
        let response = nat_pmp::Response { result, epoch_s: 7, answer: Some(answer) };
        let bytes = written(|writer| response.write(writer, request));
        assert_eq!(nat_pmp::Response::parse(&bytes), Ok(response));
    }
}

#[test]
fn messages_cut_short_or_lengthened_are_refused() {
    for operation in operations() {
        let (request, bytes) = pcp_request(operation);
        for len in 0..bytes.len() {
            assert!(pcp::Request::parse(&bytes[..len]).is_err(), "{operation:?} {len}");
        }
        let mut longer = bytes.clone();
        longer.extend([0; 4]);
        assert_eq!(pcp::Request::parse(&longer), Ok(request), "options are skipped");
        assert_eq!(pcp::Request::parse(&longer[..bytes.len() + 1]), Err(Fault::Unaligned));
        longer.resize(pcp::LEN_MAX + 4, 0);
        assert_eq!(pcp::Request::parse(&longer), Err(Fault::TooLong));
        let (_, bytes) = pcp_response(operation);
        for len in 0..bytes.len() {
            assert!(pcp::Response::parse(&bytes[..len]).is_err(), "{operation:?} {len}");
        }
    }
    for (request, answer) in nat_pmp_pairs() {
        let bytes = written(|writer| request.write(writer));
        let response = nat_pmp::Response {
            result: nat_pmp::ResultCode::SUCCESS,
            epoch_s: 7,
            answer: Some(answer),
        };
        for len in 0..bytes.len() {
            assert_eq!(nat_pmp::Request::parse(&bytes[..len]), Err(Fault::Truncated));
        }
        let bytes = written(|writer| response.write(writer, request));
        for len in 0..bytes.len() {
            assert_eq!(nat_pmp::Response::parse(&bytes[..len]), Err(Fault::Truncated));
        }
    }
}

#[test]
fn a_refusal_needs_no_body_and_other_versions_and_families_are_told_apart() {
    let mut refusal = vec![2, 0x81, 0, 1];
    refusal.resize(24, 0);
    let read = pcp::Response::parse(&refusal).unwrap();
    assert_eq!((read.result, read.operation), (pcp::ResultCode::UNSUPPORTED_VERSION, None));
    refusal[0] = 0;
    assert_eq!(pcp::Response::parse(&refusal), Err(Fault::Version));
    let (_, mut bytes) = pcp_request(Operation::Map(mapping()));
    bytes[8] = 0x20;
    assert_eq!(pcp::Request::parse(&bytes), Err(Fault::NotIpv4));
    bytes[8] = 0;
    bytes[1] = 3;
    assert_eq!(pcp::Request::parse(&bytes), Err(Fault::Opcode));
}

#[test]
fn random_bytes_never_break_anything() {
    let mut random = Random::new(0x5351);
    for _ in 0..200_000 {
        let mut bytes = random.bytes(96);
        // Most of them get past the first check.
        bytes[0] &= 2;
        bytes[1] &= 0x83;
        bytes[3] &= 1;
        let len = random.below(97);
        let _ = pcp::Request::parse(&bytes[..len]);
        let _ = pcp::Response::parse(&bytes[..len]);
        let _ = nat_pmp::Request::parse(&bytes[..len]);
        let _ = nat_pmp::Response::parse(&bytes[..len]);
    }
}

fn nat_pmp_pairs() -> [(nat_pmp::Request, nat_pmp::Answer); 2] {
    let (internal_port, external_port, lifetime_s) = (3545, 4096, 60);
    [
        (
            nat_pmp::Request::ExternalAddress,
            nat_pmp::Answer::ExternalAddress(Ipv4Addr::new(203, 0, 113, 101)),
        ),
        (
            nat_pmp::Request::Map { internal_port, external_port, lifetime_s },
            nat_pmp::Answer::Map { internal_port, external_port, lifetime_s },
        ),
    ]
}

#[test]
fn a_buffer_too_small_is_told() {
    let (request, bytes) = pcp_request(operations()[2]);
    for len in 0..bytes.len() {
        let mut buffer = vec![0; len];
        assert!(request.write(&mut Writer::new(&mut buffer)).is_err(), "{len}");
    }
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
    assert_eq!(Mapping { external: any, ..mapping() }.external, any);
}
