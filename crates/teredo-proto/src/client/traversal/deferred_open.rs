//! Deferred-open prediction (protocol section 6.4, D): a random port is announced before it is
//! used, so that its first packet can go to wherever the peer turns out to be.
//!
//! The Echo Test of RFC 6081 section 5.5 opens the port towards the peer's embedded endpoint, which
//! is of no use if the peer has a random port as well, and that is not known before it has
//! answered. Without the bubble in between, the two solicitations show the step of the NAT and with
//! it the port that comes next. Whoever knows where the peer is, because the peer has called first,
//! does the test as the RFC has it.

use teredo_wire::TeredoAddress;

use crate::client::Client;
use crate::client::outbox::Item;
use crate::client::traversal::RandomPort;
use crate::peers::PeerId;
use crate::role::Local;
use crate::time::Instant;

impl Client {
    /// Whether a test for this peer is to leave its port closed: the peer has told nothing yet.
    pub(super) fn defers_open(&self, id: PeerId) -> bool {
        let approach = &self.peers[id].approach;
        self.config.traversal.deferred_open
            && !approach.is_called
            && approach.peer_random_port.is_none()
    }

    /// Whether the peer's random port is one that was predicted and not used yet.
    pub(super) fn has_closed_port(&mut self, id: PeerId) -> bool {
        let RandomPort::Held(number) = self.peers[id].approach.random_port else { return false };
        self.ports.find(number).is_some_and(|port| port.is_closed)
    }

    /// Direct bubbles of which the one from the predicted port comes first, if the peer has told
    /// enough for it; else none. Any other one may take the predicted port: also one that repeats
    /// what got lost. For the same reason it goes twice.
    pub(super) fn open_closed_port(&mut self, now: Instant, id: PeerId, peer: &TeredoAddress) {
        if !self.defers_open(id) {
            self.send_random_openers(now, id, peer);
            self.send_random_openers(now, id, peer);
            let RandomPort::Held(number) = self.peers[id].approach.random_port else { return };
            if let Some(port) = self.ports.find(number) {
                port.is_closed = false;
            }
            self.send_direct(now, id, (peer.mapped, Local::Primary), None);
            self.send_alternate_openers(now, id, 3);
        }
    }

    /// Makes sure that the indirect bubble to come takes no port from the NAT: the predicted one.
    /// Twice, because a loss would go unnoticed.
    pub(super) fn open_way_to_server(&mut self, now: Instant, peer: &TeredoAddress) {
        self.need_helper(now); // it is asked with the bubble at the latest, and by another mapping
        if peer.server == self.config.server {
            return;
        }
        for _ in 0..2 {
            let nonce = self.random.bytes();
            self.outbox.push(Item::ThrowAway { server: peer.server, nonce });
        }
    }
}
