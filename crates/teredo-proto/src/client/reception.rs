//! What may come in (RFC 4380 section 5.2.3). Rule numbers are those of the RFC.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use core::time::Duration;

use teredo_wire::address::{is_link_local, is_teredo};
use teredo_wire::icmpv6::{self, Icmpv6};
use teredo_wire::ipv6::{Ipv6, next_header};
use teredo_wire::trailer::{NeighborDiscovery, Trailers};
use teredo_wire::{Datagram, TeredoAddress};

use crate::client::echo::Proof;
use crate::client::outbox::Item;
use crate::client::peer::{Path, Search, Trust};
use crate::client::{Client, Phase};
use crate::guard::Pass;
use crate::inspect::{Upper, is_neighbor_discovery, upper_layer};
use crate::peers::{AnswerLimiter, Class, PEER_VALID, PeerId};
use crate::reason::DropReason;
use crate::role::{Arrival, Event, Inbound, Local, TRANSMIT_LEN_MAX};
use crate::scope;
use crate::time::Instant;

/// A datagram that passed the checks that do not depend on its sender's standing.
pub(super) struct Accepted<'a> {
    pub(super) from: SocketAddrV4,
    pub(super) on: Local,
    pub(super) datagram: Datagram<'a>,
    pub(super) trailers: Trailers<'a>,
    pub(super) source: Ipv6Addr,
    upper: Upper<'a>,
}

