//! What everything that a process has registered for comes from: one connection to the daemon and
//! one to the kernel for each network namespace, and a thread that reads them.
//!
//! It begins with the first registration and ends with the last.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use teredo_control::{Event, RuntimeDir, Snapshot, Subscription};
use teredo_sys::epoll::{Events, Interest, Poller};
use teredo_sys::fork::Private;
use teredo_sys::netlink::{Monitor, Netlink};
use teredo_sys::page::NetworkNamespace;
use teredo_sys::signal;

use crate::address::{Family, Host, UnicastAddress};
use crate::error::Error;
use crate::host::{changes, stable_table};
use crate::inbox::{Change, Inbox};
use crate::registration::Registration;
use crate::teredo::{self, Stage};

/// The hubs of a process: one for each network namespace in which something is registered.
#[derive(Debug)]
pub(crate) struct Hubs(Mutex<Vec<Arc<Hub>>>);

impl Hubs {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Adds a registration to the hub of this thread's network namespace. What happens from now on
    /// is told; `begin` sees what is the case.
    pub(crate) fn attach(
        &self,
        registration: &Arc<Registration>,
        begin: impl FnOnce(&World, &mut Inbox),
    ) -> Result<Arc<Hub>, Error> {
        let namespace = NetworkNamespace::current()?;
        let mut hubs = lock(&self.0);
        let found = hubs.iter().find(|hub| hub.namespace == namespace);
        let hub = match found {
            Some(hub) => Arc::clone(hub),
            None => {
                let hub = Hub::start(namespace)?;
                hubs.push(Arc::clone(&hub));
                hub
            }
        };
        // Under the lock of the hubs, so that the hub is not given up meanwhile.
        hub.attach(registration, begin);
        Ok(hub)
    }

    /// Takes a registration away; the last one takes its hub with it.
    pub(crate) fn detach(&self, registration: &Arc<Registration>) {
        let mut hubs = lock(&self.0);
        hubs.retain(|hub| {
            let mut state = lock(&hub.state);
            let before = state.registrations.len();
            state.registrations.retain(|it| !Arc::ptr_eq(it, registration));
            let is_unused = before != 0 && state.registrations.is_empty();
            if is_unused {
                hub.stop();
            }
            !is_unused
        });
    }
}

/// The thread that reads for a network namespace, seen from outside.
#[derive(Debug)]
pub(crate) struct Hub {
    namespace: NetworkNamespace,
    state: Mutex<State>,
    /// The daemon has said something, or is known to be absent.
    heard: Condvar,
    /// Ends the thread.
    stop: Private<UnixStream>,
}

/// What there is to know in a network namespace.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// 0: none.
    pub(crate) port: u16,
    pub(crate) stage: Stage,
    pub(crate) host: Host,
}

struct State {
    world: World,
    netlink: Private<Netlink>,
    /// Whether it is known if there is a daemon.
    has_heard: bool,
    /// Nothing while there is no daemon.
    daemon: Option<Daemon>,
    registrations: Vec<Arc<Registration>>,
}

/// The daemon that we are connected to.
#[derive(Clone, Copy)]
struct Daemon {
    /// It is one for another network namespace.
    is_foreign: bool,
    /// How often its port has changed.
    port_changes: u64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("world", &self.world).finish_non_exhaustive()
    }
}

impl Hub {
    /// The thread belongs to the network namespace of the calling one.
    fn start(namespace: NetworkNamespace) -> Result<Arc<Self>, Error> {
        let (stop, stopped) = UnixStream::pair()?;
        let (stop, stopped) = (Private::new(stop)?, Private::new(stopped)?);
        // Before the first look, so that nothing is missed in between.
        let monitor = Private::new(Monitor::open_without_routes()?)?;
        let mut netlink = Private::new(Netlink::open()?)?;
        let host = Host::read_with(&mut netlink)?;
        let subscription = Subscription::new(RuntimeDir::from_environment())?;
        let poller = Private::new(Poller::new()?)?;
        poller.add(&stopped, STOPPED, Interest::Read)?;
        poller.add(&monitor, HOST, Interest::Read)?;
        poller.add(&subscription, DAEMON, Interest::Read)?;
        let state = State {
            world: World { host, ..World::default() },
            netlink,
            has_heard: false,
            daemon: None,
            registrations: Vec::new(),
        };
        let hub =
            Arc::new(Self { namespace, state: Mutex::new(state), heard: Condvar::new(), stop });
        let reader = Reader { hub: Arc::clone(&hub), poller, monitor, subscription, stopped };
        let builder = thread::Builder::new().name("netioapi".into());
        signal::with_all_blocked(|| builder.spawn(move || reader.run()))?;
        Ok(hub)
    }

    fn stop(&self) {
        // It fails only if the thread has ended.
        let _ = (&*self.stop).write(&[0]);
    }

    fn attach(&self, registration: &Arc<Registration>, begin: impl FnOnce(&World, &mut Inbox)) {
        let mut state = self.wait_until_heard();
        // What this thread did before it registered is no change.
        state.look_at_host();
        registration.tell(|inbox| begin(&state.world, inbox));
        state.registrations.push(Arc::clone(registration));
    }

    /// A daemon that is there answers at once; one that hangs is not waited for.
    fn wait_until_heard(&self) -> MutexGuard<'_, State> {
        let state = lock(&self.state);
        let waiting = |state: &mut State| !state.has_heard;
        let (mut state, _) = self
            .heard
            .wait_timeout_while(state, FIRST_WORD_TIMEOUT, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        state.has_heard = true;
        state
    }
}

