//! Waiting for many descriptors at once.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::epoll;

/// A level-triggered epoll instance: what is not handled is reported again.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    /// Set once the kernel has said that it has no `epoll_pwait2` (before Linux 5.11, or a
    /// sandbox).
    milliseconds_only: AtomicBool,
}

impl Poller {
    /// A poller that watches nothing yet.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, milliseconds_only: AtomicBool::new(false) })
    }

    /// Starts to watch `source`; its events carry `token`.
    ///
    /// Closing the last copy of a descriptor ends the watch by itself.
    pub fn add(&self, source: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::add(&self.epoll, source, data, interest.flags())?)
    }

    /// Changes what is watched on a `source` added before.
    pub fn modify(&self, source: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        Ok(epoll::modify(&self.epoll, source, data, interest.flags())?)
    }

    /// Ends the watch on `source`.
    pub fn remove(&self, source: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, source)?)
    }

    /// Waits until something is ready or `timeout` has passed (`None`: for ever).
    ///
    /// Nothing ready is not an error: `events` is then empty, after a timeout as after a signal.
    /// The timeout has nanosecond resolution; where the kernel only knows milliseconds it is
    /// rounded up, so that a deadline has always passed when the wait ends.
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        events.ready = 0;
        match self.wait_once(events, timeout) {
            Ok(ready) => events.ready = ready,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn wait_once(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<usize> {
        if !self.milliseconds_only.load(Ordering::Relaxed) {
            match self.wait_nanoseconds(events, timeout) {
                Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
                    self.milliseconds_only.store(true, Ordering::Relaxed);
                }
                result => return result,
            }
        }
        self.wait_milliseconds(events, timeout)
    }

    fn wait_nanoseconds(
        &self,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        let timeout = timeout.map(|timeout| rustix::time::Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        // SAFETY: `buffer` is writable for `buffer.len()` events and the kernel writes no more than
        // that; the time is either null or a live `__kernel_timespec` (rustix's `Timespec` has that
        // layout on every platform); a null signal mask is allowed and makes its size irrelevant.
        // The C library has no wrapper on the oldest systems we support, hence `syscall`.
        let ready = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                events.buffer.as_mut_ptr(),
                events.buffer.len(),
                timeout.as_ref().map_or(ptr::null(), ptr::from_ref),
                ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        usize::try_from(ready).map_err(|_| io::Error::last_os_error())
    }

    fn wait_milliseconds(
        &self,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        let timeout_ms = timeout.map_or(-1, |timeout| {
            i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        let len = i32::try_from(events.buffer.len()).unwrap_or(i32::MAX);
        // SAFETY: `buffer` is writable for at least `len` events, and the kernel writes no more.
        let ready = unsafe {
            libc::epoll_wait(self.epoll.as_raw_fd(), events.buffer.as_mut_ptr(), len, timeout_ms)
        };
        usize::try_from(ready).map_err(|_| io::Error::last_os_error())
    }
}

impl AsFd for Poller {
    /// Readable while a source is ready: a poller can be watched by another one.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// What to wait for. Errors and hang-ups are always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read.
    Read,
    /// Room to write.
    Write,
    /// Either.
    ReadWrite,
}

impl Interest {
    fn flags(self) -> epoll::EventFlags {
        match self {
            Self::Read => epoll::EventFlags::IN,
            Self::Write => epoll::EventFlags::OUT,
            Self::ReadWrite => epoll::EventFlags::IN | epoll::EventFlags::OUT,
        }
    }
}

/// Room for the events of one [`Poller::wait`], used again and again.
pub struct Events {
    buffer: Vec<libc::epoll_event>,
    ready: usize,
}

impl Events {
    /// Room for `capacity` events (at least one). Sources left out are reported by the next wait.
    pub fn with_capacity(capacity: usize) -> Self {
        let buffer = vec![libc::epoll_event { events: 0, u64: 0 }; capacity.max(1)];
        Self { buffer, ready: 0 }
    }

    /// The events of the last wait.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.buffer[..self.ready].iter().map(|event| {
            let has = |flag: libc::c_int| event.events & flag.cast_unsigned() != 0;
            Event {
                token: event.u64,
                readable: has(libc::EPOLLIN),
                writable: has(libc::EPOLLOUT),
                error: has(libc::EPOLLERR),
                hang_up: has(libc::EPOLLHUP),
            }
        })
    }
}

/// A source is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The token given when the source was added.
    pub token: u64,
    /// Something to read.
    pub readable: bool,
    /// Room to write.
    pub writable: bool,
    /// An error waits; on a [`UdpSocket`](crate::udp::UdpSocket) drain its error queue.
    pub error: bool,
    /// The other end is gone.
    pub hang_up: bool,
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Instant;

    use super::*;

    fn loopback() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(socket.local_addr().unwrap()).unwrap();
        socket
    }

    fn tokens(poller: &Poller, timeout: Duration) -> Vec<u64> {
        let mut events = Events::with_capacity(4);
        poller.wait(&mut events, Some(timeout)).unwrap();
        let mut tokens: Vec<_> = events.iter().map(|event| event.token).collect();
        tokens.sort_unstable();
        tokens
    }

    #[test]
    fn sources_are_told_apart_until_they_are_read_or_removed() {
        let poller = Poller::new().unwrap();
        let (first, second) = (loopback(), loopback());
        poller.add(&first, u64::MAX, Interest::Read).unwrap();
        poller.add(&second, 7, Interest::Read).unwrap();
        assert_eq!(tokens(&poller, Duration::ZERO), []);
        first.send(b"1").unwrap();
        second.send(b"2").unwrap();
        assert_eq!(tokens(&poller, Duration::MAX), [7, u64::MAX]);
        assert_eq!(tokens(&poller, Duration::MAX), [7, u64::MAX], "level-triggered");
        first.recv(&mut [0]).unwrap();
        assert_eq!(tokens(&poller, Duration::MAX), [7]);
        poller.remove(&second).unwrap();
        poller.modify(&first, 3, Interest::ReadWrite).unwrap();
        assert_eq!(tokens(&poller, Duration::MAX), [3]);
    }

    #[test]
    fn a_timeout_is_kept_within_less_than_a_millisecond_and_never_early() {
        for milliseconds_only in [false, true] {
            let poller = Poller::new().unwrap();
            poller.milliseconds_only.store(milliseconds_only, Ordering::Relaxed);
            let timeout = Duration::from_micros(150);
            let waits = (0..20).map(|_| {
                let start = Instant::now();
                assert_eq!(tokens(&poller, timeout), []);
                start.elapsed()
            });
            let shortest = waits.min().unwrap();
            assert!(shortest >= timeout, "{shortest:?}");
            assert!(milliseconds_only || shortest < Duration::from_millis(1), "{shortest:?}");
        }
    }
}
