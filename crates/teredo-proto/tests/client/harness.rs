//! A client with everything around it played by the test.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use core::time::Duration;

use teredo_proto::client::{Client, Config, Traversal};
use teredo_proto::role::{NatKind, State, TRANSMIT_LEN_MAX};
use teredo_proto::{
    Arrival, DropReason, Event, Inbound, Instant, Local, Outbound, Policy, Role, Transmit,
};
use teredo_wire::trailer::{Trailer, Trailers};
use teredo_wire::{Datagram, Flags, TeredoAddress};

use crate::bytes::{Advertisement, endpoint};

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub(crate) const SECONDARY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
pub(crate) const SERVICE_PORT: u16 = 40_000;
pub(crate) const NATIVE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 6, 0, 0, 0, 0, 2);
/// The link-local address a relay signs its bubbles with.
pub(crate) const RELAY_ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x123, 4, 5, 6);

pub(crate) fn server() -> SocketAddrV4 {
    SocketAddrV4::new(SERVER, 3544)
}

pub(crate) fn secondary() -> SocketAddrV4 {
    SocketAddrV4::new(SECONDARY, 3544)
}

/// The client's endpoint as the server sees it.
pub(crate) fn mapped() -> SocketAddrV4 {
    endpoint("192.0.2.1:4096")
}

/// A relay's endpoint.
pub(crate) fn relay() -> SocketAddrV4 {
    endpoint("203.0.113.20:5000")
}

/// Another client, of another server.
pub(crate) fn peer() -> TeredoAddress {
    let server = Ipv4Addr::new(198, 51, 100, 118);
    TeredoAddress { server, flags: Flags(0x1234), mapped: endpoint("192.0.2.10:8192") }
}

pub(crate) fn peer_address() -> Ipv6Addr {
    peer().to_ipv6()
}

pub(crate) fn peer_server() -> SocketAddrV4 {
    SocketAddrV4::new(peer().server, 3544)
}

/// A client whose owner lets in everything, so that only the protocol decides.
pub(crate) fn config() -> Config {
    let mut config = Config::new(SERVER, Some(SECONDARY), SERVICE_PORT);
    config.policy = Policy::everything();
    let documentation = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"];
    config.filter.allowed = documentation.iter().map(|range| range.parse().unwrap()).collect();
    config
}

/// Something the client sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Datagram {
        to: SocketAddrV4,
        via: Local,
        payload: Vec<u8>,
    },
    /// For the stack.
    Packet(Vec<u8>),
}

impl Sent {
    /// Destination and payload of a datagram.
    pub(crate) fn datagram(&self) -> (SocketAddrV4, &[u8]) {
        match self {
            Self::Datagram { to, payload, .. } => (*to, payload),
            Self::Packet(_) => panic!("for the stack: {self:?}"),
        }
    }

    /// A datagram's payload, parsed.
    pub(crate) fn parsed(&self) -> Datagram<'_> {
        Datagram::parse(self.datagram().1).unwrap()
    }

    pub(crate) fn is_to(&self, endpoint: SocketAddrV4) -> bool {
        matches!(self, Self::Datagram { to, .. } if *to == endpoint)
    }

    /// The socket a datagram left from.
    pub(crate) fn via(&self) -> Local {
        match self {
            Self::Datagram { via, .. } => *via,
            Self::Packet(_) => panic!("for the stack: {self:?}"),
        }
    }

    /// The trailers of a datagram.
    pub(crate) fn trailers(&self) -> Trailers<'_> {
        self.parsed().trailers().unwrap()
    }

    pub(crate) fn is_solicitation(&self) -> bool {
        matches!(self, Self::Datagram { payload, .. } if payload.len() == 61)
    }

    pub(crate) fn is_bubble(&self) -> bool {
        matches!(self, Self::Datagram { .. }) && self.parsed().ipv6.is_bubble()
    }

    /// Type and code of an ICMPv6 error for the stack.
    pub(crate) fn error(&self) -> Option<(u8, u8)> {
        match self {
            Self::Packet(bytes) if bytes[6] == 58 && bytes[40] < 128 => {
                Some((bytes[40], bytes[41]))
            }
            Self::Packet(_) | Self::Datagram { .. } => None,
        }
    }
}

