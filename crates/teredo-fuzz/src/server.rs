//! The server: at most one answer to a datagram, hardly larger than it, and never to where nothing
//! may be sent.

use std::net::SocketAddrV4;

use teredo_proto::keys::{Algorithm, Identifier, Secret, SharedKey};
use teredo_proto::server::{Clients, Config, KnownClient, Server};
use teredo_proto::{DropReason, Inbound, Local};

use crate::bench::{Bench, Output};
use crate::input::{Input, pick};
use crate::transition::{Transition, transitions};
use crate::world::{self, SECONDARY, SERVER};

/// Runs a server of a kind that the first byte says.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let mut bench = Bench::new(Server::new(config(kind), [7; 32]), kind, leaves_trace);
    let (endpoints, addresses) = (world::endpoints(), world::addresses(world::client()));
    for transition in transitions(input) {
        match transition {
            Transition::Datagram { from, on, between: [source, destination], shape, damage } => {
                let from = pick(&endpoints, from);
                let packet = shape.packet(pick(&addresses, source), pick(&addresses, destination));
                put(&mut bench, from, on, &damage.datagram(packet, pick(&endpoints, shape.seed())));
            }
            Transition::Packet { between: [source, destination], shape, damage } => {
                let packet = shape.packet(pick(&addresses, source), pick(&addresses, destination));
                let _ = bench.packet(&damage.packet(packet));
                assert!(bench.drain().0.is_empty(), "a server takes no packets");
            }
            // What it sent comes back, as in a loop.
            Transition::Answer { to, from, damage } => {
                if let Some(sent) = bench.sent(to) {
                    let from = pick(&[sent.to, pick(&endpoints, from)], from);
                    put(&mut bench, from, sent.via, &damage.packet(sent.payload));
                }
            }
            Transition::Wait(time) => assert!(bench.wait(time).is_empty()),
            Transition::Drain | Transition::Command(_) => {}
        }
    }
}

fn put(bench: &mut Bench<Server>, from: SocketAddrV4, on: Local, payload: &[u8]) {
    let inbound = bench.datagram(from, on, payload);
    assert!(!matches!(inbound, Inbound::Deliver(_)), "a server delivers nothing");
    let (outputs, events) = bench.drain();
    assert!(events.is_empty());
    let answers = usize::from(inbound == Inbound::Consumed);
    assert_eq!(outputs.len(), answers, "{inbound:?}");
    for output in outputs {
        match output {
            Output::Datagram(sent) => {
                assert!(sent.payload.len() <= payload.len() + ANSWER_GROWTH_MAX);
                assert!(world::filter().is_global(*sent.to.ip()), "sent to {}", sent.to);
                assert!(![SERVER, SECONDARY].contains(sent.to.ip()), "sent to itself");
            }
            Output::Packet(packet) => assert!(packet.len() <= payload.len()),
        }
    }
}

fn config(kind: u8) -> Config {
    let mut config = Config::new(SERVER, Some(SECONDARY).filter(|_| kind & 1 == 0));
    config.filter = world::filter();
    config.clients = (kind & 2 != 0).then(clients);
    config.relay = (kind & 4 != 0).then_some(world::RELAY);
    config
}

/// A private server's one client, whose name is empty enough to be found.
fn clients() -> Clients {
    let key = SharedKey::new(Algorithm::HmacSha1, &[9; 16]).expect("16 bytes are enough");
    let identifier = Identifier::new(b"c").expect("one byte is a name");
    let client = KnownClient { secret: Secret { identifier, key }, is_renewal_due: true };
    Clients::new(vec![client]).expect("one is not twice")
}

/// The limits come before the signature, and are charged.
fn leaves_trace(reason: DropReason) -> bool {
    matches!(reason, DropReason::RateLimit | DropReason::MissingMac | DropReason::WrongMac)
}

/// A Router Advertisement in place of a solicitation (48 bytes), and an origin (8).
const ANSWER_GROWTH_MAX: usize = 48 + 8;
