//! What may come in (RFC 4380 section 5.2.3). Rule numbers are those of the RFC.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use core::time::Duration;

use teredo_wire::address::is_link_local;
use teredo_wire::icmpv6::{self, Icmpv6};
use teredo_wire::ipv6::{Ipv6, next_header};
use teredo_wire::{Datagram, TeredoAddress};

use crate::client::echo::Proof;
use crate::client::outbox::Item;
use crate::client::peer::{Search, Trust};
use crate::client::{Client, Phase};
use crate::guard::Pass;
use crate::inspect::{Upper, is_neighbor_discovery, upper_layer};
use crate::peers::{AnswerLimiter, Class, PEER_VALID, PeerId};
use crate::reason::DropReason;
use crate::role::{Arrival, Event, Inbound, Local, TRANSMIT_LEN_MAX};
use crate::scope;
use crate::time::Instant;

/// A datagram that passed the checks that do not depend on its sender's standing.
struct Accepted<'a> {
    from: SocketAddrV4,
    datagram: Datagram<'a>,
    source: Ipv6Addr,
    upper: Upper<'a>,
}

impl Client {
    /// Takes a datagram.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        arrival: Arrival,
        payload: &[u8],
    ) -> Result<Inbound, DropReason> {
        let datagram = Datagram::parse(payload)?;
        let Arrival { from, on } = arrival;
        self.check_observed_source(from)?;
        if !datagram.trailer_bytes.is_empty() {
            datagram.trailers().map_err(|_| DropReason::RefusedTrailer)?;
        }
        if on == Local::Discovery {
            self.take_discovery_bubble(now, from, &datagram)?; // rule 4
            return Ok(Inbound::Consumed);
        }
        if is_advertisement(&datagram.ipv6) {
            self.take_advertisement(now, from, &datagram)?;
            return Ok(Inbound::Consumed);
        }
        let accepted = self.check_packet(from, datagram)?;
        let is_from_server = from == self.config.server_endpoint();
        let inbound = if is_from_server && accepted.datagram.ipv6.is_bubble() {
            self.take_indirect_bubble(now, &accepted)?
        } else {
            self.take_packet(now, &accepted)?
        };
        if let Phase::Qualified(service) = &mut self.phase
            && is_from_server
        {
            service.heard_at = now;
        }
        Ok(inbound)
    }

    fn check_observed_source(&self, from: SocketAddrV4) -> Result<(), DropReason> {
        let (address, port) = (from.ip(), from.port());
        let is_impossible = port == 0
            || address.octets()[0] == 0
            || address.is_loopback()
            || address.is_multicast()
            || address.is_broadcast();
        if is_impossible {
            return Err(DropReason::ImpossibleSource);
        }
        let is_own = self.mapped() == Some(from)
            || (port == self.config.service_port
                && (self.config.local_address == Some(*address)
                    || self.config.filter.own.contains(address)));
        if is_own { Err(DropReason::OwnEndpoint) } else { Ok(()) }
    }

    /// The checks that do not depend on who sent the packet.
    fn check_packet<'a>(
        &self,
        from: SocketAddrV4,
        datagram: Datagram<'a>,
    ) -> Result<Accepted<'a>, DropReason> {
        let packet = &datagram.ipv6;
        let service = self.service().ok_or(DropReason::NotQualified)?;
        // Discovery bubbles end here too, when they were not sent to the group.
        if packet.destination() != service.address {
            return Err(DropReason::NotOurAddress);
        }
        let source = packet.source();
        if source == service.address {
            return Err(DropReason::OwnAddress);
        }
        if is_link_local(source) {
            // Relays, and clients that act like them, sign their bubbles so.
            if !packet.is_bubble() || from != self.config.server_endpoint() {
                return Err(DropReason::LinkLocalSource);
            }
        } else if !scope::is_global(source) {
            return Err(DropReason::ImpossibleIpv6Source);
        }
        if datagram.authentication.is_some() {
            return Err(DropReason::UnexpectedEncapsulation);
        }
        let upper = upper_layer(packet)?;
        if upper.icmpv6_kind().is_some_and(is_neighbor_discovery) {
            return Err(DropReason::NeighborDiscovery);
        }
        Ok(Accepted { from, datagram, source, upper })
    }

    /// A bubble that came through the own server: somebody wants to reach us. It proves nothing
    /// about them, but is to be answered directly.
    fn take_indirect_bubble(
        &mut self,
        now: Instant,
        accepted: &Accepted<'_>,
    ) -> Result<Inbound, DropReason> {
        match TeredoAddress::parse(accepted.source) {
            Some(peer) => self.answer_peer(now, accepted.source, &peer)?,
            None => self.answer_relay(now, accepted)?,
        }
        self.counters.bubbles_received += 1;
        Ok(Inbound::Consumed)
    }

    fn answer_peer(
        &mut self,
        now: Instant,
        address: Ipv6Addr,
        peer: &TeredoAddress,
    ) -> Result<(), DropReason> {
        self.check_teredo_peer(peer)?;
        let id = self.admit_answer(now, address)?;
        self.peers[id].bubbles.note_transmission(now);
        self.send_bubble(now, peer.mapped, address);
        self.approach_neighbour(now, id);
        self.counters.bubbles_sent += 1;
        Ok(())
    }

    /// The entry of a peer whose bubble may be answered with one, whether or not we know it.
    pub(super) fn admit_answer(
        &mut self,
        now: Instant,
        address: Ipv6Addr,
    ) -> Result<PeerId, DropReason> {
        let known = self.peers.find(address);
        let mut of_newcomer = AnswerLimiter::default();
        let limiter = match known {
            Some(id) => &mut self.peers[id].answers,
            None => &mut of_newcomer,
        };
        // The limit comes before the entry: a flood of bubbles is no flood of entries.
        if !self.answers.take_for_peer(now, limiter) {
            return Err(DropReason::BubbleLimit);
        }
        match known {
            Some(id) => Ok(id),
            None => {
                let id = self.add_peer(now, address, Class::Stranger)?;
                self.peers[id].answers = of_newcomer;
                Ok(id)
            }
        }
    }

    /// Answers a relay, or a client that signs its bubbles as relays do. The origin indication
    /// alone says where it is.
    fn answer_relay(&mut self, now: Instant, accepted: &Accepted<'_>) -> Result<(), DropReason> {
        let origin = accepted
            .datagram
            .origin
            .filter(|origin| self.is_reachable(*origin))
            .ok_or(DropReason::UnusableOrigin)?;
        if !self.answers.take_for_origin(now, origin) {
            return Err(DropReason::BubbleLimit);
        }
        self.send_bubble(now, origin, accepted.source);
        self.counters.bubbles_sent += 1;
        Ok(())
    }

    /// Rules 1 to 6.
    fn take_packet(
        &mut self,
        now: Instant,
        accepted: &Accepted<'_>,
    ) -> Result<Inbound, DropReason> {
        let known = self.peers.find(accepted.source);
        if let Some(id) = known {
            // Rule 2 before rule 1: replies to our own requests are not for the stack.
            if accepted.upper.icmpv6_kind() == Some(icmpv6::ECHO_REPLY)
                && self.take_echo_reply(now, id, accepted)
            {
                return Ok(Inbound::Consumed);
            }
        }
        // What nobody asked for has no effect at all: no entry, no proof, no bubble, no test.
        let pass = self.check_policy(now, accepted)?;
        if let Some(id) = known
            && self.peers[id].trust == Trust::Proven(accepted.from)
        {
            return Ok(self.accept_from_proven(now, id, pass, accepted)); // rule 1
        }
        match TeredoAddress::parse(accepted.source) {
            Some(peer) if peer.mapped == accepted.from => {
                self.accept_embedded(now, known, pass, accepted) // rule 3
            }
            // Rule 5a wants a nonce of RFC 6081.
            Some(_) => self.accept_neighbour(now, known, pass, accepted), // rule 5
            None if self.is_on_its_way(pass, accepted.from) => {
                Ok(self.pass_on(now, pass, accepted)) // an error
            }
            None => self.hold_for_test(now, known, accepted), // rule 6
        }
    }

    /// Whether a packet is an ICMPv6 error about one of ours, from where that one was sent to: a
    /// router beyond the relay has no proof of its own, nor any need of it.
    fn is_on_its_way(&self, pass: Pass, from: SocketAddrV4) -> bool {
        let id = pass.about.and_then(|addressee| self.peers.find(addressee));
        id.is_some_and(|id| self.peers[id].trust == Trust::Proven(from))
    }

    /// Whether the stack would get the packet. Bubbles are for us alone.
    fn check_policy(&self, now: Instant, accepted: &Accepted<'_>) -> Result<Pass, DropReason> {
        let packet = &accepted.datagram.ipv6;
        if packet.is_bubble() {
            return Ok(Pass::default());
        }
        self.guard.check(now, packet, &accepted.upper)
    }

    /// Rule 2; says whether the reply answers a request of ours.
    fn take_echo_reply(&mut self, now: Instant, id: PeerId, accepted: &Accepted<'_>) -> bool {
        let Some(own) = self.address() else { return false };
        let Ok(message) = Icmpv6::parse(&accepted.datagram.ipv6) else { return false };
        let Some(echo) = message.echo().filter(|echo| echo.reply) else { return false };
        let peer = &mut self.peers[id];
        match peer.probes.check(now, &self.echo_key, own, accepted.source, echo.data) {
            Some((Proof::Fresh, sent_at)) => {
                peer.probes.note_proof(sent_at);
                self.reached(now, id, accepted.from);
                true
            }
            Some((Proof::Stale, _)) => true,
            None => false,
        }
    }

    /// Rule 1: the fast path.
    fn accept_from_proven(
        &mut self,
        now: Instant,
        id: PeerId,
        pass: Pass,
        accepted: &Accepted<'_>,
    ) -> Inbound {
        self.peers.touch(now, id);
        let peer = &mut self.peers[id];
        if peer.is_settled() && peer.is_heard_within(now, PEER_VALID) {
            peer.last_reception = Some(now);
            peer.bubbles.reset();
        } else {
            self.reached(now, id, accepted.from);
        }
        self.keep_alive(now, id, accepted.from);
        self.pass_on(now, pass, accepted)
    }

    /// Rule 3: only the holder of the endpoint embedded in the source can have sent this.
    fn accept_embedded(
        &mut self,
        now: Instant,
        known: Option<PeerId>,
        pass: Pass,
        accepted: &Accepted<'_>,
    ) -> Result<Inbound, DropReason> {
        if !self.config.filter.permits(*accepted.from.ip()) {
            return Err(DropReason::ForbiddenIpv4);
        }
        let id = match known {
            Some(id) => id,
            None if !self.admits_newcomer(now, *accepted.from.ip()) => {
                return Err(DropReason::RateLimit);
            }
            None => self.add_peer(now, accepted.source, Class::Stranger)?,
        };
        self.reached(now, id, accepted.from);
        // The peer may be waiting for something direct from us, and our answer to its indirect
        // bubble may get lost (section 5.2.3: a bubble may answer any packet).
        if accepted.datagram.ipv6.is_bubble() && self.peers[id].bubbles.take(now) {
            self.send_bubble(now, accepted.from, accepted.source);
            self.counters.bubbles_sent += 1;
        }
        Ok(self.pass_on(now, pass, accepted))
    }

    /// Rule 5: a packet from where the peer said it is on the link. A way that is in use stays.
    fn accept_neighbour(
        &mut self,
        now: Instant,
        known: Option<PeerId>,
        pass: Pass,
        accepted: &Accepted<'_>,
    ) -> Result<Inbound, DropReason> {
        let id = known.ok_or(DropReason::UnprovenPeer)?;
        let is_told = self.neighbour(now, id) == Some(accepted.from);
        if !is_told || self.peers[id].route(now).is_some() {
            return Err(DropReason::UnprovenPeer);
        }
        self.reached(now, id, accepted.from);
        // Once for each time that a way becomes known, so that it does for both sides.
        if accepted.datagram.ipv6.is_bubble()
            && self.answers.take_for_peer(now, &mut self.peers[id].answers)
        {
            self.peers[id].bubbles.note_transmission(now);
            self.send_bubble(now, accepted.from, accepted.source);
            self.counters.bubbles_sent += 1;
        }
        Ok(self.pass_on(now, pass, accepted))
    }

    /// Rule 6: the source may be forged. The packet is held until an echo reply with our nonce
    /// comes from the same endpoint.
    ///
    /// What strangers send starts one request each and none by itself later, so that they cannot
    /// make us send more than they do.
    fn hold_for_test(
        &mut self,
        now: Instant,
        known: Option<PeerId>,
        accepted: &Accepted<'_>,
    ) -> Result<Inbound, DropReason> {
        let packet = &accepted.datagram.ipv6;
        if packet.is_bubble() || packet.bytes().len() > TRANSMIT_LEN_MAX {
            return Err(DropReason::UnprovenPeer);
        }
        let id = match known {
            Some(id) => id,
            None if !self.admits_stranger(now, *accepted.from.ip()) => {
                return Err(DropReason::RateLimit);
            }
            None => self.add_peer(now, accepted.source, Class::Stranger)?,
        };
        let held = self.peers[id].held.push(&mut self.held, accepted.from, packet.bytes());
        // Also for a packet that finds no room: the last request may have been lost.
        if self.peers[id].probes.may_send(now) {
            self.send_probe(now, id);
        }
        held.map_err(|_| DropReason::QueueFull)?;
        if self.peers[id].search == Search::Idle {
            self.peers.set_deadline(id, Some(now + HOLD));
        }
        Ok(Inbound::Consumed)
    }

    /// Whether one more source that came by itself may have an entry. Who floods uses up the share
    /// of one IPv4 address and not everybody's.
    pub(super) fn admits_newcomer(&mut self, now: Instant, observed: Ipv4Addr) -> bool {
        self.newcomers.take(now, [observed.to_bits().into()]).is_ok()
    }

    /// Whether one more native source may be tested.
    fn admits_stranger(&mut self, now: Instant, observed: Ipv4Addr) -> bool {
        self.admits_newcomer(now, observed) && self.strangers.take(now)
    }

    /// Something proved that `endpoint` leads to the peer: what waited for that goes its way.
    fn reached(&mut self, now: Instant, id: PeerId, endpoint: SocketAddrV4) {
        let address = self.peers.address(id);
        let peer = &mut self.peers[id];
        if peer.route(now) != Some(endpoint) {
            self.events.push_peer(Event::PeerReached(address));
        }
        peer.trust = Trust::Proven(endpoint);
        peer.last_reception = Some(now);
        peer.search = Search::Idle;
        peer.bubbles.reset();
        self.peers.touch(now, id);
        self.peers.set_deadline(id, None);
        self.flush(now, id, endpoint);
        self.release(now, id, endpoint);
    }

    /// Sends what waited for the peer, in order.
    fn flush(&mut self, now: Instant, id: PeerId, to: SocketAddrV4) {
        while let Some(packet) = self.peers[id].waiting.pop(&mut self.queued) {
            let item = Item::Packet { to, packet };
            if let Ok(ticket) = self.outbox.push_kept(&mut self.queued, item) {
                self.peers[id].flushed = ticket;
                self.counters.sent += 1;
            }
            self.peers[id].bubbles.note_transmission(now);
            self.peers.protect(id);
        }
    }

    /// Delivers what was held and came from the endpoint that is now proven.
    fn release(&mut self, now: Instant, id: PeerId, proven: SocketAddrV4) {
        while let Some((from, packet)) = self.peers[id].held.pop(&mut self.held) {
            if from != proven {
                self.counters.count_drop(DropReason::UnprovenPeer);
                continue;
            }
            if let Err(reason) = self.deliver_held(now, packet) {
                self.counters.count_drop(reason);
            }
        }
    }

    /// Delivers a packet that was held, if it may still come in.
    fn deliver_held(&mut self, now: Instant, packet: Box<[u8]>) -> Result<(), DropReason> {
        let (ipv6, _) = Ipv6::parse(&packet)?;
        let pass = self.guard.check(now, &ipv6, &upper_layer(&ipv6)?)?;
        let delivery = Item::Delivery { packet };
        let pushed = self.outbox.push_kept(&mut self.queued, delivery);
        pushed.map_err(|_| DropReason::QueueFull)?;
        self.guard.note_received(now, pass);
        self.counters.delivered += 1;
        Ok(())
    }

    /// Sends a bubble to a peer that talks while we are silent: its entry for us, or that of its
    /// relay, would become invalid, and our NAT would forget it (section 5.2.3: a bubble may answer
    /// any packet).
    fn keep_alive(&mut self, now: Instant, id: PeerId, endpoint: SocketAddrV4) {
        let address = self.peers.address(id);
        let peer = &mut self.peers[id];
        if peer.bubbles.is_silent_for(now, KEEP_ALIVE) && peer.bubbles.take(now) {
            self.send_bubble(now, endpoint, address);
            self.counters.bubbles_sent += 1;
        }
    }

    /// Bubbles end here, all else goes to the stack.
    fn pass_on(&mut self, now: Instant, pass: Pass, accepted: &Accepted<'_>) -> Inbound {
        if accepted.datagram.ipv6.is_bubble() {
            self.counters.bubbles_received += 1;
            Inbound::Consumed
        } else {
            self.guard.note_received(now, pass);
            Inbound::Deliver(accepted.datagram.packet_range())
        }
    }
}

fn is_advertisement(packet: &Ipv6<'_>) -> bool {
    packet.next_header() == next_header::ICMPV6
        && packet.payload().first() == Some(&icmpv6::ROUTER_ADVERTISEMENT)
}

/// How long a packet is held: as long as one test may take.
const HOLD: Duration = Duration::from_secs(8);

/// Silence after which a talking peer gets a bubble: well before [`PEER_VALID`] ends, so that a
/// lost one can be repeated.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(20);
