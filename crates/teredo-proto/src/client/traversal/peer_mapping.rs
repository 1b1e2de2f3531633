//! PEER mappings (RFC 6887 section 12): where the NAT gives ports in no order that can be
//! predicted, its gateway may say beforehand which one a flow gets.
//!
//! A gateway that grants MAP is better, and is not asked. One that has refused MAP, but answered,
//! may grant PEER: it costs it no more than the mapping that the flow makes anyhow.

use core::net::SocketAddrV4;
use core::time::Duration;

use crate::client::Client;
use crate::client::traversal::RandomPort;
use crate::peers::PeerId;
use crate::portmap::{Event as Mapping, Failure};
use crate::role::Event;
use crate::time::Instant;

/// A question under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerMapping {
    pub(super) remote: SocketAddrV4,
    /// Until when the answer is waited for, if it has not come.
    pub(super) due_at: Option<Instant>,
}

impl Client {
    /// Takes what a port mapper tells of flows to peers, and what that says of the gateway.
    pub(in crate::client) fn take_peer_mapping(&mut self, now: Instant, event: &Mapping) {
        match *event {
            Mapping::Mapped(_) | Mapping::Unmapped(Failure::NoAnswer) => self.maps_peers = false,
            Mapping::Unmapped(_) => self.maps_peers = true,
            Mapping::PeerMapped { internal_port, remote, external } => {
                self.peer_mapping_answered(now, (internal_port, remote), Some(external));
            }
            Mapping::PeerUnmapped { internal_port, remote, .. } => {
                self.peer_mapping_answered(now, (internal_port, remote), None);
            }
            Mapping::GatewayRestarted => {}
        }
    }

    /// Asks the gateway which port a flow from the peer's random port will get; `false` if there is
    /// no use in that.
    pub(super) fn ask_peer_mapping(&mut self, now: Instant, id: PeerId) -> bool {
        let (RandomPort::Held(number), Some(peer)) =
            (self.peers[id].approach.random_port, self.teredo_peer(id))
        else {
            return false;
        };
        let to = self.peers[id].approach.peer_random_port.unwrap_or(peer.mapped.port());
        let remote = SocketAddrV4::new(*peer.mapped.ip(), to);
        let is_wanted = self.config.traversal.peer_mapping && self.maps_peers;
        let Some(port) = self.ports.find(number).filter(|_| is_wanted) else { return false };
        port.test = None;
        port.mapping = Some(PeerMapping { remote, due_at: Some(now + ANSWER_DUE) });
        let local_port = port.local_port;
        self.events.push(Event::MapPeer { local_port, remote });
        true
    }

    fn peer_mapping_answered(
        &mut self,
        now: Instant,
        (local_port, remote): (u16, SocketAddrV4),
        external: Option<SocketAddrV4>,
    ) {
        let own = self.mapped().map(|mapped| *mapped.ip());
        let Some(port) = self.ports.find_flow(local_port, remote) else { return };
        let Some(mapping) = port.mapping.as_mut().filter(|it| it.due_at.is_some()) else { return };
        mapping.due_at = None;
        let Some(id) = self.peers.find(port.peer) else { return };
        // The peer will look at the embedded address.
        let external = external.filter(|external| Some(*external.ip()) == own);
        let Some(external) = external else { return self.do_without_random_port(now, id) };
        port.prediction = Some(external.port());
        if let Some(peer) = self.teredo_peer(id) {
            self.send_random_openers(now, id, &peer);
        }
        self.call_prepared(now, id);
    }

    /// Goes on without an answer.
    pub(super) fn peer_mapping_failed(&mut self, now: Instant, number: u16) {
        let Some(port) = self.ports.find(number) else { return };
        let Some(mapping) = &mut port.mapping else { return };
        mapping.due_at = None;
        if let Some(id) = self.peers.find(port.peer) {
            self.do_without_random_port(now, id);
        }
    }
}

/// A gateway is a millisecond away; one that has lost the question is not waited for.
const ANSWER_DUE: Duration = Duration::from_secs(1);
