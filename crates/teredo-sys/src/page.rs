//! A page of memory that one process writes and many read, and that tells when its writer is gone.
//!
//! The page is a sealed memfd, so that no reader can be hurt by truncation. Its owner word is a
//! robust futex held by a thread of the writer: when that thread ends, however it ends, the kernel
//! itself marks the word, before anybody who waits for the process is told. Readers need no system
//! call to see that.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

use crate::error::Context;

/// What is in the page, in the machine's byte order. The layout is a contract between processes.
///
/// All of it is atomic: another process may write at any time, whatever it promised.
#[repr(C)]
struct Layout {
    magic: AtomicU64,
    version: AtomicU32,
    owner: AtomicU32,
    network_device: AtomicU64,
    network_inode: AtomicU64,
    word: AtomicU64,
}

/// The identity of a network namespace: what `stat` says of its file under `/proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkNamespace {
    device: u64,
    inode: u64,
}

impl NetworkNamespace {
    /// The one that the calling thread is in.
    ///
    /// # Errors
    /// Those of `stat`, where there is no `/proc`.
    pub fn current() -> io::Result<Self> {
        let stat = rustix::fs::stat("/proc/thread-self/ns/net")?;
        Ok(Self { device: stat.st_dev, inode: stat.st_ino })
    }
}

/// A page that this process owns and writes.
///
/// It belongs to the process that made it: a child made by `fork` may neither publish nor drop it.
#[derive(Debug)]
pub struct OwnedPage {
    fd: OwnedFd,
    map: Arc<Map>,
    keeper: Option<Keeper>,
}

impl OwnedPage {
    /// Makes a page for readers in the network namespace of the calling thread; the word is 0.
    ///
    /// # Errors
    /// The kernel's, when memory or descriptors run out.
    pub fn create() -> io::Result<Self> {
        let fd = memfd()?;
        rustix::fs::ftruncate(&fd, PAGE_LEN as u64)?;
        let map = Arc::new(Map::new(fd.as_fd(), Access::Write)?);
        // SHRINK and GROW: no reader gets SIGBUS. FUTURE_WRITE: nobody else ever writes.
        let seals = NEEDED_SEALS | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&fd, seals).context(|| "sealing the page".to_owned())?;
        map.initialize(NetworkNamespace::current()?);
        let keeper = Some(Keeper::start(Arc::clone(&map))?);
        Ok(Self { fd, map, keeper })
    }

    /// Makes `word` what readers see.
    pub fn publish(&self, word: u64) {
        self.map.layout().word.store(word, Ordering::Release);
    }
}

impl AsFd for OwnedPage {
    /// The descriptor to hand to readers, who can neither write nor truncate through it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for OwnedPage {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.stop();
        }
    }
}

/// A page of another process, mapped read-only. It keeps no descriptor.
#[derive(Debug)]
pub struct MappedPage(Map);

impl MappedPage {
    /// Maps the page behind a descriptor that another process handed over.
    ///
    /// # Errors
    /// `InvalidData` when it is not sealed, or not a page of this version.
    pub fn map(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let seals = rustix::fs::fcntl_get_seals(fd).map_err(|_| invalid("not a sealed page"))?;
        let stat = rustix::fs::fstat(fd)?;
        // Unsealed, it could be truncated or get a hole, and reading it then raises SIGBUS.
        if !seals.contains(NEEDED_SEALS) || u64::try_from(stat.st_size) != Ok(PAGE_LEN as u64) {
            return Err(invalid("not a sealed page of the right size"));
        }
        let map = Map::new(fd, Access::Read)?;
        let layout = map.layout();
        let magic = layout.magic.load(Ordering::Relaxed);
        if magic != MAGIC || layout.version.load(Ordering::Relaxed) != VERSION {
            return Err(invalid("not a page of this version"));
        }
        Ok(Self(map))
    }

