//! The host-specific relay (RFC 4380 sections 5.4 and 5.5).

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddrV4};

use teredo_proto::relay::{Relay, Scope};
use teredo_proto::{DropReason, Inbound, Outbound, Policy, Role};
use teredo_wire::Ipv6;
use teredo_wire::ipv6::next_header;

use crate::packets::*;
use crate::relay_transmission::{SERVER_AT, connect, data, direct, relay_with};
use crate::server_acceptance::server;

const OTHER_HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 6, 0, 0, 0, 0, 3);

fn host_relay() -> Relay {
    relay_with(|config| {
        config.scope = Scope::Host { own: vec![NATIVE] };
        config.policy = Policy::everything();
    })
}

//= R-HOST-01: it serves this host, as source and as destination, and nobody else
#[test]
fn it_serves_its_own_host_only() {
    let mut relay = host_relay();
    let foreign = udp(OTHER_HOST, client(), &[]);
    let refused = relay.handle_packet(ms(0), &foreign);
    assert_eq!(refused, Outbound::Dropped(DropReason::NotServed));
    connect(&mut relay, ms(0));
    let own = udp(client(), NATIVE, &[]);
    assert_eq!(put(&mut relay, ms(1), CLIENT_AT, &own), Inbound::Deliver(0..own.len()));
    let foreign = udp(client(), OTHER_HOST, &[]);
    let refused = put(&mut relay, ms(1), CLIENT_AT, &foreign);
    assert_eq!(refused, Inbound::Dropped(DropReason::NotServed));
}

//= R-HOST-03: without a native address it serves nobody, with one it serves again
#[test]
fn it_stops_when_the_host_has_no_address() {
    let mut relay = host_relay();
    connect(&mut relay, ms(0));
    relay.set_scope(Scope::Host { own: vec![] });
    assert_eq!(relay.handle_packet(ms(1), &data(1)), Outbound::Dropped(DropReason::NotServed));
    let own = udp(client(), NATIVE, &[]);
    let refused = put(&mut relay, ms(1), CLIENT_AT, &own);
    assert_eq!(refused, Inbound::Dropped(DropReason::NotServed));
    let too_big = relay.handle_packet(ms(1), &udp(NATIVE, client(), &[0; 1300]));
    assert_eq!(too_big, Outbound::Dropped(DropReason::NotServed));
    assert!(drain(&mut relay).is_empty());
    relay.set_scope(Scope::Host { own: vec![NATIVE] });
    assert_eq!(relay.handle_packet(ms(2), &data(1)), direct());
}

/// A packet of these ports and TCP flags.
fn tcp(source: Ipv6Addr, destination: Ipv6Addr, ports: [u16; 2], flags: u8) -> Vec<u8> {
    let [from, to] = ports.map(u16::to_be_bytes);
    let segment = [&from[..], &to, &[0; 8], &[0x50, flags, 1, 0, 0, 0, 0, 0]].concat();
    packet(source, destination, next_header::TCP, &segment)
}

const SYN: u8 = 2;
const SYN_ACK: u8 = 18;

//= API-77, SEC-11: its host is protected as a client is: answers come in, and what is allowed
#[test]
fn it_refuses_what_its_host_did_not_ask_for() {
    let mut relay = relay_with(|config| config.scope = Scope::Host { own: vec![NATIVE] });
    let syn = tcp(client(), NATIVE, [4000, 22], SYN);
    assert_eq!(put(&mut relay, ms(0), CLIENT_AT, &syn), Inbound::Dropped(DropReason::UnknownPeer));
    // The client's connectivity test came natively; the host's reply makes the relay seek it.
    let reply = echo_reply(NATIVE, client(), &[1; 16]);
    assert_eq!(relay.handle_packet(ms(0), &reply), Outbound::Queued);
    drain(&mut relay);
    // Also it proves nothing.
    let (refused, sent) = exchange(&mut relay, ms(1), CLIENT_AT, &syn);
    assert_eq!((refused, sent), (Inbound::Dropped(DropReason::Unsolicited), vec![]));
    let (_, flushed) = exchange(&mut relay, ms(1), CLIENT_AT, &bubble(client(), LINK_LOCAL));
    assert_eq!(flushed, [datagram(CLIENT_AT, reply)]);
    for unsolicited in [&syn, &udp(client(), NATIVE, &[0; 9]), &echo(client(), NATIVE, &[1; 16])] {
        let (inbound, sent) = exchange(&mut relay, ms(2), CLIENT_AT, unsolicited);
        assert_eq!(inbound, Inbound::Dropped(DropReason::Unsolicited));
        assert_eq!(sent, []);
    }
    relay.set_policy(Policy::new(vec!["tcp/22".parse().unwrap()]).unwrap());
    assert_eq!(put(&mut relay, ms(3), CLIENT_AT, &syn), Inbound::Deliver(0..syn.len()));
    relay.set_policy(Policy::default());
    assert_eq!(relay.handle_packet(ms(4), &tcp(NATIVE, client(), [5000, 80], SYN)), direct());
    let answer = tcp(client(), NATIVE, [80, 5000], SYN_ACK);
    assert_eq!(put(&mut relay, ms(5), CLIENT_AT, &answer), Inbound::Deliver(0..answer.len()));
}

