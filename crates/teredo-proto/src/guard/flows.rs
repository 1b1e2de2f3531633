//! The flows that this side opened: bounded, found by one keyed look-up, forgotten when idle.

use core::net::Ipv6Addr;
use core::time::Duration;

use hashbrown::HashTable;

use crate::guard::tcp::Connection;
use crate::random::{Key, Seed};
use crate::recency::{INDEX_BYTES_PER_SLOT, Recency};
use crate::time::Instant;

/// A conversation of one of our addresses with one other node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) own: Ipv6Addr,
    pub(super) remote: Ipv6Addr,
    pub(super) protocol: u8,
    /// Both ports, ours first; for echo, the identifier and 0; for other protocols, nothing.
    pub(super) ports: [u16; 2],
}

/// All flows, in three lists by how far they are.
///
/// Only a packet of our own side makes an entry, so nobody outside can fill the table. When it is
/// full, a new flow takes the place of the tentative one unused for longest, else of an answered
/// one unused for [`ANSWERED_MIN`], else it is refused: a scan from inside displaces itself, and
/// never an established flow.
#[derive(Debug)]
pub(super) struct FlowTable {
    hash_key: Key,
    index: HashTable<FlowId>,
    slots: Vec<Slot>,
    vacant: Vec<FlowId>,
    /// A list has one idle time for all, so that its oldest entry is also the first to expire.
    recency: Recency<3>,
    /// The flow used last: the packets of a batch are mostly of one.
    last: Option<FlowId>,
    flows_max: usize,
}

/// Names an entry for as long as no flow is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowId(u32);

/// How far a flow is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not answered yet; a TCP connection that opens, or is over.
    Tentative,
    /// Answered, but not TCP.
    Answered,
    /// An established TCP connection.
    Established,
}

/// There is no room, and no entry that may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableFull;

impl FlowTable {
    /// A table for at most `flows_max` flows (1 at least).
    pub(super) fn new(flows_max: usize, seed: Seed) -> Self {
        Self {
            hash_key: Key::new(seed, b"flows"),
            index: HashTable::new(),
            slots: Vec::new(),
            vacant: Vec::new(),
            recency: Recency::default(),
            last: None,
            flows_max: flows_max.max(1),
        }
    }

    /// Bytes that a table of `flows_max` takes at most.
    pub(super) const fn memory_max(flows_max: usize) -> usize {
        let of_lists = Recency::<3>::BYTES_PER_SLOT + INDEX_BYTES_PER_SLOT;
        (size_of::<Slot>() + of_lists) * flows_max
    }

    /// Number of flows, with those that have expired and are still to be swept up.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// The entry of a flow that has not expired.
    pub(super) fn find(&self, now: Instant, flow: &Flow) -> Option<FlowId> {
        self.find_any(flow).filter(|&id| !self.is_expired(now, id))
    }

    /// The entry of a flow; a new and tentative one if there was none.
    ///
    /// # Errors
    /// [`TableFull`].
    pub(super) fn open(&mut self, now: Instant, flow: Flow) -> Result<FlowId, TableFull> {
        if let Some(id) = self.find_any(&flow) {
            if self.is_expired(now, id) {
                self.slots[id.slot()].connection = Connection::default();
                self.set_stage(now, id, Stage::Tentative);
            }
            return Ok(id);
        }
        self.sweep(now);
        if self.len() >= self.flows_max {
            self.evict(now)?;
        }
        let stage = Stage::Tentative;
        let slot = Slot { flow, stage, used_at: now, connection: Connection::default() };
        let id = self.place(slot)?;
        let (slots, key) = (&self.slots, &self.hash_key);
        let rehash = |&id: &FlowId| hash(key, &slots[id.slot()].flow);
        self.index.insert_unique(hash(key, &flow), id, rehash);
        self.recency.push(id.0, stage as usize);
        Ok(id)
    }

    /// What is known of a flow's connection, if it is one of TCP.
    pub(super) fn connection(&self, id: FlowId) -> &Connection {
        &self.slots[id.slot()].connection
    }

    /// The same, to be changed.
    pub(super) fn connection_mut(&mut self, id: FlowId) -> &mut Connection {
        &mut self.slots[id.slot()].connection
    }

    /// How far a flow is.
    pub(super) fn stage(&self, id: FlowId) -> Stage {
        self.slots[id.slot()].stage
    }

    /// Notes that a flow was used, and how far it is now. The order is one of seconds, so that a
    /// busy flow does not rewrite its neighbours' links with every packet.
    pub(super) fn note_use(&mut self, now: Instant, id: FlowId, stage: Stage) {
        self.last = Some(id);
        let slot = &self.slots[id.slot()];
        if slot.stage != stage || now.since(slot.used_at) >= RECENCY_GRAIN {
            self.set_stage(now, id, stage);
        }
    }

