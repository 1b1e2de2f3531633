//! The relay and the host-specific relay (RFC 4380 section 5.4).
//!
//! `transmission` holds the rules for packets to clients and finds out where they are, `reception`
//! those for what comes from them.

mod admission;
mod config;
mod outbox;
mod overload;
mod peer;
mod proof;
mod reception;
mod transmission;

use core::net::Ipv6Addr;
use std::collections::VecDeque;

use teredo_wire::Ipv6;
use teredo_wire::address::is_teredo;
use teredo_wire::icmpv6::ErrorMessage;

use crate::filter::Ipv4Filter;
use crate::guard::Guard;
use crate::inspect::allows_error;
use crate::limiter::{BucketSketch, Rate, Shares};
use crate::peers::{PeerTable, QueueBudget};
use crate::policy::Policy;
use crate::random::{Key, Seed};
use crate::reason::{Counters, DropReason};
use crate::role::{Arrival, Event, Inbound, Local, Outbound, Reason, Role, Transmit};
use crate::scope;
use crate::time::Instant;

pub use config::{Config, NewPeers, Scope};

use admission::Admission;
use outbox::{Outbox, PendingError};
use overload::Overload;
use peer::{Peer, Reach};
use proof::BubbleProof;

/// A Teredo relay: carries packets between native IPv6 nodes and Teredo clients.
///
/// The host routes packets for 2001::/32 into [`handle_packet`](Role::handle_packet), and forwards
/// what comes out. Doing so it counts down their hop limits, as for any other link: the relay
/// changes no packet.
#[derive(Debug)]
pub struct Relay {
    config: Config,
    /// The configured filter, which also refuses to send to the relay itself.
    filter: Ipv4Filter,
    proof: BubbleProof,
    peers: PeerTable<Peer>,
    /// Of a host-specific relay.
    guard: Guard,
    queued: QueueBudget,
    /// Clients whose packets have waited long enough, in the order in which they were proven.
    flushing: VecDeque<Ipv6Addr>,
    new_peers: Admission,
    overload: Overload,
    /// ICMPv6 errors to the native side, by the /64 that they go to.
    errors: Shares<1>,
    outbox: Outbox,
    events: VecDeque<Event>,
    counters: Counters,
}

impl Relay {
    /// A relay that is ready to serve. `seed` makes its bubbles unforgeable and its table
    /// unforeseeable.
    pub fn new(config: Config, seed: Seed) -> Self {
        Self {
            filter: with_own(&config, config.filter.clone()),
            proof: BubbleProof::new(seed),
            peers: PeerTable::new(config.peers_max, seed),
            guard: Guard::new(config.policy.clone(), seed),
            queued: QueueBudget::new(QUEUED_BYTES_MAX),
            flushing: VecDeque::new(),
            new_peers: Admission::new(&config.new_peers, seed),
            overload: Overload::default(),
            errors: errors(seed),
            outbox: Outbox::default(),
            events: VecDeque::new(),
            counters: Counters::default(),
            config,
        }
    }

    /// Changes whom the relay serves: the addresses of a host come and go.
    pub fn set_scope(&mut self, scope: Scope) {
        self.config.scope = scope;
    }

    /// Takes another filter, because the addresses of this host have changed.
    pub fn set_filter(&mut self, filter: Ipv4Filter) {
        self.filter = with_own(&self.config, filter);
    }

    /// Takes another inbound policy. What was opened from outside under a rule that is gone ends;
    /// connections that this host opened do not.
    pub fn set_policy(&mut self, policy: Policy) {
        self.guard.set_policy(policy);
    }

    /// Number of clients it remembers.
    pub fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// Checks the native source of a packet to a client.
    fn check_native_source(&self, source: Ipv6Addr) -> Result<(), DropReason> {
        if !scope::is_global(source) || is_teredo(source) {
            return Err(DropReason::WrongSource);
        }
        self.check_served(source)
    }

    /// Checks the native destination of a packet from a client.
    fn check_native_destination(&self, destination: Ipv6Addr) -> Result<(), DropReason> {
        if !scope::is_global(destination) {
            return Err(DropReason::NotGlobalScope);
        }
        if is_teredo(destination) {
            return Err(DropReason::WrongDestination);
        }
        self.check_served(destination)
    }

