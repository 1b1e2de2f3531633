//! One registration: what it has still to be told, its callback, and the thread that calls it.
//!
//! The callback of a registration never runs twice at once, never with a lock held, and never after
//! [`Registration::cancel`] has returned. Each registration has a thread of its own, so that one
//! whose callback does not return delays no other.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};

use teredo_sys::signal;

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
