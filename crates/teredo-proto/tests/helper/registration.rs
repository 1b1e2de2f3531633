//! Who is registered, for how long, and what that brings.

use core::time::Duration;

use teredo_proto::{DropReason, Role};
use teredo_wire::address::ALL_ROUTERS;
use teredo_wire::helper::{Frame, Status, link_local};
use teredo_wire::icmpv6::{RouterAdvertisement, write_router_solicitation};
use teredo_wire::{Authentication, Flags, TeredoAddress};

use crate::support::*;

#[test]
fn what_is_for_a_client_comes_to_it_and_what_it_sends_leaves() {
    let mut bench = Bench::new(|_| {});
    let token = bench.token("a", CLIENT);
    let (own, peer) = (address_at(CLIENT), address_at(PEER));
    let packet = data(own, peer, 1280);
    assert_eq!(bench.put(CLIENT, &forward(token, PEER, &packet)), [(PEER, packet)]);
    let packet = data(peer, own, 1280);
    // From anybody, whether or not it has ever been written to.
    for from in [PEER, OTHER, SERVER] {
        assert_eq!(bench.put(from, &packet), [(CLIENT, forward(token, from, &packet))]);
    }
    assert_eq!((bench.helper.counters().sent, bench.helper.counters().delivered), (1, 3));
}

#[test]
fn nothing_is_passed_on_for_a_registration_that_has_ended() {
    let mut bench = Bench::new(|_| {});
    let token = bench.token("a", CLIENT);
    let (own, peer) = (address_at(CLIENT), address_at(PEER));
    let out = forward(token, PEER, &bubble(own, peer));
    bench.wait(Duration::from_secs(119));
    assert_eq!(bench.put(CLIENT, &out).len(), 1);
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.helper.registered(bench.now), 0);
    bench.refuses(CLIENT, &out, DropReason::NotRegistered);
    bench.refuses(PEER, &bubble(peer, own), DropReason::NotServed);
    // Renewed in time it goes on, with the same token.
    let token = bench.token("a", CLIENT);
    for _ in 0..20 {
        bench.wait(Duration::from_secs(100));
        assert_eq!(bench.token("a", CLIENT), token);
    }
}

/// The cookie of one answer serves for the next request: a renewal is one round trip.
#[test]
fn a_renewal_takes_one_round_trip() {
    let mut bench = Bench::new(|_| {});
    let mut cookie = bench.register("a", CLIENT, address_at(CLIENT)).cookie;
    for round in 0..10 {
        bench.wait(Duration::from_secs(30));
        let sent = bench.put(CLIENT, &request("a", [round; 8], cookie, address_at(CLIENT)));
        let answer = answer(&sent, CLIENT);
        assert_eq!((answer.status, answer.nonce), (Status::GRANTED, [round; 8]));
        cookie = answer.cookie;
    }
}

/// One registration for each name: a client that moves takes it along.
#[test]
fn the_latest_registration_of_a_client_counts() {
    let mut bench = Bench::new(|_| {});
    let old = bench.token("a", CLIENT);
    bench.wait(Duration::from_secs(1));
    let new = bench.token("a", OTHER);
    assert_ne!(old, new);
    assert_eq!(bench.helper.registered(bench.now), 1);
    let out = bubble(address_at(CLIENT), address_at(PEER));
    bench.refuses(CLIENT, &forward(old, PEER, &out), DropReason::NotRegistered);
    bench.refuses(PEER, &bubble(address_at(PEER), address_at(CLIENT)), DropReason::NotServed);
    // An endpoint that has gone over to another client is that one's.
    bench.wait(Duration::from_secs(1));
    let _ = bench.token("b", OTHER);
    assert_eq!(bench.helper.registered(bench.now), 1);
    let out = bubble(address_at(OTHER), address_at(PEER));
    bench.refuses(OTHER, &forward(new, PEER, &out), DropReason::NotRegistered);
}

