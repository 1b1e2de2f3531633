//! What lies behind the extension headers of an IPv6 packet (RFC 8200 section 4).

use teredo_wire::icmpv6;
use teredo_wire::ipv6::{Ipv6, next_header};

use crate::reason::DropReason;

/// What lies behind the extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Upper<'a> {
    /// The protocol, or the first header that is not looked behind.
    pub(crate) protocol: u8,
    /// Its bytes, as far as they are there; in a later fragment, not those it begins with.
    pub(crate) bytes: &'a [u8],
    /// The part of a packet that this is, if it is only one.
    pub(crate) fragment: Option<Fragment>,
}

/// Which part of which packet (RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// The same in all parts.
    pub(crate) identification: u32,
    /// The part in which the upper layer begins.
    pub(crate) is_first: bool,
}

impl Upper<'_> {
    /// The type, if this is ICMPv6; 0, which is reserved, when it lies in another fragment.
    pub(crate) fn icmpv6_kind(&self) -> Option<u8> {
        let is_later = self.fragment.is_some_and(|fragment| !fragment.is_first);
        let kind = self.bytes.first().copied().filter(|_| !is_later).unwrap_or_default();
        (self.protocol == next_header::ICMPV6).then_some(kind)
    }
}

/// Looks past the extension headers.
///
/// # Errors
/// [`DropReason::RoutingHeader`]: the packet is source-routed (RFC 6169 section 2.3).
/// [`DropReason::ExtensionHeaders`]: there are so many that this cannot be told, or it is a
/// fragment of a fragment.
pub(crate) fn upper_layer<'a>(packet: &Ipv6<'a>) -> Result<Upper<'a>, DropReason> {
    let mut protocol = packet.next_header();
    let mut bytes = packet.payload();
    let mut fragment = None;
    let mut has_fragment_header = false;
    for _ in 0..=EXTENSIONS_MAX {
        let header_len = match (protocol, bytes) {
            (next_header::ROUTING, _) => return Err(DropReason::RoutingHeader),
            (next_header::HOP_BY_HOP | next_header::DESTINATION_OPTIONS, [_, len, ..]) => {
                8 + 8 * usize::from(*len)
            }
            (next_header::FRAGMENT, _) if has_fragment_header => {
                return Err(DropReason::ExtensionHeaders);
            }
            (next_header::FRAGMENT, &[_, _, offset_high, offset_low, a, b, c, d, ..]) => {
                let place = u16::from_be_bytes([offset_high, offset_low]);
                has_fragment_header = true;
                let is_first = place & FRAGMENT_OFFSET == 0;
                let identification = u32::from_be_bytes([a, b, c, d]);
                // A packet in one part is no fragment (RFC 6946).
                if !is_first || place & MORE_FRAGMENTS != 0 {
                    fragment = Some(Fragment { identification, is_first });
                }
                if !is_first {
                    return Ok(Upper { protocol: bytes[0], bytes: &bytes[8..], fragment });
                }
                8
            }
            (AUTHENTICATION, [_, len, ..]) => 8 + 4 * usize::from(*len),
            _ => return Ok(Upper { protocol, bytes, fragment }),
        };
        protocol = bytes[0];
        bytes = bytes.get(header_len..).unwrap_or_default();
    }
    Err(DropReason::ExtensionHeaders)
}

/// Whether RFC 4443 section 2.4 (e) allows an ICMPv6 error about `packet`.
pub(crate) fn allows_error(packet: &Ipv6<'_>) -> bool {
    let (source, destination) = (packet.source(), packet.destination());
    let kind = upper_layer(packet).ok().and_then(|upper| upper.icmpv6_kind());
    let is_about_error = kind.is_some_and(|kind| is_error(kind) || kind == icmpv6::REDIRECT);
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

/// Whether an ICMPv6 type is that of an error (RFC 4443 section 2.1).
pub(crate) fn is_error(kind: u8) -> bool {
    kind < icmpv6::ECHO_REQUEST
}

/// Extension headers looked past in one packet: more than RFC 8200 section 4.1 lists, so that only
/// nonsense has more, and work per packet is bounded.
const EXTENSIONS_MAX: usize = 8;
/// Protocol number of the Authentication Header (RFC 4302).
const AUTHENTICATION: u8 = 51;
/// The bits of the fragment header's third and fourth byte that are the offset.
const FRAGMENT_OFFSET: u16 = 0xfff8;
/// The bit that says that this is not the last part.
const MORE_FRAGMENTS: u16 = 1;

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

    /// Protocol, ICMPv6 type and whether the packet is whole.
    fn upper(
        next_header: u8,
        payload: &[u8],
    ) -> Result<(u8, Option<u8>, Option<Fragment>), DropReason> {
        let bytes = packet(next_header, payload);
        let upper = upper_layer(&Ipv6::parse(&bytes).unwrap().0)?;
        Ok((upper.protocol, upper.icmpv6_kind(), upper.fragment))
    }

    #[test]
    fn sees_icmpv6_and_routing_headers_behind_options() {
        let icmp = [134, 0, 0, 0, 0, 0, 0, 0];
        let options_then = |protocol| [&[protocol, 0, 1, 4, 0, 0, 0, 0], &icmp[..]].concat();
        let advertisement = Ok((58, Some(134), None));
        assert_eq!(upper(58, &icmp), advertisement);
        assert_eq!(upper(0, &options_then(58)), advertisement);
        assert_eq!(upper(60, &options_then(58)), advertisement);
        assert_eq!(upper(0, &options_then(43)), Err(DropReason::RoutingHeader));
        assert_eq!(upper(6, &icmp), Ok((6, None, None)));
    }

    #[test]
    fn tells_the_parts_of_a_packet_apart() {
        let icmp = [134, 0, 0, 0, 0, 0, 0, 0];
        let part = |place: u8| upper(44, &[&[58, 0, 0, place, 1, 2, 3, 4], &icmp[..]].concat());
        let fragment = |is_first| Some(Fragment { identification: 0x0102_0304, is_first });
        assert_eq!(part(0), Ok((58, Some(134), None)));
        assert_eq!(part(1), Ok((58, Some(134), fragment(true))));
        assert_eq!(part(8), Ok((58, Some(0), fragment(false))));
        assert_eq!(part(9), Ok((58, Some(0), fragment(false))));
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
