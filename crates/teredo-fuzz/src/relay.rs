//! The relay: no more clients than it may remember, nobody served who is out of its scope, and
//! nothing sent to where nothing may be.

use std::net::Ipv6Addr;

use teredo_proto::relay::{Config, Relay, Scope};
use teredo_proto::{DropReason, Inbound, Local};
use teredo_wire::TeredoAddress;
use teredo_wire::ipv6::Ipv6Cidr;

use crate::bench::{Bench, Output, Sent};
use crate::input::{Input, pick};
use crate::packets::{Shape, address_at};
use crate::transition::{Transition, transitions};
use crate::world::{self, NATIVE, RELAY, RELAY_OWN};

/// Runs a relay of a kind that the first byte says.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = input.byte();
    let config = config(kind);
    let mut bench = Bench::new(Relay::new(config.clone(), [7; 32]), kind, leaves_trace);
    let (endpoints, addresses) = (world::endpoints(), world::addresses(NATIVE));
    for transition in transitions(input) {
        match transition {
            Transition::Datagram { from, on, between: [source, destination], shape, damage } => {
                let packet = shape.packet(pick(&addresses, source), pick(&addresses, destination));
                let payload = damage.datagram(packet, pick(&endpoints, shape.seed()));
                let from = pick(&endpoints, from);
                let inbound = bench.datagram(from, on, &payload);
                check_delivery(&config, &inbound, &payload);
            }
            Transition::Packet { between: [source, destination], shape, damage } => {
                let packet = shape.packet(pick(&addresses, source), pick(&addresses, destination));
                let _ = bench.packet(&damage.packet(packet));
            }
            Transition::Answer { to, from, damage } => {
                if let Some((from, reply)) = bench.sent(to).and_then(|it| reply(it, from)) {
                    let payload = damage.datagram(reply, RELAY);
                    let inbound = bench.datagram(from, Local::Primary, &payload);
                    check_delivery(&config, &inbound, &payload);
                }
            }
            Transition::Wait(time) => check_outputs(&bench.wait(time)),
            Transition::Drain => check_outputs(&bench.drain().0),
            Transition::Command(number) => command(&mut bench.role, &config, number),
        }
        assert!(bench.role.peer_count() <= PEERS_MAX);
    }
}

/// The client answers a bubble with a bubble, and data with data.
fn reply(sent: Sent, number: u8) -> Option<(std::net::SocketAddrV4, Vec<u8>)> {
    let packet = sent.payload.get(..40)?;
    let (source, destination) = (address_at(packet, 8), address_at(packet, 24));
    let client = TeredoAddress::parse(destination)?;
    let shape = Shape::decode(&mut Input::new(&[number, 0, 0]));
    Some((client.mapped, shape.packet(destination, source)))
}

fn check_delivery(config: &Config, inbound: &Inbound, payload: &[u8]) {
    let Inbound::Deliver(range) = inbound else { return };
    let packet = &payload[range.clone()];
    let (source, destination) = (address_at(packet, 8), address_at(packet, 24));
    assert!(TeredoAddress::parse(source).is_some(), "from {source}");
    assert!(serves(&config.scope, destination), "to {destination}");
}

fn check_outputs(outputs: &[Output]) {
    for output in outputs {
        let Output::Datagram(sent) = output else { continue };
        assert!(world::filter().is_global(*sent.to.ip()), "sent to {}", sent.to);
        assert_ne!(sent.to.ip(), RELAY.ip(), "sent to itself");
    }
}

fn command(relay: &mut Relay, config: &Config, number: u8) {
    match number {
        0 => relay.set_policy(teredo_proto::Policy::everything()),
        1 => relay.set_policy(teredo_proto::Policy::default()),
        2 => relay.set_filter(config.filter.clone()),
        _ => relay.set_scope(config.scope.clone()),
    }
}

fn config(kind: u8) -> Config {
    let scope = match kind % 3 {
        0 => Scope::internet(RELAY_OWN),
        1 => Scope::Network { address: RELAY_OWN, served: Vec::from_iter(link_of(NATIVE)) },
        _ => Scope::Host { own: vec![NATIVE] },
    };
    let mut config = Config::new(RELAY, scope);
    config.filter = world::filter();
    config.peers_max = PEERS_MAX;
    config.behind_nat = kind & 0x80 != 0;
    config
}

fn serves(scope: &Scope, native: Ipv6Addr) -> bool {
    match scope {
        Scope::Network { served, .. } => served.iter().any(|prefix| prefix.contains(native)),
        Scope::Host { own } => own.contains(&native),
    }
}

fn link_of(address: Ipv6Addr) -> Option<Ipv6Cidr> {
    Ipv6Cidr::new(address, 64)
}

/// A packet that may not pass can still prove where its client is.
fn leaves_trace(reason: DropReason) -> bool {
    use DropReason as It;
    !matches!(
        reason,
        It::Malformed(_)
            | It::UnexpectedEncapsulation
            | It::RefusedTrailer
            | It::NotTeredoSource
            | It::ImpossibleSource
            | It::OwnEndpoint
            | It::ForbiddenSource
            | It::EndpointMismatch
            | It::UnknownPeer
    )
}

/// So few that tables are full at once.
const PEERS_MAX: usize = 3;
