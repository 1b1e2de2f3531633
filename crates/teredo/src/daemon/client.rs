//! The client of a daemon: runs whenever it can, rests when it must not, and tries again when it
//! could not.

use std::io;
use std::time::Duration;

use anyhow::anyhow;
use teredo_control::server::{Command, SetError};
use teredo_control::{RuleChange, Snapshot};
use teredo_engine::io::Clock;
use teredo_engine::linux::BootClock;
use teredo_proto::Instant;
use teredo_sys::epoll::{Events, Interest, Poller};
use teredo_sys::sandbox::Needs;
use teredo_sys::signal::Signal;

use super::configuration::Configuration;
use super::finder::{Finder, Found};
use crate::client::{self, Args, Ended, Failure, Obstacle, Source, Start, serve, settings};
use crate::exit::Exit;
use crate::host::Watch;
use crate::publisher::Publisher;
use crate::report::Report;
use crate::sandbox::{self, Entered};

/// A client for as long as the daemon runs.
struct Life<'a> {
    configuration: &'a mut Configuration,
    args: Args,
    report: Report,
    sandbox: Entered,
    publisher: Publisher,
    watch: Watch,
    finder: Option<Finder>,
    last_port: Option<u16>,
    retry_delay: Duration,
    /// What was last said of why it does not run.
    said: Option<String>,
}

/// What to do next.
enum Next {
    /// Look again at once.
    Again,
    /// Wait: for the end of this time, or for a change.
    Rest(Option<Duration>),
    End(Exit),
}

pub(super) fn run(configuration: &mut Configuration) -> anyhow::Result<Exit> {
    let args = configuration.client()?;
    let report = Report::new(args.common.json);
    let watch = Watch::new()?;
    let sandbox = sandbox::enter(&needs(configuration, &args))?;
    let publisher = Publisher::start(&report, settings(&args), sandbox.state());
    let mut life = Life {
        configuration,
        args,
        report,
        sandbox,
        publisher,
        watch,
        finder: None,
        last_port: None,
        retry_delay: RETRY_DELAY_MIN,
        said: None,
    };
    loop {
        match life.live()? {
            Next::Again => {}
            Next::Rest(time) => {
                if !life.rest(time)? {
                    return Ok(Exit::Ok);
                }
            }
            Next::End(exit) => return Ok(exit),
        }
    }
}

/// What a client needs in its sandbox whose settings may be read again, and set.
fn needs(configuration: &Configuration, args: &Args) -> Needs {
    let mut needs = client::needs(args);
    needs.readable.extend(configuration.read_from());
    needs.writable.push(configuration.make_drop_ins());
    needs
}

