//! What a client and its helper say to each other, beside Teredo on the same UDP port.
//!
//! A helper passes Teredo datagrams on for clients that it knows, from one endpoint for all of
//! them. Its frames begin with a byte whose top bits are `10`, which nothing in Teredo begins with
//! (RFC 4380 section 5.1.1), and a version. There are four:
//!
//! | | Frame | |
//! | --- | --- | --- |
//! | 80 | [`Register`] | client to helper: pass on what is for this address |
//! | 81 | [`Challenge`] | helper to client: once more, with this cookie |
//! | 82 | [`Registered`] | helper to client: what came of it |
//! | 83 | [`Forward`] | a datagram, with the endpoint that it is for or has come from |
//!
//! Each answer is shorter than the question, so that a forged one gains nothing.

use core::cmp::Ordering;
use core::net::{Ipv6Addr, SocketAddrV4};

use crate::writer::{NoSpace, Writer};

/// The UDP port that helpers listen on unless told otherwise: the one after the servers', which may
/// be on the same host.
pub const HELPER_PORT: u16 = 3545;

/// What stands before a datagram that is passed on.
pub const FORWARD_HEADER_LEN: usize = 12;

/// Whether a UDP payload is a frame and no Teredo datagram.
pub fn is_frame(payload: &[u8]) -> bool {
    payload.first().is_some_and(|first| first & KIND_MASK == KIND_MARK)
}

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A client wants to be registered.
    Register(Register<'a>, Seal<'a>),
    /// The helper wants to see that the client is where its question came from.
    Challenge(Challenge),
    /// The helper has decided.
    Registered(Registered, Seal<'a>),
    /// A datagram is passed on.
    Forward(Forward<'a>),
}

/// The end of a frame that is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal<'a> {
    /// The message authentication code (MAC).
    pub mac: &'a [u8],
    /// What it covers: all before it.
    pub covered: &'a [u8],
}

/// A client's request, for the first time or again.
///
/// ```text
///  0  80, version, length of the identifier, length of the MAC
///  4  nonce, 8 bytes
/// 12  cookie, 16 bytes: zero if there is none yet
/// 28  IPv6 address, 16 bytes
/// 44  identifier, then MAC of all before it
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register<'a> {
    /// What the answer repeats.
    pub nonce: [u8; 8],
    /// That of the helper's last answer.
    pub cookie: Cookie,
    /// The Teredo address that is to be served.
    pub address: Ipv6Addr,
    /// The name of the client, 1 to 255 bytes.
    pub client_id: &'a [u8],
}

/// What proves that a client gets what is sent to it.
pub type Cookie = [u8; 16];

/// The answer to a request without a good cookie: 81, version, 2 zero bytes, nonce, cookie. It
/// costs the helper no memory, and whoever is sent it for nothing drops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// That of the request.
    pub nonce: [u8; 8],
    /// What the next request is to carry.
    pub cookie: Cookie,
}

/// The answer to a request with a good cookie and a good MAC.
///
/// ```text
///  0  82, version, status, length of the MAC
///  4  nonce, 8 bytes
/// 12  cookie, 16 bytes
/// 28  token, 4 bytes
/// 32  lifetime in seconds, 2 bytes
/// 34  MAC of all before it
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Granted, or why not.
    pub status: Status,
    /// That of the request.
    pub nonce: [u8; 8],
    /// What the next request is to carry.
    pub cookie: Cookie,
    /// What frames with datagrams carry, both ways.
    pub token: Token,
    /// How long the registration lives, in seconds.
    pub lifetime_s: u16,
}

/// What only the two ends of a registration know, and those who can listen between them.
pub type Token = [u8; 4];

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status(pub u8);

impl Status {
    /// The client is registered.
    pub const GRANTED: Self = Self(0);
    /// Another client has this address; the client may choose other flags for its own.
    pub const ADDRESS_IN_USE: Self = Self(1);
    /// The helper serves as many clients as it may.
    pub const FULL: Self = Self(2);
    /// No Teredo address, or not one that a client may have.
    pub const UNUSABLE_ADDRESS: Self = Self(3);
}

