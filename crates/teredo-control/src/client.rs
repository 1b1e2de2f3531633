//! Single calls.

use std::time::{Duration, Instant};
use std::{fmt, io};

use rustix::event::PollFlags;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::RuntimeDir;
use crate::connect::{ConnectError, Patience, wait};
use crate::link::{Link, Received};
use crate::rules::{AllowedRules, RuleChange};
use crate::status::{Settings, Status};
use crate::varlink::{CallError, Info, Reply, Request};

/// A connection to the daemon for one call after the other.
#[derive(Debug)]
pub struct Client {
    link: Link,
    /// For each call.
    timeout: Duration,
}

impl Client {
    /// Connects. Neither this nor a call takes longer than `timeout`.
    ///
    /// # Errors
    /// Why there is no connection.
    pub fn connect(directory: &RuntimeDir, timeout: Duration) -> Result<Self, Error> {
        let patience = Patience::Until(Instant::now() + timeout);
        Ok(Self { link: Link::open(directory, patience)?, timeout })
    }

    /// What is the case.
    ///
    /// # Errors
    /// Those of any call. The connection is of no use after any but [`Error::Call`].
    pub fn status(&mut self) -> Result<Status, Error> {
        self.call(&Request::GetStatus { subscribe: false })
    }

    /// Makes a dormant client qualify. Does not wait for it: watch the state for that.
    ///
    /// # Errors
    /// Those of any call.
    pub fn wake(&mut self) -> Result<(), Error> {
        self.call::<Nothing>(&Request::Wake).map(|_| ())
    }

    /// Changes settings; returns when the daemon has taken them.
    ///
    /// # Errors
    /// `PermissionDenied`, `InvalidParameter` and `SetFailed` of [`CallError`], and those of any
    /// call. Nothing has changed then.
    pub fn set_state(&mut self, settings: &Settings) -> Result<(), Error> {
        self.call::<Nothing>(&Request::SetState(settings.clone())).map(|_| ())
    }

    /// What may come in unasked.
    ///
    /// # Errors
    /// Those of any call.
    pub fn rules(&mut self) -> Result<AllowedRules, Error> {
        self.call(&Request::ListRules)
    }

    /// Changes what may come in unasked; returns when that holds, and says whether it also will
    /// when the daemon starts again.
    ///
    /// # Errors
    /// As [`set_state`](Self::set_state).
    pub fn change_rules(&mut self, change: &RuleChange) -> Result<bool, Error> {
        self.call::<Kept>(&Request::ChangeRules(change.clone())).map(|done| done.kept)
    }

    /// What the daemon is.
    ///
    /// # Errors
    /// Those of any call.
    pub fn info(&mut self) -> Result<Info, Error> {
        self.call(&Request::GetInfo)
    }

    /// How an interface is to be used, in Varlink's notation.
    ///
    /// # Errors
    /// `InterfaceNotFound` of [`CallError`], and those of any call.
    pub fn interface_description(&mut self, interface: &str) -> Result<String, Error> {
        let interface = interface.to_owned();
        let request = Request::GetInterfaceDescription { interface };
        self.call::<Description>(&request).map(|found| found.description)
    }

    fn call<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, Error> {
        let deadline = Instant::now() + self.timeout;
        self.send(&request.encode(), deadline)?;
        let reply = self.reply(deadline)?;
        reply.result().map_err(Error::Call)
    }

    fn send(&self, mut bytes: &[u8], deadline: Instant) -> Result<(), Error> {
        while !bytes.is_empty() {
            match self.link.send(bytes) {
                Ok(len) => bytes = &bytes[len..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(&self.link, PollFlags::OUT, deadline)?;
                }
                // It may have said why before it hung up.
                Err(error) if is_hang_up(&error) => return Ok(()),
                Err(error) => return Err(Error::System(error)),
            }
        }
        Ok(())
    }

    fn reply(&mut self, deadline: Instant) -> Result<Reply, Error> {
        loop {
            if let Some(message) = self.link.frames.next_message().map_err(|_| Error::Invalid)? {
                return Reply::parse(message).map_err(|_| Error::Invalid);
            }
            wait(&self.link, PollFlags::IN, deadline)?;
            match self.link.receive() {
                Ok(Received::Some | Received::Nothing) => {}
                Ok(Received::End) => return Err(Error::Closed),
                Err(error) if is_hang_up(&error) => return Err(Error::Closed),
                Err(error) => return Err(Error::System(error)),
            }
        }
    }
}

/// Why a call failed.
#[derive(Debug)]
pub enum Error {
    /// No daemon runs here.
    NotRunning,
    /// What answers is neither root, nor this user, nor the owner of the runtime directory.
    Untrusted,
    /// What stands in the daemon's place is none, or says what no daemon says.
    Invalid,
    /// The daemon did not answer in time.
    TimedOut,
    /// The daemon hung up; it may have ended.
    Closed,
    /// The daemon refused.
    Call(CallError),
    /// The system failed.
    System(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning => f.write_str("no Teredo daemon runs here"),
            Self::Untrusted => f.write_str("the runtime directory holds a stranger's socket"),
            Self::Invalid => f.write_str("what answers is no Teredo daemon"),
            Self::TimedOut => f.write_str("the Teredo daemon does not answer"),
            Self::Closed => f.write_str("the Teredo daemon hung up"),
            Self::Call(error) => write!(f, "the Teredo daemon refused: {error}"),
            Self::System(error) => write!(f, "talking to the Teredo daemon: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System(error) => Some(error),
            Self::Call(error) => Some(error),
            Self::NotRunning | Self::Untrusted | Self::Invalid | Self::TimedOut | Self::Closed => {
                None
            }
        }
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::NotRunning => Self::NotRunning,
            ConnectError::Invalid => Self::Invalid,
            ConnectError::Untrusted => Self::Untrusted,
            ConnectError::TimedOut => Self::TimedOut,
            ConnectError::System(error) => Self::System(error),
        }
    }
}

/// The results of a method that has none; whatever else comes is from a later version.
#[derive(Deserialize)]
struct Nothing {}

#[derive(Deserialize)]
struct Kept {
    kept: bool,
}

#[derive(Deserialize)]
struct Description {
    description: String,
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}
