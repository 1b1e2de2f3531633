//! Errors that routers answer with, so that what cannot arrive fails at once instead of hanging.

use std::net::{Ipv4Addr, Ipv6Addr};

use teredo_wire::checksum;
use teredo_wire::ipv6::next_header::ICMPV6;

use super::packet::{DropReason, ECHO_REPLY, ECHO_REQUEST, HOPS, ICMP, IPV4_HEADER_LEN};
use super::place::{Host, ROUTER_V6};

/// The answer of the first router after `host` to a packet that it does not forward; `None` where
/// there must not be one, or would be none on the Internet either.
pub(super) fn answer(reason: DropReason, host: Host, packet: &[u8]) -> Option<Vec<u8>> {
    let is_v6 = packet.first()? >> 4 == 6;
    let (v4, v6) = match reason {
        DropReason::NoRoute => (UNREACHABLE_V4, UNREACHABLE_V6),
        DropReason::Expired => (EXPIRED_V4, EXPIRED_V6),
        DropReason::Broken
        | DropReason::Multicast
        | DropReason::NoIpv6
        | DropReason::Fragment
        | DropReason::Untranslatable
        | DropReason::NoPort
        | DropReason::Refused
        | DropReason::Hairpin
        | DropReason::Congested
        | DropReason::Unwritable => return None,
    };
    if is_v6 { answer_v6(v6, packet) } else { answer_v4(v4, host.router(), packet) }
}

fn answer_v4(kind: u8, router: Ipv4Addr, packet: &[u8]) -> Option<Vec<u8>> {
    let header_len = usize::from(packet.first()? & 0xF) * 4;
    let is_message = |kind: &u8| [ECHO_REQUEST, ECHO_REPLY].contains(kind);
    if packet.get(9) == Some(&ICMP) && !packet.get(header_len).is_some_and(is_message) {
        return None;
    }
    let &source = packet.get(12..)?.first_chunk::<4>()?;
    let quoted = &packet[..packet.len().min(header_len + QUOTED_V4_LEN)];
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(quoted);
    let sum = checksum::ipv4_header(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());

    let total_len = u16::try_from(IPV4_HEADER_LEN + message.len()).ok()?;
    let mut answer = vec![0x45, 0];
    answer.extend(total_len.to_be_bytes());
    answer.extend([0, 0, 0, 0, HOPS, ICMP, 0, 0]);
    answer.extend(router.octets());
    answer.extend(source);
    let sum = checksum::ipv4_header(&answer);
    answer[10..12].copy_from_slice(&sum.to_be_bytes());
    answer.extend(message);
    Some(answer)
}

fn answer_v6(kind: u8, packet: &[u8]) -> Option<Vec<u8>> {
    const INFORMATIONAL: u8 = 128;
    let (header, _) = teredo_wire::Ipv6::parse(packet).ok()?;
    let is_error = |kind: &u8| *kind < INFORMATIONAL;
    let source = header.source();
    if header.next_header() == ICMPV6 && header.payload().first().is_none_or(is_error)
        || source.is_unspecified()
        || source.is_unicast_link_local()
    {
        return None;
    }
    let quoted = &packet[..packet.len().min(QUOTED_V6_LEN)];
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(quoted);
    let sum = checksum::ipv6(ROUTER_V6, source, ICMPV6, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());

    let mut answer = vec![0x60, 0, 0, 0];
    answer.extend(u16::try_from(message.len()).ok()?.to_be_bytes());
    answer.extend([ICMPV6, HOPS]);
    answer.extend(ROUTER_V6.octets());
    answer.extend(Ipv6Addr::octets(&source));
    answer.extend(message);
    Some(answer)
}

/// Network unreachable (RFC 792) and no route to destination (RFC 4443 section 3.1), both code 0.
const UNREACHABLE_V4: u8 = 3;
const UNREACHABLE_V6: u8 = 1;
/// Time to live, or hop limit, exceeded in transit (RFC 792, RFC 4443 section 3.3), both code 0.
const EXPIRED_V4: u8 = 11;
const EXPIRED_V6: u8 = 3;
/// Bytes quoted behind the header (RFC 792).
const QUOTED_V4_LEN: usize = 8;
/// As much as fits the minimum MTU of 1280 bytes with both headers (RFC 4443 section 2.4).
const QUOTED_V6_LEN: usize = 1280 - 40 - 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// UDP from 192.0.2.1, as far as an error looks at it.
    fn ipv4(protocol: u8, first_of_payload: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 1, protocol, 0, 0, 192, 0, 2, 1];
        packet.resize(20, 9);
        packet.resize(40, first_of_payload);
        packet
    }

    #[test]
    fn an_ipv4_error_quotes_what_it_is_about() {
        let packet = ipv4(17, 7);
        let answer = answer(DropReason::NoRoute, Host::Client2, &packet).unwrap();
        assert_eq!(checksum::ipv4_header(&answer[..20]), 0);
        assert_eq!(answer[12..20], [192, 168, 2, 1, 192, 0, 2, 1]);
        assert_eq!(checksum::ipv4_header(&answer[20..]), 0);
        assert_eq!(answer[28..], packet[..28]);
    }

    #[test]
    fn an_ipv6_error_is_a_whole_message() {
        let mut packet = vec![0x60, 0, 0, 0, 0x05, 0xC8, 17, 1];
        packet.extend([0x20; 16]);
        packet.extend([0x30; 16]);
        packet.resize(40 + 0x5C8, 0);
        let answer = answer(DropReason::Expired, Host::Relay, &packet).unwrap();
        assert_eq!(answer.len(), 1280);
        let (header, rest) = teredo_wire::Ipv6::parse(&answer).unwrap();
        assert!(rest.is_empty());
        let message = teredo_wire::icmpv6::Icmpv6::parse(&header).unwrap();
        assert_eq!((message.kind, message.code), (EXPIRED_V6, 0));
    }

    #[test]
    fn errors_are_not_answered() {
        let is_answered = |packet: &[u8]| answer(DropReason::NoRoute, Host::Server, packet);
        assert!(is_answered(&ipv4(ICMP, ECHO_REQUEST)).is_some());
        assert!(is_answered(&ipv4(ICMP, UNREACHABLE_V4)).is_none());
        assert!(is_answered(&[0x45]).is_none());
        assert!(answer(DropReason::Refused, Host::Server, &ipv4(17, 0)).is_none());
    }
}
