//! Packets on the lab's wires, changed in place as routers and NATs do.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use teredo_wire::checksum;

/// Why a packet did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DropReason {
    /// Not an IP packet of the length that it says, or its header checksum is wrong.
    Broken,
    /// It has been forwarded too often.
    Expired,
    /// Nobody in the lab has this address.
    NoRoute,
    /// To a multicast or broadcast address, which no router forwards.
    Multicast,
    /// Native IPv6 from a client, whose access has none.
    NoIpv6,
    /// A fragment, which the lab's NATs do not reassemble. Nothing that Teredo sends is one.
    Fragment,
    /// Of a kind that the lab's NATs do not translate.
    Untranslatable,
    /// The NAT has no port left.
    NoPort,
    /// The NAT lets nobody in there, or not this sender.
    Refused,
    /// From behind a NAT to the NAT's own public address.
    Hairpin,
    /// More is under way than a long wire holds.
    Congested,
    /// The host did not take it.
    Unwritable,
}

impl DropReason {
    /// All of them, by their number.
    pub(super) const ALL: [Self; 12] = [
        Self::Broken,
        Self::Expired,
        Self::NoRoute,
        Self::Multicast,
        Self::NoIpv6,
        Self::Fragment,
        Self::Untranslatable,
        Self::NoPort,
        Self::Refused,
        Self::Hairpin,
        Self::Congested,
        Self::Unwritable,
    ];

    /// The name that counts are shown under.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Expired => "expired",
            Self::NoRoute => "no-route",
            Self::Multicast => "multicast",
            Self::NoIpv6 => "no-ipv6",
            Self::Fragment => "fragment",
            Self::Untranslatable => "untranslatable",
            Self::NoPort => "no-port",
            Self::Refused => "refused-by-nat",
            Self::Hairpin => "hairpin",
            Self::Congested => "congested",
            Self::Unwritable => "unwritable",
        }
    }
}

