//! Registering, and the guard that ends a registration.

use std::num::NonZeroU16;
use std::sync::{Arc, OnceLock};

use crate::address::{Family, Host, UnicastAddress};
use crate::error::Error;
use crate::host::stable_table;
use crate::hub::{Hubs, World};
use crate::inbox::{Change, Inbox, Notice};
use crate::registration::{Callback, Registration};
use crate::registry::{Cookie, Registry};
use crate::teredo::{self, Stage};

/// A registration. Dropping it ends it.
#[derive(Debug)]
#[must_use = "dropping it ends the registration at once"]
pub struct Watch {
    cookie: Cookie,
}

impl Watch {
    /// Ends the registration, and waits until its callback has returned if it is running. It is
    /// not called afterwards, and what it owns has been dropped.
    ///
    /// From inside the callback itself this does not wait: the running call is then the last.
    pub fn cancel(self) {
        drop(self);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // In a child made by `fork` there is nothing to end.
        if cancel(self.cookie) == Err(Error::PossibleDeadlock)
            && let Some(registration) = Process::current().registry.find(self.cookie)
        {
            registration.abandon();
        }
    }
}

/// Word of the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortEvent {
    /// The port now, in host byte order; none if the client stopped. Always none in
    /// [`PortEventKind::Initial`].
    pub port: Option<NonZeroU16>,
    /// Why the callback is called.
    pub kind: PortEventKind,
}

/// Why the callback of [`watch_port`] is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortEventKind {
    /// The registration is confirmed.
    Initial,
    /// The port is another one.
    Changed,
}

/// Calls `callback` whenever the port changes: with the new one, or with none when the client
/// stops. With `initial` it is also called once before this function returns.
///
/// It works without a daemon too, and over any number of daemons that come and go. To miss
/// nothing, register first and then ask for [`port`](crate::port).
///
/// The callback runs on a thread of its own, never twice at once. While it runs, changes are
/// merged: the last port is always told, and never the same one twice in a row. A port that was
/// lost and got back is told as none and then the port.
///
/// # Errors
/// [`Error::NotEnoughMemory`], [`Error::NoResources`] and the like.
pub fn watch_port(
    initial: bool,
    mut callback: impl FnMut(PortEvent) + Send + 'static,
) -> Result<Watch, Error> {
    let callback = Box::new(move |notice: Notice| {
        let event = match notice {
            Notice::Initial => PortEvent { port: None, kind: PortEventKind::Initial },
            Notice::Port(port) => PortEvent { port, kind: PortEventKind::Changed },
            Notice::Address(..) | Notice::Stable(_) => return,
        };
        callback(event);
    });
    register_port(initial, callback, |_| {}).map(|cookie| Watch { cookie })
}

/// Word of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressEvent {
    /// The registration is confirmed.
    Initial,
    /// Something happened to this address.
    Changed(Change, UnicastAddress),
}

/// Calls `callback` whenever an address of this family comes, goes or changes. With `initial` it is
/// also called once before this function returns.
///
/// Threads and order are as for [`watch_port`]. What happens to one address while the callback
/// runs is merged into one event.
///
/// # Errors
/// [`Error::NotEnoughMemory`], [`Error::NoResources`] and the like.
pub fn watch_addresses(
    family: Family,
    initial: bool,
    mut callback: impl FnMut(AddressEvent) + Send + 'static,
) -> Result<Watch, Error> {
    let callback = Box::new(move |notice: Notice| {
        let event = match notice {
            Notice::Initial => AddressEvent::Initial,
            Notice::Address(change, row) => AddressEvent::Changed(change, row),
            Notice::Port(_) | Notice::Stable(_) => return,
        };
        callback(event);
    });
    register_addresses(family, initial, callback, |_| {}).map(|cookie| Watch { cookie })
}

/// The answer of [`stable_addresses`].
#[derive(Debug)]
pub enum Stable {
    /// The addresses are stable now. The callback is dropped and will not be called.
    Ready(Vec<UnicastAddress>),
    /// They are not yet: the callback is called when they are, and each time they become so again.
    Pending(Watch),
}

/// The usable addresses of this host, once none is still being checked and the Teredo client, if it
/// can have an address at all, has it. This is a request: a dormant client begins to qualify.
///
/// [`Family::V4`] waits for no Teredo. A client that is off, or turns out to be unable to qualify,
/// is not waited for.
///
/// # Errors
/// [`Error::NotEnoughMemory`], [`Error::NoResources`] and the like.
pub fn stable_addresses(
    family: Family,
    mut callback: impl FnMut(Vec<UnicastAddress>) + Send + 'static,
) -> Result<Stable, Error> {
    let callback = Box::new(move |notice: Notice| match notice {
        Notice::Stable(table) => callback(table),
        Notice::Initial | Notice::Port(_) | Notice::Address(..) => {}
    });
    Ok(match request_stable(family, callback, |_| {})? {
        StableOrCookie::Stable(table) => Stable::Ready(table),
        StableOrCookie::Pending(cookie) => Stable::Pending(Watch { cookie }),
    })
}

