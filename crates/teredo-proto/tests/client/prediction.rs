//! Sequential port-symmetric NAT (RFC 6081 section 5.5).

use core::net::SocketAddrV4;
use core::time::Duration;

use teredo_proto::client::{Config, Traversal};
use teredo_proto::{DropReason, Event, Inbound, Local, Role};
use teredo_wire::trailer::Trailer;

use crate::bytes::{Advertisement, endpoint, trailers, udp};
use crate::harness::{
    Bench, Sent, config, mapped, nonce_of, peer, peer_address, peer_server, secondary, server, ways,
};

const PRIMARY: Local = Local::Primary;

/// A client whose Echo Test is under way: the bench, the random port, the datagrams of the test.
fn testing() -> (Bench, Local, Vec<Sent>) {
    let mut bench = Bench::sequential();
    assert_eq!(ways(&bench.begin()), [(peer().mapped, PRIMARY)]);
    let random = bench.bind(50_000);
    let test = bench.take();
    (bench, random, test)
}

fn nonce(sent: &Sent) -> [u8; 8] {
    sent.parsed().authentication.unwrap().nonce
}

/// A server address tells on the random port which port it sees.
fn tell(bench: &mut Bench, on: Local, from: SocketAddrV4, nonce: [u8; 8], port: u16) -> Inbound {
    let origin = Some(SocketAddrV4::new(*mapped().ip(), port));
    let bytes = Advertisement { origin, ..Advertisement::new(nonce) }.to_bytes();
    bench.inject_on(on, from, &bytes)
}

/// Both addresses answer; what is sent then.
fn tell_both(seen: [u16; 2]) -> (Bench, Local, Vec<Sent>) {
    let (mut bench, random, test) = testing();
    let nonces = [nonce(&test[0]), nonce(&test[2])];
    assert_eq!(tell(&mut bench, random, server(), nonces[0], seen[0]), Inbound::Consumed);
    assert_eq!(bench.take(), []);
    assert_eq!(tell(&mut bench, random, secondary(), nonces[1], seen[1]), Inbound::Consumed);
    let sent = bench.take();
    (bench, random, sent)
}

//= X-SS-01: a symmetric NAT that does not preserve ports is taken for a sequential one
//= X-SS-02: so an Echo Test takes the place of the indirect bubble
//= X-SS-03: solicitation, direct bubble, solicitation, from one random port, with two nonces
#[test]
fn an_echo_test_comes_first() {
    let (_, random, test) = testing();
    assert_eq!(ways(&test), [(server(), random), (peer().mapped, random), (secondary(), random)]);
    assert!(test[0].is_solicitation() && test[1].is_bubble() && test[2].is_solicitation());
    assert_ne!(nonce(&test[0]), nonce(&test[2]));
}

//= SEC-05: six bubbles for an indirect one, that of the test among them
#[test]
fn the_bubble_of_the_test_is_one_of_six() {
    let mut bench = Bench::sequential();
    let four = crate::bytes::alternates(&["10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:3", "10.0.0.4:4"]);
    let mut sent = bench.call(&four);
    let random = bench.bind(50_000);
    let test = bench.take();
    let nonces = [nonce(&test[0]), nonce(&test[2])];
    sent.extend(test);
    for (server, nonce, port) in [(server(), nonces[0], 1200), (secondary(), nonces[1], 1202)] {
        assert_eq!(tell(&mut bench, random, server, nonce, port), Inbound::Consumed);
    }
    sent.extend(bench.take());
    assert_eq!(sent.iter().filter(|sent| sent.is_bubble()).count(), 6, "{sent:?}");
}

/// The bubble of the test goes to the port that the peer has announced, if it has.
#[test]
fn the_test_aims_at_the_peers_random_port() {
    let mut bench = Bench::sequential();
    bench.call(&trailers(&[Trailer::Nonce([1; 4]), Trailer::RandomPort(60_000)]));
    let random = bench.bind(50_000);
    let there = SocketAddrV4::new(*peer().mapped.ip(), 60_000);
    assert_eq!(ways(&bench.take())[1], (there, random));
}

