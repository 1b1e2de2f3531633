//! The Port Control Protocol, version 2 (RFC 6887), for IPv4: what a client asks its gateway for,
//! and what it is told.
//!
//! Messages have a fixed layout, so that reading one gives a small value, not a view. Addresses are
//! IPv4-mapped IPv6 ones on the wire. Options are skipped: none of them is used here.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use crate::writer::{NoSpace, Writer};

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// How long the mapping is to live, in seconds; 0 deletes it.
    pub lifetime_s: u32,
    /// The address that the client sends from: a gateway that sees another one refuses.
    pub client: Ipv4Addr,
    /// What is asked for.
    pub operation: Operation,
}

/// A response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// Success, or why not.
    pub result: ResultCode,
    /// How long the mapping lives, or for how long the same request would fail likewise, in
    /// seconds.
    pub lifetime_s: u32,
    /// Seconds since the gateway began to remember mappings.
    pub epoch_s: u32,
    /// What was asked for, with what was assigned. With any other result than
    /// [`ResultCode::SUCCESS`] it is a copy of the request, if it is there at all.
    pub operation: Option<Operation>,
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// ANNOUNCE: the epoch, and nothing else.
    Announce,
    /// MAP: an external endpoint for an internal one, open to everyone.
    Map(Mapping),
    /// PEER: an external endpoint towards one remote endpoint.
    Peer(Mapping, SocketAddrV4),
}

/// One mapping, suggested or assigned; on the wire nonce, protocol, 3 reserved bytes, internal
/// port, external port, external address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Ties requests for one mapping together; others cannot change it without.
    pub nonce: [u8; 12],
    /// The transport protocol, as in an IPv4 header.
    pub protocol: u8,
    /// The port on the client.
    pub internal_port: u16,
    /// The endpoint on the gateway; unspecified and 0 for any.
    pub external: SocketAddrV4,
}

impl Request {
    /// Reads a request, as a gateway does.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let (header, body) = split(bytes)?;
        if header[1] & RESPONSE != 0 {
            return Err(Fault::Direction);
        }
        let lifetime_s = u32_at(header, 4);
        let client = ipv4(ipv6_at(header, 8)).ok_or(Fault::NotIpv4)?;
        Ok(Self { lifetime_s, client, operation: Operation::parse(header[1], body)? })
    }

    /// Appends the request.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit.
    pub fn write(&self, writer: &mut Writer<'_>) -> Result<(), NoSpace> {
        writer.put(&[VERSION, self.operation.opcode(), 0, 0])?;
        writer.put_u32(self.lifetime_s)?;
        writer.put_ipv6(self.client.to_ipv6_mapped())?;
        self.operation.write(writer)
    }
}

impl Response {
    /// Reads a response.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let (header, body) = split(bytes)?;
        if header[1] & RESPONSE == 0 {
            return Err(Fault::Direction);
        }
        let result = ResultCode(header[3]);
        let operation = match Operation::parse(header[1] & !RESPONSE, body) {
            Ok(operation) => Some(operation),
            Err(fault) if result == ResultCode::SUCCESS => return Err(fault),
            Err(_) => None,
        };
        let (lifetime_s, epoch_s) = (u32_at(header, 4), u32_at(header, 8));
        Ok(Self { result, lifetime_s, epoch_s, operation })
    }

    /// Appends the response; one without an operation is taken for an announcement's.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit.
    pub fn write(&self, writer: &mut Writer<'_>) -> Result<(), NoSpace> {
        let operation = self.operation.unwrap_or(Operation::Announce);
        writer.put(&[VERSION, RESPONSE | operation.opcode(), 0, self.result.0])?;
        writer.put_u32(self.lifetime_s)?;
        writer.put_u32(self.epoch_s)?;
        writer.put(&[0; 12])?;
        operation.write(writer)
    }
}

impl Operation {
    fn parse(opcode: u8, body: &[u8]) -> Result<Self, Fault> {
        match opcode {
            ANNOUNCE => Ok(Self::Announce),
            MAP => Ok(Self::Map(Mapping::parse(body)?)),
            PEER => {
                let peer: &[u8; 20] =
                    body.get(36..).and_then(<[u8]>::first_chunk).ok_or(Fault::Truncated)?;
                let address = ipv4(ipv6_at(peer, 4)).ok_or(Fault::NotIpv4)?;
                let remote = SocketAddrV4::new(address, u16_at(peer, 0));
                Ok(Self::Peer(Mapping::parse(body)?, remote))
            }
            _ => Err(Fault::Opcode),
        }
    }

    const fn opcode(&self) -> u8 {
        match self {
            Self::Announce => ANNOUNCE,
            Self::Map(_) => MAP,
            Self::Peer(..) => PEER,
        }
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), NoSpace> {
        match self {
            Self::Announce => Ok(()),
            Self::Map(mapping) => mapping.write(writer),
            Self::Peer(mapping, remote) => {
                mapping.write(writer)?;
                writer.put_u16(remote.port())?;
                writer.put_u16(0)?;
                writer.put_ipv6(remote.ip().to_ipv6_mapped())
            }
        }
    }
}

