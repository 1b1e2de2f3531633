//! The reader's side of the page.

use std::cell::RefCell;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use teredo_sys::page::{MappedPage, NetworkNamespace};

use crate::RuntimeDir;
use crate::page::request::{NotReady, fetch};
use crate::page::word::Word;

/// Reads the port that the daemon has published.
///
/// While a daemon lives, a call costs a look into thread-local storage and two loads from the page.
/// When it is gone, however it went, the very next call sees that in the page itself; it then asks
/// for the page of a successor, which without one fails at once.
///
/// Any number of threads may call at once: none waits for another. Each thread keeps its own
/// reference to the page, so that a page is unmapped only when no thread can still read it; a
/// thread that stops calling keeps at most one old page, until it ends.
///
/// After a `fork` the child reads on, through the mappings that it has inherited.
///
/// A page speaks of one network namespace. It is compared with that of the calling thread when the
/// thread gets the page; a thread that moves to another namespace afterwards is not noticed until
/// the daemon has changed.
#[derive(Debug)]
pub struct PortReader {
    /// Fixed, or else read from the environment whenever a page has to be asked for.
    directory: Option<RuntimeDir>,
    /// Tells the readers in one process apart; those that follow the environment are all the same.
    id: u64,
    /// The page that some thread got last, for the others. Only ever *tried*: who finds it locked,
    /// if only because its owner was lost in a `fork`, asks the daemon itself.
    shared: Mutex<Option<Arc<MappedPage>>>,
}

impl PortReader {
    /// A reader of the daemon in [`RuntimeDir::from_environment`]; `const`, to be a `static`.
    pub const fn new() -> Self {
        Self { directory: None, id: ID_OF_ENVIRONMENT, shared: Mutex::new(None) }
    }

    /// A reader of the daemon in a certain directory.
    pub fn at(directory: RuntimeDir) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(ID_OF_ENVIRONMENT + 1);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Self { directory: Some(directory), id, shared: Mutex::new(None) }
    }

    /// The UDP port of the client (or host-specific relay), in host byte order.
    ///
    /// # Errors
    /// Why there is none. Waits at most about a second, and only for a daemon that does not answer.
    #[inline]
    pub fn port(&self) -> Result<NonZeroU16, NotReady> {
        let word = self.word()?;
        match word.port() {
            Some(port) => Ok(port),
            None => Err(no_port(word)),
        }
    }

    /// All that the page tells.
    ///
    /// # Errors
    /// As [`port`](Self::port), but for a daemon without a port.
    #[inline]
    pub fn word(&self) -> Result<Word, NotReady> {
        // The storage is gone while the thread ends: then there is nothing to keep a page in.
        let kept = CACHE.try_with(|cache| cache.borrow().as_ref()?.word_for(self));
        match kept {
            Ok(Some(bits)) => Ok(Word::from_bits(bits)),
            Ok(None) | Err(_) => self.word_of_new_page(),
        }
    }

    #[cold]
    fn word_of_new_page(&self) -> Result<Word, NotReady> {
        let (page, bits) = match self.page_of_other_threads() {
            Some(found) => found,
            None => self.page_of_daemon().inspect_err(|_| self.forget())?,
        };
        let entry = Cached { id: self.id, page };
        let _ = CACHE.try_with(|cache| cache.replace(Some(entry)));
        Ok(Word::from_bits(bits))
    }

    fn page_of_other_threads(&self) -> Option<(Arc<MappedPage>, u64)> {
        let page = self.shared.try_lock().ok()?.clone()?;
        let bits = page.word()?;
        (page.network_namespace() == NetworkNamespace::current().ok()?).then_some((page, bits))
    }

    fn page_of_daemon(&self) -> Result<(Arc<MappedPage>, u64), NotReady> {
        let page = match &self.directory {
            Some(directory) => fetch(directory)?,
            None => fetch(&RuntimeDir::from_environment())?,
        };
        // It may have died since it sent the page.
        let bits = page.word().ok_or(NotReady::NotRunning)?;
        let here = NetworkNamespace::current().map_err(|error| NotReady::System(error.kind()))?;
        if page.network_namespace() != here {
            return Err(NotReady::OtherNamespace);
        }
        let page = Arc::new(page);
        if let Ok(mut shared) = self.shared.try_lock() {
            *shared = Some(Arc::clone(&page));
        }
        Ok((page, bits))
    }

    /// Unmaps what is known to be dead, unless other threads hold it.
    fn forget(&self) {
        let _ = CACHE.try_with(|cache| {
            let mut cache = cache.borrow_mut();
            if cache.as_ref().is_some_and(|cached| cached.id == self.id) {
                *cache = None;
            }
        });
        if let Ok(mut shared) = self.shared.try_lock()
            && shared.as_ref().is_some_and(|page| page.word().is_none())
        {
            *shared = None;
        }
    }
}

impl Default for PortReader {
    fn default() -> Self {
        Self::new()
    }
}

#[cold]
fn no_port(word: Word) -> NotReady {
    NotReady::NoPort(word.state())
}

/// A thread's own reference to a page.
struct Cached {
    /// Whose page it is.
    id: u64,
    page: Arc<MappedPage>,
}

impl Cached {
    #[inline]
    fn word_for(&self, reader: &PortReader) -> Option<u64> {
        if self.id == reader.id { self.page.word() } else { None }
    }
}

thread_local! {
    /// Of the reader that the thread used last; a program rarely has more than one.
    static CACHE: RefCell<Option<Cached>> = const { RefCell::new(None) };
}

const ID_OF_ENVIRONMENT: u64 = 0;
