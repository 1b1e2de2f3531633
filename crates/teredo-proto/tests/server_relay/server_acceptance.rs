//! The rules of RFC 4380 section 5.3.1 that decide whether a packet is taken at all.

use std::net::SocketAddrV4;

use teredo_proto::server::{Config, EndpointCheck, Server};
use teredo_proto::{Arrival, DropReason, Inbound, Ipv4Filter, Local, Role};
use teredo_wire::address::{ALL_ROUTERS, CLIENT_LINK_LOCAL};
use teredo_wire::datagram::Malformed;
use teredo_wire::{Authentication, Flags};

use crate::packets::*;

pub(crate) fn server() -> Server {
    server_with(|_| {})
}

pub(crate) fn server_with(change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::new(SERVER, Some(SECONDARY));
    config.filter = lab_filter();
    change(&mut config);
    Server::new(config, SEED)
}

/// A solicitation as current clients send it.
pub(crate) fn solicitation() -> Vec<u8> {
    written(|writer| teredo_wire::icmpv6::write_router_solicitation(writer, CLIENT_LINK_LOCAL))
}

/// Why the server drops `payload` from `from`; nothing may be sent then.
fn refusal(server: &mut Server, from: SocketAddrV4, payload: &[u8]) -> DropReason {
    let (inbound, sent) = exchange(server, ms(0), from, payload);
    let Inbound::Dropped(reason) = inbound else { panic!("{inbound:?}") };
    assert!(sent.is_empty(), "{reason:?} and yet {sent:?}");
    assert_eq!(server.counters().dropped_total(), server.counters().dropped(reason));
    reason
}

fn refused(from: SocketAddrV4, payload: &[u8]) -> DropReason {
    refusal(&mut server(), from, payload)
}

fn sent(from: SocketAddrV4, payload: &[u8]) -> usize {
    exchange(&mut server(), ms(0), from, payload).1.len()
}

//= S-RX-01, P-WIRE-04, P-WIRE-05: ill-formed content is dropped without any reply
#[test]
fn ill_formed_content_is_dropped_by_name() {
    let solicitation = solicitation();
    let authentication = Authentication::nonce_only([1; 8]);
    let reversed = with_origin(CLIENT_AT, &with_authentication(authentication, &solicitation));
    let twice = with_origin(CLIENT_AT, &with_origin(CLIENT_AT, &solicitation));
    let mut version_4 = solicitation.clone();
    version_4[0] = 0x45;
    for (payload, malformed) in [
        (&[][..], Malformed::Empty),
        (&[0, 2, 0, 0], Malformed::UnknownEncapsulation),
        (&reversed, Malformed::MisorderedEncapsulation),
        (&twice, Malformed::MisorderedEncapsulation),
        (&[0, 1, 9], Malformed::TruncatedAuthentication),
        (&[0, 0, 9], Malformed::TruncatedOrigin),
        (&version_4, Malformed::NotIpv6),
        (&solicitation[..39], Malformed::TruncatedIpv6Header),
    ] {
        assert_eq!(refused(CLIENT_AT, payload), malformed.into(), "{payload:?}");
    }
}

//= P-WIRE-06: 40 + Payload Length has to be there; more is taken for trailers
#[test]
fn the_payload_length_decides_to_the_byte() {
    let solicitation = solicitation();
    let reason = refused(CLIENT_AT, &solicitation[..47]);
    assert_eq!(reason, Malformed::TruncatedIpv6Payload.into());
    assert_eq!(sent(CLIENT_AT, &solicitation), 1);
    assert_eq!(sent(CLIENT_AT, &[&solicitation[..], &[0]].concat()), 1);
}

//= S-RX-02: what is neither a bubble nor ICMPv6 is dropped
#[test]
fn data_is_not_for_servers() {
    for next_header in (0..=255).filter(|&next_header| next_header != 58) {
        let data = packet(client(), NATIVE, next_header, &[0; 20]);
        assert_eq!(refused(CLIENT_AT, &data), DropReason::NotForServer, "{next_header}");
    }
    let empty_udp = udp(client(), NATIVE, &[]);
    assert_eq!(refused(CLIENT_AT, &empty_udp), DropReason::NotForServer);
}

