//! Hairpinning (RFC 6081 section 5.6).

use core::net::Ipv4Addr;

use teredo_proto::client::{Config, Traversal};
use teredo_proto::{DropReason, Inbound, Local};
use teredo_wire::trailer::Trailer;

use crate::bytes::{alternates, endpoint, indirect_bubble, trailers};
use crate::harness::{
    Bench, SERVICE_PORT, config, nonce_of, peer, peer_address, peer_server, server, ways,
};

const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);

fn bench(port_mapping: Option<&str>) -> Bench {
    let mut bench = Bench::qualified_with(Config { local_address: Some(LOCAL), ..config() });
    bench.client.set_explicit_mapping(bench.now, port_mapping.map(endpoint));
    bench.take();
    bench
}

fn named(bench: &mut Bench) -> Vec<String> {
    let sent = bench.begin();
    let indirect = sent.iter().find(|sent| sent.is_to(peer_server())).unwrap();
    assert!(indirect.trailers().nonce.is_some());
    let alternates = indirect.trailers().alternates;
    alternates.iter().flat_map(|it| it.endpoints()).map(|it| it.to_string()).collect()
}

//= X-HP-01, X-HP-03: indirect bubbles name the local endpoint, beside a nonce
//= X-HP-02: and the one that a gateway keeps, unless it is the embedded one
//= P-WIRE-15: two at most, in 14 bytes
//= P-WIRE-16: and none that nobody can have, whatever the gateway says
#[test]
fn indirect_bubbles_name_our_other_endpoints() {
    let local = format!("{LOCAL}:{SERVICE_PORT}");
    assert_eq!(named(&mut bench(None)).join(" "), local);
    assert_eq!(named(&mut bench(Some("10.1.1.1:4000"))), [local.clone(), "10.1.1.1:4000".into()]);
    assert_eq!(named(&mut bench(Some("192.0.2.1:4096"))).join(" "), local);
    for text in ["10.1.1.1:0", "0.0.0.0:4000", "127.0.0.1:4000", "224.0.0.1:4000"] {
        assert_eq!(named(&mut bench(Some(text))).join(" "), local, "{text}");
    }
}

/// Switched off, bubbles carry and mean nothing of the kind.
#[test]
fn without_the_extension_no_endpoint_is_named_or_tried() {
    let traversal = Traversal { hairpin: false, ..Traversal::RFC6081 };
    let mut bench =
        Bench::qualified_with(Config { local_address: Some(LOCAL), traversal, ..config() });
    assert_eq!(named(&mut bench), Vec::<String>::new());
    assert_eq!(ways(&bench.call(&alternates(&["10.0.0.1:1"]))).len(), 1);
    let bad = [vec![3, 2, 0, 0]].concat();
    assert_eq!(bench.call(&bad).len(), 1);
}

//= X-HP-05: direct bubbles to the embedded endpoint and to each that is named, all with the nonce
//= X-HP-07: to four at most
//= P-WIRE-23: which name none of ours
#[test]
fn every_endpoint_of_the_peer_is_tried() {
    let four = ["10.0.0.1:1", "10.0.0.2:2", "192.168.1.3:3", "192.0.2.20:4"];
    let mut bench = bench(None);
    let nonce = trailers(&[Trailer::Nonce([7; 4])]);
    let sent = bench.call(&[nonce, alternates(&four)].concat());
    let mut expected = vec![(peer().mapped, Local::Primary)];
    expected.extend(four.map(|text| (endpoint(text), Local::Primary)));
    expected.push((peer_server(), Local::Primary));
    assert_eq!(ways(&sent), expected);
    assert!(sent[..5].iter().all(|sent| sent.trailers().nonce == Some([7; 4])));
    assert!(sent[..5].iter().all(|sent| sent.trailers().alternates.is_none()));
    assert!(sent[5].trailers().alternates.is_some());
    // They replace those named before.
    bench.wait_s(1.0);
    let sent = bench.call(&alternates(&["10.9.9.9:9"]));
    assert!(sent.iter().all(|sent| !sent.is_to(endpoint("10.0.0.1:1"))));
    assert!(sent.iter().any(|sent| sent.is_to(endpoint("10.9.9.9:9"))));
}

//= X-HP-04: a trailer of impossible length drops the bubble
#[test]
fn impossible_lengths_drop_the_bubble() {
    for len in 0..=30_u8 {
        let mut bench = bench(None);
        let mut indirect = indirect_bubble(peer().mapped, peer_address(), bench.own());
        indirect.extend([3, len]);
        indirect.extend((0..len).map(|byte| byte + 1));
        if matches!(len, 8 | 14 | 20 | 26) {
            assert_eq!(bench.inject(server(), &indirect), Inbound::Consumed);
        } else {
            assert_eq!(bench.inject_dropped(server(), &indirect), DropReason::BadAlternates);
            assert_eq!(bench.take(), []);
        }
    }
}

//= X-HP-08, P-WIRE-16: endpoints that nobody has, and our own, are skipped
#[test]
fn impossible_endpoints_are_skipped() {
    for text in [
        "224.0.0.1:1",
        "255.255.255.255:1",
        "127.0.0.1:1",
        "0.1.2.3:1",
        "10.0.0.1:0",
        "192.168.1.2:7",
        "192.0.2.1:4096",
    ] {
        let sent = bench(None).call(&alternates(&[text]));
        assert_eq!(sent.len(), 2, "{text}");
    }
}

//= X-HP-06: a private endpoint becomes the one to use by our nonce, and not without
#[test]
fn a_private_endpoint_is_proven_by_the_nonce() {
    let private = endpoint("192.168.1.3:40000");
    let mut bench = bench(None);
    let ours = nonce_of(&bench.begin());
    let unproven = Inbound::Dropped(DropReason::UnprovenPeer);
    assert_eq!(bench.meet(Local::Primary, private, Some([1; 4])), unproven);
    assert_eq!(bench.meet(Local::Primary, private, Some(ours)), Inbound::Consumed);
    bench.call(&trailers(&[Trailer::Nonce([7; 4])]));
    assert_eq!(bench.way(), Some((private, Local::Primary)));
}
