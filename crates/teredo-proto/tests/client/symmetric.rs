//! Symmetric NAT support, and what UPnP adds to it (RFC 6081 sections 5.2 and 5.3).

use teredo_proto::client::{Config, Traversal};
use teredo_proto::role::{NatKind, State};
use teredo_proto::{DropReason, Inbound, Local, Role};
use teredo_wire::TeredoAddress;
use teredo_wire::trailer::Trailer;

use crate::bytes::{bubble, endpoint, trailers, udp};
use crate::harness::{
    Bench, Sent, config, mapped, nonce_of, peer, peer_address, peer_server, ways,
};

const PRIMARY: Local = Local::Primary;
const THEIRS: [u8; 4] = [1, 2, 3, 4];

fn nonce(nonce: [u8; 4]) -> Vec<u8> {
    trailers(&[Trailer::Nonce(nonce)])
}

//= C-QUAL-09: with an address, although both server addresses see another endpoint
#[test]
fn behind_a_symmetric_nat_the_client_stays_qualified() {
    for (second, kind) in
        [("192.0.2.1:4097", NatKind::PortSymmetric), ("192.0.2.7:4096", NatKind::AddressSymmetric)]
    {
        let bench = Bench::behind(config(), [mapped(), endpoint(second)]);
        assert_eq!((bench.client.state(), bench.client.nat_kind()), (State::Qualified, kind));
        assert_eq!(TeredoAddress::parse(bench.own()).map(|own| own.mapped), Some(mapped()));
    }
}

//= X-DEP-01: without what it depends on an extension is off
#[test]
fn extensions_need_others() {
    let all = Traversal::RFC6081;
    let without_symmetric = Traversal { symmetric: false, ..all }.with_dependencies();
    assert_eq!(
        without_symmetric,
        Traversal { hairpin: true, load_reduction: true, ..Traversal::NONE }
    );
    let without_ports = Traversal { port_preserving: false, ..all }.with_dependencies();
    assert_eq!(without_ports, Traversal { port_preserving: false, sequential: false, ..all });
    assert_eq!(all.with_dependencies(), all);
}

//= X-SNS-01, X-SNS-13: each indirect bubble has a nonce of its own, never zero
#[test]
fn every_indirect_bubble_has_a_new_nonce() {
    let mut bench = Bench::quiet();
    let mut nonces = Vec::new();
    for host in 1..=200 {
        let mapped = endpoint(&format!("198.51.100.{host}:4000"));
        let address = TeredoAddress { mapped, ..peer() }.to_ipv6();
        let _ = bench.send(&udp(bench.own(), address, b"x"));
        bench.wait_s(0.01);
        let sent = bench.take();
        nonces
            .extend(sent.iter().filter(|it| it.is_to(peer_server())).map(|it| it.trailers().nonce));
    }
    bench.wait_s(7.0);
    let sent = bench.take();
    nonces.extend(sent.iter().filter(|it| it.is_to(peer_server())).map(|it| it.trailers().nonce));
    assert_eq!(nonces.len(), 800);
    assert!(nonces.iter().all(|nonce| nonce.is_some_and(|nonce| nonce != [0; 4])));
    let ones: u32 = nonces.iter().flatten().map(|it| u32::from_be_bytes(*it).count_ones()).sum();
    assert!((12_000..13_600).contains(&ones), "{ones} of 25,600 bits");
    nonces.sort_unstable();
    nonces.dedup();
    assert_eq!(nonces.len(), 800);
}

//= X-SNS-03: no nonce before an indirect bubble of the peer
//= X-SNS-02, X-SNS-04: then its nonce, in answers and in attempts of our own
//= X-SNS-05: one without takes it away again
#[test]
fn direct_bubbles_carry_the_peers_nonce() {
    let mut bench = Bench::quiet();
    let sent = bench.begin();
    assert_eq!(ways(&sent), [(peer().mapped, PRIMARY), (peer_server(), PRIMARY)]);
    assert_eq!(sent[0].trailers().nonce, None);
    let direct = |sent: Vec<Sent>| {
        let direct = sent.into_iter().find(|sent| sent.is_to(peer().mapped));
        direct.map(|sent| sent.trailers().nonce)
    };
    assert_eq!(direct(bench.call(&nonce(THEIRS))), Some(Some(THEIRS)));
    bench.wait_s(2.0);
    assert_eq!(direct(bench.take()), Some(Some(THEIRS)));
    assert_eq!(direct(bench.call(&nonce([5; 4]))), Some(Some([5; 4])));
    bench.wait_s(1.0);
    assert_eq!(direct(bench.call(&[])), Some(None));
}

