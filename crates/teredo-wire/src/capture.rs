//! Finds Teredo in captured frames: the IPv4/UDP datagram of a frame, and whether it is Teredo.

use core::fmt;
use core::net::{Ipv4Addr, SocketAddrV4};

use crate::TEREDO_PORT;
use crate::address::{is_link_local, is_teredo};
use crate::datagram::{Datagram, Malformed};
use crate::ipv6::{Ipv6, next_header};
use crate::pcap::LinkType;

/// A UDP datagram over IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp<'a> {
    /// Where it comes from.
    pub source: SocketAddrV4,
    /// Where it goes.
    pub destination: SocketAddrV4,
    /// What it carries.
    pub payload: &'a [u8],
}

impl<'a> Udp<'a> {
    /// Finds the datagram in a frame; inside GTP-U, the one that the tunnel carries.
    ///
    /// # Errors
    /// [`NoDatagram`] says why there is none.
    pub fn find(link: LinkType, frame: &'a [u8]) -> Result<Self, NoDatagram> {
        match link {
            LinkType::RAW | LinkType::RAW_BSD | LinkType::RAW_OPENBSD | LinkType::IPV4 => {
                find_in_ip(frame)
            }
            LinkType::ETHERNET => find_by_ethertype(frame, ETHERNET_TYPE_OFFSET),
            LinkType::LINUX_COOKED => find_by_ethertype(frame, COOKED_TYPE_OFFSET),
            LinkType::LINUX_COOKED_V2 => {
                let (header, packet) = split(frame, COOKED_V2_LEN)?;
                find_by_type(u16_at(header, 0)?, packet)
            }
            _ => Err(NoDatagram::UnknownLink),
        }
    }

    /// Reads the payload as Teredo if port or inner addresses say that it is.
    ///
    /// # Errors
    /// [`NotTeredo`] says why it is not.
    pub fn teredo(&self) -> Result<Datagram<'a>, NotTeredo> {
        let by_port = [self.source.port(), self.destination.port()].contains(&TEREDO_PORT);
        let datagram = Datagram::parse(self.payload).map_err(|malformed| match by_port {
            true => NotTeredo::Malformed(malformed),
            false => NotTeredo::Unmarked,
        })?;
        let inner = [datagram.ipv6.source(), datagram.ipv6.destination()];
        let by_address = inner.into_iter().any(|it| is_teredo(it) || is_link_local(it));
        if by_port || by_address { Ok(datagram) } else { Err(NotTeredo::Unmarked) }
    }
}

/// Why a frame has no UDP datagram over IPv4 to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDatagram {
    /// A link type this crate does not read.
    UnknownLink,
    /// The frame ends inside a header or before the datagram does.
    Truncated,
    /// Not IPv4.
    NotIpv4,
    /// An IPv4 header that makes no sense.
    InvalidIpv4,
    /// A fragment: only a reassembled datagram can be read.
    Fragment,
    /// Not UDP.
    NotUdp,
    /// A UDP length below 8.
    InvalidUdp,
}

impl fmt::Display for NoDatagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownLink => "unknown-link",
            Self::Truncated => "truncated",
            Self::NotIpv4 => "not-ipv4",
            Self::InvalidIpv4 => "invalid-ipv4",
            Self::Fragment => "fragment",
            Self::NotUdp => "not-udp",
            Self::InvalidUdp => "invalid-udp",
        })
    }
}

impl core::error::Error for NoDatagram {}

/// Why a UDP datagram is not taken for Teredo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTeredo {
    /// Neither port 3544 nor a Teredo or link-local address inside.
    Unmarked,
    /// It came from or went to port 3544 but does not parse.
    Malformed(Malformed),
}

/// An Ethernet type at `offset` with its payload behind it.
fn find_by_ethertype(frame: &[u8], offset: usize) -> Result<Udp<'_>, NoDatagram> {
    let (header, packet) = split(frame, offset + 2)?;
    find_by_type(u16_at(header, offset)?, packet)
}

fn find_by_type(mut kind: u16, mut packet: &[u8]) -> Result<Udp<'_>, NoDatagram> {
    while matches!(kind, TYPE_VLAN | TYPE_VLAN_SERVICE | TYPE_VLAN_OLD) {
        let (tag, inner) = split(packet, VLAN_TAG_LEN)?;
        kind = u16_at(tag, 2)?;
        packet = inner;
    }
    match kind {
        TYPE_IPV4 | TYPE_IPV6 => find_in_ip(packet),
        _ => Err(NoDatagram::NotIpv4),
    }
}

/// The datagram of an IP packet, or of the one that a GTP-U tunnel in it carries.
fn find_in_ip(packet: &[u8]) -> Result<Udp<'_>, NoDatagram> {
    let (udp, tunnelled) = match packet.first().ok_or(NoDatagram::Truncated)? >> 4 {
        4 => {
            let udp = read_ipv4(packet)?;
            (Ok(udp), gtp_packet([udp.source.port(), udp.destination.port()], udp.payload))
        }
        6 => (Err(NoDatagram::NotIpv4), gtp_in_ipv6(packet)),
        _ => return Err(NoDatagram::NotIpv4),
    };
    // One tunnel deep: a tunnel in a tunnel is left alone, so that work per frame is bounded.
    match tunnelled {
        Some(inner) => read_ipv4(inner),
        None => udp,
    }
}

