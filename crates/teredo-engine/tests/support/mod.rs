//! Scripted stand-ins for the kernel, and a role that does as its input says.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::Duration;

use teredo_engine::io::{
    Clock, DatagramSocket, PacketDevice, Ready, Received, SendReport, Waiter, Wanted,
};
use teredo_engine::{Engine, Flow, Host, Tally};
use teredo_proto::reason::Counters;
use teredo_proto::role::{NatKind, TRANSMIT_LEN_MAX};
use teredo_proto::{
    Arrival, DropReason, Event, Inbound, Instant, Local, Outbound, Reason, Role, Transmit,
};

/// What a test looks at afterwards, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    /// The kernel took a datagram.
    Sent(Vec<u8>, Option<Ipv4Addr>),
    /// The device took a packet.
    Written(Vec<u8>),
    /// The role was woken, at this many milliseconds.
    Timeout(u64),
    /// The loop went to sleep for this long.
    Waited(Option<Duration>, Wanted),
    /// The loop has a random port watched.
    Watched(u16),
    /// The host was told an event, then that there are no more.
    Event,
    EventsEnd,
    /// The host's deadline passed, at this many milliseconds.
    HostDeadline(u64),
}

pub(crate) type Log = Rc<RefCell<Vec<Happened>>>;

/// What the kernel does with an outgoing batch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sending {
    /// Takes this many, then has no room.
    Takes(usize),
    /// Takes this many, refuses one with this error, takes the rest.
    Refuses(usize, i32),
    /// Refuses the call.
    Breaks,
}

pub(crate) type Arrivals = VecDeque<io::Result<Vec<Vec<u8>>>>;

pub(crate) struct FakeSocket {
    pub(crate) log: Log,
    pub(crate) addr: SocketAddrV4,
    /// Batches to receive, or errors.
    pub(crate) arrivals: Arrivals,
    /// What becomes of outgoing batches; all is taken when this is empty.
    pub(crate) sendings: VecDeque<Sending>,
    pub(crate) errors_queued: usize,
    /// What will arrive on each socket that is bound beside this one; none can be at the end.
    pub(crate) beside: RefCell<VecDeque<Arrivals>>,
    batch: Vec<Vec<u8>>,
    slots: usize,
    tail: usize,
    buffer: Vec<u8>,
    outbox: VecDeque<(Vec<u8>, Option<Ipv4Addr>)>,
}

impl FakeSocket {
    pub(crate) fn new(log: &Log, last_octet: u8, slots: usize) -> Self {
        Self {
            log: Rc::clone(log),
            addr: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, last_octet), 3544),
            arrivals: VecDeque::new(),
            sendings: VecDeque::new(),
            errors_queued: 0,
            beside: RefCell::default(),
            batch: Vec::new(),
            slots,
            tail: 0,
            buffer: vec![0; TRANSMIT_LEN_MAX],
            outbox: VecDeque::new(),
        }
    }
}

impl DatagramSocket for FakeSocket {
    fn bind_beside(&self) -> io::Result<Self> {
        let mut beside = Self::new(&self.log, 77, 1);
        let arrivals = self.beside.borrow_mut().pop_front();
        beside.arrivals = arrivals.ok_or(io::ErrorKind::AddrInUse)?;
        beside.addr.set_port(50_000);
        Ok(beside)
    }

    fn local_addr(&self) -> SocketAddrV4 {
        self.addr
    }

    fn receive(&mut self) -> io::Result<usize> {
        self.batch = self.arrivals.pop_front().unwrap_or(Err(io::ErrorKind::WouldBlock.into()))?;
        Ok(self.batch.len())
    }

