//! Deferred-open prediction (protocol section 6.4, D).

use core::net::SocketAddrV4;

use teredo_proto::client::{Config, Traversal};
use teredo_proto::{Event, Inbound, Local};
use teredo_wire::trailer::Trailer;

use crate::bytes::{Advertisement, endpoint, trailers};
use crate::harness::{
    Bench, Sent, config, mapped, nonce_of, peer, peer_server, secondary, server, ways,
};

const PRIMARY: Local = Local::Primary;
const THEIRS: Trailer<'_> = Trailer::Nonce([1, 2, 3, 4]);

fn bench() -> Bench {
    Bench::behind(config(), [mapped(), endpoint("192.0.2.1:4097")])
}

/// The peer's random port.
fn theirs() -> SocketAddrV4 {
    SocketAddrV4::new(*peer().mapped.ip(), 60_000)
}

fn nonce(sent: &Sent) -> [u8; 8] {
    sent.parsed().authentication.unwrap().nonce
}

/// Server addresses tell on the random port which ports they see; what is sent then.
fn tell(bench: &mut Bench, on: Local, test: &[Sent], ports: [u16; 2]) -> Vec<Sent> {
    for ((sent, from), port) in test.iter().zip([server(), secondary()]).zip(ports) {
        let origin = Some(SocketAddrV4::new(*mapped().ip(), port));
        let bytes = Advertisement { origin, ..Advertisement::new(nonce(sent)) }.to_bytes();
        assert_eq!(bench.inject_on(on, from, &bytes), Inbound::Consumed);
    }
    bench.take()
}

/// A client that has announced the port that comes next: the bench, the socket, the nonce.
fn announced() -> (Bench, Local, [u8; 4]) {
    let mut bench = bench();
    bench.begin();
    let random = bench.bind(50_000);
    let test = bench.take();
    let sent = tell(&mut bench, random, &test[2..], [1_200, 1_202]);
    assert_eq!(sent[0].trailers().random_port, Some(1_204));
    let nonce = nonce_of(&sent);
    (bench, random, nonce)
}

//= X-SS-13: two solicitations from a port that goes nowhere else, after the way to the server
#[test]
fn the_test_leaves_the_port_closed() {
    let mut bench = bench();
    assert_eq!(ways(&bench.begin()), [(peer().mapped, PRIMARY)]);
    let random = bench.bind(50_000);
    let test = bench.take();
    let throw_away = (peer_server(), PRIMARY);
    let expected = [throw_away, throw_away, (server(), random), (secondary(), random)];
    assert_eq!(ways(&test), expected);
    assert!(test.iter().all(Sent::is_solicitation));
    let sent = tell(&mut bench, random, &test[2..], [1_200, 1_202]);
    assert_eq!(ways(&sent), [(peer_server(), PRIMARY)]);
    assert_eq!(sent[0].trailers().random_port, Some(1_204), "the one after both");
}

//= X-SS-13: the first packet of the port goes to where the peer says that it is, before others
#[test]
fn the_port_is_opened_towards_the_peer() {
    let told = [THEIRS, Trailer::RandomPort(60_000)];
    for (told, there) in [(&told[..], theirs()), (&told[..1], peer().mapped)] {
        let (mut bench, random, _) = announced();
        bench.wait_s(2.5);
        assert!(bench.take().iter().all(|sent| sent.is_to(peer_server())), "nothing takes it");
        let sent = bench.call(&trailers(told));
        let openers = [(there, random), (there, random), (peer().mapped, PRIMARY)];
        assert_eq!(ways(&sent)[..3], openers);
        assert_eq!(sent[0].trailers().random_port, Some(1_204));
    }
}

/// A peer that calls while the test is under way is not kept waiting.
#[test]
fn a_call_during_the_test_opens_the_port() {
    let mut bench = bench();
    bench.begin();
    let random = bench.bind(50_000);
    let test = bench.take();
    let sent = bench.call(&trailers(&[THEIRS, Trailer::RandomPort(60_000)]));
    assert_eq!(ways(&sent)[0], (theirs(), random));
    let sent = tell(&mut bench, random, &test[2..], [1_200, 1_201]);
    assert_eq!(sent[0].trailers().random_port, Some(1_202));
}

/// Whoever is called first knows where the peer is: the Echo Test of RFC 6081.
#[test]
fn the_peer_that_called_is_tested_for_as_before() {
    let mut bench = bench();
    bench.call(&trailers(&[THEIRS, Trailer::RandomPort(60_000)]));
    let random = bench.bind(50_000);
    assert_eq!(
        ways(&bench.take()),
        [(server(), random), (theirs(), random), (secondary(), random)]
    );
}

/// A bubble that never reached the NAT leaves no port between the two; only another socket tells.
#[test]
fn a_test_without_its_bubble_is_made_again() {
    let mut bench = bench();
    bench.call(&trailers(&[THEIRS]));
    let random = bench.bind(50_000);
    let test = bench.take();
    let around = [test[0].clone(), test[2].clone()];
    assert_eq!(tell(&mut bench, random, &around, [1_200, 1_201]), []);
    let events = bench.events();
    let again = Event::BindPort(Local::Random(2));
    assert_eq!(events, [Event::ReleasePort(random), again]);
}

//= X-SS-13: a busy NAT, one that gives ports at random, and the end of the range are recognised
#[test]
fn a_port_that_cannot_be_told_is_not_announced() {
    for ports in [[1_200, 1_209], [1_200, 1_200], [1_202, 1_200], [65_533, 65_535]] {
        let mut bench = bench();
        bench.begin();
        let random = bench.bind(50_000);
        let test = bench.take();
        let sent = tell(&mut bench, random, &test[2..], ports);
        assert_eq!(ways(&sent), [(peer_server(), PRIMARY)], "{ports:?}");
        assert_eq!(sent[0].trailers().random_port, None, "{ports:?}");
        assert_eq!(bench.released(), [random], "{ports:?}");
    }
}

/// Without answers there is another test of another port, then none.
#[test]
fn a_silent_server_is_asked_twice_from_two_ports() {
    let mut bench = bench();
    bench.begin();
    let first = bench.bind(50_000);
    bench.take();
    bench.wait_s(1.0);
    let second = bench.bind(50_001);
    assert_ne!(first, second);
    assert!(ways(&bench.take()).contains(&(server(), second)));
    bench.wait_s(2.0);
    assert_eq!(bench.released(), [second]);
    let sent = bench.take();
    assert!(sent.iter().any(|it| it.is_to(peer_server()) && it.trailers().random_port.is_none()));
}

#[test]
fn without_deferred_open_the_echo_test_is_that_of_the_rfc() {
    let all = Traversal::default();
    for traversal in [Traversal { deferred_open: false, ..all }, Traversal::RFC6081] {
        let config = Config { traversal, ..config() };
        let mut bench = Bench::behind(config, [mapped(), endpoint("192.0.2.1:4097")]);
        bench.begin();
        let random = bench.bind(50_000);
        let test = bench.take();
        let expected = [(server(), random), (peer().mapped, random), (secondary(), random)];
        assert_eq!(ways(&test), expected);
    }
}