    fn set_stage(&mut self, now: Instant, id: FlowId, stage: Stage) {
        let slot = &mut self.slots[id.slot()];
        slot.used_at = now;
        let old = core::mem::replace(&mut slot.stage, stage);
        self.recency.unlink(id.0, old as usize);
        self.recency.push(id.0, stage as usize);
    }

    fn find_any(&self, flow: &Flow) -> Option<FlowId> {
        let is_same = |id: &FlowId| self.slots[id.slot()].flow == *flow;
        self.last
            .filter(is_same)
            .or_else(|| self.index.find(hash(&self.hash_key, flow), is_same).copied())
    }

    fn is_expired(&self, now: Instant, id: FlowId) -> bool {
        let slot = &self.slots[id.slot()];
        now.since(slot.used_at) >= slot.stage.idle_max() + RECENCY_GRAIN
    }

    /// Forgets a few flows that have expired: more than are opened, so that they go in the end.
    fn sweep(&mut self, now: Instant) {
        for stage in [Stage::Tentative, Stage::Answered, Stage::Established] {
            for _ in 0..SWEPT_AT_ONCE {
                match self.oldest(stage).filter(|&id| self.is_expired(now, id)) {
                    Some(id) => self.remove(id),
                    None => break,
                }
            }
        }
    }

    fn evict(&mut self, now: Instant) -> Result<(), TableFull> {
        let idle = |id: FlowId| now.since(self.slots[id.slot()].used_at);
        let tentative = self.oldest(Stage::Tentative);
        let answered = || self.oldest(Stage::Answered).filter(|&id| idle(id) >= ANSWERED_MIN);
        let victim = tentative.or_else(answered).ok_or(TableFull)?;
        self.remove(victim);
        Ok(())
    }

    fn oldest(&self, stage: Stage) -> Option<FlowId> {
        self.recency.oldest(stage as usize).map(FlowId)
    }

    fn remove(&mut self, id: FlowId) {
        self.last = None;
        let Slot { flow, stage, .. } = self.slots[id.slot()];
        self.recency.unlink(id.0, stage as usize);
        let hash = hash(&self.hash_key, &flow);
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == id) {
            entry.remove();
            self.vacant.push(id);
        }
    }

    fn place(&mut self, slot: Slot) -> Result<FlowId, TableFull> {
        if let Some(id) = self.vacant.pop() {
            self.slots[id.slot()] = slot;
            return Ok(id);
        }
        let id = FlowId(u32::try_from(self.slots.len()).map_err(|_| TableFull)?);
        self.slots.push(slot);
        Ok(id)
    }
}

impl Stage {
    fn idle_max(self) -> Duration {
        match self {
            Self::Tentative | Self::Answered => IDLE_MAX,
            Self::Established => ESTABLISHED_IDLE_MAX,
        }
    }
}

impl FlowId {
    fn slot(self) -> usize {
        self.0 as usize
    }
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    flow: Flow,
    stage: Stage,
    used_at: Instant,
    connection: Connection,
}

fn hash(key: &Key, flow: &Flow) -> u64 {
    let mut bytes = [0; 37];
    bytes[..16].copy_from_slice(&flow.own.octets());
    bytes[16..32].copy_from_slice(&flow.remote.octets());
    bytes[32] = flow.protocol;
    bytes[33..35].copy_from_slice(&flow.ports[0].to_be_bytes());
    bytes[35..].copy_from_slice(&flow.ports[1].to_be_bytes());
    key.place(&bytes)
}

/// Idle time of all flows but established connections: the default of RFC 6092 section 3.2.3 for
/// UDP, and more than the 4 minutes that section 3.3.1 asks for where TCP opens or closes.
pub(super) const IDLE_MAX: Duration = Duration::from_mins(5);
/// Idle time of established connections (RFC 6092 section 3.3.1, RFC 5382 section 5): two keep-
/// alives of a stack with the default of RFC 9293, with time to spare.
pub(super) const ESTABLISHED_IDLE_MAX: Duration = Duration::from_mins(2 * 60 + 4);
/// No answered flow goes before it has been idle for this long (RFC 6092 section 3.2.3).
pub(super) const ANSWERED_MIN: Duration = Duration::from_mins(2);

/// How exact the order of use is; idle times are that much longer.
pub(super) const RECENCY_GRAIN: Duration = Duration::from_secs(1);

/// Expired flows of each stage that are forgotten when one is opened.
const SWEPT_AT_ONCE: usize = 2;
