//! Local discovery (RFC 4380 section 5.2.8): clients on one link find each other by multicast, so
//! that a NAT that turns nothing back does not keep them apart.
//!
//! It is confined to the private subnet that leads to the server, and to peers behind the same NAT:
//! nobody else needs it, and nobody else is told or believed anything. A discovery bubble alone
//! proves nothing; it says where a bubble may be sent to, and the answer to that makes a peer a
//! trusted one, unless another way to it is in use.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use core::time::Duration;
use std::collections::VecDeque;

use teredo_wire::address::ALL_NODES;
use teredo_wire::ipv4::Ipv4Cidr;
use teredo_wire::{DISCOVERY_GROUP, Datagram, TEREDO_PORT, TeredoAddress};

use crate::client::outbox::Item;
use crate::client::{Client, Phase};
use crate::peers::PeerId;
use crate::reason::DropReason;
use crate::role::Local;
use crate::time::Instant;

/// Where the multicast bubbles of local discovery go, and arrive.
pub const DISCOVERY_ENDPOINT: SocketAddrV4 = SocketAddrV4::new(DISCOVERY_GROUP, TEREDO_PORT);

/// When the next discovery bubble is due, and when the last one left.
#[derive(Debug)]
pub(super) struct Schedule {
    due_at: Instant,
    sent_at: Option<Instant>,
}

impl Schedule {
    /// The first one goes out with the address that it tells of.
    pub(super) fn new(now: Instant) -> Self {
        Self { due_at: now, sent_at: None }
    }
}

/// Where on the link peers are, by their own account: those heard last.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    heard: VecDeque<Neighbour>,
}

#[derive(Debug)]
struct Neighbour {
    peer: Ipv6Addr,
    endpoint: SocketAddrV4,
    heard_at: Instant,
}

impl Neighbours {
    fn note(&mut self, now: Instant, peer: Ipv6Addr, endpoint: SocketAddrV4) {
        self.heard.retain(|neighbour| neighbour.peer != peer);
        self.heard.truncate(NEIGHBOURS_MAX - 1);
        self.heard.push_front(Neighbour { peer, endpoint, heard_at: now });
    }

    fn find(&self, now: Instant, peer: Ipv6Addr) -> Option<SocketAddrV4> {
        let neighbour = self.heard.iter().find(|neighbour| neighbour.peer == peer)?;
        (now.since(neighbour.heard_at) < NEIGHBOUR_KNOWN).then_some(neighbour.endpoint)
    }
}

impl Client {
    /// When the next discovery bubble is due; `None` where there is no use for any.
    pub(super) fn discovery_due_at(&self) -> Option<Instant> {
        let service = self.service()?;
        self.shared_subnet().map(|_| service.discovery.due_at)
    }

    /// Sends the discovery bubble that is due.
    pub(super) fn advance_discovery(&mut self, now: Instant) {
        if self.discovery_due_at().is_some_and(|at| at <= now) {
            self.send_discovery_bubble(now);
        }
    }

    /// Rule 4 of reception: a packet that was sent to the group.
    pub(super) fn take_discovery_bubble(
        &mut self,
        now: Instant,
        from: SocketAddrV4,
        datagram: &Datagram<'_>,
    ) -> Result<(), DropReason> {
        let source = self.check_discovery_bubble(from, datagram)?;
        if self.peers.find(source).is_none() && !self.admits_newcomer(now, *from.ip()) {
            return Err(DropReason::RateLimit);
        }
        let id = self.admit_answer(now, source)?;
        self.neighbours.note(now, source, from);
        self.counters.bubbles_received += 1;
        self.counters.bubbles_sent += 1;
        self.send_direct(now, id, (from, Local::Primary), None);
        Ok(())
    }

    /// Whether a peer said that it is there on the link.
    pub(super) fn is_neighbour(
        &self,
        now: Instant,
        known: Option<PeerId>,
        at: SocketAddrV4,
    ) -> bool {
        known.is_some_and(|id| self.neighbour(now, id) == Some(at))
    }

