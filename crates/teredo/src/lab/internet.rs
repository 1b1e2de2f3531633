//! The routers between the lab's hosts: who has an address, and what the way there does to a
//! packet.

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
    use teredo_wire::checksum;

    use super::super::icmp;
    use super::*;

    const NOW: Instant = Instant::from_nanos(0);

    fn internet() -> Internet {
        Internet::new("cone,ar".parse().unwrap(), [7; 32])
    }

    /// Bytes that are random but for what decides how far they get.
    fn packet(random: &mut Random, from: Host) -> Vec<u8> {
        let len = random.below(120) as usize;
        let mut packet: Vec<u8> = (0..len).map(|_| random.next_u64() as u8).collect();
        let Some(header) = packet.first_chunk_mut::<20>() else { return packet };
        if random.below(4) == 0 {
            header[0] = 0x60;
            let payload_len = (len as u16).saturating_sub(40);
            header[4..6].copy_from_slice(&payload_len.to_be_bytes());
            return packet;
        }
        let publics = [Ipv4Addr::new(203, 0, 113, 101), Ipv4Addr::new(203, 0, 113, 10)];
        header[0] = 0x45;
        header[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        header[6..8].copy_from_slice(&[0, 0]);
        header[9] = [1, 6, 17, 17][random.below(4) as usize];
        let source = from.ipv4().first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
        header[12..16].copy_from_slice(&source.octets());
        header[16..20].copy_from_slice(&publics[random.below(2) as usize].octets());
        header[10..12].fill(0);
        let sum = checksum::ipv4_header(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    #[test]
    fn whatever_a_host_sends_arrives_or_is_dropped_for_a_reason() {
        let mut random = Random::new([3; 32]);
        let mut internet = internet();
        let (mut arrived, mut reasons) = (0, Vec::new());
        for _ in 0..50_000 {
            let from = Host::ALL[random.below(5) as usize];
            let mut packet = packet(&mut random, from);
            let to = internet.leave(NOW, from, &mut packet);
            match to.and_then(|to| internet.arrive(NOW, to, &mut packet)) {
                Ok(()) => arrived += 1,
                Err(reason) => {
                    icmp::answer(reason, from, &packet);
                    reasons.push(reason.name());
                }
            }
        }
        reasons.sort_unstable();
        reasons.dedup();
        let reachable = [
            "broken",
            "expired",
            "hairpin",
            "multicast",
            "no-ipv6",
            "no-route",
            "refused-by-nat",
            "untranslatable",
        ];
        assert!(arrived > 1_000, "{arrived}");
        assert!(reachable.iter().all(|it| reasons.contains(it)), "{reasons:?}");
    }

    #[test]
    fn a_datagram_and_its_answer_pass_the_nat() {
        let mut internet = internet();
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 168, 1, 2];
        packet.extend([203, 0, 113, 10, 0x9C, 0x40, 0x0D, 0xD8, 0, 8, 0, 0]);
        let sum = checksum::ipv4_header(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(internet.leave(NOW, Host::Client1, &mut packet), Ok(Host::Server));
        assert_eq!(internet.arrive(NOW, Host::Server, &mut packet), Ok(()));
        assert_eq!(packet[12..16], [203, 0, 113, 101]);

        // The server turns it round.
        let (source, destination) = packet[12..20].split_at_mut(4);
        source.swap_with_slice(destination);
        let (source, destination) = packet[20..24].split_at_mut(2);
        source.swap_with_slice(destination);
        assert_eq!(internet.leave(NOW, Host::Server, &mut packet), Ok(Host::Client1));
        assert_eq!(internet.arrive(NOW, Host::Client1, &mut packet), Ok(()));
        assert_eq!(packet[16..24], [192, 168, 1, 2, 0x0D, 0xD8, 0x9C, 0x40]);
        assert_eq!(packet[8], 62, "two hops");
        // Nobody has sent from behind the other NAT.
        packet[16..20].copy_from_slice(&[203, 0, 113, 102]);
        packet[10..12].fill(0);
        let sum = checksum::ipv4_header(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(internet.leave(NOW, Host::Server, &mut packet), Ok(Host::Client2));
        let refused = internet.arrive(NOW, Host::Client2, &mut packet);
        assert_eq!(refused, Err(DropReason::Refused));
    }

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
