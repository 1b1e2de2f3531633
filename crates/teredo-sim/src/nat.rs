//! A NAT as a value: mapping, filtering, port allocation, lifetime, hairpinning.
//!
//! It decides about endpoints and never sees a packet, so it serves simulated and real ones alike.

mod allocate;
mod config;
mod explicit;
#[cfg(test)]
mod tests;

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::collections::BTreeMap;

use teredo_proto::Instant;
use teredo_proto::random::Seed;

pub use config::{
    Allocation, Filtering, Hairpin, Mapping, ModeChange, NatConfig, Pooling, PortRange, Refusal,
    UnknownKind,
};
pub use explicit::EXPLICIT_MAX;

use allocate::Allocator;
use explicit::ExplicitMappings;

/// A NAT and its mappings.
#[derive(Clone, Debug)]
pub struct Nat {
    config: NatConfig,
    external: Vec<Ipv4Addr>,
    allocator: Allocator,
    mappings: BTreeMap<Slot, MappingState>,
    /// Where the mapping of each key is.
    index: BTreeMap<Key, Slot>,
    explicit: ExplicitMappings,
    /// Whether what [`ModeChange`] waits for has happened.
    has_changed: bool,
    /// When mappings that nobody asks for are looked through again.
    sweep_at: Instant,
}

impl Nat {
    /// A NAT without mappings that owns the `external` addresses; with none it passes nothing.
    pub fn new(config: NatConfig, external: Vec<Ipv4Addr>, seed: Seed) -> Self {
        Self {
            allocator: Allocator::new(&config, seed),
            config,
            external,
            mappings: BTreeMap::new(),
            index: BTreeMap::new(),
            explicit: ExplicitMappings::default(),
            has_changed: false,
            sweep_at: Instant::default(),
        }
    }

    /// What it does.
    pub fn config(&self) -> &NatConfig {
        &self.config
    }