    /// Where a peer that was heard of on the link is.
    fn neighbour(&self, now: Instant, id: PeerId) -> Option<SocketAddrV4> {
        self.neighbours.find(now, self.peers.address(id))
    }

    /// Case 3 of transmission, if the peer is a neighbour; `false` if not. It gets a bubble, and
    /// hears of us by another one to the group: without that it would not believe the first.
    pub(super) fn approach_neighbour(&mut self, now: Instant, id: PeerId) -> bool {
        let Some(endpoint) = self.neighbour(now, id) else { return false };
        if !self.is_on_link(*endpoint.ip()) {
            return false;
        }
        self.send_direct(now, id, (endpoint, Local::Primary), None);
        let sent_at = self.service().and_then(|service| service.discovery.sent_at);
        if sent_at.is_none_or(|at| now.since(at) >= DISCOVERY_GAP) {
            self.send_discovery_bubble(now);
        }
        true
    }

    /// The source, if this is the discovery bubble of a client behind our NAT and on our link.
    fn check_discovery_bubble(
        &self,
        from: SocketAddrV4,
        datagram: &Datagram<'_>,
    ) -> Result<Ipv6Addr, DropReason> {
        let packet = &datagram.ipv6;
        let service = self.service().ok_or(DropReason::NotQualified)?;
        if !packet.is_bubble() || packet.destination() != ALL_NODES {
            return Err(DropReason::NotDiscovery);
        }
        if datagram.authentication.is_some() || datagram.origin.is_some() {
            return Err(DropReason::UnexpectedEncapsulation);
        }
        let source = packet.source();
        if source == service.address {
            return Err(DropReason::OwnAddress);
        }
        let peer = TeredoAddress::parse(source).ok_or(DropReason::ImpossibleIpv6Source)?;
        self.check_teredo_peer(&peer)?;
        if !self.is_on_link(*from.ip()) {
            return Err(DropReason::OffLink);
        }
        if peer.mapped.ip() != service.mapping.mapped.ip() {
            return Err(DropReason::ForeignMapping);
        }
        Ok(source)
    }

    /// Whether another host with this address is on the link that discovery is confined to.
    fn is_on_link(&self, address: Ipv4Addr) -> bool {
        self.shared_subnet().is_some_and(|subnet| {
            let is_host = subnet.prefix_len() >= 31
                || (address != subnet.broadcast() && address != subnet.network());
            subnet.contains(address)
                && address.is_private()
                && is_host
                && !self.config.filter.own.contains(&address)
        })
    }

    /// The private subnet on the way to the server, if the group is joined there. Hosts with public
    /// addresses reach each other without help, and need not tell their link who they are.
    fn shared_subnet(&self) -> Option<Ipv4Cidr> {
        let own = self.config.local_address.filter(Ipv4Addr::is_private)?;
        let mut subnets = self.config.filter.subnets.iter().copied();
        subnets.find(|subnet| subnet.contains(own)).filter(|_| self.config.local_discovery)
    }

    fn send_discovery_bubble(&mut self, now: Instant) {
        let interval = INTERVAL_MIN + self.random.up_to(INTERVAL_SPAN);
        let Phase::Qualified(service) = &mut self.phase else { return };
        service.discovery = Schedule { due_at: now + interval, sent_at: Some(now) };
        let source = service.address;
        self.send(now, Item::Discovery { source });
    }
}

/// Neighbours remembered: more clients than a link behind one NAT has. A flood on the link makes
/// the others go by their servers.
const NEIGHBOURS_MAX: usize = 64;

/// How long a discovery bubble says where its sender is (RFC 4380 section 5.2.4, case 3).
const NEIGHBOUR_KNOWN: Duration = Duration::from_secs(600);

/// Between two discovery bubbles: 200 to 300 s (section 5.2.8).
const INTERVAL_MIN: Duration = Duration::from_secs(200);
const INTERVAL_SPAN: Duration = Duration::from_secs(100);

/// Between two of those that case 3 calls for, however many neighbours are sought: as long as
/// between two bubbles to one of them (section 5.2.6).
const DISCOVERY_GAP: Duration = Duration::from_secs(2);
