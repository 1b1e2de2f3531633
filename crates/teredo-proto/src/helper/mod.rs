//! The helper: passes Teredo datagrams on for clients that cannot meet a peer otherwise.
//!
//! One UDP port serves all clients. A client proves who it is with the key that it shares with the
//! helper, registers a Teredo address for the endpoint it is seen at, and is from then on reached
//! at the helper's endpoint as well: by everybody, as if behind a cone NAT. Its own datagrams go
//! out from there. The frames for that are in [`teredo_wire::helper`].
//!
//! It is no open relay. It passes on nothing but Teredo, to or from the address that a client has
//! registered, within the limits of that client and of all; never to private addresses or to its
//! own host; and it answers nobody with more bytes than he sent.

mod allowance;
mod config;
mod cookie;
mod table;

use core::net::{Ipv6Addr, SocketAddrV4};

use teredo_wire::address::{ALL_ROUTERS, is_link_local, link_local_is_cone};
use teredo_wire::helper::{self, Challenge, Forward, Frame, Register, Registered, Seal, Status};
use teredo_wire::icmpv6;
use teredo_wire::ipv6::next_header;
use teredo_wire::{Datagram, Ipv6, NoSpace, TEREDO_PORT, TeredoAddress, Writer};

use crate::filter::Ipv4Filter;
use crate::keys::HelperKey;
use crate::random::{Random, Seed};
use crate::reason::{Counters, DropReason};
use crate::role::{Arrival, Inbound, Local, Outbound, Role, TRANSMIT_LEN_MAX, Transmit};
use crate::server::limits::Purse;
use crate::server::outbox::{Outbox, Target};
use crate::time::Instant;

pub use config::{Capacity, Config, Limits};

use allowance::Allowance;
use cookie::Cookies;
use table::{Direction, Registration, Table};

/// A helper with one UDP socket.
///
/// It takes no packets from an IPv6 side and needs no time-outs.
#[derive(Debug)]
pub struct Helper {
    config: Config,
    keys: Box<[HelperKey]>,
    cookies: Cookies,
    random: Random,
    table: Table,
    requests: Purse,
    total: Allowance,
    outbox: Outbox<TRANSMIT_LEN_MAX>,
    counters: Counters,
}

impl Helper {
    /// A helper that is ready to serve.
    pub fn new(config: Config, seed: Seed) -> Self {
        Self {
            keys: config.clients.iter().map(|client| HelperKey::new(&client.secret)).collect(),
            cookies: Cookies::new(seed),
            random: Random::new(seed),
            table: Table::new(config.clients.len(), config.limits.client),
            requests: Purse::new(&config.limits.requests, seed, "requests"),
            total: Allowance::new(config.limits.total),
            outbox: Outbox::default(),
            counters: Counters::default(),
            config,
        }
    }

    /// Takes another filter, because the addresses of this host have changed.
    pub fn set_filter(&mut self, filter: Ipv4Filter) {
        self.config.filter = filter;
    }

    /// How many clients are registered.
    pub fn registered(&self, now: Instant) -> usize {
        self.table.live(now)
    }

    fn process(
        &mut self,
        now: Instant,
        from: SocketAddrV4,
        payload: &[u8],
    ) -> Result<(), DropReason> {
        self.check_observed_source(from)?;
        if !helper::is_frame(payload) {
            return self.deliver(now, from, payload);
        }
        match Frame::parse(payload).map_err(|_| DropReason::BadFrame)? {
            Frame::Register(request, seal) => self.register(now, from, &request, &seal),
            Frame::Forward(frame) => self.forward(now, from, &frame),
            Frame::Challenge(_) | Frame::Registered(..) => Err(DropReason::BadFrame),
        }
    }