/// A client and the clock it lives by.
pub(crate) struct Bench {
    pub(crate) client: Client,
    pub(crate) now: Instant,
    /// What the client sent and nobody looked at yet, with the time.
    sent: Vec<(Instant, Sent)>,
}

impl Bench {
    /// A client that is not started.
    pub(crate) fn new(config: Config) -> Self {
        Self::with_seed(config, [7; 32])
    }

    pub(crate) fn with_seed(config: Config, seed: [u8; 32]) -> Self {
        let now = Instant::from_nanos(1_000_000_000);
        Self { client: Client::new(config, seed), now, sent: Vec::new() }
    }

    /// A client whose first solicitation is out.
    pub(crate) fn started(config: Config) -> Self {
        let mut bench = Self::new(config);
        bench.client.start(bench.now);
        bench
    }

    /// A client that both server addresses answered, both with [`mapped`], 50 ms each.
    pub(crate) fn qualified() -> Self {
        Self::qualified_with(config())
    }

    pub(crate) fn qualified_with(config: Config) -> Self {
        let mut bench = Self::started(config);
        bench.answer(server(), mapped());
        if bench.peek().iter().any(|sent| sent.is_to(secondary())) {
            bench.answer(secondary(), mapped());
        }
        assert_eq!(bench.client.state(), State::Qualified);
        bench.take();
        bench.events();
        bench
    }

    /// A qualified client that needs no refresh for days.
    pub(crate) fn quiet() -> Self {
        let refresh_interval = Duration::from_secs(1_000_000);
        Self::qualified_with(Config { refresh_interval, ..config() })
    }

    /// The same, of RFC 4380 alone.
    pub(crate) fn plain() -> Self {
        let refresh_interval = Duration::from_secs(1_000_000);
        Self::qualified_with(Config { refresh_interval, traversal: Traversal::NONE, ..config() })
    }

    /// A qualified client whose server addresses see it at these two endpoints.
    pub(crate) fn behind(config: Config, seen: [SocketAddrV4; 2]) -> Self {
        let refresh_interval = Duration::from_secs(1_000_000);
        let mut bench = Self::started(Config { refresh_interval, ..config });
        bench.answer(server(), seen[0]);
        bench.answer(secondary(), seen[1]);
        bench.take();
        bench.events();
        bench
    }

    /// One behind a port-symmetric NAT that gave the service port its own number.
    pub(crate) fn port_preserving() -> Self {
        let config = Config { service_port: mapped().port(), ..config() };
        Self::behind(config, [mapped(), endpoint("192.0.2.1:60000")])
    }

    /// One behind another port-symmetric NAT, with the techniques of RFC 6081.
    pub(crate) fn sequential() -> Self {
        let config = Config { traversal: Traversal::RFC6081, ..config() };
        Self::behind(config, [mapped(), endpoint("192.0.2.1:4097")])
    }

    /// The random port that the client asks for gets this number; returns its socket.
    pub(crate) fn bind(&mut self, port: u16) -> Local {
        let events = self.events().into_iter();
        let mut asked =
            events.filter_map(
                |event| {
                    if let Event::BindPort(local) = event { Some(local) } else { None }
                },
            );
        let local = asked.next_back().expect("a port was asked for");
        self.client.handle_bound(self.now, local, Some(port));
        local
    }

    /// The sockets that the client has given back.
    pub(crate) fn released(&mut self) -> Vec<Local> {
        let mut released = Vec::new();
        for event in self.events() {
            if let Event::ReleasePort(local) = event {
                released.push(local);
            }
        }
        released
    }

    /// The peer's indirect bubble arrives through our server.
    pub(crate) fn call(&mut self, trailers: &[u8]) -> Vec<Sent> {
        let own = self.own();
        let mut indirect = crate::bytes::indirect_bubble(peer().mapped, peer_address(), own);
        indirect.extend(trailers);
        assert_eq!(self.inject(server(), &indirect), Inbound::Consumed);
        self.take()
    }

