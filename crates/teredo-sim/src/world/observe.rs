//! What is to be seen from outside.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use core::time::Duration;

use teredo_proto::client::Client;
use teredo_proto::helper::Helper;
use teredo_proto::role::{NatKind, State};
use teredo_proto::{Counters, DropReason, Event, Instant};

use crate::host::{AnyRole, Datagram, HostId, Service};
use crate::nat::Nat;
use crate::stack::Stack;
use crate::trace::Trace;

use super::{Happened, LogEntry, NatId, START, World};

impl World {
    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// How long the world has existed.
    pub fn elapsed(&self) -> Duration {
        self.now.since(START)
    }

    /// The client on a host.
    pub fn client(&self, host: HostId) -> Option<&Client> {
        self.services(host).iter().find_map(|service| match &service.role {
            AnyRole::Client(client) => Some(&**client),
            AnyRole::Server(_) | AnyRole::Relay(_) | AnyRole::Helper(_) => None,
        })
    }

    /// The helper on a host.
    pub fn helper(&self, host: HostId) -> Option<&Helper> {
        self.services(host).iter().find_map(|service| match &service.role {
            AnyRole::Helper(helper) => Some(&**helper),
            AnyRole::Client(_) | AnyRole::Server(_) | AnyRole::Relay(_) => None,
        })
    }

    /// The state of the client on a host.
    pub fn state(&self, host: HostId) -> Option<State> {
        self.client(host).map(Client::state)
    }

    /// Whether the client on a host is qualified.
    pub fn is_qualified(&self, host: HostId) -> bool {
        self.state(host) == Some(State::Qualified)
    }

    /// What the client on a host says its NAT is.
    pub fn nat_kind(&self, host: HostId) -> Option<NatKind> {
        self.client(host).map(Client::nat_kind)
    }

    /// The IPv6 address of a host: the Teredo one if it has one.
    pub fn ipv6(&self, host: HostId) -> Option<Ipv6Addr> {
        self.hosts[host.0].stack.address()
    }

    /// The first IPv4 address of a host; 0.0.0.0 if it has none.
    pub fn address_of(&self, host: HostId) -> Ipv4Addr {
        self.hosts[host.0].addresses.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// The socket of the last service of a host.
    pub fn endpoint_of(&self, host: HostId) -> Option<SocketAddrV4> {
        self.services(host).last()?.sockets.first().map(|(_, endpoint)| *endpoint)
    }

    /// Sockets of a host with a role behind them.
    pub fn socket_count(&self, host: HostId) -> usize {
        self.services(host).iter().map(|service| service.sockets.len()).sum()
    }

    /// What the first role of a host counted.
    pub fn counters(&self, host: HostId) -> Option<&Counters> {
        self.services(host).first().map(|service| service.role.as_role().counters())
    }

    /// How many packets the roles of a host dropped for `reason`.
    pub fn dropped(&self, host: HostId, reason: DropReason) -> u64 {
        let counters = |service: &Service| service.role.as_role().counters().dropped(reason);
        self.services(host).iter().map(counters).sum()
    }

    /// The IPv6 stack of a host.
    pub fn stack(&self, host: HostId) -> &Stack {
        &self.hosts[host.0].stack
    }

    /// Takes the datagrams that came to sockets without a role.
    pub fn take_datagrams(&mut self, host: HostId) -> Vec<Datagram> {
        core::mem::take(&mut self.hosts[host.0].mailbox)
    }

    /// The datagrams that came to sockets without a role.
    pub fn datagrams(&self, host: HostId) -> &[Datagram] {
        &self.hosts[host.0].mailbox
    }

    /// How long the answer to a ping took, once it is there.
    pub fn answer_time(&self, ping: u16) -> Option<Duration> {
        self.pings_answered.get(&ping).copied()
    }

    /// Whether test data reached the host it was sent to.
    pub fn is_delivered(&self, tag: u64) -> bool {
        self.ledger.is_delivered(tag)
    }

    /// Whether an ICMPv6 error was made about test data.
    pub fn is_reported(&self, tag: u64) -> bool {
        self.ledger.is_reported(tag)
    }

    /// Packets that the roles of a host queued and have neither sent nor dropped. Never below 0
    /// unless a role counts wrongly.
    pub fn queued_count(&self, host: HostId) -> i64 {
        self.services(host).iter().map(Service::queued_count).sum()
    }

    /// Packets of test data sent by stacks, and those that reached their destination.
    pub fn data_totals(&self) -> (usize, usize) {
        self.ledger.totals()
    }

    /// The most bubbles that one role sent to one destination within
    /// [`METER_WINDOW`](crate::METER_WINDOW).
    pub fn most_bubbles(&self) -> usize {
        self.bubbles.most()
    }

    /// Datagrams with bubbles that roles sent, those that servers passed on not counted.
    pub fn bubble_count(&self) -> usize {
        self.bubbles.total()
    }

    /// Keeps books of each role that is added from now on; what they forbid is a violation.
    pub fn audit(&mut self) {
        self.is_audited = true;
    }

    /// A NAT.
    pub fn nat(&self, nat: NatId) -> &Nat {
        &self.nats[nat.0].nat
    }

    /// The wires.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The wires, to say what is to be kept of them.
    pub fn trace_mut(&mut self) -> &mut Trace {
        &mut self.trace
    }

    /// A capture file of each wire, by name, of the packets kept.
    pub fn captures(&self) -> Vec<(String, Vec<u8>)> {
        let capture = |(name, wire)| (name, self.trace.pcap(wire));
        self.wires().into_iter().map(capture).collect()
    }

    /// One capture file of the packets kept, an interface for each wire, from the time on when the
    /// world began.
    pub fn capture(&self) -> Vec<u8> {
        self.trace.pcapng(START, &self.wires())
    }

    /// What the hosts had to tell, in order.
    pub fn log(&self) -> &[LogEntry] {
        &self.log
    }

    /// The events of one host, with the time since the world began.
    pub fn events(&self, host: HostId) -> impl Iterator<Item = (Duration, Event)> + '_ {
        self.log.iter().filter(move |entry| entry.host == host).filter_map(|entry| {
            match entry.what {
                Happened::Event(event) => Some((entry.at.since(START), event)),
                Happened::Dropped(_) | Happened::Error(_) => None,
            }
        })
    }

    fn services(&self, host: HostId) -> &[Service] {
        &self.hosts[host.0].services
    }
}