    fn received(&self, index: usize) -> Received<'_> {
        let payload = &self.batch[index];
        Received { from: PEER, to: None, payload, truncated: payload.is_empty() }
    }

    fn slot(&mut self) -> Option<&mut [u8]> {
        (self.tail < self.slots).then_some(&mut self.buffer[..])
    }

    fn commit(&mut self, len: usize, _to: SocketAddrV4, source: Option<Ipv4Addr>) {
        assert!(self.tail < self.slots);
        self.tail += 1;
        self.outbox.push_back((self.buffer[..len].to_vec(), source));
    }

    fn pending(&self) -> usize {
        self.outbox.len()
    }

    fn flush(&mut self) -> io::Result<SendReport> {
        let mut report = SendReport::default();
        let all = self.outbox.len();
        let (takes, refuses) = match self.sendings.pop_front() {
            None => (all, None),
            Some(Sending::Takes(count)) => (count.min(all), None),
            Some(Sending::Refuses(count, errno)) => (count.min(all), Some(errno)),
            Some(Sending::Breaks) => return Err(io::ErrorKind::NotConnected.into()),
        };
        let mut take = |socket: &mut Self, count| {
            for (payload, source) in socket.outbox.drain(..count) {
                socket.log.borrow_mut().push(Happened::Sent(payload, source));
                report.sent += 1;
            }
        };
        take(self, takes);
        if let Some(errno) = refuses {
            self.outbox.pop_front();
            take(self, self.outbox.len());
            (report.failed, report.first_errno) = (1, Some(errno));
        }
        report.pending = self.outbox.len();
        if self.outbox.is_empty() {
            self.tail = 0;
        }
        Ok(report)
    }

    fn read_errors(&mut self) -> io::Result<usize> {
        Ok(std::mem::take(&mut self.errors_queued))
    }
}

pub(crate) struct FakeDevice {
    pub(crate) log: Log,
    /// Packets to read, or errors.
    pub(crate) packets: VecDeque<io::Result<Vec<u8>>>,
    /// What becomes of written packets; all are taken when this is empty.
    pub(crate) write_errors: VecDeque<io::ErrorKind>,
}

impl PacketDevice for FakeDevice {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let packet = self.packets.pop_front().unwrap_or(Err(io::ErrorKind::WouldBlock.into()))?;
        buffer[..packet.len()].copy_from_slice(&packet);
        Ok(packet.len())
    }

    fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        if let Some(error) = self.write_errors.pop_front() {
            return Err(error.into());
        }
        self.log.borrow_mut().push(Happened::Written(packet.to_vec()));
        Ok(())
    }
}

/// Virtual time, which only passes in [`Script::wait`].
pub(crate) struct FakeClock(Rc<Cell<u64>>);

impl Clock for FakeClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.get())
    }
}

/// Tells what is ready, one entry a wait; `None` lets the timeout pass. At its end the host stops.
pub(crate) struct Script {
    log: Log,
    now_ns: Rc<Cell<u64>>,
    pub(crate) steps: VecDeque<Option<Ready>>,
}

impl Waiter<FakeSocket> for Script {
    fn watch(&mut self, number: u16, _socket: &FakeSocket) -> io::Result<()> {
        self.log.borrow_mut().push(Happened::Watched(number));
        Ok(())
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        wanted: Wanted,
        ready: &mut Ready,
    ) -> io::Result<()> {
        self.log.borrow_mut().push(Happened::Waited(timeout, wanted));
        ready.clear();
        match self.steps.pop_front() {
            Some(Some(step)) => *ready = step,
            Some(None) => {
                let timeout =
                    timeout.expect("the script wants a timeout, the loop sleeps for ever");
                self.now_ns.set(self.now_ns.get() + timeout.as_nanos() as u64);
            }
            None => ready.sources.push(STOP),
        }
        Ok(())
    }
}

/// The source that stops the loop.
pub(crate) const STOP: u64 = 9;

/// A host that notes what it is told.
pub(crate) struct FakeHost {
    pub(crate) log: Log,
    pub(crate) deadline: Option<Instant>,
    /// Has the role cause another event for each it tells, this often.
    pub(crate) echoes: usize,
}

impl Host<Toy> for FakeHost {
    fn handle_event(&mut self, _now: Instant, role: &mut Toy, _event: Event) -> io::Result<()> {
        self.log.borrow_mut().push(Happened::Event);
        if self.echoes > 0 {
            self.echoes -= 1;
            role.events += 1;
        }
        Ok(())
    }

