//! The server (RFC 4380 section 5.3): answers solicitations, passes on bubbles and echo tests.
//!
//! It keeps no state about anybody; what it keeps is counters and the levels of its limits.

mod clients;
mod config;
pub(crate) mod limits;
pub(crate) mod outbox;

use core::net::{Ipv6Addr, SocketAddrV4};

use teredo_wire::address::{ALL_ROUTERS, is_link_local, link_local_is_cone, server_link_local};
use teredo_wire::icmpv6::{self, Icmpv6, RouterAdvertisement};
use teredo_wire::ipv6::next_header;
use teredo_wire::{
    Authentication, Datagram, Ipv6, MTU_DEFAULT, TEREDO_PORT, TeredoAddress, Writer,
};

use crate::filter::Ipv4Filter;
use crate::random::Seed;
use crate::reason::{Counters, DropReason};
use crate::role::{Arrival, Inbound, Local, Outbound, Role, Transmit};
use crate::scope;
use crate::time::Instant;

pub use clients::{Clients, KnownClient};
pub use config::{Budget, Config, EndpointCheck, Limits};

use limits::Purse;
use outbox::{Outbox, Target};

/// A Teredo server with one or two IPv4 addresses, UDP port 3544 on each.
///
/// What comes out of [`poll_transmit`](Role::poll_transmit) is Router Advertisements and forwarded
/// bubbles and echo packets; as [`Transmit::Packet`] those for the native IPv6 Internet. The server
/// takes no packets from its IPv6 side and needs no time-outs.
#[derive(Debug)]
pub struct Server {
    config: Config,
    /// The configured filter, which also refuses to send to the server's own addresses.
    filter: Ipv4Filter,
    link_local: Ipv6Addr,
    answers: Purse,
    bubbles: Purse,
    echoes: Purse,
    outbox: Outbox,
    counters: Counters,
}

impl Server {
    /// A server that is ready to serve. `seed` keeps others from foreseeing which sources share
    /// a cell of its limits.
    pub fn new(config: Config, seed: Seed) -> Self {
        Self {
            filter: with_own(&config, config.filter.clone()),
            link_local: server_link_local(config.primary),
            answers: Purse::new(&config.limits.answers, seed, "answers"),
            bubbles: Purse::new(&config.limits.bubbles, seed, "bubbles"),
            echoes: Purse::new(&config.limits.echoes, seed, "echoes"),
            outbox: Outbox::default(),
            counters: Counters::default(),
            config,
        }
    }

    /// Takes another filter, because the addresses of this host have changed.
    pub fn set_filter(&mut self, filter: Ipv4Filter) {
        self.filter = with_own(&self.config, filter);
    }

    fn process(
        &mut self,
        now: Instant,
        arrival: Arrival,
        payload: &[u8],
    ) -> Result<(), DropReason> {
        self.check_not_own(arrival.from)?;
        let datagram = Datagram::parse(payload)?;
        let kind = Kind::of(&datagram.ipv6)?;
        if !self.filter.is_global(*arrival.from.ip()) {
            return Err(DropReason::ForbiddenSource);
        }
        self.accept(arrival.from, kind, &datagram.ipv6)?;

        let destination = datagram.ipv6.destination();
        let is_local = destination == ALL_ROUTERS || destination == self.link_local;
        match kind {
            Kind::Solicitation if is_local => self.advertise(now, arrival, &datagram),
            Kind::Solicitation => Err(DropReason::NotForServer),
            Kind::Bubble | Kind::Echo if is_local => Err(DropReason::NotForServer),
            Kind::Bubble | Kind::Echo => {
                let forwarded = &payload[datagram.packet_range().start..];
                self.forward(now, arrival.from, kind, &datagram.ipv6, forwarded)
            }
        }
    }

    /// A datagram from ourselves is a loop, but for those of a relay or helper on this host.
    fn check_not_own(&self, from: SocketAddrV4) -> Result<(), DropReason> {
        if from.port() == 0 {
            return Err(DropReason::ImpossibleSource);
        }
        let is_neighbour = [self.config.relay, self.config.helper].contains(&Some(from));
        if self.filter.own.contains(from.ip()) && !is_neighbour {
            return Err(DropReason::OwnEndpoint);
        }
        Ok(())
    }

