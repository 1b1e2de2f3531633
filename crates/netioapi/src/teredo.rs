//! What the Teredo daemon tells this library.

use std::io::ErrorKind;
use std::num::NonZeroU16;
use std::time::Duration;

use teredo_control::{Client, NotReady, PortReader, RuntimeDir, Snapshot, State, Status};

use crate::address::Family;
use crate::error::Error;

/// The UDP port that the Teredo client (or host-specific relay) of this host sends from and
/// receives on, in host byte order.
///
/// It takes nanoseconds: the port stands in memory that the daemon shares. If the daemon was ended,
/// however, the next call already knows.
///
/// # Errors
/// [`Error::NotReady`] while there is no port: the client is not running or off-line.
/// [`Error::NotSupported`] if there is none because the system cannot do IPv6.
#[inline]
pub fn port() -> Result<NonZeroU16, Error> {
    READER.port().map_err(why_there_is_none)
}

#[cold]
fn why_there_is_none(reason: NotReady) -> Error {
    match (Family::V6.check_support(), reason) {
        (Err(error), _) => error,
        (Ok(()), NotReady::System(ErrorKind::OutOfMemory)) => Error::NotEnoughMemory,
        (Ok(()), _) => Error::NotReady,
    }
}

/// Whether what the daemon says is about the network namespace of the calling thread. Only asked
/// after the daemon has answered, so that there is one.
pub(crate) fn is_here() -> bool {
    READER.word() != Err(NotReady::OtherNamespace)
}

/// As far as the client has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There will be no Teredo address for now.
    #[default]
    Unavailable,
    /// There is none, but could be.
    Dormant,
    /// It is being looked for.
    Probe,
    /// There is one, or the host-specific relay serves.
    Qualified,
}

impl From<&Snapshot> for Stage {
    fn from(snapshot: &Snapshot) -> Self {
        match snapshot.state {
            State::Offline => Self::Unavailable,
            State::Dormant => Self::Dormant,
            State::Probe => Self::Probe,
            State::Qualified => Self::Qualified,
        }
    }
}

/// As far as the client has come at this moment.
pub(crate) fn stage() -> Stage {
    status().as_ref().map_or(Stage::Unavailable, |status| Stage::from(&status.snapshot))
}

/// The index of the tunnel interface, if there is one in this network namespace.
pub(crate) fn interface_index() -> Option<u32> {
    Some(status()?.snapshot.interface_index?.get())
}

/// Makes a dormant client qualify. That it failed need not be told: a client that went away, say,
/// has become unavailable, and one that was not dormant is awake.
pub(crate) fn wake() {
    if let Ok(mut client) = Client::connect(&RuntimeDir::from_environment(), TIMEOUT) {
        let _ = client.wake();
    }
}

fn status() -> Option<Status> {
    let mut client = Client::connect(&RuntimeDir::from_environment(), TIMEOUT).ok()?;
    let status = client.status().ok()?;
    is_here().then_some(status)
}

static READER: PortReader = PortReader::new();

/// How long a daemon that does not answer is waited for: far longer than a busy host needs.
const TIMEOUT: Duration = Duration::from_secs(1);