    /// A direct bubble of the peer arrives, with this nonce.
    pub(crate) fn meet(
        &mut self,
        on: Local,
        from: SocketAddrV4,
        nonce: Option<[u8; 4]>,
    ) -> Inbound {
        let mut bubble = crate::bytes::bubble(peer_address(), self.own());
        if let Some(nonce) = nonce {
            bubble.extend(crate::bytes::trailers(&[Trailer::Nonce(nonce)]));
        }
        self.inject_on(on, from, &bubble)
    }

    /// The stack begins to talk to the peer; returns what is sent.
    pub(crate) fn begin(&mut self) -> Vec<Sent> {
        let packet = crate::bytes::udp(self.own(), peer_address(), b"first");
        assert_eq!(self.send(&packet), Outbound::Queued);
        self.take()
    }

    /// Whether the stack's packets go to the peer at once, and how.
    pub(crate) fn way(&mut self) -> Option<(SocketAddrV4, Local)> {
        let packet = crate::bytes::udp(self.own(), peer_address(), b"way?");
        match self.send(&packet) {
            Outbound::Send { to, via } => Some((to, via)),
            Outbound::Wrap { .. } | Outbound::Queued | Outbound::Dropped(_) => None,
        }
    }

    pub(crate) fn own(&self) -> Ipv6Addr {
        self.client.address().unwrap()
    }

    /// Everything sent since last asked.
    pub(crate) fn take(&mut self) -> Vec<Sent> {
        self.take_timed().into_iter().map(|(_, sent)| sent).collect()
    }

    /// The same with seconds since `start`, rounded down to milliseconds.
    pub(crate) fn take_since(&mut self, start: Instant) -> Vec<(f64, Sent)> {
        let seconds = |at: Instant| at.since(start).as_millis() as f64 / 1000.0;
        self.take_timed().into_iter().map(|(at, sent)| (seconds(at), sent)).collect()
    }

    fn take_timed(&mut self) -> Vec<(Instant, Sent)> {
        self.drain();
        core::mem::take(&mut self.sent)
    }

    /// What was sent since last asked, to be asked for again.
    pub(crate) fn peek(&mut self) -> Vec<Sent> {
        self.drain();
        self.sent.iter().map(|(_, sent)| sent.clone()).collect()
    }

    fn drain(&mut self) {
        let mut buffer = [0; TRANSMIT_LEN_MAX];
        while let Some(transmit) = self.client.poll_transmit(&mut buffer) {
            let sent = match transmit {
                Transmit::Datagram { to, via, len } => {
                    Sent::Datagram { to, via, payload: buffer[..len].to_vec() }
                }
                Transmit::Packet { len } => Sent::Packet(buffer[..len].to_vec()),
            };
            self.sent.push((self.now, sent));
        }
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        core::iter::from_fn(|| self.client.poll_event()).collect()
    }