impl Life<'_> {
    /// Runs the client if that is possible now.
    fn live(&mut self) -> anyhow::Result<Next> {
        self.publisher.retry(&self.report, settings(&self.args));
        self.publish_rules();
        if let Some(obstacle) = Obstacle::of(&self.args) {
            self.explain(obstacle.reason(), None, obstacle.words(&self.args));
            if obstacle == Obstacle::ManagedNetwork {
                // No change of the network comes with one of the resolver's file.
                self.watch.look_again(BootClock.now() + RETRY_DELAY_MAX);
            }
            return Ok(Next::Rest(None));
        }
        let name = self.args.server.clone().unwrap_or_default();
        let finder = match self.finder.take().filter(|finder| finder.is_for(&name)) {
            Some(finder) => finder,
            None => Finder::start(&name)?,
        };
        let found = finder.found();
        self.finder = Some(finder);
        match found {
            Found::NotYet => Ok(Next::Rest(None)),
            Found::Nothing => {
                let words = format!("the server's name {name} does not resolve");
                let error = anyhow!(words);
                Ok(self.failed(&Failure { reason: "unresolvable-server", error }))
            }
            Found::At(server) => {
                let start = Start {
                    report: self.report,
                    sandbox: &self.sandbox,
                    publisher: &self.publisher,
                    source: self.configuration,
                    watch: &mut self.watch,
                    server,
                    last_port: self.last_port,
                };
                // A name may stand for something else by the next time.
                self.finder = None;
                let began = BootClock.now();
                let result = serve(start, self.args.clone());
                if result.is_ok() || BootClock.now().since(began) > RETRY_DELAY_MAX {
                    // It has run: what went wrong before is over.
                    self.retry_delay = RETRY_DELAY_MIN;
                    self.said = None;
                }
                Ok(match result {
                    Ok(ended) => self.ended(ended),
                    Err(failure) => {
                        // What it was told while it ran holds for the next one too.
                        self.args = self.configuration.client()?;
                        self.failed(&failure)
                    }
                })
            }
        }
    }

    fn ended(&mut self, ended: Ended) -> Next {
        self.last_port = Some(ended.port);
        match ended.again {
            Some(args) => {
                self.args = args;
                Next::Again
            }
            None => Next::End(ended.exit),
        }
    }

    fn failed(&mut self, failure: &Failure) -> Next {
        let words = format!("{:#}; will try again", failure.error);
        self.explain(failure.reason, failure.code(), words);
        let delay = self.retry_delay;
        self.retry_delay = (2 * delay).min(RETRY_DELAY_MAX);
        Next::Rest(Some(delay))
    }

    /// Publishes why the client does not run, and says it once.
    fn explain(&mut self, reason: &str, code: Option<u32>, words: String) {
        self.publisher.publish(Snapshot {
            reason: Some(reason.to_owned()),
            error_code: code,
            ..settings(&self.args)
        });
        if self.said.as_ref() != Some(&words) {
            self.report.say(&words);
            self.said = Some(words);
        }
    }

    /// Waits for a reason to look again; `false` if the daemon is to end.
    fn rest(&mut self, time: Option<Duration>) -> anyhow::Result<bool> {
        let mut end = time.map(|time| BootClock.now() + time);
        let poller = Poller::new()?;
        let (signals, monitor) = self.watch.sources();
        poller.add(signals, SIGNALS, Interest::Read)?;
        poller.add(monitor, MONITOR, Interest::Read)?;
        if let Some(source) = self.publisher.source() {
            poller.add(source, COMMANDS, Interest::Read)?;
        }
        if let Some(finder) = &self.finder {
            poller.add(finder, ANSWER, Interest::Read)?;
        }
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let now = BootClock.now();
            if self.watch.is_due(now) {
                // What has just failed is not tried again for each change that this has caused.
                let soon = now + if time.is_some() { RETRY_DELAY_MIN } else { Duration::ZERO };
                end = Some(end.map_or(soon, |end| end.min(soon)));
            }
            if end.is_some_and(|end| end <= now) {
                self.retry()?;
                return Ok(true);
            }
            let deadline = self.watch.deadline().into_iter().chain(end).min();
            poller.wait(&mut events, deadline.map(|deadline| deadline.since(now)))?;
            for event in events.iter() {
                match self.react(event.token, now)? {
                    None => {}
                    Some(goes_on) => return Ok(goes_on),
                }
            }
        }
    }

    fn retry(&mut self) -> io::Result<()> {
        self.finder.as_mut().map_or(Ok(()), Finder::retry)
    }

    /// Reacts to a source that is ready; says whether to go on if the rest is over.
    fn react(&mut self, source: u64, now: Instant) -> anyhow::Result<Option<bool>> {
        match source {
            SIGNALS => match self.watch.signal()? {
                None => Ok(None),
                Some(Signal::Hangup) => Ok(self.reload()),
                Some(Signal::Interrupt | Signal::Terminate | Signal::Child) => Ok(Some(false)),
            },
            MONITOR => {
                self.watch.note_change(now)?;
                Ok(None)
            }
            COMMANDS => Ok(self.answer()),
            _ => {
                if let Some(finder) = &mut self.finder {
                    finder.take_answer();
                }
                Ok(Some(true))
            }
        }
    }

    fn reload(&mut self) -> Option<bool> {
        match self.configuration.reload()? {
            Ok(args) => {
                self.args = args;
                Some(true)
            }
            Err(error) => {
                self.report.say(&format!("keeping the settings: {error:#}"));
                None
            }
        }
    }

    fn answer(&mut self) -> Option<bool> {
        let mut is_changed = false;
        while let Some(command) = self.publisher.command() {
            match command {
                // Who waits for an address waits for the end of what keeps it from coming.
                Command::Wake => {}
                Command::Set(settings, responder) => match self.configuration.set(&settings) {
                    Ok(args) => {
                        self.args = args;
                        is_changed = true;
                        responder.answer(Ok(()));
                    }
                    Err(error) => responder.answer(Err(error)),
                },
                Command::Rules(change, responder) => {
                    responder.answer_kept(self.change_rules(&change));
                }
            }
        }
        is_changed.then_some(true)
    }

    fn change_rules(&mut self, change: &RuleChange) -> Result<bool, SetError> {
        let rules = self.args.rules().changed(change)?;
        let is_kept = self.configuration.keep(&rules)?;
        self.args.allow_added.clone_from(&rules.added);
        self.publish_rules();
        Ok(is_kept)
    }

    /// Tells what may come in when the client runs: now, no socket matters.
    fn publish_rules(&self) {
        self.publisher.publish_rules(self.args.rules().listing(|_| None));
    }
}

const SIGNALS: u64 = 0;
const MONITOR: u64 = 1;
const COMMANDS: u64 = 2;
const ANSWER: u64 = 3;
const EVENTS_MAX: usize = 4;

/// The first and the longest wait after a failure. A host that boots gets its network, its name
/// service and its modules within seconds; what lasts is not worth more than a try a minute.
const RETRY_DELAY_MIN: Duration = Duration::from_secs(2);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(60);