    /// Everybody on the Internet may write, but nobody from here, unless he is a neighbour.
    fn check_observed_source(&self, from: SocketAddrV4) -> Result<(), DropReason> {
        if from.port() == 0 {
            return Err(DropReason::ImpossibleSource);
        }
        if self.config.neighbours.contains(&from) {
            return Ok(());
        }
        if self.is_own(from) {
            return Err(DropReason::OwnEndpoint);
        }
        let is_global = self.config.filter.is_global(*from.ip());
        if is_global { Ok(()) } else { Err(DropReason::ForbiddenSource) }
    }

    fn is_own(&self, endpoint: SocketAddrV4) -> bool {
        self.config.endpoint == endpoint || self.config.filter.own.contains(endpoint.ip())
    }

    /// Takes a request. Nothing is looked up, computed or kept before the client has shown that it
    /// gets what is sent to it.
    fn register(
        &mut self,
        now: Instant,
        from: SocketAddrV4,
        request: &Register<'_>,
        seal: &Seal<'_>,
    ) -> Result<(), DropReason> {
        self.requests.spend(now, *from.ip())?;
        let Some(issued_at) = self.cookies.check(now, from, request.cookie) else {
            return self.challenge(now, from, request.nonce);
        };
        let client = self.config.clients.position(request.client_id);
        let client = client.ok_or(DropReason::UnknownIdentifier)?;
        self.keys[client].check(seal)?;
        // Whoever has recorded an older request of this client gets no further with it.
        if !self.table.is_news(client, issued_at, request.nonce) {
            return self.challenge(now, from, request.nonce);
        }
        let status = self.judge(now, (client, from), request.address);
        let token = if status == Status::GRANTED {
            let registration = Registration {
                address: request.address,
                endpoint: from,
                token: self.random.bytes(),
                expires_at: now + self.config.lifetime,
            };
            self.counters.registrations += 1;
            self.table.enter(client, registration)
        } else {
            Default::default()
        };
        let answer = Registered {
            status,
            nonce: request.nonce,
            cookie: self.cookies.issue(now, from),
            token,
            lifetime_s: u16::try_from(self.config.lifetime.as_secs()).unwrap_or(u16::MAX),
        };
        let key = &self.keys[client];
        push(&mut self.outbox, from, |writer| {
            key.seal(writer, |writer, mac_len| answer.write(writer, mac_len))
        })
    }

    fn challenge(
        &mut self,
        now: Instant,
        to: SocketAddrV4,
        nonce: [u8; 8],
    ) -> Result<(), DropReason> {
        let challenge = Challenge { nonce, cookie: self.cookies.issue(now, to) };
        push(&mut self.outbox, to, |writer| challenge.write(writer))
    }

    fn judge(
        &self,
        now: Instant,
        (client, from): (usize, SocketAddrV4),
        address: Ipv6Addr,
    ) -> Status {
        // The cone bit would make a server answer solicitations from its other address.
        let is_usable = TeredoAddress::parse(address).is_some() && !is_cone(address);
        if !is_usable {
            Status::UNUSABLE_ADDRESS
        } else if self.table.has_other(now, (client, from), address) {
            Status::ADDRESS_IN_USE
        } else if !self.table.is_live(now, client)
            && self.table.live(now) >= self.config.limits.clients_max
        {
            Status::FULL
        } else {
            Status::GRANTED
        }
    }

    /// Passes a datagram of a registered client on.
    fn forward(
        &mut self,
        now: Instant,
        from: SocketAddrV4,
        frame: &Forward<'_>,
    ) -> Result<(), DropReason> {
        let client = self.table.at(now, from, frame.token).ok_or(DropReason::NotRegistered)?;
        let datagram = Datagram::parse(frame.datagram)?;
        self.check_sent(client, frame.endpoint, &datagram)?;
        let is_for_client = frame.endpoint == self.config.endpoint;
        if !is_for_client {
            self.check_destination(frame.endpoint)?;
        }
        self.spend(now, client, Direction::Out, frame.datagram.len())?;
        if is_for_client {
            return self.deliver(now, self.config.endpoint, frame.datagram);
        }
        push(&mut self.outbox, frame.endpoint, |writer| writer.put(frame.datagram))?;
        self.counters.sent += 1;
        Ok(())
    }

