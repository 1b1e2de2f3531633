//! What makes a Router Advertisement valid: one defect at a time.

use core::net::{Ipv4Addr, Ipv6Addr};

use teredo_proto::role::State;
use teredo_proto::{DropReason, Inbound, Role};
use teredo_wire::Malformed;

use crate::bytes::{Advertisement, endpoint, mtu_option, prefix_option};
use crate::harness::{Bench, SECONDARY, SERVER, config, mapped, secondary, server};

/// Injects an answer with a defect, checks that it changes nothing, then that a good one is taken.
fn refused(defect: impl FnOnce(&mut Advertisement)) -> DropReason {
    let mut bench = Bench::started(config());
    let good = Advertisement::new(bench.nonce(server()));
    let mut bad = good.clone();
    defect(&mut bad);
    let before = bench.state_digest();
    let reason = bench.inject_dropped(server(), &bad.to_bytes());
    if reason != DropReason::Refused {
        assert!(bench.state_digest() == before);
    }
    assert_eq!(bench.client.state(), State::Probe);
    assert_eq!(bench.inject(server(), &good.to_bytes()), Inbound::Consumed);
    assert_eq!(bench.client.state(), State::Qualified);
    reason
}

/// Injects a valid if unusual answer and returns the MTU.
fn accepted(change: impl FnOnce(&mut Advertisement)) -> u16 {
    let mut bench = Bench::started(config());
    let mut advertisement = Advertisement::new(bench.nonce(server()));
    change(&mut advertisement);
    assert_eq!(bench.inject(server(), &advertisement.to_bytes()), Inbound::Consumed);
    assert_eq!(bench.client.state(), State::Qualified);
    bench.client.mtu().unwrap()
}

//= C-SEC-01, C-SEC-02, C-SEC-07, T-01: another nonce, or no authentication at all
#[test]
fn the_nonce_must_come_back() {
    for byte in 0..8 {
        let wrong = |ra: &mut Advertisement| ra.nonce.as_mut().unwrap()[byte] ^= 1;
        assert_eq!(refused(wrong), DropReason::WrongNonce);
    }
    assert_eq!(refused(|ra| ra.nonce = None), DropReason::MissingAuthentication);
    assert_eq!(refused(|ra| ra.confirmation = 1), DropReason::Refused);
}

//= C-QUAL-12, C-QUAL-19, P-ADDR-09: an origin, global unicast, port not 0
#[test]
fn a_usable_origin_is_needed() {
    assert_eq!(refused(|ra| ra.origin = None), DropReason::UnusableOrigin);
    let unusable = [
        "192.0.2.1:0",
        "0.0.0.1:1",
        "10.0.0.1:4096",
        "127.0.0.1:4096",
        "169.254.1.1:4096",
        "172.16.0.1:4096",
        "172.31.255.255:4096",
        "192.88.99.1:4096",
        "192.168.255.255:4096",
        "224.0.0.253:3544",
        "255.255.255.255:4096",
        "100.64.0.1:4096",
    ];
    for origin in unusable {
        let reason = refused(|ra| ra.origin = Some(endpoint(origin)));
        assert_eq!(reason, DropReason::UnusableOrigin, "{origin}");
    }
}

//= C-QUAL-13, T-01: the destination is the source of the solicitation
#[test]
fn the_destination_is_where_the_solicitation_came_from() {
    let other = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x8000, 0xffff, 0xffff, 0xffff);
    for destination in [other, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)] {
        assert_eq!(refused(|ra| ra.destination = destination), DropReason::InvalidAdvertisement);
    }
}

//= C-QUAL-14, T-01: exactly one Prefix Information option
#[test]
fn exactly_one_prefix() {
    assert_eq!(refused(|ra| ra.options = mtu_option(1280)), DropReason::UnusablePrefix);
    assert_eq!(refused(|ra| ra.options = Vec::new()), DropReason::UnusablePrefix);
    let two = [prefix_option(SERVER), prefix_option(SERVER)].concat();
    assert_eq!(refused(|ra| ra.options = two), DropReason::UnusablePrefix);
}

//= C-QUAL-15: 2001:0 and the primary's IPv4, 64 bits long, alive
#[test]
fn the_prefix_is_that_of_the_primary_address() {
    let others = [SECONDARY, Ipv4Addr::new(203, 0, 113, 12), Ipv4Addr::UNSPECIFIED];
    for server in others {
        let options = prefix_option(server);
        assert_eq!(refused(|ra| ra.options = options), DropReason::UnusablePrefix);
    }
    let defects: [(usize, u8); 5] = [(2, 63), (2, 65), (16, 0x3f), (17, 0), (19, 1)];
    for (offset, value) in defects {
        let reason = refused(|ra| ra.options[offset] = value);
        assert_eq!(reason, DropReason::UnusablePrefix, "byte {offset} = {value}");
    }
    let valid_shorter_than_preferred = |ra: &mut Advertisement| ra.options[4] = 0x7f;
    assert_eq!(refused(valid_shorter_than_preferred), DropReason::UnusablePrefix);
    assert_eq!(refused(|ra| ra.options[4..12].fill(0)), DropReason::UnusablePrefix);
}

