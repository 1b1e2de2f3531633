//! The NAT Port Mapping Protocol (RFC 6886), the elder brother of [PCP](crate::pcp): the same
//! ports, version 0.

use core::net::Ipv4Addr;

pub use crate::pcp::Fault;
use crate::writer::{NoSpace, Writer};

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// For the external address: two zero bytes.
    ExternalAddress,
    /// For a mapping of a UDP port: opcode 1, 2 reserved bytes, internal port, suggested external
    /// port, lifetime.
    Map {
        /// The port on the client.
        internal_port: u16,
        /// The port on the gateway; 0 for any.
        external_port: u16,
        /// How long it is to live, in seconds; 0 deletes it.
        lifetime_s: u32,
    },
}

/// A response: version, opcode + 128, result, epoch, and what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// Success, or why not.
    pub result: ResultCode,
    /// Seconds since the gateway began to remember mappings.
    pub epoch_s: u32,
    /// What was asked for; only with [`ResultCode::SUCCESS`].
    pub answer: Option<Answer>,
}

/// What a gateway grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its external address.
    ExternalAddress(Ipv4Addr),
    /// A mapping of a UDP port.
    Map {
        /// The port on the client.
        internal_port: u16,
        /// The port on the gateway.
        external_port: u16,
        /// How long it lives, in seconds.
        lifetime_s: u32,
    },
}

impl Request {
    /// Reads a request, as a gateway does.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        match *bytes {
            [] | [_] => Err(Fault::Truncated),
            [version, ..] if version != VERSION => Err(Fault::Version),
            [_, opcode, ..] if opcode & RESPONSE != 0 => Err(Fault::Direction),
            [_, EXTERNAL_ADDRESS, ..] => Ok(Self::ExternalAddress),
            [_, MAP_UDP, _, _, i0, i1, e0, e1, l0, l1, l2, l3, ..] => Ok(Self::Map {
                internal_port: u16::from_be_bytes([i0, i1]),
                external_port: u16::from_be_bytes([e0, e1]),
                lifetime_s: u32::from_be_bytes([l0, l1, l2, l3]),
            }),
            [_, MAP_UDP, ..] => Err(Fault::Truncated),
            _ => Err(Fault::Opcode),
        }
    }

    /// Appends the request.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit.
    pub fn write(&self, writer: &mut Writer<'_>) -> Result<(), NoSpace> {
        match *self {
            Self::ExternalAddress => writer.put(&[VERSION, EXTERNAL_ADDRESS]),
            Self::Map { internal_port, external_port, lifetime_s } => {
                writer.put(&[VERSION, MAP_UDP, 0, 0])?;
                writer.put_u16(internal_port)?;
                writer.put_u16(external_port)?;
                writer.put_u32(lifetime_s)
            }
        }
    }
}

impl Response {
    /// Reads a response. One that refuses may end after the epoch.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let (&[version, opcode, r0, r1, e0, e1, e2, e3], body) =
            bytes.split_first_chunk::<8>().ok_or(Fault::Truncated)?;
        if version != VERSION {
            return Err(Fault::Version);
        }
        if opcode & RESPONSE == 0 {
            return Err(Fault::Direction);
        }
        let result = ResultCode(u16::from_be_bytes([r0, r1]));
        let epoch_s = u32::from_be_bytes([e0, e1, e2, e3]);
        let answer = match (result, opcode & !RESPONSE) {
            (ResultCode::SUCCESS, opcode) => Some(Answer::parse(opcode, body)?),
            _ => None,
        };
        Ok(Self { result, epoch_s, answer })
    }

    /// Appends the response to `request`.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit.
    pub fn write(&self, writer: &mut Writer<'_>, request: Request) -> Result<(), NoSpace> {
        let opcode = match request {
            Request::ExternalAddress => EXTERNAL_ADDRESS,
            Request::Map { .. } => MAP_UDP,
        };
        writer.put(&[VERSION, RESPONSE | opcode])?;
        writer.put_u16(self.result.0)?;
        writer.put_u32(self.epoch_s)?;
        match self.answer {
            None => Ok(()),
            Some(Answer::ExternalAddress(address)) => writer.put_ipv4(address),
            Some(Answer::Map { internal_port, external_port, lifetime_s }) => {
                writer.put_u16(internal_port)?;
                writer.put_u16(external_port)?;
                writer.put_u32(lifetime_s)
            }
        }
    }
}

impl Answer {
    fn parse(opcode: u8, body: &[u8]) -> Result<Self, Fault> {
        match (opcode, body) {
            (EXTERNAL_ADDRESS, &[a, b, c, d, ..]) => {
                Ok(Self::ExternalAddress(Ipv4Addr::new(a, b, c, d)))
            }
            (MAP_UDP, &[i0, i1, e0, e1, l0, l1, l2, l3, ..]) => Ok(Self::Map {
                internal_port: u16::from_be_bytes([i0, i1]),
                external_port: u16::from_be_bytes([e0, e1]),
                lifetime_s: u32::from_be_bytes([l0, l1, l2, l3]),
            }),
            (EXTERNAL_ADDRESS | MAP_UDP, _) => Err(Fault::Truncated),
            _ => Err(Fault::Opcode),
        }
    }
}

/// The outcome of a request (RFC 6886 section 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResultCode(pub u16);

impl ResultCode {
    /// Success.
    pub const SUCCESS: Self = Self(0);
    /// Unsupported version.
    pub const UNSUPPORTED_VERSION: Self = Self(1);
    /// Not authorized or refused.
    pub const NOT_AUTHORIZED: Self = Self(2);
    /// Network failure: the gateway has no address itself.
    pub const NETWORK_FAILURE: Self = Self(3);
    /// Out of resources.
    pub const NO_RESOURCES: Self = Self(4);
    /// Unsupported opcode.
    pub const UNSUPPORTED_OPCODE: Self = Self(5);
}

/// The version in the first byte.
pub const VERSION: u8 = 0;

const RESPONSE: u8 = 0x80;
const EXTERNAL_ADDRESS: u8 = 0;
const MAP_UDP: u8 = 1;
