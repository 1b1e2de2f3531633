//! From clients to the native side (RFC 4380 section 5.4.2).

use core::net::SocketAddrV4;

use teredo_wire::{Datagram, Ipv6, TeredoAddress};

use crate::guard::Pass;
use crate::inspect::{is_neighbor_discovery, upper_layer};
use crate::peers::PeerId;
use crate::reason::DropReason;
use crate::relay::Relay;
use crate::relay::peer::Reach;
use crate::role::{Event, Inbound};
use crate::time::Instant;

impl Relay {
    pub(super) fn receive(
        &mut self,
        now: Instant,
        from: SocketAddrV4,
        payload: &[u8],
    ) -> Result<Inbound, DropReason> {
        let datagram = Datagram::parse(payload)?;
        if datagram.authentication.is_some() || datagram.origin.is_some() {
            return Err(DropReason::UnexpectedEncapsulation);
        }
        datagram.trailers().map_err(|_| DropReason::RefusedTrailer)?;
        let packet = &datagram.ipv6;
        let (id, evidence) = self.identify(now, from, packet)?;
        if packet.is_bubble() {
            self.trust(now, id, from, evidence);
            self.counters.bubbles_received += 1;
            return Ok(Inbound::Consumed);
        }
        // What is refused has no effect at all: no trust either, and no entry is kept by it.
        let pass = self.check_delivery(now, packet)?;
        self.trust(now, id, from, evidence);
        self.guard.note_received(now, pass);
        self.counters.delivered += 1;
        Ok(Inbound::Deliver(datagram.packet_range()))
    }

    /// Finds the client that a packet comes from, and what shows that it does.
    fn identify(
        &self,
        now: Instant,
        from: SocketAddrV4,
        packet: &Ipv6<'_>,
    ) -> Result<(PeerId, Evidence), DropReason> {
        let source = packet.source();
        let client = TeredoAddress::parse(source).ok_or(DropReason::NotTeredoSource)?;
        let found = self.peers.find(source);
        if let Some(id) = found.filter(|&id| self.peers[id].reach.is_proven_at(from)) {
            return Ok((id, Evidence::KnownEndpoint));
        }
        self.check_observed(from)?;
        let evidence = if client.mapped == from {
            Evidence::EmbeddedEndpoint
        } else if packet.is_bubble() && self.proof.is_fresh(now, source, packet.destination()) {
            Evidence::AnsweredBubble
        } else {
            return Err(DropReason::EndpointMismatch);
        };
        Ok((found.ok_or(DropReason::UnknownPeer)?, evidence))
    }

    fn check_observed(&self, from: SocketAddrV4) -> Result<(), DropReason> {
        if from.port() == 0 {
            return Err(DropReason::ImpossibleSource);
        }
        if self.filter.own.contains(from.ip()) {
            return Err(DropReason::OwnEndpoint);
        }
        if !self.filter.is_global(*from.ip()) {
            return Err(DropReason::ForbiddenSource);
        }
        Ok(())
    }

    /// Notes that a client was heard from `from`, and lets go what waits for it.
    fn trust(&mut self, now: Instant, id: PeerId, from: SocketAddrV4, evidence: Evidence) {
        let peer = &mut self.peers[id];
        let before = peer.reach.valid_endpoint(now);
        if evidence == Evidence::EmbeddedEndpoint && before.is_some() {
            // Its answer to a bubble came from elsewhere a moment ago, so it is behind a symmetric
            // NAT and this is a forged source: no reason to move (E-18).
            return;
        }
        peer.reach = Reach::Proven { at: from, heard_at: now };
        peer.budget.reset();
        self.peers.touch(now, id);
        if before.is_none() {
            self.release(now, id);
        }
    }

    /// The client of a newly trusted entry can be reached: its packets go, in their order.
    fn release(&mut self, now: Instant, id: PeerId) {
        self.peers.protect(id);
        self.peers.set_deadline(id, None);
        let client = self.peers.address(id);
        if !self.peers[id].queue.is_empty() {
            self.peers[id].budget.note_transmission(now);
            self.flushing.push_back(client);
        }
        self.tell(Event::PeerReached(client));
    }

    /// Checks what a packet for the native side is and where it goes.
    fn check_delivery(&self, now: Instant, packet: &Ipv6<'_>) -> Result<Pass, DropReason> {
        self.check_native_destination(packet.destination())?;
        if packet.hop_limit() == 0 {
            return Err(DropReason::HopLimit);
        }
        let upper = upper_layer(packet)?;
        if upper.icmpv6_kind().is_some_and(is_neighbor_discovery) {
            return Err(DropReason::NeighborDiscovery);
        }
        if self.config.scope.is_host() {
            return self.guard.check(now, packet, &upper);
        }
        Ok(Pass::default())
    }
}

/// What shows that a packet comes from the client it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    /// It was heard from there before.
    KnownEndpoint,
    /// The address embeds the observed endpoint.
    EmbeddedEndpoint,
    /// The packet answers a bubble of ours that went through the client's server.
    AnsweredBubble,
}
