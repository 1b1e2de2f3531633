//! From the native side to clients (RFC 4380 section 5.4.1).

use core::net::{Ipv6Addr, SocketAddrV4};

use teredo_wire::icmpv6::ErrorMessage;
use teredo_wire::{Ipv6, MTU_DEFAULT, TEREDO_PORT, TeredoAddress};

use crate::limiter::Exhausted;
use crate::peers::{ATTEMPT_GAP, Class, PeerId};
use crate::reason::DropReason;
use crate::relay::Relay;
use crate::relay::outbox::Bubble;
use crate::relay::peer::{Peer, Reach};
use crate::role::{Event, Local, Outbound};
use crate::time::Instant;

impl Relay {
    pub(super) fn transmit(&mut self, now: Instant, packet: &[u8]) -> Result<Outbound, DropReason> {
        let Ok((ipv6, [])) = Ipv6::parse(packet) else {
            return Err(DropReason::InvalidPacket);
        };
        let destination = ipv6.destination();
        let client = TeredoAddress::parse(destination).ok_or(DropReason::WrongDestination)?;
        self.check_native_source(ipv6.source())?;
        if ipv6.hop_limit() == 0 {
            return Err(DropReason::HopLimit);
        }
        let known = self.peers.find(destination);
        if known.is_none() {
            self.check_client(client)?;
        }
        if packet.len() > usize::from(MTU_DEFAULT) {
            self.report(now, ErrorMessage::TooBig(u32::from(MTU_DEFAULT)), packet);
            return Err(DropReason::TooBig);
        }
        if self.config.scope.is_host() {
            self.guard.note_sent(now, &ipv6)?;
        }
        let id = match known {
            Some(id) => id,
            None => self.admit(now, ipv6.source(), client)?,
        };
        self.transmit_to(now, id, packet)
    }

    /// Sends a packet, or keeps it until it can be sent. The cone bit plays no part (RFC 5991
    /// section 3.2).
    fn transmit_to(
        &mut self,
        now: Instant,
        id: PeerId,
        packet: &[u8],
    ) -> Result<Outbound, DropReason> {
        let peer = &mut self.peers[id];
        let endpoint = peer.reach.valid_endpoint(now);
        if let Some(to) = endpoint
            && peer.queue.is_empty()
        {
            peer.budget.note_transmission(now);
            self.peers.touch(now, id);
            self.counters.sent += 1;
            return Ok(Outbound::Send { to, via: Local::Primary });
        }
        if peer.reach == Reach::Lost && peer.budget.is_exhausted(now) {
            self.report(now, ErrorMessage::AddressUnreachable, packet);
            return Err(DropReason::PeerUnreachable);
        }
        if endpoint.is_none() && peer.reach != Reach::Sought {
            self.seek(now, id);
        }
        let queued = self.peers[id].queue.push(&mut self.queued, packet);
        queued.map_err(|_| DropReason::QueueFull)?;
        Ok(Outbound::Queued)
    }

    /// Checks where packets and bubbles for a new client would go. Its server may be on this host,
    /// the client may not.
    fn check_client(&self, client: TeredoAddress) -> Result<(), DropReason> {
        self.filter.check_embedded(client.mapped, &self.config.denied_ports)?;
        if !self.filter.is_global(client.server) {
            return Err(DropReason::ForbiddenIpv4);
        }
        if server_endpoint(client) == self.config.service {
            return Err(DropReason::Loop);
        }
        Ok(())
    }

    /// Makes an entry, not trusted, and begins to seek the client.
    ///
    /// One who asks for more than a share is refused, which is no overload: else a single host
    /// could have routers go elsewhere.
    fn admit(
        &mut self,
        now: Instant,
        native: Ipv6Addr,
        client: TeredoAddress,
    ) -> Result<PeerId, DropReason> {
        let admitted = if self.outbox.is_full() {
            Err(Exhausted::All)
        } else {
            self.new_peers.admit(now, native, client.server)
        };
        if let Err(exhausted) = admitted {
            if exhausted == Exhausted::All {
                self.overload.note_refusal(now);
            }
            return Err(DropReason::NewPeerLimit);
        }
        let inserted = self.peers.insert(now, client.to_ipv6(), Class::Sought, Peer::default());
        let Ok(inserted) = inserted else {
            self.overload.note_refusal(now);
            return Err(DropReason::PeerListFull);
        };
        if let Some((_, mut evicted)) = inserted.evicted {
            for _ in 0..evicted.queue.clear(&mut self.queued) {
                self.counters.count_drop(DropReason::PeerListFull);
            }
        }
        self.seek(now, inserted.id);
        Ok(inserted.id)
    }

    fn seek(&mut self, now: Instant, id: PeerId) {
        self.peers[id].reach = Reach::Sought;
        self.peers.expose(id);
        self.try_bubble(now, id);
    }

    /// Does what is due, as far as there is room for bubbles.
    pub(super) fn seek_further(&mut self, now: Instant) {
        while !self.outbox.is_full() {
            let Some(id) = self.peers.pop_due(now) else { return };
            match self.peers[id].reach {
                Reach::Proven { .. } => {}
                Reach::Sought if self.peers[id].budget.is_exhausted(now) => self.give_up(now, id),
                Reach::Sought => self.try_bubble(now, id),
                Reach::Lost => drop(self.peers.remove(id)),
            }
        }
    }

    /// Sends a bubble through the client's server, and perhaps a direct one to open our own NAT,
    /// now or as soon as section 5.2.6 allows.
    fn try_bubble(&mut self, now: Instant, id: PeerId) {
        let budget = &mut self.peers[id].budget;
        let next = if self.outbox.is_full() {
            now
        } else if budget.take(now) {
            self.send_bubble(now, id);
            now + ATTEMPT_GAP
        } else {
            budget.allowed_at()
        };
        self.peers.set_deadline(id, Some(next));
    }

    fn send_bubble(&mut self, now: Instant, id: PeerId) {
        let destination = self.peers.address(id);
        let Some(client) = TeredoAddress::parse(destination) else { return };
        let source = self.proof.source(now, destination);
        let mut send = |to| self.outbox.push_bubble(Bubble { to, source, destination });
        send(server_endpoint(client));
        if self.config.behind_nat || self.config.scope.is_host() {
            send(client.mapped);
        }
        self.counters.bubbles_sent += 1;
    }

    /// The bubbles were not answered: drops what waits and tells its sources.
    fn give_up(&mut self, now: Instant, id: PeerId) {
        while let Some(packet) = self.peers[id].queue.pop(&mut self.queued) {
            self.counters.count_drop(DropReason::PeerUnreachable);
            self.report(now, ErrorMessage::AddressUnreachable, &packet);
        }
        let peer = &mut self.peers[id];
        peer.reach = Reach::Lost;
        let forget_at = peer.budget.forgotten_at();
        self.peers.set_deadline(id, Some(forget_at));
        self.tell(Event::PeerUnreachable(self.peers.address(id)));
    }
}

fn server_endpoint(client: TeredoAddress) -> SocketAddrV4 {
    SocketAddrV4::new(client.server, TEREDO_PORT)
}
