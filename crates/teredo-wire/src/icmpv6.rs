//! ICMPv6 as Teredo uses it: Router Solicitation and Advertisement (RFC 4861 section 4), echo and
//! errors (RFC 4443).

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use crate::address::{ALL_ROUTERS, client_prefix};
use crate::checksum;
use crate::ipv6::{HEADER_LEN, Header, Ipv6, next_header::ICMPV6};
use crate::writer::{NoSpace, Writer};

/// A view of an ICMPv6 message whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmpv6<'a> {
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// The whole message, type to last byte: at least 8 bytes.
    pub bytes: &'a [u8],
}

impl<'a> Icmpv6<'a> {
    /// Reads the payload of `packet`, whose next header is ICMPv6.
    ///
    /// # Errors
    /// [`InvalidIcmpv6`] when there are fewer than 8 bytes or the checksum is wrong.
    pub fn parse(packet: &Ipv6<'a>) -> Result<Self, InvalidIcmpv6> {
        let bytes = packet.payload();
        let (Some(&[kind, code]), true) = (bytes.first_chunk(), bytes.len() >= MESSAGE_LEN_MIN)
        else {
            return Err(InvalidIcmpv6::Truncated);
        };
        if checksum::ipv6(packet.source(), packet.destination(), ICMPV6, bytes) != 0 {
            return Err(InvalidIcmpv6::Checksum);
        }
        Ok(Self { kind, code, bytes })
    }

    /// The message as an echo request or reply, if it is one with code 0.
    pub fn echo(&self) -> Option<Echo<'a>> {
        let reply = match self.kind {
            ECHO_REQUEST => false,
            ECHO_REPLY => true,
            _ => return None,
        };
        let (&[_, code, _, _, i0, i1, s0, s1], data) = self.bytes.split_first_chunk()?;
        (code == 0).then_some(Echo {
            reply,
            identifier: u16::from_be_bytes([i0, i1]),
            sequence: u16::from_be_bytes([s0, s1]),
            data,
        })
    }

    /// The options of a Router Solicitation.
    pub fn solicitation_options(&self) -> impl Iterator<Item = Result<NdOption, InvalidOption>> {
        options(self.bytes.get(8..).unwrap_or_default())
    }

    /// The options of a Router Advertisement; none when it has fewer than 16 bytes.
    pub fn advertisement_options(&self) -> impl Iterator<Item = Result<NdOption, InvalidOption>> {
        options(self.bytes.get(ADVERTISEMENT_LEN..).unwrap_or_default())
    }
}

/// Why bytes are not an ICMPv6 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidIcmpv6 {
    /// Fewer than 8 bytes.
    Truncated,
    /// The checksum is wrong.
    Checksum,
}

impl fmt::Display for InvalidIcmpv6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "truncated-icmpv6",
            Self::Checksum => "icmpv6-checksum",
        })
    }
}

impl core::error::Error for InvalidIcmpv6 {}

/// An echo request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo<'a> {
    /// A reply rather than a request.
    pub reply: bool,
    /// The identifier.
    pub identifier: u16,
    /// The sequence number.
    pub sequence: u16,
    /// The data, which a reply returns unchanged.
    pub data: &'a [u8],
}

impl Echo<'_> {
    /// Appends the whole IPv6 packet.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit.
    pub fn write(
        &self,
        writer: &mut Writer<'_>,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        hop_limit: u8,
    ) -> Result<(), NoSpace> {
        let kind = if self.reply { ECHO_REPLY } else { ECHO_REQUEST };
        let message = Message { source, destination, hop_limit, kind, code: 0 };
        message.write(writer, 4 + self.data.len(), |writer| {
            writer.put_u16(self.identifier)?;
            writer.put_u16(self.sequence)?;
            writer.put(self.data)
        })
    }
}

/// An option of a Router Solicitation or Advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NdOption {
    /// Prefix Information (RFC 4861 section 4.6.2).
    Prefix(PrefixInformation),
    /// MTU in bytes (RFC 4861 section 4.6.4).
    Mtu(u32),
    /// Any other type: skipped.
    Other(u8),
}

/// The Prefix Information option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixInformation {
    /// The prefix; bits past its length may be garbage.
    pub prefix: Ipv6Addr,
    /// Length of the prefix in bits.
    pub prefix_len: u8,
    /// Valid lifetime in seconds; all ones is for ever.
    pub valid_lifetime_s: u32,
    /// Preferred lifetime in seconds; all ones is for ever.
    pub preferred_lifetime_s: u32,
}

