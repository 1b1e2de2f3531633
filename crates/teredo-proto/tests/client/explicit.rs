//! Explicit mappings (RFC 6081 section 5.3; protocol section 3.8.2).

use teredo_proto::DropReason;
use teredo_proto::client::{Config, Traversal};
use teredo_proto::portmap::{Event as Mapper, Failure};
use teredo_proto::role::{NatKind, State};

use crate::bytes::{Advertisement, endpoint};
use crate::harness::{Bench, config, kinds, mapped, secondary, server};

fn granted(bench: &mut Bench, external: &str) {
    let now = bench.now;
    bench.client.take_port_mapping(now, &Mapper::Mapped(endpoint(external)));
}

//= X-UPNP-05: a granted mapping is there, address and port
//= X-UPNP-06: behind a single NAT it is no further address; the mapping itself stays known
#[test]
fn a_mapping_that_the_server_sees_is_no_further_address() {
    let mut bench = Bench::qualified();
    assert_eq!(bench.client.explicit_mapping(), None);
    granted(&mut bench, "192.0.2.1:4096");
    assert_eq!(bench.client.explicit_mapping(), Some(mapped()));
    assert_eq!(bench.client.alternate_mapping(), None);
    assert!(bench.take().is_empty(), "nothing to find out");
}

#[test]
fn behind_two_nats_the_mapping_is_a_further_address_and_the_embedded_one_stays() {
    let mut bench = Bench::qualified();
    let own = bench.own();
    granted(&mut bench, "192.168.7.1:40000");
    assert!(bench.peek().iter().any(|sent| sent.is_solicitation() && sent.is_to(server())));
    bench.answer(server(), mapped());
    bench.answer(secondary(), mapped());
    assert_eq!(bench.own(), own);
    assert_eq!(bench.client.alternate_mapping(), Some(endpoint("192.168.7.1:40000")));
    granted(&mut bench, "192.168.7.1:40000");
    bench.take();
    bench.wait_s(1.0);
    assert!(bench.take().is_empty(), "asked once for each mapping");
}

#[test]
fn a_nat_that_uses_the_mapping_gives_the_address_of_it() {
    let mut bench = Bench::qualified();
    granted(&mut bench, "192.0.2.1:40000");
    bench.answer(server(), endpoint("192.0.2.1:40000"));
    assert_eq!(bench.client.mapped(), Some(endpoint("192.0.2.1:40000")));
    bench.answer(secondary(), endpoint("192.0.2.1:40000"));
    assert_eq!(bench.client.nat_kind(), NatKind::EndpointIndependent);
    assert_eq!(bench.client.alternate_mapping(), None);
}

//= X-PCP-01: a mapping that comes while the server is asked delays nothing; M1 = M2 = assigned
#[test]
fn a_mapping_that_comes_during_qualification_delays_nothing() {
    let mut bench = Bench::started(config());
    granted(&mut bench, "192.0.2.1:40000");
    bench.answer(server(), mapped());
    assert_eq!(bench.client.state(), State::Qualified);
    // What the primary address saw was the mapping from before.
    bench.answer(server(), endpoint("192.0.2.1:40000"));
    bench.answer(secondary(), endpoint("192.0.2.1:40000"));
    assert_eq!(kinds(&bench.events()), [NatKind::EndpointIndependent]);
    assert_eq!(bench.client.mapped(), bench.client.explicit_mapping());
}

#[test]
fn a_mapping_takes_the_client_out_of_the_shadow_of_a_symmetric_nat() {
    let mut bench = Bench::started(Config { traversal: Traversal::NONE, ..config() });
    bench.answer(server(), mapped());
    bench.answer(secondary(), endpoint("192.0.2.1:4097"));
    assert!(matches!(bench.client.state(), State::Offline(_)));
    granted(&mut bench, "192.0.2.1:40000");
    assert_eq!(bench.client.state(), State::Probe);
    bench.answer(server(), endpoint("192.0.2.1:40000"));
    assert_eq!(bench.client.state(), State::Qualified);
}

//= X-UPNP-03: without a mapping the client goes on as it was
#[test]
fn failure_changes_nothing_and_loss_is_looked_into() {
    let mut bench = Bench::qualified();
    let now = bench.now;
    bench.client.take_port_mapping(now, &Mapper::Unmapped(Failure::NoResources));
    assert!(bench.take().is_empty());
    granted(&mut bench, "192.0.2.1:4096");
    bench.client.take_port_mapping(now, &Mapper::Unmapped(Failure::NoAnswer));
    assert_eq!(bench.client.explicit_mapping(), None);
    assert!(bench.peek().iter().any(|sent| sent.is_solicitation() && sent.is_to(server())));
    bench.answer(server(), mapped());
    assert_eq!(bench.client.state(), State::Qualified);
}

#[test]
fn a_gateway_that_restarted_makes_the_client_look_at_once() {
    let mut bench = Bench::qualified();
    let now = bench.now;
    bench.client.take_port_mapping(now, &Mapper::GatewayRestarted);
    bench.answer(server(), endpoint("192.0.2.1:5000"));
    assert_eq!(bench.client.mapped(), Some(endpoint("192.0.2.1:5000")));
    assert!(bench.peek().iter().any(|sent| sent.is_to(secondary())), "compared anew");
}

/// The gateway lost the mapping and granted it again while the server was asked what came of that:
/// the answer is one of before, and the secondary address would seem to see another NAT.
#[test]
fn a_mapping_that_comes_back_while_the_server_is_asked_makes_the_client_ask_again() {
    let mut bench = Bench::qualified();
    granted(&mut bench, "192.0.2.1:4096");
    bench.client.take_port_mapping(bench.now, &Mapper::Unmapped(Failure::NoAnswer));
    let of_before = bench.nonce(server());
    bench.wait_s(0.02);
    granted(&mut bench, "192.0.2.1:4096");
    assert_ne!(bench.nonce(server()), of_before, "asked again");
    let seen = Some(endpoint("192.0.2.1:5000"));
    let stale = Advertisement { origin: seen, ..Advertisement::new(of_before) };
    assert_eq!(bench.inject_dropped(server(), &stale.to_bytes()), DropReason::WrongNonce);
    bench.answer(server(), mapped());
    bench.answer(secondary(), mapped());
    assert_eq!(bench.client.nat_kind(), NatKind::EndpointIndependent);
    assert_eq!(bench.client.mapped(), Some(mapped()));
}
