//! The peer list that clients and relays share (RFC 4380 section 5.2.4).
//!
//! One entry per peer IPv6 address, found through a hash that only this process can compute. The
//! list is a cache with a hard limit: when it is full, peers that nobody here asked for go first,
//! and neither a trusted peer in use nor one that is being sought is lost to a flood of strangers.

mod budget;
mod evicted;
mod queue;

use core::net::Ipv6Addr;
use core::ops::{Index, IndexMut};
use core::time::Duration;
use std::collections::BTreeSet;

use hashbrown::HashTable;

pub(crate) use budget::{ATTEMPT_GAP, AnswerLimiter, AnswerLimits, BubbleBudget};
pub(crate) use evicted::EvictedBudgets;
pub(crate) use queue::{PacketQueue, QueueBudget, QueueFull};

use crate::random::{Key, Seed};
use crate::recency::{INDEX_BYTES_PER_SLOT, Recency};
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
    recency: Recency<4>,
    deadlines: BTreeSet<(Instant, PeerId)>,
    peers_max: usize,
}

/// Which list a peer is in: who asked for it, and whether more is known than its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// It came by itself. Goes first when room is needed.
    Stranger,
    /// It came by itself, and our side has answered: perhaps the kernel to anybody's ping.
    Guest,
    /// Our side asked for it, and nothing is proven about it.
    Sought,
    /// Our side asked for it, and it was reached.
    Protected,
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

/// All peers are worth more than the one to be added.
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

    /// Bytes that a table of `peers_max` takes at most, without what each `P` allocates.
    pub(crate) const fn memory_max(peers_max: usize) -> usize {
        let of_lists = Recency::<4>::BYTES_PER_SLOT + INDEX_BYTES_PER_SLOT + DEADLINE_BYTES;
        let of_one = size_of::<Slot<P>>() + of_lists;
        of_one * peers_max
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

    /// The list that a peer is in.
    pub(crate) fn class(&self, id: PeerId) -> Class {
        self.slots[id.slot()].class
    }

    /// Adds a peer whose address is not in the table yet, as a [`Class::Stranger`] or
    /// [`Class::Sought`].
    ///
    /// In a full table it takes the place of another one: see [`FOR_STRANGERS`] and [`FOR_OURS`].
    ///
    /// # Errors
    /// [`TableFull`] when there is none of these.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        address: Ipv6Addr,
        class: Class,
        value: P,
    ) -> Result<Inserted<P>, TableFull> {
        let order = if class == Class::Stranger { FOR_STRANGERS } else { FOR_OURS };
        let evicted =
            if self.len() < self.peers_max { None } else { Some(self.evict(now, order)?) };
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

    /// Makes a peer outlast floods: it is trusted, and our side talks to it.
    ///
    /// Trust alone is not enough, since a stranger earns that with one packet. Nor does an answer
    /// make a stranger as good as a peer that our side asked for.
    pub(crate) fn protect(&mut self, id: PeerId) {
        self.reclassify(id, |class| match class {
            Class::Stranger | Class::Guest => Class::Guest,
            Class::Sought | Class::Protected => Class::Protected,
        });
    }

    /// Makes a peer one of those that go first: nothing is proven about it any more.
    pub(crate) fn expose(&mut self, id: PeerId) {
        self.reclassify(id, |class| match class {
            Class::Stranger | Class::Guest => Class::Stranger,
            Class::Sought | Class::Protected => Class::Sought,
        });
    }

    /// Makes a peer one that our side asked for, whether or not it came by itself before.
    pub(crate) fn adopt(&mut self, id: PeerId) {
        self.reclassify(id, |class| match class {
            Class::Stranger | Class::Sought => Class::Sought,
            Class::Guest | Class::Protected => Class::Protected,
        });
    }

    /// All peers, class by class, the one unused for longest first.
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

    fn evict(&mut self, now: Instant, order: &[Dispensable]) -> Result<(Ipv6Addr, P), TableFull> {
        let idle = |id: PeerId| now.since(self.slots[id.slot()].used_at);
        let victim = order
            .iter()
            .find_map(|&(class, unused)| {
                let oldest = self.recency.oldest(class as usize).map(PeerId);
                oldest.filter(|&id| idle(id) >= unused)
            })
            .ok_or(TableFull)?;
        let address = self.address(victim);
        Ok((address, self.remove(victim)))
    }

    fn reclassify(&mut self, id: PeerId, change: impl FnOnce(Class) -> Class) {
        let slot = &mut self.slots[id.slot()];
        let (old, class) = (slot.class, change(slot.class));
        slot.class = class;
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

fn hash(key: &Key, address: Ipv6Addr) -> u64 {
    key.place(&address.octets())
}

/// Bytes of one deadline in a B-tree whose nodes are half full at worst.
const DEADLINE_BYTES: usize = 2 * size_of::<(Instant, PeerId)>() + 8;

/// The peers of this class that were not used for this long, the oldest first.
type Dispensable = (Class, Duration);

/// Who goes for a stranger: nobody that our side wants, unless it is idle.
const FOR_STRANGERS: &[Dispensable] = &[
    (Class::Protected, FORGET_AFTER),
    (Class::Stranger, Duration::ZERO),
    (Class::Guest, PEER_VALID),
    (Class::Sought, PEER_VALID),
    (Class::Protected, PEER_VALID),
];

/// Who goes for a peer that our side asks for. Guests do so even in use: a flood of strangers that
/// the kernel answers may not keep us from whom we want.
const FOR_OURS: &[Dispensable] = &[
    (Class::Protected, FORGET_AFTER),
    (Class::Stranger, Duration::ZERO),
    (Class::Guest, PEER_VALID),
    (Class::Sought, PEER_VALID),
    (Class::Guest, Duration::ZERO),
    (Class::Sought, Duration::ZERO),
    (Class::Protected, PEER_VALID),
];

/// A protected peer unused for this long is worth no more than a stranger: the window of its bubble
/// limit is over (RFC 4380 section 5.2.6), and so is the life of its NAT mappings.
const FORGET_AFTER: Duration = Duration::from_secs(300);

/// How exact the order of use is: exact enough against a flood, and one list operation a second.
const RECENCY_GRAIN: Duration = Duration::from_secs(1);

/// No table is larger, whatever it is configured to: a peer's slot has a 32-bit number.
const PEERS_LIMIT: usize = 1 << 24;

#[cfg(test)]
mod tests;
