//! One line a packet, as tcpdump prints it.

use core::fmt;
use core::net::SocketAddrV4;

use crate::address::link_local_is_cone;
use crate::datagram::{Authentication, Datagram};
use crate::icmpv6::{self, Icmpv6, NdOption};
use crate::ipv6::{Ipv6, next_header};
use crate::trailer::{self, Trailer};

/// A Teredo datagram with its outer endpoints; [`fmt::Display`] writes the line.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The outer source.
    pub source: SocketAddrV4,
    /// The outer destination.
    pub destination: SocketAddrV4,
    /// The datagram.
    pub datagram: Datagram<'a>,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Datagram { authentication, origin, ipv6, .. } = self.datagram;
        let kind = Kind::of(&ipv6);
        write!(f, "{} > {}: {kind}", self.source, self.destination)?;
        write!(f, " {} > {}", ipv6.source(), ipv6.destination())?;
        write!(f, ", hop limit {}, length {}", ipv6.hop_limit(), ipv6.payload().len())?;
        write_details(f, kind, &ipv6)?;
        if let Some(authentication) = authentication {
            write_authentication(f, &authentication)?;
        }
        if let Some(origin) = origin {
            write!(f, ", origin {origin}")?;
        }
        trailer::iter(self.datagram.trailer_bytes).try_for_each(|trailer| match trailer {
            Ok(trailer) => write_trailer(f, &trailer),
            Err(refused) => write!(f, ", refused trailer {:#04x}", refused.kind),
        })
    }
}

/// What kind of packet travels in a Teredo datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A Router Solicitation.
    RouterSolicitation,
    /// A Router Advertisement.
    RouterAdvertisement,
    /// A bubble.
    Bubble,
    /// An ICMPv6 echo request.
    EchoRequest,
    /// An ICMPv6 echo reply.
    EchoReply,
    /// An ICMPv6 error.
    Icmpv6Error,
    /// Neighbor Solicitation, Neighbor Advertisement or Redirect, which never pass the tunnel.
    NeighborDiscovery,
    /// Any other ICMPv6 message.
    Icmpv6,
    /// Anything else.
    Data,
}

impl Kind {
    /// The kind of `packet`, by its headers alone: its checksum and options are not looked at.
    pub fn of(packet: &Ipv6<'_>) -> Self {
        if packet.is_bubble() {
            return Self::Bubble;
        }
        let (next_header::ICMPV6, Some(&kind)) = (packet.next_header(), packet.payload().first())
        else {
            return Self::Data;
        };
        match kind {
            icmpv6::ROUTER_SOLICITATION => Self::RouterSolicitation,
            icmpv6::ROUTER_ADVERTISEMENT => Self::RouterAdvertisement,
            icmpv6::ECHO_REQUEST => Self::EchoRequest,
            icmpv6::ECHO_REPLY => Self::EchoReply,
            icmpv6::NEIGHBOR_SOLICITATION..=icmpv6::REDIRECT => Self::NeighborDiscovery,
            0..=LAST_ERROR => Self::Icmpv6Error,
            _ => Self::Icmpv6,
        }
    }

