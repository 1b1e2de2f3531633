//! An explicit mapping of the service port: one that the gateway was asked for (RFC 6081 section
//! 5.3; PCP, NAT-PMP and UPnP alike).
//!
//! The address keeps embedding what the server sees. Where that is the explicit mapping, as with a
//! single NAT that uses it for outbound packets too, the client is as good as behind a cone;
//! otherwise the mapping is one more address to reach it at.

use core::net::SocketAddrV4;

use crate::client::qualification::is_symmetric;
use crate::client::{Client, Phase};
use crate::portmap;
use crate::role::{NatKind, OfflineReason};
use crate::time::Instant;

/// What the gateway granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Explicit {
    external: SocketAddrV4,
    /// Whether the server has been asked since then what it sees.
    is_compared: bool,
}

impl Client {
    /// Takes what a port mapper tells.
    pub fn take_port_mapping(&mut self, now: Instant, event: &portmap::Event) {
        self.take_peer_mapping(now, event);
        match *event {
            portmap::Event::Mapped(external) => self.set_explicit_mapping(now, Some(external)),
            portmap::Event::Unmapped(_) => self.set_explicit_mapping(now, None),
            portmap::Event::GatewayRestarted => self.verify(now),
            portmap::Event::PeerMapped { .. } | portmap::Event::PeerUnmapped { .. } => {}
        }
    }

    /// The gateway leads `external` to the service port from now on, by whatever protocol; `None`:
    /// nothing any more. A running client finds out what that changes for the server.
    pub fn set_explicit_mapping(&mut self, now: Instant, external: Option<SocketAddrV4>) {
        // What the gateway maps is of no use to somebody who is behind a helper.
        let external = external.filter(|_| !self.is_helped_throughout());
        if external == self.explicit_mapping() {
            return;
        }
        let had_one = self.explicit.is_some();
        self.explicit = external.map(|external| Explicit { external, is_compared: false });
        match self.phase {
            // Such a mapping is what a symmetric NAT lacks.
            Phase::Offline { reason: OfflineReason::SymmetricNat, .. } => self.requalify(now),
            Phase::Qualified(ref service) => {
                // An answer that is on its way may tell of the mapping from before.
                let is_in_doubt = is_symmetric(self.nat_kind)
                    || self.nat_kind == NatKind::Unknown
                    || service.is_refreshing();
                if self.is_comparison_wanted() || had_one || is_in_doubt {
                    self.verify(now);
                }
            }
            Phase::Offline { .. }
            | Phase::Primary(_)
            | Phase::Secondary { .. }
            | Phase::Dormant => {}
        }
    }

    /// The explicit mapping, if there is one (RFC 6081: UPnP-Enabled).
    pub fn explicit_mapping(&self) -> Option<SocketAddrV4> {
        self.explicit.map(|explicit| explicit.external)
    }

    /// The explicit mapping where the address does not embed it already (RFC 6081: UPnP-mapped
    /// address and port, zeroed behind a single NAT).
    pub fn alternate_mapping(&self) -> Option<SocketAddrV4> {
        self.explicit_mapping().filter(|external| self.mapped() != Some(*external))
    }

    /// Finds out about the NAT, now that there is an address: whether the mapping that came in the
    /// meantime changes what the primary server address sees, or else what the secondary one sees.
    pub(super) fn examine(&mut self, now: Instant) {
        if self.is_comparison_wanted() {
            self.verify(now);
        } else {
            self.compare(now);
        }
    }

    /// Whether what the server saw may have been a mapping from before the explicit one.
    fn is_comparison_wanted(&mut self) -> bool {
        let mapped = self.mapped();
        let Some(explicit) = &mut self.explicit else { return false };
        let was_compared = core::mem::replace(&mut explicit.is_compared, true);
        !was_compared && mapped != Some(explicit.external)
    }
}
