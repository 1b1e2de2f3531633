//! Port-preserving symmetric NAT (RFC 6081 section 5.4).

use core::net::SocketAddrV4;
use core::time::Duration;

use teredo_proto::client::{Config, Traversal};
use teredo_proto::role::RANDOM_PORTS_MAX;
use teredo_proto::{DropReason, Event, Inbound, Local, Outbound, Reason, Role};
use teredo_wire::TeredoAddress;
use teredo_wire::trailer::{NeighborDiscovery, Trailer};

use crate::bytes::{endpoint, trailers, udp};
use crate::harness::{
    Bench, Sent, config, mapped, nonce_of, peer, peer_address, peer_server, ways,
};

const PRIMARY: Local = Local::Primary;
const THEIRS: [u8; 4] = [1, 2, 3, 4];

fn nonce() -> Vec<u8> {
    trailers(&[Trailer::Nonce(THEIRS)])
}

fn with_port(port: u16) -> Vec<u8> {
    trailers(&[Trailer::Nonce(THEIRS), Trailer::RandomPort(port)])
}

/// The peer's random port.
fn theirs(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(*peer().mapped.ip(), port)
}

/// A client that has announced the random port 50000 to its peer: the bench, the socket, the nonce.
fn announced() -> (Bench, Local, [u8; 4]) {
    let mut bench = Bench::port_preserving();
    bench.begin();
    let random = bench.bind(50_000);
    let ours = nonce_of(&bench.take());
    (bench, random, ours)
}

/// One whose peer was met through the random port.
fn met() -> (Bench, Local, SocketAddrV4) {
    let (mut bench, random, ours) = announced();
    bench.call(&with_port(60_000));
    assert_eq!(bench.meet(random, theirs(60_000), Some(ours)), Inbound::Consumed);
    bench.take();
    bench.events();
    (bench, random, theirs(60_000))
}

//= X-PP-02: an attempt to meet an untrusted peer begins with a random port
//= X-PP-04: and a direct bubble from the service port to the embedded endpoint
//= X-PP-03: which the indirect bubble announces, each time
#[test]
fn an_attempt_announces_a_random_port() {
    let mut bench = Bench::port_preserving();
    let sent = bench.begin();
    assert_eq!(ways(&sent), [(peer().mapped, PRIMARY)], "no indirect bubble without the port");
    bench.bind(50_000);
    let sent = bench.take();
    assert_eq!(ways(&sent), [(peer_server(), PRIMARY)]);
    assert_eq!(sent[0].trailers().random_port, Some(50_000));
    bench.wait_s(2.0);
    let sent = bench.take();
    assert_eq!(ways(&sent), [(peer().mapped, PRIMARY), (peer_server(), PRIMARY)]);
    assert_eq!(sent[1].trailers().random_port, Some(50_000));
}

//= C-QUAL-26: whether ports are kept is told by what the primary address sees, and by nothing else
#[test]
fn the_primary_address_tells_whether_ports_are_kept() {
    let other = endpoint("192.0.2.1:60000");
    for (seen, are_kept) in [([mapped(), other], true), ([other, mapped()], false)] {
        let traversal = Traversal::RFC6081;
        let config = Config { service_port: mapped().port(), traversal, ..config() };
        let mut bench = Bench::behind(config, seen);
        bench.begin();
        bench.bind(50_000);
        let sent = bench.take();
        // Otherwise the port is tested first.
        let announced = sent.iter().any(|it| it.is_to(peer_server()));
        assert_eq!(announced, are_kept);
        assert_eq!(sent.iter().any(Sent::is_solicitation), !are_kept);
    }
}

/// Where no symmetric NAT is, no port is asked for.
#[test]
fn other_clients_ask_for_no_port() {
    let mut bench = Bench::quiet();
    bench.begin();
    assert_eq!(bench.events(), []);
}

/// A host without a port to spare does not stop the attempt.
#[test]
fn without_a_port_the_bubble_goes_all_the_same() {
    let mut bench = Bench::port_preserving();
    bench.begin();
    let [Event::BindPort(random)] = bench.events()[..] else { panic!("no port asked for") };
    bench.client.handle_bound(bench.now, random, None);
    let sent = bench.take();
    assert_eq!(ways(&sent), [(peer_server(), PRIMARY)]);
    assert_eq!(sent[0].trailers().random_port, None);
    bench.wait_s(2.0);
    assert_eq!(bench.take().len(), 2);
    assert_eq!(bench.events(), []);
}

