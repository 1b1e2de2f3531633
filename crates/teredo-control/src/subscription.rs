//! Following the daemon's status, over its ends and new beginnings.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use teredo_sys::epoll::{Events, Interest, Poller};
use teredo_sys::fork::Private;

use crate::RuntimeDir;
use crate::connect::Patience;
use crate::link::{Link, Received};
use crate::status::Status;
use crate::varlink::{Reply, Request};

/// Follows the status of the daemon, for ever: a daemon that ends is looked for until there is one.
///
/// Belongs into an event loop: its descriptor stays the same and is readable whenever
/// [`poll`](Self::poll) has something to do. Or call [`next`](Self::next), which waits.
#[derive(Debug)]
pub struct Subscription {
    directory: RuntimeDir,
    /// What [`AsFd`] shows: becomes readable by the connection and by the timer.
    poller: Private<Poller>,
    /// When to look for a daemon again.
    timer: Private<OwnedFd>,
    link: Option<Link>,
    pause: Duration,
    told: Told,
}

impl Subscription {
    /// A subscription that looks for a daemon at the first [`poll`](Self::poll).
    ///
    /// # Errors
    /// When the system is out of descriptors or memory.
    pub fn new(directory: RuntimeDir) -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = Private::new(timerfd_create(TimerfdClockId::Monotonic, flags)?)?;
        let poller = Private::new(Poller::new()?)?;
        poller.add(&timer, TIMER, Interest::Read)?;
        let (pause, told) = (PAUSE_MIN, Told::Nothing);
        let subscription = Self { directory, poller, timer, link: None, pause, told };
        subscription.arm(IMMEDIATELY)?;
        Ok(subscription)
    }

    /// What has happened since the last call, if anything; never waits. Call it until there is
    /// nothing.
    ///
    /// The first event tells what is the case. Of several statuses that have come in meanwhile only
    /// the last is returned. Between the statuses of two daemons there is always an
    /// [`Event::Gone`], and never are there two of those in a row.
    ///
    /// # Errors
    /// When the system fails to arm the timer; nothing else is fatal.
    pub fn poll(&mut self) -> io::Result<Option<Event>> {
        if self.link.is_none() {
            if self.told == Told::Status {
                return Ok(self.gone());
            }
            if !self.is_time()? {
                return Ok(None);
            }
            self.link = self.connect();
        }
        let (latest, open) = self.receive();
        if latest.is_some() {
            self.pause = PAUSE_MIN;
        }
        if !open {
            self.disconnect()?;
        }
        if let Some(status) = latest {
            self.told = Told::Status;
            return Ok(Some(Event::Status(Box::new(status))));
        }
        Ok(if open { None } else { self.gone() })
    }

    /// Waits for the next event, at most `timeout` (`None`: for ever); nothing after that.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn next(&mut self, timeout: Option<Duration>) -> io::Result<Option<Event>> {
        let start = Instant::now();
        let mut events = Events::with_capacity(1);
        loop {
            if let Some(event) = self.poll()? {
                return Ok(Some(event));
            }
            let left = timeout.map(|timeout| timeout.saturating_sub(start.elapsed()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            self.poller.wait(&mut events, left)?;
        }
    }

    /// Says that there is no daemon, unless that was the last thing said.
    fn gone(&mut self) -> Option<Event> {
        let said = self.told == Told::Gone;
        self.told = Told::Gone;
        if said { None } else { Some(Event::Gone) }
    }

    /// Whether it is time to look for a daemon.
    fn is_time(&self) -> io::Result<bool> {
        match rustix::io::read(&self.timer, &mut [0; 8]) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A connection on which we have subscribed.
    fn connect(&self) -> Option<Link> {
        let link = Link::open(&self.directory, Patience::None).ok()?;
        let request = Request::GetStatus { subscribe: true }.encode();
        // There is room for it in a new connection.
        (link.send(&request).ok()? == request.len()).then_some(())?;
        self.poller.add(&link, LINK, Interest::Read).ok()?;
        Some(link)
    }

    /// The last status that has come in, and whether the connection is open.
    fn receive(&mut self) -> (Option<Status>, bool) {
        let mut latest = None;
        let Some(link) = &mut self.link else { return (latest, false) };
        // Bounded, so that a daemon gone mad cannot keep us here.
        for _ in 0..CHUNKS_MAX {
            match link.receive() {
                Ok(Received::Some) => {}
                Ok(Received::Nothing) => return (latest, true),
                Ok(Received::End) | Err(_) => return (latest, false),
            }
            loop {
                match link.frames.next_message().map(|found| found.map(status)) {
                    Ok(Some(Some(status))) => latest = Some(status),
                    Ok(None) => break,
                    Ok(Some(None)) | Err(_) => return (latest, false),
                }
            }
        }
        (latest, true)
    }

    fn disconnect(&mut self) -> io::Result<()> {
        if let Some(link) = self.link.take() {
            // Before it is closed: after a `fork` somebody else may have it open.
            let _ = self.poller.remove(&link);
        }
        self.arm(self.pause)?;
        self.pause = PAUSE_MAX.min(self.pause * 2);
        Ok(())
    }

    fn arm(&self, after: Duration) -> io::Result<()> {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let after = Timespec::try_from(after).unwrap_or(never);
        let time = Itimerspec { it_interval: never, it_value: after };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time)?;
        Ok(())
    }
}

impl AsFd for Subscription {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

/// What there is to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The daemon's status, after each change and at the beginning.
    Status(Box<Status>),
    /// There is no daemon, or no longer.
    Gone,
}

/// What the last event was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Status,
    Gone,
}

/// The status in a message; nothing in a message that holds none, such as a refusal.
fn status(message: &[u8]) -> Option<Status> {
    Reply::parse(message).ok()?.result().ok()
}

const TIMER: u64 = 0;
const LINK: u64 = 1;

/// The shortest time that a timer knows; 0 would stop it.
const IMMEDIATELY: Duration = Duration::from_nanos(1);
/// A daemon that is restarted is back within a few of these.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// What a daemon that is started by hand keeps its watchers waiting, and how often a host without
/// one is asked: one failing system call.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// What is read in one go, in chunks of a [`Link`].
const CHUNKS_MAX: usize = 64;
