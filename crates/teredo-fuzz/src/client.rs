//! The client: nothing reaches the stack that it neither asked for nor lets in, and nothing is sent
//! to where nothing may be.

use std::net::{Ipv6Addr, SocketAddrV4};
use std::time::Duration;

use teredo_proto::client::{Client, Config};
use teredo_proto::role::State;
use teredo_proto::{DropReason, Event, Inbound, Local, Outbound};
use teredo_wire::address::{CLIENT_LINK_LOCAL, is_link_local, server_link_local};
use teredo_wire::datagram::write_origin;
use teredo_wire::icmpv6::{self, RouterAdvertisement};
use teredo_wire::trailer::{Birthday, Part, Trailer};
use teredo_wire::{Datagram, TeredoAddress};

use crate::asked::Asked;
use crate::bench::{Answers, Bench, Output, Sent};
use crate::input::{Input, pick};
use crate::packets::{self, Damage, Shape, address_at, nonce_only, written};
use crate::transition::{Transition, transitions};
use crate::world::{self, CLIENT, NATIVE, OTHER, RELAY, SECONDARY, SERVER};

/// Runs a client of a kind that the first byte says, from its start.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let mut host = Host::new(config(kind), kind);
    host.bench.role.start(host.bench.now);
    host.run(input);
}

/// The same, but in service and in touch with a peer and two native hosts behind a relay: what is
/// left to happen is packets of flows.
pub(crate) fn run_connected(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let mut host = Host::connected(kind);
    let policy = host.asked.set_policy(kind % 64);
    host.bench.role.set_policy(policy);
    host.run(input);
}

/// A client, and what its stack has asked for.
struct Host {
    bench: Bench<Client>,
    asked: Asked,
}

impl Host {
    fn new(config: Config, kind: u8) -> Self {
        let client = Client::new(config, [7; 32]);
        let mut bench = Bench::new(client, kind, leaves_trace);
        if kind & LATE_PORTS != 0 {
            bench.set_answers(Answers::Late);
        }
        Self { bench, asked: Asked::default() }
    }

    fn connected(kind: u8) -> Self {
        let day = Duration::from_hours(24);
        let mut host = Self::new(Config { refresh_interval: day, ..config(0) }, kind);
        host.bench.role.start(host.bench.now);
        let undamaged = Damage::decode(&mut Input::new(&[]));
        for _ in 0..2 {
            host.drain();
            host.answer(0, 0, undamaged);
        }
        let own = host.own();
        for native in [NATIVE, OTHER] {
            host.send(&Shape::decode(&mut Input::new(&[1])).packet(own, native));
            host.drain();
            host.answer(0, 0, undamaged);
            host.drain();
        }
        let bubble = Shape::decode(&mut Input::new(&[0])).packet(world::peer(), own);
        let _ = host.bench.datagram(world::PEER, Local::Primary, &bubble);
        host.drain();
        assert_eq!(host.bench.role.state(), State::Qualified);
        host
    }

    fn run(&mut self, input: Input<'_>) {
        let endpoints = world::endpoints();
        for transition in transitions(input) {
            let addresses = world::addresses(self.own());
            match transition {
                Transition::Datagram {
                    from,
                    on,
                    between: [source, destination],
                    shape,
                    damage,
                } => {
                    // Most go where they should.
                    let destination = if destination < 10 { 0 } else { destination - 9 };
                    let source = pick(&addresses, source);
                    let packet = shape.packet(source, pick(&addresses, destination));
                    let payload = damage.datagram(packet, pick(&endpoints, shape.seed()));
                    let on = match on {
                        Local::Primary => Local::Primary,
                        Local::Secondary | Local::Helper | Local::Discovery | Local::Random(_) => {
                            self.bench.random_port(shape.seed())
                        }
                    };
                    self.put(pick(&endpoints, from), on, &payload);
                }
                Transition::Packet { between: [source, destination], shape, damage } => {
                    let source = if source < 14 { 0 } else { source - 13 };
                    let packet =
                        shape.packet(pick(&addresses, source), pick(&addresses, destination));
                    self.send(&damage.packet(packet));
                }
                Transition::Answer { to, from, damage } => self.answer(to, from, damage),
                Transition::Wait(time) => {
                    let outputs = self.bench.wait(time);
                    self.check_outputs(&outputs);
                }
                Transition::Drain => self.drain(),
                Transition::Command(number) => self.command(number),
            }
        }
        self.drain();
    }