/// An option of length zero or past the end of its message, or a known one of a wrong length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidOption;

impl fmt::Display for InvalidOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid-option")
    }
}

impl core::error::Error for InvalidOption {}

/// Appends a whole Router Solicitation without options from `source` to all routers.
///
/// # Errors
/// [`NoSpace`] when fewer than 48 bytes are left.
pub fn write_router_solicitation(writer: &mut Writer<'_>, source: Ipv6Addr) -> Result<(), NoSpace> {
    let message = Message {
        source,
        destination: ALL_ROUTERS,
        hop_limit: ND_HOP_LIMIT,
        kind: ROUTER_SOLICITATION,
        code: 0,
    };
    message.write(writer, 4, |writer| writer.put_u32(0))
}

/// The Router Advertisement of a Teredo server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// The server's link-local address.
    pub source: Ipv6Addr,
    /// The source of the solicitation.
    pub destination: Ipv6Addr,
    /// The primary IPv4 address of the server, which the advertised prefix contains.
    pub server: Ipv4Addr,
    /// The MTU to advertise, in bytes; `None` leaves the option out.
    pub mtu: Option<u32>,
}

impl RouterAdvertisement {
    /// Appends the whole IPv6 packet: the values of RFC 4380 section 5.3.2 and, where it is
    /// silent, those of deployed servers.
    ///
    /// # Errors
    /// [`NoSpace`] when fewer than 96 bytes are left.
    pub fn write(&self, writer: &mut Writer<'_>) -> Result<(), NoSpace> {
        let mtu_len = if self.mtu.is_some() { 8 } else { 0 };
        let message = Message {
            source: self.source,
            destination: self.destination,
            hop_limit: ND_HOP_LIMIT,
            kind: ROUTER_ADVERTISEMENT,
            code: 0,
        };
        message.write(writer, 12 + PREFIX_OPTION_LEN + mtu_len, |writer| {
            // Hop limit, flags, router lifetime and reachable time say nothing.
            writer.put(&[0; 8])?;
            writer.put_u32(RETRANS_TIMER_MS)?;
            writer.put(&[OPTION_PREFIX, 4, 64, AUTONOMOUS])?;
            writer.put_u32(LIFETIME_INFINITE_S)?;
            writer.put_u32(LIFETIME_INFINITE_S)?;
            writer.put_u32(0)?;
            writer.put_ipv6(client_prefix(self.server))?;
            match self.mtu {
                Some(mtu) => {
                    writer.put(&[OPTION_MTU, 1, 0, 0])?;
                    writer.put_u32(mtu)
                }
                None => Ok(()),
            }
        })
    }
}

/// An ICMPv6 error that Teredo reports to the IPv6 side (RFC 4443 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorMessage {
    /// Destination unreachable, code 1: communication administratively prohibited.
    Prohibited,
    /// Destination unreachable, code 3: address unreachable.
    AddressUnreachable,
    /// Packet too big for this MTU in bytes.
    TooBig(u32),
}

impl ErrorMessage {
    /// Appends the whole error packet about `offending`, quoting as much of it as fits into the
    /// minimum IPv6 MTU. The caller has checked that RFC 4443 section 2.4 (e) allows an error.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit.
    pub fn write(
        self,
        writer: &mut Writer<'_>,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        offending: &[u8],
    ) -> Result<(), NoSpace> {
        let (kind, code, parameter) = match self {
            Self::Prohibited => (DESTINATION_UNREACHABLE, 1, 0),
            Self::AddressUnreachable => (DESTINATION_UNREACHABLE, 3, 0),
            Self::TooBig(mtu) => (PACKET_TOO_BIG, 0, mtu),
        };
        let quoted = offending.get(..QUOTED_LEN_MAX).unwrap_or(offending);
        let hop_limit = ERROR_HOP_LIMIT;
        let message = Message { source, destination, hop_limit, kind, code };
        message.write(writer, 4 + quoted.len(), |writer| {
            writer.put_u32(parameter)?;
            writer.put(quoted)
        })
    }
}

/// The header fields of a message to send.
struct Message {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    hop_limit: u8,
    kind: u8,
    code: u8,
}

