//! Hairpinning (RFC 6081 section 5.6): peers behind the same NAT, which does not turn packets back,
//! tell each other where else they are.

use core::net::SocketAddrV4;

use teredo_wire::trailer::{self, ALTERNATE_ADDRESS, Alternates, Trailer};

use crate::client::Client;
use crate::client::reception::Accepted;
use crate::peers::PeerId;
use crate::role::Local;
use crate::time::Instant;

impl Client {
    /// The endpoints an indirect bubble names beside the embedded one: the local one, and the one
    /// that a gateway keeps for us, if that is not the embedded one (section 5.6.4.1); then that of
    /// the helper, and as many addresses of a pool as there is room for.
    pub(super) fn own_alternates(&mut self, now: Instant, id: PeerId) -> Vec<SocketAddrV4> {
        if !self.config.traversal.hairpin {
            return Vec::new();
        }
        let helper = self.helper_to_name(now, id);
        let local = self.config.local_address;
        let local = local.map(|address| SocketAddrV4::new(address, self.config.service_port));
        let named = local.into_iter().chain(self.alternate_mapping()).chain(helper);
        let mut named: Vec<_> = named.filter(|endpoint| !is_impossible(endpoint)).collect();
        named.extend(self.pool_alternates(id, Alternates::MAX - named.len()));
        named
    }

    /// Stores what other endpoints the peer names, in place of those it named before. They may be
    /// private ones, but not such as nobody has; nor the embedded one, which a NAT that rewrites
    /// payloads makes of the local one.
    pub(super) fn learn_alternates(&mut self, id: PeerId, accepted: &Accepted<'_>) {
        let Some(alternates) = accepted.trailers.alternates else { return };
        if !self.config.traversal.hairpin {
            return;
        }
        let embedded = self.teredo_peer(id).map(|peer| peer.mapped);
        let usable = alternates.endpoints().take(Alternates::MAX);
        let usable: Box<[_]> = usable
            .filter(|&endpoint| self.may_try_alternate(endpoint) && Some(endpoint) != embedded)
            .collect();
        if self.names_pool(id, &usable) {
            self.peers[id].approach.called_at = None; // it is to try again, at once
        }
        self.peers[id].approach.alternates = usable;
    }

    /// Direct bubbles to those endpoints, as far as they fit, beside so many others, into what one
    /// bubble may lead to.
    pub(super) fn send_alternate_openers(&mut self, now: Instant, id: PeerId, others: usize) {
        let count = self.peers[id].approach.alternates.len().min(OPENERS_MAX - others);
        for index in 0..count {
            let Some(&to) = self.peers[id].approach.alternates.get(index) else { break };
            self.send_direct(now, id, (to, Local::Primary), None);
        }
    }

    fn may_try_alternate(&self, endpoint: SocketAddrV4) -> bool {
        let address = endpoint.ip();
        let is_directed_broadcast = self.config.filter.is_broadcast(*address);
        let is_own = self.config.local_address == Some(*address)
            || self.config.filter.own.contains(address)
            || self.mapped() == Some(endpoint);
        !is_impossible(&endpoint) && !is_directed_broadcast && !is_own
    }
}

/// Whether nobody can be there: a gateway may name such an endpoint, too.
fn is_impossible(endpoint: &SocketAddrV4) -> bool {
    let address = endpoint.ip();
    endpoint.port() == 0
        || address.octets()[0] == 0
        || address.is_loopback()
        || address.is_multicast()
        || address.is_broadcast()
}

/// Whether an Alternate Address Trailer has a length that none can have.
pub(super) fn has_bad_alternates(accepted: &Accepted<'_>) -> bool {
    trailer::iter(accepted.datagram.trailer_bytes)
        .any(|found| matches!(found, Ok(Trailer::Ignored { kind: ALTERNATE_ADDRESS, .. })))
}

/// Direct bubbles that one indirect bubble leads to at most, so that with one indirect bubble of
/// ours they are six.
const OPENERS_MAX: usize = 5;