    /// The address that the client has, or would have.
    fn own(&self) -> Ipv6Addr {
        self.bench.role.address().unwrap_or(world::client())
    }

    fn put(&mut self, from: SocketAddrV4, on: Local, payload: &[u8]) {
        let own = self.bench.role.address();
        let inbound = self.bench.datagram(from, on, payload);
        if let Inbound::Deliver(range) = inbound {
            let packet = &payload[range];
            assert_eq!(Some(address_at(packet, 24)), own, "delivered to somebody else");
            assert_ne!(Some(address_at(packet, 8)), own, "from ourselves");
            self.asked.check(self.bench.now, packet);
        }
    }

    fn send(&mut self, packet: &[u8]) {
        self.asked.note_sent(self.bench.now, packet);
        if let Outbound::Send { to, via } = self.bench.packet(packet) {
            assert!(matches!(via, Local::Primary | Local::Random(_)));
            check_target(to);
            assert_eq!(Some(address_at(packet, 8)), self.bench.role.address());
        }
    }

    fn drain(&mut self) {
        let (outputs, events) = self.bench.drain();
        self.check_outputs(&outputs);
        for event in events {
            if let Event::AddressChanged(Some((address, mtu))) = event {
                assert!(TeredoAddress::parse(address).is_some(), "{address}");
                assert!((1280..=1500).contains(&mtu), "MTU {mtu}");
            }
        }
    }

    fn check_outputs(&mut self, outputs: &[Output]) {
        for output in outputs {
            match output {
                Output::Datagram(sent) => check_target(sent.to),
                Output::Packet(packet) if is_link_local(address_at(packet, 8)) => {
                    self.asked.check_complaint(packet);
                }
                // It was held until its source was proven.
                Output::Packet(packet) => self.asked.check(self.bench.now, packet),
            }
        }
    }

    fn answer(&mut self, to: u8, from: u8, damage: Damage<'_>) {
        let Some(sent) = self.bench.sent(to) else { return };
        if let Some((from, payload)) = self.reply(&sent, from, damage) {
            self.put(from, sent.via, &payload);
        }
    }

    /// The answer of a peer of our kind to an indirect bubble, through our server: it can take some
    /// part in birthday probing, and has got our nonce.
    fn birthday(sent: &Sent, number: u8) -> Option<(SocketAddrV4, Vec<u8>)> {
        let datagram = Datagram::parse(&sent.payload).ok()?;
        let trailers = datagram.trailers().ok()?;
        let (nonce, _) = trailers.nonce.zip(trailers.birthday)?;
        let part = pick(&[None, Some(Part::OnePort), Some(Part::OpenPorts)], number)?;
        let (source, destination) = (datagram.ipv6.destination(), datagram.ipv6.source());
        let peer = TeredoAddress::parse(source)?;
        let mut payload = written(|writer| write_origin(writer, peer.mapped));
        payload.extend(Shape::decode(&mut Input::new(&[0])).packet(source, destination));
        payload.extend(written(|writer| {
            Trailer::Nonce([9; 4]).write(writer)?;
            Trailer::Birthday(Birthday { part, nonce }).write(writer)
        }));
        Some((SocketAddrV4::new(SERVER, 3_544), payload))
    }