//= C-BUB-03: a port that comes hours late, because the host slept, makes no indirect bubble
#[test]
fn a_port_that_comes_after_a_pause_is_given_back() {
    for port in [Some(50_000), None] {
        let mut bench = Bench::port_preserving();
        bench.call(&nonce());
        let [Event::BindPort(asked)] = bench.events()[..] else { panic!("no port was asked for") };
        bench.now = bench.now + Duration::from_hours(1);
        bench.client.handle_bound(bench.now, asked, port);
        assert!(bench.take().iter().all(|sent| !sent.is_to(peer_server())));
        assert_eq!(bench.released(), Vec::from_iter(port.map(|_| asked)));
    }
}

//= X-PP-05, X-PP-08: a bubble from ours to the port that the peer announces, both announced
#[test]
fn both_random_ports_are_used() {
    let (mut bench, random, _) = announced();
    let sent = bench.call(&with_port(60_000));
    assert_eq!(ways(&sent), [(peer().mapped, PRIMARY), (theirs(60_000), random)]);
    assert_eq!(sent[1].trailers().random_port, Some(50_000));
    assert_eq!(sent[1].trailers().nonce, Some(THEIRS));
}

//= X-PP-06: a client without a symmetric NAT sends that from its service port
#[test]
fn the_service_port_answers_where_there_is_no_other() {
    let mut bench = Bench::quiet();
    let sent = bench.call(&with_port(60_000));
    let direct = [(peer().mapped, PRIMARY), (theirs(60_000), PRIMARY)];
    assert_eq!(ways(&sent), [&direct[..], &[(peer_server(), PRIMARY)]].concat());
    assert_eq!(sent[1].trailers().random_port, None);
}

//= X-PP-07: the random port goes to the embedded endpoint once the peer has none, never before
#[test]
fn the_random_port_is_kept_fresh() {
    let (mut bench, random, _) = announced();
    bench.wait_s(2.0);
    assert!(bench.take().iter().all(|sent| sent.via() == PRIMARY));
    let sent = bench.call(&nonce());
    assert_eq!(ways(&sent)[..2], [(peer().mapped, PRIMARY), (peer().mapped, random)]);
    let (mut bench, random, _) = announced();
    let sent = bench.call(&with_port(60_000));
    assert!(!ways(&sent).contains(&(peer().mapped, random)));
}

//= X-PP-09: another port while the peer is being talked to is ignored
//= X-PP-10: after 30 s of silence it is taken, and our own port dropped
#[test]
fn the_peers_port_is_frozen_while_in_use() {
    let (mut bench, random, _) = announced();
    bench.call(&with_port(60_000));
    bench.wait_s(1.0);
    assert!(ways(&bench.call(&with_port(60_000))).contains(&(theirs(60_000), random)));
    bench.wait_s(1.0);
    let sent = bench.call(&with_port(61_000));
    assert!(ways(&sent).contains(&(theirs(60_000), random)));
    assert!(sent.iter().all(|sent| !sent.is_to(theirs(61_000))));

    let mut bench = Bench::port_preserving();
    bench.call(&with_port(60_000));
    let random = bench.bind(50_000);
    bench.take();
    bench.wait_s(31.0);
    bench.events();
    bench.take();
    bench.call(&with_port(61_000));
    let again = bench.bind(50_001);
    assert_ne!(random, again);
    assert!(ways(&bench.take()).contains(&(theirs(61_000), again)));
}

//= X-PP-11: on the service port from an untrusted peer: that is the way, and no random port
//= X-PP-14: whose socket is closed
#[test]
fn a_bubble_on_the_service_port_makes_the_random_one_needless() {
    let (mut bench, random, _) = announced();
    assert_eq!(bench.meet(PRIMARY, peer().mapped, None), Inbound::Consumed);
    assert_eq!(bench.released(), [random]);
    bench.call(&nonce());
    assert_eq!(bench.way(), Some((peer().mapped, PRIMARY)));
}

/// A packet of the peer arrives on a socket.
fn data(bench: &mut Bench, on: Local) {
    let data = udp(peer_address(), bench.own(), b"data");
    assert!(matches!(bench.inject_on(on, peer().mapped, &data), Inbound::Deliver(_)));
}

