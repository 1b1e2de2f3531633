//! The UDP payload: encapsulations, IPv6 packet, what follows.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::*;
use teredo_wire::datagram::{split_at_value, write_origin};
use teredo_wire::ipv6::Header;
use teredo_wire::{Authentication, Datagram, Malformed, NoSpace, Writer};

//= P-WIRE-01: the IPv6 packet is the payload
#[test]
fn simple_encapsulation() {
    let bytes = echo_request();
    let datagram = Datagram::parse(&bytes).unwrap();
    assert_eq!(datagram.ipv6.bytes(), bytes);
    assert_eq!(datagram.packet_range(), 0..bytes.len());
    assert_eq!((datagram.authentication, datagram.origin), (None, None));
    assert_eq!(datagram.trailer_bytes, []);
}

//= P-WIRE-02: 8 bytes in front of the packet, inverted
#[test]
fn origin_indication() {
    for origin in ["1.2.3.4:337", "255.255.255.255:65535", "0.0.0.0:0"].map(endpoint) {
        let bytes = [written(|writer| write_origin(writer, origin)), bubble()].concat();
        assert_eq!(bytes.len(), 8 + 40);
        let datagram = Datagram::parse(&bytes).unwrap();
        assert_eq!(datagram.origin, Some(origin));
        assert_eq!(datagram.packet_range(), 8..48);
        assert_eq!(&bytes[datagram.packet_range()], datagram.ipv6.bytes());
    }
}

//= P-WIRE-03: 13 bytes and the identifier and the value, for all their lengths
#[test]
fn authentication() {
    let mut random = Random::new(3);
    let contents = random.bytes(510);
    for id_len in 0..=255 {
        for value_len in 0..=255 {
            let it = Authentication {
                client_id: &contents[..id_len],
                value: &contents[255..255 + value_len],
                nonce: random.next().to_be_bytes(),
                confirmation: random.next() as u8,
            };
            let mut buffer = [0; 13 + 510 + 40];
            let mut writer = Writer::new(&mut buffer);
            it.write(&mut writer).unwrap();
            assert_eq!(writer.len(), 13 + id_len + value_len);
            writer.put(&bubble()).unwrap();
            let written = writer.written();
            assert_eq!(written[..4], [0, 1, id_len as u8, value_len as u8]);
            let datagram = Datagram::parse(written).unwrap();
            assert_eq!(datagram.authentication, Some(it));
            assert_eq!(datagram.packet_range().len(), 40);
        }
    }
    let too_long = [0; 256];
    for (client_id, value) in [(&too_long[..], &[][..]), (&[][..], &too_long[..])] {
        let it = Authentication { client_id, value, ..Authentication::nonce_only(NONCE) };
        assert_eq!(it.write(&mut Writer::new(&mut [0; 1000])), Err(NoSpace));
    }
}

//= C-SEC-04: the value covers nonce, confirmation, origin and packet, and nothing else
#[test]
fn what_the_authentication_value_covers() {
    let origin = written(|writer| write_origin(writer, endpoint("1.2.3.4:337")));
    for (origin, trailers) in
        [(&[][..], &[][..]), (&[], &trailers()), (&origin, &[]), (&origin, &trailers())]
    {
        for (id_len, value_len) in [(0, 0), (8, 20), (255, 32), (0, 255), (255, 0)] {
            let it = Authentication {
                client_id: &vec![1; id_len],
                value: &vec![2; value_len],
                nonce: NONCE,
                confirmation: 3,
            };
            let front = written(|writer| it.write(writer));
            let covered = [&NONCE[..], &[3], origin, &solicitation()[13..]].concat();
            let mut bytes = [&front[..front.len() - 9], &covered].concat();
            let whole = [&bytes[..], trailers].concat();
            let datagram = Datagram::parse(&whole).unwrap();
            assert_eq!(datagram.authenticated_bytes(), Some(&covered[..]));
            assert_eq!(datagram.trailer_bytes, trailers);

            let (value, behind) = split_at_value(&mut bytes).unwrap();
            assert_eq!((&value[..], behind), (it.value, &covered[..]));
            value.fill(4);
            let filled = Datagram::parse(&bytes).unwrap().authentication.unwrap();
            assert_eq!(filled.value, vec![4; value_len]);
        }
    }
    let mut bare = bubble();
    assert_eq!(Datagram::parse(&bare).unwrap().authenticated_bytes(), None);
    assert_eq!(split_at_value(&mut bare), None);
    let mut whole = advertisement();
    for len in 0..13 {
        assert_eq!(split_at_value(&mut whole[..len]), None, "{len} bytes");
    }
}

