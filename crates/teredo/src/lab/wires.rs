//! The wires between the lab's hosts: one thread that reads every uplink, takes each packet through
//! the routers and NATs, and writes it to another uplink, at once or after the delay.

use std::collections::VecDeque;
use std::io::{self, PipeWriter};
use std::panic::resume_unwind;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use teredo_proto::Instant;
use teredo_sys::clock::now_ns;
use teredo_sys::epoll::{Events, Interest, Poller};
use teredo_sys::tun::Tun;

use super::icmp;
use super::internet::{Internet, Next};
use super::kernel_nat::{KernelNat, Side};
use super::observe::Sent;
use super::packet::DropReason;
use super::place::{Host, WIRE_MTU};
use super::trace::{Trace, Wire};

/// The running wires.
#[derive(Debug)]
pub(super) struct Wires {
    thread: JoinHandle<Totals>,
    /// Closing it ends the thread.
    stop: PipeWriter,
}

impl Wires {
    /// Connects the uplinks, given in the order of [`Host::ALL`], and the kernel's NATs. A packet
    /// takes `delay` on each of the two access links that it passes. `records` is what takes note
    /// of them.
    pub(super) fn start(
        uplinks: [Tun; Host::ALL.len()],
        kernel_nats: Vec<KernelNat>,
        internet: Internet,
        delay: Duration,
        records: (Trace, Option<[Sent; 2]>),
    ) -> io::Result<Self> {
        let (trace, sent) = records;
        let poller = Poller::new()?;
        for host in Host::ALL {
            poller.add(&uplinks[host.index()], host.index() as u64, Interest::Read)?;
        }
        for (index, nat) in kernel_nats.iter().enumerate() {
            for side in Side::ALL {
                poller.add(nat.device(side), token_of(index, side), Interest::Read)?;
            }
        }
        let (stopped, stop) = io::pipe()?;
        poller.add(&stopped, STOP, Interest::Read)?;
        let carrier = Carrier {
            uplinks,
            kernel_nats,
            internet,
            transit: delay * 2,
            under_way: VecDeque::new(),
            trace,
            sent,
            traffic: Default::default(),
            drops: Default::default(),
        };
        let thread = thread::Builder::new().name("wires".into()).spawn(move || {
            let _watched = stopped;
            carrier.run(&poller)
        })?;
        Ok(Self { thread, stop })
    }

    /// Cuts the wires.
    pub(super) fn stop(self) -> Totals {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// What the wires have carried.
#[derive(Debug)]
pub(super) struct Totals {
    /// By host, in both directions together.
    pub(super) traffic: [Traffic; Host::ALL.len()],
    /// Packets dropped, and why.
    pub(super) drops: Vec<(DropReason, u64)>,
    /// What each client has sent, if that was to be noted.
    pub(super) sent: Option<[Sent; 2]>,
    /// Whether the trace is complete.
    pub(super) trace: io::Result<()>,
}

/// What one wire has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    /// Packets.
    pub(super) packets: u64,
    /// Bytes in them.
    pub(super) bytes: u64,
}

struct Carrier {
    uplinks: [Tun; Host::ALL.len()],
    kernel_nats: Vec<KernelNat>,
    internet: Internet,
    /// Time from one host to any other: there is no queueing, so that one queue serves all wires.
    transit: Duration,
    under_way: VecDeque<UnderWay>,
    trace: Trace,
    /// What each client has sent, if that is to be noted.
    sent: Option<[Sent; 2]>,
    traffic: [Traffic; Host::ALL.len()],
    drops: [u64; DropReason::ALL.len()],
}

struct UnderWay {
    due: Instant,
    to: Host,
    packet: Vec<u8>,
}

impl Carrier {
    /// Runs until the pipe is closed.
    fn run(mut self, poller: &Poller) -> Totals {
        let sources = Host::ALL.len() + 2 * self.kernel_nats.len() + 1;
        let mut events = Events::with_capacity(sources);
        let result = loop {
            self.deliver_due();
            if let Err(error) = poller.wait(&mut events, self.patience()) {
                break Err(error);
            }
            if events.iter().any(|event| event.token == STOP) {
                break Ok(());
            }
            if events.iter().next().is_none() {
                self.trace.flush();
            }
            for event in events.iter() {
                self.read_burst(event.token);
            }
        };
        let counts = DropReason::ALL.into_iter().zip(self.drops);
        Totals {
            traffic: self.traffic,
            drops: counts.filter(|(_, count)| *count > 0).collect(),
            sent: self.sent,
            trace: result.and_then(|()| self.trace.finish()),
        }
    }

    /// How long there is nothing to do unless a packet comes.
    fn patience(&self) -> Option<Duration> {
        let due = self.under_way.front().map(|next| next.due.since(now()));
        let flush = self.trace.has_unwritten().then_some(FLUSH_AFTER);
        due.into_iter().chain(flush).min()
    }

    /// Reads packets from the device with this token, some of them.
    fn read_burst(&mut self, token: u64) {
        let mut buffer = [0; WIRE_MTU];
        let host = Host::ALL.into_iter().find(|host| host.index() as u64 == token);
        let sides = (0..self.kernel_nats.len()).flat_map(|at| Side::ALL.map(|side| (at, side)));
        let nat = sides.into_iter().find(|&(at, side)| token_of(at, side) == token);
        for _ in 0..BURST_PACKETS {
            let received = match (host, nat) {
                (Some(host), _) => self.uplinks[host.index()].recv(&mut buffer),
                (None, Some((at, side))) => self.kernel_nats[at].device(side).recv(&mut buffer),
                (None, None) => return,
            };
            // Anything but "nothing more" is about one packet, which is lost.
            match (received, host, nat) {
                (Ok(len), Some(host), _) => self.take(host, &mut buffer[..len]),
                (Ok(len), None, Some((at, side))) => {
                    self.take_translated(at, side, &mut buffer[..len]);
                }
                (Err(error), ..) if error.kind() == io::ErrorKind::WouldBlock => return,
                (Ok(_) | Err(_), ..) => self.count(DropReason::Broken),
            }
        }
    }