/// One that may have come to know us by a bubble from the random port, and now calls at the service
/// port: that is the way.
fn met_either_way() -> (Bench, Local) {
    let (mut bench, random, _) = announced();
    assert!(ways(&bench.call(&nonce())).contains(&(peer().mapped, random)));
    assert_eq!(bench.meet(PRIMARY, peer().mapped, None), Inbound::Consumed);
    assert_eq!(bench.way(), Some((peer().mapped, PRIMARY)));
    assert_eq!(bench.released(), []);
    bench.take();
    (bench, random)
}

//= X-PP-14: closed when the peer uses the service port, which bubbles do not show
#[test]
fn the_random_port_is_kept_until_the_peer_uses_the_service_port() {
    let (mut bench, random) = met_either_way();
    assert_eq!(bench.meet(PRIMARY, peer().mapped, None), Inbound::Consumed);
    assert_eq!(bench.meet(random, peer().mapped, None), Inbound::Consumed);
    assert_eq!(bench.released(), []);
    assert_eq!(bench.way(), Some((peer().mapped, PRIMARY)));
    data(&mut bench, PRIMARY);
    assert_eq!(bench.released(), [random]);
    assert_eq!(bench.way(), Some((peer().mapped, PRIMARY)));

    let (mut bench, random) = met_either_way();
    bench.wait_s(60.0);
    assert_eq!(bench.released(), [random], "nor for ever");
}

/// It keeps to the endpoint that it heard first (E-18), and hears nothing from another one.
#[test]
fn a_peer_that_stays_with_the_random_port_is_followed_there() {
    let (mut bench, random) = met_either_way();
    data(&mut bench, random);
    assert_eq!(bench.way(), Some((peer().mapped, random)));
    data(&mut bench, random);
    assert_eq!(bench.released(), []);
}

/// One that says nothing is asked, from both ports.
#[test]
fn a_silent_peer_is_asked_by_which_port_it_knows_us() {
    let (mut bench, random) = met_either_way();
    bench.wait_s(2.1);
    assert_eq!(bench.way(), Some((peer().mapped, PRIMARY)));
    let sent = bench.take();
    let asked = sent.iter().find(|sent| sent.via() == random).expect("a question");
    assert!(asked.is_to(peer().mapped));
    assert_eq!(asked.trailers().neighbor_discovery, Some(NeighborDiscovery::Solicitation));
    assert_eq!(asked.trailers().nonce, Some(THEIRS));
    let mut answer = crate::bytes::bubble(peer_address(), bench.own());
    answer.extend(trailers(&[Trailer::NeighborDiscovery(NeighborDiscovery::Advertisement)]));
    assert_eq!(bench.inject_on(random, peer().mapped, &answer), Inbound::Consumed);
    assert_eq!(bench.way(), Some((peer().mapped, random)));
    assert_eq!(bench.released(), []);
}

//= X-PP-11: on the service port from a trusted peer: from elsewhere ignored, when idle it is lost
#[test]
fn a_peer_on_the_service_port_is_looked_for_again_only_when_idle() {
    let elsewhere = theirs(9999);
    for (silence_s, is_lost) in [(10.0, false), (31.0, true)] {
        let (mut bench, _, ours) = announced();
        bench.call(&nonce());
        assert_eq!(bench.meet(PRIMARY, peer().mapped, None), Inbound::Consumed);
        bench.wait_s(silence_s);
        bench.take();
        bench.events();
        assert_ne!(bench.meet(PRIMARY, elsewhere, Some(ours)), Inbound::Consumed);
        let asks = bench.events().iter().any(|event| matches!(event, Event::BindPort(_)));
        assert_eq!(asks, is_lost);
        assert_eq!(bench.way().is_some(), !is_lost);
    }
}

//= X-PP-11: on the service port from a peer met on the random one: the service port from now on
#[test]
fn the_service_port_takes_over() {
    let (mut bench, random, ours) = announced();
    bench.call(&with_port(60_000));
    assert_eq!(bench.meet(random, theirs(60_000), Some(ours)), Inbound::Consumed);
    assert_eq!(bench.way(), Some((theirs(60_000), random)));
    bench.events();
    assert_eq!(bench.meet(PRIMARY, peer().mapped, None), Inbound::Consumed);
    assert_eq!(bench.way(), Some((peer().mapped, PRIMARY)));
    data(&mut bench, PRIMARY);
    assert_eq!(bench.released(), [random]);
}

