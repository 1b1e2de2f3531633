//! The run of a lab, act by act.

use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use teredo_sys::epoll::{Events, Interest, Poller};
use teredo_sys::signal::{Caught, Signal, Signals};

use super::Args;
use super::cast::{Note, Role};
use super::command;
use super::ground::Ground;
use super::helper;
use super::knock;
use super::ping::Pings;
use super::place::{Host, INTERNET, RELAY, SERVER, SERVER_SECONDARY, V6HOST};
use super::results::{ClientResult, PingResult, Results, milliseconds};
use super::story::Story;
use super::transfer::Transfer;
use crate::exit::Exit;

/// A lab in which the curtain is up.
pub(super) struct Show<'a> {
    args: &'a Args,
    program: PathBuf,
    pub(super) ground: Ground,
    pub(super) story: Story,
    pub(super) results: Results,
    pub(super) roles: [Option<Role>; Host::ALL.len()],
    is_ready: [bool; Host::ALL.len()],
    /// Why a client is off-line.
    reasons: [Option<String>; Host::ALL.len()],
    pub(super) notes: Receiver<Note>,
    sender: Sender<Note>,
}

/// Why a lab has failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// What the program ends with.
    pub(super) exit: Exit,
    /// What to tell.
    pub(super) error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { exit: Exit::Failed, error: error.into() }
    }
}

impl<'a> Show<'a> {
    /// A lab on `ground`, whose roles are started from `program`.
    pub(super) fn new(
        args: &'a Args,
        program: PathBuf,
        ground: Ground,
        story: Story,
        signals: Signals,
    ) -> anyhow::Result<Self> {
        let (sender, notes) = mpsc::channel();
        let watcher = sender.clone();
        let watch = move || watch(&signals, |caught| watcher.send(Note::Signal(caught)).is_ok());
        let thread = thread::Builder::new().name("signals".into());
        thread.spawn(watch).context("cannot start a thread")?;
        let results = Results::of(args);
        let (roles, reasons) = ([const { None }; _], [const { None }; _]);
        let is_ready = [false; _];
        Ok(Self { args, program, ground, story, results, roles, is_ready, reasons, notes, sender })
    }

    /// Plays all of it.
    pub(super) fn run(&mut self) -> Result<Exit, Failure> {
        if let Some(patience_s) = self.args.pair {
            return self.meet(Duration::from_secs(patience_s));
        }
        self.serve(&[Host::Server, Host::Relay])?;
        for client in Host::CLIENTS {
            self.qualify(client)?;
        }
        self.settle()?;
        if !self.args.command.is_empty() {
            return command::run(self, &self.args.command);
        }
        let relay = self.ping_relay();
        // What went wrong with one destination says nothing about the other.
        let peer = match &relay {
            Err(failure) if failure.error.is::<Interrupted>() => Ok(()),
            Ok(()) | Err(_) => self.ping_peer(),
        };
        relay.and(peer)?;
        self.transfer()?;
        self.knock()?;
        Ok(Exit::Ok)
    }

    /// Starts the server, and perhaps the relay.
    pub(super) fn serve(&mut self, roles: &[Host]) -> Result<(), Failure> {
        let [server, secondary, relay] = [SERVER, SERVER_SECONDARY, RELAY].map(|it| it.to_string());
        let has_helper = self.args.techniques.traversal().helper;
        for &host in roles {
            if host == Host::Relay {
                self.start(host, &["relay", "--address", &relay])?;
                continue;
            }
            let mut words = vec!["server", "--address", &server, "--secondary", &secondary];
            let helping = has_helper.then(|| helper::server_words(&self.ground)).transpose()?;
            words.extend(helping.iter().flatten().map(String::as_str));
            self.start(host, &words)?;
        }
        let deadline = Instant::now() + READY_MAX;
        self.wait(deadline, |show| roles.iter().all(|host| show.is_ready[host.index()]))?;
        let late = roles.iter().find(|host| !self.is_ready[host.index()]);
        if let Some(&host) = late {
            return Err(self.blame(host, "does not get ready").into());
        }
        self.story.serving();
        Ok(())
    }

