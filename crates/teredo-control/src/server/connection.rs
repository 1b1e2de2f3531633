//! One client of the control socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use teredo_sys::epoll::Interest;
use teredo_sys::unix::Peer;

use crate::varlink::{Call, CallError, Frames, MESSAGE_LEN_MAX, Reply, Request, TooLong};

/// A client and what it is about.
pub(super) struct Connection {
    /// Its number in the poller, and in commands.
    pub(super) token: u64,
    socket: OwnedFd,
    pub(super) peer: Peer,
    frames: Frames,
    /// The one message that is on its way out; the next is made only when there is room for it.
    output: Option<Output>,
    stage: Stage,
    /// Nothing more will come in.
    ended: bool,
    /// Nothing more is to be done once the output is out.
    closing: bool,
    pub(super) heard_at: Instant,
    /// What the poller was told last.
    pub(super) watched: Interest,
}

/// What the connection is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Taking one call after the other.
    Calls,
    /// Waiting for the daemon's answer to a call.
    Waiting { oneway: bool },
    /// Getting each status, for ever. `behind` when there is a newer one than was sent last.
    Subscribed { behind: bool },
}

struct Output {
    bytes: Arc<[u8]>,
    sent: usize,
}

/// How the server answers a call.
pub(super) enum Answer {
    /// With these bytes.
    Now(Vec<u8>),
    /// With every status from now on.
    Subscribe,
    /// When the daemon has answered.
    Later,
}

/// Who answers.
pub(super) trait Service {
    /// Answers a call.
    fn answer(&mut self, request: Request, from: &Connection) -> Answer;

    /// The message with the current status, for subscribers.
    fn status(&self) -> Arc<[u8]>;
}

/// The connection is of no more use.
pub(super) struct Finished;

impl Connection {
    pub(super) fn new(token: u64, socket: OwnedFd, peer: Peer) -> Self {
        Self {
            token,
            socket,
            peer,
            frames: Frames::default(),
            output: None,
            stage: Stage::Calls,
            ended: false,
            closing: false,
            heard_at: Instant::now(),
            watched: Interest::Read,
        }
    }

    /// Whether it may be closed for saying nothing.
    pub(super) fn is_expected_to_speak(&self) -> bool {
        self.stage == Stage::Calls
    }

    /// What to wait for: room first, because nothing is taken in before the last answer is out.
    pub(super) fn interest(&self) -> Interest {
        if self.output.is_some() { Interest::Write } else { Interest::Read }
    }

    /// Takes in one chunk and does all that can be done.
    pub(super) fn read(&mut self, service: &mut impl Service) -> Result<(), Finished> {
        let mut bytes = [0; CHUNK_LEN];
        match recv(&self.socket, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((0, _)) => self.ended = true,
            Ok((len, _)) => {
                self.heard_at = Instant::now();
                self.frames.push(&bytes[..len]);
            }
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return Err(Finished),
        }
        match self.stage {
            Stage::Calls => {}
            // A subscriber has nothing to say, and who waits not much.
            Stage::Subscribed { .. } => return Err(Finished),
            Stage::Waiting { .. } if self.ended => return Err(Finished),
            Stage::Waiting { .. } if self.frames.len() > MESSAGE_LEN_MAX => return Err(Finished),
            Stage::Waiting { .. } => {}
        }
        self.advance(service)
    }

    /// Does all that can be done: sends what waits, then takes the next call, and so on.
    pub(super) fn advance(&mut self, service: &mut impl Service) -> Result<(), Finished> {
        loop {
            self.flush().map_err(|_| Finished)?;
            if self.output.is_some() {
                return Ok(());
            }
            if self.closing {
                return Err(Finished);
            }
            match self.stage {
                Stage::Subscribed { behind: true } => {
                    self.stage = Stage::Subscribed { behind: false };
                    self.put(service.status());
                }
                Stage::Subscribed { behind: false } | Stage::Waiting { .. } => return Ok(()),
                Stage::Calls => {
                    if !self.take_call(service)? {
                        return if self.ended { Err(Finished) } else { Ok(()) };
                    }
                }
            }
        }
    }

    /// There is a new status.
    pub(super) fn status_changed(&mut self, service: &mut impl Service) -> Result<(), Finished> {
        if !matches!(self.stage, Stage::Subscribed { .. }) {
            return Ok(());
        }
        self.stage = Stage::Subscribed { behind: true };
        self.advance(service)
    }

    /// The daemon has answered.
    pub(super) fn answered(
        &mut self,
        message: Vec<u8>,
        service: &mut impl Service,
    ) -> Result<(), Finished> {
        let Stage::Waiting { oneway } = self.stage else { return Ok(()) };
        self.stage = Stage::Calls;
        if !oneway {
            self.put(message.into());
        }
        self.advance(service)
    }

    /// Takes one call; `false` if there is none.
    fn take_call(&mut self, service: &mut impl Service) -> Result<bool, Finished> {
        let message = match self.frames.next_message() {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(false),
            Err(TooLong) => {
                self.closing = true;
                self.put(Reply::failure(&CallError::MessageTooLong).into());
                return Ok(true);
            }
        };
        // Not Varlink, so that there is no way to say so either.
        let call = Call::parse(message).map_err(|_| Finished)?;
        let oneway = call.oneway;
        let answer = match call.request() {
            Ok(request) => service.answer(request, self),
            Err(error) => Answer::Now(Reply::failure(&error)),
        };
        match answer {
            Answer::Now(_) if oneway => {}
            Answer::Now(message) => self.put(message.into()),
            Answer::Subscribe => self.stage = Stage::Subscribed { behind: true },
            Answer::Later => self.stage = Stage::Waiting { oneway },
        }
        Ok(true)
    }

    fn put(&mut self, bytes: Arc<[u8]>) {
        self.output = Some(Output { bytes, sent: 0 });
    }

    fn flush(&mut self) -> io::Result<()> {
        while let Some(output) = &mut self.output {
            let rest = &output.bytes[output.sent..];
            match send(&self.socket, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(len) if len == rest.len() => self.output = None,
                Ok(len) => output.sent += len,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Taken in from one client before the next has its turn.
const CHUNK_LEN: usize = 4096;
