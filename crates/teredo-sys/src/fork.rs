//! Descriptors that a child made by `fork` does not keep.
//!
//! `exec` closes what is close-on-exec. A child that goes on with the same program keeps everything
//! open, and whoever is at the other end of a socket cannot tell that the parent has gone.

use std::io;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Something that owns a descriptor, which is closed in every child made by `fork`.
///
/// A child may drop its copy of this value, or forget it, and nothing else. In the parent nothing
/// changes. What owns the descriptor must keep it: it may not be exchanged for another.
#[derive(Debug)]
pub struct Private<T> {
    inner: ManuallyDrop<T>,
    /// Where the descriptor is noted, and as what; nothing if there was no room.
    note: Option<(&'static AtomicU64, u64)>,
}

impl<T: AsFd> Private<T> {
    /// Makes the descriptor of `inner` private to this process.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn new(inner: T) -> io::Result<Self> {
        watch_forks()?;
        let note = note(inner.as_fd());
        Ok(Self { inner: ManuallyDrop::new(inner), note })
    }
}

impl<T> Drop for Private<T> {
    fn drop(&mut self) {
        // Before it is closed: from then on its number may be somebody else's.
        let is_open = self.note.is_none_or(|(place, note)| {
            place.compare_exchange(note, FREE, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        if is_open {
            // SAFETY: dropped once, here, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.inner) };
        }
        // Otherwise this is a child, where the descriptor is closed and its number no longer ours.
    }
}

impl<T> Deref for Private<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for Private<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: AsFd> AsFd for Private<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// All private descriptors. Without a lock, because a fork may happen at any moment, and because
/// the child may only do what a signal handler may.
static NOTES: [AtomicU64; NOTES_MAX] = [const { AtomicU64::new(FREE) }; NOTES_MAX];

/// Notes a descriptor if there is room.
fn note(fd: BorrowedFd<'_>) -> Option<(&'static AtomicU64, u64)> {
    // Tells a note from a later one about the same number in the same place; never 0, as is FREE.
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let serial = NEXT.fetch_add(1, Ordering::Relaxed).max(1);
    let note = u64::from(serial) << u32::BITS | u64::from(fd.as_raw_fd().cast_unsigned());
    let place = NOTES.iter().find(|place| {
        place.compare_exchange(FREE, note, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    })?;
    Some((place, note))
}

fn watch_forks() -> io::Result<()> {
    static ONCE: Once = Once::new();
    static FAILED: AtomicU32 = AtomicU32::new(0);
    ONCE.call_once(|| {
        // SAFETY: `close_all` only makes calls that are allowed in a child of a process with many
        // threads, and stays where it is: a library with it in it is never unloaded.
        let errno = unsafe { libc::pthread_atfork(None, None, Some(close_all)) };
        FAILED.store(errno.cast_unsigned(), Ordering::Relaxed);
    });
    match FAILED.load(Ordering::Relaxed).cast_signed() {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Runs in the child, before `fork` returns there.
extern "C" fn close_all() {
    for place in &NOTES {
        let note = place.swap(FREE, Ordering::AcqRel);
        if note != FREE {
            // The lower half is the descriptor's number.
            let fd = (note as u32).cast_signed();
            // SAFETY: the descriptor was open in the parent when it forked, because its note goes
            // before it is closed, so that this closes the child's copy of it. The child's copy of
            // its owner sees that the note is gone and leaves the number alone.
            unsafe { libc::close(fd) };
        }
    }
}

/// No descriptor.
const FREE: u64 = 0;
/// A process needs some ten for each network namespace that it follows, and one for each call under
/// way. Beyond this a child keeps what it would have kept anyway.
const NOTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_is_dropped_is_closed_and_its_place_is_used_again() {
        for _ in 0..2 * NOTES_MAX {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            drop(Private::new(ours).unwrap());
            assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
        }
    }

    #[test]
    fn more_than_there_is_room_for_are_merely_not_private() {
        let many: Vec<_> = (0..NOTES_MAX + 1)
            .map(|_| Private::new(std::fs::File::open("/dev/null").unwrap()).unwrap())
            .collect();
        assert!(many.iter().any(|file| file.note.is_none()));
        assert!(many.iter().all(|file| file.metadata().is_ok()));
    }
}
