//! An attacker: a host on the Internet that knows all addresses, may write any source into a
//! datagram that proves nothing, and sees only what is sent to it.
//!
//! Test data it sends from its own endpoints only: who can forge the IPv4 source of a peer can put
//! data into its name, and no client could tell.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use teredo_wire::address::{CLIENT_LINK_LOCAL, server_link_local};
use teredo_wire::datagram::{Authentication, write_origin};
use teredo_wire::icmpv6::{Echo, RouterAdvertisement};
use teredo_wire::trailer::{Alternates, Birthday, Part, Trailer};
use teredo_wire::{Flags, NoSpace, TEREDO_PORT, TeredoAddress, Writer, ipv6};

use crate::HostId;

use super::Scenario;
use super::cast::pick;
use super::transition::Attack;

impl Scenario {
    pub(super) fn attack(&mut self, attack: &Attack) {
        match *attack {
            Attack::Noise { to, len, fill } => self.send_noise(to, len, fill),
            Attack::Data { to, claimed } => self.send_data_of(to, claimed),
            Attack::Bubble { to, claimed, from, trailers, number } => {
                let Some((source, target)) = self.claim(claimed, to) else { return };
                let bubble = self.bubble(source, target.to_ipv6(), trailers, number);
                let from = match from % 4 {
                    0 => self.own_endpoint(number),
                    1 => SocketAddrV4::new(target.server, TEREDO_PORT),
                    2 => TeredoAddress::parse(source).map_or(target.mapped, |peer| peer.mapped),
                    _ => SocketAddrV4::new(Ipv4Addr::new(8, 8, 8, number), 5_000),
                };
                self.inject(from, target.mapped, bubble);
            }
            Attack::Storm { to, claimed, trailers, number, count } => {
                let Some((source, target)) = self.claim(claimed, to) else { return };
                let source = if number & 1 == 0 { source } else { LINK_LOCAL };
                let bubble = self.bubble(source, target.to_ipv6(), trailers, number);
                let own = self.own_endpoint(number);
                // The server believes a bubble whose source embeds the observed address (E-11b).
                let from = TeredoAddress::parse(source).map_or(own, |source| source.mapped);
                for _ in 0..1 + count % 40 {
                    self.inject(
                        from,
                        SocketAddrV4::new(target.server, TEREDO_PORT),
                        bubble.clone(),
                    );
                }
            }
            Attack::Crowd { to, count } => self.send_crowd(to, count),
            Attack::Advertisement { to, from } => self.send_advertisement(to, from),
            Attack::EchoReply { to, claimed } => self.send_echo_reply(to, claimed),
            Attack::Replay { to, which } => {
                let target = self.target(to);
                let seen = pick(&(0..self.seen.len()).collect::<Vec<_>>(), which);
                let seen = seen.and_then(|index| self.seen.get(index)).cloned();
                if let (Some(target), Some(payload)) = (target, seen) {
                    self.inject(self.own_endpoint(which), target.mapped, payload);
                }
            }
        }
    }

    fn send_noise(&mut self, to: u8, len: u8, fill: u8) {
        let from = SocketAddrV4::new(Ipv4Addr::from_bits(u32::from(fill) << 24 | 77), 99);
        let mapped = self.target(to).map(|target| target.mapped);
        let server = pick(&self.servers, to)
            .map(|server| SocketAddrV4::new(self.world.server_addresses(server).0, TEREDO_PORT));
        if let Some(to) = mapped.filter(|_| !len.is_multiple_of(3)).or(server) {
            let bytes = (0..len).map(|number| number.wrapping_mul(fill) ^ fill >> 3).collect();
            self.inject(from, to, bytes);
        }
    }

    /// Somebody pretends to be another host, towards a client or a relay.
    fn send_data_of(&mut self, to: u8, claimed: u8) {
        let hosts = [&self.everybody()[..], &self.relays].concat();
        let Some(target) = pick(&hosts, to) else { return };
        let mapped = |host: HostId| TeredoAddress::parse(self.world.ipv6(host)?);
        let endpoint = mapped(target).map(|address| address.mapped);
        let endpoint = endpoint.or_else(|| self.world.endpoint_of(target));
        let is_client = self.members.iter().any(|member| member.host == target);
        let destination = if is_client { Some(target) } else { pick(&self.natives, claimed) };
        let source = pick(&self.talkers(), claimed).filter(|source| *source != target);
        let addresses = (
            source.and_then(|host| self.world.ipv6(host)),
            destination.and_then(|host| self.world.ipv6(host)),
        );
        if let (Some(endpoint), (Some(source), Some(destination))) = (endpoint, addresses) {
            let from = self.own_endpoint(claimed);
            self.world.inject_forged(from, endpoint, source, destination);
        }
    }

