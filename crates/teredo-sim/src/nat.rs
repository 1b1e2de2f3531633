//! A NAT as a value: mapping, filtering, port allocation, lifetime, hairpinning.
//!
//! It decides about endpoints and never sees a packet, so it serves simulated and real ones alike.

mod config;
mod explicit;
#[cfg(test)]
mod tests;

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::collections::BTreeMap;

use teredo_proto::Instant;
use teredo_proto::random::{Random, Seed};

pub use config::{Allocation, Filtering, Hairpin, Mapping, NatConfig, Pooling, UnknownKind};
pub use explicit::EXPLICIT_MAX;

use explicit::ExplicitMappings;

/// A NAT and its mappings.
#[derive(Clone, Debug)]
pub struct Nat {
    config: NatConfig,
    external: Vec<Ipv4Addr>,
    random: Random,
    /// The port that sequential allocation gave last.
    last_port: u16,
    /// By external endpoint.
    mappings: BTreeMap<SocketAddrV4, MappingState>,
    /// The external endpoint for each key.
    index: BTreeMap<Key, SocketAddrV4>,
    explicit: ExplicitMappings,
    /// When mappings that nobody asks for are looked through again.
    sweep_at: Instant,
}

impl Nat {
    /// A NAT without mappings that owns the `external` addresses; with none it passes nothing.
    pub fn new(config: NatConfig, external: Vec<Ipv4Addr>, seed: Seed) -> Self {
        let mut random = Random::new(seed);
        let last_port = random_port(&mut random);
        let (mappings, index) = (BTreeMap::new(), BTreeMap::new());
        let sweep_at = Instant::default();
        let explicit = ExplicitMappings::default();
        Self { config, external, random, last_port, mappings, index, explicit, sweep_at }
    }

    /// What it does.
    pub fn config(&self) -> &NatConfig {
        &self.config
    }

    /// The first of its external addresses.
    pub fn first_address(&self) -> Option<Ipv4Addr> {
        self.external.first().copied()
    }

    /// Whether `address` is one of its external ones: packets to it from the inside are for
    /// [`hairpin`](Self::hairpin).
    pub fn owns(&self, address: Ipv4Addr) -> bool {
        self.external.contains(&address)
    }

