//! Birthday probing between clients of this kind (protocol section 6.4, B).

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::collections::BTreeSet;

use teredo_proto::client::{Config, Traversal};
use teredo_proto::role::{BIRTHDAY_PORTS_MAX, PORTS_MAX};
use teredo_proto::{DropReason, Event, Inbound, Instant, Local, Role};
use teredo_wire::TeredoAddress;
use teredo_wire::trailer::{Birthday, Part, Trailer};

use crate::bytes::{bubble, endpoint, indirect_bubble, trailers};
use crate::harness::{Bench, Sent, config, mapped, peer, peer_address, peer_server, server};

const PRIMARY: Local = Local::Primary;
const THEIRS: [u8; 4] = [9; 4];

fn with_birthday() -> Config {
    config_of(Traversal { birthday: true, ..Traversal::RFC6081 })
}

fn config_of(traversal: Traversal) -> Config {
    Config { traversal, refresh_interval: Duration::from_secs(1_000_000), ..config() }
}

/// A client whose NAT maps every destination alike.
fn easy() -> Bench {
    Bench::qualified_with(with_birthday())
}

/// One whose NAT gives a port at random to each destination. Without prediction: that has tests of
/// its own.
fn hard() -> Bench {
    let traversal =
        Traversal { birthday: true, port_preserving: false, ..with_birthday().traversal };
    Bench::behind(config_of(traversal), [mapped(), endpoint("192.0.2.1:33000")])
}

/// Trailers of an indirect bubble.
fn offer(part: Part, nonce: [u8; 4]) -> Vec<u8> {
    trailers(&[Trailer::Nonce(THEIRS), Trailer::Birthday(Birthday { part, nonce })])
}

/// The nonce of the last indirect bubble among these.
fn nonce_sent(sent: &[Sent]) -> [u8; 4] {
    let indirect = sent.iter().rev().find(|sent| sent.is_to(peer_server()));
    indirect.expect("an indirect bubble").trailers().nonce.expect("a nonce")
}

fn offered(sent: &[Sent]) -> Option<Birthday> {
    let indirect = sent.iter().rev().find(|sent| sent.is_to(peer_server()))?;
    indirect.trailers().birthday
}

/// The probes among these: bubbles to the peer's address, but not to its endpoint.
fn probes<'a>(sent: impl IntoIterator<Item = &'a (f64, Sent)>) -> Vec<(f64, SocketAddrV4)> {
    let sent = sent.into_iter();
    sent.filter_map(|(at, sent)| {
        let to = match sent {
            Sent::Datagram { to, via: PRIMARY, .. } if sent.is_bubble() => *to,
            Sent::Datagram { .. } | Sent::Packet(_) => return None,
        };
        (to.ip() == peer().mapped.ip() && to != peer().mapped).then_some((*at, to))
    })
    .collect()
}

/// A client with one port that has begun to probe, when, and its nonce.
fn probing() -> (Bench, Instant, [u8; 4]) {
    let mut bench = easy();
    let nonce = nonce_sent(&bench.begin());
    let start = bench.now;
    bench.call(&offer(Part::OpenPorts, nonce));
    (bench, start, nonce)
}

/// A client with many ports that has begun to open them.
fn opening() -> Bench {
    let mut bench = hard();
    let nonce = nonce_sent(&bench.begin());
    bench.call(&offer(Part::OnePort, nonce));
    bench.wait_s(2.0);
    let nonce = nonce_sent(&bench.take());
    bench.events();
    let sent = bench.call(&offer(Part::OnePort, nonce));
    assert_eq!(offered(&sent).unwrap().part, Part::OpenPorts);
    bench
}

/// Lets time pass in which the host gives a socket for each that is asked for, as long as it has
/// some; says which it gave and which came back.
fn open_ports(bench: &mut Bench, time: Duration, files: usize) -> (Vec<Local>, Vec<Local>) {
    let (mut bound, mut released) = (Vec::new(), Vec::new());
    let end = bench.now + time;
    while bench.now < end {
        bench.wait(Duration::from_millis(1));
        for event in bench.events() {
            if let Event::BindPort(local) = event {
                let is_given = bound.len() < files;
                bound.extend(is_given.then_some(local));
                bench.client.handle_bound(bench.now, local, is_given.then_some(50_000));
            } else if let Event::ReleasePort(local) = event {
                released.push(local);
            }
        }
    }
    (bound, released)
}