impl Message {
    /// Appends IPv6 header, type, code, checksum and what `body` writes: `body_len` bytes.
    fn write(
        &self,
        writer: &mut Writer<'_>,
        body_len: usize,
        body: impl FnOnce(&mut Writer<'_>) -> Result<(), NoSpace>,
    ) -> Result<(), NoSpace> {
        let start = writer.len() + HEADER_LEN;
        Header {
            payload_len: u16::try_from(4 + body_len).map_err(|_| NoSpace)?,
            next_header: ICMPV6,
            hop_limit: self.hop_limit,
            source: self.source,
            destination: self.destination,
        }
        .write(writer)?;
        writer.put(&[self.kind, self.code, 0, 0])?;
        body(writer)?;
        let message = &writer.written()[start..];
        let sum = checksum::ipv6(self.source, self.destination, ICMPV6, message);
        writer.patch_u16(start + 2, sum);
        Ok(())
    }
}

fn options(bytes: &[u8]) -> impl Iterator<Item = Result<NdOption, InvalidOption>> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let parsed = split_option(rest);
        rest = parsed.map_or(&[], |(_, after)| after);
        Some(parsed.ok_or(InvalidOption).and_then(|(option, _)| read_option(option)))
    })
}

fn split_option(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    match *bytes {
        [_, 0, ..] => None,
        [_, len, ..] => bytes.split_at_checked(8 * usize::from(len)),
        _ => None,
    }
}

fn read_option(option: &[u8]) -> Result<NdOption, InvalidOption> {
    match *option {
        [OPTION_PREFIX, _, prefix_len, _, ref rest @ ..] => {
            let (numbers, prefix) = rest.split_at_checked(12).ok_or(InvalidOption)?;
            let prefix: [u8; 16] = prefix.try_into().map_err(|_| InvalidOption)?;
            let (words, _) = numbers.as_chunks();
            let &[valid, preferred, _] = words else { return Err(InvalidOption) };
            Ok(NdOption::Prefix(PrefixInformation {
                prefix: Ipv6Addr::from(prefix),
                prefix_len,
                valid_lifetime_s: u32::from_be_bytes(valid),
                preferred_lifetime_s: u32::from_be_bytes(preferred),
            }))
        }
        [OPTION_MTU, _, _, _, a, b, c, d] => Ok(NdOption::Mtu(u32::from_be_bytes([a, b, c, d]))),
        [OPTION_MTU, ..] => Err(InvalidOption),
        [kind, ..] => Ok(NdOption::Other(kind)),
        [] => Err(InvalidOption),
    }
}

/// Type of Destination Unreachable.
pub const DESTINATION_UNREACHABLE: u8 = 1;
/// Type of Packet Too Big.
pub const PACKET_TOO_BIG: u8 = 2;
/// Type of Parameter Problem.
pub const PARAMETER_PROBLEM: u8 = 4;
/// Type of Echo Request.
pub const ECHO_REQUEST: u8 = 128;
/// Type of Echo Reply.
pub const ECHO_REPLY: u8 = 129;
/// Type of Router Solicitation.
pub const ROUTER_SOLICITATION: u8 = 133;
/// Type of Router Advertisement.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Type of Neighbor Solicitation.
pub const NEIGHBOR_SOLICITATION: u8 = 135;
/// Type of Neighbor Advertisement.
pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
/// Type of Redirect.
pub const REDIRECT: u8 = 137;

/// Bytes of a Router Advertisement before its options.
pub const ADVERTISEMENT_LEN: usize = 16;

/// The hop limit that neighbor discovery demands (RFC 4861 sections 4.1 and 4.2).
pub const ND_HOP_LIMIT: u8 = 255;

/// The retransmission timer deployed servers advertise.
const RETRANS_TIMER_MS: u32 = 2000;
const LIFETIME_INFINITE_S: u32 = u32::MAX;
/// The A flag of a Prefix Information option; L stays clear (E-22).
const AUTONOMOUS: u8 = 0x40;
const OPTION_PREFIX: u8 = 3;
const OPTION_MTU: u8 = 5;
const PREFIX_OPTION_LEN: usize = 32;
/// Every message used here has at least four bytes after the checksum.
const MESSAGE_LEN_MIN: usize = 8;
/// 1280, less the IPv6 header and 8 bytes of ICMPv6 (RFC 4443 section 3).
const QUOTED_LEN_MAX: usize = 1280 - HEADER_LEN - 8;
const ERROR_HOP_LIMIT: u8 = 64;
