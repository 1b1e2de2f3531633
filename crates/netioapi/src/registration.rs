//! One registration: what it has still to be told, its callback, and the thread that calls it.
//!
//! The callback of a registration never runs twice at once, never with a lock held, and never after
//! [`Registration::cancel`] has returned. Each registration has a thread of its own, so that one
//! whose callback does not return delays no other.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};

use teredo_sys::signal;

#[cfg(all(test, loom))]
use loom::{
    sync::{Condvar, Mutex, MutexGuard},
    thread::{self, JoinHandle, ThreadId},
};
#[cfg(not(all(test, loom)))]
use std::{
    sync::{Condvar, Mutex, MutexGuard},
    thread::{self, JoinHandle, ThreadId},
};

use crate::error::Error;
use crate::inbox::{Inbox, Notice};

/// What a registration calls.
pub(crate) type Callback = Box<dyn FnMut(Notice) + Send>;

/// A registration. While it lives, its thread holds a reference too.
pub(crate) struct Registration {
    state: Mutex<State>,
    /// Something has happened to `state`.
    changed: Condvar,
    /// Taken out while it runs, so that it may do what it likes with this registration.
    callback: Mutex<Option<Callback>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct State {
    /// What it has still to be told.
    inbox: Inbox,
    /// The thread that is in the callback, or that is still registering.
    busy: Option<ThreadId>,
    cancelled: bool,
    /// Cancelled from inside its own callback: nobody waits for its thread, which cleans up itself.
    is_orphan: bool,
}

impl Registration {
    /// A registration that is busy in the calling thread until [`start`](Self::start).
    pub(crate) fn new(inbox: Inbox, callback: Callback) -> Arc<Self> {
        let busy = Some(thread::current().id());
        let state = State { inbox, busy, cancelled: false, is_orphan: false };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            callback: Mutex::new(Some(callback)),
            thread: Mutex::new(None),
        })
    }

    /// Makes the thread that will call the callback. `bury` is what it does for an orphan.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        bury: impl FnOnce() + Send + 'static,
    ) -> Result<(), Error> {
        let registration = Arc::clone(self);
        let body = move || {
            while let Some(notice) = registration.next() {
                registration.call(notice);
            }
            if registration.lock().is_orphan {
                registration.forget_callback();
                bury();
            }
        };
        let builder = thread::Builder::new().name("netioapi-notify".into());
        let thread = signal::with_all_blocked(|| builder.spawn(body))?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    /// From now on the thread calls what there is to tell; the first call, if any, is made here and
    /// now.
    pub(crate) fn start(&self, first: Option<Notice>) {
        match first {
            Some(notice) => self.call(notice),
            None => self.set_idle(),
        }
    }

    /// Whether it is about addresses rather than the port.
    pub(crate) fn wants_addresses(&self) -> bool {
        !matches!(self.lock().inbox, Inbox::Port(_))
    }

    /// Puts something into the inbox, or not, as `put` decides.
    pub(crate) fn tell(&self, put: impl FnOnce(&mut Inbox)) {
        let mut state = self.lock();
        put(&mut state.inbox);
        if state.inbox.has_notice() {
            self.changed.notify_all();
        }
    }

    /// Ends it, and waits until its callback has returned. The callback is never called afterwards.
    ///
    /// # Errors
    /// [`Error::PossibleDeadlock`] from inside its own callback: nothing has happened then.
    /// [`Error::InvalidParameter`] if somebody else is ending it, after the callback has returned.
    pub(crate) fn cancel(&self) -> Result<(), Error> {
        let mut state = self.lock();
        if state.busy == Some(thread::current().id()) {
            return Err(Error::PossibleDeadlock);
        }
        let is_first = !state.cancelled;
        state.cancelled = true;
        self.changed.notify_all();
        while state.busy.is_some() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        if !is_first {
            return Err(Error::InvalidParameter);
        }
        // What the callback owns goes now and here, not whenever its thread gets to it.
        self.forget_callback();
        if let Some(thread) = lock(&self.thread).take() {
            // It is on its way out; a panic of the callback was caught.
            let _ = thread.join();
        }
        Ok(())
    }

    /// Ends it from inside its own callback, without waiting: this is its last call.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        if !state.cancelled {
            state.cancelled = true;
            state.is_orphan = true;
        }
    }

    /// Waits for something to tell; nothing more once it is cancelled.
    fn next(&self) -> Option<Notice> {
        let mut state = self.lock();
        loop {
            if state.cancelled && state.busy.is_none() {
                return None;
            }
            if !state.cancelled
                && state.busy.is_none()
                && let Some(notice) = state.inbox.take()
            {
                state.busy = Some(thread::current().id());
                return Some(notice);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Calls the callback; the caller has made the registration busy.
    fn call(&self, notice: Notice) {
        let callback = lock(&self.callback).take();
        if let Some(mut callback) = callback {
            // The panic hook has told of a panic; the registration goes on.
            let _ = catch_unwind(AssertUnwindSafe(|| callback(notice)));
            *lock(&self.callback) = Some(callback);
        }
        self.set_idle();
    }

    fn set_idle(&self) {
        self.lock().busy = None;
        self.changed.notify_all();
    }

    fn forget_callback(&self) {
        let callback = lock(&self.callback).take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(callback)));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// One that nobody tells anything, for tests of what holds registrations.
    #[cfg(test)]
    pub(crate) fn idle() -> Arc<Self> {
        Self::new(Inbox::port(0), Box::new(|_| {}))
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").finish_non_exhaustive()
    }
}

/// Nothing here panics while it holds a lock, so that what it guards is always whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All interleavings, by `cargo xtask loom`. What a callback finds is judged outside of it, because
/// a panic in it is caught.
#[cfg(test)]
#[cfg(loom)]
mod loom_tests {
    use std::num::NonZeroU16;

    use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    /// What a callback has seen and done.
    struct Seen {
        inside: AtomicBool,
        calls: AtomicU32,
        /// The port that it was told last.
        last: AtomicU32,
        /// Two calls at once, the same port twice in a row, or a call after the end.
        faults: AtomicU32,
        /// No call is allowed any more.
        over: AtomicBool,
        /// What cancelling inside the callback gave, if it did that: 1 for a possible deadlock.
        inner: AtomicU32,
    }

    impl Seen {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                inside: AtomicBool::new(false),
                calls: AtomicU32::new(0),
                last: AtomicU32::new(0),
                faults: AtomicU32::new(0),
                over: AtomicBool::new(false),
                inner: AtomicU32::new(0),
            })
        }

        fn called(&self, notice: &Notice, during: impl FnOnce()) {
            let mut faults = u32::from(self.inside.swap(true, Ordering::AcqRel));
            faults += u32::from(self.over.load(Ordering::Acquire));
            let Notice::Port(port) = notice else { return };
            let port = port.map_or(0, NonZeroU16::get).into();
            faults += u32::from(self.last.swap(port, Ordering::AcqRel) == port);
            self.calls.fetch_add(1, Ordering::AcqRel);
            during();
            self.faults.fetch_add(faults, Ordering::AcqRel);
            self.inside.store(false, Ordering::Release);
        }

        /// Cancelling has returned.
        fn is_over(&self) {
            assert!(!self.inside.load(Ordering::Acquire), "the callback still runs");
            self.over.store(true, Ordering::Release);
        }

        fn end(&self) {
            assert_eq!(self.faults.load(Ordering::Acquire), 0);
        }
    }

    /// Those in which no more than two threads are stopped where they could have gone on. More are
    /// hours of work, and a fault that takes more is not known.
    fn all_interleavings(body: impl Fn() + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(body);
    }

    /// One that is spawned and started, with this callback.
    fn started(callback: impl FnMut(Notice) + Send + 'static) -> Arc<Registration> {
        let registration = Registration::new(Inbox::port(0), Box::new(callback));
        registration.spawn(|| panic!("nobody has abandoned it")).unwrap();
        registration.start(None);
        registration
    }

    fn change(registration: &Registration, port: u16) {
        registration.tell(|inbox| {
            if let Inbox::Port(inbox) = inbox {
                inbox.see(port, false);
            }
        });
    }

    //= API-28, API-29: cancelling waits for the callback, which is not called afterwards
    #[test]
    fn nothing_is_called_after_cancelling() {
        all_interleavings(|| {
            let seen = Seen::new();
            let inside = Arc::clone(&seen);
            let registration = started(move |notice| inside.called(&notice, thread::yield_now));
            let teller = Arc::clone(&registration);
            let teller = thread::spawn(move || change(&teller, 1));
            assert_eq!(registration.cancel(), Ok(()));
            seen.is_over();
            teller.join().unwrap();
            change(&registration, 2);
            seen.end();
            assert_eq!(Arc::strong_count(&seen), 1, "the callback is dropped");
        });
    }

    //= API-33: of two threads that cancel one gets 0, the other 87, both after the callback
    #[test]
    fn one_of_two_cancels() {
        all_interleavings(|| {
            let seen = Seen::new();
            let inside = Arc::clone(&seen);
            let registration = started(move |notice| inside.called(&notice, thread::yield_now));
            change(&registration, 1);
            let other = (Arc::clone(&registration), Arc::clone(&seen));
            let other = thread::spawn(move || {
                let result = other.0.cancel();
                other.1.is_over();
                result
            });
            let mut results = [registration.cancel(), Ok(())];
            seen.is_over();
            results[1] = other.join().unwrap();
            assert!(results.contains(&Ok(())) && results.contains(&Err(Error::InvalidParameter)));
            seen.end();
        });
    }

    //= API-31: from its own callback it is not cancelled, and then from another thread it is
    #[test]
    fn its_own_callback_does_not_cancel_it() {
        all_interleavings(|| {
            let (seen, own) = (Seen::new(), Arc::new(Mutex::new(None)));
            let (inside, own_inside) = (Arc::clone(&seen), Arc::clone(&own));
            let registration = started(move |notice| {
                inside.called(&notice, || {
                    let own: Option<Arc<Registration>> = lock(&own_inside).clone();
                    let result = own.map(|own| own.cancel());
                    let deadlock = result == Some(Err(Error::PossibleDeadlock));
                    inside.inner.store(u32::from(deadlock), Ordering::Release);
                });
            });
            *lock(&own) = Some(Arc::clone(&registration));
            change(&registration, 1);
            while seen.calls.load(Ordering::Acquire) == 0 {
                thread::yield_now();
            }
            assert_eq!(registration.cancel(), Ok(()));
            seen.is_over();
            seen.end();
            assert_eq!(seen.inner.load(Ordering::Acquire), 1);
        });
    }

    //= API-21, API-22: calls do not overlap, no port comes twice in a row, and the last comes last
    #[test]
    fn the_last_port_is_told_last() {
        all_interleavings(|| {
            let seen = Seen::new();
            let inside = Arc::clone(&seen);
            let registration = started(move |notice| inside.called(&notice, thread::yield_now));
            let teller = Arc::clone(&registration);
            let teller = thread::spawn(move || {
                change(&teller, 1);
                change(&teller, 2);
            });
            while seen.last.load(Ordering::Acquire) != 2 {
                thread::yield_now();
            }
            teller.join().unwrap();
            assert_eq!(registration.cancel(), Ok(()));
            seen.end();
            assert_eq!(seen.last.load(Ordering::Acquire), 2);
        });
    }

    #[test]
    fn an_abandoned_one_is_buried_once_and_never_called_again() {
        all_interleavings(|| {
            let (seen, buried) = (Seen::new(), Arc::new(AtomicU32::new(0)));
            let own: Arc<Mutex<Option<Arc<Registration>>>> = Arc::new(Mutex::new(None));
            let (inside, own_inside) = (Arc::clone(&seen), Arc::clone(&own));
            let callback = move |notice: Notice| {
                inside.called(&notice, || {
                    if let Some(own) = lock(&own_inside).take() {
                        own.abandon();
                        inside.over.store(true, Ordering::Release);
                    }
                });
            };
            let registration = Registration::new(Inbox::port(0), Box::new(callback));
            let count = Arc::clone(&buried);
            registration
                .spawn(move || {
                    count.fetch_add(1, Ordering::AcqRel);
                })
                .unwrap();
            *lock(&own) = Some(Arc::clone(&registration));
            registration.start(None);
            change(&registration, 1);
            change(&registration, 2);
            while buried.load(Ordering::Acquire) == 0 {
                thread::yield_now();
            }
            seen.end();
            assert_eq!(buried.load(Ordering::Acquire), 1);
            assert_eq!(Arc::strong_count(&seen), 1, "the callback is dropped");
        });
    }
}