//= P-WIRE-04: authentication, then origin, at most one of each
#[test]
fn order_of_encapsulations() {
    let auth = written(|writer| Authentication::nonce_only(NONCE).write(writer));
    let origin = written(|writer| write_origin(writer, endpoint("1.2.3.4:337")));
    let parse = |parts: &[&[u8]]| {
        let bytes = [&parts.concat()[..], &bubble()].concat();
        Datagram::parse(&bytes).map(|it| (it.authentication.is_some(), it.origin.is_some()))
    };
    assert_eq!(parse(&[]), Ok((false, false)));
    assert_eq!(parse(&[&auth]), Ok((true, false)));
    assert_eq!(parse(&[&origin]), Ok((false, true)));
    assert_eq!(parse(&[&auth, &origin]), Ok((true, true)));
    for parts in [
        &[&origin[..], &auth][..],
        &[&auth, &auth],
        &[&origin, &origin],
        &[&auth, &origin, &auth],
        &[&auth, &origin, &origin],
    ] {
        assert_eq!(parse(parts), Err(Malformed::MisorderedEncapsulation));
    }
}

//= P-WIRE-05: each malformation has a name
#[test]
fn malformed_datagrams() {
    let auth = written(|writer| Authentication::nonce_only(NONCE).write(writer));
    let origin = written(|writer| write_origin(writer, endpoint("1.2.3.4:337")));
    assert_eq!(Datagram::parse(&[]), Err(Malformed::Empty));
    assert_eq!(Datagram::parse(&auth), Err(Malformed::Empty));
    assert_eq!(Datagram::parse(&origin), Err(Malformed::Empty));
    assert_eq!(Datagram::parse(&[0]), Err(Malformed::UnknownEncapsulation));
    for second in 2..=255 {
        let bytes = [&[0, second][..], &[0; 100]].concat();
        assert_eq!(Datagram::parse(&bytes), Err(Malformed::UnknownEncapsulation));
    }
    for nibble in (0..16).filter(|nibble| *nibble != 6) {
        let mut bytes = bubble();
        bytes[0] = nibble << 4 | 1;
        assert_eq!(Datagram::parse(&bytes), Err(Malformed::NotIpv6));
    }
    for len in 2..auth.len() {
        assert_eq!(Datagram::parse(&auth[..len]), Err(Malformed::TruncatedAuthentication));
    }
    for len in 2..origin.len() {
        assert_eq!(Datagram::parse(&origin[..len]), Err(Malformed::TruncatedOrigin));
    }
    let mut names: Vec<_> = Malformed::ALL.iter().map(|it| it.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Malformed::ALL.len());
}

//= P-WIRE-06: 40 + Payload Length may be less than what is there, never more
#[test]
fn payload_length() {
    for payload_len in [0_u16, 1, 8, 1240, 0x7fff, 65467] {
        let header = Header { payload_len, ..Header::bubble(client_a(), client_b()) };
        let mut bytes = written(|writer| header.write(writer));
        bytes.resize(40 + usize::from(payload_len), 0x77);
        let exact = Datagram::parse(&bytes).unwrap();
        assert_eq!(exact.ipv6.payload().len(), usize::from(payload_len));
        assert_eq!(exact.trailer_bytes, []);
        bytes.push(0x99);
        let longer = Datagram::parse(&bytes).unwrap();
        assert_eq!(longer.ipv6.payload().len(), usize::from(payload_len));
        assert_eq!(longer.trailer_bytes, [0x99]);
        let shorter = Datagram::parse(&bytes[..bytes.len() - 2]);
        let expected = match payload_len {
            0 => Malformed::TruncatedIpv6Header,
            _ => Malformed::TruncatedIpv6Payload,
        };
        assert_eq!(shorter, Err(expected));
    }
}

//= P-WIRE-10, P-WIRE-11: no payload and next header 59 make a bubble, whatever the hop limit
#[test]
fn what_a_bubble_is() {
    for hop_limit in 0..=255 {
        let bytes = written(|writer| {
            Header { hop_limit, ..Header::bubble(client_a(), client_b()) }.write(writer)
        });
        assert!(Datagram::parse(&bytes).unwrap().ipv6.is_bubble());
    }
    let mut other = bubble();
    other[6] = 58;
    assert!(!Datagram::parse(&other).unwrap().ipv6.is_bubble());
    let mut with_payload = bubble_with(&[0]);
    with_payload[5] = 1;
    assert!(!Datagram::parse(&with_payload).unwrap().ipv6.is_bubble());
}

#[test]
fn header_fields() {
    let mut bytes = echo_request();
    bytes[0] = 0x6a;
    bytes[1] = 0xb5;
    let packet = Datagram::parse(&bytes).unwrap().ipv6;
    assert_eq!(packet.traffic_class(), 0xab);
    assert_eq!((packet.source(), packet.destination()), (client_a(), ipv6("2001:db8::1")));
    assert_eq!((packet.next_header(), packet.hop_limit()), (58, 128));
}

#[test]
fn writers_stop_at_the_end_of_their_buffer() {
    for len in 0..61 {
        let mut buffer = vec![0; len];
        let mut writer = Writer::new(&mut buffer);
        let result = Authentication::nonce_only(NONCE).write(&mut writer).and_then(|()| {
            teredo_wire::icmpv6::write_router_solicitation(
                &mut writer,
                teredo_wire::address::CLIENT_LINK_LOCAL,
            )
        });
        assert_eq!(result, Err(NoSpace));
        assert!(writer.len() <= len);
    }
}
