//! The UDP payload of Teredo (RFC 4380 section 5.1.1, RFC 6081 section 4):
//! `[authentication] [origin] ipv6-packet *trailer`.

use core::fmt;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::ops::Range;

use crate::ipv6::Ipv6;
use crate::trailer::{RefusedTrailer, Trailers};
use crate::writer::{NoSpace, Writer};

/// A view of one Teredo datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The authentication encapsulation, if there is one.
    pub authentication: Option<Authentication<'a>>,
    /// The origin indication, in clear, if there is one.
    pub origin: Option<SocketAddrV4>,
    /// The IPv6 packet.
    pub ipv6: Ipv6<'a>,
    /// Whatever follows the IPv6 packet, unparsed.
    pub trailer_bytes: &'a [u8],
    payload: &'a [u8],
    packet_offset: usize,
}

impl<'a> Datagram<'a> {
    /// Reads a whole UDP payload.
    ///
    /// # Errors
    /// [`Malformed`]: the receiver drops the datagram silently.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = payload;
        let mut authentication = None;
        let mut origin = None;
        if let [0, 1, ..] = rest {
            let (parsed, after) = Authentication::parse(rest)?;
            authentication = Some(parsed);
            rest = after;
        }
        if let [0, 0, ..] = rest {
            let (parsed, after) = parse_origin(rest)?;
            origin = Some(parsed);
            rest = after;
        }
        match rest {
            [0, 0 | 1, ..] => return Err(Malformed::MisorderedEncapsulation),
            [0, ..] => return Err(Malformed::UnknownEncapsulation),
            _ => {}
        }
        let packet_offset = payload.len() - rest.len();
        let (ipv6, trailer_bytes) = Ipv6::parse(rest)?;
        Ok(Self { authentication, origin, ipv6, trailer_bytes, payload, packet_offset })
    }

    /// Where the IPv6 packet lies in the payload this was parsed from.
    pub fn packet_range(&self) -> Range<usize> {
        self.packet_offset..self.packet_offset + self.ipv6.bytes().len()
    }

    /// What the authentication value covers, if there is an authentication: nonce, confirmation
    /// byte, origin indication as it stands there, IPv6 packet (RFC 4380 section 5.2.2).
    /// Identifier, lengths and trailers are not covered.
    pub fn authenticated_bytes(&self) -> Option<&'a [u8]> {
        let start = self.authentication?.value_range().end;
        self.payload.get(start..self.packet_range().end)
    }

    /// The trailers, in wire order up to the first malformed one.
    ///
    /// # Errors
    /// [`RefusedTrailer`]: an unknown type demands that the whole packet be discarded
    /// (RFC 6081 section 5.1.2).
    pub fn trailers(&self) -> Result<Trailers<'a>, RefusedTrailer> {
        Trailers::parse(self.trailer_bytes)
    }
}

/// The authentication encapsulation (RFC 4380 section 5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authentication<'a> {
    /// The client identifier; empty without keys, at most 255 bytes.
    pub client_id: &'a [u8],
    /// The message authentication code; empty without keys, at most 255 bytes.
    pub value: &'a [u8],
    /// The nonce that shows that whoever answers saw the request.
    pub nonce: [u8; 8],
    /// 0: the key is valid; anything else: get a new one.
    pub confirmation: u8,
}

impl<'a> Authentication<'a> {
    /// An encapsulation without keys: the nonce alone.
    pub fn nonce_only(nonce: [u8; 8]) -> Self {
        Self { client_id: &[], value: &[], nonce, confirmation: 0 }
    }

    /// Appends the encapsulation: 13 bytes, the identifier and the value.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit, or a part is longer than 255 bytes.
    pub fn write(&self, writer: &mut Writer<'_>) -> Result<(), NoSpace> {
        let id_len = u8::try_from(self.client_id.len()).map_err(|_| NoSpace)?;
        let value_len = u8::try_from(self.value.len()).map_err(|_| NoSpace)?;
        writer.put(&[0, 1, id_len, value_len])?;
        writer.put(self.client_id)?;
        writer.put(self.value)?;
        writer.put(&self.nonce)?;
        writer.put_u8(self.confirmation)
    }