//= X-SS-06: the port between 1200 and 1202 is 1201
//= X-SS-08: and is announced
#[test]
fn the_port_in_between_is_announced() {
    for (seen, predicted) in
        [([1200, 1202], 1201), ([65_530, 65_534], 65_532), ([1200, 1203], 1201)]
    {
        let (_, _, sent) = tell_both(seen);
        assert_eq!(ways(&sent), [(peer_server(), PRIMARY)]);
        assert_eq!(sent[0].trailers().random_port, Some(predicted));
    }
}

//= X-SS-07: answers are told apart by their nonces, and the first value of each stays
#[test]
fn answers_belong_to_nonces() {
    let (mut bench, random, test) = testing();
    let nonces = [nonce(&test[0]), nonce(&test[2])];
    for (from, nonce) in [(server(), nonces[1]), (secondary(), nonces[0]), (server(), [9; 8])] {
        let told = tell(&mut bench, random, from, nonce, 7);
        assert_eq!(told, Inbound::Dropped(DropReason::WrongNonce));
    }
    let told = tell(&mut bench, random, endpoint("203.0.113.99:3544"), nonces[0], 7);
    assert_eq!(told, Inbound::Dropped(DropReason::UnsolicitedAdvertisement));
    assert_eq!(tell(&mut bench, random, server(), nonces[0], 1200), Inbound::Consumed);
    assert_eq!(tell(&mut bench, random, server(), nonces[0], 1100), Inbound::Consumed);
    assert_eq!(bench.take(), []);
    assert_eq!(tell(&mut bench, random, secondary(), nonces[1], 1202), Inbound::Consumed);
    assert_eq!(bench.take()[0].trailers().random_port, Some(1201));
    // The test is over.
    let told = tell(&mut bench, random, server(), nonces[0], 1200);
    assert_eq!(told, Inbound::Dropped(DropReason::UnsolicitedAdvertisement));
    let told = tell(&mut bench, PRIMARY, server(), nonces[0], 1200);
    assert_eq!(told, Inbound::Dropped(DropReason::UnsolicitedAdvertisement));
}

//= X-SS-04: a second test after one second, for two seconds
//= X-SS-05: then an indirect bubble without a port
#[test]
fn a_silent_server_is_asked_twice() {
    let (mut bench, random, first) = testing();
    let start = bench.now;
    bench.wait_s(3.5);
    let sent = bench.take_since(start);
    let tests: Vec<_> = sent.iter().filter(|(_, sent)| sent.is_solicitation()).collect();
    assert_eq!(tests.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [1.0, 1.0]);
    assert!(tests.iter().all(|(_, sent)| sent.via() == random));
    assert_ne!(nonce(&first[0]), nonce(&tests[0].1));
    let calls: Vec<_> = sent.iter().filter(|(_, sent)| sent.is_to(peer_server())).collect();
    assert_eq!(calls.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [3.0]);
    assert_eq!(calls[0].1.trailers().random_port, None);
    assert_eq!(bench.released(), [random]);
    bench.wait_s(2.0);
    assert!(bench.take().iter().any(|sent| sent.is_to(peer_server())), "no third test");
}

//= C-BUB-03: a test that ends hours later, because the host slept, makes no indirect bubble
#[test]
fn what_was_prepared_before_a_pause_is_not_sent() {
    let mut bench = Bench::sequential();
    bench.call(&[]);
    let random = bench.bind(50_000);
    bench.wait_s(1.5); // the second test
    bench.take();
    bench.now = bench.now + Duration::from_hours(1);
    bench.client.handle_timeout(bench.now);
    assert!(bench.take().iter().all(|sent| !sent.is_to(peer_server())));
    assert_eq!(bench.released(), [random]);
    // The next search begins from nothing.
    bench.begin();
    bench.bind(50_001);
    bench.wait_s(3.0);
    assert!(bench.take().iter().any(|sent| sent.is_to(peer_server())));
}

