//! Where packets of the stack go (RFC 4380 section 5.2.4). Case numbers are those of the RFC.

use core::net::{Ipv6Addr, SocketAddrV4};

use teredo_wire::TeredoAddress;
use teredo_wire::address::server_link_local;
use teredo_wire::icmpv6::ErrorMessage;
use teredo_wire::ipv6::Ipv6;
use teredo_wire::{MTU_DEFAULT, TEREDO_PORT};

use crate::client::Client;
use crate::client::outbox::{Item, Trailers};
use crate::client::peer::Path;
use crate::client::reception::KEEP_ALIVE;
use crate::inspect::allows_error;
use crate::peers::{Class, PeerId};
use crate::reason::DropReason;
use crate::role::{Local, Outbound, TRANSMIT_LEN_MAX, WRAP_LEN};
use crate::scope;
use crate::time::Instant;

impl Client {
    /// Takes a packet of the stack.
    pub(super) fn transmit(&mut self, now: Instant, packet: &[u8]) -> Result<Outbound, DropReason> {
        let (packet, rest) = Ipv6::parse(packet).map_err(|_| DropReason::InvalidPacket)?;
        if !rest.is_empty() {
            return Err(DropReason::InvalidPacket); // its end would be read as trailers
        }
        if let Some(resting) = self.resting {
            return self.wake_by(now, &packet, resting);
        }
        self.check_outgoing(now, &packet)?;
        self.guard.note_sent(now, &packet)?;
        self.needed_at = now;
        let destination = packet.destination();
        match self.peers.find(destination) {
            Some(id) => match self.peers[id].open_route(now) {
                Some(path) => self.send_to_proven(now, id, path, &packet), // case 1
                None => self.send_to_unproven(now, Some(id), &packet),
            },
            None => self.send_to_unproven(now, None, &packet),
        }
    }

    fn check_outgoing(&mut self, now: Instant, packet: &Ipv6<'_>) -> Result<(), DropReason> {
        let (link, source, destination) = (self.link(), packet.source(), packet.destination());
        if destination.is_multicast() {
            return Err(DropReason::WrongDestination);
        }
        let Some((address, mtu)) = link else {
            self.complain(now, packet, ErrorMessage::AddressUnreachable);
            return Err(DropReason::NotQualified);
        };
        if !scope::is_global(destination) || destination == address {
            return Err(DropReason::WrongDestination);
        }
        if source != address {
            self.complain(now, packet, ErrorMessage::Prohibited);
            return Err(DropReason::WrongSource);
        }
        if packet.bytes().len() > usize::from(mtu) {
            self.complain(now, packet, ErrorMessage::TooBig(u32::from(mtu)));
            return Err(DropReason::TooBig);
        }
        Ok(())
    }

    /// Case 1: the fast path.
    fn send_to_proven(
        &mut self,
        now: Instant,
        id: PeerId,
        Path { heard_at, to, via }: Path,
        packet: &Ipv6<'_>,
    ) -> Result<Outbound, DropReason> {
        self.peers.touch(now, id);
        self.peers.protect(id);
        self.introduce_again(now, id, Path { heard_at, to, via });
        let peer = &mut self.peers[id];
        peer.bubbles.note_transmission(now);
        peer.approach.data_sent_at = Some(now);
        if !peer.is_heard_within(now, KEEP_ALIVE) {
            self.renew_proof(now, id);
        }
        if self.helper.as_ref().is_some_and(|helper| helper.wraps(via))
            && packet.bytes().len() + WRAP_LEN > TRANSMIT_LEN_MAX
        {
            let mtu = (TRANSMIT_LEN_MAX - WRAP_LEN) as u32;
            self.complain(now, packet, ErrorMessage::TooBig(mtu));
            return Err(DropReason::TooBig);
        }
        if self.outbox.is_past(self.peers[id].flushed) {
            return Ok(Outbound::Send { to, via });
        }
        // Packets that waited are still in the outbox: this one must not overtake them.
        let item = Item::Packet { to, via, packet: packet.bytes().into() };
        let ticket = self.outbox.push_kept(&mut self.queued, item);
        self.peers[id].flushed = ticket.map_err(|_| DropReason::QueueFull)?;
        self.counters.sent += 1;
        Ok(Outbound::Queued)
    }

    /// Cases 2, 3 and 5. Case 4 went with the cone bit (RFC 5991 section 3.2).
    fn send_to_unproven(
        &mut self,
        now: Instant,
        known: Option<PeerId>,
        packet: &Ipv6<'_>,
    ) -> Result<Outbound, DropReason> {
        let destination = packet.destination();
        if let Some(peer) = TeredoAddress::parse(destination) {
            self.check_teredo_peer(&peer)?;
        }
        let id = match known {
            Some(id) => id,
            None => self.add_peer(now, destination, Class::Sought)?,
        };
        if !self.begin_search(now, id) {
            self.complain(now, packet, ErrorMessage::AddressUnreachable);
            return Err(DropReason::PeerUnreachable);
        }
        let waiting = &mut self.peers[id].waiting;
        waiting.push(&mut self.queued, packet.bytes()).map_err(|_| DropReason::QueueFull)?;
        Ok(Outbound::Queued)
    }

    /// Whether datagrams may go to where a Teredo address says its client is. A client there that
    /// were our server would be a loop.
    pub(super) fn check_teredo_peer(&self, peer: &TeredoAddress) -> Result<(), DropReason> {
        let host = *peer.mapped.ip();
        let is_server = peer.mapped.port() == TEREDO_PORT
            && (host == self.config.server || Some(host) == self.config.secondary);
        if self.is_reachable(peer.mapped) && !is_server && self.config.filter.is_global(peer.server)
        {
            Ok(())
        } else {
            Err(DropReason::ForbiddenIpv4)
        }
    }

    /// Whether an endpoint that somebody else names may be sent to: global, and not our own.
    pub(super) fn is_reachable(&self, endpoint: SocketAddrV4) -> bool {
        endpoint.port() != 0
            && (self.mapped() != Some(endpoint) || self.is_helped_throughout())
            && self.config.filter.permits(*endpoint.ip())
    }

    /// Sends a bubble to an endpoint.
    pub(super) fn send_bubble(
        &mut self,
        now: Instant,
        (to, via): (SocketAddrV4, Local),
        destination: Ipv6Addr,
        trailers: Trailers,
    ) {
        if let Some(source) = self.address() {
            self.send(now, Item::Bubble { to, via, source, destination, trailers });
        }
    }

    /// Tells the stack what became of its packet, if RFC 4443 allows.
    pub(super) fn complain(&mut self, now: Instant, packet: &Ipv6<'_>, message: ErrorMessage) {
        if allows_error(packet) && self.errors.take(now) {
            let offending = packet.bytes();
            let offending = offending.get(..QUOTED_LEN_MAX).unwrap_or(offending);
            self.outbox.push(Item::Error {
                message,
                source: server_link_local(self.config.server),
                destination: packet.source(),
                offending: offending.into(),
            });
        }
    }
}

/// No error quotes more than this (RFC 4443 section 3).
const QUOTED_LEN_MAX: usize = MTU_DEFAULT as usize;