    /// The rules 4 to 7 of RFC 4380 section 5.3.1. What passes and is not for one of our clients
    /// comes from the endpoint that its Teredo source embeds, which at a private server has to be
    /// one of our clients, as far as an address can tell.
    fn accept(&self, from: SocketAddrV4, kind: Kind, packet: &Ipv6<'_>) -> Result<(), DropReason> {
        let (source, destination) = (packet.source(), packet.destination());
        if kind == Kind::Solicitation && is_link_local(source) && destination == ALL_ROUTERS {
            return Ok(());
        }
        let for_own_client =
            TeredoAddress::parse(destination).is_some_and(|client| self.serves(client));
        match TeredoAddress::parse(source) {
            Some(sender)
                if self.config.clients.is_some() && !for_own_client && !self.serves(sender) =>
            {
                Err(DropReason::ForeignClient)
            }
            Some(sender) if sender.mapped == from => Ok(()),
            Some(sender) if kind == Kind::Bubble && for_own_client => {
                self.config.endpoint_check.check(sender.mapped, from)
            }
            Some(_) => Err(DropReason::EndpointMismatch),
            None if scope::is_impossible_source(source) => Err(DropReason::ImpossibleIpv6Source),
            None if for_own_client => Ok(()),
            None => Err(DropReason::NotAccepted),
        }
    }

    /// Answers a solicitation (RFC 4380 section 5.3.2). The limits come before the MAC, so that
    /// nobody makes the server compute more of these than it would answer.
    fn advertise(
        &mut self,
        now: Instant,
        arrival: Arrival,
        datagram: &Datagram<'_>,
    ) -> Result<(), DropReason> {
        let solicitor = datagram.ipv6.source();
        let via = self.answering_socket(arrival.on, solicitor)?;
        let clients = self.config.clients.as_ref();
        let client = clients.map(|clients| clients.named(datagram)).transpose()?;
        self.answers.spend(now, *arrival.from.ip())?;
        if let Some(client) = client {
            client.secret.check(datagram)?;
        }
        let advertisement = RouterAdvertisement {
            source: self.link_local,
            destination: solicitor,
            server: self.config.primary,
            mtu: Some(u32::from(MTU_DEFAULT)),
        };
        let write_rest = |writer: &mut Writer<'_>| {
            teredo_wire::datagram::write_origin(writer, arrival.from)?;
            advertisement.write(writer)
        };
        self.outbox.push(Target::Datagram { to: arrival.from, via }, |writer| {
            match (client, datagram.authentication) {
                (Some(client), Some(Authentication { nonce, .. })) => {
                    let confirmation = u8::from(client.is_renewal_due);
                    client.secret.write_signed(writer, (nonce, confirmation), write_rest)
                }
                (_, Some(authentication)) => {
                    mirrored(authentication).write(writer)?;
                    write_rest(writer)
                }
                (_, None) => write_rest(writer),
            }
        })?;
        self.counters.advertisements_sent += 1;
        Ok(())
    }

    /// The socket a solicitation arrived on, or the other one if its cone bit asks whether the NAT
    /// lets that through. Only old clients ask (RFC 5991 section 3.2); an answer from the wrong
    /// address would deceive them, so without a second address there is none.
    fn answering_socket(&self, on: Local, solicitor: Ipv6Addr) -> Result<Local, DropReason> {
        match (link_local_is_cone(solicitor), on) {
            (false, on) => Ok(on),
            (true, Local::Secondary) => Ok(Local::Primary),
            (true, Local::Primary) if self.config.secondary.is_some() => Ok(Local::Secondary),
            (true, Local::Primary | Local::Helper | Local::Random(_) | Local::Discovery) => {
                Err(DropReason::NoSecondary)
            }
        }
    }

    /// Passes on a bubble or echo packet with its trailers: `bytes` (RFC 4380 section 5.3.1).
    fn forward(
        &mut self,
        now: Instant,
        from: SocketAddrV4,
        kind: Kind,
        packet: &Ipv6<'_>,
        bytes: &[u8],
    ) -> Result<(), DropReason> {
        let destination = packet.destination();
        if !scope::is_global(destination) {
            return Err(DropReason::NotGlobalScope);
        }
        if bytes.len() > FORWARDED_LEN_MAX || packet.payload().len() > ICMPV6_LEN_MAX {
            return Err(DropReason::TooLarge);
        }
        let client = TeredoAddress::parse(destination);
        match client {
            Some(client) => self.check_client(from, client.mapped)?,
            None => self.check_native(packet)?,
        }
        let purse = if kind == Kind::Bubble { &mut self.bubbles } else { &mut self.echoes };
        purse.spend(now, *from.ip())?;
        match client {
            Some(client) => self.forward_to_client(from, client, bytes),
            None => self.forward_to_native(packet),
        }
    }

    fn check_client(&self, from: SocketAddrV4, to: SocketAddrV4) -> Result<(), DropReason> {
        if self.config.helper != Some(to) {
            self.filter.check_embedded(to, &self.config.denied_ports)?;
        }
        // Between two servers nothing would count down: neither passes on what may have come from
        // a server to where a server may be.
        if from.port() == TEREDO_PORT && to.port() == TEREDO_PORT {
            return Err(DropReason::Loop);
        }
        Ok(())
    }

    /// Only packets from the endpoint that their Teredo source embeds get here, see
    /// [`Self::accept`].
    fn check_native(&self, packet: &Ipv6<'_>) -> Result<(), DropReason> {
        let endpoint = scope::tunnel_endpoint(packet.destination());
        if endpoint.is_some_and(|endpoint| self.filter.own.contains(&endpoint)) {
            return Err(DropReason::Loop);
        }
        if packet.hop_limit() <= 1 { Err(DropReason::HopLimit) } else { Ok(()) }
    }

    fn forward_to_client(
        &mut self,
        from: SocketAddrV4,
        client: TeredoAddress,
        bytes: &[u8],
    ) -> Result<(), DropReason> {
        let to = client.mapped;
        let origin = self.serves(client).then_some(from);
        self.outbox.push(Target::Datagram { to, via: Local::Primary }, |writer| {
            if let Some(origin) = origin {
                teredo_wire::datagram::write_origin(writer, origin)?;
            }
            writer.put(bytes)
        })?;
        self.counters.sent += 1;
        Ok(())
    }

    fn forward_to_native(&mut self, packet: &Ipv6<'_>) -> Result<(), DropReason> {
        let hop_limit = packet.hop_limit().saturating_sub(1);
        self.outbox.push(Target::Native, |writer| {
            let (before, after) = packet.bytes().split_at(HOP_LIMIT_OFFSET);
            writer.put(before)?;
            writer.put_u8(hop_limit)?;
            writer.put(&after[1..])
        })?;
        self.counters.delivered += 1;
        Ok(())
    }

    fn serves(&self, client: TeredoAddress) -> bool {
        client.server == self.config.primary
    }
}