fn read_ipv4(packet: &[u8]) -> Result<Udp<'_>, NoDatagram> {
    let (header, _) = split(packet, IPV4_HEADER_LEN)?;
    if header[0] >> 4 != 4 {
        return Err(NoDatagram::NotIpv4);
    }
    let header_len = 4 * usize::from(header[0] & 0x0f);
    let total_len = match u16_at(header, 2)? {
        // Segmentation offload leaves the length to the network card.
        0 => packet.len(),
        len => usize::from(len),
    };
    if header_len < IPV4_HEADER_LEN || total_len < header_len {
        return Err(NoDatagram::InvalidIpv4);
    }
    if header[9] != next_header::UDP {
        return Err(NoDatagram::NotUdp);
    }
    if u16_at(header, 6)? & FRAGMENT_MASK != 0 {
        return Err(NoDatagram::Fragment);
    }
    let segment = packet.get(header_len..total_len).ok_or(NoDatagram::Truncated)?;
    let ([source, destination], payload) = read_udp(segment)?;
    Ok(Udp {
        source: SocketAddrV4::new(ipv4_at(header, 12)?, source),
        destination: SocketAddrV4::new(ipv4_at(header, 16)?, destination),
        payload,
    })
}

/// Source and destination port, and the payload.
fn read_udp(segment: &[u8]) -> Result<([u16; 2], &[u8]), NoDatagram> {
    let (header, _) = split(segment, UDP_HEADER_LEN)?;
    let len = usize::from(u16_at(header, 4)?);
    if len < UDP_HEADER_LEN {
        return Err(NoDatagram::InvalidUdp);
    }
    let payload = segment.get(UDP_HEADER_LEN..len).ok_or(NoDatagram::Truncated)?;
    Ok(([u16_at(header, 0)?, u16_at(header, 2)?], payload))
}

fn gtp_in_ipv6(packet: &[u8]) -> Option<&[u8]> {
    let (ipv6, _) = Ipv6::parse(packet).ok()?;
    if ipv6.next_header() != next_header::UDP {
        return None;
    }
    let (ports, payload) = read_udp(ipv6.payload()).ok()?;
    gtp_packet(ports, payload)
}

/// The packet in a GTP-U datagram (3GPP TS 29.281 section 5). A Teredo client whose port happens
/// to be that of GTP-U is not mistaken: its datagrams never begin with the version of GTP.
fn gtp_packet(ports: [u16; 2], payload: &[u8]) -> Option<&[u8]> {
    let (&[flags, kind, l0, l1, _, _, _, _], rest) = payload.split_first_chunk()?;
    if !ports.contains(&GTP_PORT) || flags & GTP_VERSION_MASK != GTP_VERSION || kind != GTP_PACKET {
        return None;
    }
    let mut rest = rest.get(..usize::from(u16::from_be_bytes([l0, l1])))?;
    if flags & GTP_OPTIONAL_FIELDS == 0 {
        return Some(rest);
    }
    let (&[_, _, _, mut extension], after) = rest.split_first_chunk()?;
    rest = after;
    while flags & GTP_EXTENSION != 0 && extension != 0 {
        let len = 4 * usize::from(*rest.first()?);
        let (header, after) = rest.split_at_checked(len)?;
        extension = *header.last()?;
        rest = after;
    }
    Some(rest)
}

fn split(bytes: &[u8], len: usize) -> Result<(&[u8], &[u8]), NoDatagram> {
    bytes.split_at_checked(len).ok_or(NoDatagram::Truncated)
}

fn u16_at(bytes: &[u8], offset: usize) -> Result<u16, NoDatagram> {
    let field = bytes.get(offset..).and_then(<[u8]>::first_chunk).ok_or(NoDatagram::Truncated)?;
    Ok(u16::from_be_bytes(*field))
}

fn ipv4_at(bytes: &[u8], offset: usize) -> Result<Ipv4Addr, NoDatagram> {
    let field = bytes.get(offset..).and_then(<[u8]>::first_chunk).ok_or(NoDatagram::Truncated)?;
    Ok(Ipv4Addr::from_octets(*field))
}

const ETHERNET_TYPE_OFFSET: usize = 12;
const COOKED_TYPE_OFFSET: usize = 14;
const COOKED_V2_LEN: usize = 20;
const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86DD;
/// IEEE 802.1Q.
const TYPE_VLAN: u16 = 0x8100;
/// IEEE 802.1ad, the outer of two tags.
const TYPE_VLAN_SERVICE: u16 = 0x88A8;
/// The outer of two tags before 802.1ad.
const TYPE_VLAN_OLD: u16 = 0x9100;
const VLAN_TAG_LEN: usize = 4;
const IPV4_HEADER_LEN: usize = 20;
/// The flag "more fragments" and the fragment offset.
const FRAGMENT_MASK: u16 = 0x3FFF;
const UDP_HEADER_LEN: usize = 8;

const GTP_PORT: u16 = 2152;
/// Version and protocol type.
const GTP_VERSION_MASK: u8 = 0xF0;
/// Version 1, GTP rather than GTP'; the bit below is reserved and 0.
const GTP_VERSION: u8 = 0x30;
/// Any of the flags extension header, sequence number and N-PDU number.
const GTP_OPTIONAL_FIELDS: u8 = 0x07;
const GTP_EXTENSION: u8 = 0x04;
/// The message type of a packet in the tunnel.
const GTP_PACKET: u8 = 255;
