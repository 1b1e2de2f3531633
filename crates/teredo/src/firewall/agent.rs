//! Keeps the ruleset equal to the client's port until it is told to stop.

use std::io::{self, Read, Write};
use std::num::NonZeroU16;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use teredo_sys::epoll::{Events, Interest, Poller};
use teredo_sys::netlink::RulesetMonitor;
use teredo_sys::signal::{Signal, Signals};

use super::listing::{Fitness, Listing};
use super::nft::{Fault, Nft};
use super::plan::{Contents, Plan, Target};
use crate::exit::Exit;
use crate::report::Report;

/// Runs the agent.
pub(crate) fn run(plan: Plan, nft: Nft, report: Report) -> anyhow::Result<Exit> {
    // Before there is a second thread.
    let signals = Signals::new(&[Signal::Interrupt, Signal::Terminate, Signal::Hangup])?;
    // Register first and then ask, so that no change is missed: of the ruleset and of the port.
    let monitor = if nft.is_dry { None } else { Some(RulesetMonitor::open()?) };
    let (mut bell, mut rope) = UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    rope.set_nonblocking(true)?;
    let watch = netioapi::watch_port(false, move |_| {
        // What is told is not kept, only that there is news: the port is asked for when it is
        // needed, and so is never out of date. A full pipe rings already.
        let _ = rope.write(&[1]);
    });
    let watch = watch.context("cannot follow the port")?;
    let mut agent = Agent::start(plan, nft, report, monitor)?;

    let poller = Poller::new()?;
    for (source, token) in
        [signals.as_fd(), bell.as_fd()].into_iter().chain(agent.source()).zip(0..)
    {
        poller.add(source, token, Interest::Read)?;
    }
    let mut events = Events::with_capacity(SOURCES);
    loop {
        let due = agent.follow(netioapi::port().ok(), Instant::now());
        let left = due.map(|due| due.saturating_duration_since(Instant::now()));
        poller.wait(&mut events, left)?;
        if signals.read()?.is_some() {
            break;
        }
        drain(&mut bell)?;
        agent.listen();
    }
    watch.cancel();
    agent.end()
}

const SOURCES: usize = 3;

/// A change that comes soon after another waits this long after the beginning of that one's run,
/// and merges with those that come meanwhile. A port that was given up is gone after this and one
/// run of `nft`, with half of the 100 ms that it may take left for a busy host.
const PACE: Duration = Duration::from_millis(50);

/// After a failure, and if nobody changes the ruleset, it is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// Whoever undoes our work this often in this time is answered at longer intervals until that time
/// is over: we may be undoing theirs.
const RESTORATIONS_MAX: u32 = 10;
const RESTORATIONS_PERIOD: Duration = Duration::from_secs(10);
const RESTORATION_EVERY: Duration = Duration::from_secs(1);

/// In each timeout the elements get their full time again so often: two runs may fail.
const REFRESHES_PER_TIMEOUT: u32 = 3;

struct Agent {
    plan: Plan,
    nft: Nft,
    report: Report,
    /// None if nothing is changed, only printed.
    monitor: Option<RulesetMonitor>,
    /// What has been put into the sets. Nothing is known of them after a failure.
    told: Option<Contents>,
    /// The objects as they were made. None if they have to be made.
    made: Option<Listing>,
    /// Somebody else has changed the ruleset, perhaps what is ours.
    is_suspect: bool,
    /// How often that has been so since when.
    restorations: (u32, Instant),
    /// When to look again whether it is so.
    look_from: Instant,
    /// When to change something again.
    not_before: Instant,
    /// None while there are no elements.
    refresh_at: Option<Instant>,
    /// What was last said to be wrong.
    trouble: Option<String>,
}

impl Agent {
    /// Puts everything in place for the first time.
    fn start(
        plan: Plan,
        nft: Nft,
        report: Report,
        monitor: Option<RulesetMonitor>,
    ) -> anyhow::Result<Self> {
        let now = Instant::now();
        let mut agent = Self {
            plan,
            nft,
            report,
            monitor,
            told: None,
            made: None,
            is_suspect: false,
            restorations: (0, now),
            look_from: now,
            not_before: now + PACE,
            refresh_at: None,
            trouble: None,
        };
        let port = netioapi::port().ok();
        let contents = agent.plan.contents(port);
        let done = agent.make(&contents);
        done.with_context(|| format!("cannot keep {} up to date", agent.plan))?;
        agent.set_told(contents, now);
        agent.say_ready(port);
        Ok(agent)
    }