#[test]
fn no_address_has_two_clients() {
    let mut bench = Bench::new(|_| {});
    let address = address_at(CLIENT);
    let _ = bench.token("a", CLIENT);
    assert_eq!(bench.register("b", OTHER, address).status, Status::ADDRESS_IN_USE);
    // Nor has the link-local one that goes with it, whatever the server.
    let parsed = TeredoAddress::parse(address).unwrap();
    let twin = TeredoAddress { server: *PEER.ip(), ..parsed }.to_ipv6();
    assert_eq!(link_local(twin), link_local(address));
    assert_eq!(bench.register("b", OTHER, twin).status, Status::ADDRESS_IN_USE);
    let other = TeredoAddress { flags: Flags::from_random(0x4321), ..parsed }.to_ipv6();
    assert_eq!(bench.register("b", OTHER, other).status, Status::GRANTED);
    // It is free again when the other one has gone.
    bench.wait(Duration::from_secs(121));
    assert_eq!(bench.register("c", PEER, address).status, Status::GRANTED);
}

#[test]
fn a_full_helper_says_so_and_goes_on_with_those_it_has() {
    let mut bench = Bench::new(|config| config.limits.clients_max = 2);
    let [a, b, c] = [CLIENT, OTHER, PEER];
    let _ = (bench.token("a", a), bench.token("b", b));
    assert_eq!(bench.register("c", c, address_at(c)).status, Status::FULL);
    bench.wait(Duration::from_secs(60));
    let _ = bench.token("a", a);
    bench.wait(Duration::from_secs(60));
    assert_eq!(bench.register("c", c, address_at(c)).status, Status::GRANTED);
}

#[test]
fn only_addresses_of_clients_can_be_had() {
    let mut bench = Bench::new(|_| {});
    let cone = address_at(CLIENT).to_bits() | 1 << 63;
    for address in [cone.into(), "2001:db8::1".parse().unwrap(), "fe80::1".parse().unwrap()] {
        assert_eq!(bench.register("a", CLIENT, address).status, Status::UNUSABLE_ADDRESS);
    }
    assert_eq!(bench.helper.registered(bench.now), 0);
}

/// A client that does everything through the helper asks its server from a link-local address that
/// the helper knows it by.
#[test]
fn solicitations_and_their_answers_pass() {
    let mut bench = Bench::new(|_| {});
    let token = bench.token("a", CLIENT);
    let source = link_local(address_at(CLIENT));
    let solicitation = written(|writer| {
        Authentication::nonce_only([1; 8]).write(writer)?;
        write_router_solicitation(writer, source)
    });
    for server in [SERVER, endpoint([13, 0, 0, 1], 3544)] {
        let sent = bench.put(CLIENT, &forward(token, server, &solicitation));
        assert_eq!(sent, [(server, solicitation.clone())]);
        let advertisement = RouterAdvertisement {
            source: "fe80::1".parse().unwrap(),
            destination: source,
            server: *server.ip(),
            mtu: None,
        };
        let advertisement = written(|writer| advertisement.write(writer));
        let frame = forward(token, server, &advertisement);
        assert_eq!(bench.put(server, &advertisement), [(CLIENT, frame)]);
        let elsewhere = endpoint([13, 0, 0, 1], 3546);
        bench.refuses(elsewhere, &advertisement, DropReason::NotServed);
        bench.refuses(CLIENT, &forward(token, elsewhere, &solicitation), DropReason::WrongSource);
    }
    // Nothing else comes from there, and nothing else goes there.
    let others = bubble(source, address_at(PEER));
    bench.refuses(CLIENT, &forward(token, PEER, &others), DropReason::WrongSource);
    bench.refuses(PEER, &bubble(address_at(PEER), source), DropReason::NotServed);
    let multicast = bubble(address_at(CLIENT), ALL_ROUTERS);
    bench.refuses(CLIENT, &forward(token, SERVER, &multicast), DropReason::WrongDestination);
}

#[test]
fn two_clients_of_one_helper_meet_there() {
    let mut bench = Bench::new(|_| {});
    let (a, b) = (bench.token("a", CLIENT), bench.token("b", OTHER));
    let packet = bubble(address_at(CLIENT), address_at(OTHER));
    let sent = bench.put(CLIENT, &forward(a, HELPER, &packet));
    assert_eq!(sent, [(OTHER, forward(b, HELPER, &packet))]);
    let Ok(Frame::Forward(frame)) = Frame::parse(&sent[0].1) else { panic!() };
    assert_eq!(frame.endpoint, HELPER);
    let nobody = bubble(address_at(CLIENT), address_at(PEER));
    bench.refuses(CLIENT, &forward(a, HELPER, &nobody), DropReason::NotServed);
}