/// A packet with a UDP datagram; `None` if that is too long for one.
pub(super) fn udp(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Option<Vec<u8>> {
    let udp_len = u16::try_from(UDP_HEADER_LEN + payload.len()).ok()?;
    let total_len = udp_len.checked_add(IPV4_HEADER_LEN as u16)?;
    let mut packet = vec![0x45, 0];
    packet.extend(total_len.to_be_bytes());
    packet.extend([0, 0, 0, 0, HOPS, UDP, 0, 0]);
    packet.extend(from.ip().octets());
    packet.extend(to.ip().octets());
    let sum = checksum::ipv4_header(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([from.port(), to.port(), udp_len, 0].map(u16::to_be_bytes).as_flattened());
    packet.extend(payload);
    let datagram = &mut packet[IPV4_HEADER_LEN..];
    let sum = checksum::ipv4(*from.ip(), *to.ip(), UDP, datagram);
    // 0 would mean that there is none (RFC 768).
    let sum = if sum == 0 { u16::MAX } else { sum };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    Some(packet)
}

/// One of the two ends of a packet's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// A whole IPv4 packet with a correct header.
pub(super) struct Ipv4<'a> {
    bytes: &'a mut [u8],
    header_len: usize,
}

impl<'a> Ipv4<'a> {
    /// Checks version, lengths and header checksum.
    pub(super) fn parse(bytes: &'a mut [u8]) -> Result<Self, DropReason> {
        let header_len = usize::from(bytes.first().unwrap_or(&0) & 0xF) * 4;
        let header = bytes.get(..header_len).filter(|header| header.len() >= IPV4_HEADER_LEN);
        let header = header.ok_or(DropReason::Broken)?;
        let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let is_intact =
            header[0] >> 4 == 4 && total_len == bytes.len() && checksum::ipv4_header(header) == 0;
        if is_intact { Ok(Self { bytes, header_len }) } else { Err(DropReason::Broken) }
    }

    /// Reads a packet that an ICMP error quotes, of which only the beginning need be there.
    fn parse_quoted(bytes: &'a mut [u8]) -> Option<Self> {
        let header_len = usize::from(bytes.first()? & 0xF) * 4;
        let is_header = (IPV4_HEADER_LEN..=bytes.len()).contains(&header_len);
        (bytes[0] >> 4 == 4 && is_header).then_some(Self { bytes, header_len })
    }

    /// The address at one end.
    pub(super) fn address(&self, end: End) -> Ipv4Addr {
        let mut octets = [0; 4];
        octets.copy_from_slice(&self.bytes[address_range(end)]);
        octets.into()
    }

    /// The number of what it carries.
    pub(super) fn protocol(&self) -> u8 {
        self.bytes[9]
    }

    /// Whether it is a piece of a larger packet.
    pub(super) fn is_fragment(&self) -> bool {
        const MORE_FRAGMENTS_AND_OFFSET: u16 = 0x3FFF;
        u16::from_be_bytes([self.bytes[6], self.bytes[7]]) & MORE_FRAGMENTS_AND_OFFSET != 0
    }

    /// What it carries, if that is a UDP datagram.
    pub(super) fn udp_payload(&self) -> Option<&[u8]> {
        let datagram = self.bytes.get(self.header_len..).filter(|_| self.protocol() == UDP)?;
        let len = usize::from(self.u16_at(4)?);
        datagram.get(UDP_HEADER_LEN..len)
    }

    /// Forwards it by one hop.
    pub(super) fn hop(&mut self) -> Result<(), DropReason> {
        let ttl = self.bytes[8];
        if ttl <= 1 {
            return Err(DropReason::Expired);
        }
        self.put_header(8, [ttl - 1, self.bytes[9]]);
        Ok(())
    }

    /// The endpoint at one end of a flow; `None` for what NATs do not translate. The port of an
    /// echo request's source and of an echo reply's destination is the identifier (RFC 5508 section
    /// 3.1); the other one is 0.
    pub(super) fn endpoint(&self, end: End) -> Option<SocketAddrV4> {
        let field = self.port_field(end)?;
        let port = match field {
            PortField::At { offset, .. } => self.u16_at(offset)?,
            PortField::None => 0,
        };
        Some(SocketAddrV4::new(self.address(end), port))
    }

    /// Replaces the endpoint at one end and corrects all checksums.
    pub(super) fn set_endpoint(&mut self, end: End, endpoint: SocketAddrV4) -> Option<()> {
        let field = self.port_field(end)?;
        let old_address = self.address(end).octets();
        let new_address = endpoint.ip().octets();
        self.put_header(address_range(end).start, new_address);
        let PortField::At { offset, checksum } = field else { return Some(()) };
        let old_port = self.u16_at(offset)?.to_be_bytes();
        let new_port = endpoint.port().to_be_bytes();
        self.payload()[offset..offset + 2].copy_from_slice(&new_port);
        let Checksum { offset, over_addresses, may_be_absent } = checksum;
        // An ICMP error quotes no more than 8 bytes, in which TCP's checksum is not.
        let Some(mut sum) = self.u16_at(offset) else { return Some(()) };
        if sum == 0 && may_be_absent {
            return Some(());
        }
        sum = updated(sum, old_port, new_port);
        if over_addresses {
            sum = updated(sum, old_address, new_address);
        }
        if sum == 0 && may_be_absent {
            sum = u16::MAX;
        }
        self.payload()[offset..offset + 2].copy_from_slice(&sum.to_be_bytes());
        Some(())
    }

    /// The packet that this one reports an error about, if it does.
    pub(super) fn quoted(&mut self) -> Option<Ipv4<'_>> {
        if self.protocol() != ICMP || !ICMP_ERRORS.contains(self.payload().first()?) {
            return None;
        }
        Ipv4::parse_quoted(self.payload().get_mut(ICMP_HEADER_LEN..)?)
    }

    /// Replaces the destination of an error message and computes its checksum again, after what it
    /// quotes has been changed.
    pub(super) fn redirect_error(&mut self, to: Ipv4Addr) {
        self.put_header(address_range(End::Destination).start, to.octets());
        let message = self.payload();
        message[2..4].fill(0);
        let sum = checksum::ipv4_header(message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }

    fn payload(&mut self) -> &mut [u8] {
        &mut self.bytes[self.header_len..]
    }

    /// A number of the payload.
    fn u16_at(&self, offset: usize) -> Option<u16> {
        let &field = self.bytes.get(self.header_len + offset..)?.first_chunk()?;
        Some(u16::from_be_bytes(field))
    }

    /// Where the port of one end is in the payload, which is checked to be there.
    fn port_field(&self, end: End) -> Option<PortField> {
        let port = if end == End::Source { 0 } else { 2 };
        let at = |offset, checksum| PortField::At { offset, checksum };
        let checksum = |offset, over_addresses, may_be_absent| Checksum {
            offset,
            over_addresses,
            may_be_absent,
        };
        let field = match (self.protocol(), end) {
            (UDP, _) => at(port, checksum(6, true, true)),
            (TCP, _) => at(port, checksum(16, true, false)),
            (ICMP, _) => match (*self.bytes.get(self.header_len)?, end) {
                (ECHO_REQUEST, End::Source) | (ECHO_REPLY, End::Destination) => {
                    at(4, checksum(2, false, false))
                }
                (ECHO_REQUEST, End::Destination) | (ECHO_REPLY, End::Source) => PortField::None,
                _ => return None,
            },
            _ => return None,
        };
        let has_first_bytes = self.bytes.len() >= self.header_len + QUOTED_PAYLOAD_LEN;
        has_first_bytes.then_some(field)
    }

    /// Writes an even number of bytes at an even offset of the header.
    fn put_header<const N: usize>(&mut self, offset: usize, new: [u8; N]) {
        let mut old = [0; N];
        old.copy_from_slice(&self.bytes[offset..offset + N]);
        self.bytes[offset..offset + N].copy_from_slice(&new);
        let sum = updated(u16::from_be_bytes([self.bytes[10], self.bytes[11]]), old, new);
        self.bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Where a port is in the payload.
#[derive(Clone, Copy)]
enum PortField {
    /// This end has none.
    None,
    /// Here, and it counts in this checksum.
    At { offset: usize, checksum: Checksum },
}

#[derive(Clone, Copy)]
struct Checksum {
    offset: usize,
    over_addresses: bool,
    /// 0 means that there is none (RFC 768).
    may_be_absent: bool,
}

/// A whole IPv6 packet.
pub(super) struct Ipv6<'a> {
    bytes: &'a mut [u8],
}

impl<'a> Ipv6<'a> {
    /// Checks version and length.
    pub(super) fn parse(bytes: &'a mut [u8]) -> Result<Self, DropReason> {
        match teredo_wire::Ipv6::parse(bytes) {
            Ok((_, [])) => Ok(Self { bytes }),
            Ok(_) | Err(_) => Err(DropReason::Broken),
        }
    }

    /// Where it goes.
    pub(super) fn destination(&self) -> Ipv6Addr {
        let mut octets = [0; 16];
        octets.copy_from_slice(&self.bytes[24..40]);
        octets.into()
    }

    /// Forwards it by one hop.
    pub(super) fn hop(&mut self) -> Result<(), DropReason> {
        if self.bytes[7] <= 1 {
            return Err(DropReason::Expired);
        }
        self.bytes[7] -= 1;
        Ok(())
    }
}

/// A checksum after `old` has been replaced by `new`, both of even length (RFC 1624 section 3).
fn updated<const N: usize>(checksum: u16, old: [u8; N], new: [u8; N]) -> u16 {
    let mut sum = u32::from(!checksum);
    for (old, new) in old.as_chunks::<2>().0.iter().zip(new.as_chunks::<2>().0) {
        sum += u32::from(!u16::from_be_bytes(*old)) + u32::from(u16::from_be_bytes(*new));
    }
    while sum > 0xFFFF {
        sum = (sum >> 16) + (sum & 0xFFFF);
    }
    !(sum as u16)
}

const fn address_range(end: End) -> std::ops::Range<usize> {
    match end {
        End::Source => 12..16,
        End::Destination => 16..20,
    }
}

/// The number of ICMP as what an IPv4 packet carries.
pub(super) const ICMP: u8 = 1;
/// The number of TCP.
pub(super) const TCP: u8 = 6;
/// The number of UDP.
pub(super) const UDP: u8 = 17;
/// The type of an ICMP echo request.
pub(super) const ECHO_REQUEST: u8 = 8;
/// The type of an ICMP echo reply.
pub(super) const ECHO_REPLY: u8 = 0;
/// ICMP types that quote a packet and that a NAT passes in: unreachable, time exceeded, parameter
/// problem (RFC 5508 section 4).
const ICMP_ERRORS: [u8; 3] = [3, 11, 12];
const ICMP_HEADER_LEN: usize = 8;
/// Bytes of the payload that every ICMP error quotes; no transport has less.
pub(super) const QUOTED_PAYLOAD_LEN: usize = 8;
const UDP_HEADER_LEN: usize = 8;
/// How far the packets of the lab's own routers get.
pub(super) const HOPS: u8 = 64;
/// Bytes of an IPv4 header without options.
pub(super) const IPV4_HEADER_LEN: usize = 20;

#[cfg(test)]
mod tests;