impl State {
    fn daemon_says(&mut self, snapshot: &Snapshot, port_changes: u64) {
        let before = self.daemon.map(|daemon| daemon.port_changes);
        let is_foreign = self.daemon.map_or_else(|| !teredo::is_here(), |it| it.is_foreign);
        self.daemon = Some(Daemon { is_foreign, port_changes });
        if is_foreign {
            return self.set_teredo(0, Stage::Unavailable, false);
        }
        let port = snapshot.port.map_or(0, NonZeroU16::get);
        let unseen = before.map_or(0, |before| port_changes.wrapping_sub(before));
        let was_interrupted = unseen > u64::from(port != self.world.port);
        self.set_teredo(port, Stage::from(snapshot), was_interrupted);
    }

    fn daemon_is_gone(&mut self) {
        self.daemon = None;
        self.set_teredo(0, Stage::Unavailable, false);
    }

    fn set_teredo(&mut self, port: u16, stage: Stage, was_interrupted: bool) {
        let has_new_stage = stage != self.world.stage;
        (self.world.port, self.world.stage) = (port, stage);
        for registration in &self.registrations {
            registration.tell(|inbox| {
                if let Inbox::Port(inbox) = inbox {
                    inbox.see(port, was_interrupted);
                }
            });
        }
        if has_new_stage {
            // The addresses that go with it are there already, the word of them perhaps not.
            self.look_at_host();
            self.tell_stability();
        }
    }

    /// Reads the addresses again and tells what has changed.
    fn look_at_host(&mut self) {
        // A kernel that does not answer is asked again at the next change.
        let Ok(host) = Host::read_with(&mut self.netlink) else { return };
        let changes = changes(&self.world.host, &host);
        self.world.host = host;
        if changes.is_empty() {
            return;
        }
        self.tell_changes(&changes);
        self.tell_stability();
    }

    fn tell_changes(&self, changes: &[(Change, UnicastAddress)]) {
        for registration in &self.registrations {
            registration.tell(|inbox| {
                if let Inbox::Addresses(inbox) = inbox {
                    changes.iter().for_each(|(change, row)| inbox.see(*change, row));
                }
            });
        }
    }

    fn tell_stability(&self) {
        let table = |family: Family| stable_table(&self.world, family);
        let mut must_wake = false;
        for registration in &self.registrations {
            registration.tell(|inbox| {
                if let Inbox::Stable(inbox) = inbox {
                    inbox.see(table(inbox.family()));
                    must_wake |= inbox.is_waiting() && inbox.family() != Family::V4;
                }
            });
        }
        if must_wake && self.world.stage == Stage::Dormant {
            // A daemon that was started anew while somebody waits does not know it. From a thread
            // of its own, because a daemon may take its time.
            let builder = thread::Builder::new().name("netioapi-wake".into());
            let _ = signal::with_all_blocked(|| builder.spawn(teredo::wake));
        }
    }
}

/// The thread that reads for a network namespace, from inside.
struct Reader {
    hub: Arc<Hub>,
    poller: Private<Poller>,
    monitor: Private<Monitor>,
    subscription: Subscription,
    stopped: Private<UnixStream>,
}

impl Reader {
    fn run(mut self) {
        let mut events = Events::with_capacity(4);
        loop {
            if self.poller.wait(&mut events, None).is_err() {
                // Nothing that passes by itself; not to be had all the time at least.
                thread::sleep(PAUSE);
            }
            for event in events.iter() {
                match event.token {
                    STOPPED => {
                        let _ = self.stopped.read(&mut [0]);
                        return;
                    }
                    HOST => self.read_host(),
                    _ => self.read_daemon(),
                }
            }
        }
    }

    fn read_host(&mut self) {
        match self.monitor.drain() {
            Ok(true) => {
                let mut state = lock(&self.hub.state);
                // Whoever registers for addresses looks for itself what there is.
                if state.registrations.iter().any(|it| it.wants_addresses()) {
                    state.look_at_host();
                }
            }
            Ok(false) => {}
            Err(_) => thread::sleep(PAUSE),
        }
    }

    fn read_daemon(&mut self) {
        let deadline = Instant::now() + DAEMON_TURN_MAX;
        loop {
            match self.subscription.poll() {
                Ok(Some(event)) => {
                    let mut state = lock(&self.hub.state);
                    match event {
                        Event::Status(status) => {
                            state.daemon_says(&status.snapshot, status.port_changes);
                        }
                        Event::Gone => state.daemon_is_gone(),
                    }
                    state.has_heard = true;
                    self.hub.heard.notify_all();
                }
                Ok(None) => return,
                Err(_) => return thread::sleep(PAUSE),
            }
            // The poller will say so if there is more.
            if Instant::now() > deadline {
                return;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const STOPPED: u64 = 0;
const HOST: u64 = 1;
const DAEMON: u64 = 2;
/// After a failure of the system itself, which would else be met again at once.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the first registration waits for the first word of a daemon: far longer than a busy
/// host needs, and short enough for a user at a desktop.
const FIRST_WORD_TIMEOUT: Duration = Duration::from_millis(500);
/// A daemon that never ends talking does not keep the thread from the addresses.
const DAEMON_TURN_MAX: Duration = Duration::from_millis(50);
