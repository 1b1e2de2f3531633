//! Handing things from one thread to another that waits in a poller.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

#[cfg(all(test, loom))]
use loom::sync::{Mutex, MutexGuard};
#[cfg(not(all(test, loom)))]
use std::sync::{Mutex, MutexGuard};

/// Something that several threads change and one thread waits for.
///
/// The level is raised exactly while something waits. Both change under one lock, so that no
/// wake-up can be lost and no order of events has to be thought about; the lock is never held
/// longer than it takes to move a few words and, at the edges, for one system call that does not
/// wait.
pub(super) struct Inbox<T, L = EventFd> {
    content: Mutex<T>,
    level: L,
}

impl<T: Waiting, L: Level> Inbox<T, L> {
    pub(super) fn new(content: T, level: L) -> Self {
        Self { content: Mutex::new(content), level }
    }

    /// Does something with the content.
    pub(super) fn with<R>(&self, body: impl FnOnce(&mut T) -> R) -> R {
        let mut content = self.lock();
        let waited = content.is_waiting();
        let result = body(&mut content);
        match (waited, content.is_waiting()) {
            (false, true) => self.level.raise(),
            (true, false) => self.level.lower(),
            (true, true) | (false, false) => {}
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        // No `body` leaves the content half changed, so that a panic in one does not matter.
        self.content.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl<T> AsFd for Inbox<T> {
    /// Readable while something waits.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.level.0.as_fd()
    }
}

/// Content that may have something in it to wait for.
pub(super) trait Waiting {
    fn is_waiting(&self) -> bool;
}

/// What the waiting thread looks at.
pub(super) trait Level {
    fn raise(&self);
    fn lower(&self);
}

/// Readable while raised.
pub(super) struct EventFd(OwnedFd);

impl EventFd {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }
}

impl Level for EventFd {
    fn raise(&self) {
        // Fails only when the counter would overflow; it never goes beyond 1.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    fn lower(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; size_of::<u64>()]);
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    impl Waiting for Vec<u32> {
        fn is_waiting(&self) -> bool {
            !self.is_empty()
        }
    }

    fn is_readable(inbox: &Inbox<Vec<u32>>) -> bool {
        let mut polled = [PollFd::new(inbox, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec::default())).unwrap() == 1
    }

    #[test]
    fn it_is_readable_exactly_while_something_waits() {
        let inbox = Inbox::new(Vec::new(), EventFd::new().unwrap());
        assert!(!is_readable(&inbox));
        inbox.with(|content| content.push(1));
        inbox.with(|content| content.push(2));
        assert!(is_readable(&inbox));
        assert_eq!(inbox.with(Vec::pop), Some(2));
        assert!(is_readable(&inbox));
        assert_eq!(inbox.with(Vec::pop), Some(1));
        assert!(!is_readable(&inbox));
        assert_eq!(inbox.with(Vec::pop), None);
        inbox.with(|content| content.extend([1, 2, 3]));
        assert!(is_readable(&inbox));
    }
}

/// All interleavings, by `cargo xtask loom`.
#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use loom::sync::Arc;
    use loom::sync::atomic::{AtomicBool, Ordering};
    use loom::thread;

    use super::*;

    struct Latest(Option<u32>);

    impl Waiting for Latest {
        fn is_waiting(&self) -> bool {
            self.0.is_some()
        }
    }

    struct Flag(Arc<AtomicBool>);

    impl Level for Flag {
        fn raise(&self) {
            assert!(!self.0.swap(true, Ordering::AcqRel), "raised twice");
        }

        fn lower(&self) {
            assert!(self.0.swap(false, Ordering::AcqRel), "lowered twice");
        }
    }

    #[test]
    fn the_last_value_always_arrives_and_wakes() {
        loom::model(|| {
            let raised = Arc::new(AtomicBool::new(false));
            let inbox = Arc::new(Inbox::new(Latest(None), Flag(Arc::clone(&raised))));
            let writer = {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || {
                    for value in 1..=2 {
                        inbox.with(|latest| latest.0 = Some(value));
                    }
                })
            };
            let mut seen = 0;
            while seen != 2 {
                if !raised.load(Ordering::Acquire) {
                    thread::yield_now();
                    continue;
                }
                let taken = inbox.with(|latest| latest.0.take());
                let taken = taken.expect("raised, and nothing in it");
                assert!(taken > seen, "old values do not come back");
                seen = taken;
            }
            writer.join().unwrap();
            assert!(!raised.load(Ordering::Acquire));
        });
    }

    #[test]
    fn two_writers_lose_nothing() {
        struct Sum(u32);
        impl Waiting for Sum {
            fn is_waiting(&self) -> bool {
                self.0 > 0
            }
        }
        loom::model(|| {
            let raised = Arc::new(AtomicBool::new(false));
            let inbox = Arc::new(Inbox::new(Sum(0), Flag(Arc::clone(&raised))));
            let writers = [1, 2].map(|value| {
                let inbox = Arc::clone(&inbox);
                thread::spawn(move || inbox.with(|sum| sum.0 += value))
            });
            let mut taken = inbox.with(|sum| std::mem::take(&mut sum.0));
            for writer in writers {
                writer.join().unwrap();
            }
            assert_eq!(raised.load(Ordering::Acquire), taken < 3);
            taken += inbox.with(|sum| std::mem::take(&mut sum.0));
            assert_eq!(taken, 3);
        });
    }
}
