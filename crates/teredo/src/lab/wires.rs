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
use super::internet::Internet;
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
    /// Connects the uplinks, given in the order of [`Host::ALL`]. A packet takes `delay` on each
    /// of the two access links that it passes.
    pub(super) fn start(
        uplinks: [Tun; Host::ALL.len()],
        internet: Internet,
        delay: Duration,
        trace: Trace,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        for host in Host::ALL {
            poller.add(&uplinks[host.index()], host.index() as u64, Interest::Read)?;
        }
        let (stopped, stop) = io::pipe()?;
        poller.add(&stopped, STOP, Interest::Read)?;
        let carrier = Carrier {
            uplinks,
            internet,
            transit: delay * 2,
            under_way: VecDeque::new(),
            trace,
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
    internet: Internet,
    /// Time from one host to any other: there is no queueing, so that one queue serves all wires.
    transit: Duration,
    under_way: VecDeque<UnderWay>,
    trace: Trace,
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
        let mut events = Events::with_capacity(Host::ALL.len() + 1);
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
                let host = Host::ALL.into_iter().find(|it| it.index() as u64 == event.token);
                if let Some(host) = host {
                    self.read_burst(host);
                }
            }
        };
        let counts = DropReason::ALL.into_iter().zip(self.drops);
        Totals {
            traffic: self.traffic,
            drops: counts.filter(|(_, count)| *count > 0).collect(),
            trace: result.and_then(|()| self.trace.finish()),
        }
    }

    /// How long there is nothing to do unless a packet comes.
    fn patience(&self) -> Option<Duration> {
        let due = self.under_way.front().map(|next| next.due.since(now()));
        let flush = self.trace.has_unwritten().then_some(FLUSH_AFTER);
        due.into_iter().chain(flush).min()
    }

    fn read_burst(&mut self, from: Host) {
        let mut buffer = [0; WIRE_MTU];
        for _ in 0..BURST_PACKETS {
            // Anything but "nothing more" is about one packet, which is lost.
            match self.uplinks[from.index()].recv(&mut buffer) {
                Ok(len) => self.take(from, &mut buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.count(DropReason::Broken),
            }
        }
    }

    /// Takes a packet off the wire of `from`.
    fn take(&mut self, from: Host, packet: &mut [u8]) {
        let now = now();
        self.record(Wire::Uplink(from), packet);
        match self.internet.leave(now, from, packet) {
            Ok(to) => {
                if from.nat().is_some() {
                    self.record(Wire::Outside(from), packet);
                }
                if self.transit.is_zero() {
                    self.arrive(now, to, packet);
                } else {
                    self.send_off(now + self.transit, to, packet);
                }
            }
            Err(reason) => {
                self.count(reason);
                if let Some(answer) = icmp::answer(reason, from, packet) {
                    self.put(from, &answer);
                }
            }
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

    /// Brings a packet to the wire of `to`.
    fn arrive(&mut self, now: Instant, to: Host, packet: &mut [u8]) {
        if to.nat().is_some() {
            self.record(Wire::Outside(to), packet);
        }
        match self.internet.arrive(now, to, packet) {
            Ok(()) => self.put(to, packet),
            Err(reason) => self.count(reason),
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

/// The token of the pipe that ends the thread; those of the uplinks are small.
const STOP: u64 = u64::MAX;

/// Packets read from one uplink before the others get their turn: enough to make waiting cheap, few
/// enough for acknowledgements to keep flowing.
const BURST_PACKETS: usize = 64;

/// What a wire holds at most: a second of 500 Mbit/s in full packets, 60 MiB.
const UNDER_WAY_PACKETS_MAX: usize = 40_960;

/// A trace is written out when the wires have been quiet for this long, so that a person can look
/// at it while the lab runs.
const FLUSH_AFTER: Duration = Duration::from_millis(100);
