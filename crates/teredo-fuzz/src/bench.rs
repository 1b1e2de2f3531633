//! A role under test: what the contract of [`Role`] promises is checked at every step.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Debug;
use std::net::SocketAddrV4;
use std::time::Duration;

use teredo_proto::role::{PORTS_MAX, TRANSMIT_LEN_MAX};
use teredo_proto::{
    Arrival, Counters, DropReason, Event, Inbound, Instant, Local, Outbound, Role, Transmit,
};
use teredo_wire::Ipv6;

/// A role, the clock it lives by, and what it sent lately.
pub(crate) struct Bench<R> {
    pub(crate) role: R,
    pub(crate) now: Instant,
    /// The last datagrams, newest first.
    sent: VecDeque<Sent>,
    /// Drops for these reasons may leave a trace besides their counter.
    traces: fn(DropReason) -> bool,
    /// How often the state is still looked at, which takes longer than all the rest.
    looks: u32,
    ports: Ports,
}

/// The random ports of a role.
#[derive(Debug, Default)]
struct Ports {
    open: BTreeSet<u16>,
    /// Asked for and not answered yet.
    asked: BTreeSet<u16>,
    answers: Answers,
}

/// What a host does that is asked for a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Answers {
    /// Gives one at once.
    #[default]
    Given,
    /// Has none.
    Refused,
    /// Answers when [`Bench::answer_ports`] says so.
    Late,
}

/// A datagram that a role sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) to: SocketAddrV4,
    pub(crate) via: Local,
    pub(crate) payload: Vec<u8>,
}

/// What came out of a role.
pub(crate) enum Output {
    Datagram(Sent),
    /// For the stack.
    Packet(Vec<u8>),
}

