//! The order of things to come: earliest first, ties in the order in which they were planned.

use std::collections::BTreeMap;

use teredo_proto::Instant;

/// What is to happen, and when.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    planned: BTreeMap<(Instant, u64), T>,
    sequence: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { planned: BTreeMap::new(), sequence: 0 }
    }

    /// Plans `item` for `at`, after everything planned for that moment before.
    pub(crate) fn plan(&mut self, at: Instant, item: T) {
        self.sequence += 1;
        self.planned.insert((at, self.sequence), item);
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.planned.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        self.planned.pop_first().map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earliest_first_and_ties_in_order() {
        let mut queue = Queue::new();
        for (at, item) in [(5, "c"), (1, "a"), (5, "d"), (3, "b"), (5, "e")] {
            queue.plan(Instant::from_nanos(at), item);
        }
        assert_eq!(queue.next_at(), Some(Instant::from_nanos(1)));
        let order: String = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!((order.as_str(), queue.next_at()), ("abcde", None));
    }
}
