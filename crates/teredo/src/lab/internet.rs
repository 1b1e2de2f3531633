//! The routers between the lab's hosts: who has an address, and what the way there does to a
//! packet.

use std::net::{Ipv4Addr, Ipv6Addr};

use teredo_proto::Instant;
use teredo_proto::random::{Random, Seed};
use teredo_wire::address::is_teredo;

use super::nats::{Chain, Kind, Nats};
use super::packet::{DropReason, End, Ipv4, Ipv6};
use super::place::Host;
use super::translator::Translator;

/// All routers and NATs of the lab.
#[derive(Debug)]
pub(super) struct Internet {
    /// By the host behind them.
    ways: [Way; Host::ALL.len()],
}

/// What is between a host and the Internet: NATs, from the host outwards. A kernel's NAT is none of
/// ours, but has a number for [`Next::Kernel`].
type Way = Vec<Option<Translator>>;

/// Where a packet is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// On the public Internet on its way to this host, or at it.
    Host(Host),
    /// At a kernel's NAT before this host, which is so many NATs away from it.
    Kernel(Host, usize),
    /// At its end: a gateway has this answer.
    Answered(Vec<u8>),
}

impl Internet {
    /// An Internet with `nats` before the clients.
    pub(super) fn new(nats: Nats, now: Instant, seed: Seed) -> Self {
        let mut random = Random::new(seed);
        let mut ways = [const { Vec::new() }; Host::ALL.len()];
        for (client, chain) in Host::CLIENTS.into_iter().zip(nats.0) {
            ways[client.index()] = way(client, chain, now, &mut random);
        }
        Self { ways }
    }

    /// Takes a packet from the wire of `from`, or from the outside of a NAT before it that is
    /// `level` - 1 NATs away, through all NATs that are ours.
    pub(super) fn leave(
        &mut self,
        now: Instant,
        (from, level): (Host, usize),
        packet: &mut [u8],
    ) -> Result<Next, DropReason> {
        let way = &mut self.ways[from.index()];
        if packet.first().is_some_and(|first| first >> 4 == 6) {
            let mut packet = Ipv6::parse(packet)?;
            if !way.is_empty() {
                return Err(DropReason::NoIpv6);
            }
            let to = route_v6(packet.destination())?;
            return packet.hop().map(|()| Next::Host(to));
        }
        let mut packet = Ipv4::parse(packet)?;
        let to = packet.address(End::Destination);
        if let (0, Some(Some(nat))) = (level, way.first_mut())
            && to == from.router()
        {
            return nat.answer(now, &packet).map(Next::Answered).ok_or(DropReason::NoRoute);
        }
        let to = route_v4(to)?;
        packet.hop()?;
        for (level, nat) in way.iter_mut().enumerate().skip(level) {
            let Some(nat) = nat else { return Ok(Next::Kernel(from, level)) };
            nat.outbound(now, &mut packet)?;
        }
        Ok(Next::Host(to))
    }

    /// Brings a packet from the public Internet to the wire of `to`, or on from the inside of a NAT
    /// before it that is `level` NATs away, through all NATs that are ours.
    pub(super) fn arrive(
        &mut self,
        now: Instant,
        (to, level): (Host, Option<usize>),
        packet: &mut [u8],
    ) -> Result<Next, DropReason> {
        let way = &mut self.ways[to.index()];
        let level = level.unwrap_or(way.len());
        if level == 0 {
            return Ok(Next::Host(to));
        }
        let mut packet = Ipv4::parse(packet)?;
        for (level, nat) in way.iter_mut().enumerate().take(level).rev() {
            let Some(nat) = nat else { return Ok(Next::Kernel(to, level)) };
            nat.inbound(now, &mut packet)?;
        }
        Ok(Next::Host(to))
    }
}

fn way(client: Host, chain: Chain, now: Instant, random: &mut Random) -> Way {
    let count = chain.kinds().count();
    let nat = |(level, kind)| {
        let outside = if level + 1 == count { client.publics() } else { &client.between()[1..] };
        let Kind::Model(key, config) = kind else { return None };
        let addresses = if key == "addr" { outside } else { &outside[..1] };
        Some(Translator::new(config, addresses, now, random.bytes()))
    };
    chain.kinds().enumerate().map(nat).collect()
}