    /// Many addresses that are the attacker's own want to meet a client at once.
    fn send_crowd(&mut self, to: u8, count: u8) {
        let Some(target) = self.target(to) else { return };
        let server = SocketAddrV4::new(target.server, TEREDO_PORT);
        for number in 0..count {
            let from = self.own_endpoint(number);
            let source =
                TeredoAddress { server: target.server, flags: Flags::default(), mapped: from };
            let bubble = self.bubble(source.to_ipv6(), target.to_ipv6(), 0, 0);
            self.inject(from, server, bubble);
        }
    }

    fn send_advertisement(&mut self, to: u8, from: u8) {
        let Some(target) = self.target(to) else { return };
        let nonce = [from; 8];
        let advertisement = RouterAdvertisement {
            source: server_link_local(target.server),
            destination: CLIENT_LINK_LOCAL,
            server: target.server,
            mtu: None,
        };
        let origin = self.own_endpoint(from);
        let payload = written(|writer| {
            if !from.is_multiple_of(4) {
                Authentication::nonce_only(nonce).write(writer)?;
            }
            write_origin(writer, origin)?;
            advertisement.write(writer)
        });
        self.inject(SocketAddrV4::new(target.server, TEREDO_PORT), target.mapped, payload);
    }

    fn send_echo_reply(&mut self, to: u8, claimed: u8) {
        let (target, native) = (self.target(to), pick(&self.natives, claimed));
        let source = native.and_then(|native| self.world.ipv6(native));
        let (Some(target), Some(source)) = (target, source) else { return };
        let echo = Echo { reply: true, identifier: 0, sequence: 0, data: &[claimed; 16] };
        let payload = written(|writer| echo.write(writer, source, target.to_ipv6(), 64));
        self.inject(self.own_endpoint(claimed), target.mapped, payload);
    }

    /// The address of a client, as everybody knows it.
    fn target(&self, number: u8) -> Option<TeredoAddress> {
        let member = pick(&self.members, number)?;
        TeredoAddress::parse(self.world.ipv6(member.host)?)
    }

    /// The addresses of a host and of a client that it is to write to.
    fn claim(&self, claimed: u8, to: u8) -> Option<(Ipv6Addr, TeredoAddress)> {
        let source = pick(&self.talkers(), claimed)?;
        Some((self.world.ipv6(source)?, self.target(to)?))
    }

    fn own_endpoint(&self, number: u8) -> SocketAddrV4 {
        SocketAddrV4::new(self.world.address_of(self.attacker), 2_000 + u16::from(number))
    }

    /// A bubble that says more or less.
    fn bubble(&self, source: Ipv6Addr, destination: Ipv6Addr, trailers: u8, number: u8) -> Vec<u8> {
        written(|writer| {
            ipv6::Header::bubble(source, destination).write(writer)?;
            if trailers & 1 != 0 {
                Trailer::Nonce(u32::from(number).to_be_bytes()).write(writer)?;
            }
            if trailers & 2 != 0 {
                Trailer::RandomPort(2_000 + u16::from(number)).write(writer)?;
            }
            if trailers & 4 != 0 {
                let count = usize::from(trailers >> 3) % (Alternates::MAX + 1);
                let endpoints = [0, 1, 2, 3].map(|more| self.own_endpoint(number ^ more));
                Alternates::write(writer, &endpoints[..count.min(endpoints.len())])?;
            }
            if trailers & 0x80 != 0 {
                let parts = [Part::OnePort, Part::ManyPorts, Part::OpenPorts];
                let part = parts[usize::from(number) % parts.len()];
                let nonce = u32::from(number).to_be_bytes();
                Trailer::Birthday(Birthday { part, nonce }).write(writer)?;
            }
            Ok(())
        })
    }

    fn inject(&mut self, from: SocketAddrV4, to: SocketAddrV4, payload: Vec<u8>) {
        self.world.inject(from, to, payload);
    }
}

fn written(write: impl FnOnce(&mut Writer<'_>) -> Result<(), NoSpace>) -> Vec<u8> {
    let mut buffer = [0; 256];
    let mut writer = Writer::new(&mut buffer);
    // What does not fit is left out.
    let _ = write(&mut writer);
    writer.written().to_vec()
}

/// What relays sign bubbles with, more or less.
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 1, 2, 3, 4);