    /// The name used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RouterSolicitation => "rs",
            Self::RouterAdvertisement => "ra",
            Self::Bubble => "bubble",
            Self::EchoRequest => "echo-request",
            Self::EchoReply => "echo-reply",
            Self::Icmpv6Error => "icmpv6-error",
            Self::NeighborDiscovery => "neighbor-discovery",
            Self::Icmpv6 => "icmpv6",
            Self::Data => "data",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes as lower-case hexadecimal digits, without separators.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What the kind of packet says beyond its addresses.
fn write_details(f: &mut fmt::Formatter<'_>, kind: Kind, packet: &Ipv6<'_>) -> fmt::Result {
    match kind {
        Kind::Bubble => Ok(()),
        Kind::Data => write_data(f, packet),
        Kind::RouterSolicitation
        | Kind::RouterAdvertisement
        | Kind::EchoRequest
        | Kind::EchoReply
        | Kind::Icmpv6Error
        | Kind::NeighborDiscovery
        | Kind::Icmpv6 => match Icmpv6::parse(packet) {
            Ok(message) => write_icmpv6(f, kind, packet, &message),
            Err(invalid) => write!(f, ", {invalid}"),
        },
    }
}

fn write_icmpv6(
    f: &mut fmt::Formatter<'_>,
    kind: Kind,
    packet: &Ipv6<'_>,
    message: &Icmpv6<'_>,
) -> fmt::Result {
    if let Some(echo) = message.echo() {
        let icmpv6::Echo { identifier, sequence, data, .. } = echo;
        return write!(f, ", id {identifier:#06x}, seq {sequence}, data {}", Hex(data));
    }
    match kind {
        Kind::RouterSolicitation => {
            let cone = link_local_is_cone(packet.source());
            f.write_str(if cone { ", cone bit 1" } else { ", cone bit 0" })?;
            message.solicitation_options().try_for_each(|option| write_option(f, option.ok()))
        }
        Kind::RouterAdvertisement => {
            message.advertisement_options().try_for_each(|option| write_option(f, option.ok()))
        }
        Kind::Bubble
        | Kind::EchoRequest
        | Kind::EchoReply
        | Kind::Icmpv6Error
        | Kind::NeighborDiscovery
        | Kind::Icmpv6
        | Kind::Data => write!(f, ", type {}, code {}", message.kind, message.code),
    }
}

fn write_option(f: &mut fmt::Formatter<'_>, option: Option<NdOption>) -> fmt::Result {
    match option {
        Some(NdOption::Prefix(it)) => write!(f, ", prefix {}/{}", it.prefix, it.prefix_len),
        Some(NdOption::Mtu(mtu)) => write!(f, ", mtu {mtu}"),
        Some(NdOption::Other(kind)) => write!(f, ", option {kind}"),
        None => f.write_str(", invalid option"),
    }
}

fn write_data(f: &mut fmt::Formatter<'_>, packet: &Ipv6<'_>) -> fmt::Result {
    let name = match packet.next_header() {
        next_header::TCP => "tcp",
        next_header::UDP => "udp",
        next_header::ICMPV6 => return f.write_str(", icmpv6"),
        other => return write!(f, ", next header {other}"),
    };
    match *packet.payload() {
        [s0, s1, d0, d1, ..] => {
            let (source, destination) =
                (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
            write!(f, ", {name} {source} > {destination}")
        }
        _ => write!(f, ", {name}"),
    }
}

fn write_authentication(f: &mut fmt::Formatter<'_>, it: &Authentication<'_>) -> fmt::Result {
    write!(f, ", auth nonce {}", Hex(&it.nonce))?;
    if !it.client_id.is_empty() {
        write!(f, " id {}", Hex(it.client_id))?;
    }
    if !it.value.is_empty() {
        write!(f, " mac {}", Hex(it.value))?;
    }
    match it.confirmation {
        0 => Ok(()),
        confirmation => write!(f, " confirmation {confirmation}"),
    }
}

fn write_trailer(f: &mut fmt::Formatter<'_>, trailer: &Trailer<'_>) -> fmt::Result {
    match trailer {
        Trailer::Nonce(nonce) => write!(f, ", nonce {}", Hex(nonce)),
        Trailer::Alternates(list) => {
            f.write_str(", alternate addresses")?;
            list.endpoints().try_for_each(|endpoint| write!(f, " {endpoint}"))
        }
        Trailer::NeighborDiscovery(kind) => write!(f, ", neighbor discovery {}", kind.name()),
        Trailer::RandomPort(port) => write!(f, ", random port {port}"),
        Trailer::Birthday(offer) => {
            write!(f, ", birthday {} nonce {}", offer.part.name(), Hex(&offer.nonce))
        }
        Trailer::Ignored { kind, value } => {
            write!(f, ", ignored trailer {kind:#04x} {}", Hex(value))
        }
    }
}

/// ICMPv6 types up to this one are errors (RFC 4443 section 2.1).
const LAST_ERROR: u8 = 127;