    /// Takes a packet off the wire of `from`.
    fn take(&mut self, from: Host, packet: &mut [u8]) {
        let now = now();
        self.record(Wire::Uplink(from), packet);
        let client = Host::CLIENTS.iter().position(|client| *client == from);
        if let (Some(sent), Some(client)) = (&mut self.sent, client) {
            sent[client].note(packet);
        }
        match self.internet.leave(now, (from, 0), packet) {
            Ok(next) => self.bring(now, (from, next), packet),
            Err(reason) => {
                self.count(reason);
                if let Some(answer) = icmp::answer(reason, from, packet) {
                    self.put(from, &answer);
                }
            }
        }
    }

    /// Takes a packet that comes out of a kernel's NAT.
    fn take_translated(&mut self, at: usize, side: Side, packet: &mut [u8]) {
        let now = now();
        let KernelNat { client, level, .. } = self.kernel_nats[at];
        let next = match side {
            Side::Outside => self.internet.leave(now, (client, level + 1), packet),
            Side::Inside => self.internet.arrive(now, (client, Some(level)), packet),
        };
        match (next, side) {
            (Ok(next), Side::Outside) => self.bring(now, (client, next), packet),
            (Ok(next), Side::Inside) => self.deliver(next, packet),
            (Err(reason), _) => self.count(reason),
        }
    }

    /// Brings a packet on its way out to where it is next.
    fn bring(&mut self, now: Instant, (from, next): (Host, Next), packet: &mut [u8]) {
        match next {
            Next::Answered(answer) => self.put(from, &answer),
            Next::Kernel(client, level) => self.translate((client, level), Side::Inside, packet),
            Next::Host(to) => {
                if !from.publics().is_empty() {
                    self.record(Wire::Outside(from), packet);
                }
                if self.transit.is_zero() {
                    self.arrive(now, to, packet);
                } else {
                    self.send_off(now + self.transit, to, packet);
                }
            }
        }
    }

    /// Gives a packet to a kernel's NAT, on this side of it.
    fn translate(&mut self, place: (Host, usize), side: Side, packet: &[u8]) {
        let mut nats = self.kernel_nats.iter();
        let nat = nats.find(|nat| (nat.client, nat.level) == place);
        if nat.is_none_or(|nat| nat.device(side).send(packet).is_err()) {
            self.count(DropReason::Unwritable);
        }
    }

    fn send_off(&mut self, due: Instant, to: Host, packet: &[u8]) {
        if self.under_way.len() >= UNDER_WAY_PACKETS_MAX {
            return self.count(DropReason::Congested);
        }
        self.under_way.push_back(UnderWay { due, to, packet: packet.to_vec() });
    }

    fn deliver_due(&mut self) {
        while let Some(next) = self.under_way.pop_front_if(|next| next.due <= now()) {
            let UnderWay { due, to, mut packet } = next;
            self.arrive(due, to, &mut packet);
        }
    }

    /// Brings a packet from the Internet to `to`.
    fn arrive(&mut self, now: Instant, to: Host, packet: &mut [u8]) {
        if !to.publics().is_empty() {
            self.record(Wire::Outside(to), packet);
        }
        match self.internet.arrive(now, (to, None), packet) {
            Ok(next) => self.deliver(next, packet),
            Err(reason) => self.count(reason),
        }
    }

    /// Brings a packet on its way in to where it is next.
    fn deliver(&mut self, next: Next, packet: &[u8]) {
        match next {
            Next::Host(to) => self.put(to, packet),
            Next::Kernel(to, level) => self.translate((to, level), Side::Outside, packet),
            Next::Answered(_) => {}
        }
    }

    fn put(&mut self, to: Host, packet: &[u8]) {
        self.record(Wire::Uplink(to), packet);
        if self.uplinks[to.index()].send(packet).is_err() {
            self.count(DropReason::Unwritable);
        }
    }

    fn record(&mut self, wire: Wire, packet: &[u8]) {
        if let Wire::Uplink(host) = wire {
            let traffic = &mut self.traffic[host.index()];
            traffic.packets += 1;
            traffic.bytes += packet.len() as u64;
        }
        self.trace.record(wire, packet);
    }

    fn count(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }
}

fn now() -> Instant {
    Instant::from_nanos(now_ns())
}

/// The token of one side of a kernel's NAT, after those of the uplinks.
const fn token_of(index: usize, side: Side) -> u64 {
    (Host::ALL.len() + 2 * index + side as usize) as u64
}

/// The token of the pipe that ends the thread; those of the devices are small.
const STOP: u64 = u64::MAX;

/// Packets read from one uplink before the others get their turn: enough to make waiting cheap, few
/// enough for acknowledgements to keep flowing.
const BURST_PACKETS: usize = 64;

/// What a wire holds at most: a second of 500 Mbit/s in full packets, 60 MiB.
const UNDER_WAY_PACKETS_MAX: usize = 40_960;

/// A trace is written out when the wires have been quiet for this long, so that a person can look
/// at it while the lab runs.
const FLUSH_AFTER: Duration = Duration::from_millis(100);