    fn source(&self) -> Option<BorrowedFd<'_>> {
        self.monitor.as_ref().map(AsFd::as_fd)
    }

    /// Takes note of what others do to the ruleset.
    fn listen(&mut self) {
        let Some(monitor) = &mut self.monitor else { return };
        // A failure to hear is as good as something heard.
        if monitor.drain(self.nft.process()).unwrap_or(true) {
            self.is_suspect = true;
            // What was missing may be there now.
            self.not_before = self.not_before.min(Instant::now() + PACE);
        }
    }

    /// Does what is due, and returns when the next is.
    fn follow(&mut self, port: Option<NonZeroU16>, now: Instant) -> Option<Instant> {
        let contents = self.plan.contents(port);
        let is_news = self.told.as_ref() != Some(&contents);
        let is_due = is_news || self.refresh_at.is_some_and(|at| at <= now);
        let may_look = self.is_suspect && now >= self.look_from;
        if now >= self.not_before && (is_due || may_look) {
            self.not_before = now + PACE;
            match self.put(&contents, is_due, may_look) {
                Ok(done) => {
                    if done != Done::Nothing {
                        self.set_told(contents.clone(), now);
                    }
                    let is_over = self.trouble.take().is_some();
                    if is_news || is_over || done == Done::Restored {
                        self.say_port(port, done == Done::Restored, now.elapsed());
                    }
                    if done == Done::Restored {
                        self.limit_restorations(now);
                    }
                }
                Err(fault) => {
                    self.told = None;
                    self.not_before = now + RETRY;
                    self.say_trouble(&fault);
                }
            }
        }
        if self.told.as_ref() != Some(&contents) {
            return Some(self.not_before);
        }
        let look_at = self.is_suspect.then(|| self.not_before.max(self.look_from));
        look_at.into_iter().chain(self.refresh_at).min()
    }

    fn limit_restorations(&mut self, now: Instant) {
        let (count, since) = &mut self.restorations;
        if now.duration_since(*since) >= RESTORATIONS_PERIOD {
            (*count, *since) = (0, now);
        }
        *count += 1;
        if *count == RESTORATIONS_MAX {
            self.report
                .say("somebody else changes the rules again and again; is there a second agent?");
        }
        if *count >= RESTORATIONS_MAX {
            self.look_from = now + RESTORATION_EVERY;
        }
    }

    /// Makes the ruleset what it should be. `is_due`: the elements are to be put there even if all
    /// is well; `may_look`: whether all is well.
    fn put(&mut self, contents: &Contents, is_due: bool, may_look: bool) -> Result<Done, Fault> {
        if may_look {
            self.is_suspect = false;
            if !self.is_as_told()? {
                self.make(contents)?;
                return Ok(Done::Restored);
            }
        }
        if !is_due {
            return Ok(Done::Nothing);
        }
        if self.made.is_some() {
            let update = self.plan.update(contents);
            match self.apply(&update) {
                Err(Fault::Missing) => {}
                result => return result.map(|()| Done::Put),
            }
        }
        self.make(contents).map(|()| Done::Put)
    }

    /// Whether the ruleset is as we have left it.
    fn is_as_told(&mut self) -> Result<bool, Fault> {
        let (Some(made), Some(told)) = (&self.made, &self.told) else { return Ok(false) };
        match self.nft.list(&self.plan.listed_as()) {
            Ok(listing) => Ok(listing.has_objects_of(made) && listing.holds(told)),
            Err(Fault::Missing) => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Makes everything anew.
    fn make(&mut self, contents: &Contents) -> Result<(), Fault> {
        self.made = None;
        if self.nft.is_dry {
            self.made = Some(Listing::default());
        } else if let Target::Set(_) = self.plan.target {
            // The administrator's: we can only look whether it fits.
            let listing = self.nft.list(&self.plan.listed_as())?;
            match listing.fitness() {
                Fitness::Fit => self.made = Some(listing),
                Fitness::WrongType => return Err(Fault::Other(WRONG_TYPE.to_owned())),
                Fitness::NoTimeouts => return Err(Fault::Other(NO_TIMEOUTS.to_owned())),
            }
        }
        let install = self.plan.install(contents);
        self.apply(&install)?;
        if self.made.is_none() {
            self.made = match self.nft.list(&self.plan.listed_as()) {
                Ok(listing) => {
                    let is_whole = listing.object_count() == self.plan.object_count();
                    is_whole.then_some(listing)
                }
                Err(Fault::Missing) => None,
                Err(fault) => return Err(fault),
            };
            // If somebody was faster than we could look, all is made anew when we hear of that, or
            // at the latest when the elements are due.
        }
        Ok(())
    }

    fn apply(&mut self, transaction: &super::model::Transaction) -> Result<(), Fault> {
        let result = self.nft.apply(transaction);
        // While it is known whose this was.
        self.listen();
        result
    }

    fn set_told(&mut self, contents: Contents, now: Instant) {
        let has_elements = contents.iter().any(|(_, keys)| !keys.is_empty());
        let timeout = Duration::from_secs(self.plan.timeout_s.into());
        self.refresh_at = has_elements.then(|| now + timeout / REFRESHES_PER_TIMEOUT);
        self.told = Some(contents);
    }

    /// Takes everything away.
    fn end(mut self) -> anyhow::Result<Exit> {
        clear(&self.plan, &mut self.nft)?;
        self.report.say("stopped; nothing is let through any more");
        Ok(Exit::Ok)
    }

    fn say_ready(&self, port: Option<NonZeroU16>) {
        let mark = match &self.plan.target {
            Target::Table(exceptions) => Some(exceptions.mark),
            Target::Set(_) => None,
        };
        let place = self.plan.to_string();
        let how = mark.map_or_else(String::new, |mark| format!("; the mark is {mark:#x}"));
        self.report.say(&format!("keeping {place}{how}; {}", port_in_words(port)));
        let elapsed_ms = self.report.elapsed_ms();
        let ready = Ready { event: "ready", role: "firewall", place, mark, port, elapsed_ms };
        self.report.fact(&ready);
    }

    fn say_port(&self, port: Option<NonZeroU16>, is_restored: bool, took: Duration) {
        let why = if is_restored { "somebody else has changed the rules; put back: " } else { "" };
        self.report.say(&format!("{why}{}", port_in_words(port)));
        self.report.fact(&PortSet {
            event: "port",
            port,
            restored: is_restored,
            nft_ms: took.as_micros() as f64 / 1_000.0,
            elapsed_ms: self.report.elapsed_ms(),
        });
    }

    fn say_trouble(&mut self, fault: &Fault) {
        let reason = format!("cannot keep {} up to date: {fault}", self.plan);
        if self.trouble.as_ref() != Some(&reason) {
            self.report.say(&reason);
            self.report.fact(&Trouble { event: "trouble", reason: &reason });
            self.trouble = Some(reason);
        }
    }
}

/// What became of the ruleset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// It was as it should be.
    Nothing,
    /// The elements are there, with all their time.
    Put,
    /// So they are, and what somebody else had changed is as it was.
    Restored,
}

