//! What makes a Router Advertisement valid (RFC 4380 section 5.2.1, RFC 4861 section 6.1.2).

use core::net::Ipv6Addr;

use teredo_wire::address::{CLIENT_LINK_LOCAL, client_prefix, is_link_local};
use teredo_wire::icmpv6::{
    self, ADVERTISEMENT_LEN, Icmpv6, ND_HOP_LIMIT, NdOption, PrefixInformation,
};
use teredo_wire::{Datagram, MTU_DEFAULT};

use crate::client::Config;
use crate::client::qualification::Mapping;
use crate::keys::Secret;
use crate::reason::DropReason;
use crate::role::TRANSMIT_LEN_MAX;

/// What a valid answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) mapping: Mapping,
    /// Whether the server, which knows our key, asks for a new one.
    pub(super) is_renewal_due: bool,
}

/// Reads a valid answer to a solicitation that carried `nonce`. That it came from the address
/// that was asked is the caller's to check.
///
/// # Errors
/// Why the answer is not valid; the wait for a valid one goes on.
pub(super) fn read(
    datagram: &Datagram<'_>,
    nonce: [u8; 8],
    config: &Config,
) -> Result<Answer, DropReason> {
    read_at(CLIENT_LINK_LOCAL, datagram, nonce, config)
}

/// The same for a solicitation that came from `link_local`.
///
/// # Errors
/// Why the answer is not valid; the wait for a valid one goes on.
pub(super) fn read_at(
    link_local: Ipv6Addr,
    datagram: &Datagram<'_>,
    nonce: [u8; 8],
    config: &Config,
) -> Result<Answer, DropReason> {
    let is_renewal_due = check_authentication(datagram, nonce, config.secret.as_ref())?;
    let mapped = datagram
        .origin
        .filter(|origin| origin.port() != 0 && config.filter.is_global(*origin.ip()))
        .ok_or(DropReason::UnusableOrigin)?;
    let mtu = check_packet(datagram, config, link_local)?;
    Ok(Answer { mapping: Mapping { mapped, mtu }, is_renewal_due })
}

/// Checks that the answer is to our question and, with a key, from somebody who knows it. Returns
/// whether a new key is due.
fn check_authentication(
    datagram: &Datagram<'_>,
    nonce: [u8; 8],
    secret: Option<&Secret>,
) -> Result<bool, DropReason> {
    let authentication = datagram.authentication.ok_or(DropReason::MissingAuthentication)?;
    if !equal_in_constant_time(authentication.nonce, nonce) {
        return Err(DropReason::WrongNonce);
    }
    let is_confirmed = authentication.confirmation == 0;
    let is_signed = secret.is_some() && !authentication.value.is_empty();
    // Without proof of a key there is no other to get: the server does not want this client (E-06).
    if !is_confirmed && !is_signed {
        return Err(DropReason::Refused);
    }
    let Some(secret) = secret else { return Ok(false) };
    if authentication.client_id != secret.identifier.as_bytes() {
        return Err(DropReason::WrongIdentifier);
    }
    secret.check(datagram)?;
    Ok(!is_confirmed)
}

/// Checks the packet and returns the MTU of the link.
fn check_packet(
    datagram: &Datagram<'_>,
    config: &Config,
    link_local: Ipv6Addr,
) -> Result<u16, DropReason> {
    let packet = &datagram.ipv6;
    let message = Icmpv6::parse(packet).map_err(|_| DropReason::InvalidIcmpv6)?;
    let is_answer = packet.hop_limit() == ND_HOP_LIMIT
        && is_link_local(packet.source())
        && packet.destination() == link_local
        && message.kind == icmpv6::ROUTER_ADVERTISEMENT
        && message.code == 0
        && message.bytes.len() >= ADVERTISEMENT_LEN;
    if !is_answer {
        return Err(DropReason::InvalidAdvertisement);
    }
    let mut prefix = None;
    let mut mtu = MTU_DEFAULT;
    for option in message.advertisement_options() {
        match option.map_err(|_| DropReason::InvalidAdvertisement)? {
            NdOption::Prefix(information) if prefix.is_none() => prefix = Some(information),
            NdOption::Prefix(_) => return Err(DropReason::UnusablePrefix),
            NdOption::Mtu(advertised) => mtu = read_mtu(advertised)?,
            NdOption::Other(_) => {}
        }
    }
    match prefix {
        Some(prefix) if is_usable(&prefix, config) => Ok(mtu),
        Some(_) | None => Err(DropReason::UnusablePrefix),
    }
}

/// The prefix names the primary address whichever address answered. The A flag does not matter:
/// the address is not made by SLAAC (E-22).
fn is_usable(information: &PrefixInformation, config: &Config) -> bool {
    let expected = client_prefix(config.server).octets();
    information.prefix_len == 64
        && information.prefix.octets()[..8] == expected[..8]
        && information.valid_lifetime_s != 0
        && information.preferred_lifetime_s <= information.valid_lifetime_s
}

/// A larger MTU than a transmission holds is used only that far: over IPv4 those packets would
/// travel in fragments.
fn read_mtu(advertised: u32) -> Result<u16, DropReason> {
    match u16::try_from(advertised) {
        Ok(mtu) if mtu >= MTU_DEFAULT => Ok(mtu.min(TRANSMIT_LEN_MAX as u16)),
        Ok(_) | Err(_) => Err(DropReason::UnusableMtu),
    }
}

/// Compares nonces without telling by its duration where they differ.
fn equal_in_constant_time(left: [u8; 8], right: [u8; 8]) -> bool {
    u64::from_ne_bytes(left) ^ u64::from_ne_bytes(right) == 0
}
