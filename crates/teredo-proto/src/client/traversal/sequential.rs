//! Sequential port-symmetric NAT (RFC 6081 section 5.5): what the server addresses see of two
//! solicitations tells the port of a bubble between them.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

use teredo_wire::{Datagram, TEREDO_PORT};

use crate::client::outbox::Item;
use crate::client::traversal::RandomPort;
use crate::client::{Client, advertisement};
use crate::peers::PeerId;
use crate::random::Random;
use crate::reason::DropReason;
use crate::role::Local;
use crate::time::Instant;

/// An Echo Test under way: two solicitations around one bubble, all from one random port.
#[derive(Debug)]
pub(super) struct EchoTest {
    /// Which try this is: EchoTestRetryCounter.
    tries: u8,
    /// Whether the port is left closed (`deferred_open`).
    is_deferred: bool,
    /// When its answers are due: the Echo Test Failover Timer.
    pub(super) due_at: Instant,
    /// EchoTestNonce1 and EchoTestNonce2.
    pub(super) nonces: [[u8; 8]; 2],
    /// EchoTestLowerPort and EchoTestUpperPort.
    seen: [Option<SocketAddrV4>; 2],
}

impl EchoTest {
    pub(super) fn new(now: Instant, tries: u8, is_deferred: bool, random: &mut Random) -> Self {
        let due_at = now + Duration::from_secs(u64::from(tries));
        let nonces = [random.bytes(), random.bytes()];
        Self { tries, is_deferred, due_at, nonces, seen: [None; 2] }
    }

    /// The port that the ports seen tell of: the one between them (section 5.5.4.4, E-02), or the
    /// one after them if the port is left closed.
    fn prediction(&self, own: Ipv4Addr) -> Prediction {
        let [Some(lower), Some(upper)] = self.seen else { return Prediction::Pending };
        let distance = upper.port().checked_sub(lower.port());
        let distance_max = if self.is_deferred { DISTANCE_MAX / 2 } else { DISTANCE_MAX };
        let distance = distance.filter(|distance| (1..=distance_max).contains(distance));
        let is_own = [lower, upper].iter().all(|seen| *seen.ip() == own);
        match distance.filter(|_| is_own) {
            None => Prediction::Impossible,
            Some(step) if self.is_deferred => {
                upper.port().checked_add(step).map_or(Prediction::Impossible, Prediction::Port)
            }
            Some(1) => Prediction::Void,
            Some(distance) => Prediction::Port(lower.port() + distance / 2),
        }
    }
}

/// What a test says.
enum Prediction {
    Pending,
    Port(u16),
    /// The bubble got lost on its way to the NAT: there is nothing between the two.
    Void,
    /// The NAT is busy, gives ports at random, or has begun its range anew.
    Impossible,
}

impl Client {
    /// Begins the test of a random port, after so many of them.
    pub(super) fn test_random_port(&mut self, now: Instant, id: PeerId, tries: u8) {
        let RandomPort::Held(number) = self.peers[id].approach.random_port else { return };
        let (Some(secondary), Some(peer)) = (self.secondary(), self.teredo_peer(id)) else {
            return self.do_without_random_port(now, id);
        };
        let is_deferred = self.defers_open(id);
        let tries = tries + 1;
        let test = EchoTest::new(now, tries, is_deferred, &mut self.random);
        let [first, second] = test.nonces;
        if let Some(port) = self.ports.find(number) {
            port.test = Some(test);
        }
        let via = Local::Random(number);
        let port = self.peers[id].approach.peer_random_port.unwrap_or(peer.mapped.port());
        let to = SocketAddrV4::new(*peer.mapped.ip(), port);
        if is_deferred {
            if let Some(port) = self.ports.find(number) {
                port.is_closed = true;
            }
            self.open_way_to_server(now, &peer);
        }
        self.outbox.push(Item::Solicitation { server: self.config.server, via, nonce: first });
        if !is_deferred {
            self.send_direct(now, id, (to, via), None);
        }
        self.outbox.push(Item::Solicitation { server: secondary, via, nonce: second });
    }

    /// Takes a Router Advertisement that arrived on a random port.
    pub(in crate::client) fn take_prediction(
        &mut self,
        now: Instant,
        from: SocketAddrV4,
        number: u16,
        datagram: &Datagram<'_>,
    ) -> Result<(), DropReason> {
        let servers = [Some(self.config.server), self.secondary()];
        let is_from = |server: &Option<Ipv4Addr>| {
            server.is_some_and(|server| from == SocketAddrV4::new(server, TEREDO_PORT))
        };
        let which = servers.iter().position(is_from);
        let own = self.mapped().ok_or(DropReason::NotQualified)?;
        let port = self.ports.find(number);
        let found = port.and_then(|port| Some((port.test.as_mut()?, port.peer)));
        let ((test, peer), which) = found.zip(which).ok_or(DropReason::UnsolicitedAdvertisement)?;
        let answer = advertisement::read(datagram, test.nonces[which], &self.config)?;
        let is_new = test.seen[which].is_none();
        let seen = *test.seen[which].get_or_insert(answer.mapping.mapped);
        let (prediction, is_over) = (test.prediction(*own.ip()), !test.seen.contains(&None));
        if is_new {
            self.note_address(now, seen);
        }
        let Some(id) = self.peers.find(peer) else {
            if is_over {
                self.close_unowned_port(now, number);
            }
            return Ok(());
        };
        match prediction {
            Prediction::Pending => {}
            Prediction::Void => self.random_port_test_failed(now, number),
            Prediction::Impossible => {
                self.learn_addresses(now);
                if !self.ask_peer_mapping(now, id) {
                    self.do_without_random_port(now, id);
                }
            }
            Prediction::Port(predicted) => {
                if let Some(port) = self.ports.find(number) {
                    (port.test, port.prediction) = (None, Some(predicted));
                }
                self.call_prepared(now, id);
            }
        }
        Ok(())
    }

    /// A test had no answers in time: once more, or without (section 5.5.2.2).
    pub(super) fn random_port_test_failed(&mut self, now: Instant, number: u16) {
        let Some(port) = self.ports.find(number) else { return };
        let Some(test) = port.test.take() else { return };
        let Some(id) = self.peers.find(port.peer) else {
            return self.close_unowned_port(now, number);
        };
        if test.tries >= TESTS_MAX {
            self.do_without_random_port(now, id);
        } else if self.config.traversal.deferred_open {
            // What was lost before the NAT makes no mapping the first time, but a late one the
            // second: only a fresh port is mapped in order.
            self.release_random_port(id);
            self.ask_for_random_port(now, id, test.tries);
        } else {
            self.test_random_port(now, id, test.tries);
        }
    }

    /// Goes on without a random port to announce. The one that was tested stays open if the peer
    /// may know us by a bubble from there.
    pub(super) fn do_without_random_port(&mut self, now: Instant, id: PeerId) {
        let approach = &self.peers[id].approach;
        let RandomPort::Held(number) = approach.random_port else { return };
        if approach.random_way.is_none() {
            self.release_random_port(id);
            self.peers[id].approach.random_port = RandomPort::Unusable;
        } else if let Some(port) = self.ports.find(number) {
            port.test = None;
        }
        self.call_prepared(now, id);
    }
}

/// Tests of one port (section 5.5.2.2).
const TESTS_MAX: u8 = 2;
/// The largest distance of the two ports seen that a quiet sequential NAT explains: twice its step,
/// and a few mappings of other hosts.
const DISTANCE_MAX: u16 = 16;
