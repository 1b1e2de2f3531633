//! The random ports in use: further sockets, each for one peer (RFC 6081 section 5.4.1).

use core::net::{Ipv6Addr, SocketAddrV4};
use core::time::Duration;
use std::collections::VecDeque;

use crate::client::traversal::RandomPort;
use crate::client::traversal::peer_mapping::PeerMapping;
use crate::client::traversal::sequential::EchoTest;
use crate::role::RANDOM_PORTS_MAX;
use crate::time::Instant;

/// All random ports, in the order in which they were asked for.
#[derive(Debug, Default)]
pub(in crate::client) struct RandomPorts {
    uses: Vec<PortUse>,
    last_number: u16,
    /// The local ports of the last ones, to which the NAT may still have mappings.
    used: VecDeque<u16>,
    /// Room for one more is kept for what probing may find.
    pub(super) is_one_reserved: bool,
    /// When they are looked through again: the Peer Refresh Timer of all peers.
    pub(super) refresh_at: Instant,
}

/// One random port.
#[derive(Debug)]
pub(super) struct PortUse {
    pub(super) number: u16,
    /// Whom it is for; unspecified for nobody, to learn by it (`address_pool`).
    pub(super) peer: Ipv6Addr,
    /// Whether its socket is there.
    pub(super) is_bound: bool,
    /// The number that the socket has got.
    pub(super) local_port: u16,
    /// Tests of other ports for the same peer before.
    pub(super) tries: u8,
    /// The external port that the NAT is expected to give it.
    pub(super) prediction: Option<u16>,
    /// Whether it is predicted and its first packet has yet to go out (`deferred_open`).
    pub(super) is_closed: bool,
    /// What is being done to find that out.
    pub(super) test: Option<EchoTest>,
    /// What the gateway was asked.
    pub(super) mapping: Option<PeerMapping>,
}

impl PortUse {
    fn new(number: u16, peer: Ipv6Addr) -> Self {
        Self {
            number,
            peer,
            is_bound: false,
            local_port: 0,
            tries: 0,
            prediction: None,
            is_closed: false,
            test: None,
            mapping: None,
        }
    }
}

impl RandomPorts {
    /// Takes a number for a port more; `None` when there are as many as may be.
    pub(super) fn insert(&mut self, now: Instant, peer: Ipv6Addr) -> Option<u16> {
        if self.is_full() {
            return None;
        }
        let number = self.draw_number();
        self.push(now, PortUse::new(number, peer));
        Some(number)
    }

    /// Takes in a port that was opened for probing, for which room was kept.
    pub(super) fn adopt(&mut self, now: Instant, number: u16, peer: Ipv6Addr) {
        self.push(now, PortUse { is_bound: true, ..PortUse::new(number, peer) });
    }

    fn push(&mut self, now: Instant, port: PortUse) {
        if self.refresh_at <= now {
            self.refresh_at = now + REFRESH_TIMER;
        }
        self.uses.push(port);
    }

    pub(super) fn is_full(&self) -> bool {
        self.uses.len() + usize::from(self.is_one_reserved) >= RANDOM_PORTS_MAX
    }

    /// The peer that a port is there for.
    pub(super) fn owner(&self, number: u16) -> Option<Ipv6Addr> {
        self.uses.iter().find(|port| port.number == number).map(|port| port.peer)
    }

    /// A number for a socket more, which no random port has.
    pub(in crate::client) fn draw_number(&mut self) -> u16 {
        loop {
            self.last_number = self.last_number.wrapping_add(1);
            if self.owner(self.last_number).is_none() {
                return self.last_number;
            }
        }
    }

    /// Notes a local port that a socket has got; `false` if an earlier one had it, but only once,
    /// so that a host without others is not asked for ever.
    pub(super) fn note_local_port(&mut self, local_port: u16) -> bool {
        if let Some(position) = self.used.iter().position(|&used| used == local_port) {
            self.used.remove(position);
            return false;
        }
        if self.used.len() >= USED_MAX {
            self.used.pop_front();
        }
        self.used.push_back(local_port);
        true
    }

    /// Removes a port; says which one it was.
    pub(super) fn remove(&mut self, peer: Ipv6Addr) -> Option<PortUse> {
        let position = self.uses.iter().position(|port| port.peer == peer)?;
        Some(self.uses.remove(position))
    }

    /// Whether there is one that is for no peer.
    pub(super) fn has_unowned(&self) -> bool {
        self.uses.iter().any(|port| port.peer.is_unspecified())
    }

    /// Removes the port with this number; `false` if there is none.
    pub(super) fn remove_number(&mut self, number: u16) -> bool {
        let position = self.uses.iter().position(|port| port.number == number);
        position.map(|position| self.uses.remove(position)).is_some()
    }

    pub(super) fn find(&mut self, number: u16) -> Option<&mut PortUse> {
        self.uses.iter_mut().find(|port| port.number == number)
    }

    /// The port whose flow the gateway was asked about.
    pub(super) fn find_flow(&mut self, local: u16, remote: SocketAddrV4) -> Option<&mut PortUse> {
        let is_asked = |port: &PortUse| port.mapping.is_some_and(|it| it.remote == remote);
        self.uses.iter_mut().find(|port| port.local_port == local && is_asked(port))
    }

    /// What is predicted of a peer's port, if it has one.
    pub(super) fn prediction(&self, port: RandomPort) -> Option<u16> {
        let RandomPort::Held(number) = port else { return None };
        self.uses.iter().find(|port| port.number == number)?.prediction
    }

    /// All ports: the peer, the number.
    pub(super) fn list(&self) -> Vec<(Ipv6Addr, u16)> {
        self.uses.iter().map(|port| (port.peer, port.number)).collect()
    }

    /// The first port whose test has had its time.
    pub(super) fn overdue_test(&self, now: Instant) -> Option<u16> {
        let is_overdue =
            |port: &&PortUse| port.test.as_ref().is_some_and(|test| test.due_at <= now);
        self.uses.iter().find(is_overdue).map(|port| port.number)
    }

    /// The first port about which the gateway has not answered in time.
    pub(super) fn overdue_mapping(&self, now: Instant) -> Option<u16> {
        let is_overdue =
            |port: &&PortUse| port.mapping_due_at().is_some_and(|due_at| due_at <= now);
        self.uses.iter().find(is_overdue).map(|port| port.number)
    }

    /// When something is to be done about any of them.
    pub(in crate::client) fn next_deadline(&self) -> Option<Instant> {
        let tests = self.uses.iter().filter_map(|port| Some(port.test.as_ref()?.due_at));
        let refresh = self.uses.first().map(|_| self.refresh_at);
        let mappings = self.uses.iter().filter_map(PortUse::mapping_due_at);
        tests.chain(mappings).chain(refresh).min()
    }
}

impl PortUse {
    /// Whether it may be announced, or done without.
    pub(super) fn is_ready(&self) -> bool {
        self.is_bound && self.test.is_none() && self.mapping_due_at().is_none()
    }

    /// Until when the gateway's answer is waited for.
    fn mapping_due_at(&self) -> Option<Instant> {
        self.mapping.and_then(|mapping| mapping.due_at)
    }
}

/// The Peer Refresh Timer (section 5.4.2.1).
pub(super) const REFRESH_TIMER: Duration = Duration::from_secs(30);
/// Local ports remembered: four times as many as there are at a time.
const USED_MAX: usize = 4 * RANDOM_PORTS_MAX;
