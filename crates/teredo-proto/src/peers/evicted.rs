//! The bubbles that went to peers which had to go from a full list.

use core::net::Ipv6Addr;

use crate::peers::{BubbleBudget, Class, PeerTable};
use crate::random::Seed;
use crate::time::Instant;

/// The budgets of peers that had to go and were called within the window, so that no entry made
/// anew begins a new count (RFC 4380 section 5.2.6).
///
/// Those that went last are kept. To refuse new peers instead, while others count, would let
/// strangers lock us out: they can have us send them bubbles.
#[derive(Debug)]
pub(crate) struct EvictedBudgets(PeerTable<BubbleBudget>);

impl EvictedBudgets {
    /// Bytes that they take at most.
    pub(crate) const MEMORY_MAX: usize = PeerTable::<BubbleBudget>::memory_max(BUDGETS_MAX);

    /// None yet.
    pub(crate) fn new(seed: Seed) -> Self {
        Self(PeerTable::new(BUDGETS_MAX, seed))
    }

    /// Remembers the budget of a peer that has just gone, unless a new one says the same.
    pub(crate) fn keep(&mut self, now: Instant, peer: Ipv6Addr, budget: BubbleBudget) {
        if budget.forgotten_at() > now {
            let kept = self.0.insert(now, peer, Class::Stranger, budget);
            debug_assert!(kept.is_ok(), "a stranger displaces a stranger");
        }
    }

    /// The budget of a peer that is added (again).
    pub(crate) fn take(&mut self, peer: Ipv6Addr) -> BubbleBudget {
        self.0.find(peer).map(|id| self.0.remove(id)).unwrap_or_default()
    }
}

/// As many as a host that seeks fourteen peers a second in vain has within the window.
const BUDGETS_MAX: usize = 4096;