/// Takes away what an agent puts there; if nothing is there, that is as good.
pub(crate) fn clear(plan: &Plan, nft: &mut Nft) -> anyhow::Result<()> {
    match nft.apply(&plan.clear()) {
        Ok(()) | Err(Fault::Missing) => Ok(()),
        Err(fault) => Err(fault).with_context(|| format!("cannot clear {plan}")),
    }
}

const WRONG_TYPE: &str = "it is not a set of ports (type inet_service)";
const NO_TIMEOUTS: &str = "its elements can have no timeout (declare it with flags timeout)";

/// Printed when everything is in place.
#[derive(Serialize)]
struct Ready {
    event: &'static str,
    role: &'static str,
    place: String,
    mark: Option<u32>,
    port: Option<NonZeroU16>,
    elapsed_ms: f64,
}

/// Printed when another port, or none, is let through.
#[derive(Serialize)]
struct PortSet {
    event: &'static str,
    port: Option<NonZeroU16>,
    /// Somebody else had changed the rules.
    restored: bool,
    /// How long it took, all runs of `nft` together.
    nft_ms: f64,
    elapsed_ms: f64,
}

/// Printed when something keeps the agent from its work. It goes on trying.
#[derive(Serialize)]
struct Trouble<'a> {
    event: &'static str,
    reason: &'a str,
}

fn port_in_words(port: Option<NonZeroU16>) -> String {
    match port {
        Some(port) => format!("UDP port {port} is let through"),
        None => "no port is let through: Teredo has none".to_owned(),
    }
}

fn drain(bell: &mut UnixStream) -> io::Result<()> {
    let mut rings = [0; 64];
    loop {
        match bell.read(&mut rings) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