    fn handle_events_end(&mut self, _now: Instant, _role: &mut Toy) -> io::Result<()> {
        self.log.borrow_mut().push(Happened::EventsEnd);
        Ok(())
    }

    fn handle_source(&mut self, _now: Instant, role: &mut Toy, source: u64) -> io::Result<Flow> {
        if source != STOP {
            return Ok(Flow::Continue);
        }
        role.out.push_back((b"bye".to_vec(), Local::Primary));
        Ok(Flow::Stop)
    }

    fn handle_deadline(&mut self, now: Instant, _role: &mut Toy) -> io::Result<Flow> {
        self.log.borrow_mut().push(Happened::HostDeadline(now.as_nanos() / 1_000_000));
        self.deadline = None;
        Ok(Flow::Continue)
    }

    fn poll_deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

/// Does as the first byte of its input says.
///
/// Datagrams: `D` deliver the rest, `A` answer, `2` answer from the secondary socket, `P` a packet
/// for the host, `E` an event, `B` ask for a random port and answer from it, `R` give it back,
/// anything else is dropped. Packets: `S` send as it is, `T` the same from the random port, `Q`
/// keep and send later, anything else is dropped.
#[derive(Default)]
pub(crate) struct Toy {
    pub(crate) out: VecDeque<(Vec<u8>, Local)>,
    pub(crate) packets_out: VecDeque<Vec<u8>>,
    pub(crate) events: usize,
    /// To be told before those.
    pub(crate) ports: VecDeque<Event>,
    /// What was said of random ports.
    pub(crate) bound: Vec<Option<u16>>,
    pub(crate) deadlines: VecDeque<u64>,
    pub(crate) log: Log,
    pub(crate) seen: Vec<(Local, u8)>,
    pub(crate) counters: Counters,
}

impl Role for Toy {
    fn handle_datagram(&mut self, _now: Instant, arrival: Arrival, payload: &[u8]) -> Inbound {
        self.seen.push((arrival.on, payload[0]));
        match payload[0] {
            b'D' => return Inbound::Deliver(1..payload.len()),
            b'A' => self.out.push_back((payload.to_vec(), Local::Primary)),
            b'2' => self.out.push_back((payload.to_vec(), Local::Secondary)),
            b'P' => self.packets_out.push_back(payload.to_vec()),
            b'E' => self.events += 1,
            b'B' => self.ports.push_back(Event::BindPort(RANDOM)),
            b'R' => self.ports.push_back(Event::ReleasePort(RANDOM)),
            _ => return Inbound::Dropped(DropReason::NotAccepted),
        }
        Inbound::Consumed
    }

    fn handle_packet(&mut self, _now: Instant, packet: &[u8]) -> Outbound {
        match packet[0] {
            b'S' => Outbound::Send { to: PEER, via: Local::Primary },
            b'T' => Outbound::Send { to: PEER, via: RANDOM },
            b'Q' => {
                self.out.push_back((packet.to_vec(), Local::Primary));
                Outbound::Queued
            }
            _ => Outbound::Dropped(DropReason::InvalidPacket),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        let now_ms = now.as_nanos() / 1_000_000;
        self.log.borrow_mut().push(Happened::Timeout(now_ms));
        while self.deadlines.front().is_some_and(|deadline_ms| *deadline_ms <= now_ms) {
            self.deadlines.pop_front();
        }
    }

    fn poll_transmit(&mut self, buffer: &mut [u8]) -> Option<Transmit> {
        assert!(buffer.len() >= TRANSMIT_LEN_MAX);
        if let Some((payload, via)) = self.out.pop_front() {
            buffer[..payload.len()].copy_from_slice(&payload);
            return Some(Transmit::Datagram { to: PEER, via, len: payload.len() });
        }
        let packet = self.packets_out.pop_front()?;
        buffer[..packet.len()].copy_from_slice(&packet);
        Some(Transmit::Packet { len: packet.len() })
    }

    fn handle_bound(&mut self, _now: Instant, local: Local, port: Option<u16>) {
        assert_eq!(local, RANDOM);
        self.bound.push(port);
        self.out.extend(port.map(|_| (b"bound".to_vec(), RANDOM)));
    }

    fn poll_event(&mut self) -> Option<Event> {
        if let Some(event) = self.ports.pop_front() {
            return Some(event);
        }
        self.events = self.events.checked_sub(1)?;
        Some(Event::NatKindChanged(NatKind::None))
    }

    fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let deadline_ms = self.deadlines.front()?;
        Some((Instant::from_nanos(deadline_ms * 1_000_000), Reason::Refresh))
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

pub(crate) const RANDOM: Local = Local::Random(5);

pub(crate) const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 1), 4096);

/// Everything that a run needs.
pub(crate) struct Bench {
    pub(crate) log: Log,
    pub(crate) role: Toy,
    pub(crate) primary: FakeSocket,
    pub(crate) secondary: Option<FakeSocket>,
    /// In place of a secondary one.
    pub(crate) discovery: Option<FakeSocket>,
    pub(crate) device: FakeDevice,
    pub(crate) script: Script,
    pub(crate) host: FakeHost,
}

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) result: io::Result<()>,
    pub(crate) happened: Vec<Happened>,
    pub(crate) tally: Tally,
    pub(crate) seen: Vec<(Local, u8)>,
    pub(crate) bound: Vec<Option<u16>>,
    /// Packets left in the device.
    pub(crate) packets_left: usize,
}