#[test]
fn who_has_it_switched_on_says_what_it_can_do() {
    let one = offered(&easy().begin()).unwrap();
    assert_eq!(one, Birthday { part: Part::OnePort, nonce: [0; 4] });
    let mut bench = hard();
    assert_eq!(offered(&bench.begin()).unwrap().part, Part::ManyPorts);
    // What it got from the peer is told in the next one.
    bench.call(&trailers(&[Trailer::Nonce(THEIRS)]));
    bench.wait_s(2.0);
    assert_eq!(offered(&bench.take()).unwrap().nonce, THEIRS);
}

//= X-B-01: without the switch nothing is offered, and no offer has any effect
#[test]
fn switched_off_it_is_not_there() {
    for traversal in [Traversal::default(), Traversal::RFC6081] {
        for seen in [mapped(), endpoint("192.0.2.1:33000")] {
            let mut bench = Bench::behind(config_of(traversal), [mapped(), seen]);
            let mut nonce = [0; 4];
            bench.begin();
            for part in [Part::OpenPorts, Part::OnePort, Part::OpenPorts, Part::OnePort] {
                bench.call(&offer(part, nonce));
                let (bound, _) = open_ports(&mut bench, Duration::from_secs(2), 1);
                assert!(bound.len() <= 1, "the port of a prediction");
                let start = bench.now;
                let sent = bench.take_since(start);
                assert_eq!(probes(&sent), []);
                let sent: Vec<Sent> = sent.into_iter().map(|(_, sent)| sent).collect();
                assert_eq!(offered(&sent), None);
                let to_server = sent.iter().find(|it| it.is_to(peer_server()));
                nonce = to_server.and_then(|it| it.trailers().nonce).unwrap_or(nonce);
            }
        }
    }
}

//= X-B-01: 100 a second, 2,048 in all, none twice, from the service port to the peer's address
#[test]
fn probes_are_paced_counted_and_aimed() {
    let (mut bench, start, _) = probing();
    for _ in 0..4 {
        bench.wait_s(6.0);
        let mut bytes = indirect_bubble(peer().mapped, peer_address(), bench.own());
        bytes.extend(offer(Part::OpenPorts, [0; 4])); // it is still there
        assert_eq!(bench.inject(server(), &bytes), Inbound::Consumed);
    }
    let probes = probes(&bench.take_since(start));
    assert_eq!(probes.len(), 2_048);
    assert!(probes.iter().all(|(_, to)| to.ip() == peer().mapped.ip() && to.port() >= 1_024));
    let ports: BTreeSet<u16> = probes.iter().map(|(_, to)| to.port()).collect();
    assert_eq!(ports.len(), probes.len(), "no port twice");
    for second in probes.windows(101) {
        assert!(second[100].0 - second[0].0 >= 0.999, "more than 100 in a second");
    }
    assert!(probes.last().unwrap().0 < 21.0);
}

//= X-B-01: only towards who has shown that it got our last bubble through its server
#[test]
fn who_did_not_get_our_nonce_is_not_probed() {
    let mut bench = easy();
    let start = bench.now;
    bench.begin();
    for nonce in [[0; 4], [1; 4], THEIRS] {
        bench.call(&offer(Part::OpenPorts, nonce));
        bench.wait_s(1.0);
    }
    // Nor is one that only could open ports, or needs none.
    let mut bench_of_willing = easy();
    let nonce = nonce_sent(&bench_of_willing.begin());
    bench_of_willing.call(&offer(Part::ManyPorts, nonce));
    bench_of_willing.wait_s(1.0);
    for mut bench in [bench, bench_of_willing] {
        assert_eq!(probes(&bench.take_since(start)), []);
    }
}