//= C-BUB-03: four indirect bubbles in 300 s, also where the first ones wait for a test
#[test]
fn an_indirect_bubble_that_was_late_counts_from_when_it_went() {
    let mut bench = Bench::behind(config(), [mapped(), endpoint("192.0.2.1:4097")]);
    let start = bench.now;
    for half_seconds in 0..1300 {
        let _ = bench.send(&udp(bench.own(), peer_address(), b"x"));
        for event in bench.events() {
            if let Event::BindPort(local) = event {
                // Later there is no port to test.
                let port = Some(50_000).filter(|_| half_seconds < 200);
                bench.client.handle_bound(bench.now, local, port);
            }
        }
        bench.wait_s(0.5);
    }
    let mut calls = bench.take_since(start);
    calls.retain(|(_, sent)| sent.is_to(peer_server()) && sent.is_bubble());
    let fifths = calls.windows(5).filter(|five| five[4].0 - five[0].0 < 300.0);
    assert_eq!(fifths.count(), 0, "{:?}", calls.iter().map(|(at, _)| at).collect::<Vec<_>>());
    assert!(calls.len() > 8, "too few for a fifth");
}

//= X-SS-09: with the end of the search nothing is left of the test
#[test]
fn a_later_search_tests_anew() {
    let (mut bench, random, _) = tell_both([1200, 1202]);
    bench.wait_s(310.0);
    bench.take();
    assert_eq!(bench.released(), [random]);
    bench.begin();
    let again = bench.bind(50_001);
    assert_ne!(again, random);
    assert_eq!(bench.take().iter().filter(|sent| sent.is_solicitation()).count(), 2);
}

//= X-SS-10: a bubble on the service port ends the test
#[test]
fn a_bubble_on_the_service_port_ends_the_test() {
    let (mut bench, random, _) = testing();
    assert_eq!(bench.meet(PRIMARY, peer().mapped, None), Inbound::Consumed);
    assert_eq!(bench.released(), [random]);
    bench.wait_s(1.5);
    assert!(bench.take().iter().all(|sent| !sent.is_solicitation()));
}

/// So does one on the random port: the peer knows us by it, and has no use for another one.
#[test]
fn a_bubble_on_the_random_port_ends_the_test() {
    for traversal in [Traversal::RFC6081, Traversal::default()] {
        let config = Config { traversal, ..config() };
        let mut bench = Bench::behind(config, [mapped(), endpoint("192.0.2.1:4097")]);
        bench.call(&trailers(&[Trailer::Nonce([1; 4])]));
        let random = bench.bind(50_000);
        bench.take();
        assert_eq!(bench.meet(random, peer().mapped, None), Inbound::Consumed);
        bench.take();
        bench.wait_s(5.0);
        assert_eq!(bench.released(), []);
        assert_eq!(bench.take(), [], "neither a test nor an indirect bubble");
        assert_eq!(bench.way(), Some((peer().mapped, random)));
    }
}

//= X-SS-12: ports that tell nothing, and a range that began anew, give no prediction
#[test]
fn a_busy_nat_is_not_predicted() {
    for seen in [[1202, 1200], [1200, 1200], [1200, 1217], [65_535, 1024]] {
        let (mut bench, random, sent) = tell_both(seen);
        assert_eq!(ways(&sent), [(peer_server(), PRIMARY)], "{seen:?}");
        assert_eq!(sent[0].trailers().random_port, None);
        assert_eq!(bench.released(), [random]);
        let ours = nonce_of(&sent);
        assert_eq!(bench.meet(PRIMARY, peer().mapped, Some(ours)), Inbound::Consumed);
    }
}

/// Without a second server address, or with the extension off, no test is possible.
#[test]
fn without_a_test_the_indirect_bubble_goes_at_once() {
    let traversal = Traversal { sequential: false, ..Traversal::RFC6081 };
    let mut bench =
        Bench::behind(Config { traversal, ..config() }, [mapped(), endpoint("192.0.2.1:4097")]);
    assert_eq!(bench.begin().len(), 2);
    assert!(!bench.events().iter().any(|event| matches!(event, Event::BindPort(_))));
}
