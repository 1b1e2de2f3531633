//! What the simulator tests share.

#![allow(dead_code, reason = "no test uses all of it")]

use core::net::SocketAddrV4;
use core::time::Duration;

use teredo_sim::trace::{Frame, Packet, Wire};
use teredo_sim::world::START;
use teredo_sim::{HostId, Stopped, World};
use teredo_wire::Datagram;

/// The NATs that RFC 4380 alone copes with.
pub(crate) const PLAIN: [&str; 3] = ["cone", "ar", "pr"];

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Runs until all of these clients are qualified.
pub(crate) fn qualify(world: &mut World, clients: &[HostId]) {
    let all = |world: &World| clients.iter().all(|client| world.is_qualified(*client));
    world
        .run_until(60 * SECOND, all)
        .unwrap_or_else(|stopped| panic!("{}", story(world, &stopped)));
}

/// Pings once and returns how long the answer took, if it came within `limit`.
pub(crate) fn ping(
    world: &mut World,
    from: HostId,
    to: HostId,
    limit: Duration,
) -> Option<Duration> {
    let ping = world.ping(from, world.ipv6(to)?)?;
    match world.run_until(limit, |world| world.answer_time(ping).is_some()) {
        Ok(_) => world.answer_time(ping),
        Err(Stopped::Late) => None,
        Err(stopped) => panic!("{}", story(world, &stopped)),
    }
}

/// Pings each second until one of the pings is answered; true if that is within `limit`.
pub(crate) fn ping_until_answered(
    world: &mut World,
    pairs: &[(HostId, HostId)],
    limit: Duration,
) -> Vec<bool> {
    let mut answered = vec![false; pairs.len()];
    let mut pings = Vec::new();
    for _ in 0..limit.as_secs() {
        for (index, (from, to)) in pairs.iter().enumerate() {
            let ping = world.ipv6(*to).and_then(|to| world.ping(*from, to));
            pings.extend(ping.map(|ping| (index, ping)));
        }
        let stopped = world.run_for(SECOND);
        assert_eq!(stopped, Ok(()), "{}", world.log_text());
        for (index, ping) in &pings {
            answered[*index] |= world.answer_time(*ping).is_some();
        }
        if answered.iter().all(|answered| *answered) {
            break;
        }
    }
    answered
}

/// What led to a failure.
pub(crate) fn story(world: &World, what: &dyn core::fmt::Display) -> String {
    format!("{what}\n{}", world.log_text())
}

/// The datagrams on the wire of `host`: time, source, destination, payload.
pub(crate) fn datagrams(
    world: &World,
    host: HostId,
) -> impl Iterator<Item = (Duration, SocketAddrV4, SocketAddrV4, Datagram<'_>)> {
    let on_wire = move |frame: &&Frame| frame.wire == Wire::Host(host);
    world.trace().frames().iter().filter(on_wire).filter_map(move |frame| match &frame.packet {
        Packet::Datagram { from, to, payload } => {
            Some((frame.at.since(START), *from, *to, Datagram::parse(payload).ok()?))
        }
        Packet::Error(_) | Packet::Ipv6(_) => None,
    })
}

/// The bubbles that `host` sent: time, destination, IPv6 source and destination.
pub(crate) fn bubbles_sent(
    world: &World,
    host: HostId,
) -> impl Iterator<Item = (Duration, SocketAddrV4, Datagram<'_>)> {
    let own = world.address_of(host);
    datagrams(world, host)
        .filter(move |(_, from, _, datagram)| *from.ip() == own && datagram.ipv6.is_bubble())
        .map(|(at, _, to, datagram)| (at, to, datagram))
}