//= X-PP-11: on the random port: trusted there, accepted again, from elsewhere searched anew
#[test]
fn the_random_port_serves_one_endpoint() {
    let (mut bench, random, ours) = announced();
    bench.call(&with_port(60_000));
    assert_eq!(bench.meet(random, theirs(60_000), Some(ours)), Inbound::Consumed);
    assert_eq!(bench.way(), Some((theirs(60_000), random)));
    assert_eq!(bench.meet(random, theirs(60_000), None), Inbound::Consumed);
    let data = udp(peer_address(), bench.own(), b"data");
    assert!(matches!(bench.inject_on(random, theirs(60_000), &data), Inbound::Deliver(_)));
    bench.wait_s(3.0);
    bench.events();
    let unproven = Inbound::Dropped(DropReason::UnprovenPeer);
    assert_eq!(bench.meet(random, theirs(61_000), Some(ours)), unproven);
    let events = bench.events();
    assert!(events.contains(&Event::ReleasePort(random)), "{events:?}");
    assert!(events.iter().any(|event| matches!(event, Event::BindPort(_))), "{events:?}");
    assert_eq!(bench.way(), None);
}

//= X-PP-01: the timer begins with the random port, and nothing is set before
//= X-PP-12: an idle way through a random port gets a bubble each 30 s, twenty in all
#[test]
fn an_idle_random_port_is_kept_for_ten_minutes() {
    let mut bench = Bench::port_preserving();
    assert_ne!(bench.client.poll_timeout().map(|(_, reason)| reason), Some(Reason::RandomPort));
    bench.begin();
    assert_eq!(bench.released(), []);
    let (mut bench, random, there) = met();
    let start = bench.now;
    bench.wait_s(700.0);
    let sent: Vec<(f64, Sent)> = bench.take_since(start);
    assert!(
        sent.iter()
            .all(|(_, sent)| sent.is_bubble()
                && ways(std::slice::from_ref(sent)) == [(there, random)])
    );
    let gaps: Vec<f64> = sent.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert_eq!(sent.len(), 20);
    assert!(sent[0].0 <= 30.0 && gaps.iter().all(|gap| (gap - 30.0).abs() < 0.01), "{gaps:?}");
    assert_eq!(bench.released(), [random]);
}

//= X-PP-12, X-PP-13: data resets the count of those bubbles, bubbles do not
#[test]
fn data_keeps_the_random_port_for_longer() {
    let (mut bench, random, there) = met();
    let talk = |bench: &mut Bench| {
        let data = udp(peer_address(), bench.own(), b"still there");
        assert!(matches!(bench.inject_on(random, there, &data), Inbound::Deliver(_)));
        let packet = udp(bench.own(), peer_address(), b"yes");
        assert_eq!(bench.send(&packet), Outbound::Send { to: there, via: random });
    };
    for _ in 0..4 {
        bench.wait_s(300.0);
        talk(&mut bench);
        bench.wait_s(25.0);
        talk(&mut bench);
    }
    bench.wait_s(500.0);
    assert_eq!(bench.released(), []);
    bench.wait_s(200.0);
    assert_eq!(bench.released(), [random]);
}

/// The timer is one for all peers: it may be due just after a port was announced in answer to a
/// call, and the peer would not take another one instead (RFC 6081 section 5.4.4.4).
#[test]
fn a_port_that_was_just_announced_outlives_the_timer_of_others() {
    let mut bench = Bench::port_preserving();
    let other = endpoint("198.51.100.7:1024");
    let stranger = TeredoAddress { mapped: other, ..peer() }.to_ipv6();
    let call = crate::bytes::indirect_bubble(other, stranger, bench.own());
    assert_eq!(bench.inject(crate::harness::server(), &call), Inbound::Consumed);
    let first = bench.bind(40_001);
    bench.wait_s(29.9);
    bench.call(&with_port(60_000));
    let random = bench.bind(50_000);
    let ours = nonce_of(&bench.take());
    bench.wait_s(0.2);
    assert_eq!(bench.released(), [first]);
    assert_eq!(bench.meet(random, theirs(60_000), Some(ours)), Inbound::Consumed);
    assert_eq!(bench.way(), Some((theirs(60_000), random)));
}