    /// Where the value lies in a datagram that begins with this.
    fn value_range(&self) -> Range<usize> {
        let start = 4 + self.client_id.len();
        start..start + self.value.len()
    }

    fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), Malformed> {
        let short = Malformed::TruncatedAuthentication;
        let (&[_, _, id_len, value_len], rest) = bytes.split_first_chunk().ok_or(short)?;
        let (client_id, rest) = rest.split_at_checked(usize::from(id_len)).ok_or(short)?;
        let (value, rest) = rest.split_at_checked(usize::from(value_len)).ok_or(short)?;
        let (&nonce, rest) = rest.split_first_chunk().ok_or(short)?;
        let (&confirmation, rest) = rest.split_first().ok_or(short)?;
        Ok((Self { client_id, value, nonce, confirmation }, rest))
    }
}

/// The authentication value of a datagram that begins with an authentication and ends with its IPv6
/// packet, to be filled in, and the bytes that it covers: those of
/// [`Datagram::authenticated_bytes`].
pub fn split_at_value(datagram: &mut [u8]) -> Option<(&mut [u8], &[u8])> {
    let value = match *datagram {
        [0, 1, ..] => Authentication::parse(datagram).ok()?.0.value_range(),
        _ => return None,
    };
    let (before, covered) = datagram.split_at_mut_checked(value.end)?;
    Some((before.get_mut(value.start..)?, covered))
}

/// Appends an origin indication: 8 bytes, port and address inverted.
///
/// # Errors
/// [`NoSpace`] when it does not fit.
pub fn write_origin(writer: &mut Writer<'_>, origin: SocketAddrV4) -> Result<(), NoSpace> {
    writer.put_u16(0)?;
    writer.put_u16(!origin.port())?;
    writer.put_u32(!origin.ip().to_bits())
}

/// Why a UDP payload is not a Teredo datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Malformed {
    /// There are no bytes where the IPv6 packet should begin.
    Empty,
    /// A first byte of 0 with a second byte other than 0 or 1.
    UnknownEncapsulation,
    /// An encapsulation that is repeated or out of order.
    MisorderedEncapsulation,
    /// The authentication encapsulation is cut short.
    TruncatedAuthentication,
    /// The origin indication is cut short.
    TruncatedOrigin,
    /// Neither an encapsulation nor IP version 6.
    NotIpv6,
    /// Fewer than 40 bytes of IPv6 header.
    TruncatedIpv6Header,
    /// Fewer bytes than the Payload Length says.
    TruncatedIpv6Payload,
}

impl Malformed {
    /// All variants, in order.
    pub const ALL: [Self; 8] = [
        Self::Empty,
        Self::UnknownEncapsulation,
        Self::MisorderedEncapsulation,
        Self::TruncatedAuthentication,
        Self::TruncatedOrigin,
        Self::NotIpv6,
        Self::TruncatedIpv6Header,
        Self::TruncatedIpv6Payload,
    ];

    /// The name used in counters and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::UnknownEncapsulation => "unknown-encapsulation",
            Self::MisorderedEncapsulation => "misordered-encapsulation",
            Self::TruncatedAuthentication => "truncated-authentication",
            Self::TruncatedOrigin => "truncated-origin",
            Self::NotIpv6 => "not-ipv6",
            Self::TruncatedIpv6Header => "truncated-ipv6-header",
            Self::TruncatedIpv6Payload => "truncated-ipv6-payload",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for Malformed {}

fn parse_origin(bytes: &[u8]) -> Result<(SocketAddrV4, &[u8]), Malformed> {
    let (&[_, _, p0, p1, a, b, c, d], rest) =
        bytes.split_first_chunk().ok_or(Malformed::TruncatedOrigin)?;
    let address = Ipv4Addr::new(!a, !b, !c, !d);
    Ok((SocketAddrV4::new(address, !u16::from_be_bytes([p0, p1])), rest))
}