//= X-SNS-06: from the embedded endpoint any nonce will do
#[test]
fn the_embedded_endpoint_needs_no_nonce() {
    for nonce in [None, Some([9; 4])] {
        let mut bench = Bench::quiet();
        bench.begin();
        assert_eq!(bench.meet(PRIMARY, peer().mapped, nonce), Inbound::Consumed);
        assert_eq!(bench.way(), Some((peer().mapped, PRIMARY)));
    }
}

//= X-SNS-07, X-SNS-09: from elsewhere the nonce makes that the endpoint to send to
//= X-SNS-08: a wrong one or none does not, and changes nothing
#[test]
fn from_elsewhere_only_the_nonce_counts() {
    let elsewhere = endpoint("192.0.2.10:9999");
    let mut bench = Bench::quiet();
    let ours = nonce_of(&bench.begin());
    for nonce in [None, Some([0; 4]), Some([9; 4])] {
        let before = bench.state_digest();
        let unproven = Inbound::Dropped(DropReason::UnprovenPeer);
        assert_eq!(bench.meet(PRIMARY, elsewhere, nonce), unproven);
        assert!(bench.state_digest() == before);
    }
    assert_eq!(bench.way(), None);
    assert_eq!(bench.meet(PRIMARY, elsewhere, Some(ours)), Inbound::Consumed);
    assert_eq!(bench.way(), Some((elsewhere, PRIMARY)));
    let data = udp(peer_address(), bench.own(), b"data");
    assert!(matches!(bench.inject(elsewhere, &data), Inbound::Deliver(_)));
}

//= T-07: after sixteen wrong ones none from that IPv4 address counts, for as long as they come
#[test]
fn nonces_are_not_to_be_guessed() {
    let [guesser, other] = ["192.0.2.66:9999", "192.0.2.10:9999"].map(endpoint);
    let mut bench = Bench::quiet();
    let ours = nonce_of(&bench.begin());
    let guesses = |bench: &mut Bench, count: u8| -> Vec<_> {
        let guess = |guess| bench.meet(PRIMARY, guesser, Some([9, 9, 9, guess]));
        (0..count).map(guess).collect()
    };
    let [unproven, limit] = [DropReason::UnprovenPeer, DropReason::RateLimit].map(Inbound::Dropped);
    let answers = guesses(&mut bench, 17);
    assert!(answers[..16].iter().all(|answer| *answer == unproven), "{answers:?}");
    assert_eq!(answers[16], limit);
    assert_eq!(bench.meet(PRIMARY, guesser, Some(ours)), limit, "not even if it is right");
    bench.wait_s(1.0);
    assert_eq!(guesses(&mut bench, 2), [unproven, limit]);
    // The peer itself is as welcome as before.
    assert_eq!(bench.meet(PRIMARY, other, Some(ours)), Inbound::Consumed);
    assert_eq!(bench.way(), Some((other, PRIMARY)));
}

/// Only bubbles are taken on a nonce: data with the same bytes behind it is not, and waits in vain.
#[test]
fn data_with_a_nonce_proves_nothing() {
    let mut bench = Bench::quiet();
    let ours = nonce_of(&bench.begin());
    let mut data = udp(peer_address(), bench.own(), b"data");
    data.extend(nonce(ours));
    assert_eq!(bench.inject(endpoint("192.0.2.10:9999"), &data), Inbound::Consumed);
    assert_eq!(bench.client.counters().dropped(DropReason::UnprovenPeer), 0);
    bench.wait_s(40.0);
    let counters = bench.client.counters();
    assert_eq!((counters.delivered, counters.dropped(DropReason::UnprovenPeer)), (0, 1));
    assert_eq!(bench.inject_dropped(endpoint("192.0.2.10:9999"), &data), DropReason::UnprovenPeer);
}

/// The peer has learnt our last nonce after it sent data, which it took for welcome.
#[test]
fn data_waits_for_the_bubble_behind_it() {
    let mut bench = Bench::quiet();
    let ours = nonce_of(&bench.begin());
    let own = bench.own();
    let data = |what: &[u8]| udp(peer_address(), own, what);
    let [elsewhere, forger] = ["192.0.2.10:9999", "192.0.2.66:9999"].map(endpoint);
    assert_eq!(bench.inject(elsewhere, &data(b"data")), Inbound::Consumed);
    assert_eq!(bench.inject(forger, &data(b"lies")), Inbound::Consumed);
    assert!(bench.take().is_empty(), "data makes us send nothing");
    assert_eq!(bench.meet(PRIMARY, elsewhere, Some(ours)), Inbound::Consumed);
    let sent = bench.take();
    let packets: Vec<_> = sent.iter().filter(|sent| matches!(sent, Sent::Packet(_))).collect();
    assert_eq!(packets, [&Sent::Packet(data(b"data"))]);
    let counters = bench.client.counters();
    assert_eq!((counters.delivered, counters.dropped(DropReason::UnprovenPeer)), (1, 1));
}

