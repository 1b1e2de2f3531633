//! A NAT box: the simulator's NAT model applied to real packets.

use std::net::{Ipv4Addr, SocketAddrV4};

use teredo_proto::Instant;
use teredo_proto::random::Seed;
use teredo_sim::{Nat, NatConfig};

use super::packet::{DropReason, End, ICMP, Ipv4, TCP, UDP};

/// A NAT before one client. UDP, TCP and echo each have ports, or identifiers, of their own.
#[derive(Debug)]
pub(super) struct Translator {
    external: Ipv4Addr,
    udp: Nat,
    tcp: Nat,
    echo: Nat,
}

impl Translator {
    /// A NAT whose public address is `external`.
    pub(super) fn new(config: NatConfig, external: Ipv4Addr, seed: Seed) -> Self {
        let [udp, tcp, echo] = ["udp", "tcp", "echo"].map(|protocol| {
            let mut seed = seed;
            for (byte, letter) in seed.iter_mut().zip(protocol.bytes()) {
                *byte ^= letter;
            }
            Nat::new(config, vec![external], seed)
        });
        Self { external, udp, tcp, echo }
    }

    /// Translates a packet on its way out.
    pub(super) fn outbound(
        &mut self,
        now: Instant,
        packet: &mut Ipv4<'_>,
    ) -> Result<(), DropReason> {
        if packet.address(End::Destination) == self.external {
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
