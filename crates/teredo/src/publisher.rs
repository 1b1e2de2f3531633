//! What a role tells the rest of its host, and what it is told.

use std::os::fd::{AsFd, BorrowedFd};

use teredo_control::server::{Command, Config, Server, StartError};
use teredo_control::{AllowedRule, RuntimeDir, Sandbox, Snapshot};

use crate::report::Report;

/// Publishes the state of a role to the programs of this host, or does nothing.
#[derive(Default)]
pub(crate) struct Publisher {
    server: Option<Server>,
    /// Published with every state.
    sandbox: Option<Sandbox>,
}

impl Publisher {
    /// Publishes `first`, from a thread of its own. Where that cannot be done it says so once, and
    /// nothing is published: a role in another network namespace is as good without.
    ///
    /// The thread is in the sandbox that this one is in.
    pub(crate) fn start(report: &Report, first: Snapshot, sandbox: &Sandbox) -> Self {
        let mut publisher = Self { server: None, sandbox: Some(sandbox.clone()) };
        if let Err(error) = publisher.serve(first) {
            report.say(&format!(
                "other programs cannot ask this one for its port and state: {error} \
                 (TEREDO_RUNTIME_DIR names another place)"
            ));
        }
        publisher
    }

    /// Tries again what did not work at the start: who was in the way may be gone.
    pub(crate) fn retry(&mut self, report: &Report, first: Snapshot) {
        if self.server.is_none() && self.serve(first).is_ok() {
            report.say("other programs can ask this one for its port and state now");
        }
    }

    fn serve(&mut self, first: Snapshot) -> Result<(), StartError> {
        let first = Snapshot { sandbox: self.sandbox.clone(), ..first };
        let directory = RuntimeDir::from_environment();
        let config = Config { group: Config::group_named(GROUP), ..Config::default() };
        self.server = Some(Server::start(&directory, config, first)?);
        Ok(())
    }

    /// Tells everybody what is the case now. Costs little if that is nothing new.
    pub(crate) fn publish(&self, snapshot: Snapshot) {
        if let Some(server) = &self.server {
            server.publish(Snapshot { sandbox: self.sandbox.clone(), ..snapshot });
        }
    }

    /// Tells who asks what may come in unasked.
    pub(crate) fn publish_rules(&self, rules: Vec<AllowedRule>) {
        if let Some(server) = &self.server {
            server.publish_rules(rules);
        }
    }

    /// The next thing that somebody wants of the role.
    pub(crate) fn command(&self) -> Option<Command> {
        self.server.as_ref().and_then(Server::command)
    }

    /// Readable while there is a [`command`](Self::command).
    pub(crate) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.server.as_ref().map(AsFd::as_fd)
    }
}

/// The group whose members may change settings.
const GROUP: &str = "teredo";