pub(crate) enum StableOrCookie {
    Stable(Vec<UnicastAddress>),
    Pending(Cookie),
}

pub(crate) fn request_stable(
    family: Family,
    callback: Callback,
    announce: impl FnOnce(Cookie),
) -> Result<StableOrCookie, Error> {
    let stage = if family == Family::V4 { Stage::Unavailable } else { teredo::stage() };
    let world = World { port: 0, stage, host: Host::read()? };
    if let Some(table) = stable_table(&world, family) {
        return Ok(StableOrCookie::Stable(table));
    }
    if stage == Stage::Dormant {
        teredo::wake();
    }
    let begin = |world: &World, inbox: &mut Inbox| {
        if let Inbox::Stable(inbox) = inbox {
            // It may have become stable since: then the callback is called at once.
            inbox.see(stable_table(world, family));
        }
    };
    register(Inbox::stable(family), None, callback, begin, announce).map(StableOrCookie::Pending)
}

pub(crate) fn register_port(
    initial: bool,
    callback: Callback,
    announce: impl FnOnce(Cookie),
) -> Result<Cookie, Error> {
    let begin = |world: &World, inbox: &mut Inbox| *inbox = Inbox::port(world.port);
    let first = initial.then_some(Notice::Initial);
    register(Inbox::port(0), first, callback, begin, announce)
}

pub(crate) fn register_addresses(
    family: Family,
    initial: bool,
    callback: Callback,
    announce: impl FnOnce(Cookie),
) -> Result<Cookie, Error> {
    let first = initial.then_some(Notice::Initial);
    register(Inbox::addresses(family), first, callback, |_, _| {}, announce)
}

/// `announce` gets the handle before the first call, which is made before this returns.
fn register(
    inbox: Inbox,
    first: Option<Notice>,
    callback: Callback,
    begin: impl FnOnce(&World, &mut Inbox),
    announce: impl FnOnce(Cookie),
) -> Result<Cookie, Error> {
    let process = Process::current();
    let registration = Registration::new(inbox, callback);
    let cookie = process.registry.insert(Arc::clone(&registration))?;
    let begun = process.hubs.attach(&registration, begin).and_then(|_| {
        let orphan = Arc::downgrade(&registration);
        registration.spawn(move || {
            if let Some(orphan) = orphan.upgrade() {
                process.bury(cookie, &orphan);
            }
        })
    });
    if let Err(error) = begun {
        process.bury(cookie, &registration);
        return Err(error);
    }
    announce(cookie);
    registration.start(first);
    Ok(cookie)
}

/// Ends a registration; see [`Registration::cancel`] for what it waits for.
///
/// # Errors
/// [`Error::InvalidParameter`] for what is no handle of this process, or no longer one.
pub(crate) fn cancel(cookie: Cookie) -> Result<(), Error> {
    let process = Process::current();
    let registration = process.registry.find(cookie).ok_or(Error::InvalidParameter)?;
    registration.cancel()?;
    process.bury(cookie, &registration);
    Ok(())
}

/// All that a process has registered. A child made by `fork` begins anew: it has neither the
/// threads nor the locks of its parent, only their memory.
#[derive(Debug)]
struct Process {
    id: u32,
    depth: usize,
    registry: Registry,
    hubs: Hubs,
    /// Of a process that was forked from this one, in its own copy of the memory.
    child: OnceLock<Box<Self>>,
}

impl Process {
    fn current() -> &'static Self {
        static FIRST: OnceLock<Process> = OnceLock::new();
        let id = std::process::id();
        let mut process = FIRST.get_or_init(|| Self::new(id, 0));
        while process.id != id {
            process = process.child.get_or_init(|| Box::new(Self::new(id, process.depth + 1)));
        }
        process
    }

    fn new(id: u32, depth: usize) -> Self {
        let (registry, hubs) = (Registry::new(depth), Hubs::new());
        Self { id, depth, registry, hubs, child: OnceLock::new() }
    }

    fn bury(&self, cookie: Cookie, registration: &Arc<Registration>) {
        self.hubs.detach(registration);
        self.registry.remove(cookie);
    }
}