/// A datagram on its way.
///
/// Port and address are inverted as in a Teredo address (RFC 4380 section 4), because of NATs that
/// rewrite addresses wherever they find them: the endpoint may be one of the client's own NAT.
///
/// ```text
///  0  83, version
///  2  port and
///  4  IPv4 address where it goes to, or has come from, each with all bits inverted
///  8  token
/// 12  Teredo datagram
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward<'a> {
    /// From the client: where it goes to. From the helper: where it has come from.
    pub endpoint: SocketAddrV4,
    /// That of the registration.
    pub token: Token,
    /// The Teredo datagram.
    pub datagram: &'a [u8],
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// No frame, or not one of this version.
    Version,
    /// None of the four.
    Kind,
    /// It ends too early.
    Truncated,
    /// It goes on after its end.
    TooLong,
    /// A request without an identifier.
    NoIdentifier,
}

impl<'a> Frame<'a> {
    /// Reads a frame, which is a whole UDP payload.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Fault> {
        let &[kind, version, ..] = payload else { return Err(Fault::Truncated) };
        if !is_frame(payload) || version != VERSION {
            return Err(Fault::Version);
        }
        match kind {
            REGISTER => {
                Register::parse(payload).map(|(request, seal)| Self::Register(request, seal))
            }
            CHALLENGE => Challenge::parse(payload).map(Self::Challenge),
            REGISTERED => {
                Registered::parse(payload).map(|(answer, seal)| Self::Registered(answer, seal))
            }
            FORWARD => Forward::parse(payload).map(Self::Forward),
            _ => Err(Fault::Kind),
        }
    }
}

impl<'a> Seal<'a> {
    /// The MAC at the end of a frame, which has to be as long as it is said to be.
    fn new(frame: &'a [u8], mac: &'a [u8], mac_len: u8) -> Result<Self, Fault> {
        match mac.len().cmp(&usize::from(mac_len)) {
            Ordering::Less => Err(Fault::Truncated),
            Ordering::Equal => Ok(Self { mac, covered: &frame[..frame.len() - mac.len()] }),
            Ordering::Greater => Err(Fault::TooLong),
        }
    }
}

impl<'a> Register<'a> {
    fn parse(payload: &'a [u8]) -> Result<(Self, Seal<'a>), Fault> {
        let (&[_, _, id_len, mac_len], rest) = payload.split_first_chunk().ok_or(TRUNCATED)?;
        let (&nonce, rest) = rest.split_first_chunk().ok_or(TRUNCATED)?;
        let (&cookie, rest) = rest.split_first_chunk().ok_or(TRUNCATED)?;
        let (&address, rest) = rest.split_first_chunk::<16>().ok_or(TRUNCATED)?;
        let (client_id, mac) = rest.split_at_checked(usize::from(id_len)).ok_or(TRUNCATED)?;
        if client_id.is_empty() {
            return Err(Fault::NoIdentifier);
        }
        let seal = Seal::new(payload, mac, mac_len)?;
        Ok((Self { nonce, cookie, address: address.into(), client_id }, seal))
    }

    /// Appends the request up to its MAC, which is to have `mac_len` bytes.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit, or the identifier is longer than 255 bytes.
    pub fn write(&self, writer: &mut Writer<'_>, mac_len: u8) -> Result<(), NoSpace> {
        let id_len = u8::try_from(self.client_id.len()).map_err(|_| NoSpace)?;
        writer.put(&[REGISTER, VERSION, id_len, mac_len])?;
        writer.put(&self.nonce)?;
        writer.put(&self.cookie)?;
        writer.put(&self.address.octets())?;
        writer.put(self.client_id)
    }
}

impl Challenge {
    fn parse(payload: &[u8]) -> Result<Self, Fault> {
        let (_, rest) = payload.split_first_chunk::<4>().ok_or(TRUNCATED)?;
        let (&nonce, rest) = rest.split_first_chunk().ok_or(TRUNCATED)?;
        let (&cookie, rest) = rest.split_first_chunk().ok_or(TRUNCATED)?;
        if rest.is_empty() { Ok(Self { nonce, cookie }) } else { Err(Fault::TooLong) }
    }

