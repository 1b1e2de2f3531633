//! Several external addresses (protocol section 6.4, L).

use core::net::{Ipv4Addr, SocketAddrV4};

use teredo_proto::client::{Config, Traversal};
use teredo_proto::{Event, Inbound, Local, Role};
use teredo_wire::trailer::{Alternates, Trailer};

use crate::bytes::{Advertisement, trailers};
use crate::harness::{Bench, Sent, config, mapped, peer, peer_server, secondary, server};

/// A NAT that has taken these addresses for the service port.
fn bench(traversal: Traversal) -> Bench {
    let local_address = Some(Ipv4Addr::new(192, 168, 1, 2));
    let config = Config { traversal, local_address, ..config() };
    let mut bench = Bench::started(Config {
        refresh_interval: core::time::Duration::from_secs(1_000_000),
        ..config
    });
    bench.answer(server(), mapped());
    bench.answer(secondary(), address(2));
    bench
}

/// An endpoint at one of the addresses of the pool.
fn address(number: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, number), 7_000)
}

/// Has the ports that the client asks for seen at these addresses, in turns, until it asks for no
/// more; returns how many ports there were.
fn learn(bench: &mut Bench, addresses: &[u8]) -> usize {
    let mut turns = addresses.iter().cycle();
    let (mut ports, mut sent) = (0, Vec::new());
    loop {
        let mut is_over = true;
        for event in bench.events() {
            if let Event::BindPort(local) = event {
                ports += 1;
                is_over = false;
                bench.client.handle_bound(bench.now, local, Some(50_000 + ports));
            }
        }
        sent.extend(bench.take());
        for solicitation in core::mem::take(&mut sent) {
            let (to, _) = solicitation.datagram();
            if !solicitation.is_solicitation() || solicitation.via() == Local::Primary {
                continue;
            }
            let nonce = solicitation.parsed().authentication.unwrap().nonce;
            let origin = Some(address(*turns.next().unwrap()));
            let bytes = Advertisement { origin, ..Advertisement::new(nonce) }.to_bytes();
            let taken = bench.inject_on(solicitation.via(), to, &bytes);
            assert_eq!(taken, Inbound::Consumed);
        }
        if is_over {
            return ports.into();
        }
        bench.wait_s(0.25);
    }
}

fn alternates(sent: &[Sent]) -> Vec<SocketAddrV4> {
    let indirect = sent.iter().find(|sent| sent.is_to(peer_server())).expect("an indirect bubble");
    indirect.trailers().alternates.map_or(Vec::new(), |it| it.endpoints().collect())
}

#[test]
fn what_the_server_sees_is_named_after_the_local_address() {
    let mut bench = bench(Traversal::default());
    learn(&mut bench, &[1, 2, 3, 4]);
    let named = alternates(&bench.begin());
    let others = [2, 3, 4].map(|number| SocketAddrV4::new(*address(number).ip(), mapped().port()));
    assert_eq!(named[0].ip(), &Ipv4Addr::new(192, 168, 1, 2));
    assert_eq!(named[1..], others);
}

#[test]
fn learning_ends_when_enough_was_seen() {
    assert_eq!(learn(&mut bench(Traversal::default()), &[1, 2]), 16);
    for (addresses, ports) in [(9, 32), (200, 8)] {
        let all: Vec<u8> = (1..=addresses).collect();
        assert_eq!(learn(&mut bench(Traversal::default()), &all), ports, "{addresses}");
    }
    for traversal in [Traversal { address_pool: false, ..Traversal::ALL }, Traversal::RFC6081] {
        let mut bench = bench(traversal);
        assert_eq!(learn(&mut bench, &[1, 2]), 0);
        assert_eq!(alternates(&bench.begin()).len(), 1);
    }
}

/// Three fit beside the local one.
#[test]
fn what_does_not_fit_is_named_the_next_time() {
    let mut bench = bench(Traversal::default());
    learn(&mut bench, &[1, 2, 3, 4, 5, 6]);
    let mut named = alternates(&bench.begin());
    assert_eq!(named.len(), Alternates::MAX);
    bench.wait_s(2.0);
    named.extend(alternates(&bench.take()));
    for number in 2..=6 {
        assert!(named.iter().any(|it| it.ip() == address(number).ip()), "{number} {named:?}");
    }
}

/// A server that does not answer, and a host without ports, end it too; nothing is left open.
#[test]
fn silence_is_no_reason_to_wait() {
    let mut bench = bench(Traversal::default());
    let sent = bench.begin();
    assert!(sent.iter().all(|it| !it.is_to(peer_server())), "the first addresses come first");
    let mut open = 0;
    for _ in 0..40 {
        for event in bench.events() {
            if let Event::BindPort(local) = event {
                let port = (open % 2 == 0).then_some(50_000);
                open += 1;
                bench.client.handle_bound(bench.now, local, port);
            } else if let Event::ReleasePort(_) = event {
                open = 0;
            }
        }
        bench.wait_s(0.25);
    }
    assert!(bench.take().iter().any(|sent| sent.is_to(peer_server())));
    assert_eq!(bench.events(), []);
}

/// A peer that names addresses which we have not sent to is called at once: it is to try again.
#[test]
fn new_addresses_of_the_peer_are_worth_another_call() {
    let mut bench = Bench::quiet();
    bench.begin();
    let pool = [SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 77), 8_192)];
    let named = trailers(&[Trailer::Nonce([1; 4])]);
    let is_called = |sent: &[Sent]| sent.iter().any(|sent| sent.is_to(peer_server()));
    assert!(!is_called(&bench.call(&named)), "not twice in a second");
    let mut named = named;
    let mut buffer = [0; 64];
    let mut writer = teredo_wire::Writer::new(&mut buffer);
    Alternates::write(&mut writer, &pool).unwrap();
    named.extend(writer.written());
    let sent = bench.call(&named);
    assert!(is_called(&sent));
    assert!(sent.iter().any(|sent| sent.is_to(pool[0])));
    bench.wait_s(1.0);
    bench.take();
    assert!(sent.iter().any(|sent| sent.is_to(peer().mapped)));
}