    /// What the owner published last; nothing once it is gone.
    #[inline]
    pub fn word(&self) -> Option<u64> {
        let layout = self.0.layout();
        // Relaxed with a fence, because only relaxed loads are promised to work on memory that is
        // mapped read-only (`std::sync::atomic`, "Atomic accesses to read-only memory").
        let word = layout.word.load(Ordering::Relaxed);
        // The owner after the word: then the word was read at a moment when the owner lived.
        fence(Ordering::Acquire);
        let owner = layout.owner.load(Ordering::Relaxed);
        (owner & OWNER_DIED == 0 && owner & TID_MASK != 0).then_some(word)
    }

    /// The network namespace that the word speaks of.
    pub fn network_namespace(&self) -> NetworkNamespace {
        let layout = self.0.layout();
        NetworkNamespace {
            device: layout.network_device.load(Ordering::Relaxed),
            inode: layout.network_inode.load(Ordering::Relaxed),
        }
    }
}

/// The thread that holds the owner word. The kernel's list of robust futexes is one of a thread,
/// so that it must be a thread that ends only with the page or the process.
#[derive(Debug)]
struct Keeper {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Keeper {
    fn start(map: Arc<Map>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let (ready, started) = mpsc::sync_channel(1);
        let body = move || {
            let hold = match Hold::take(&map.layout().owner) {
                Ok(hold) => hold,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            let _ = ready.send(Ok(()));
            while !told.load(Ordering::Acquire) {
                thread::park();
            }
            drop(hold);
        };
        let thread = thread::Builder::new().name("teredo-page".into()).spawn(body)?;
        let taken = started.recv().map_err(|_| io::Error::other("the page's thread ended"))?;
        taken.map(|()| Self { stop, thread })
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        // It has nothing that could panic after it has started.
        let _ = self.thread.join();
    }
}

/// The calling thread's hold on an owner word. Neither `Send` nor `Sync`: it is about that thread.
struct Hold<'a> {
    owner: &'a AtomicU32,
    list: NonNull<RobustList>,
    this_thread: PhantomData<*const ()>,
}

impl<'a> Hold<'a> {
    /// Puts the calling thread's number into `owner`, where it stays until the kernel replaces it
    /// by [`OWNER_DIED`], or this value is dropped, which does the same.
    fn take(owner: &'a AtomicU32) -> io::Result<Self> {
        let list = NonNull::from(Box::leak(Box::<RobustList>::default()));
        // From here on, dropping this gives the list back.
        let hold = Self { owner, list, this_thread: PhantomData };
        let at = list.as_ptr();
        // SAFETY: `at` points to the live list, and nobody else knows it yet.
        unsafe {
            let entry = &raw mut (*at).entry;
            (*at).next = entry;
            (*entry).next = at.cast();
            // Both addresses are the process's own, so the difference cannot overflow.
            (*at).futex_offset = owner.as_ptr() as libc::c_long - entry as libc::c_long;
        }
        register(at)?;
        let tid = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
        owner.store(tid, Ordering::Release);
        Ok(hold)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        // Before the list goes: at no moment is there neither list nor mark.
        self.owner.store(OWNER_DIED, Ordering::Release);
        if register(ptr::null_mut()).is_ok() {
            // SAFETY: it came from a box in `take`, and the kernel has just forgotten it. Had it
            // not, the list would be leaked rather than freed under the kernel's eyes.
            drop(unsafe { Box::from_raw(self.list.as_ptr()) });
        }
    }
}

/// The kernel's `robust_list_head`, and after it the list's only entry (see `get_robust_list(2)`).
#[repr(C)]
struct RobustList {
    next: *mut RobustEntry,
    /// From an entry to its futex word.
    futex_offset: libc::c_long,
    pending: *mut RobustEntry,
    entry: RobustEntry,
}

/// Points to the next entry, and at the end of the list back to its head.
#[repr(C)]
struct RobustEntry {
    next: *mut Self,
}

impl Default for RobustList {
    fn default() -> Self {
        let none = ptr::null_mut();
        Self { next: none, futex_offset: 0, pending: none, entry: RobustEntry { next: none } }
    }
}

/// Tells the kernel where the calling thread's list is; null for none.
fn register(list: *mut RobustList) -> io::Result<()> {
    // SAFETY: the kernel reads the list when the calling thread ends, and then writes the futex
    // words that it names. `list` is null or a well-formed list on the heap, which is freed only
    // after the kernel has been told of another (`Hold::drop`); its one word outlives it, because a
    // `Hold` borrows it. The list that the C library registered for this thread is needed only for
    // robust mutexes, of which this thread takes none.
    let result = unsafe { libc::syscall(libc::SYS_set_robust_list, list, ROBUST_HEAD_LEN) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// One page, mapped.
#[derive(Debug)]
struct Map(NonNull<Layout>);

#[derive(Clone, Copy, PartialEq)]
enum Access {
    Read,
    Write,
}

impl Map {
    /// Maps the first page of `fd`, which must be sealed or the caller's own.
    fn new(fd: BorrowedFd<'_>, access: Access) -> io::Result<Self> {
        let protection = match access {
            Access::Read => ProtFlags::READ,
            Access::Write => ProtFlags::READ | ProtFlags::WRITE,
        };
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let address = unsafe {
            rustix::mm::mmap(ptr::null_mut(), PAGE_LEN, protection, MapFlags::SHARED, fd, 0)?
        };
        NonNull::new(address.cast()).map(Self).ok_or_else(|| io::Error::other("mapped at 0"))
    }

    #[inline]
    fn layout(&self) -> &Layout {
        // SAFETY: the mapping is page-aligned, `PAGE_LEN` long and lives as long as `self`; the
        // file behind it has that length and cannot shrink (sealed, or ours). Any bytes are a valid
        // `Layout`, and all of it is atomic, so that it may change under this reference.
        unsafe { self.0.as_ref() }
    }

    /// Fills in what never changes. To be called on a writable map, before the descriptor is handed
    /// out.
    fn initialize(&self, network: NetworkNamespace) {
        let layout = self.layout();
        layout.network_device.store(network.device, Ordering::Relaxed);
        layout.network_inode.store(network.inode, Ordering::Relaxed);
        layout.version.store(VERSION, Ordering::Relaxed);
        layout.magic.store(MAGIC, Ordering::Release);
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this length, and no reference outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.0.as_ptr().cast(), PAGE_LEN) };
    }
}

// SAFETY: the memory belongs to no thread, and all access to it is atomic.
unsafe impl Send for Map {}
// SAFETY: as for `Send`.
unsafe impl Sync for Map {}

/// A memfd that can be sealed and never executed.
fn memfd() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Some systems refuse memfds that do not give up execution; kernels before 6.3 do not know how.
    match rustix::fs::memfd_create(NAME, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(rustix::io::Errno::INVAL) => Ok(rustix::fs::memfd_create(NAME, flags)?),
        result => Ok(result?),
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Shown in `/proc/<pid>/maps` of every reader.
const NAME: &str = "teredo-state";
const MAGIC: u64 = u64::from_ne_bytes(*b"TEREDO\0P");
const VERSION: u32 = 1;
/// Without these a reader could be hurt: neither truncation nor, by FUTURE_WRITE, holes.
const NEEDED_SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::FUTURE_WRITE);

/// The size of the memfd: the smallest page there is.
const PAGE_LEN: usize = 4096;
const _: () = assert!(size_of::<Layout>() == 40);

/// Set in a robust futex by the kernel when its owner ended (`FUTEX_OWNER_DIED`).
const OWNER_DIED: u32 = 0x4000_0000;
/// The part of a robust futex that names its owner (`FUTEX_TID_MASK`). Never interpreted: the
/// number is one of the owner's process-id namespace.
const TID_MASK: u32 = 0x3fff_ffff;
/// What the kernel takes for the size of a `robust_list_head`: three words.
const ROBUST_HEAD_LEN: usize = 3 * size_of::<usize>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_what_is_published_until_the_owner_goes() {
        let page = OwnedPage::create().unwrap();
        let reader = MappedPage::map(page.as_fd()).unwrap();
        assert_eq!(reader.word(), Some(0));
        page.publish(0x1234_5678_9abc_def0);
        assert_eq!(reader.word(), Some(0x1234_5678_9abc_def0));
        assert_eq!(reader.network_namespace(), NetworkNamespace::current().unwrap());
        drop(page);
        assert_eq!(reader.word(), None);
    }