//= API-77: a relay for others is no firewall: the policy is not its own to have
#[test]
fn a_relay_for_others_refuses_nothing() {
    let mut relay = relay_with(|config| config.policy = Policy::default());
    connect(&mut relay, ms(0));
    let syn = tcp(client(), NATIVE, [4000, 22], SYN);
    assert_eq!(put(&mut relay, ms(1), CLIENT_AT, &syn), Inbound::Deliver(0..syn.len()));
}

/// What a NAT lets in, of those endpoints that were written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filtering {
    Cone,
    AddressRestricted,
    PortRestricted,
}

/// A NAT with one mapping and one kind of filtering.
struct Nat {
    filtering: Filtering,
    written_to: BTreeSet<SocketAddrV4>,
}

impl Nat {
    fn new(filtering: Filtering) -> Self {
        Self { filtering, written_to: BTreeSet::new() }
    }

    fn lets_in(&self, from: SocketAddrV4) -> bool {
        match self.filtering {
            Filtering::Cone => true,
            Filtering::AddressRestricted => self.written_to.iter().any(|to| to.ip() == from.ip()),
            Filtering::PortRestricted => self.written_to.contains(&from),
        }
    }
}

//= R-HOST-04, R-BUB-02: through every pair of cone, address- and port-restricted NATs
#[test]
fn it_works_behind_every_nat_kind() {
    use Filtering::{AddressRestricted, Cone, PortRestricted};
    for ours in [Cone, AddressRestricted, PortRestricted] {
        for theirs in [Cone, AddressRestricted, PortRestricted] {
            assert!(meets(ours, theirs), "{ours:?} and {theirs:?}");
        }
    }
}

/// Whether a packet of the host arrives at a client, through a NAT on either side and a server. The
/// client does what RFC 4380 section 5.2.3 has it do with a relay's bubble: answer to its origin.
fn meets(ours: Filtering, theirs: Filtering) -> bool {
    let relay_mapped = endpoint("203.0.113.102:40000");
    let (mut our_nat, mut their_nat) = (Nat::new(ours), Nat::new(theirs));
    their_nat.written_to.insert(SERVER_AT);
    let mut relay = relay_with(|config| {
        config.service = endpoint("192.168.2.2:3545");
        config.scope = Scope::Host { own: vec![NATIVE] };
    });
    let mut server = server();
    assert_eq!(relay.handle_packet(ms(0), &data(0)), Outbound::Queued);

    let mut from_relay = drain(&mut relay);
    while let Some(Sent::Datagram { to, payload, .. }) = from_relay.pop() {
        our_nat.written_to.insert(to);
        if to == CLIENT_AT && payload == data(0) {
            return their_nat.lets_in(relay_mapped);
        }
        if to != SERVER_AT {
            continue;
        }
        let (_, forwarded) = exchange(&mut server, ms(10), relay_mapped, &payload);
        assert_eq!(forwarded, [datagram(CLIENT_AT, with_origin(relay_mapped, &payload))]);
        assert!(their_nat.lets_in(SERVER_AT));
        their_nat.written_to.insert(relay_mapped);
        // The direct bubble leaves a moment after the indirect one, long before the answer.
        our_nat.written_to.extend(from_relay.iter().filter_map(|sent| match sent {
            Sent::Datagram { to, .. } => Some(*to),
            Sent::Packet(_) => None,
        }));
        if our_nat.lets_in(CLIENT_AT) {
            let source = Ipv6::parse(&payload).unwrap().0.source();
            let answer = bubble(client(), source);
            from_relay.extend(exchange(&mut relay, ms(20), CLIENT_AT, &answer).1);
        }
    }
    false
}
