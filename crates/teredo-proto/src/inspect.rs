//! What lies behind the extension headers of an IPv6 packet (RFC 8200 section 4).

use teredo_wire::icmpv6;
use teredo_wire::ipv6::{Ipv6, next_header};

use crate::reason::DropReason;

/// The upper-layer protocol of a packet, as far as it can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upper {
    /// ICMPv6 of this type; 0, which is reserved, when the type lies in a later fragment.
    Icmpv6(u8),
    /// Anything else.
    Other,
}

/// Looks past the extension headers.
///
/// # Errors
/// [`DropReason::RoutingHeader`]: the packet is source-routed (RFC 6169 section 2.3).
/// [`DropReason::ExtensionHeaders`]: there are so many that this cannot be told.
pub(crate) fn upper_layer(packet: &Ipv6<'_>) -> Result<Upper, DropReason> {
    let mut protocol = packet.next_header();
    let mut rest = packet.payload();
    for _ in 0..=EXTENSIONS_MAX {
        let header_len = match (protocol, rest) {
            (next_header::ROUTING, _) => return Err(DropReason::RoutingHeader),
            (next_header::HOP_BY_HOP | next_header::DESTINATION_OPTIONS, [_, len, ..]) => {
                8 + 8 * usize::from(*len)
            }
            (next_header::FRAGMENT, [_, _, offset_high, offset_low, ..]) => {
                if u16::from_be_bytes([*offset_high, *offset_low]) & FRAGMENT_OFFSET != 0 {
                    return Ok(later_fragment(rest[0]));
                }
                8
            }
            (AUTHENTICATION, [_, len, ..]) => 8 + 4 * usize::from(*len),
            (next_header::ICMPV6, _) => return Ok(Upper::Icmpv6(*rest.first().unwrap_or(&0))),
            _ => return Ok(Upper::Other),
        };
        protocol = rest[0];
        rest = rest.get(header_len..).unwrap_or_default();
    }
    Err(DropReason::ExtensionHeaders)
}

/// Whether RFC 4443 section 2.4 (e) allows an ICMPv6 error about `packet`.
pub(crate) fn allows_error(packet: &Ipv6<'_>) -> bool {
    let (source, destination) = (packet.source(), packet.destination());
    let is_about_error = match upper_layer(packet) {
        Ok(Upper::Icmpv6(kind)) => kind < ICMPV6_INFORMATIONAL || kind == icmpv6::REDIRECT,
        Ok(Upper::Other) | Err(_) => false,
    };
    !(is_about_error
        || destination.is_multicast()
        || source.is_multicast()
        || source.is_unspecified()
        || source.is_loopback())
}

/// Whether a packet of neighbor discovery (RFC 4861), which never passes a Teredo tunnel.
pub(crate) fn is_neighbor_discovery(kind: u8) -> bool {
    (icmpv6::ROUTER_SOLICITATION..=icmpv6::REDIRECT).contains(&kind)
}

fn later_fragment(protocol: u8) -> Upper {
    if protocol == next_header::ICMPV6 { Upper::Icmpv6(0) } else { Upper::Other }
}

/// Extension headers looked past in one packet: more than RFC 8200 section 4.1 lists, so that only
/// nonsense has more, and work per packet is bounded.
const EXTENSIONS_MAX: usize = 8;
/// Protocol number of the Authentication Header (RFC 4302).
const AUTHENTICATION: u8 = 51;
/// The bits of the fragment header's third and fourth byte that are the offset.
const FRAGMENT_OFFSET: u16 = 0xfff8;
/// ICMPv6 types below this are errors (RFC 4443 section 2.1).
const ICMPV6_INFORMATIONAL: u8 = 128;

#[cfg(test)]
mod tests {
    use core::net::Ipv6Addr;

    use teredo_wire::ipv6::Header;
    use teredo_wire::writer::Writer;

    use super::*;

    /// A packet of these bytes behind the IPv6 header; the first one says what they are.
    fn packet(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let (mut bytes, payload_len) = (vec![0; 2000], payload.len() as u16);
        let source = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        let header = Header { payload_len, next_header, hop_limit: 9, source, destination: source };
        let mut writer = Writer::new(&mut bytes);
        header.write(&mut writer).unwrap();
        writer.put(payload).unwrap();
        writer.written().to_vec()
    }

    fn upper(next_header: u8, payload: &[u8]) -> Result<Upper, DropReason> {
        upper_layer(&Ipv6::parse(&packet(next_header, payload)).unwrap().0)
    }

    #[test]
    fn sees_icmpv6_and_routing_headers_behind_options() {
        let icmp = [134, 0, 0, 0, 0, 0, 0, 0];
        let options_then = |protocol| [&[protocol, 0, 1, 4, 0, 0, 0, 0], &icmp[..]].concat();
        assert_eq!(upper(58, &icmp), Ok(Upper::Icmpv6(134)));
        assert_eq!(upper(0, &options_then(58)), Ok(Upper::Icmpv6(134)));
        assert_eq!(upper(60, &options_then(58)), Ok(Upper::Icmpv6(134)));
        assert_eq!(upper(0, &options_then(43)), Err(DropReason::RoutingHeader));
        assert_eq!(
            upper(44, &[&[58, 0, 0, 1, 0, 0, 0, 0], &icmp[..]].concat()),
            Ok(Upper::Icmpv6(134))
        );
        assert_eq!(
            upper(44, &[&[58, 0, 0, 9, 0, 0, 0, 0], &icmp[..]].concat()),
            Ok(Upper::Icmpv6(0))
        );
        assert_eq!(upper(6, &icmp), Ok(Upper::Other));
    }

    #[test]
    fn any_bytes_are_looked_at_in_bounded_time() {
        for next_header in [0, 43, 44, 51, 58, 60] {
            for len in 0..64 {
                for fill in [0, 44, 51, 58, 60, 255] {
                    let _ = upper(next_header, &vec![fill; len]);
                }
            }
        }
    }

    //= SEC-06: no error about an ICMPv6 error, a multicast or a source that is no single node
    #[test]
    fn errors_about_errors_are_not_allowed() {
        let allowed = |kind| {
            let bytes = packet(58, &[kind, 0, 0, 0, 0, 0, 0, 0]);
            allows_error(&Ipv6::parse(&bytes).unwrap().0)
        };
        assert!(allowed(128) && allowed(129));
        assert!(!allowed(1) && !allowed(2) && !allowed(127) && !allowed(137));
    }
}
