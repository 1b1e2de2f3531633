//! What makes any receiver drop a datagram, whatever its state.

use teredo_proto::DropReason;
use teredo_wire::Datagram;
use teredo_wire::address::is_link_local;
use teredo_wire::icmpv6::{ADVERTISEMENT_LEN, Icmpv6, ND_HOP_LIMIT, NdOption};
use teredo_wire::ipv6::{Ipv6, next_header};
use teredo_wire::print::Kind;

/// Why every role drops `datagram`, by the names that the roles count it under.
pub(super) fn of(datagram: &Datagram<'_>) -> Option<DropReason> {
    check(datagram).err()
}

fn check(datagram: &Datagram<'_>) -> Result<(), DropReason> {
    let packet = &datagram.ipv6;
    datagram.trailers().map_err(|_| DropReason::RefusedTrailer)?;
    let source = packet.source();
    if source.is_unspecified() || source.is_loopback() || source.is_multicast() {
        return Err(DropReason::ImpossibleIpv6Source);
    }
    match packet.next_header() {
        next_header::ROUTING => Err(DropReason::RoutingHeader),
        next_header::ICMPV6 => check_icmpv6(datagram, packet),
        _ => Ok(()),
    }
}

fn check_icmpv6(datagram: &Datagram<'_>, packet: &Ipv6<'_>) -> Result<(), DropReason> {
    let message = Icmpv6::parse(packet).map_err(|_| DropReason::InvalidIcmpv6)?;
    match Kind::of(packet) {
        Kind::RouterSolicitation => check_solicitation(packet, &message),
        Kind::RouterAdvertisement if datagram.origin.is_none() => Err(DropReason::UnusableOrigin),
        Kind::RouterAdvertisement => check_advertisement(packet, &message),
        Kind::NeighborDiscovery => Err(DropReason::NeighborDiscovery),
        Kind::Bubble
        | Kind::EchoRequest
        | Kind::EchoReply
        | Kind::Icmpv6Error
        | Kind::Icmpv6
        | Kind::Data => Ok(()),
    }
}

/// RFC 4861 section 6.1.1.
fn check_solicitation(packet: &Ipv6<'_>, message: &Icmpv6<'_>) -> Result<(), DropReason> {
    let is_valid = packet.hop_limit() == ND_HOP_LIMIT
        && message.code == 0
        && message.solicitation_options().all(|option| option.is_ok());
    if is_valid { Ok(()) } else { Err(DropReason::InvalidSolicitation) }
}

/// RFC 4861 section 6.1.2; exactly one prefix as RFC 4380 section 5.2.1 wants it.
fn check_advertisement(packet: &Ipv6<'_>, message: &Icmpv6<'_>) -> Result<(), DropReason> {
    let is_valid = packet.hop_limit() == ND_HOP_LIMIT
        && is_link_local(packet.source())
        && message.code == 0
        && message.bytes.len() >= ADVERTISEMENT_LEN
        && message.advertisement_options().all(|option| option.is_ok());
    if !is_valid {
        return Err(DropReason::InvalidAdvertisement);
    }
    let is_prefix = |option: &_| matches!(option, Ok(NdOption::Prefix(_)));
    match message.advertisement_options().filter(is_prefix).count() {
        1 => Ok(()),
        _ => Err(DropReason::UnusablePrefix),
    }
}
