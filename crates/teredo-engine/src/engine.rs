//! The event loop.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use teredo_proto::role::TRANSMIT_LEN_MAX;
use teredo_proto::{Arrival, Event, Inbound, Instant, Local, Outbound, Role, Transmit};

use crate::io::{Clock, DatagramSocket, PacketDevice, Ready, Waiter, Wanted};
use crate::random::RandomSockets;
use crate::tally::Tally;

/// Packets read from the device in one turn: as many as a receive batch holds, so that neither
/// direction can keep the other waiting for longer than its own share.
pub const BURST: usize = 64;

/// How often a turn goes back to the role after the host has reacted to its events. A reaction may
/// cause events again (stop, then off-line), but not for ever; what is left waits a turn.
const ROUNDS_MAX: usize = 8;

/// Failed receive calls in a row after which a socket counts as broken. Want of memory passes; an
/// error that does not would keep the loop spinning.
const FAILURES_MAX: u32 = 1_000;

/// A role with its sockets and its device.
///
/// Outgoing datagrams of all sockets leave through the batch of the first one; those of the second
/// name its address as their source, so that one call sends both.
#[derive(Debug)]
pub struct Engine<R, S, D> {
    role: R,
    sockets: Vec<S>,
    /// What the second socket is to the role.
    second: Local,
    random: RandomSockets<S>,
    device: D,
    tally: Tally,
    failures_in_a_row: u32,
    /// The first socket has had no room for a batch, and has not been told to have some again.
    is_congested: bool,
    /// Where the role writes what there is no slot for.
    overflow: Box<[u8; TRANSMIT_LEN_MAX]>,
}

impl<R: Role, S: DatagramSocket, D: PacketDevice> Engine<R, S, D> {
    /// Joins a role with its sockets, the primary one first, and its device.
    pub fn new(role: R, primary: S, secondary: Option<S>, device: D) -> Self {
        let sockets = std::iter::once(primary).chain(secondary).collect();
        Self {
            role,
            sockets,
            second: Local::Secondary,
            random: RandomSockets::new(),
            device,
            tally: Tally::default(),
            failures_in_a_row: 0,
            is_congested: false,
            overflow: Box::new([0; TRANSMIT_LEN_MAX]),
        }
    }

    /// Adds the socket of local discovery to a client, which has no secondary one.
    #[must_use]
    pub fn with_discovery(mut self, socket: Option<S>) -> Self {
        self.sockets.truncate(1);
        self.sockets.extend(socket);
        self.second = Local::Discovery;
        self
    }

    /// The role.
    pub fn role(&self) -> &R {
        &self.role
    }

