//! What clients want of the daemon.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::rules::RuleChange;
use crate::server::inbox::{Inbox, Waiting};
use crate::server::worker::ToWorker;
use crate::status::Settings;
use crate::varlink::CallError;

/// A wish of a client, checked and permitted.
#[derive(Debug)]
pub enum Command {
    /// A dormant client is to qualify. Any number of wishes are one.
    Wake,
    /// Settings are to change. The caller waits for the answer.
    Set(Settings, Responder),
    /// What may come in unasked is to change. The caller waits for the answer.
    Rules(RuleChange, Responder),
}

/// The caller of a command, who waits for an answer. Dropping this answers that the daemon failed.
pub struct Responder {
    connection: u64,
    worker: Option<Arc<Inbox<ToWorker>>>,
}

impl Responder {
    pub(super) fn new(connection: u64, worker: Arc<Inbox<ToWorker>>) -> Self {
        Self { connection, worker: Some(worker) }
    }

    /// Answers.
    pub fn answer(mut self, result: Result<(), SetError>) {
        self.send(result.map(|()| json!({})).map_err(CallError::from));
    }

    /// Answers a change of rules: whether it also holds when the daemon starts again.
    pub fn answer_kept(mut self, result: Result<bool, SetError>) {
        self.send(result.map(|kept| json!({ "kept": kept })).map_err(CallError::from));
    }

    /// Goes without answering, for somebody else does.
    pub(super) fn forget(mut self) {
        self.worker = None;
    }

    fn send(&mut self, result: Result<Value, CallError>) {
        if let Some(worker) = self.worker.take() {
            worker.with(|to_worker| to_worker.answers.push((self.connection, result)));
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.send(Err(CallError::SetFailed("the daemon gave no answer".to_owned())));
    }
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Responder").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// Why settings did not change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// A value is not possible; the name of the parameter.
    Invalid(&'static str),
    /// Something else, in words for the person who asked.
    Failed(String),
}

impl From<SetError> for CallError {
    fn from(error: SetError) -> Self {
        match error {
            SetError::Invalid(parameter) => Self::InvalidParameter(parameter.to_owned()),
            SetError::Failed(message) => Self::SetFailed(message),
        }
    }
}

/// What waits for the daemon.
#[derive(Default)]
pub(super) struct Commands {
    queue: VecDeque<Command>,
}

impl Commands {
    pub(super) fn wake(&mut self) {
        if !self.queue.iter().any(|command| matches!(command, Command::Wake)) {
            self.queue.push_back(Command::Wake);
        }
    }

    /// Gives the command back if there is no room.
    pub(super) fn change(
        &mut self,
        from: Responder,
        command: impl FnOnce(Responder) -> Command,
    ) -> Result<(), Responder> {
        if self.queue.len() >= COMMANDS_MAX {
            return Err(from);
        }
        self.queue.push_back(command(from));
        Ok(())
    }

    pub(super) fn next(&mut self) -> Option<Command> {
        self.queue.pop_front()
    }
}

impl Waiting for Commands {
    fn is_waiting(&self) -> bool {
        !self.queue.is_empty()
    }
}

/// Settings and rules change a few times in a host's life, and one connection can ask for one at a
/// time.
const COMMANDS_MAX: usize = 16;
