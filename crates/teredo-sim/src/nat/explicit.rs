//! Mappings that somebody asked for: by PCP, NAT-PMP or UPnP.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::collections::BTreeMap;

use teredo_proto::Instant;

use super::{ANY, Key, Nat, Pooling, Slot};

/// The explicit mappings of a NAT.
#[derive(Clone, Debug, Default)]
pub(super) struct ExplicitMappings {
    /// The internal endpoint and the end, by external endpoint.
    by_external: BTreeMap<SocketAddrV4, (SocketAddrV4, Instant)>,
}

impl ExplicitMappings {
    /// Where a packet to `external` goes, from whomever.
    pub(super) fn internal(&self, now: Instant, external: SocketAddrV4) -> Option<SocketAddrV4> {
        let (internal, expires) = self.by_external.get(&external)?;
        (*expires > now).then_some(*internal)
    }

    /// The external endpoint of an internal one.
    pub(super) fn external(&self, now: Instant, internal: SocketAddrV4) -> Option<SocketAddrV4> {
        let mut mappings = self.by_external.iter();
        let found = mappings.find(|(_, (inside, expires))| *inside == internal && *expires > now);
        found.map(|(external, _)| *external)
    }

    pub(super) fn clear(&mut self) {
        self.by_external.clear();
    }
}

impl Nat {
    /// Maps an external endpoint, open to everyone, to `internal` for `lifetime`: the one that it
    /// has already, else one with `port` if that is free, else another one. None with
    /// [`EXPLICIT_MAX`] of them.
    pub fn map_explicitly(
        &mut self,
        now: Instant,
        internal: SocketAddrV4,
        port: u16,
        lifetime: Duration,
    ) -> Option<SocketAddrV4> {
        let expires = now + lifetime;
        let external = match self.explicit.external(now, internal) {
            Some(external) => external,
            None => {
                let address = self.explicit_address(*internal.ip())?;
                self.explicit.by_external.retain(|_, (_, expires)| *expires > now);
                if self.explicit.by_external.len() >= EXPLICIT_MAX {
                    return None;
                }
                let wanted = SocketAddrV4::new(address, port);
                let key = Key { internal, remote: ANY };
                let slot = Slot { external: wanted, remote: ANY };
                let is_own = self.mappings.get(&slot).is_some_and(|it| it.key.internal == internal);
                if port != 0 && (is_own || self.is_free(now, address, port, &key)) {
                    wanted
                } else {
                    let internal = SocketAddrV4::new(*internal.ip(), port.max(1_024));
                    let key = Key { internal, ..key };
                    SocketAddrV4::new(address, self.pick_port(now, address, &key)?)
                }
            }
        };
        self.explicit.by_external.insert(external, (internal, expires));
        Some(external)
    }

    /// The external address of explicit mappings of an internal one.
    fn explicit_address(&self, internal: Ipv4Addr) -> Option<Ipv4Addr> {
        match self.config.pooling {
            Pooling::Paired => self.paired_address(internal),
            Pooling::Arbitrary => self.first_address(),
        }
    }

    /// Takes back what [`map_explicitly`](Self::map_explicitly) gave.
    pub fn unmap_explicitly(&mut self, internal: SocketAddrV4) {
        self.explicit.by_external.retain(|_, (inside, _)| *inside != internal);
    }

    /// Loses all explicit mappings.
    pub fn forget_explicit(&mut self) {
        self.explicit.clear();
    }

    /// The explicit mapping of an internal endpoint.
    pub fn explicit_mapping(&self, now: Instant, internal: SocketAddrV4) -> Option<SocketAddrV4> {
        self.explicit.external(now, internal)
    }
}

/// More than the hosts behind a NAT ask for.
pub const EXPLICIT_MAX: usize = 256;
