//! Waiting by epoll.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use teredo_proto::Role;
use teredo_proto::role::PORTS_MAX;
use teredo_sys::epoll::{Events, Interest, Poller};

use super::{HostDevice, UdpPort};
use crate::engine::Engine;
use crate::io::{Ready, SOCKETS_MAX, Waiter, Wanted};

/// Waits for the sockets and the device of an engine and for the host's own sources.
pub struct Waits {
    poller: Poller,
    events: Events,
    first_socket: OwnedFd,
    device: Option<OwnedFd>,
    /// What the poller is set to.
    current: Wanted,
}

impl Waits {
    /// Watches what `engine` works on. Each of `sources` is told by its position among them.
    pub fn new<R: Role>(
        engine: &Engine<R, UdpPort, HostDevice>,
        sources: &[BorrowedFd<'_>],
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        for (socket, token) in engine.sockets().iter().zip(0..) {
            poller.add(socket, token, Interest::Read)?;
        }
        let device = engine.device().readable();
        if let Some(device) = device {
            poller.add(device, DEVICE, Interest::Read)?;
        }
        for (source, token) in sources.iter().zip(SOURCES..) {
            poller.add(source, token, Interest::Read)?;
        }
        Ok(Self {
            poller,
            events: Events::with_capacity(EVENTS_MAX),
            first_socket: engine.sockets()[0].as_fd().try_clone_to_owned()?,
            device: device.map(|device| device.try_clone_to_owned()).transpose()?,
            current: Wanted { device: true, room: false },
        })
    }

    fn set(&mut self, wanted: Wanted) -> io::Result<()> {
        if wanted.room != self.current.room {
            let interest = if wanted.room { Interest::ReadWrite } else { Interest::Read };
            self.poller.modify(&self.first_socket, 0, interest)?;
        }
        match &self.device {
            Some(device) if wanted.device && !self.current.device => {
                self.poller.add(device, DEVICE, Interest::Read)?;
            }
            // Removed, because an interest in nothing would still be told of errors, without end.
            Some(device) if !wanted.device && self.current.device => self.poller.remove(device)?,
            Some(_) | None => {}
        }
        self.current = wanted;
        Ok(())
    }
}

impl Waiter<UdpPort> for Waits {
    fn watch(&mut self, number: u16, socket: &UdpPort) -> io::Result<()> {
        self.poller.add(socket, RANDOM + u64::from(number), Interest::Read)
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        wanted: Wanted,
        ready: &mut Ready,
    ) -> io::Result<()> {
        if wanted != self.current {
            self.set(wanted)?;
        }
        self.poller.wait(&mut self.events, timeout)?;
        ready.clear();
        for event in self.events.iter() {
            match event.token {
                // The device is read in case of an error too: the error is then the read's.
                DEVICE => ready.device = true,
                token if token >= RANDOM => ready.random.push((token - RANDOM) as u16),
                token if token >= SOURCES => ready.sources.push(token - SOURCES),
                socket => {
                    let socket = socket as usize;
                    ready.sockets[socket] = event.readable;
                    ready.errors[socket] = event.error;
                    ready.room |= socket == 0 && event.writable;
                }
            }
        }
        Ok(())
    }
}

/// The token of the device; the sockets have their positions.
const DEVICE: u64 = SOCKETS_MAX as u64;

/// The tokens of the host's own sources start here.
const SOURCES: u64 = DEVICE + 1;

/// The tokens of random ports start here; no host has as many sources.
const RANDOM: u64 = 1 << 32;

/// Room for every source there is, so that one wait tells all.
const EVENTS_MAX: usize = 16 + PORTS_MAX;
