//! The exchanges of RFC 6081 section 6, bubble for bubble.
//!
//! One line is one datagram that a client sends: who, from which socket, which kind, where to, and
//! its trailers. `D` is a direct bubble, `I` an indirect one, `RS` a solicitation, `data` a packet;
//! `P` is the service port, `R` a random one. Nonces are named after the client that made them, in
//! order.

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use core::fmt::Write;
use core::net::{Ipv4Addr, SocketAddrV4};
use std::collections::BTreeMap;

use teredo_proto::client::Traversal;
use teredo_proto::role::NatKind;
use teredo_sim::{HostId, NatConfig, Place, World};
use teredo_wire::trailer::Trailers;
use teredo_wire::{Datagram, TEREDO_PORT, TeredoAddress};

use common::{SECOND, datagrams, ping, qualify};

/// Two clients of two servers, ready to talk.
fn ready(nats: impl FnOnce(&mut World) -> [Place; 2]) -> (World, [HostId; 2]) {
    let mut world = World::new(11);
    world.trace_mut().keep_frames();
    let servers = [(); 2].map(|()| world.add_server());
    let nats = nats(&mut world);
    let clients = [0, 1].map(|index| {
        let addresses = world.server_addresses(servers[index]);
        world.add_client_with(nats[index], |config| {
            (config.server, config.secondary) = addresses;
            config.traversal = Traversal::RFC6081;
        })
    });
    qualify(&mut world, &clients);
    let known = |world: &World| {
        clients.iter().all(|client| world.nat_kind(*client) != Some(NatKind::Unknown))
    };
    world.run_until(SECOND, known).unwrap();
    (world, clients)
}

fn behind(kinds: [&str; 2]) -> (World, [HostId; 2]) {
    ready(|world| kinds.map(|kind| world.add_nat(kind.parse::<NatConfig>().unwrap()).into()))
}

/// What both clients sent since the simulated second `since`, in order.
fn story(world: &World, clients: [HostId; 2], since: core::time::Duration) -> String {
    let embedded =
        clients.map(|client| TeredoAddress::parse(world.ipv6(client).unwrap()).unwrap().mapped);
    let mut lines = Vec::new();
    let mut nonces = BTreeMap::new();
    for (index, client) in clients.into_iter().enumerate() {
        let own = world.address_of(client);
        for (at, from, to, datagram) in datagrams(world, client) {
            if *from.ip() == own {
                lines.push((at, index, from, to, datagram));
            }
        }
    }
    lines.sort_by_key(|(at, index, ..)| (*at, *index));
    let mut text = String::new();
    for (at, index, from, to, datagram) in lines {
        let trailers = datagram.trailers().unwrap();
        let other = 1 - index;
        let locals = clients.map(|client| world.address_of(client));
        let place = place(to, embedded[other], locals[other]);
        let socket = if Some(from) == world.endpoint_of(clients[index]) { "P" } else { "R" };
        let me = ["A", "B"][index];
        let kind = kind(&datagram, to);
        if kind == "I" {
            let count = nonces.values().filter(|name: &&String| name.starts_with(me)).count();
            nonces.insert(trailers.nonce.unwrap(), format!("{me}{}", count + 1));
        }
        let said = said(&trailers, &nonces);
        if at < since {
            continue;
        }
        writeln!(text, "{me}:{socket} {kind} -> {place}{said}").unwrap();
    }
    text
}

fn kind(datagram: &Datagram<'_>, to: SocketAddrV4) -> &'static str {
    match (datagram.ipv6.is_bubble(), to.port() == TEREDO_PORT) {
        (true, true) => "I",
        (true, false) => "D",
        (false, true) => "RS",
        (false, false) => "data",
    }
}

fn place(to: SocketAddrV4, embedded: SocketAddrV4, local: Ipv4Addr) -> &'static str {
    if to == embedded {
        "embedded"
    } else if *to.ip() == local {
        "local"
    } else if to.port() == TEREDO_PORT {
        "server"
    } else if to.ip() == embedded.ip() {
        "other port"
    } else {
        "other address"
    }
}

fn said(trailers: &Trailers<'_>, nonces: &BTreeMap<[u8; 4], String>) -> String {
    let mut text = String::new();
    if let Some(nonce) = trailers.nonce {
        write!(text, " n{}", nonces.get(&nonce).unwrap()).unwrap();
    }
    if trailers.random_port.is_some() {
        text += " rp";
    }
    if trailers.alternates.is_some() {
        text += " alt";
    }
    if let Some(kind) = trailers.neighbor_discovery {
        write!(text, " {}", kind.name()).unwrap();
    }
    text
}

/// What is sent until the first ping of A is answered.
fn first_ping(world: &mut World, clients: [HostId; 2]) -> String {
    let since = world.elapsed();
    assert!(ping(world, clients[0], clients[1], SECOND).is_some(), "{}", world.log_text());
    story(world, clients, since)
}