    /// Its external addresses.
    pub fn addresses(&self) -> &[Ipv4Addr] {
        &self.external
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
        let key = Key::new(self.mapping(), internal, remote);
        let slot = match self.live_slot(now, &key) {
            Some(slot) => slot,
            None => self.map(now, internal, remote)?,
        };
        let until = now + self.config.filter_lifetime.unwrap_or(self.config.lifetime);
        let state = self.mappings.get_mut(&slot)?;
        state.expires = now + self.config.lifetime;
        if let Some(admitted) = admitted(self.config.filtering, remote) {
            state.admit(now, admitted, until);
        }
        Some(slot.external)
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
        let slot = self.slot(external, remote);
        let state = self.mappings.get_mut(&slot).filter(|state| state.expires > now)?;
        if let Some(admitted) = admitted(self.config.filtering, remote) {
            let until = state.admitted.get_mut(&admitted).filter(|until| **until > now)?;
            if self.config.inbound_refresh {
                *until = now + self.config.filter_lifetime.unwrap_or(self.config.lifetime);
            }
        }
        if self.config.inbound_refresh {
            state.expires = now + self.config.lifetime;
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

    /// The external destination of a packet from `remote` to `internal` that an ICMP error from
    /// inside is about; `None` when there was none.
    pub fn outbound_error(
        &self,
        now: Instant,
        internal: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Option<SocketAddrV4> {
        let slot = self.live_slot(now, &Key::new(self.mapping(), internal, remote));
        slot.map(|slot| slot.external).or_else(|| self.explicit.external(now, internal))
    }

    /// The internal source of a packet from `external` to `remote` that an ICMP error from outside
    /// is about; `None` when there was none.
    pub fn inbound_error(
        &mut self,
        now: Instant,
        external: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Option<SocketAddrV4> {
        let slot = self.slot(external, remote);
        let internal = match self.explicit.internal(now, external) {
            Some(internal) => internal,
            None => self.mappings.get(&slot).filter(|state| state.expires > now)?.key.internal,
        };
        if self.config.icmp_ends_mapping {
            self.mappings.remove(&slot);
        }
        Some(internal)
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
        self.allocator.reboot();
        self.has_changed = false;
    }

    /// Number of mappings held, live or not yet swept.
    pub fn mapping_count(&self) -> usize {
        self.mappings.len()
    }

    /// Whether an internal endpoint that sends to `remote` has another number outside, and its own
    /// towards nobody.
    pub fn is_displaced(&self, now: Instant, remote: Ipv4Addr) -> bool {
        let live = || self.mappings.iter().filter(|(_, state)| state.expires > now);
        let has_own_number = |internal: SocketAddrV4| {
            live().any(|(slot, state)| {
                state.key.internal == internal && slot.external.port() == internal.port()
            })
        };
        live().any(|(_, MappingState { key, .. })| {
            *key.remote.ip() == remote && !has_own_number(key.internal)
        })
    }

    /// What it goes by now.
    fn mapping(&self) -> Mapping {
        let is_symmetric =
            self.has_changed && self.config.mode_change == ModeChange::SymmetricAfterSharedPort;
        if is_symmetric { Mapping::AddressAndPortDependent } else { self.config.mapping }
    }

    /// Where the mapping is that a packet between the two belongs to.
    fn slot(&self, external: SocketAddrV4, remote: SocketAddrV4) -> Slot {
        let remote = if self.config.overlapping { self.mapping().part(remote) } else { ANY };
        Slot { external, remote }
    }

    fn live_slot(&self, now: Instant, key: &Key) -> Option<Slot> {
        let slot = self.index.get(key)?;
        let state = self.mappings.get(slot)?;
        (state.key == *key && state.expires > now).then_some(*slot)
    }

    fn map(&mut self, now: Instant, internal: SocketAddrV4, remote: SocketAddrV4) -> Option<Slot> {
        self.sweep(now);
        self.note_shared_port(now, internal);
        self.let_others_map(now);
        self.map_one(now, Key::new(self.mapping(), internal, remote))
    }

    fn map_one(&mut self, now: Instant, key: Key) -> Option<Slot> {
        let explicit = self.explicit.external(now, key.internal);
        let external =
            match explicit.filter(|external| self.is_unmapped(now, *external, key.remote)) {
                Some(explicit) => explicit, // the first mapping of its owner
                None => self.pick_external(now, &key)?,
            };
        let slot = self.slot(external, key.remote);
        let expires = now + self.config.lifetime;
        self.mappings.insert(slot, MappingState { key, expires, admitted: BTreeMap::new() });
        self.index.insert(key, slot);
        Some(slot)
    }

    /// A NAT that minds is another one from now on if two hosts inside use one port.
    fn note_shared_port(&mut self, now: Instant, internal: SocketAddrV4) {
        if self.config.mode_change != ModeChange::SymmetricAfterSharedPort || self.has_changed {
            return;
        }
        let is_shared = |state: &MappingState| {
            let owner = state.key.internal;
            state.expires > now && owner.port() == internal.port() && owner.ip() != internal.ip()
        };
        self.has_changed = self.mappings.values().any(is_shared);
    }

    fn is_unmapped(&self, now: Instant, external: SocketAddrV4, remote: SocketAddrV4) -> bool {
        let is_over = |state: &MappingState| state.expires <= now;
        if self.config.overlapping && remote == ANY {
            let (first, last) = (Slot { external, remote: ANY }, Slot { external, remote: LAST });
            return self.mappings.range(first..=last).all(|(_, state)| is_over(state));
        }
        self.mappings.get(&self.slot(external, remote)).is_none_or(is_over)
    }

    /// Drops what expired, once a lifetime: the tables hold at most the mappings of two lifetimes.
    fn sweep(&mut self, now: Instant) {
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now + self.config.lifetime;
        self.mappings.retain(|_, state| state.expires > now);
        let mappings = &self.mappings;
        let holds = |key, slot: &_| mappings.get(slot).is_some_and(|state| state.key == key);
        self.index.retain(|key, slot| holds(*key, slot));
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
        Self { internal, remote: mapping.part(remote) }
    }
}

impl Mapping {
    /// What of a remote it goes by; the rest is 0.
    fn part(self, remote: SocketAddrV4) -> SocketAddrV4 {
        match self {
            Self::EndpointIndependent => ANY,
            Self::AddressDependent => SocketAddrV4::new(*remote.ip(), 0),
            Self::AddressAndPortDependent => remote,
        }
    }
}

/// The place of one mapping: an external endpoint, and if that may be shared, for which remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    external: SocketAddrV4,
    remote: SocketAddrV4,
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

const ANY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
const LAST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, u16::MAX);

/// Remotes that one mapping lets in: more than any host of a test talks to at a time, few enough
/// to stay small under a flood.
const ADMITTED_MAX: usize = 4096;