    /// Appends the answer.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit.
    pub fn write(&self, writer: &mut Writer<'_>) -> Result<(), NoSpace> {
        writer.put(&[CHALLENGE, VERSION, 0, 0])?;
        writer.put(&self.nonce)?;
        writer.put(&self.cookie)
    }
}

impl Registered {
    fn parse(payload: &[u8]) -> Result<(Self, Seal<'_>), Fault> {
        let (&[_, _, status, mac_len], rest) = payload.split_first_chunk().ok_or(TRUNCATED)?;
        let (&nonce, rest) = rest.split_first_chunk().ok_or(TRUNCATED)?;
        let (&cookie, rest) = rest.split_first_chunk().ok_or(TRUNCATED)?;
        let (&token, rest) = rest.split_first_chunk().ok_or(TRUNCATED)?;
        let (&lifetime, mac) = rest.split_first_chunk().ok_or(TRUNCATED)?;
        let seal = Seal::new(payload, mac, mac_len)?;
        let (status, lifetime_s) = (Status(status), u16::from_be_bytes(lifetime));
        Ok((Self { status, nonce, cookie, token, lifetime_s }, seal))
    }

    /// Appends the answer up to its MAC, which is to have `mac_len` bytes.
    ///
    /// # Errors
    /// [`NoSpace`] when it does not fit.
    pub fn write(&self, writer: &mut Writer<'_>, mac_len: u8) -> Result<(), NoSpace> {
        writer.put(&[REGISTERED, VERSION, self.status.0, mac_len])?;
        writer.put(&self.nonce)?;
        writer.put(&self.cookie)?;
        writer.put(&self.token)?;
        writer.put_u16(self.lifetime_s)
    }
}

impl<'a> Forward<'a> {
    fn parse(payload: &'a [u8]) -> Result<Self, Fault> {
        let (&header, datagram) =
            payload.split_first_chunk::<FORWARD_HEADER_LEN>().ok_or(TRUNCATED)?;
        let [_, _, p0, p1, a, b, c, d, t0, t1, t2, t3] = header;
        let (port, address) = (u16::from_be_bytes([p0, p1]), u32::from_be_bytes([a, b, c, d]));
        let endpoint = SocketAddrV4::new((!address).into(), !port);
        Ok(Self { endpoint, token: [t0, t1, t2, t3], datagram })
    }

    /// Appends header and datagram.
    ///
    /// # Errors
    /// [`NoSpace`] when they do not fit.
    pub fn write(&self, writer: &mut Writer<'_>) -> Result<(), NoSpace> {
        writer.put(&forward_header(self.endpoint, self.token))?;
        writer.put(self.datagram)
    }
}

/// Where the solicitations of a client come from that goes through a helper, so that the helper
/// knows whose the answers are: a link-local address with the interface identifier of its Teredo
/// address.
pub fn link_local(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c, d] = address.segments();
    Ipv6Addr::new(0xfe80, 0, 0, 0, a, b, c, d)
}

/// What is to stand before a datagram.
pub fn forward_header(endpoint: SocketAddrV4, token: Token) -> [u8; FORWARD_HEADER_LEN] {
    let ([p0, p1], [a, b, c, d]) =
        ((!endpoint.port()).to_be_bytes(), (!endpoint.ip().to_bits()).to_be_bytes());
    let [t0, t1, t2, t3] = token;
    [FORWARD, VERSION, p0, p1, a, b, c, d, t0, t1, t2, t3]
}

const KIND_MASK: u8 = 0xc0;
const KIND_MARK: u8 = 0x80;
const VERSION: u8 = 0;
const REGISTER: u8 = 0x80;
const CHALLENGE: u8 = 0x81;
const REGISTERED: u8 = 0x82;
const FORWARD: u8 = 0x83;
const TRUNCATED: Fault = Fault::Truncated;