//= X-SNS-10: the nonce of an earlier indirect bubble is worth nothing
#[test]
fn only_the_last_nonce_counts() {
    let elsewhere = endpoint("192.0.2.10:9999");
    let mut bench = Bench::quiet();
    let old = nonce_of(&bench.begin());
    bench.wait_s(2.0);
    let new = nonce_of(&bench.take());
    assert_ne!(old, new);
    let unproven = Inbound::Dropped(DropReason::UnprovenPeer);
    assert_eq!(bench.meet(PRIMARY, elsewhere, Some(old)), unproven);
    assert_eq!(bench.meet(PRIMARY, elsewhere, Some(new)), Inbound::Consumed);
}

//= X-SNS-11: answered by a direct and an indirect bubble, the latter at most once a second
//= X-HP-10: by one direct bubble once the peer is trusted
#[test]
fn an_indirect_bubble_is_answered_both_ways() {
    let mut bench = Bench::quiet();
    let sent = bench.call(&nonce(THEIRS));
    assert_eq!(ways(&sent), [(peer().mapped, PRIMARY), (peer_server(), PRIMARY)]);
    let ours = nonce_of(&sent);
    assert_eq!(ways(&bench.call(&nonce([6; 4]))), [(peer().mapped, PRIMARY)]);
    bench.wait_s(1.0);
    assert_eq!(bench.call(&nonce([7; 4])).len(), 2);
    let elsewhere = endpoint("192.0.2.10:9999");
    assert_ne!(bench.meet(PRIMARY, elsewhere, Some(ours)), Inbound::Consumed);
    assert_eq!(bench.meet(PRIMARY, peer().mapped, None), Inbound::Consumed);
    bench.take();
    bench.wait_s(1.0);
    let sent = bench.call(&nonce([8; 4]));
    assert_eq!(ways(&sent), [(peer().mapped, PRIMARY)]);
    assert_eq!(sent[0].trailers().nonce, Some([8; 4]));
}

//= X-SNS-12, SEC-07: a peer in use stays where it is; one that was silent for long may move
#[test]
fn a_peer_in_use_is_not_moved() {
    let elsewhere = endpoint("192.0.2.10:9999");
    let mut bench = Bench::quiet();
    let ours = nonce_of(&bench.begin());
    assert_eq!(bench.meet(PRIMARY, peer().mapped, Some(ours)), Inbound::Consumed);
    bench.wait_s(29.0);
    let unproven = Inbound::Dropped(DropReason::UnprovenPeer);
    assert_eq!(bench.meet(PRIMARY, elsewhere, Some(ours)), unproven);
    assert_eq!(bench.way(), Some((peer().mapped, PRIMARY)));
    bench.wait_s(31.0);
    assert_eq!(bench.meet(PRIMARY, elsewhere, Some(ours)), Inbound::Consumed);
    assert_eq!(bench.way(), Some((elsewhere, PRIMARY)));
}

/// Packets that waited do not leave before the peer can know where they will come from.
#[test]
fn the_queue_waits_for_the_peers_nonce() {
    let mut bench = Bench::behind(
        Config {
            traversal: Traversal { port_preserving: false, ..Traversal::RFC6081 },
            ..config()
        },
        [mapped(), endpoint("192.0.2.1:4097")],
    );
    bench.begin();
    assert_eq!(bench.meet(PRIMARY, peer().mapped, None), Inbound::Consumed);
    assert!(bench.take().iter().all(Sent::is_bubble));
    // What the stack goes on sending waits, too, and does not keep us from calling again.
    for _ in 0..3 {
        bench.wait_s(0.9);
        assert_eq!(bench.way(), None);
    }
    let sent = bench.take();
    assert_eq!(ways(&sent), [(peer().mapped, PRIMARY), (peer_server(), PRIMARY)]);
    let sent = bench.call(&nonce(THEIRS));
    assert_eq!(ways(&sent), [(peer().mapped, PRIMARY); 5]);
    assert!(sent[0].is_bubble() && sent[0].trailers().nonce == Some(THEIRS));
    assert!(sent[1..].iter().all(|sent| !sent.is_bubble()));
}