    /// The source of a packet from `internal` to `remote` once it is outside; `None` when the NAT
    /// has no port left.
    pub fn outbound(
        &mut self,
        now: Instant,
        internal: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Option<SocketAddrV4> {
        if self.config.uses_explicit
            && let Some(external) = self.explicit.external(now, internal)
        {
            return Some(external);
        }
        let key = Key::new(self.config.mapping, internal, remote);
        let external = match self.live_external(now, &key) {
            Some(external) => external,
            None => self.map(now, key)?,
        };
        let expires = now + self.config.lifetime;
        let state = self.mappings.get_mut(&external)?;
        state.expires = expires;
        if let Some(admitted) = admitted(self.config.filtering, remote) {
            state.admit(now, admitted, expires);
        }
        Some(external)
    }

    /// The internal destination of a packet from `remote` to `external`; `None` when it is refused.
    pub fn inbound(
        &mut self,
        now: Instant,
        external: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Option<SocketAddrV4> {
        if let Some(internal) = self.explicit.internal(now, external) {
            return Some(internal);
        }
        let expires = now + self.config.lifetime;
        let state = self.mappings.get_mut(&external).filter(|state| state.expires > now)?;
        if let Some(admitted) = admitted(self.config.filtering, remote) {
            let until = state.admitted.get_mut(&admitted).filter(|until| **until > now)?;
            if self.config.inbound_refresh {
                *until = expires;
            }
        }
        if self.config.inbound_refresh {
            state.expires = expires;
        }
        Some(state.key.internal)
    }

    /// Source and destination of a packet from `internal` to `external`, an endpoint of this NAT,
    /// once it has turned back; `None` when it is refused.
    pub fn hairpin(
        &mut self,
        now: Instant,
        internal: SocketAddrV4,
        external: SocketAddrV4,
    ) -> Option<(SocketAddrV4, SocketAddrV4)> {
        if self.config.hairpin == Hairpin::None {
            return None;
        }
        let mapped = self.outbound(now, internal, external)?;
        let destination = self.inbound(now, external, mapped)?;
        let source = if self.config.hairpin == Hairpin::Internal { internal } else { mapped };
        Some((source, destination))
    }

    /// Does to a payload what a NAT that rewrites payloads does when it changes an address.
    pub fn rewrite(&self, payload: &mut [u8], from: Ipv4Addr, to: Ipv4Addr) {
        if !self.config.rewrites_payload {
            return;
        }
        let mut offset = 0;
        while let Some(word) = payload.get_mut(offset..).and_then(<[u8]>::first_chunk_mut) {
            if *word == from.octets() {
                *word = to.octets();
            }
            offset += 1;
        }
    }

    /// Changes how long mappings live that are made or used from now on.
    pub fn set_lifetime(&mut self, lifetime: Duration) {
        self.config.lifetime = lifetime;
    }

    /// Forgets all mappings.
    pub fn reboot(&mut self) {
        self.mappings.clear();
        self.index.clear();
        self.explicit.clear();
        self.last_port = random_port(&mut self.random);
    }

    /// Number of mappings held, live or not yet swept.
    pub fn mapping_count(&self) -> usize {
        self.mappings.len()
    }

    fn live_external(&self, now: Instant, key: &Key) -> Option<SocketAddrV4> {
        let external = self.index.get(key)?;
        let state = self.mappings.get(external)?;
        (state.key == *key && state.expires > now).then_some(*external)
    }

    fn map(&mut self, now: Instant, key: Key) -> Option<SocketAddrV4> {
        self.sweep(now);
        let explicit = self.explicit.external(now, key.internal);
        let external = match explicit.filter(|external| self.is_unmapped(now, *external)) {
            Some(explicit) => explicit, // the first mapping of its owner
            None => {
                let address = self.pick_address(*key.internal.ip())?;
                let port = self.pick_port(now, address, key.internal.port())?;
                SocketAddrV4::new(address, port)
            }
        };
        let expires = now + self.config.lifetime;
        self.mappings.insert(external, MappingState { key, expires, admitted: BTreeMap::new() });
        self.index.insert(key, external);
        Some(external)
    }

    fn pick_address(&mut self, internal: Ipv4Addr) -> Option<Ipv4Addr> {
        let count = self.external.len();
        let index = match self.config.pooling {
            Pooling::Paired => (internal.to_bits() as usize).checked_rem(count)?,
            Pooling::Arbitrary => self.random.below(count as u64) as usize,
        };
        self.external.get(index).copied()
    }

    fn pick_port(&mut self, now: Instant, address: Ipv4Addr, internal_port: u16) -> Option<u16> {
        let (first, step) = match self.config.allocation {
            Allocation::Preserve if self.is_free(now, address, internal_port) => {
                return Some(internal_port);
            }
            Allocation::Preserve | Allocation::Random => (random_port(&mut self.random), 1),
            Allocation::Sequential { step } => (port_after(self.last_port, step), step),
        };
        let mut port = first;
        for _ in 0..PORT_COUNT {
            if self.is_free(now, address, port) {
                self.last_port = port;
                return Some(port);
            }
            port = port_after(port, step);
        }
        None
    }

    fn is_free(&self, now: Instant, address: Ipv4Addr, port: u16) -> bool {
        let external = SocketAddrV4::new(address, port);
        self.is_unmapped(now, external) && self.explicit.internal(now, external).is_none()
    }

    fn is_unmapped(&self, now: Instant, external: SocketAddrV4) -> bool {
        self.mappings.get(&external).is_none_or(|state| state.expires <= now)
    }

    /// Drops what expired, once a lifetime: the tables hold at most the mappings of two lifetimes.
    fn sweep(&mut self, now: Instant) {
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now + self.config.lifetime;
        self.mappings.retain(|_, state| state.expires > now);
        let mappings = &self.mappings;
        let holds =
            |key, external: &_| mappings.get(external).is_some_and(|state| state.key == key);
        self.index.retain(|key, external| holds(*key, external));
    }
}

/// What a mapping is found by: the remote parts that do not matter are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    internal: SocketAddrV4,
    remote: SocketAddrV4,
}

impl Key {
    fn new(mapping: Mapping, internal: SocketAddrV4, remote: SocketAddrV4) -> Self {
        let remote = match mapping {
            Mapping::EndpointIndependent => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
            Mapping::AddressDependent => SocketAddrV4::new(*remote.ip(), 0),
            Mapping::AddressAndPortDependent => remote,
        };
        Self { internal, remote }
    }
}

#[derive(Clone, Debug)]
struct MappingState {
    key: Key,
    expires: Instant,
    /// Until when which remotes are let in, port 0 for any.
    admitted: BTreeMap<SocketAddrV4, Instant>,
}

impl MappingState {
    fn admit(&mut self, now: Instant, remote: SocketAddrV4, until: Instant) {
        if self.admitted.len() >= ADMITTED_MAX && !self.admitted.contains_key(&remote) {
            self.admitted.retain(|_, until| *until > now);
            if self.admitted.len() >= ADMITTED_MAX {
                self.admitted.pop_first();
            }
        }
        self.admitted.insert(remote, until);
    }
}

/// What of `remote` a filter looks at; `None` when it lets everyone in.
fn admitted(filtering: Filtering, remote: SocketAddrV4) -> Option<SocketAddrV4> {
    match filtering {
        Filtering::EndpointIndependent => None,
        Filtering::AddressDependent => Some(SocketAddrV4::new(*remote.ip(), 0)),
        Filtering::AddressAndPortDependent => Some(remote),
    }
}

fn random_port(random: &mut Random) -> u16 {
    PORT_FIRST + random.below(u64::from(PORT_COUNT)) as u16
}

fn port_after(port: u16, step: u16) -> u16 {
    let offset = u32::from(port.wrapping_sub(PORT_FIRST)) + u32::from(step.max(1));
    PORT_FIRST + (offset % u32::from(PORT_COUNT)) as u16
}

/// External ports are 1024 to 65535 (RFC 4787 section 4.2.2, REQ-3).
const PORT_FIRST: u16 = 1024;
const PORT_COUNT: u16 = u16::MAX - PORT_FIRST + 1;

/// Remotes that one mapping lets in: more than any host of a test talks to at a time, few enough
/// to stay small under a flood.
const ADMITTED_MAX: usize = 4096;
