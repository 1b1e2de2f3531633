//! The order in which peers were used, in two classes.

use crate::peers::PeerId;

/// Two doubly linked lists over the slots of the peer table, least recently used first.
#[derive(Debug, Default)]
pub(crate) struct Recency {
    links: Vec<Link>,
    exposed: Ends,
    protected: Ends,
}

/// Which list a peer is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Goes first when room is needed.
    Exposed,
    /// Outlasts a flood of exposed ones.
    Protected,
}

impl Recency {
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
        match class {
            Class::Exposed => self.exposed.oldest,
            Class::Protected => self.protected.oldest,
        }
    }

    /// All peers, least recently used first, exposed ones before protected ones.
    pub(crate) fn ids(&self) -> impl Iterator<Item = PeerId> + '_ {
        [self.exposed.oldest, self.protected.oldest]
            .into_iter()
            .flat_map(|oldest| core::iter::successors(oldest, |id| self.links[id.slot()].newer))
    }

    fn ends_mut(&mut self, class: Class) -> &mut Ends {
        match class {
            Class::Exposed => &mut self.exposed,
            Class::Protected => &mut self.protected,
        }
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