/// The bubble that makes us known may get lost, and so may a later nonce of the peer. While no
/// packet comes back it is repeated beside ours, with a call, as often as any attempt.
#[test]
fn we_are_made_known_until_the_peer_answers() {
    for answers in [false, true] {
        let mut bench = Bench::quiet();
        let elsewhere = endpoint("192.0.2.10:9999");
        let ours = nonce_of(&bench.begin());
        bench.wait_s(0.1);
        assert_eq!(bench.meet(PRIMARY, elsewhere, Some(ours)), Inbound::Consumed);
        bench.call(&nonce(THEIRS));
        let mut repeated = Vec::new();
        for tenth in 1..200 {
            bench.wait_s(0.1);
            // A bubble is no answer: the peer may not know yet where we are.
            assert_eq!(bench.meet(PRIMARY, elsewhere, None), Inbound::Consumed);
            if answers && tenth == 30 {
                let data = udp(peer_address(), bench.own(), b"data");
                assert!(matches!(bench.inject(elsewhere, &data), Inbound::Deliver(_)));
            }
            bench.take();
            assert_eq!(bench.way(), Some((elsewhere, PRIMARY)));
            let sent = bench.take();
            if !sent.is_empty() {
                assert_eq!(ways(&sent), [(elsewhere, PRIMARY), (peer_server(), PRIMARY)]);
                assert_eq!(sent[0].trailers().nonce, Some(THEIRS));
                repeated.push(tenth);
            }
        }
        let expected: &[i32] = if answers { &[19] } else { &[19, 39, 59] };
        assert_eq!(repeated, expected);
    }
}

/// A client whose gateway keeps its mapped endpoint for it, behind a symmetric NAT or not.
fn kept(is_symmetric: bool, port_mapping: &str, traversal: Traversal) -> Bench {
    let second = if is_symmetric { endpoint("192.0.2.1:4097") } else { mapped() };
    let mut bench = Bench::behind(Config { traversal, ..config() }, [mapped(), second]);
    bench.client.set_explicit_mapping(bench.now, Some(endpoint(port_mapping)));
    bench.take();
    bench
}

//= X-UPNP-07, X-UPNP-08, X-UPNP-09: with all four conditions all goes to the embedded endpoint
#[test]
fn a_reserved_endpoint_is_what_the_peer_is_sent_to() {
    let traversal = Traversal { port_preserving: false, ..Traversal::RFC6081 };
    let off = Traversal { mapped_symmetric: false, ..traversal };
    let elsewhere = endpoint("192.0.2.10:9999");
    for (mut bench, to) in [
        (kept(true, "192.0.2.1:4096", traversal), peer().mapped),
        (kept(false, "192.0.2.1:4096", traversal), elsewhere),
        (kept(true, "10.1.1.1:4096", traversal), elsewhere),
        (kept(true, "192.0.2.1:4096", off), elsewhere),
    ] {
        let ours = nonce_of(&bench.begin());
        bench.call(&nonce(THEIRS));
        assert_eq!(bench.meet(PRIMARY, elsewhere, Some(ours)), Inbound::Consumed);
        let sent = bench.take();
        assert!(!sent.is_empty() && sent.iter().all(|sent| sent.is_to(to)), "{sent:?}");
        assert_eq!(bench.way(), Some((to, PRIMARY)));
        bench.wait_s(1.0);
        assert!(ways(&bench.call(&nonce([5; 4]))).iter().all(|way| *way == (to, PRIMARY)));
        let data = udp(peer_address(), bench.own(), b"data");
        assert!(matches!(bench.inject(elsewhere, &data), Inbound::Deliver(_)));
    }
    // The fourth condition: a peer that is heard at its embedded endpoint is not symmetric.
    let mut bench = kept(true, "192.0.2.1:4096", traversal);
    bench.begin();
    bench.call(&nonce(THEIRS));
    assert_eq!(bench.meet(PRIMARY, peer().mapped, None), Inbound::Consumed);
    assert_eq!(bench.way(), Some((peer().mapped, PRIMARY)));
}

//= SEC-05: an indirect bubble leads to six at most, anything else to one
#[test]
fn no_datagram_leads_to_a_storm() {
    let port = trailers(&[Trailer::Nonce(THEIRS), Trailer::RandomPort(5000)]);
    let four = crate::bytes::alternates(&["10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:3", "10.0.0.4:4"]);
    let mut bench = Bench::quiet();
    assert_eq!(bench.call(&[port, four.clone()].concat()).len(), 6);
    bench.wait_s(1.0);
    assert_eq!(bench.call(&four).len(), 6);
    let mut bench = Bench::quiet();
    let direct = [bubble(peer_address(), bench.own()), nonce(THEIRS), four].concat();
    let _ = bench.inject(peer().mapped, &direct);
    assert_eq!(bench.take().len(), 1);
}
