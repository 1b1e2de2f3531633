//! The inbound policy (invariant I9): what of it the protocol must not get in the way of, and what
//! it must not lead to.

use core::net::Ipv6Addr;

use teredo_proto::client::Config;
use teredo_proto::{DropReason, Inbound, Outbound, Policy, Role};
use teredo_wire::TeredoAddress;

use crate::bytes::{bubble, echo_reply, endpoint, icmpv6, indirect_bubble, packet, udp};
use crate::harness::{Bench, NATIVE, config, peer, peer_address, relay, server};

/// A qualified client with the default policy, which needs no refresh for days.
fn guarded() -> Bench {
    allowing("")
}

fn allowing(rules: &str) -> Bench {
    let rules = rules.split_whitespace().map(|rule| rule.parse().unwrap()).collect();
    let refresh_interval = core::time::Duration::from_secs(1_000_000);
    Bench::qualified_with(Config {
        policy: Policy::new(rules).unwrap(),
        refresh_interval,
        ..config()
    })
}

fn tcp(source: Ipv6Addr, destination: Ipv6Addr, ports: [u16; 2], flags: u8) -> Vec<u8> {
    let [from, to] = ports.map(u16::to_be_bytes);
    let segment = [&from[..], &to, &[0; 8], &[0x50, flags, 1, 0, 0, 0, 0, 0]].concat();
    packet(source, destination, 6, 64, &segment)
}

const SYN: u8 = 2;
const RST: u8 = 4;
const SYN_ACK: u8 = 18;
const ACK: u8 = 16;

fn delivered(packet: &[u8]) -> Inbound {
    Inbound::Deliver(0..packet.len())
}

/// Packets that open something, for the client.
fn unsolicited(source: Ipv6Addr, own: Ipv6Addr) -> [Vec<u8>; 4] {
    [
        tcp(source, own, [4000, 22], SYN),
        udp(source, own, b"knock"),
        icmpv6(source, own, 128, &[0, 1, 0, 1, 9, 9]),
        packet(source, own, 50, 64, &[0; 20]),
    ]
}

//= API-77, SEC-11, T-17: from proven peers, from proven strangers, from native strangers
//= SEC-05: and a refusal answers nothing and remembers nothing
#[test]
fn a_default_client_delivers_nothing_unsolicited() {
    let mut bench = guarded();
    let own = bench.own();
    bench.befriend(&peer());
    let mapped = endpoint("192.0.2.66:5000");
    let stranger = TeredoAddress { mapped, ..peer() }.to_ipv6();
    bench.wait_s(60.0);
    bench.take();
    let before = bench.state_digest();
    for (source, from) in [
        (peer_address(), peer().mapped),
        (stranger, mapped),
        (NATIVE, relay()),
        (NATIVE, server()),
        (peer_address(), mapped),
    ] {
        for packet in unsolicited(source, own) {
            assert_eq!(bench.inject_dropped(from, &packet), DropReason::Unsolicited);
        }
        let error = icmpv6(source, own, 1, &[0; 60]);
        assert_eq!(bench.inject_dropped(from, &error), DropReason::UnsolicitedError);
        let part = packet(source, own, 44, 64, &[17, 0, 0, 8, 0, 0, 0, 1, 0, 0]);
        assert_eq!(bench.inject_dropped(from, &part), DropReason::UnsolicitedFragment);
    }
    assert_eq!(bench.take(), []);
    assert_eq!(bench.events(), []);
    assert!(bench.state_digest() == before);
    assert_eq!(bench.client.counters().delivered, 0);
}

//= API-77: what the stack sent may be answered, through the whole protocol, by peer and native host
#[test]
fn what_was_sent_may_be_answered() {
    let mut bench = guarded();
    let own = bench.own();
    assert_eq!(bench.send(&tcp(own, peer_address(), [5000, 80], SYN)), Outbound::Queued);
    bench.befriend(&peer());
    let answer = tcp(peer_address(), own, [80, 5000], SYN_ACK);
    assert_eq!(bench.inject(peer().mapped, &answer), delivered(&answer));
    let other = tcp(peer_address(), own, [81, 5000], SYN_ACK);
    assert_eq!(bench.inject_dropped(peer().mapped, &other), DropReason::Unsolicited);

    bench.befriend_native(); // the stack writes to port 9 of it, from port 9
    let answer = udp(NATIVE, own, b"answer");
    assert_eq!(bench.inject(relay(), &answer), delivered(&answer));
    let echo = icmpv6(NATIVE, own, 129, &[0, 1, 0, 1, 9, 9]);
    assert_eq!(bench.inject_dropped(relay(), &echo), DropReason::Unsolicited);
    let request = icmpv6(own, NATIVE, 128, &[0, 1, 0, 1, 9, 9]);
    assert!(matches!(bench.send(&request), Outbound::Send { .. }));
    assert_eq!(bench.inject(relay(), &echo), delivered(&echo));
}

//= API-77: the tests and bubbles of Teredo itself need no rule
#[test]
fn the_protocol_itself_needs_no_rule() {
    let mut bench = guarded();
    let own = bench.own();
    let direct = bubble(peer_address(), own);
    assert_eq!(bench.inject(peer().mapped, &direct), Inbound::Consumed);
    let indirect = indirect_bubble(peer().mapped, peer_address(), own);
    assert_eq!(bench.inject(server(), &indirect), Inbound::Consumed);
    assert!(bench.take().iter().any(|sent| sent.is_to(peer().mapped)));
    // The reply to our own request is not the stack's, the second time neither.
    assert_eq!(bench.send(&udp(own, NATIVE, b"x")), Outbound::Queued);
    let request = bench.take().pop().unwrap();
    let reply = echo_reply(request.datagram().1);
    for _ in 0..2 {
        assert_eq!(bench.inject(relay(), &reply), Inbound::Consumed);
    }
    assert_eq!(bench.client.counters().dropped_total(), 0);
}