    #[test]
    fn the_kernel_marks_the_word_of_a_thread_that_ends_without_letting_go() {
        let owner = AtomicU32::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                let hold = Hold::take(&owner).unwrap();
                assert_eq!(owner.load(Ordering::Acquire) & OWNER_DIED, 0);
                std::mem::forget(hold);
            });
        });
        // The scope may end a moment before the kernel's thread does.
        let start = std::time::Instant::now();
        while owner.load(Ordering::Acquire) != OWNER_DIED {
            assert!(start.elapsed().as_secs() < 5, "{:#x}", owner.load(Ordering::Acquire));
            thread::yield_now();
        }
    }

    #[test]
    fn nobody_else_can_write_truncate_or_punch_holes() {
        let page = OwnedPage::create().unwrap();
        assert!(Map::new(page.as_fd(), Access::Write).is_err());
        assert!(rustix::fs::ftruncate(page.as_fd(), 0).is_err());
        assert!(rustix::io::pwrite(page.as_fd(), &[0; 8], 0).is_err());
        let hole = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
        assert!(rustix::fs::fallocate(page.as_fd(), hole, 0, PAGE_LEN as u64).is_err());
        assert_eq!(rustix::io::fcntl_getfd(page.as_fd()).unwrap(), rustix::io::FdFlags::CLOEXEC);
    }

    #[test]
    fn anything_else_is_refused() {
        let refused = |fd: BorrowedFd<'_>| {
            MappedPage::map(fd).is_err_and(|error| error.kind() == io::ErrorKind::InvalidData)
        };
        let open = memfd().unwrap();
        rustix::fs::ftruncate(&open, PAGE_LEN as u64).unwrap();
        assert!(refused(open.as_fd()), "unsealed");
        rustix::fs::fcntl_add_seals(&open, SealFlags::SHRINK | SealFlags::GROW).unwrap();
        assert!(refused(open.as_fd()), "sealed, but holes are possible");
        rustix::fs::fcntl_add_seals(&open, NEEDED_SEALS).unwrap();
        assert!(refused(open.as_fd()), "zeros");
        for len in [0, 1, PAGE_LEN - 1, PAGE_LEN + 1, 2 * PAGE_LEN] {
            let wrong = memfd().unwrap();
            rustix::fs::ftruncate(&wrong, len as u64).unwrap();
            rustix::fs::fcntl_add_seals(&wrong, NEEDED_SEALS).unwrap();
            assert!(refused(wrong.as_fd()), "{len} bytes");
        }
        let (pipe, _) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        assert!(refused(pipe.as_fd()), "a socket");
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert!(refused(file.as_fd()), "a file");
    }

    #[test]
    fn a_page_of_another_version_is_refused() {
        let fd = memfd().unwrap();
        rustix::fs::ftruncate(&fd, PAGE_LEN as u64).unwrap();
        let map = Map::new(fd.as_fd(), Access::Write).unwrap();
        rustix::fs::fcntl_add_seals(&fd, NEEDED_SEALS).unwrap();
        map.initialize(NetworkNamespace::current().unwrap());
        assert!(MappedPage::map(fd.as_fd()).is_ok_and(|page| page.word().is_none()), "no owner");
        map.layout().version.store(VERSION + 1, Ordering::Relaxed);
        assert!(MappedPage::map(fd.as_fd()).is_err(), "version");
        map.layout().version.store(VERSION, Ordering::Relaxed);
        map.layout().magic.store(!MAGIC, Ordering::Relaxed);
        assert!(MappedPage::map(fd.as_fd()).is_err(), "magic");
    }
}