    /// Starts a client and waits for its address.
    pub(super) fn qualify(&mut self, client: Host) -> Result<(), Failure> {
        let [server, secondary] = [SERVER, SERVER_SECONDARY].map(|it| it.to_string());
        let fixed = ["client", "--server", &server, "--secondary", &secondary, "--allow", "echo"];
        let mut further = self.args.techniques.words();
        if self.args.techniques.traversal().helper {
            further.extend(helper::client_words(&self.ground, client));
        }
        let words = fixed.into_iter().chain(["--with", "birthday"]);
        let words: Vec<_> = words.chain(further.iter().map(String::as_str)).collect();
        self.start(client, &words)?;
        let deadline = Instant::now() + QUALIFIED_MAX + self.round_trips(3);
        self.wait(deadline, |show| {
            show.client(client).is_qualified() || show.reasons[client.index()].is_some()
        })?;
        self.expect_qualified(client)?;
        self.story.qualified(client, self.results.client(client));
        Ok(())
    }

    /// Waits until the clients know what NATs they are behind, which takes the answer of the
    /// server's secondary address.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + SETTLED_MAX + self.round_trips(2);
        self.wait(deadline, |show| {
            let knows =
                |client| show.client(client).knows_nat() || show.reasons[client.index()].is_some();
            Host::CLIENTS.into_iter().all(knows)
        })?;
        let results = [&self.results.client1, &self.results.client2];
        self.story.nats(self.args.nat.0, results);
        for client in Host::CLIENTS {
            self.expect_qualified(client)?;
        }
        Ok(())
    }

    fn ping_relay(&mut self) -> Result<(), Failure> {
        let pings = self.ping(V6HOST)?;
        self.results.relay_ping = pings;
        self.story.pings("IPv6 host, through the relay", &pings);
        let exit = if pings.received == 0 { Exit::NoRelay } else { Exit::Failed };
        expect_all(&pings, "the IPv6 host, through the relay", exit)
    }

    fn ping_peer(&mut self) -> Result<(), Failure> {
        let peer = self.results.client2.address.context("client 2 has no address")?;
        let pings = self.ping(peer)?;
        self.results.peer_ping = pings;
        self.story.pings("client 2, through both NATs", &pings);
        expect_all(&pings, "client 2", Exit::Failed)
    }

    fn ping(&mut self, to: std::net::Ipv6Addr) -> Result<PingResult, Failure> {
        let patience = PING_MAX + self.round_trips(4);
        let from = self.ground.namespace(Host::Client1).clone();
        let pings = Pings::send(&from, to, patience, || self.check())?;
        Ok(PingResult::from(&pings))
    }

    fn transfer(&mut self) -> Result<(), Failure> {
        let bytes = self.args.bytes.0;
        let [from, to] = [Host::Client1, Host::Native].map(|it| self.ground.namespace(it).clone());
        let transfer = Transfer::run(&from, &to, V6HOST, bytes, |done| {
            self.story.progress(done, bytes);
            self.check()
        })
        .context("TCP to the IPv6 host, through the relay")?;
        self.results.transfer = (&transfer).into();
        self.story.transferred(&self.results.transfer, transfer.time.as_secs_f64());
        Ok(())
    }

    /// Tries what nobody has asked for, on the way that the transfer has just taken.
    fn knock(&mut self) -> Result<(), Failure> {
        let client = self.results.client1.address.context("client 1 has no address")?;
        let [from, to] = [Host::Native, Host::Client1].map(|it| self.ground.namespace(it));
        let is_refused = knock::is_refused(from, to, client, KNOCK_MAX + self.round_trips(2))?;
        self.check()?;
        self.results.unsolicited_refused = is_refused;
        if !is_refused {
            return Err(anyhow!("client 1 was reached though nobody there has asked").into());
        }
        self.story.refused();
        Ok(())
    }

    fn start(&mut self, host: Host, arguments: &[&str]) -> anyhow::Result<()> {
        let common = ["--allow-ipv4", INTERNET, "--json"];
        let arguments = [arguments, &common].concat();
        let notes = self.sender.clone();
        let words = is_verbose();
        let role = Role::start(&self.program, &self.ground, host, &arguments, notes, words)?;
        self.roles[host.index()] = Some(role);
        Ok(())
    }

    /// Takes notes until `is_done` or the deadline.
    fn wait(&mut self, deadline: Instant, is_done: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        while !is_done(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.notes.recv_timeout(left) {
                Ok(note) => self.take(note)?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(())
    }

    /// Takes the notes that are there.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        while let Ok(note) = self.notes.try_recv() {
            self.take(note)?;
        }
        Ok(())
    }

    /// Takes note of what has happened; what ends the lab is an error.
    pub(super) fn take(&mut self, note: Note) -> anyhow::Result<()> {
        match note {
            Note::Signal(caught) if caught.signal == Signal::Child => {}
            Note::Signal(_) => return Err(Interrupted.into()),
            Note::Ended(host) => {
                let end = self.roles[host.index()].as_mut().map(Role::end).transpose()?;
                let end = end.map(|status| format!("has ended ({status})")).unwrap_or_default();
                return Err(self.blame(host, &end));
            }
            Note::Fact(host, at, fact) if fact.event == "state" => {
                let started = self.roles[host.index()].as_ref().map(|role| role.started);
                let result = self.results.client_mut(host);
                result.update(&fact);
                let time = result.is_qualified().then_some(at).zip(started);
                if let Some((at, started)) = time {
                    result.qualified_ms.get_or_insert(milliseconds(at - started));
                } else {
                    result.qualified_ms = None;
                }
                self.reasons[host.index()] = fact.reason.filter(|reason| reason != "stopped");
            }
            Note::Fact(host, _, fact) if fact.event == "mapping" => {
                self.results.client_mut(host).external = fact.external;
            }
            Note::Fact(host, _, fact) => self.is_ready[host.index()] |= fact.event == "ready",
        }
        Ok(())
    }

    /// Tells what the roles have said last, unless it has been told or is nothing new.
    pub(super) fn tell_last_words(&mut self) {
        if is_verbose() {
            return;
        }
        for (host, role) in Host::ALL.into_iter().zip(&self.roles) {
            for words in role.iter().flat_map(Role::last_words) {
                self.story.said(host, &words);
            }
        }
    }

    /// What to tell when a role does not do what it should.
    fn blame(&self, host: Host, what: &str) -> anyhow::Error {
        let words = self.roles[host.index()].as_ref().and_then(|role| role.last_words().pop());
        let words = words.map(|words| format!(": {words}")).unwrap_or_default();
        anyhow!("{} {what}{words}", host.name())
    }

    fn expect_qualified(&self, client: Host) -> Result<(), Failure> {
        if self.client(client).is_qualified() {
            return Ok(());
        }
        let name = client.name();
        let error = match self.reasons[client.index()].as_deref() {
            Some(reason) => anyhow!("{name} did not qualify: {reason}"),
            None => anyhow!("{name} did not qualify in time"),
        };
        Err(Failure { exit: Exit::NotQualified, error })
    }

    fn client(&self, client: Host) -> &ClientResult {
        self.results.client(client)
    }

    /// The time that `count` packets take from host to host and back.
    fn round_trips(&self, count: u32) -> Duration {
        Duration::from_millis(4 * self.args.delay) * count
    }
}

