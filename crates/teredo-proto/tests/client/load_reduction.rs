//! Server load reduction (RFC 6081 section 5.7).

use teredo_proto::{DropReason, Inbound, Outbound, Role};
use teredo_wire::trailer::{NeighborDiscovery, Trailer};

use crate::bytes::{bubble, endpoint, trailers, udp};
use crate::harness::{Bench, Sent, peer, peer_address, peer_server, server};

const ASKED: [Trailer<'_>; 1] = [Trailer::NeighborDiscovery(NeighborDiscovery::Solicitation)];
const THERE: [Trailer<'_>; 1] = [Trailer::NeighborDiscovery(NeighborDiscovery::Advertisement)];

fn solicits(sent: &Sent) -> bool {
    sent.is_bubble() && sent.trailers().neighbor_discovery == Some(NeighborDiscovery::Solicitation)
}

/// A client that has not heard from its peer for a minute.
fn idle() -> Bench {
    let mut bench = Bench::quiet();
    bench.befriend(&peer());
    bench.wait_s(60.0);
    assert_eq!(bench.take(), []);
    bench
}

//= X-SLR-01: data for a silent peer waits, and a solicitation goes to it
//= X-SLR-05: whose answer lets it go, without a packet for any server
#[test]
fn a_silent_peer_is_asked_directly() {
    let mut bench = idle();
    let sent = bench.begin();
    assert!(sent.len() == 1 && sent[0].is_to(peer().mapped) && solicits(&sent[0]));
    bench.wait_s(1.0);
    let there = [bubble(peer_address(), bench.own()), trailers(&THERE)].concat();
    assert_eq!(bench.inject(peer().mapped, &there), Inbound::Consumed);
    let sent = bench.take();
    assert!(sent.len() == 1 && sent[0].is_to(peer().mapped) && !sent[0].is_bubble());
    bench.wait_s(10.0);
    assert_eq!(bench.take(), []);
}

//= X-SLR-02: once more after two seconds, and the third time through the server as well
#[test]
fn the_third_solicitation_goes_with_an_indirect_bubble() {
    let mut bench = idle();
    let start = bench.now;
    let packet = udp(bench.own(), peer_address(), b"x");
    assert_eq!(bench.send(&packet), Outbound::Queued);
    bench.wait_s(9.0);
    let sent = bench.take_since(start);
    let times = |wanted: &dyn Fn(&Sent) -> bool| {
        let wanted = sent.iter().filter(|(_, sent)| wanted(sent));
        wanted.map(|(at, _)| *at).collect::<Vec<_>>()
    };
    assert_eq!(times(&solicits), [0.0, 2.0, 4.0]);
    assert_eq!(times(&|sent| sent.is_to(peer_server())), [4.0, 6.0]);
    assert_eq!(bench.client.counters().bubbles_sent, 5, "with the one that made them friends");
    assert_eq!(bench.send(&packet), Outbound::Dropped(DropReason::PeerUnreachable));
}

/// After two minutes the NATs may have forgotten everything, so nothing waits for the direct way.
#[test]
fn a_peer_silent_for_long_is_asked_every_way_at_once() {
    let mut bench = idle();
    bench.wait_s(61.0);
    let sent = bench.begin();
    assert!(sent.iter().any(solicits) && sent.iter().any(|sent| sent.is_to(peer_server())));
}

//= X-SLR-03: a solicitation is answered where the peer is
//= X-SLR-04: one that proves nothing is not, nor is an advertisement
#[test]
fn solicitations_are_answered() {
    let mut bench = Bench::quiet();
    let asked = [bubble(peer_address(), bench.own()), trailers(&ASKED)].concat();
    let elsewhere = endpoint("192.0.2.10:9999");
    assert_eq!(bench.inject_dropped(elsewhere, &asked), DropReason::UnprovenPeer);
    assert_eq!(bench.take(), []);
    for _ in 0..2 {
        assert_eq!(bench.inject(peer().mapped, &asked), Inbound::Consumed);
        let sent = bench.take();
        assert!(sent.len() == 1 && sent[0].is_to(peer().mapped));
        let answer = sent[0].trailers().neighbor_discovery;
        assert_eq!(answer, Some(NeighborDiscovery::Advertisement));
    }
    let there = [bubble(peer_address(), bench.own()), trailers(&THERE)].concat();
    bench.wait_s(3.0);
    assert_eq!(bench.inject(peer().mapped, &there), Inbound::Consumed);
    assert_eq!(bench.take(), []);
    let mut bench = Bench::quiet();
    let through_server = crate::bytes::indirect_bubble(peer().mapped, peer_address(), bench.own());
    let _ = bench.inject(server(), &[through_server, trailers(&ASKED)].concat());
    assert!(bench.take().iter().all(|sent| sent.trailers().neighbor_discovery.is_none()));
}