//= X-B-01: a peer cannot have somebody else probed: its own embedded address is all there is
#[test]
fn a_third_party_is_not_probed() {
    let victim = endpoint("198.51.100.77:7000");
    let mut bench = easy();
    let start = bench.now;
    let nonce = nonce_sent(&bench.begin());
    // It names the victim in every way there is: alternate address, random port, observed source.
    let alternates = [&[0, 0][..], &[198, 51, 100, 77, 0x1b, 0x58]].concat();
    let alternates = [&[3, 8][..], &alternates].concat();
    let bytes = [&offer(Part::OpenPorts, nonce)[..], &alternates].concat();
    bench.call(&bytes);
    let _ = bench.meet(PRIMARY, victim, None);
    let _ = bench.meet(PRIMARY, victim, Some([5; 4]));
    bench.wait_s(5.0);
    let sent = bench.take_since(start);
    assert!(probes(&sent).len() > 400);
    let is_to_victim =
        |it: &Sent| matches!(it, Sent::Datagram { to, .. } if to.ip() == victim.ip());
    let to_victim = sent.iter().filter(|(_, it)| is_to_victim(it));
    assert!(to_victim.count() <= 4, "one to the alternate address with each attempt");
    // An address that embeds the victim's is another peer, which has not got our nonce.
    let forged = TeredoAddress { mapped: victim, ..peer() };
    let mut bytes = indirect_bubble(victim, forged.to_ipv6(), bench.own());
    bytes.extend(offer(Part::OpenPorts, nonce));
    let _ = bench.inject(server(), &bytes);
    bench.wait_s(30.0);
    let sent = bench.take();
    let to_victim = sent.iter().filter(|it| is_to_victim(it)).count();
    assert!(to_victim <= 2, "{to_victim}: what any indirect bubble leads to");
}

//= X-B-01: it ends with the first answer
#[test]
fn probing_ends_with_success() {
    let (mut bench, start, nonce) = probing();
    bench.wait_s(1.0);
    let found = probes(&bench.take_since(start)).last().unwrap().1;
    assert_eq!(bench.meet(PRIMARY, found, Some(nonce)), Inbound::Consumed);
    assert_eq!(bench.way(), Some((found, PRIMARY)));
    bench.take();
    let start = bench.now;
    bench.wait_s(20.0);
    assert_eq!(probes(&bench.take_since(start)), []);
}

/// A bubble without nonce shows which port is open: it is probed next, and proves nothing.
#[test]
fn an_open_port_is_probed_next() {
    let (mut bench, start, _) = probing();
    bench.wait_s(0.1);
    let open = SocketAddrV4::new(*peer().mapped.ip(), 33_333);
    assert_eq!(bench.meet(PRIMARY, open, None), Inbound::Consumed);
    assert_eq!(bench.way(), None);
    bench.take_since(start);
    bench.wait_s(0.015);
    assert!(probes(&bench.take_since(start)).iter().any(|(_, to)| *to == open));
    let elsewhere = endpoint("198.51.100.77:33333");
    let dropped = Inbound::Dropped(DropReason::UnprovenPeer);
    assert_eq!(bench.meet(PRIMARY, elsewhere, None), dropped);
}

//= X-B-01: it ends when nothing is heard of the peer, and does not begin again within 300 s
#[test]
fn a_silent_peer_is_probed_no_longer() {
    let (mut bench, start, _) = probing();
    bench.wait_s(60.0);
    let sent = bench.take_since(start);
    let last = probes(&sent).last().unwrap().0;
    assert!((14.9..=15.1).contains(&last), "{last}");
    let sent: Vec<Sent> = sent.into_iter().map(|(_, sent)| sent).collect();
    let mut nonce = nonce_sent(&sent);
    for at in (70..300).step_by(10) {
        let now = start + Duration::from_secs(at);
        bench.wait(now.since(bench.now));
        let sent = bench.call(&offer(Part::OpenPorts, nonce));
        nonce = nonce_sent(&sent);
    }
    let late = bench.now;
    bench.wait_s(1.0);
    assert_eq!(probes(&bench.take_since(late)), []);
    bench.wait(Duration::from_secs(302).saturating_sub(bench.now.since(start)));
    let late = bench.now;
    bench.call(&offer(Part::OpenPorts, nonce));
    bench.wait_s(1.0);
    assert!(probes(&bench.take_since(late)).len() > 90);
}

