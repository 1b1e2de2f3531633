//! Registrations by handle: which there are, and how they end.
//!
//! A handle is a cookie: place, age and process of a registration in one number. It is no pointer
//! and no descriptor, a stale one is recognised however often its place was used again, and so is
//! one that came from another process through `fork`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::registration::Registration;

/// The registrations of one process.
#[derive(Debug)]
pub(crate) struct Registry {
    /// How many forks lie between the program's start and this process.
    depth: usize,
    slots: Mutex<Slots>,
}

impl Registry {
    pub(crate) const fn new(depth: usize) -> Self {
        Self { depth, slots: Mutex::new(Slots { all: Vec::new(), free: Vec::new() }) }
    }

    /// Gives a registration its handle.
    pub(crate) fn insert(&self, registration: Arc<Registration>) -> Result<Cookie, Error> {
        let mut slots = self.lock();
        let index = match slots.free.pop() {
            Some(index) => index,
            None if slots.all.len() < REGISTRATIONS_MAX => {
                slots.all.push(Slot { generation: 0, registration: None });
                slots.all.len() - 1
            }
            None => return Err(Error::NoResources),
        };
        let slot = &mut slots.all[index];
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        slot.registration = Some(registration);
        Ok(Cookie::new(self.depth, slot.generation, index))
    }

    /// The registration behind a handle, if it is one of this process and not over.
    pub(crate) fn find(&self, cookie: Cookie) -> Option<Arc<Registration>> {
        let index = cookie.index();
        let slots = self.lock();
        let slot = slots.all.get(index)?;
        if cookie != Cookie::new(self.depth, slot.generation, index) {
            return None;
        }
        slot.registration.clone()
    }

    /// Makes a handle invalid.
    pub(crate) fn remove(&self, cookie: Cookie) {
        let index = cookie.index();
        let mut slots = self.lock();
        let Some(slot) = slots.all.get_mut(index) else { return };
        if cookie == Cookie::new(self.depth, slot.generation, index)
            && slot.registration.take().is_some()
        {
            slots.free.push(index);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Slots {
    all: Vec<Slot>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Slot {
    generation: usize,
    registration: Option<Arc<Registration>>,
}

/// What a handle consists of: tag, depth of the process, generation and index of the slot, and a
/// lowest bit that is set, so that it is never the address of anything that was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cookie(usize);

impl Cookie {
    fn new(depth: usize, generation: usize, index: usize) -> Self {
        let depth = depth & DEPTH_MASK;
        let parts = ((TAG << DEPTH_BITS | depth) << GENERATION_BITS | generation) << INDEX_BITS;
        Self((parts | index) << 1 | 1)
    }

    /// A number that somebody says is a handle; none if it is 0.
    pub(crate) fn from_bits(bits: usize) -> Option<Self> {
        (bits != 0).then_some(Self(bits))
    }

    /// The number.
    pub(crate) fn bits(self) -> usize {
        self.0
    }

    fn index(self) -> usize {
        self.0 >> 1 & INDEX_MASK
    }
}

#[cfg(target_pointer_width = "64")]
mod width {
    /// An address with these upper bits belongs to no program, and no descriptor is that large.
    pub(super) const TAG: usize = 0x4e54;
    pub(super) const DEPTH_BITS: u32 = 8;
    pub(super) const GENERATION_BITS: u32 = 23;
    pub(super) const INDEX_BITS: u32 = 16;
}

#[cfg(target_pointer_width = "32")]
mod width {
    /// One bit: negative as a descriptor.
    pub(super) const TAG: usize = 1;
    pub(super) const DEPTH_BITS: u32 = 4;
    pub(super) const GENERATION_BITS: u32 = 14;
    pub(super) const INDEX_BITS: u32 = 12;
}

use width::{DEPTH_BITS, GENERATION_BITS, INDEX_BITS, TAG};

const DEPTH_MASK: usize = (1 << DEPTH_BITS) - 1;
const GENERATION_MASK: usize = (1 << GENERATION_BITS) - 1;
const INDEX_MASK: usize = (1 << INDEX_BITS) - 1;
/// Each has a thread, and no process is allowed more of those; the index has room for no more.
const REGISTRATIONS_MAX: usize = 1 << INDEX_BITS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_good_until_it_is_removed_and_never_again() {
        let registry = Registry::new(0);
        let first = registry.insert(Registration::idle()).unwrap();
        assert!(registry.find(first).is_some());
        registry.remove(first);
        assert!(registry.find(first).is_none());
        let second = registry.insert(Registration::idle()).unwrap();
        assert_eq!(second.index(), first.index(), "the place is used again");
        assert!(registry.find(first).is_none());
        registry.remove(first);
        assert!(registry.find(second).is_some(), "a stale handle removes nothing");
    }

    #[test]
    fn another_process_has_other_handles() {
        let (parent, child) = (Registry::new(0), Registry::new(1));
        let inherited = parent.insert(Registration::idle()).unwrap();
        let own = child.insert(Registration::idle()).unwrap();
        assert_ne!(inherited, own);
        assert!(child.find(inherited).is_none());
    }

    //= API-35: the number of a handle is neither a descriptor nor an address
    #[test]
    fn a_handle_is_neither_a_descriptor_nor_an_address() {
        let registry = Registry::new(0);
        for _ in 0..100 {
            let bits = registry.insert(Registration::idle()).unwrap().bits();
            assert_eq!(bits & 1, 1, "whatever is allocated is aligned");
            assert!(bits > i32::MAX as usize);
            assert_ne!(bits, usize::MAX, "INVALID_HANDLE_VALUE");
        }
    }

    #[test]
    fn any_number_may_be_asked_for() {
        let registry = Registry::new(0);
        registry.insert(Registration::idle()).unwrap();
        for bits in [1, 2, 3, 0x1000, usize::MAX, usize::MAX - 1, 1 << 40] {
            let cookie = Cookie::from_bits(bits).unwrap();
            assert!(registry.find(cookie).is_none(), "{bits:#x}");
            registry.remove(cookie);
        }
        assert!(Cookie::from_bits(0).is_none());
    }
}