    /// Lets time pass, stopping at each deadline.
    pub(crate) fn wait(&mut self, duration: Duration) {
        self.drain();
        let end = self.now + duration;
        while let Some((deadline, _)) = self.client.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(deadline);
            self.client.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub(crate) fn wait_s(&mut self, seconds: f64) {
        self.wait(Duration::from_secs_f64(seconds));
    }

    /// Lets time pass until the client begins to qualify again.
    pub(crate) fn wait_for_probe(&mut self) {
        while self.client.state() != State::Probe {
            self.wait_s(0.5);
        }
    }

    /// A datagram arrives.
    pub(crate) fn inject(&mut self, from: SocketAddrV4, payload: &[u8]) -> Inbound {
        self.inject_on(Local::Primary, from, payload)
    }

    /// A datagram arrives on one of the sockets.
    pub(crate) fn inject_on(&mut self, on: Local, from: SocketAddrV4, payload: &[u8]) -> Inbound {
        let arrival = Arrival { from, on };
        self.client.handle_datagram(self.now, arrival, payload)
    }

    /// A datagram arrives and is dropped for the returned reason, which was counted.
    pub(crate) fn inject_dropped(&mut self, from: SocketAddrV4, payload: &[u8]) -> DropReason {
        match self.inject(from, payload) {
            Inbound::Dropped(reason) => {
                assert!(self.client.counters().dropped(reason) > 0);
                reason
            }
            other @ (Inbound::Deliver(_) | Inbound::Consumed) => panic!("not dropped: {other:?}"),
        }
    }

    /// The stack sends a packet.
    pub(crate) fn send(&mut self, packet: &[u8]) -> Outbound {
        self.drain();
        self.client.handle_packet(self.now, packet)
    }

    /// The nonce of the last solicitation to a server address.
    pub(crate) fn nonce(&mut self, to: SocketAddrV4) -> [u8; 8] {
        let sent = self.peek();
        let solicitation =
            sent.iter().rev().find(|sent| sent.is_to(to) && sent.is_solicitation()).unwrap();
        solicitation.parsed().authentication.unwrap().nonce
    }

    /// A server address answers the last solicitation 50 ms later, having seen it from `origin`.
    pub(crate) fn answer(&mut self, from: SocketAddrV4, origin: SocketAddrV4) {
        let nonce = self.nonce(from);
        self.wait(Duration::from_millis(50));
        let advertisement = Advertisement { origin: Some(origin), ..Advertisement::new(nonce) };
        assert_eq!(self.inject(from, &advertisement.to_bytes()), Inbound::Consumed);
    }

    /// The primary answers a solicitation that is still unanswered though looked at.
    pub(crate) fn answer_now(&mut self, nonce: [u8; 8], origin: SocketAddrV4) {
        let advertisement = Advertisement { origin: Some(origin), ..Advertisement::new(nonce) };
        assert_eq!(self.inject(server(), &advertisement.to_bytes()), Inbound::Consumed);
    }

    /// The peer is made a trusted one by a bubble from its embedded endpoint.
    pub(crate) fn befriend(&mut self, peer: &TeredoAddress) {
        let bubble = crate::bytes::bubble(peer.to_ipv6(), self.own());
        assert_eq!(self.inject(peer.mapped, &bubble), Inbound::Consumed);
        self.take();
        self.events();
    }

    /// The native host is made a trusted one behind [`relay`], by the echo test.
    pub(crate) fn befriend_native(&mut self) {
        let packet = crate::bytes::udp(self.own(), NATIVE, b"first");
        assert_eq!(self.send(&packet), Outbound::Queued);
        let request = self.take().pop().unwrap();
        let reply = crate::bytes::echo_reply(request.datagram().1);
        assert_eq!(self.inject(relay(), &reply), Inbound::Consumed);
        self.take();
        self.events();
    }

    /// Whether a packet to this address goes out at once, and where to.
    pub(crate) fn route(&mut self, destination: Ipv6Addr) -> Option<SocketAddrV4> {
        let packet = crate::bytes::udp(self.own(), destination, b"route?");
        match self.send(&packet) {
            Outbound::Send { to, via: Local::Primary } => Some(to),
            Outbound::Send { .. }
            | Outbound::Wrap { .. }
            | Outbound::Queued
            | Outbound::Dropped(_) => None,
        }
    }

    /// Everything about the client but its counters.
    pub(crate) fn state_digest(&self) -> String {
        let text = format!("{:?}", self.client);
        let (state, counters) = text.rsplit_once("counters: ").unwrap();
        assert!(counters.starts_with("Counters"));
        state.to_owned()
    }
}

pub(crate) fn kinds(events: &[Event]) -> Vec<NatKind> {
    let mut kinds = Vec::new();
    for event in events {
        if let Event::NatKindChanged(kind) = event {
            kinds.push(*kind);
        }
    }
    kinds
}

/// The nonce of the indirect bubble among these.
pub(crate) fn nonce_of(sent: &[Sent]) -> [u8; 4] {
    let indirect = sent.iter().find(|sent| sent.is_to(peer_server())).expect("an indirect bubble");
    indirect.trailers().nonce.expect("a nonce")
}

/// Where datagrams go, and from which socket.
pub(crate) fn ways(sent: &[Sent]) -> Vec<(SocketAddrV4, Local)> {
    sent.iter().map(|sent| (sent.datagram().0, sent.via())).collect()
}
