//! Trailers (RFC 6081 section 4): type, length and value after the IPv6 packet. One is our own, of
//! a type that others pass over.

use core::fmt;
use core::net::{Ipv4Addr, SocketAddrV4};

use crate::writer::{NoSpace, Writer};

/// The trailers of one datagram: the first well-formed one of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trailers<'a> {
    /// Nonce Trailer.
    pub nonce: Option<[u8; 4]>,
    /// Alternate Address Trailer.
    pub alternates: Option<Alternates<'a>>,
    /// Neighbor Discovery Option Trailer.
    pub neighbor_discovery: Option<NeighborDiscovery>,
    /// Random Port Trailer: the predicted external port.
    pub random_port: Option<u16>,
    /// Birthday Trailer.
    pub birthday: Option<Birthday>,
}

impl<'a> Trailers<'a> {
    /// Reads trailers in wire order and stops at the first malformed one, keeping those before.
    ///
    /// # Errors
    /// [`RefusedTrailer`] at an unknown type of 0x40 to 0x7f.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RefusedTrailer> {
        let mut found = Self::default();
        for trailer in iter(bytes) {
            match trailer? {
                Trailer::Nonce(nonce) => found.nonce = found.nonce.or(Some(nonce)),
                Trailer::Alternates(list) => found.alternates = found.alternates.or(Some(list)),
                Trailer::NeighborDiscovery(kind) => {
                    found.neighbor_discovery = found.neighbor_discovery.or(Some(kind));
                }
                Trailer::RandomPort(port) => found.random_port = found.random_port.or(Some(port)),
                Trailer::Birthday(offer) => found.birthday = found.birthday.or(Some(offer)),
                Trailer::Ignored { .. } => {}
            }
        }
        Ok(found)
    }
}

/// One trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trailer<'a> {
    /// Type 1: a nonce, never all zero when sent.
    Nonce([u8; 4]),
    /// Type 3: other addresses of the sender.
    Alternates(Alternates<'a>),
    /// Type 4: solicitation or advertisement.
    NeighborDiscovery(NeighborDiscovery),
    /// Type 5 (erratum 2685): the predicted external port of the sender's random port.
    RandomPort(u16),
    /// Type 0x8b (in no RFC): what the sender offers to do for birthday probing.
    Birthday(Birthday),
    /// An unknown type that is to be skipped, or a known one whose value makes no sense (E-16).
    Ignored {
        /// The type as on the wire.
        kind: u8,
        /// The value.
        value: &'a [u8],
    },
}

impl Trailer<'_> {
    /// Appends the trailer.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit, or a value is longer than 255 bytes.
    pub fn write(&self, writer: &mut Writer<'_>) -> Result<(), NoSpace> {
        match self {
            Self::Nonce(nonce) => put_tlv(writer, NONCE, nonce),
            Self::Alternates(list) => put_tlv(writer, ALTERNATE_ADDRESS, list.0),
            Self::NeighborDiscovery(kind) => {
                put_tlv(writer, NEIGHBOR_DISCOVERY, &[*kind as u8, 0, 0, 0])
            }
            Self::RandomPort(port) => put_tlv(writer, RANDOM_PORT, &port.to_be_bytes()),
            Self::Birthday(Birthday { part, nonce }) => {
                let [a, b, c, d] = *nonce;
                put_tlv(writer, BIRTHDAY, &[*part as u8, a, b, c, d])
            }
            Self::Ignored { kind, value } => put_tlv(writer, *kind, value),
        }
    }
}

/// What a Neighbor Discovery Option Trailer asks or says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighborDiscovery {
    /// DiscoveryType 0.
    Solicitation = 0,
    /// DiscoveryType 1.
    Advertisement = 1,
}

impl NeighborDiscovery {
    /// The name used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Solicitation => "solicitation",
            Self::Advertisement => "advertisement",
        }
    }
}

/// What the sender of an indirect bubble offers to do for birthday probing. The value is the part,
/// a byte, and the nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birthday {
    /// What it can do, or does already.
    pub part: Part,
    /// The nonce of the last indirect bubble that it got from its peer, which shows that it got it;
    /// all zero if there was none.
    pub nonce: [u8; 4],
}

/// A part in birthday probing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// One port, which the NAT maps to the same endpoint for every destination: it can send from
    /// there to many.
    OnePort = 0,
    /// A NAT that maps each port to one that nobody can predict: it can open many.
    ManyPorts = 1,
    /// The same, and they are being opened.
    OpenPorts = 2,
}

impl Part {
    /// The name used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnePort => "one-port",
            Self::ManyPorts => "many-ports",
            Self::OpenPorts => "open-ports",
        }
    }
}

