//! The order in which the entries of a table were used, in several lists.

/// `N` doubly linked lists over the slots of a table, least recently used first.
///
/// A slot is in one list at a time, and which one is the caller's to remember. Nothing here depends
/// on the number of slots but [`slots`](Self::slots).
#[derive(Debug)]
pub(crate) struct Recency<const N: usize> {
    links: Vec<Link>,
    lists: [Ends; N],
}

impl<const N: usize> Default for Recency<N> {
    fn default() -> Self {
        Self { links: Vec::new(), lists: [Ends::default(); N] }
    }
}

impl<const N: usize> Recency<N> {
    /// Bytes for one slot.
    pub(crate) const BYTES_PER_SLOT: usize = size_of::<Link>();

    /// Adds a slot, which is in no list, as the one used last.
    pub(crate) fn push(&mut self, slot: u32, list: usize) {
        if self.links.len() <= index(slot) {
            self.links.resize(index(slot) + 1, Link::default());
        }
        let older = self.lists[list].newest.replace(slot);
        self.links[index(slot)] = Link { older, newer: None };
        match older {
            Some(older) => self.links[index(older)].newer = Some(slot),
            None => self.lists[list].oldest = Some(slot),
        }
    }

    /// Takes a slot out of the list it is in.
    pub(crate) fn unlink(&mut self, slot: u32, list: usize) {
        let Link { older, newer } = self.links[index(slot)];
        match older {
            Some(older) => self.links[index(older)].newer = newer,
            None => self.lists[list].oldest = newer,
        }
        match newer {
            Some(newer) => self.links[index(newer)].older = older,
            None => self.lists[list].newest = older,
        }
    }

    /// The slot of a list that was used least recently.
    pub(crate) fn oldest(&self, list: usize) -> Option<u32> {
        self.lists[list].oldest
    }

    /// All slots, list by list, least recently used first.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.lists.iter().flat_map(|list| {
            core::iter::successors(list.oldest, |&slot| self.links[index(slot)].newer)
        })
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    older: Option<u32>,
    newer: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    oldest: Option<u32>,
    newest: Option<u32>,
}

fn index(slot: u32) -> usize {
    slot as usize
}

/// Bytes that finding and reusing one slot takes at most: its number and a control byte in a hash
/// table, twice because that grows by doubling, and half as much again while it does; one place in
/// the list of vacant slots.
pub(crate) const INDEX_BYTES_PER_SLOT: usize = 3 * (size_of::<u32>() + 1) + size_of::<u32>();