impl Bench {
    /// A bench whose primary socket has `slots` slots.
    pub(crate) fn new(slots: usize) -> Self {
        let log = Log::default();
        let now_ns = Rc::new(Cell::new(0));
        let steps = VecDeque::new();
        Self {
            role: Toy { log: Rc::clone(&log), ..Toy::default() },
            primary: FakeSocket::new(&log, 1, slots),
            secondary: None,
            discovery: None,
            device: FakeDevice {
                log: Rc::clone(&log),
                packets: VecDeque::new(),
                write_errors: VecDeque::new(),
            },
            script: Script { log: Rc::clone(&log), now_ns, steps },
            host: FakeHost { log: Rc::clone(&log), deadline: None, echoes: 0 },
            log,
        }
    }

    /// Runs the script to its end.
    pub(crate) fn run(mut self) -> Outcome {
        let clock = FakeClock(Rc::clone(&self.script.now_ns));
        let mut engine = Engine::new(self.role, self.primary, self.secondary, self.device);
        if self.discovery.is_some() {
            engine = engine.with_discovery(self.discovery);
        }
        let result = engine.run(&clock, &mut self.script, &mut self.host);
        Outcome {
            result,
            happened: self.log.take(),
            tally: engine.tally().clone(),
            seen: engine.role().seen.clone(),
            bound: engine.role().bound.clone(),
            packets_left: engine.device().packets.len(),
        }
    }
}

impl Outcome {
    /// The datagrams that the kernel took.
    pub(crate) fn sent(&self) -> Vec<&[u8]> {
        let sent = self.happened.iter().filter_map(|happened| match happened {
            Happened::Sent(payload, _) => Some(&payload[..]),
            _ => None,
        });
        sent.collect()
    }

    /// The packets that the device took.
    pub(crate) fn written(&self) -> Vec<&[u8]> {
        let written = self.happened.iter().filter_map(|happened| match happened {
            Happened::Written(packet) => Some(&packet[..]),
            _ => None,
        });
        written.collect()
    }

    /// How the loop slept.
    pub(crate) fn waits(&self) -> Vec<(Option<Duration>, Wanted)> {
        let waits = self.happened.iter().filter_map(|happened| match happened {
            Happened::Waited(timeout, wanted) => Some((*timeout, *wanted)),
            _ => None,
        });
        waits.collect()
    }
}

/// The first socket has something.
pub(crate) fn socket_ready() -> Option<Ready> {
    let mut ready = Ready::default();
    ready.sockets[0] = true;
    Some(ready)
}

/// The device has something.
pub(crate) fn device_ready() -> Option<Ready> {
    Some(Ready { device: true, ..Ready::default() })
}

/// The first socket has room.
pub(crate) fn room_ready() -> Option<Ready> {
    Some(Ready { room: true, ..Ready::default() })
}
