//! The peer list that clients and relays share (RFC 4380 section 5.2.4).
//!
//! One entry per peer IPv6 address, found through a hash that only this process can compute. The
//! list is a cache with a hard limit: when it is full, peers that nobody here asked for go first,
//! and a trusted peer in use is never lost to a flood of strangers.

mod budget;
mod queue;

use core::net::Ipv6Addr;
use core::ops::{Index, IndexMut};
use core::time::Duration;
use std::collections::BTreeSet;

use hashbrown::HashTable;

pub(crate) use budget::{ATTEMPT_GAP, AnswerLimiter, AnswerLimits, BubbleBudget};
pub(crate) use queue::{PacketQueue, QueueBudget, QueueFull};

use crate::random::{Key, Seed};
use crate::recency::Recency;
use crate::time::Instant;

/// How long a reception keeps a peer's entry valid (RFC 4380 section 5.2.4; 5.4.1 for relays).
pub(crate) const PEER_VALID: Duration = Duration::from_secs(30);

/// Peers by IPv6 address, each with a `P`, a place in the order of use and perhaps a deadline.
///
/// Looking up and touching a peer neither allocates nor depends on the number of peers.
#[derive(Debug)]
pub(crate) struct PeerTable<P> {
    hash_key: Key,
    index: HashTable<PeerId>,
    slots: Vec<Slot<P>>,
    vacant: Vec<PeerId>,
    recency: Recency<2>,
    deadlines: BTreeSet<(Instant, PeerId)>,
    peers_max: usize,
}

/// Names an entry for as long as no peer is inserted or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerId(u32);

/// A new entry, and the one that had to go for it.
#[derive(Debug)]
pub(crate) struct Inserted<P> {
    pub(crate) id: PeerId,
    pub(crate) evicted: Option<(Ipv6Addr, P)>,
}

/// All peers are protected and in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableFull;

impl<P: Default> PeerTable<P> {
    /// A table for at most `peers_max` peers (1 at least).
    pub(crate) fn new(peers_max: usize, seed: Seed) -> Self {
        Self {
            hash_key: Key::new(seed, b"peers"),
            index: HashTable::new(),
            slots: Vec::new(),
            vacant: Vec::new(),
            recency: Recency::default(),
            deadlines: BTreeSet::new(),
            peers_max: peers_max.clamp(1, PEERS_LIMIT),
        }
    }

    /// Number of peers.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// The peer of this address.
    pub(crate) fn find(&self, address: Ipv6Addr) -> Option<PeerId> {
        let hash = hash(&self.hash_key, address);
        self.index.find(hash, |&id| self.slots[id.slot()].address == address).copied()
    }

    /// The address of a peer.
    pub(crate) fn address(&self, id: PeerId) -> Ipv6Addr {
        self.slots[id.slot()].address
    }