impl<R: Role + Debug> Bench<R> {
    /// A role of a `kind` that also says whether states are compared. Drops for reasons that
    /// `traces` names may change something.
    pub(crate) fn new(role: R, kind: u8, traces: fn(DropReason) -> bool) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        let looks = if kind & LOOKING != 0 { LOOKS } else { 0 };
        Self { role, now, sent: VecDeque::new(), traces, looks, ports: Ports::default() }
    }

    /// What is done from now on about ports that are asked for.
    pub(crate) fn set_answers(&mut self, answers: Answers) {
        self.ports.answers = answers;
    }

    /// Answers everything about ports that waits for an answer.
    pub(crate) fn answer_ports(&mut self, is_given: bool) {
        for number in std::mem::take(&mut self.ports.asked) {
            self.answer_port(number, is_given);
        }
    }

    fn answer_port(&mut self, number: u16, is_given: bool) {
        if is_given {
            self.ports.open.insert(number);
        }
        let port = is_given.then_some(50_000);
        self.role.handle_bound(self.now, Local::Random(number), port);
    }

    /// One of the open random ports, or the service port if there is none.
    pub(crate) fn random_port(&self, number: u8) -> Local {
        let ports = &self.ports.open;
        let nth = usize::from(number).checked_rem(ports.len());
        let port = nth.and_then(|nth| ports.iter().nth(nth));
        port.map_or(Local::Primary, |port| Local::Random(*port))
    }

    /// Does what the role asks about ports. No more than may be are open at a time.
    fn serve_ports(&mut self, event: Event) {
        if let Event::BindPort(Local::Random(number)) = event {
            let is_new = self.ports.asked.insert(number) && !self.ports.open.contains(&number);
            assert!(is_new, "port {number} is asked for twice");
            let count = self.ports.asked.len() + self.ports.open.len();
            assert!(count <= PORTS_MAX, "{count} ports");
            if self.ports.answers != Answers::Late {
                self.ports.asked.remove(&number);
                self.answer_port(number, self.ports.answers == Answers::Given);
            }
        } else if let Event::ReleasePort(Local::Random(number)) = event {
            self.ports.open.remove(&number);
            self.ports.asked.remove(&number);
        }
    }

    /// The last but `number` of what the role sent.
    pub(crate) fn sent(&self, number: u8) -> Option<Sent> {
        self.sent.get(usize::from(number)).cloned()
    }

    /// A datagram arrives. One that is dropped counts once and does nothing else.
    pub(crate) fn datagram(&mut self, from: SocketAddrV4, on: Local, payload: &[u8]) -> Inbound {
        let before = self.before();
        let inbound = self.role.handle_datagram(self.now, Arrival { from, on }, payload);
        match &inbound {
            Inbound::Dropped(reason) => self.check_drop(&before, *reason),
            Inbound::Deliver(range) => {
                let packet = &payload[range.clone()];
                let whole = Ipv6::parse(packet).is_ok_and(|(_, rest)| rest.is_empty());
                assert!(whole, "delivered: {packet:02x?}");
                assert!(self.role.counters().delivered > before.counters.delivered);
            }
            // Packets that waited for this one may be dropped with it.
            Inbound::Consumed => {}
        }
        inbound
    }

    /// The stack sends a packet.
    pub(crate) fn packet(&mut self, packet: &[u8]) -> Outbound {
        let before = self.role.counters().clone();
        let outbound = self.role.handle_packet(self.now, packet);
        let counters = self.role.counters();
        match outbound {
            Outbound::Send { to, .. } => {
                assert_ne!(to.port(), 0);
                assert_eq!(counters.sent, before.sent + 1);
                self.keep(Sent { to, via: Local::Primary, payload: packet.to_vec() });
            }
            Outbound::Wrap { header, to, via } => {
                assert_ne!(to.port(), 0);
                assert_eq!(counters.sent, before.sent + 1);
                let payload = [&header[..], packet].concat();
                assert!(payload.len() <= TRANSMIT_LEN_MAX);
                self.keep(Sent { to, via, payload });
            }
            Outbound::Queued => {}
            Outbound::Dropped(reason) => {
                assert_eq!(counters.dropped(reason), before.dropped(reason) + 1);
                assert_eq!(counters.sent, before.sent);
            }
        }
        outbound
    }

    /// Takes out everything that is to be sent and told.
    pub(crate) fn drain(&mut self) -> (Vec<Output>, Vec<Event>) {
        let (mut outputs, mut events) = (Vec::new(), Vec::new());
        self.drain_outputs(&mut outputs);
        while let Some(event) = self.role.poll_event() {
            self.serve_ports(event);
            events.push(event);
            assert!(events.len() <= OUTPUTS_MAX, "there is no end of what is told");
            self.drain_outputs(&mut outputs);
        }
        (outputs, events)
    }

    fn drain_outputs(&mut self, outputs: &mut Vec<Output>) {
        let mut buffer = [0; TRANSMIT_LEN_MAX];
        while let Some(transmit) = self.role.poll_transmit(&mut buffer) {
            outputs.push(match transmit {
                Transmit::Datagram { to, via, len } => {
                    assert_ne!(to.port(), 0, "sent to port 0");
                    if let Local::Random(number) = via {
                        assert!(self.ports.open.contains(&number), "sent from no port");
                    }
                    let sent = Sent { to, via, payload: buffer[..len].to_vec() };
                    self.keep(sent.clone());
                    Output::Datagram(sent)
                }
                Transmit::Packet { len } => {
                    let whole = Ipv6::parse(&buffer[..len]).is_ok_and(|(_, it)| it.is_empty());
                    assert!(whole, "for the stack: {:02x?}", &buffer[..len]);
                    Output::Packet(buffer[..len].to_vec())
                }
            });
            assert!(outputs.len() <= OUTPUTS_MAX, "there is no end of what is sent");
        }
    }

    /// Lets time pass, stopping at each deadline: each is done with when it was met.
    pub(crate) fn wait(&mut self, time: Duration) -> Vec<Output> {
        let end = self.now + time;
        let mut outputs = self.drain().0;
        let mut repeats = 0;
        for _ in 0..DEADLINES_MAX {
            let Some((deadline, reason)) = self.role.poll_timeout() else { break };
            if deadline > end {
                break;
            }
            // What ends one thing may make another due, but that has an end, too.
            repeats = if deadline > self.now { 0 } else { repeats + 1 };
            assert!(repeats <= REPEATS_MAX, "stalled at {reason:?}");
            self.now = self.now.max(deadline);
            self.role.handle_timeout(self.now);
            outputs.extend(self.drain().0);
        }
        self.now = end;
        self.role.handle_timeout(end);
        outputs.extend(self.drain().0);
        outputs
    }

    fn keep(&mut self, sent: Sent) {
        self.sent.push_front(sent);
        self.sent.truncate(SENT_KEPT);
    }

    fn before(&mut self) -> Before {
        let state = (self.looks > 0).then(|| state(&self.role));
        self.looks = self.looks.saturating_sub(1);
        Before { counters: self.role.counters().clone(), state }
    }

    fn check_drop(&mut self, before: &Before, reason: DropReason) {
        let counters = self.role.counters();
        assert!(!reason.name().is_empty());
        assert_eq!(counters.dropped(reason), before.counters.dropped(reason) + 1);
        assert_eq!(counters.dropped_total(), before.counters.dropped_total() + 1);
        assert_eq!(counters.delivered, before.counters.delivered);
        assert_eq!(counters.sent, before.counters.sent);
        if let Some(state_before) = &before.state
            && !(self.traces)(reason)
        {
            let now = state(&self.role);
            assert!(now == *state_before, "{reason:?} left a trace: {}", diff(state_before, &now));
        }
    }
}

/// A role before something happens to it.
struct Before {
    counters: Counters,
    state: Option<String>,
}

/// Everything about a role but its counters.
fn state(role: &impl Debug) -> String {
    let mut text = format!("{role:?}");
    let start = text.find("counters: Counters {").unwrap_or(text.len());
    let len = text[start..].find('}').unwrap_or(0);
    text.replace_range(start..start + len, "");
    text
}

/// Where two states begin to differ.
fn diff(before: &str, now: &str) -> String {
    let same = before.bytes().zip(now.bytes()).take_while(|(a, b)| a == b).count();
    let part = |text: &str| text.chars().skip(same.saturating_sub(60)).take(200).collect();
    let [before, now]: [String; 2] = [part(before), part(now)];
    format!("{before} -> {now}")
}

/// What can be answered.
const SENT_KEPT: usize = 8;
/// States compared in a run, if any.
const LOOKS: u32 = 8;
const LOOKING: u8 = 0x40;
/// More than all queues of a role together hold packets.
const OUTPUTS_MAX: usize = 70_000;
/// Deadlines that come one after the other at the same moment.
const REPEATS_MAX: u32 = 8;
/// Deadlines in one wait: a refresh every 30 s for some hours.
const DEADLINES_MAX: u32 = 2_000;