fn lines(expected: &str) -> String {
    expected
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .fold(String::new(), |text, line| text + line + "\n")
}

/// Compares what the first ping makes both clients send with what is expected of it.
fn expect((mut world, clients): (World, [HostId; 2]), expected: &str) {
    let seen = first_ping(&mut world, clients);
    assert_eq!(seen, lines(expected), "{}", world.log_text());
}

/// Section 6.1, with the Echo Test of section 6.4 in front of it: a port-symmetric NAT is presumed
/// to be sequential. The ping follows at once because B answers the bubble that made it trust A.
#[test]
fn port_symmetric_to_address_restricted() {
    expect(
        behind(["ps", "ar"]),
        "A:P D -> embedded
         A:R RS -> server
         A:R D -> embedded
         A:R RS -> server
         A:P I -> server nA1 alt
         B:P D -> embedded nA1
         B:P D -> local nA1
         B:P I -> server nB1 alt
         A:P D -> embedded nB1
         A:P D -> local nB1
         B:P D -> other port nA1
         A:P D -> embedded nB1
         A:P data -> embedded
         B:P data -> other port",
    );
}

/// Section 6.2: both gateways keep an endpoint, so everything goes to the embedded ones.
#[test]
fn upnp_symmetric_to_upnp_symmetric() {
    expect(
        behind(["ups", "ups"]),
        "A:P D -> embedded
         A:P I -> server nA1 rp alt
         B:P D -> embedded nA1
         B:P D -> local nA1
         B:R D -> other port nA1 rp
         B:P I -> server nB1 rp alt
         A:P D -> embedded nB1
         A:P data -> embedded
         B:P D -> embedded nA1
         B:P data -> embedded",
    );
}

/// Section 6.3: B's random port is fixed by its bubble to A's, which A's NAT drops.
#[test]
fn port_preserving_to_port_preserving() {
    expect(
        behind(["pp", "pp"]),
        "A:P D -> embedded
         A:P I -> server nA1 rp alt
         B:P D -> embedded nA1
         B:P D -> local nA1
         B:R D -> other port nA1 rp
         B:P I -> server nB1 rp alt
         A:P D -> embedded nB1
         A:R D -> other port nB1 rp
         A:P D -> local nB1
         B:R D -> other port nA1 rp
         A:R D -> other port nB1 rp
         A:R data -> other port
         B:R data -> other port",
    );
}

/// The same towards a client that needs no random port: its service port opens its NAT to A's.
#[test]
fn port_preserving_to_port_restricted() {
    expect(
        behind(["pp", "pr"]),
        "A:P D -> embedded
         A:P I -> server nA1 rp alt
         B:P D -> embedded nA1
         B:P D -> other port nA1
         B:P D -> local nA1
         B:P I -> server nB1 alt
         A:P D -> embedded nB1
         A:R D -> embedded nB1 rp
         A:P D -> local nB1
         B:P D -> other port nA1
         A:R D -> embedded nB1 rp
         A:R data -> embedded
         B:P data -> other port",
    );
}

/// Section 6.4: the test predicts the port that B's bubble has to go to.
#[test]
fn sequential_to_port_restricted() {
    expect(
        behind(["seq", "pr"]),
        "A:P D -> embedded
         A:R RS -> server
         A:R D -> embedded
         A:R RS -> server
         A:P I -> server nA1 rp alt
         B:P D -> embedded nA1
         B:P D -> other port nA1
         B:P D -> local nA1
         B:P I -> server nB1 alt
         A:R D -> embedded nB1 rp
         A:R data -> embedded
         B:P D -> other port nA1
         B:P data -> other port",
    );
}

/// Section 6.5: two NATs below a third one that does not turn packets back.
#[test]
fn hairpinning() {
    let nested = ready(|world| {
        let outer = world.add_nat(NatConfig::pr());
        [(); 2].map(|()| world.add_nat_at(outer, NatConfig::upr(), 1).into())
    });
    expect(
        nested,
        "A:P D -> embedded
         A:P I -> server nA1 alt
         B:P D -> embedded nA1
         B:P D -> local nA1
         B:P D -> other address nA1
         B:P I -> server nB1 alt
         A:P D -> other address nB1
         A:P data -> other address
         B:P D -> other address nA1
         B:P data -> other address",
    );
}

/// Section 6.6: after a silence nobody asks a server.
#[test]
fn server_load_reduction() {
    let (mut world, clients) = behind(["pr", "pr"]);
    first_ping(&mut world, clients);
    world.run_for(100 * SECOND).unwrap();
    expect(
        (world, clients),
        "A:P D -> embedded nB1 solicitation
         B:P D -> embedded nA1 advertisement
         A:P data -> embedded
         B:P data -> embedded",
    );
}