//= API-77: an allowed packet of a native stranger is held for the test like any other
#[test]
fn what_is_allowed_takes_the_usual_way() {
    let mut bench = allowing("tcp/22@2001:db8::/32");
    let own = bench.own();
    let syn = tcp(NATIVE, own, [4000, 22], SYN);
    assert_eq!(bench.inject(relay(), &syn), Inbound::Consumed);
    let refused = tcp(NATIVE, own, [4000, 23], SYN);
    assert_eq!(bench.inject_dropped(relay(), &refused), DropReason::Unsolicited);
    let sent = bench.take();
    assert_eq!(sent.len(), 1, "one test");
    assert_eq!(bench.inject(relay(), &echo_reply(sent[0].datagram().1)), Inbound::Consumed);
    assert_eq!(bench.take(), [crate::harness::Sent::Packet(syn.clone())]);
    assert_eq!(bench.inject(relay(), &syn), delivered(&syn));
    let elsewhere = tcp(peer_address(), own, [4000, 22], SYN);
    assert_eq!(bench.inject_dropped(peer().mapped, &elsewhere), DropReason::Unsolicited);
}

//= API-77: an error of a router on the way comes in at once, from the relay that carries the flow
#[test]
fn errors_of_routers_beyond_the_relay_need_no_test() {
    let mut bench = guarded();
    let own = bench.own();
    bench.befriend_native(); // the stack writes to port 9 of it, from port 9
    let router = Ipv6Addr::from_bits(NATIVE.to_bits() + 1);
    let quoted = udp(own, NATIVE, b"first");
    let too_big = icmpv6(router, own, 2, &[&[0, 0, 5, 0], &quoted[..]].concat());
    let before = bench.state_digest();
    assert_eq!(bench.inject(relay(), &too_big), delivered(&too_big));
    assert_eq!(bench.take(), []);
    assert!(bench.state_digest() == before, "and it proves nothing");
    let elsewhere = endpoint("203.0.113.66:5000");
    assert_eq!(bench.inject(elsewhere, &too_big), Inbound::Consumed, "held");
    assert_eq!(bench.take().len(), 1, "for a test");
}

//= API-77: a packet that is held is held against the policy again when it is proven
#[test]
fn a_held_packet_does_not_outlast_its_rule() {
    let mut bench = allowing("udp");
    let own = bench.own();
    assert_eq!(bench.inject(relay(), &udp(NATIVE, own, b"x")), Inbound::Consumed);
    bench.client.set_policy(Policy::default());
    let request = bench.take().pop().unwrap();
    assert_eq!(bench.inject(relay(), &echo_reply(request.datagram().1)), Inbound::Consumed);
    assert_eq!(bench.take(), []);
    assert_eq!(bench.client.counters().dropped(DropReason::Unsolicited), 1);
}

//= API-77: a forged reset from an unproven endpoint does not reach the flow
#[test]
fn a_forged_packet_does_not_touch_the_flow() {
    let mut bench = guarded();
    let own = bench.own();
    bench.befriend(&peer());
    assert!(matches!(
        bench.send(&tcp(own, peer_address(), [5000, 80], SYN)),
        Outbound::Send { .. }
    ));
    let answer = tcp(peer_address(), own, [80, 5000], SYN_ACK);
    assert_eq!(bench.inject(peer().mapped, &answer), delivered(&answer));
    assert!(matches!(
        bench.send(&tcp(own, peer_address(), [5000, 80], ACK)),
        Outbound::Send { .. }
    ));
    let before = bench.state_digest();
    let reset = tcp(peer_address(), own, [80, 5000], RST);
    let elsewhere = endpoint("192.0.2.66:8192");
    assert_eq!(bench.inject_dropped(elsewhere, &reset), DropReason::UnprovenPeer);
    assert!(bench.state_digest() == before);
    assert_eq!(bench.inject(peer().mapped, &reset), delivered(&reset));
    assert!(bench.state_digest() != before);
}

//= API-77: allowing lasts as long as the rule, at run time
#[test]
fn the_policy_changes_at_run_time() {
    let mut bench = guarded();
    let own = bench.own();
    bench.befriend(&peer());
    let ping = icmpv6(peer_address(), own, 128, &[0, 1, 0, 1]);
    assert_eq!(bench.inject_dropped(peer().mapped, &ping), DropReason::Unsolicited);
    bench.client.set_policy(Policy::new(vec!["echo".parse().unwrap()]).unwrap());
    assert_eq!(bench.inject(peer().mapped, &ping), delivered(&ping));
    bench.client.set_policy(Policy::default());
    assert_eq!(bench.inject_dropped(peer().mapped, &ping), DropReason::Unsolicited);
}

//= SEC-04, SEC-05: a million packets that nobody asked for cost neither memory nor a datagram
#[test]
fn a_flood_of_unsolicited_packets_leaves_no_trace() {
    let mut bench = guarded();
    let own = bench.own();
    bench.befriend(&peer());
    assert!(matches!(bench.send(&udp(own, peer_address(), b"x")), Outbound::Send { .. }));
    let before = bench.state_digest();
    let mut knock = udp(NATIVE, own, b"knock");
    for number in 0..1_000_000_u32 {
        knock[20..24].copy_from_slice(&number.to_be_bytes());
        let _ = bench.inject(relay(), &knock);
    }
    assert_eq!(bench.client.counters().dropped(DropReason::Unsolicited), 1_000_000);
    assert_eq!(bench.take(), []);
    assert!(bench.state_digest() == before);
    let answer = udp(peer_address(), own, b"answer");
    assert_eq!(bench.inject(peer().mapped, &answer), delivered(&answer));
}