    /// Only what the client itself has to say: packets from its address, and solicitations.
    fn check_sent(
        &self,
        client: usize,
        to: SocketAddrV4,
        datagram: &Datagram<'_>,
    ) -> Result<(), DropReason> {
        let packet = &datagram.ipv6;
        let address = self.table.address(client);
        let is_solicitation = packet.destination() == ALL_ROUTERS
            && is_neighbor_discovery(packet, icmpv6::ROUTER_SOLICITATION)
            && to.port() == TEREDO_PORT;
        let source = if is_solicitation { address.map(helper::link_local) } else { address };
        if source != Some(packet.source()) {
            return Err(DropReason::WrongSource);
        }
        if datagram.origin.is_some() || (datagram.authentication.is_some() && !is_solicitation) {
            return Err(DropReason::UnexpectedEncapsulation);
        }
        if packet.destination().is_multicast() && !is_solicitation {
            return Err(DropReason::WrongDestination);
        }
        Ok(())
    }

    fn check_destination(&self, to: SocketAddrV4) -> Result<(), DropReason> {
        if self.config.neighbours.contains(&to) {
            return Ok(());
        }
        if self.is_own(to) {
            return Err(DropReason::Loop);
        }
        self.config.filter.check_embedded(to, &self.config.denied_ports)
    }

    /// Passes a datagram from anywhere on to the client that it is for.
    fn deliver(
        &mut self,
        now: Instant,
        from: SocketAddrV4,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        let packet = Datagram::parse(datagram)?.ipv6;
        let destination = packet.destination();
        if is_link_local(destination) {
            let is_answer = is_neighbor_discovery(&packet, icmpv6::ROUTER_ADVERTISEMENT)
                && from.port() == TEREDO_PORT;
            if !is_answer {
                return Err(DropReason::NotServed);
            }
        }
        let client = self.table.of(now, destination).ok_or(DropReason::NotServed)?;
        self.spend(now, client, Direction::In, datagram.len())?;
        let Some((to, token)) = self.table.way_to(client) else {
            return Err(DropReason::NotServed);
        };
        let frame = Forward { endpoint: from, token, datagram };
        push(&mut self.outbox, to, |writer| frame.write(writer))?;
        self.counters.delivered += 1;
        Ok(())
    }

    /// Uses up the share of a client, and what there is for all.
    fn spend(
        &mut self,
        now: Instant,
        client: usize,
        direction: Direction,
        len: usize,
    ) -> Result<(), DropReason> {
        let own = self.table.allowance(client, direction);
        if own.has(now, len) && self.total.has(now, len) {
            own.take(now, len);
            self.total.take(now, len);
            return Ok(());
        }
        Err(DropReason::RateLimit)
    }
}

impl Role for Helper {
    fn handle_datagram(&mut self, now: Instant, arrival: Arrival, payload: &[u8]) -> Inbound {
        match self.process(now, arrival.from, payload) {
            Ok(()) => Inbound::Consumed,
            Err(reason) => {
                self.counters.count_drop(reason);
                Inbound::Dropped(reason)
            }
        }
    }

    /// Drops the packet: a helper has no IPv6 side.
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

fn push(
    outbox: &mut Outbox<TRANSMIT_LEN_MAX>,
    to: SocketAddrV4,
    write: impl FnOnce(&mut Writer<'_>) -> Result<(), NoSpace>,
) -> Result<(), DropReason> {
    outbox.push(Target::Datagram { to, via: Local::Primary }, write)
}

fn is_cone(address: Ipv6Addr) -> bool {
    link_local_is_cone(helper::link_local(address))
}

fn is_neighbor_discovery(packet: &Ipv6<'_>, kind: u8) -> bool {
    packet.next_header() == next_header::ICMPV6 && packet.payload().first() == Some(&kind)
}