impl Accepted<'_> {
    pub(super) fn is_bubble(&self) -> bool {
        self.datagram.ipv6.is_bubble()
    }

    /// Whether it is a bubble that neither asks for us nor answers when asked.
    pub(super) fn is_plain_bubble(&self) -> bool {
        self.is_bubble() && self.trailers.neighbor_discovery.is_none()
    }

    /// Whether it is a bubble that answers when asked.
    pub(super) fn is_advertisement(&self) -> bool {
        let kind = self.trailers.neighbor_discovery;
        self.is_bubble() && kind == Some(NeighborDiscovery::Advertisement)
    }

    /// The way that it came.
    pub(super) fn path(&self) -> Path {
        Path { heard_at: self.from, to: self.from, via: self.on }
    }
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
        let trailers = datagram.trailers().map_err(|_| DropReason::RefusedTrailer)?;
        if on == Local::Discovery {
            self.take_discovery_bubble(now, from, &datagram)?; // rule 4
            return Ok(Inbound::Consumed);
        }
        if self.interval.is_on(on) {
            return self.take_on_secondary_port(now, from, &datagram);
        }
        if is_advertisement(&datagram.ipv6) {
            match on {
                Local::Random(port) => self.take_prediction(now, from, port, &datagram)?,
                Local::Helper => return Err(DropReason::UnsolicitedAdvertisement),
                Local::Primary | Local::Secondary | Local::Discovery => {
                    self.take_advertisement(now, from, &datagram)?;
                }
            }
            return Ok(Inbound::Consumed);
        }
        let accepted = self.check_packet(arrival, datagram, trailers)?;
        let is_from_server = from == self.config.server_endpoint() && on == Local::Primary;
        let inbound = if is_from_server && accepted.is_bubble() {
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
        let is_own = (self.mapped() == Some(from) && !self.is_helped_throughout())
            || (port == self.config.service_port
                && (self.config.local_address == Some(*address)
                    || self.config.filter.own.contains(address)));
        if is_own { Err(DropReason::OwnEndpoint) } else { Ok(()) }
    }

    /// The checks that do not depend on who sent the packet.
    fn check_packet<'a>(
        &self,
        Arrival { from, on }: Arrival,
        datagram: Datagram<'a>,
        trailers: Trailers<'a>,
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
        if let Local::Random(number) = on
            && self.owner_of_port(number) != Some(source)
        {
            return Err(DropReason::UnprovenPeer); // closed, or there for somebody else
        }
        if datagram.authentication.is_some() {
            return Err(DropReason::UnexpectedEncapsulation);
        }
        let upper = upper_layer(packet)?;
        if upper.icmpv6_kind().is_some_and(is_neighbor_discovery) {
            return Err(DropReason::NeighborDiscovery);
        }
        Ok(Accepted { from, on, datagram, trailers, source, upper })
    }

    /// A bubble that came through the own server: somebody wants to reach us. It proves nothing
    /// about them, but is to be answered directly.
    fn take_indirect_bubble(
        &mut self,
        now: Instant,
        accepted: &Accepted<'_>,
    ) -> Result<Inbound, DropReason> {
        match TeredoAddress::parse(accepted.source) {
            Some(peer) => self.answer_peer(now, accepted, &peer)?,
            None => self.answer_relay(now, accepted)?,
        }
        self.counters.bubbles_received += 1;
        Ok(Inbound::Consumed)
    }

    fn answer_peer(
        &mut self,
        now: Instant,
        accepted: &Accepted<'_>,
        peer: &TeredoAddress,
    ) -> Result<(), DropReason> {
        let address = accepted.source;
        self.check_teredo_peer(peer)?;
        self.check_alternates(accepted)?;
        let id = self.admit_answer(now, address)?;
        self.learn_from_indirect(now, id, accepted);
        self.peers[id].bubbles.note_transmission(now);
        self.counters.bubbles_sent += 1;
        if self.peers[id].route(now).is_none() {
            self.approach_neighbour(now, id);
        }
        self.approach_in_answer(now, id);
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
        self.send_bubble(now, (origin, Local::Primary), accepted.source, Default::default());
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
        if let Some(id) = known {
            self.note_hit(id, accepted);
        }
        if let Some(id) = known
            && let Some(path) = self.peers[id].proven_path()
            && path.is_of(accepted.from, accepted.on)
        {
            return Ok(self.accept_from_proven(now, id, path, pass, accepted)); // rule 1
        }
        if let Some(id) = known.filter(|&id| self.is_other_way(now, id, accepted)) {
            return Ok(self.accept_other_way(now, id, pass, accepted));
        }
        match TeredoAddress::parse(accepted.source) {
            Some(peer) if peer.mapped == accepted.from => {
                self.accept_embedded(now, known, pass, accepted) // rule 3
            }
            Some(_) if self.is_neighbour(now, known, accepted.from) => {
                self.accept_neighbour(now, known, pass, accepted) // rule 5
            }
            Some(_) => self.accept_by_nonce(now, known, pass, accepted), // rule 5a
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
        let path = id.and_then(|id| self.peers[id].proven_path());
        path.is_some_and(|path| path.heard_at == from)
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
                self.reached(now, id, Path::to(accepted.from));
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
        path: Path,
        pass: Pass,
        accepted: &Accepted<'_>,
    ) -> Inbound {
        self.peers.touch(now, id);
        self.confirm_service_port(id, accepted);
        let (old, path) = (path, self.path_after(id, path, accepted));
        let peer = &mut self.peers[id];
        peer.approach.is_answered |= !accepted.is_bubble();
        peer.approach.is_in_question &= accepted.is_plain_bubble();
        let is_settled = peer.is_settled() && peer.is_heard_within(now, PEER_VALID);
        if is_settled && old == path && !accepted.is_bubble() {
            peer.last_reception = Some(now);
            peer.bubbles.reset();
        } else {
            self.reached(now, id, path);
            if !accepted.is_bubble() {
                self.settle(now, id, path); // it sends packets, so it takes ours
            }
        }
        if accepted.is_bubble() && self.answer_solicitation(now, id, accepted) {
            return self.pass_on(now, pass, accepted);
        }
        self.keep_alive(now, id);
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
        let id = self.admit_source(now, known, accepted)?;
        self.adopt(now, id, accepted);
        Ok(self.pass_on(now, pass, accepted))
    }

    /// Rule 5a (RFC 6081 section 5.2.4.4): whoever knows the nonce of our last indirect bubble has
    /// got it through the peer's server. Only bubbles can show that.
    fn accept_by_nonce(
        &mut self,
        now: Instant,
        known: Option<PeerId>,
        pass: Pass,
        accepted: &Accepted<'_>,
    ) -> Result<Inbound, DropReason> {
        let id = known.ok_or(DropReason::UnprovenPeer)?;
        if !accepted.is_bubble() {
            return self.hold_for_bubble(now, id, accepted);
        }
        self.note_symmetric_peer(id, accepted);
        let knows_nonce = self.shows_nonce(now, id, accepted)?;
        if !knows_nonce && self.take_opener(id, accepted) {
            return Ok(Inbound::Consumed);
        }
        let is_taken =
            knows_nonce && (self.adopt(now, id, accepted) || self.note_other_way(id, accepted));
        if !is_taken {
            return Err(DropReason::UnprovenPeer);
        }
        Ok(self.pass_on(now, pass, accepted))
    }

    /// A packet that came a way that was proven as well as the one in use.
    fn accept_other_way(
        &mut self,
        now: Instant,
        id: PeerId,
        pass: Pass,
        accepted: &Accepted<'_>,
    ) -> Inbound {
        if !self.adopt(now, id, accepted)
            && let Some(path) = self.peers[id].proven_path()
        {
            self.peers.touch(now, id);
            let peer = &mut self.peers[id];
            peer.last_reception = Some(now);
            peer.bubbles.reset();
            if !accepted.is_bubble() && !peer.is_settled() {
                self.settle(now, id, path);
            }
            if accepted.is_bubble() {
                self.answer_solicitation(now, id, accepted);
            }
        }
        self.pass_on(now, pass, accepted)
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
        if self.peers[id].route(now).is_some() {
            return Err(DropReason::UnprovenPeer);
        }
        let path = Path::to(accepted.from);
        self.reached(now, id, path);
        self.settle(now, id, path);
        // Once for each time that a way becomes known, so that it does for both sides.
        if accepted.is_bubble() && self.answers.take_for_peer(now, &mut self.peers[id].answers) {
            self.send_direct(now, id, (path.to, path.via), None);
            self.counters.bubbles_sent += 1;
        }
        Ok(self.pass_on(now, pass, accepted))
    }

    /// Takes the way a packet came as the way to its peer, unless another one is in use; `false`
    /// then.
    ///
    /// The peer of a bubble may be waiting for something direct from us, and our answer to its
    /// indirect bubble may get lost (RFC 4380 section 5.2.3: a bubble may answer any packet).
    fn adopt(&mut self, now: Instant, id: PeerId, accepted: &Accepted<'_>) -> bool {
        if !self.may_adopt(now, id, accepted) {
            return false;
        }
        if self.shows_one_way_only(now, id, accepted) {
            if !self.take_one_way(now, id, accepted) {
                return false;
            }
        } else {
            self.peers[id].approach.is_in_question = false;
        }
        self.peers[id].approach.is_answered |= !accepted.is_bubble();
        let path = self.directed(id, accepted.path());
        let asks = accepted.trailers.neighbor_discovery.is_some();
        if accepted.is_bubble() && !asks && self.peers[id].route(now) != Some(path) {
            self.confirm(now, id, path);
        }
        self.reached(now, id, path);
        if accepted.is_bubble() {
            self.answer_solicitation(now, id, accepted);
        }
        true
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
        let id = self.admit_source(now, known, accepted)?;
        // Also for a packet that finds no room: the last request may have been lost.
        if self.peers[id].probes.may_send(now) {
            self.send_probe(now, id);
        }
        self.hold(now, id, accepted)
    }

    /// A peer that was called lately may be at this endpoint, but has shown us a nonce that we have
    /// replaced since: its packets wait for the bubble with the new one, which is behind them.
    fn hold_for_bubble(
        &mut self,
        now: Instant,
        id: PeerId,
        accepted: &Accepted<'_>,
    ) -> Result<Inbound, DropReason> {
        let peer = &self.peers[id];
        let is_expected = peer.route(now).is_none() && peer.approach.is_called_within(now, HOLD);
        if !is_expected || accepted.datagram.ipv6.bytes().len() > TRANSMIT_LEN_MAX {
            return Err(DropReason::UnprovenPeer);
        }
        self.hold(now, id, accepted)
    }

    /// Keeps a packet until the way that it came is proven, or for [`HOLD`].
    fn hold(
        &mut self,
        now: Instant,
        id: PeerId,
        accepted: &Accepted<'_>,
    ) -> Result<Inbound, DropReason> {
        let (way, packet) = ((accepted.from, accepted.on), accepted.datagram.ipv6.bytes());
        let held = self.peers[id].held.push(&mut self.held, way, packet);
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

    /// The entry of a source that may have come by itself. A native one is tested, of which there
    /// may be fewer.
    fn admit_source(
        &mut self,
        now: Instant,
        known: Option<PeerId>,
        accepted: &Accepted<'_>,
    ) -> Result<PeerId, DropReason> {
        if let Some(id) = known {
            return Ok(id);
        }
        let is_admitted = self.admits_newcomer(now, *accepted.from.ip())
            && (is_teredo(accepted.source) || self.strangers.take(now));
        if !is_admitted {
            return Err(DropReason::RateLimit);
        }
        self.add_peer(now, accepted.source, Class::Stranger)
    }

    /// Something proved a way to the peer: what waited for that goes it.
    pub(super) fn reached(&mut self, now: Instant, id: PeerId, path: Path) {
        let address = self.peers.address(id);
        let peer = &mut self.peers[id];
        if peer.route(now) != Some(path) {
            self.events.push_peer(Event::PeerReached(address));
        }
        peer.trust = Trust::Proven(path);
        peer.last_reception = Some(now);
        peer.bubbles.reset();
        self.peers.touch(now, id);
        self.note_way(now, id, path);
        self.note_helped(id, path);
        match path.via {
            Local::Primary => self.leave_random_port(id),
            Local::Helper => self.release_random_port(id),
            Local::Random(number) => self.end_port_test(number),
            Local::Secondary | Local::Discovery => {}
        }
        if self.introduce(now, id, path) {
            self.settle(now, id, path);
        }
        self.release(now, id, path);
    }

    /// Ends a search: both sides know the way.
    pub(super) fn settle(&mut self, now: Instant, id: PeerId, path: Path) {
        self.peers[id].search = Search::Idle;
        self.peers.set_deadline(id, None);
        self.flush(now, id, path);
    }

    /// Sends what waited for the peer, in order.
    fn flush(&mut self, now: Instant, id: PeerId, Path { to, via, .. }: Path) {
        while let Some(packet) = self.peers[id].waiting.pop(&mut self.queued) {
            let item = Item::Packet { to, via, packet };
            if let Ok(ticket) = self.outbox.push_kept(&mut self.queued, item) {
                self.peers[id].flushed = ticket;
                self.counters.sent += 1;
            }
            self.peers[id].bubbles.note_transmission(now);
            self.peers[id].approach.data_sent_at = Some(now);
            self.peers.protect(id);
        }
    }

    /// Delivers what was held and came the way that is now proven.
    fn release(&mut self, now: Instant, id: PeerId, proven: Path) {
        while let Some(((from, on), packet)) = self.peers[id].held.pop(&mut self.held) {
            if !proven.is_of(from, on) {
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
    fn keep_alive(&mut self, now: Instant, id: PeerId) {
        let peer = &mut self.peers[id];
        let Some(path) = peer.route(now) else { return };
        if peer.bubbles.is_silent_for(now, KEEP_ALIVE) && peer.bubbles.take(now) {
            self.send_direct(now, id, (path.to, path.via), None);
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

pub(super) fn is_advertisement(packet: &Ipv6<'_>) -> bool {
    packet.next_header() == next_header::ICMPV6
        && packet.payload().first() == Some(&icmpv6::ROUTER_ADVERTISEMENT)
}

/// How long a packet is held: as long as one test may take.
const HOLD: Duration = Duration::from_secs(8);

/// Silence after which a talking peer gets a bubble: well before [`PEER_VALID`] ends, so that a
/// lost one can be repeated.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(20);