//= X-B-01: one budget for all peers, at most 4,096 in 300 s, however many ask
#[test]
fn many_peers_share_one_budget() {
    let mut bench = easy();
    let start = bench.now;
    let mut count = 0;
    for number in 0..250_u8 {
        let mapped = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, number + 2), 5_000);
        let asking = TeredoAddress { mapped, ..peer() };
        let bytes = |nonce, own| {
            let mut bytes = indirect_bubble(mapped, asking.to_ipv6(), own);
            bytes.extend(offer(Part::OpenPorts, nonce));
            bytes
        };
        let _ = bench.inject(server(), &bytes([0; 4], bench.own()));
        let nonce = bench.take().iter().find_map(|it| it.trailers().nonce.filter(|n| *n != THEIRS));
        let _ = bench.inject(server(), &bytes(nonce.unwrap_or_default(), bench.own()));
        bench.wait_s(1.2);
        let is_probe = |sent: &Sent| sent.is_bubble() && sent.datagram().0.ip() == mapped.ip();
        count += bench.take().iter().filter(|sent| is_probe(sent)).count();
    }
    assert_eq!(bench.now.since(start).as_secs(), 300);
    assert!((1_000..=4_096).contains(&count), "{count}");
}

//= X-B-01: up to 512 sockets, opened at 100 a second, all towards the peer's embedded endpoint
#[test]
fn ports_are_bounded_paced_and_given_back() {
    let mut bench = opening();
    let start = bench.now;
    let (bound, released) = open_ports(&mut bench, Duration::from_secs(6), usize::MAX);
    assert_eq!((bound.len(), released.len()), (BIRTHDAY_PORTS_MAX, 0));
    let sent = bench.take_since(start);
    let openers: Vec<_> = sent.iter().filter(|(_, it)| it.via() != PRIMARY).collect();
    assert_eq!(openers.len(), BIRTHDAY_PORTS_MAX);
    assert!(openers.iter().all(|(_, it)| it.is_to(peer().mapped)));
    assert!(openers.iter().all(|(_, it)| it.trailers().nonce.is_none()), "they open, no more");
    for second in openers.windows(101) {
        assert!(second[100].0 - second[0].0 >= 0.999, "more than 100 in a second");
    }
    let (more, released) = open_ports(&mut bench, Duration::from_secs(30), usize::MAX);
    assert_eq!(more, []);
    assert_eq!(released, bound, "the peer fell silent");
}

//= X-B-01: a host that has fewer sockets opens fewer
#[test]
fn fewer_ports_will_do() {
    let mut bench = opening();
    let (bound, _) = open_ports(&mut bench, Duration::from_secs(6), 20);
    assert_eq!(bound.len(), 20);
    let sent = bench.take();
    assert_eq!(sent.iter().filter(|it| it.via() != PRIMARY).count(), 20);
    let (_, released) = open_ports(&mut bench, Duration::from_secs(30), 0);
    assert_eq!(released, bound);
}

//= X-B-01: the port that a probe came to is the way, and the others are closed
#[test]
fn the_port_that_was_found_is_kept() {
    let mut bench = opening();
    let (bound, _) = open_ports(&mut bench, Duration::from_secs(1), usize::MAX);
    bench.take();
    assert_eq!(bench.meet(bound[40], peer().mapped, None), Inbound::Consumed);
    let sent = bench.take();
    let answer = sent.iter().find(|it| it.via() == bound[40]).expect("an answer");
    assert!(answer.is_to(peer().mapped) && answer.trailers().nonce == Some(THEIRS));
    assert_eq!(bench.way(), Some((peer().mapped, bound[40])));
    let rest: Vec<Local> = bound.iter().copied().filter(|it| *it != bound[40]).collect();
    assert_eq!(bench.released(), rest);
    // Probes that were on their way to the others change nothing.
    let dropped = Inbound::Dropped(DropReason::UnprovenPeer);
    assert_eq!(bench.meet(bound[7], peer().mapped, None), dropped);
    assert_eq!(bench.way(), Some((peer().mapped, bound[40])));
    // It is kept alive like any random port.
    let start = bench.now;
    bench.wait_s(65.0);
    let refreshes = bench.take_since(start);
    let refreshes = refreshes.iter().filter(|(_, it)| it.via() == bound[40]);
    assert!(refreshes.count() >= 2);
}

