//! The order in which peers were used, in classes.

use crate::peers::PeerId;

/// Doubly linked lists over the slots of the peer table, least recently used first.
#[derive(Debug, Default)]
pub(crate) struct Recency {
    links: Vec<Link>,
    /// Of each [`Class`].
    ends: [Ends; 4],
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

impl Class {
    const ALL: [Self; 4] = [Self::Stranger, Self::Guest, Self::Sought, Self::Protected];
}

impl Recency {
    /// Bytes for one peer.
    pub(crate) const BYTES_PER_PEER: usize = size_of::<Link>();

    /// Adds a peer, which is in no list, as the one used last.
    pub(crate) fn push(&mut self, id: PeerId, class: Class) {
        if self.links.len() <= id.slot() {
            self.links.resize(id.slot() + 1, Link::default());
        }
        let older = self.ends_mut(class).newest.replace(id);
        self.links[id.slot()] = Link { older, newer: None };
        match older {
            Some(older) => self.links[older.slot()].newer = Some(id),
            None => self.ends_mut(class).oldest = Some(id),
        }
    }

    /// Takes a peer out of the list of its class.
    pub(crate) fn unlink(&mut self, id: PeerId, class: Class) {
        let Link { older, newer } = self.links[id.slot()];
        match older {
            Some(older) => self.links[older.slot()].newer = newer,
            None => self.ends_mut(class).oldest = newer,
        }
        match newer {
            Some(newer) => self.links[newer.slot()].older = older,
            None => self.ends_mut(class).newest = older,
        }
    }

    /// The peer of a class that was used least recently.
    pub(crate) fn oldest(&self, class: Class) -> Option<PeerId> {
        self.ends[class as usize].oldest
    }

    /// All peers, class by class, least recently used first.
    pub(crate) fn ids(&self) -> impl Iterator<Item = PeerId> + '_ {
        Class::ALL.into_iter().flat_map(|class| {
            let next = |id: &PeerId| self.links[id.slot()].newer;
            core::iter::successors(self.oldest(class), next)
        })
    }

    fn ends_mut(&mut self, class: Class) -> &mut Ends {
        &mut self.ends[class as usize]
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    older: Option<PeerId>,
    newer: Option<PeerId>,
}

#[derive(Debug, Default)]
struct Ends {
    oldest: Option<PeerId>,
    newest: Option<PeerId>,
}