    fn check_served(&self, native: Ipv6Addr) -> Result<(), DropReason> {
        let endpoint = scope::tunnel_endpoint(native);
        if endpoint.is_some_and(|endpoint| self.filter.own.contains(&endpoint)) {
            return Err(DropReason::Loop);
        }
        if !self.config.scope.contains(native) {
            return Err(DropReason::NotServed);
        }
        Ok(())
    }

    /// Tells the source of a packet why it will not arrive, if that is allowed and not too often.
    fn report(&mut self, now: Instant, error: ErrorMessage, offending: &[u8]) {
        let Ok((packet, _)) = Ipv6::parse(offending) else { return };
        let Some(source) = self.config.scope.error_source() else { return };
        let destination = packet.source();
        let link = (destination.to_bits() >> 64) as u64;
        if allows_error(&packet) && self.errors.take(now, [link]).is_ok() {
            let offending = offending.into();
            self.outbox.push_error(PendingError { error, source, destination, offending });
        }
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        }
    }

    /// The next packet of a client that is proven since it was queued.
    fn pop_flushed(&mut self, buffer: &mut [u8]) -> Option<Transmit> {
        while let Some(&client) = self.flushing.front() {
            if let Some(transmit) = self.pop_flushed_to(client, buffer) {
                self.counters.sent += 1;
                return Some(transmit);
            }
            self.flushing.pop_front();
        }
        None
    }

    fn pop_flushed_to(&mut self, client: Ipv6Addr, buffer: &mut [u8]) -> Option<Transmit> {
        let id = self.peers.find(client)?;
        let peer = &mut self.peers[id];
        let Reach::Proven { at: to, .. } = peer.reach else { return None };
        let packet = peer.queue.pop(&mut self.queued)?;
        let len = packet.len();
        buffer.get_mut(..len)?.copy_from_slice(&packet);
        Some(Transmit::Datagram { to, via: Local::Primary, len })
    }
}

impl Role for Relay {
    fn handle_datagram(&mut self, now: Instant, arrival: Arrival, payload: &[u8]) -> Inbound {
        self.receive(now, arrival.from, payload).unwrap_or_else(|reason| {
            self.counters.count_drop(reason);
            Inbound::Dropped(reason)
        })
    }

    fn handle_packet(&mut self, now: Instant, packet: &[u8]) -> Outbound {
        self.transmit(now, packet).unwrap_or_else(|reason| {
            self.counters.count_drop(reason);
            Outbound::Dropped(reason)
        })
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.overload.handle_timeout(now);
        self.seek_further(now);
    }

    fn poll_transmit(&mut self, buffer: &mut [u8]) -> Option<Transmit> {
        self.outbox
            .pop_bubble(buffer)
            .or_else(|| self.pop_flushed(buffer))
            .or_else(|| self.outbox.pop_error(buffer))
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.overload.poll_event().or_else(|| self.events.pop_front())
    }

    fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let peer = self.peers.next_deadline().map(|deadline| (deadline, Reason::Peer));
        let overload = self.overload.deadline().map(|deadline| (deadline, Reason::Overload));
        peer.into_iter().chain(overload).min_by_key(|&(deadline, _)| deadline)
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// A relay never sends to itself, whatever the host says.
fn with_own(config: &Config, mut filter: Ipv4Filter) -> Ipv4Filter {
    filter.own.push(*config.service.ip());
    filter
}

fn errors(seed: Seed) -> Shares<1> {
    let by_link = Key::new(seed, b"errors by link");
    Shares::new([BucketSketch::new(ERRORS_PER_LINK, ERROR_CELLS, by_link)], ERRORS)
}

/// Bytes that wait for all clients together at most: four full packets for each client that is
/// sought when new ones come as fast as they may, so that those of a scan do not leave the others
/// without room.
const QUEUED_BYTES_MAX: usize = 64 << 20;
/// ICMPv6 errors to one /64 (RFC 4443 section 2.4 (f) asks for a limit), and to all: a host that
/// gets many may not keep another from the "packet too big" that its connections wait for.
const ERRORS_PER_LINK: Rate = Rate { per_s: 10, burst: 10 };
const ERRORS: Rate = Rate { per_s: 500, burst: 500 };
/// Cells in each row of that limit, 16 KiB in all: many times the links that use up all errors.
const ERROR_CELLS: usize = 1 << 10;
/// Events that wait to be told at most; a relay with more clients coming and going at once does
/// not tell of each.
const EVENTS_MAX: usize = 1024;