    /// What comes back when everybody does what they should.
    fn reply(
        &self,
        sent: &Sent,
        number: u8,
        damage: Damage<'_>,
    ) -> Option<(SocketAddrV4, Vec<u8>)> {
        if let Some(answer) = Self::birthday(sent, number) {
            return Some(answer);
        }
        let datagram = Datagram::parse(&sent.payload).ok()?;
        let ipv6 = datagram.ipv6;
        if let Some(authentication) = datagram.authentication {
            let origin = pick(&[CLIENT, CLIENT, world::PEER, sent.to], number);
            let advertisement = RouterAdvertisement {
                source: server_link_local(SERVER),
                destination: CLIENT_LINK_LOCAL,
                server: SERVER,
                mtu: (number < 3).then_some(1280),
            };
            let packet = damage.packet(written(|writer| advertisement.write(writer)));
            let mut payload = nonce_only(authentication.nonce);
            payload.extend(written(|writer| write_origin(writer, origin)));
            payload.extend(packet);
            return Some((sent.to, payload));
        }
        let (source, destination) = (ipv6.destination(), ipv6.source());
        let is_to_server = [SERVER, SECONDARY].contains(sent.to.ip());
        let from = match TeredoAddress::parse(source) {
            Some(peer) => peer.mapped,
            None if is_to_server => RELAY,
            None => sent.to,
        };
        let payload = ipv6.payload();
        let packet = match payload {
            [] => Shape::decode(&mut Input::new(&[0])).packet(source, destination),
            [icmpv6::ECHO_REQUEST, rest @ ..] => {
                let reply = [&[icmpv6::ECHO_REPLY], rest].concat();
                packets::icmpv6(source, destination, &reply)
            }
            [a, b, c, d, rest @ ..] => {
                let mirrored = [&[*c, *d, *a, *b], rest].concat();
                packets::packet(source, destination, ipv6.next_header(), &mirrored)
            }
            _ => return None,
        };
        Some((from, damage.datagram(packet, pick(&world::endpoints(), number))))
    }

    fn command(&mut self, number: u8) {
        // What was decided under the old policy is out before there is another.
        self.drain();
        let (now, client) = (self.bench.now, &mut self.bench.role);
        match number {
            0..16 => client.set_policy(self.asked.set_policy(number)),
            16..20 => client.start(now),
            20 => client.stop(),
            21 => client.network_changed(now, Some(*CLIENT.ip())),
            22 => client.network_changed(now, None),
            23 => _ = client.set_server(now, world::PEER_SERVER, None),
            24 => _ = client.set_server(now, SERVER, Some(SECONDARY)),
            25 => client.set_refresh_interval(Duration::from_secs(5)),
            26 => self.bench.answer_ports(true),
            27 => self.bench.answer_ports(false),
            28 => self.bench.set_answers(Answers::Given),
            29 => self.bench.set_answers(Answers::Refused),
            _ => client.set_filter(world::filter()),
        }
    }
}

fn check_target(to: SocketAddrV4) {
    assert!(world::filter().is_global(*to.ip()) && to.port() != 0, "sent to {to}");
}

fn config(kind: u8) -> Config {
    let mut config = Config::new(SERVER, Some(SECONDARY).filter(|_| kind & 1 == 0), 40_000);
    config.filter = world::filter();
    config.strict = kind & 2 != 0;
    config.local_address = (kind & 4 != 0).then_some(*CLIENT.ip());
    config.dormant_after = (kind & 8 != 0).then_some(Duration::from_hours(1));
    config.peers_max = if kind & 16 != 0 { 3 } else { 64 };
    config.traversal.birthday = kind & BIRTHDAY != 0;
    config
}

/// In the first byte: the host takes its time with ports; birthday probing is switched on.
const LATE_PORTS: u8 = 0x20;
const BIRTHDAY: u8 = 0x80;

/// A refusal is remembered, and so is what a limit was asked for.
fn leaves_trace(reason: DropReason) -> bool {
    matches!(reason, DropReason::Refused | DropReason::QueueFull | DropReason::PeerListFull)
}