//= S-RX-03, S-RS-07, P-ADDR-09: a source that is not global unicast gets nothing
#[test]
fn sources_that_are_not_global_are_refused() {
    let mut production = server_with(|config| config.filter = Ipv4Filter::default());
    for address in not_global().chain(special_purpose()) {
        let from = SocketAddrV4::new(address, 4096);
        let (inbound, sent) = exchange(&mut production, ms(0), from, &solicitation());
        assert_eq!(inbound, Inbound::Dropped(DropReason::ForbiddenSource), "{address}");
        assert!(sent.is_empty());
        let from_client = bubble(teredo(SERVER, from), client());
        assert_eq!(
            put(&mut production, ms(0), from, &from_client),
            Inbound::Dropped(DropReason::ForbiddenSource)
        );
    }
    let from = endpoint("203.0.113.255:4096");
    let subnets = vec!["203.0.113.0/24".parse().unwrap()];
    let mut attached = server_with(|config| config.filter.subnets = subnets);
    assert_eq!(refusal(&mut attached, from, &solicitation()), DropReason::ForbiddenSource);
}

//= S-RX-04: link-local source, all routers, Router Solicitation
#[test]
fn a_solicitation_is_accepted() {
    assert_eq!(sent(CLIENT_AT, &solicitation()), 1);
    let elsewhere = icmpv6(CLIENT_LINK_LOCAL, client(), 255, &[133, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(sent(CLIENT_AT, &elsewhere), 0);
}

//= S-RX-06, P-ADDR-08: a Teredo source that embeds the observed endpoint, whatever its flags
#[test]
fn a_matching_teredo_source_is_accepted() {
    let mut server = server();
    for flags in 0..=u16::MAX {
        let source = teredo_with(Flags(flags), OTHER_SERVER, STRANGER_AT);
        // No faster than one source may.
        let now = ms(4 * u64::from(flags));
        let (_, sent) = exchange(&mut server, now, STRANGER_AT, &echo(source, NATIVE, &[1; 8]));
        assert_eq!(sent.len(), 1, "flags {flags:#x}");
        let to_other = bubble(source, teredo(OTHER_SERVER, CLIENT_AT));
        assert_eq!(exchange(&mut server, now, STRANGER_AT, &to_other).1.len(), 1);
    }
}

//= S-RX-07: a source that is not Teredo, to a client of this server
#[test]
fn a_native_source_is_accepted_towards_own_clients() {
    assert_eq!(sent(STRANGER_AT, &bubble(LINK_LOCAL, client())), 1);
    assert_eq!(sent(STRANGER_AT, &bubble(NATIVE, client())), 1);
    assert_eq!(sent(STRANGER_AT, &echo_reply(NATIVE, client(), &[1; 8])), 1);
}

//= S-RX-08: everything else is dropped
#[test]
fn everything_else_is_dropped() {
    use DropReason::{EndpointMismatch, ImpossibleIpv6Source, NotAccepted};
    let others_client = teredo(OTHER_SERVER, CLIENT_AT);
    let secondarys_client = teredo(SECONDARY, CLIENT_AT);
    let server_itself = teredo_wire::address::server_link_local(SERVER);
    for (packet, reason) in [
        (bubble(LINK_LOCAL, others_client), NotAccepted),
        (bubble(LINK_LOCAL, secondarys_client), NotAccepted),
        (bubble(LINK_LOCAL, ALL_ROUTERS), NotAccepted),
        (echo(LINK_LOCAL, server_itself, &[1; 8]), NotAccepted),
        (echo(NATIVE, v6("2001:db8::1"), &[1; 8]), NotAccepted),
        (echo(NATIVE, others_client, &[1; 8]), NotAccepted),
        (echo(client(), NATIVE, &[1; 8]), EndpointMismatch),
        (echo(stranger(), client(), &[1; 8]), EndpointMismatch),
        (bubble(client(), others_client), EndpointMismatch),
        (bubble(v6("ff02::1"), client()), ImpossibleIpv6Source),
        (bubble(v6("::1"), client()), ImpossibleIpv6Source),
    ] {
        assert_eq!(refused(endpoint("192.0.2.1:4097"), &packet), reason, "{packet:x?}");
    }
}

//= S-RX-08, S-RX-09: another port by default, for bubbles to own clients; `strict` and `any`
#[test]
fn the_endpoint_check_is_as_strict_as_asked_for() {
    let moved = SocketAddrV4::new(*STRANGER_AT.ip(), 1);
    let foreign = SocketAddrV4::new(v4("198.51.100.8"), STRANGER_AT.port());
    for (check, passing) in [
        (EndpointCheck::Strict, [true, false, false]),
        (EndpointCheck::default(), [true, true, false]),
        (EndpointCheck::Any, [true, true, true]),
    ] {
        for (from, passes) in [STRANGER_AT, moved, foreign].into_iter().zip(passing) {
            let mut server = server_with(|config| config.endpoint_check = check);
            let (inbound, sent) = exchange(&mut server, ms(0), from, &bubble(stranger(), client()));
            let expected = passes
                .then(|| datagram(CLIENT_AT, with_origin(from, &bubble(stranger(), client()))));
            assert_eq!(sent, Vec::from_iter(expected), "{check:?} from {from}");
            if !passes {
                assert_eq!(inbound, Inbound::Dropped(DropReason::EndpointMismatch));
            }
        }
        let mut server = server_with(|config| config.endpoint_check = check);
        let echo = echo(stranger(), client(), &[1; 8]);
        assert_eq!(refusal(&mut server, moved, &echo), DropReason::EndpointMismatch);
    }
}

//= S-RX-10: both addresses are served alike
#[test]
fn both_addresses_receive() {
    for on in [Local::Primary, Local::Secondary] {
        for payload in [solicitation(), bubble(stranger(), client())] {
            let mut server = server();
            let arrival = Arrival { from: STRANGER_AT, on };
            assert_eq!(server.handle_datagram(ms(0), arrival, &payload), Inbound::Consumed);
            assert_eq!(drain(&mut server).len(), 1);
        }
    }
}

//= S-RX-11: RFC 4861 section 6.1.1, one defect at a time
#[test]
fn an_invalid_solicitation_is_dropped() {
    let valid = [133, 0, 0, 0, 0, 0, 0, 0];
    let make =
        |hop_limit, message: &[u8]| icmpv6(CLIENT_LINK_LOCAL, ALL_ROUTERS, hop_limit, message);
    assert_eq!(sent(CLIENT_AT, &make(255, &valid)), 1);

    let mut corrupt = make(255, &valid);
    corrupt[46] = 1;
    let with_option = |option: &[u8]| make(255, &[&valid[..], option].concat());
    for (solicitation, reason) in [
        (make(254, &valid), DropReason::InvalidSolicitation),
        (make(255, &[133, 1, 0, 0, 0, 0, 0, 0]), DropReason::InvalidSolicitation),
        (make(255, &valid[..7]), DropReason::InvalidIcmpv6),
        (corrupt, DropReason::InvalidIcmpv6),
        (with_option(&[1, 0, 0, 0, 0, 0, 0, 0]), DropReason::InvalidSolicitation),
        (with_option(&[1, 2, 0, 0, 0, 0, 0, 0]), DropReason::InvalidSolicitation),
        (with_option(&[1]), DropReason::InvalidSolicitation),
    ] {
        assert_eq!(refused(CLIENT_AT, &solicitation), reason, "{solicitation:x?}");
    }
}

//= S-RX-12: a solicitation with an option, as Windows XP sends it
#[test]
fn a_solicitation_may_have_options() {
    let source = v6("fe80::8000:ffff:ffff:fffd");
    let mut message = [0; 24];
    message[0] = 133;
    message[8..10].copy_from_slice(&[1, 2]);
    assert_eq!(sent(CLIENT_AT, &icmpv6(source, ALL_ROUTERS, 255, &message)), 1);
}

//= S-RX-13: a solicitation from the unspecified address is dropped
#[test]
fn a_solicitation_needs_a_source() {
    let message = [133, 0, 0, 0, 0, 0, 0, 0];
    let unspecified = icmpv6(v6("::"), ALL_ROUTERS, 255, &message);
    assert_eq!(refused(CLIENT_AT, &unspecified), DropReason::ImpossibleIpv6Source);
    let native = icmpv6(NATIVE, ALL_ROUTERS, 255, &message);
    assert_eq!(refused(CLIENT_AT, &native), DropReason::NotAccepted);
}