    /// The sockets, the primary one first.
    pub fn sockets(&self) -> &[S] {
        &self.sockets
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// What the engine did so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Runs until the host stops it.
    ///
    /// Each turn takes one batch from each socket that has one and one burst from the device, then
    /// does what is due, then tells the host. Nothing is read from the device while datagrams wait
    /// for room in the socket: the kernel's queue then fills, and holds the senders back.
    ///
    /// # Errors
    /// The host's, and those of a socket or device that is broken for good.
    pub fn run(
        &mut self,
        clock: &impl Clock,
        waiter: &mut impl Waiter<S>,
        host: &mut impl Host<R>,
    ) -> io::Result<()> {
        let mut ready = Ready::default();
        loop {
            if self.turn(clock.now(), &ready, host)? == Flow::Stop {
                self.tally.datagrams_overflowed += self.sockets[0].pending() as u64;
                return Ok(());
            }
            let timeout = self.timeout(clock.now(), host);
            self.random.watch(waiter)?;
            waiter.wait(timeout, self.wanted(), &mut ready)?;
        }
    }

    fn turn(&mut self, now: Instant, ready: &Ready, host: &mut impl Host<R>) -> io::Result<Flow> {
        if ready.room {
            self.is_congested = false;
            self.flush()?;
        }
        for index in 0..self.sockets.len() {
            if ready.errors[index] {
                self.tally.delivery_errors += self.sockets[index].read_errors()? as u64;
            }
            if ready.sockets[index] {
                let on = if index == 0 { Local::Primary } else { self.second };
                self.receive(now, on)?;
            }
        }
        for &number in &ready.random {
            if let Some(socket) = self.random.find(number) {
                self.tally.delivery_errors += socket.read_errors()? as u64;
                self.receive(now, Local::Random(number))?;
            }
        }
        if ready.device && !self.is_congested {
            self.forward(now)?;
        }
        if self.role.poll_timeout().is_some_and(|(deadline, _)| deadline <= now) {
            self.role.handle_timeout(now);
        }
        self.settle(now, host)?;
        let mut flow = Flow::Continue;
        for &source in &ready.sources {
            flow = flow.or(host.handle_source(now, &mut self.role, source)?);
        }
        if host.poll_deadline().is_some_and(|deadline| deadline <= now) {
            flow = flow.or(host.handle_deadline(now, &mut self.role)?);
        }
        self.settle(now, host)?;
        Ok(flow)
    }

    /// One batch from one socket.
    fn receive(&mut self, now: Instant, on: Local) -> io::Result<()> {
        let Some(socket) = socket_of(&mut self.sockets, &mut self.random, on) else {
            return Ok(());
        };
        let count = match socket.receive() {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) if self.failures_in_a_row < FAILURES_MAX => {
                self.failures_in_a_row += 1;
                self.tally.receive_failures += 1;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.failures_in_a_row = 0;
        for datagram in 0..count {
            let Some(socket) = socket_of(&mut self.sockets, &mut self.random, on) else { break };
            let datagram = socket.received(datagram);
            if datagram.truncated {
                self.tally.datagrams_truncated += 1;
                continue;
            }
            self.tally.datagrams_received += 1;
            let arrival = Arrival { from: datagram.from, on };
            match self.role.handle_datagram(now, arrival, datagram.payload) {
                Inbound::Deliver(range) => {
                    let packet = datagram.payload.get(range).unwrap_or_default();
                    write(&mut self.device, &mut self.tally, packet);
                }
                Inbound::Consumed | Inbound::Dropped(_) => {}
            }
            self.drain()?;
        }
        self.flush()
    }

    /// One burst from the device, each packet read into the slot that it leaves from.
    fn forward(&mut self, now: Instant) -> io::Result<()> {
        let secondary = self.secondary_address();
        for _ in 0..BURST {
            let socket = &mut self.sockets[0];
            let Some(slot) = socket.slot() else { break };
            let len = match self.device.recv(slot) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.tally.packets_read += 1;
            match self.role.handle_packet(now, &slot[..len]) {
                Outbound::Send { to, via: Local::Random(number) } => {
                    if !self.random.put(number, &slot[..len], to) {
                        self.tally.datagrams_overflowed += 1;
                    }
                }
                Outbound::Send { to, via } => socket.commit(len, to, source(via, secondary)),
                Outbound::Wrap { header, to, via } => match wrap(slot, len, &header) {
                    Some(len) => socket.commit(len, to, source(via, secondary)),
                    None => self.tally.datagrams_overflowed += 1,
                },
                Outbound::Queued | Outbound::Dropped(_) => {}
            }
        }
        self.flush()
    }

    /// Takes out of the role what it wants to send, and sends it; tells the host what happened, and
    /// again what follows from its reaction.
    fn settle(&mut self, now: Instant, host: &mut impl Host<R>) -> io::Result<()> {
        for _ in 0..ROUNDS_MAX {
            self.drain()?;
            self.flush()?;
            let mut is_quiet = true;
            while let Some(event) = self.role.poll_event() {
                is_quiet = false;
                if let Event::BindPort(local) = event {
                    self.bind(now, local);
                } else if let Event::ReleasePort(Local::Random(number)) = event {
                    self.random.close(number);
                } else {
                    host.handle_event(now, &mut self.role, event)?;
                }
            }
            if is_quiet {
                break;
            }
            host.handle_events_end(now, &mut self.role)?;
        }
        Ok(())
    }

    /// Moves what the role wants to send into slots and to the device.
    fn drain(&mut self) -> io::Result<()> {
        let secondary = self.secondary_address();
        loop {
            if self.sockets[0].slot().is_none() {
                self.flush()?;
            }
            let socket = &mut self.sockets[0];
            let (buffer, has_slot) = match socket.slot() {
                Some(slot) => (slot, true),
                None => (&mut self.overflow[..], false),
            };
            match self.role.poll_transmit(buffer) {
                Some(Transmit::Datagram { to, via: Local::Random(number), len }) => {
                    if !self.random.put(number, &buffer[..len], to) {
                        self.tally.datagrams_overflowed += 1;
                    }
                }
                Some(Transmit::Datagram { to, via, len }) if has_slot => {
                    socket.commit(len, to, source(via, secondary));
                }
                Some(Transmit::Datagram { .. }) => self.tally.datagrams_overflowed += 1,
                Some(Transmit::Packet { len }) => {
                    let packet = buffer.get(..len).unwrap_or_default();
                    write(&mut self.device, &mut self.tally, packet);
                }
                None => return Ok(()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let socket = &mut self.sockets[0];
        if socket.pending() > 0 && !self.is_congested {
            let report = socket.flush()?;
            self.tally.count_send(&report);
            self.is_congested = report.pending > 0;
        }
        self.random.flush(&mut self.tally)
    }

    /// Gives the role one more socket.
    fn bind(&mut self, now: Instant, local: Local) {
        let port = match local {
            Local::Random(number) => self.random.bind(number, &self.sockets[0]),
            Local::Primary | Local::Secondary | Local::Helper | Local::Discovery => None,
        };
        self.role.handle_bound(now, local, port);
    }

    fn wanted(&self) -> Wanted {
        Wanted { device: !self.is_congested, room: self.is_congested }
    }

    fn timeout(&self, now: Instant, host: &impl Host<R>) -> Option<Duration> {
        let role = self.role.poll_timeout().map(|(deadline, _)| deadline);
        let deadline = role.into_iter().chain(host.poll_deadline()).min()?;
        Some(deadline.since(now))
    }

    fn secondary_address(&self) -> Option<Ipv4Addr> {
        self.sockets.get(1).map(|socket| *socket.local_addr().ip())
    }
}

/// What surrounds a role: the interface with its address, the network, whoever watches.
pub trait Host<R> {
    /// Reacts to something the role tells.
    fn handle_event(&mut self, now: Instant, role: &mut R, event: Event) -> io::Result<()>;

    /// All events that belong together have been told.
    fn handle_events_end(&mut self, now: Instant, role: &mut R) -> io::Result<()>;

    /// One of the host's own sources is ready.
    fn handle_source(&mut self, now: Instant, role: &mut R, source: u64) -> io::Result<Flow>;

    /// The host's own deadline has passed.
    fn handle_deadline(&mut self, now: Instant, role: &mut R) -> io::Result<Flow>;

    /// When the host wants to be called next.
    fn poll_deadline(&self) -> Option<Instant>;
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Flow {
    /// Go on.
    Continue,
    /// Stop, once what the role still has to send is sent and its events are told.
    Stop,
}

impl Flow {
    fn or(self, other: Self) -> Self {
        if self == Self::Stop { self } else { other }
    }
}

fn source(via: Local, secondary: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    match via {
        Local::Primary | Local::Helper | Local::Discovery | Local::Random(_) => None,
        Local::Secondary => secondary,
    }
}

/// The socket that a role knows by `local`.
fn socket_of<'a, S: DatagramSocket>(
    sockets: &'a mut [S],
    random: &'a mut RandomSockets<S>,
    local: Local,
) -> Option<&'a mut S> {
    match local {
        Local::Primary | Local::Helper => sockets.first_mut(),
        Local::Secondary | Local::Discovery => sockets.get_mut(1),
        Local::Random(number) => random.find(number),
    }
}

/// Puts a header before the `len` bytes in a slot; the length of both, if they have room.
fn wrap(slot: &mut [u8], len: usize, header: &[u8]) -> Option<usize> {
    let whole = header.len() + len;
    let room = slot.get_mut(..whole)?;
    room.copy_within(..len, header.len());
    room[..header.len()].copy_from_slice(header);
    Some(whole)
}

fn write(device: &mut impl PacketDevice, tally: &mut Tally, packet: &[u8]) {
    match device.send(packet) {
        Ok(()) => tally.packets_written += 1,
        Err(_) => tally.packets_refused += 1,
    }
}