/// Nor is a port kept for a peer that has called and not come.
#[test]
fn a_port_for_a_peer_that_has_not_come_is_given_back_within_a_minute() {
    let mut bench = Bench::port_preserving();
    bench.call(&with_port(60_000));
    let random = bench.bind(50_000);
    bench.wait_s(60.0);
    assert_eq!(bench.released(), [random]);
}

/// The NAT may still map a local port to where an earlier socket sent from it: what that shows of a
/// new one is not so, and it is not mapped afresh.
#[test]
fn a_local_port_that_was_used_before_is_not_taken() {
    for sequential in [false, true] {
        let mut bench = if sequential { Bench::sequential() } else { Bench::port_preserving() };
        bench.call(&with_port(60_000));
        let before = bench.bind(50_000);
        bench.wait_s(60.0);
        assert_eq!(bench.released(), [before]);
        bench.take();
        bench.begin();
        let declined = bench.bind(50_000);
        assert_eq!(bench.take(), [], "nothing leaves from it");
        let events = bench.events();
        let [Event::ReleasePort(released), Event::BindPort(asked)] = events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(released, declined);
        bench.client.handle_bound(bench.now, asked, Some(50_001));
        assert!(!bench.take().is_empty(), "it goes on with another one");
    }
}

/// A host that has no others is not asked for ever.
#[test]
fn a_host_with_one_port_to_spare_gives_it_again() {
    let mut bench = Bench::port_preserving();
    bench.call(&with_port(60_000));
    bench.bind(50_000);
    bench.wait_s(60.0);
    bench.take();
    bench.begin();
    bench.bind(50_000);
    bench.bind(50_000);
    assert_eq!(bench.take()[0].trailers().random_port, Some(50_000));
}

/// Strangers cannot make a client hold more sockets than its limit, nor keep it from meeting
/// others.
#[test]
fn random_ports_are_bounded() {
    let mut bench = Bench::port_preserving();
    let own = bench.own();
    let mut open: Vec<Local> = Vec::new();
    let mut most = 0;
    for number in 0..1_000_u16 {
        let mapped = SocketAddrV4::new([198, 51, 100, 7].into(), 1024 + number);
        let stranger = TeredoAddress { mapped, ..peer() }.to_ipv6();
        let call = crate::bytes::indirect_bubble(mapped, stranger, own);
        let _ = bench.inject(crate::harness::server(), &call);
        for event in bench.events() {
            if let Event::BindPort(local) = event {
                open.push(local);
                bench.client.handle_bound(bench.now, local, Some(20_000 + number));
            } else if let Event::ReleasePort(local) = event {
                open.retain(|it| *it != local);
            }
        }
        most = most.max(open.len());
        bench.wait_s(0.02);
    }
    assert_eq!(most, RANDOM_PORTS_MAX);
    bench.take();
    bench.begin();
    bench.bind(50_000);
    let sent = bench.take();
    assert_eq!(sent[0].trailers().random_port, Some(50_000));
    bench.wait_s(120.0);
    bench.events();
    assert_eq!(bench.way(), None);
}

/// Nor can those that it has met so: whom it seeks itself goes before them, as in the peer list.
#[test]
fn strangers_that_were_met_make_room() {
    let mut bench = Bench::port_preserving();
    let own = bench.own();
    let mut open = Vec::new();
    for number in 0..RANDOM_PORTS_MAX as u16 + 3 {
        let mapped = SocketAddrV4::new([198, 51, 100, 7].into(), 1024 + number);
        let stranger = TeredoAddress { mapped, ..peer() }.to_ipv6();
        let call = crate::bytes::indirect_bubble(mapped, stranger, own);
        let _ = bench.inject(crate::harness::server(), &call);
        for event in bench.events() {
            let Event::BindPort(local) = event else { continue };
            bench.client.handle_bound(bench.now, local, Some(20_000 + number));
            let bubble = crate::bytes::bubble(stranger, own);
            assert_eq!(bench.inject_on(local, mapped, &bubble), Inbound::Consumed);
            open.push(local);
        }
        bench.wait_s(0.02);
    }
    assert_eq!(open.len(), RANDOM_PORTS_MAX, "nobody makes room for a stranger");
    bench.take();
    bench.events();
    bench.begin();
    let events = bench.events();
    let [Event::ReleasePort(released), Event::BindPort(asked)] = events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(released, open[0]);
    bench.client.handle_bound(bench.now, asked, Some(50_000));
    assert_eq!(bench.take()[0].trailers().random_port, Some(50_000));
}
