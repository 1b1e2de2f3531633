//! The routers between the lab's hosts: who has an address, and what the way there does to a packet.

use std::net::{Ipv4Addr, Ipv6Addr};

use teredo_proto::Instant;
use teredo_proto::random::{Random, Seed};
use teredo_wire::address::is_teredo;

use super::options::Nats;
use super::packet::{DropReason, End, Ipv4, Ipv6};
use super::place::Host;
use super::translator::Translator;

/// All routers and NATs of the lab.
#[derive(Debug)]
pub(super) struct Internet {
    /// By the host behind it.
    nats: [Option<Translator>; Host::ALL.len()],
}

impl Internet {
    /// An Internet with `nats` before the clients.
    pub(super) fn new(nats: Nats, seed: Seed) -> Self {
        let mut random = Random::new(seed);
        let mut translators = [const { None }; Host::ALL.len()];
        for (client, nat) in Host::CLIENTS.into_iter().zip(nats.0) {
            translators[client.index()] = client
                .nat()
                .map(|external| Translator::new(nat.config(), external, random.bytes()));
        }
        Self { nats: translators }
    }

    /// Takes a packet from the wire of `from`, through its NAT if there is one, and tells whose it
    /// is.
    pub(super) fn leave(
        &mut self,
        now: Instant,
        from: Host,
        packet: &mut [u8],
    ) -> Result<Host, DropReason> {
        let nat = &mut self.nats[from.index()];
        if packet.first().is_some_and(|first| first >> 4 == 6) {
            let mut packet = Ipv6::parse(packet)?;
            if nat.is_some() {
                return Err(DropReason::NoIpv6);
            }
            let to = route_v6(packet.destination())?;
            return packet.hop().map(|()| to);
        }
        let mut packet = Ipv4::parse(packet)?;
        let to = route_v4(packet.address(End::Destination))?;
        packet.hop()?;
        if let Some(nat) = nat {
            nat.outbound(now, &mut packet)?;
        }
        Ok(to)
    }

    /// Brings a packet to the wire of `to`, through its NAT if there is one.
    pub(super) fn arrive(
        &mut self,
        now: Instant,
        to: Host,
        packet: &mut [u8],
    ) -> Result<(), DropReason> {
        match &mut self.nats[to.index()] {
            Some(nat) => nat.inbound(now, &mut Ipv4::parse(packet)?),
            None => Ok(()),
        }
    }
}

fn route_v4(to: Ipv4Addr) -> Result<Host, DropReason> {
    let owns = |host: &Host| match host.nat() {
        Some(external) => external == to,
        None => host.ipv4().contains(&to),
    };
    if to.is_multicast() || to.is_broadcast() {
        return Err(DropReason::Multicast);
    }
    Host::ALL.into_iter().find(owns).ok_or(DropReason::NoRoute)
}

fn route_v6(to: Ipv6Addr) -> Result<Host, DropReason> {
    if to.is_multicast() {
        return Err(DropReason::Multicast);
    }
    if is_teredo(to) {
        return Ok(Host::Relay);
    }
    Host::ALL.into_iter().find(|host| host.ipv6() == Some(to)).ok_or(DropReason::NoRoute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_not_on_the_internet() {
        assert_eq!(route_v4(Ipv4Addr::new(203, 0, 113, 101)), Ok(Host::Client1));
        assert_eq!(route_v4(Ipv4Addr::new(203, 0, 113, 11)), Ok(Host::Server));
        for unknown in ["192.168.1.2", "203.0.113.99", "127.0.0.1", "8.8.8.8"] {
            assert_eq!(route_v4(unknown.parse().unwrap()), Err(DropReason::NoRoute), "{unknown}");
        }
        assert_eq!(route_v4(Ipv4Addr::new(224, 0, 0, 253)), Err(DropReason::Multicast));
    }

    #[test]
    fn teredo_addresses_are_behind_the_relay() {
        let teredo = "2001:0:cb00:710a::1".parse().unwrap();
        assert_eq!(route_v6(teredo), Ok(Host::Relay));
        for host in Host::ALL {
            if let Some(address) = host.ipv6() {
                assert_eq!(route_v6(address), Ok(host));
            }
        }
        let unknown = "2001:db8:6::3".parse().unwrap();
        assert_eq!(route_v6(unknown), Err(DropReason::NoRoute));
    }
}