fn route_v4(to: Ipv4Addr) -> Result<Host, DropReason> {
    let owns = |host: &Host| match host.publics() {
        [] => host.ipv4().contains(&to),
        publics => publics.contains(&to),
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

    use super::super::{icmp, packet};
    use super::*;

    const NOW: Instant = Instant::from_nanos(0);

    fn internet(nats: &str) -> Internet {
        Internet::new(nats.parse().unwrap(), NOW, [7; 32])
    }

    /// Takes a packet all the way, if no kernel is in between.
    fn carry(internet: &mut Internet, from: Host, packet: &mut [u8]) -> Result<Next, DropReason> {
        match internet.leave(NOW, (from, 0), packet)? {
            Next::Host(to) => internet.arrive(NOW, (to, None), packet),
            next @ (Next::Kernel(..) | Next::Answered(_)) => Ok(next),
        }
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
        let mut internet = internet("cone,ar+pr");
        let (mut arrived, mut reasons) = (0, Vec::new());
        for _ in 0..50_000 {
            let from = Host::ALL[random.below(5) as usize];
            let mut packet = packet(&mut random, from);
            match carry(&mut internet, from, &mut packet) {
                Ok(_) => arrived += 1,
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

    fn endpoints(packet: &mut [u8]) -> [String; 2] {
        let packet = Ipv4::parse(packet).unwrap();
        [End::Source, End::Destination].map(|end| packet.endpoint(end).unwrap().to_string())
    }

    fn datagram(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
        packet::udp(from.parse().unwrap(), to.parse().unwrap(), payload).unwrap()
    }

    #[test]
    fn a_datagram_and_its_answer_pass_the_nats() {
        for nats in ["cone,ar", "ps+cone,ar"] {
            let mut internet = internet(nats);
            let mut sent = datagram("192.168.1.2:40000", "203.0.113.10:3544", &[]);
            let arrived = carry(&mut internet, Host::Client1, &mut sent);
            assert_eq!(arrived, Ok(Next::Host(Host::Server)));
            let [mapped, server] = endpoints(&mut sent);
            assert!(mapped.starts_with("203.0.113.101:"), "{mapped}");

            let mut answer = datagram(&server, &mapped, &[]);
            let arrived = carry(&mut internet, Host::Server, &mut answer);
            assert_eq!(arrived, Ok(Next::Host(Host::Client1)));
            assert_eq!(endpoints(&mut answer), [server.as_str(), "192.168.1.2:40000"]);
            assert_eq!(answer[8], 63, "one hop");
            // Nobody has sent from behind the other NAT.
            let mut unasked = datagram(&server, "203.0.113.102:40000", &[]);
            let refused = carry(&mut internet, Host::Server, &mut unasked);
            assert_eq!(refused, Err(DropReason::Refused));
        }
    }

    #[test]
    fn a_packet_stops_at_each_nat_of_the_kernel() {
        let mut internet = internet("pr+kernel,cone");
        let mut packet = datagram("192.168.1.2:40000", "203.0.113.10:3544", &[]);
        let next = internet.leave(NOW, (Host::Client1, 0), &mut packet);
        assert_eq!(next, Ok(Next::Kernel(Host::Client1, 1)));
        assert_eq!(endpoints(&mut packet), ["100.64.1.2:40000", "203.0.113.10:3544"]);
        let next = internet.leave(NOW, (Host::Client1, 2), &mut packet);
        assert_eq!(next, Ok(Next::Host(Host::Server)));

        let mut answer = datagram("203.0.113.10:3544", "203.0.113.101:40000", &[]);
        let next = internet.arrive(NOW, (Host::Client1, None), &mut answer);
        assert_eq!(next, Ok(Next::Kernel(Host::Client1, 1)));
        let mut answer = datagram("203.0.113.10:3544", "100.64.1.2:40000", &[]);
        let next = internet.arrive(NOW, (Host::Client1, Some(1)), &mut answer);
        assert_eq!(next, Ok(Next::Host(Host::Client1)));
        assert_eq!(endpoints(&mut answer), ["203.0.113.10:3544", "192.168.1.2:40000"]);
    }

    #[test]
    fn a_gateway_maps_ports_where_its_kind_does() {
        // NAT-PMP: port 40000 for 7200 s.
        let request = [0, 1, 0, 0, 0x9C, 0x40, 0x9C, 0x40, 0, 0, 0x1C, 0x20];
        for (nats, is_granted) in [("upr", true), ("ups", true), ("upr+ps", true), ("pr", false)] {
            let mut internet = internet(nats);
            let mut ask = datagram("192.168.1.2:40000", "192.168.1.1:5351", &request);
            let answer = carry(&mut internet, Host::Client1, &mut ask);
            let mut answer = match answer {
                Ok(Next::Answered(answer)) => answer,
                other => {
                    assert_eq!((other, is_granted), (Err(DropReason::NoRoute), false), "{nats}");
                    continue;
                }
            };
            assert_eq!(endpoints(&mut answer), ["192.168.1.1:5351", "192.168.1.2:40000"]);
            assert_eq!(answer[28..32], [0, 129, 0, 0], "success, {nats}");
            let mut stranger = datagram("203.0.113.20:1", "203.0.113.101:40000", &[]);
            let arrived = carry(&mut internet, Host::Relay, &mut stranger);
            let is_nested = nats.contains('+');
            assert_eq!(arrived.is_ok(), !is_nested, "{nats}");
        }
    }

    #[test]
    fn a_nat_with_several_addresses_uses_them() {
        let mut internet = internet("addr");
        let mut sources = std::collections::BTreeSet::new();
        for port in 1..50 {
            let to = format!("203.0.113.10:{port}");
            let mut packet = datagram("192.168.1.2:40000", &to, &[]);
            carry(&mut internet, Host::Client1, &mut packet).unwrap();
            sources.insert(Ipv4Addr::from(*packet[12..].first_chunk::<4>().unwrap()));
        }
        let publics: std::collections::BTreeSet<_> =
            Host::Client1.publics().iter().copied().collect();
        assert_eq!(sources, publics);
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