impl Birthday {
    fn parse(value: &[u8]) -> Option<Self> {
        let &[part, a, b, c, d] = value else { return None };
        let part = match part {
            0 => Part::OnePort,
            1 => Part::ManyPorts,
            2 => Part::OpenPorts,
            _ => return None,
        };
        Some(Self { part, nonce: [a, b, c, d] })
    }
}

/// The value of an Alternate Address Trailer: 1 to 4 endpoints, in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alternates<'a>(&'a [u8]);

impl<'a> Alternates<'a> {
    /// The most endpoints one trailer holds (RFC 6081 section 4.3).
    pub const MAX: usize = 4;

    /// Takes a trailer's value; `None` when its length is not 8, 14, 20 or 26.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        matches!(value.len(), 8 | 14 | 20 | 26).then_some(Self(value))
    }

    /// The endpoints, in wire order and unchecked.
    pub fn endpoints(self) -> impl Iterator<Item = SocketAddrV4> + 'a {
        let (entries, _) = self.0.get(2..).unwrap_or_default().as_chunks();
        entries.iter().map(|&[a, b, c, d, p0, p1]| {
            SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([p0, p1]))
        })
    }

    /// Appends a trailer with these endpoints.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit, or there are none or more than [`Self::MAX`].
    pub fn write(writer: &mut Writer<'_>, endpoints: &[SocketAddrV4]) -> Result<(), NoSpace> {
        if !(1..=Self::MAX).contains(&endpoints.len()) {
            return Err(NoSpace);
        }
        let len = 2 + 6 * endpoints.len() as u8;
        writer.put(&[ALTERNATE_ADDRESS, len, 0, 0])?;
        for endpoint in endpoints {
            writer.put_ipv4(*endpoint.ip())?;
            writer.put_u16(endpoint.port())?;
        }
        Ok(())
    }
}

/// Walks over trailers in wire order, up to the first malformed one or [`MAX_TRAILERS`].
pub fn iter(bytes: &[u8]) -> impl Iterator<Item = Result<Trailer<'_>, RefusedTrailer>> {
    let mut rest = bytes.get(..MAX_BYTES).unwrap_or(bytes);
    core::iter::from_fn(move || {
        let (&[kind, len], after) = rest.split_first_chunk()?;
        let (value, after) = after.split_at_checked(usize::from(len))?;
        rest = after;
        Some(read(kind, value))
    })
    .take(MAX_TRAILERS)
}

/// An unknown trailer of a type whose top bits are 01: the packet is to be discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedTrailer {
    /// The type, 0x40 to 0x7f.
    pub kind: u8,
}

impl fmt::Display for RefusedTrailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("refused-trailer")
    }
}

impl core::error::Error for RefusedTrailer {}

fn read(kind: u8, value: &[u8]) -> Result<Trailer<'_>, RefusedTrailer> {
    let known = match kind {
        NONCE => value.try_into().ok().map(Trailer::Nonce),
        ALTERNATE_ADDRESS => Alternates::parse(value).map(Trailer::Alternates),
        NEIGHBOR_DISCOVERY => match value {
            [0, _, _, _] => Some(NeighborDiscovery::Solicitation),
            [1, _, _, _] => Some(NeighborDiscovery::Advertisement),
            _ => None,
        }
        .map(Trailer::NeighborDiscovery),
        RANDOM_PORT => value.try_into().ok().map(u16::from_be_bytes).map(Trailer::RandomPort),
        BIRTHDAY => Birthday::parse(value).map(Trailer::Birthday),
        0x40..=0x7f => return Err(RefusedTrailer { kind }),
        _ => None,
    };
    Ok(known.unwrap_or(Trailer::Ignored { kind, value }))
}

fn put_tlv(writer: &mut Writer<'_>, kind: u8, value: &[u8]) -> Result<(), NoSpace> {
    let len = u8::try_from(value.len()).map_err(|_| NoSpace)?;
    writer.put(&[kind, len])?;
    writer.put(value)
}

/// Type of the Nonce Trailer.
pub const NONCE: u8 = 1;
/// Type of the Alternate Address Trailer.
pub const ALTERNATE_ADDRESS: u8 = 3;
/// Type of the Neighbor Discovery Option Trailer.
pub const NEIGHBOR_DISCOVERY: u8 = 4;
/// Type of the Random Port Trailer (erratum 2685; the RFC's table misprints it as 2).
pub const RANDOM_PORT: u8 = 5;
/// Type of the Birthday Trailer: ours, from the range that those who do not know it pass over.
pub const BIRTHDAY: u8 = 0x8b;

/// Trailers looked at in one datagram: twice what any known sender puts there, so that work per
/// packet is bounded.
pub const MAX_TRAILERS: usize = 8;
/// Trailing bytes looked at in one datagram, for the same reason.
pub const MAX_BYTES: usize = 128;