    /// Adds a peer, exposed, whose address is not in the table yet.
    ///
    /// In a full table it takes the place of, in this order: a protected peer unused for
    /// [`FORGET_AFTER`], the exposed peer unused for longest, a protected peer unused for
    /// [`PEER_VALID`].
    ///
    /// # Errors
    /// [`TableFull`] when there is none of these.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        address: Ipv6Addr,
        value: P,
    ) -> Result<Inserted<P>, TableFull> {
        let evicted = if self.len() < self.peers_max { None } else { Some(self.evict(now)?) };
        let class = Class::Exposed;
        let slot = Slot { address, class, used_at: now, deadline: None, value };
        let id = self.place(slot)?;
        let (slots, key) = (&self.slots, &self.hash_key);
        let rehash = |&id: &PeerId| hash(key, slots[id.slot()].address);
        self.index.insert_unique(hash(key, address), id, rehash);
        self.recency.push(id.0, class as usize);
        Ok(Inserted { id, evicted })
    }

    /// Removes a peer.
    pub(crate) fn remove(&mut self, id: PeerId) -> P {
        self.set_deadline(id, None);
        self.recency.unlink(id.0, self.slots[id.slot()].class as usize);
        let hash = hash(&self.hash_key, self.address(id));
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == id) {
            entry.remove();
            self.vacant.push(id);
        }
        core::mem::take(&mut self.slots[id.slot()].value)
    }

    /// Notes that a peer was used. The order is one of seconds, so that a busy peer does not
    /// rewrite its neighbours' links with every packet.
    pub(crate) fn touch(&mut self, now: Instant, id: PeerId) {
        let slot = &mut self.slots[id.slot()];
        if now.since(slot.used_at) < RECENCY_GRAIN {
            return;
        }
        slot.used_at = now;
        let class = slot.class;
        self.recency.unlink(id.0, class as usize);
        self.recency.push(id.0, class as usize);
    }

    /// Makes a peer outlast floods: it is trusted, and our side wants it.
    ///
    /// Trust alone is not enough, since a stranger earns that with one packet.
    pub(crate) fn protect(&mut self, id: PeerId) {
        self.reclassify(id, Class::Protected);
    }

    /// Makes a peer one of those that go first: nothing is proven about it any more.
    pub(crate) fn expose(&mut self, id: PeerId) {
        self.reclassify(id, Class::Exposed);
    }

    /// All peers, the one unused for longest first, exposed ones before protected ones.
    pub(crate) fn ids(&self) -> Vec<PeerId> {
        self.recency.slots().map(PeerId).collect()
    }

    /// Sets or clears when something is to be done about a peer.
    pub(crate) fn set_deadline(&mut self, id: PeerId, deadline: Option<Instant>) {
        let old = core::mem::replace(&mut self.slots[id.slot()].deadline, deadline);
        if old == deadline {
            return;
        }
        if let Some(old) = old {
            self.deadlines.remove(&(old, id));
        }
        if let Some(new) = deadline {
            self.deadlines.insert((new, id));
        }
    }

    /// The earliest deadline of all peers.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// The peer whose deadline is the earliest of those that have come; it is cleared.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<PeerId> {
        let &(deadline, id) = self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.set_deadline(id, None);
        Some(id)
    }

    fn evict(&mut self, now: Instant) -> Result<(Ipv6Addr, P), TableFull> {
        let idle = |id: PeerId| now.since(self.slots[id.slot()].used_at);
        let oldest = |class| self.recency.oldest(class as usize).map(PeerId);
        let protected = oldest(Class::Protected);
        let victim = protected
            .filter(|&id| idle(id) >= FORGET_AFTER)
            .or_else(|| oldest(Class::Exposed))
            .or_else(|| protected.filter(|&id| idle(id) >= PEER_VALID))
            .ok_or(TableFull)?;
        let address = self.address(victim);
        Ok((address, self.remove(victim)))
    }

    fn reclassify(&mut self, id: PeerId, class: Class) {
        let old = core::mem::replace(&mut self.slots[id.slot()].class, class);
        if old != class {
            self.recency.unlink(id.0, old as usize);
            self.recency.push(id.0, class as usize);
        }
    }

    fn place(&mut self, slot: Slot<P>) -> Result<PeerId, TableFull> {
        if let Some(id) = self.vacant.pop() {
            self.slots[id.slot()] = slot;
            return Ok(id);
        }
        let id = PeerId(u32::try_from(self.slots.len()).map_err(|_| TableFull)?);
        self.slots.push(slot);
        Ok(id)
    }
}

impl<P> Index<PeerId> for PeerTable<P> {
    type Output = P;

    fn index(&self, id: PeerId) -> &P {
        &self.slots[id.slot()].value
    }
}

impl<P> IndexMut<PeerId> for PeerTable<P> {
    fn index_mut(&mut self, id: PeerId) -> &mut P {
        &mut self.slots[id.slot()].value
    }
}

impl PeerId {
    fn slot(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
struct Slot<P> {
    address: Ipv6Addr,
    class: Class,
    used_at: Instant,
    deadline: Option<Instant>,
    value: P,
}

/// Which list of [`Recency`] a peer is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Goes first when room is needed.
    Exposed,
    /// Outlasts a flood of exposed ones.
    Protected,
}

fn hash(key: &Key, address: Ipv6Addr) -> u64 {
    key.hash(&address.octets()) as u64
}

/// A protected peer unused for this long is worth no more than a stranger: the window of its bubble
/// limit is over (RFC 4380 section 5.2.6), and so is the life of its NAT mappings.
const FORGET_AFTER: Duration = Duration::from_secs(300);

/// How exact the order of use is: exact enough against a flood, and one list operation a second.
const RECENCY_GRAIN: Duration = Duration::from_secs(1);

/// No table is larger, whatever it is configured to: a peer's slot has a 32-bit number.
const PEERS_LIMIT: usize = 1 << 24;

#[cfg(test)]
mod tests;