impl Role for Server {
    fn handle_datagram(&mut self, now: Instant, arrival: Arrival, payload: &[u8]) -> Inbound {
        match self.process(now, arrival, payload) {
            Ok(()) => Inbound::Consumed,
            Err(reason) => {
                self.counters.count_drop(reason);
                Inbound::Dropped(reason)
            }
        }
    }

    /// Drops the packet: no client is reached through its server.
    fn handle_packet(&mut self, _now: Instant, packet: &[u8]) -> Outbound {
        let reason = match Ipv6::parse(packet) {
            Ok(_) => DropReason::WrongDestination,
            Err(_) => DropReason::InvalidPacket,
        };
        self.counters.count_drop(reason);
        Outbound::Dropped(reason)
    }

    fn poll_transmit(&mut self, buffer: &mut [u8]) -> Option<Transmit> {
        self.outbox.pop(buffer)
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// The packets a server has to do with at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bubble,
    Solicitation,
    /// Echo request or reply, the only ICMPv6 that is passed on (E-24).
    Echo,
}

impl Kind {
    /// Rule 2 of RFC 4380 section 5.3.1, and the validity of what is ICMPv6.
    fn of(packet: &Ipv6<'_>) -> Result<Self, DropReason> {
        if packet.is_bubble() {
            return Ok(Self::Bubble);
        }
        if packet.next_header() != next_header::ICMPV6 {
            return Err(DropReason::NotForServer);
        }
        let message = Icmpv6::parse(packet).map_err(|_| DropReason::InvalidIcmpv6)?;
        match message.kind {
            icmpv6::ROUTER_SOLICITATION if is_valid_solicitation(packet, &message) => {
                Ok(Self::Solicitation)
            }
            icmpv6::ROUTER_SOLICITATION => Err(DropReason::InvalidSolicitation),
            _ if message.echo().is_some() => Ok(Self::Echo),
            _ => Err(DropReason::NotForServer),
        }
    }
}

/// RFC 4861 section 6.1.1; length and checksum are checked before.
fn is_valid_solicitation(packet: &Ipv6<'_>, message: &Icmpv6<'_>) -> bool {
    packet.hop_limit() == icmpv6::ND_HOP_LIMIT
        && message.code == 0
        && message.solicitation_options().all(|option| option.is_ok())
}

/// A server never sends to its own addresses, whatever the host says.
fn with_own(config: &Config, mut filter: Ipv4Filter) -> Ipv4Filter {
    filter.own.push(config.primary);
    filter.own.extend(config.secondary);
    filter
}

/// What the answer of a server without keys carries: identifier and nonce of the solicitation, and
/// no value (E-42).
fn mirrored(authentication: Authentication<'_>) -> Authentication<'_> {
    Authentication { value: &[], confirmation: 0, ..authentication }
}

/// The longest ICMPv6 message that is passed on: that of deployed servers, and four times what an
/// echo test needs. Nobody carries data through a server.
const ICMPV6_LEN_MAX: usize = 88;
/// The longest packet that is passed on, trailers included: a bubble with all the trailers that are
/// read (RFC 6081 section 4).
const FORWARDED_LEN_MAX: usize = 40 + teredo_wire::trailer::MAX_BYTES;
/// Where the hop limit stands in an IPv6 header.
const HOP_LIMIT_OFFSET: usize = 7;