//= C-QUAL-15: also in the answer of the secondary
#[test]
fn the_secondary_advertises_the_prefix_of_the_primary() {
    let mut bench = Bench::started(config());
    bench.answer(server(), mapped());
    let good = Advertisement::new(bench.nonce(secondary()));
    let bad = Advertisement { options: prefix_option(SECONDARY), ..good.clone() };
    assert_eq!(bench.inject_dropped(secondary(), &bad.to_bytes()), DropReason::UnusablePrefix);
    assert_eq!(bench.inject(secondary(), &good.to_bytes()), Inbound::Consumed);
}

//= C-QUAL-16: link-local source, hop limit 255, checksum, code 0, 16 bytes, option lengths
#[test]
fn one_defect_of_neighbor_discovery_each() {
    let invalid = DropReason::InvalidAdvertisement;
    assert_eq!(refused(|ra| ra.source = "2001:db8::1".parse().unwrap()), invalid);
    assert_eq!(refused(|ra| ra.hop_limit = 254), invalid);
    assert_eq!(refused(|ra| ra.code = 1), invalid);
    assert_eq!(refused(|ra| ra.len_max = 15), invalid);
    assert_eq!(refused(|ra| ra.len_max = 8), invalid);
    assert_eq!(refused(|ra| ra.len_max = 7), DropReason::InvalidIcmpv6);
    assert_eq!(refused(|ra| ra.options[1] = 0), invalid);
    assert_eq!(refused(|ra| ra.options[33] = 2), invalid);
    assert_eq!(refused(|ra| ra.options.truncate(31)), invalid);
    assert_eq!(refused(|ra| ra.options.push(1)), invalid);
    for bit in 0..16 {
        assert_eq!(refused(|ra| ra.checksum_error = 1 << bit), DropReason::InvalidIcmpv6);
    }
}

//= C-QUAL-17: unknown options are skipped
#[test]
fn unknown_options_are_skipped() {
    let unknown = [1, 2, 4, 24, 25, 31, 255].map(|kind| [kind, 1, 9, 9, 9, 9, 9, 9]).concat();
    let options = [unknown.clone(), prefix_option(SERVER), unknown].concat();
    assert_eq!(accepted(|ra| ra.options = options), 1280);
}

//= C-QUAL-18, T-01: only from the address that was asked, port 3544
#[test]
fn only_the_address_that_was_asked_may_answer() {
    let mut bench = Bench::started(config());
    let answer = Advertisement::new(bench.nonce(server())).to_bytes();
    for from in [secondary(), endpoint("203.0.113.10:3545"), endpoint("203.0.113.99:3544")] {
        let reason = bench.inject_dropped(from, &answer);
        assert_eq!(reason, DropReason::UnsolicitedAdvertisement);
    }
}

//= C-QUAL-20: MTU from 1280 up honoured, smaller refused, none is 1280
#[test]
fn the_mtu_option() {
    let with = |mtu| [prefix_option(SERVER), mtu_option(mtu)].concat();
    assert_eq!(accepted(|ra| ra.options = prefix_option(SERVER)), 1280);
    assert_eq!(accepted(|ra| ra.options = with(1280)), 1280);
    assert_eq!(accepted(|ra| ra.options = with(1400)), 1400);
    // More than an IPv4 path carries unfragmented is used up to what one transmission holds.
    assert_eq!(accepted(|ra| ra.options = with(65_535)), 1500);
    for mtu in [0, 1279, 65_536, u32::MAX] {
        assert_eq!(refused(|ra| ra.options = with(mtu)), DropReason::UnusableMtu, "{mtu}");
    }
}

//= C-QUAL-22: router lifetime 0 will do, and so will any
#[test]
fn the_router_lifetime_does_not_matter() {
    accepted(|ra| ra.router_lifetime_s = 0);
    accepted(|ra| ra.router_lifetime_s = 9000);
}

#[test]
fn the_flags_of_the_prefix_do_not_matter() {
    for flags in [0, 0x40, 0x80, 0xc0] {
        accepted(|ra| ra.options[3] = flags);
    }
}

//= P-WIRE-06: a datagram one byte short is dropped, one byte longer is taken
#[test]
fn an_answer_cut_by_one_byte_is_malformed() {
    let mut bench = Bench::started(config());
    let mut answer = Advertisement::new(bench.nonce(server())).to_bytes();
    let cut = &answer[..answer.len() - 1];
    assert_eq!(
        bench.inject_dropped(server(), cut),
        DropReason::Malformed(Malformed::TruncatedIpv6Payload)
    );
    answer.push(0);
    assert_eq!(bench.inject(server(), &answer), Inbound::Consumed);
    assert_eq!(bench.client.counters().dropped_total(), 1);
}
