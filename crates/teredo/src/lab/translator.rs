//! A NAT box: the simulator's NAT model applied to real packets, and the gateway on it.

use std::net::{Ipv4Addr, SocketAddrV4};

use teredo_proto::Instant;
use teredo_proto::random::Seed;
use teredo_sim::{Gateway, GatewayConfig, Nat, NatConfig};
use teredo_wire::pcp;

use super::packet::{self, DropReason, End, ICMP, Ipv4, TCP, UDP};

/// A NAT before one client. UDP, TCP and echo each have ports, or identifiers, of their own.
#[derive(Debug)]
pub(super) struct Translator {
    /// On the kinds that map ports for whoever asks, by PCP and NAT-PMP.
    gateway: Option<Gateway>,
    udp: Nat,
    tcp: Nat,
    echo: Nat,
}

impl Translator {
    /// A NAT that owns the `external` addresses, switched on now.
    pub(super) fn new(config: NatConfig, external: &[Ipv4Addr], now: Instant, seed: Seed) -> Self {
        let first = external.first().filter(|_| config.gives_explicit);
        let gateway = first.map(|first| Gateway::new(GatewayConfig::new(), *first, now));
        let [udp, tcp, echo] = ["udp", "tcp", "echo"].map(|protocol| {
            let mut seed = seed;
            for (byte, letter) in seed.iter_mut().zip(protocol.bytes()) {
                *byte ^= letter;
            }
            Nat::new(config, external.to_vec(), seed)
        });
        Self { gateway, udp, tcp, echo }
    }

    /// The answer to a request for a mapping that came from the inside, if this is one.
    pub(super) fn answer(&mut self, now: Instant, packet: &Ipv4<'_>) -> Option<Vec<u8>> {
        let (from, to) = ends(packet).ok()?;
        let request = packet.udp_payload().filter(|_| to.port() == pcp::SERVER_PORT)?;
        let answer = self.gateway.as_mut()?.answer(now, &mut self.udp, from, request)?;
        packet::udp(to, from, &answer)
    }

    /// Translates a packet on its way out.
    pub(super) fn outbound(
        &mut self,
        now: Instant,
        packet: &mut Ipv4<'_>,
    ) -> Result<(), DropReason> {
        if self.udp.owns(packet.address(End::Destination)) {
            return Err(DropReason::Hairpin);
        }
        let (internal, remote) = ends(packet)?;
        let nat = self.nat(packet.protocol()).ok_or(DropReason::Untranslatable)?;
        let external = nat.outbound(now, internal, remote).ok_or(DropReason::NoPort)?;
        packet.set_endpoint(End::Source, external).ok_or(DropReason::Untranslatable)
    }

    /// Translates a packet on its way in.
    pub(super) fn inbound(
        &mut self,
        now: Instant,
        packet: &mut Ipv4<'_>,
    ) -> Result<(), DropReason> {
        if packet.quoted().is_some() {
            return self.inbound_error(now, packet);
        }
        let (remote, external) = ends(packet)?;
        let nat = self.nat(packet.protocol()).ok_or(DropReason::Untranslatable)?;
        let internal = nat.inbound(now, external, remote).ok_or(DropReason::Refused)?;
        packet.set_endpoint(End::Destination, internal).ok_or(DropReason::Untranslatable)
    }

    /// Translates an error about a packet that went out (RFC 5508 section 4.2).
    fn inbound_error(&mut self, now: Instant, packet: &mut Ipv4<'_>) -> Result<(), DropReason> {
        let mut quoted = packet.quoted().ok_or(DropReason::Untranslatable)?;
        let (external, remote) = ends(&quoted)?;
        let nat = self.nat(quoted.protocol()).ok_or(DropReason::Untranslatable)?;
        let internal = nat.inbound(now, external, remote).ok_or(DropReason::Refused)?;
        quoted.set_endpoint(End::Source, internal).ok_or(DropReason::Untranslatable)?;
        packet.redirect_error(*internal.ip());
        Ok(())
    }

    fn nat(&mut self, protocol: u8) -> Option<&mut Nat> {
        match protocol {
            UDP => Some(&mut self.udp),
            TCP => Some(&mut self.tcp),
            ICMP => Some(&mut self.echo),
            _ => None,
        }
    }
}

fn ends(packet: &Ipv4<'_>) -> Result<(SocketAddrV4, SocketAddrV4), DropReason> {
    if packet.is_fragment() {
        return Err(DropReason::Fragment);
    }
    let ends = packet.endpoint(End::Source).zip(packet.endpoint(End::Destination));
    ends.ok_or(DropReason::Untranslatable)
}