/// Somebody has asked the lab to end.
#[derive(Debug)]
pub(super) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

fn expect_all(pings: &PingResult, whom: &str, exit: Exit) -> Result<(), Failure> {
    let PingResult { sent, received, .. } = pings;
    if received == sent {
        return Ok(());
    }
    Err(Failure { exit, error: anyhow!("{received} of {sent} pings to {whom} were answered") })
}

/// Tells of signals, as long as somebody listens.
pub(super) fn watch(
    signals: &Signals,
    mut tell: impl FnMut(Caught) -> bool,
) -> std::io::Result<()> {
    let poller = Poller::new()?;
    poller.add(signals, 0, Interest::Read)?;
    let mut events = Events::with_capacity(1);
    loop {
        poller.wait(&mut events, None)?;
        while let Some(caught) = signals.read()? {
            if !tell(caught) {
                return Ok(());
            }
        }
    }
}

/// Whether everything is to be told.
pub(super) fn is_verbose() -> bool {
    tracing::enabled!(tracing::Level::DEBUG)
}

/// A role is ready in a few milliseconds; this is long for a machine that is swapping.
const READY_MAX: Duration = Duration::from_secs(10);
/// A client gives up by itself after three transmissions, four seconds apart (RFC 4380 section
/// 5.2.1); a little longer.
const QUALIFIED_MAX: Duration = Duration::from_secs(15);
/// The secondary address answers in one more round trip, if it does.
const SETTLED_MAX: Duration = Duration::from_secs(2);
/// Longer than a client waits between two bubbles (RFC 4380 section 5.2.6), so that a lost one
/// shows as a late answer instead of none.
const PING_MAX: Duration = Duration::from_secs(3);
/// A connection is there after one round trip, if it is let in; much longer than that.
const KNOCK_MAX: Duration = Duration::from_millis(300);