/// A client whose gateway lets the peer in, but not out to it, hears the peer while it probes and
/// prepares a random port: that one goes when another is found.
#[test]
fn the_port_that_was_found_takes_the_place_of_a_prepared_one() {
    // A NAT that keeps ports, as far as the first server address shows.
    let config = Config { service_port: mapped().port(), ..with_birthday() };
    let mut bench = Bench::behind(config, [mapped(), endpoint("192.0.2.1:33000")]);
    bench.client.set_explicit_mapping(bench.now, Some(mapped()));
    let (mut bound, mut released) = (Vec::new(), Vec::new());
    let mut pass = |bench: &mut Bench, millis| {
        let opened = open_ports(bench, Duration::from_millis(millis), usize::MAX);
        bound.extend(opened.0);
        released.extend(opened.1);
        bench.take()
    };
    bench.begin();
    let nonce = nonce_sent(&pass(&mut bench, 10));
    bench.call(&offer(Part::OnePort, nonce));
    let nonce = nonce_sent(&pass(&mut bench, 2_100));
    bench.call(&offer(Part::OnePort, nonce));
    pass(&mut bench, 1_500);
    assert_eq!(bench.meet(PRIMARY, peer().mapped, None), Inbound::Consumed);
    bench.call(&offer(Part::OnePort, nonce));
    let prepared = pass(&mut bench, 10);
    let announced = prepared.iter().find_map(|sent| sent.trailers().random_port);
    assert!(announced.is_some(), "a random port is prepared");
    let found = Local::Random(100);
    assert_eq!(bench.meet(found, peer().mapped, None), Inbound::Consumed);
    assert_eq!(bench.way(), Some((peer().mapped, found)));
    pass(&mut bench, 700_000);
    bound.sort();
    released.sort();
    assert_eq!(released, bound, "all go in the end");
}

/// An answer of the host that comes too late, for a port that was given back, has no effect.
#[test]
fn late_answers_of_the_host_do_no_harm() {
    let mut bench = opening();
    let mut asked = Vec::new();
    for _ in 0..40 {
        bench.wait_s(1.0);
        for event in bench.events() {
            if let Event::BindPort(local) = event {
                asked.push(local);
            }
        }
    }
    bench.take();
    assert_eq!(asked.len(), BIRTHDAY_PORTS_MAX);
    for local in asked {
        bench.client.handle_bound(bench.now, local, Some(50_000));
    }
    assert_eq!(bench.take(), []);
    assert!(bench.client.poll_timeout().is_none_or(|(at, _)| at > bench.now));
}

/// A bubble on a port that is there for another peer, or not at all, is no way to its sender.
#[test]
fn a_port_is_for_one_peer() {
    let mut bench = opening();
    let (bound, _) = open_ports(&mut bench, Duration::from_millis(100), usize::MAX);
    let other = TeredoAddress { mapped: endpoint("192.0.2.99:99"), ..peer() };
    let bytes = bubble(other.to_ipv6(), bench.own());
    let dropped = Inbound::Dropped(DropReason::UnprovenPeer);
    assert_eq!(bench.inject_on(bound[0], other.mapped, &bytes), dropped);
    let bytes = bubble(peer_address(), bench.own());
    assert_eq!(bench.inject_on(Local::Random(60_000), peer().mapped, &bytes), dropped);
    const { assert!(PORTS_MAX < 1_024) };
}