impl Mapping {
    fn parse(body: &[u8]) -> Result<Self, Fault> {
        let body: &[u8; 36] = body.first_chunk().ok_or(Fault::Truncated)?;
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&body[..12]);
        let address = ipv4(ipv6_at(body, 20)).ok_or(Fault::NotIpv4)?;
        Ok(Self {
            nonce,
            protocol: body[12],
            internal_port: u16_at(body, 16),
            external: SocketAddrV4::new(address, u16_at(body, 18)),
        })
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), NoSpace> {
        writer.put(&self.nonce)?;
        writer.put(&[self.protocol, 0, 0, 0])?;
        writer.put_u16(self.internal_port)?;
        writer.put_u16(self.external.port())?;
        writer.put_ipv6(self.external.ip().to_ipv6_mapped())
    }
}

/// The outcome of a request (RFC 6887 section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResultCode(pub u8);

impl ResultCode {
    /// SUCCESS.
    pub const SUCCESS: Self = Self(0);
    /// UNSUPP_VERSION.
    pub const UNSUPPORTED_VERSION: Self = Self(1);
    /// NOT_AUTHORIZED.
    pub const NOT_AUTHORIZED: Self = Self(2);
    /// UNSUPP_OPCODE.
    pub const UNSUPPORTED_OPCODE: Self = Self(4);
    /// NETWORK_FAILURE.
    pub const NETWORK_FAILURE: Self = Self(7);
    /// NO_RESOURCES.
    pub const NO_RESOURCES: Self = Self(8);
    /// UNSUPP_PROTOCOL.
    pub const UNSUPPORTED_PROTOCOL: Self = Self(9);
    /// USER_EX_QUOTA.
    pub const QUOTA: Self = Self(10);
    /// CANNOT_PROVIDE_EXTERNAL.
    pub const CANNOT_PROVIDE_EXTERNAL: Self = Self(11);
    /// ADDRESS_MISMATCH.
    pub const ADDRESS_MISMATCH: Self = Self(12);
    /// EXCESSIVE_REMOTE_PEERS.
    pub const EXCESSIVE_REMOTE_PEERS: Self = Self(13);
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is cut short.
    Truncated,
    /// It is longer than 1,100 bytes.
    TooLong,
    /// Its length is no multiple of 4.
    Unaligned,
    /// It is of another version.
    Version,
    /// It is a request where a response was due, or the other way round.
    Direction,
    /// Its opcode is not known.
    Opcode,
    /// An address in it is not an IPv4 one.
    NotIpv4,
}

impl Fault {
    /// The name used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::TooLong => "too-long",
            Self::Unaligned => "unaligned",
            Self::Version => "other-version",
            Self::Direction => "wrong-direction",
            Self::Opcode => "unknown-opcode",
            Self::NotIpv4 => "not-ipv4",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl core::error::Error for Fault {}

/// Header and body of a message of our version.
fn split(bytes: &[u8]) -> Result<(&[u8; 24], &[u8]), Fault> {
    let (header, body) = bytes.split_first_chunk::<24>().ok_or(Fault::Truncated)?;
    if header[0] != VERSION {
        return Err(Fault::Version);
    }
    if bytes.len() > LEN_MAX {
        return Err(Fault::TooLong);
    }
    if !bytes.len().is_multiple_of(4) {
        return Err(Fault::Unaligned);
    }
    Ok((header, body))
}

fn u16_at<const N: usize>(bytes: &[u8; N], offset: usize) -> u16 {
    u16::from_be_bytes([bytes[offset], bytes[offset + 1]])
}

fn u32_at<const N: usize>(bytes: &[u8; N], offset: usize) -> u32 {
    u32::from(u16_at(bytes, offset)) << 16 | u32::from(u16_at(bytes, offset + 2))
}

fn ipv6_at<const N: usize>(bytes: &[u8; N], offset: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[offset..offset + 16]);
    octets.into()
}

/// An IPv4-mapped address; all zeros stand for any address of either family.
fn ipv4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    if address.is_unspecified() {
        return Some(Ipv4Addr::UNSPECIFIED);
    }
    address.to_ipv4_mapped()
}

/// The version in the first byte.
pub const VERSION: u8 = 2;
/// The port of the gateway, of NAT-PMP too.
pub const SERVER_PORT: u16 = 5351;
/// The port that clients hear announcements on, of NAT-PMP too.
pub const CLIENT_PORT: u16 = 5350;
/// The group that announcements go to: all hosts of the link.
pub const ANNOUNCEMENT_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
/// No message is longer (RFC 6887 section 7).
pub const LEN_MAX: usize = 1_100;

const RESPONSE: u8 = 0x80;
const ANNOUNCE: u8 = 0;
const MAP: u8 = 1;
const PEER: u8 = 2;
