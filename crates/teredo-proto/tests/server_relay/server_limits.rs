//! How much a server does for others.

use std::net::{Ipv4Addr, SocketAddrV4};

use teredo_proto::server::{Config, Server};
use teredo_proto::{DropReason, Inbound, Rate, Role};

use crate::packets::*;
use crate::server_acceptance::{server, server_with, solicitation};

/// Answers that `count` solicitations from this address get, from as many ports, at one moment.
fn answers(server: &mut Server, millis: u64, address: Ipv4Addr, count: u16) -> usize {
    let ask = |port| {
        let from = SocketAddrV4::new(address, port);
        exchange(server, ms(millis), from, &solicitation()).1.len()
    };
    (1..=count).map(ask).sum()
}

//= S-RS-14, T-12: one answer each, and 1,024 at once and 256 a second for one address
#[test]
fn one_address_gets_its_share() {
    let mut server = server();
    let flooder = v4("192.0.2.1");
    assert_eq!(answers(&mut server, 0, flooder, 1), 1);
    assert_eq!(answers(&mut server, 0, flooder, 2000), 1023);
    assert_eq!(answers(&mut server, 500, flooder, 2000), 128);
    assert_eq!(answers(&mut server, 500, v4("198.51.100.1"), 9), 9);
    assert_eq!(server.counters().dropped(DropReason::RateLimit), 2000 - 1023 + 2000 - 128);
    assert_eq!(server.counters().advertisements_sent, 1024 + 128 + 9);
}

//= S-RS-14, T-12: four times as many for a /24
#[test]
fn one_prefix_gets_its_share() {
    let mut server = server();
    let all: usize =
        (1..=100).map(|host| answers(&mut server, 0, Ipv4Addr::new(192, 0, 2, host), 100)).sum();
    assert_eq!(all, 4096);
    assert_eq!(answers(&mut server, 0, v4("198.51.100.1"), 100), 100);
}

//= S-RS-14, T-12: and a limit for everybody together
#[test]
fn all_together_get_their_share() {
    let mut server = server_with(|config| {
        config.limits.answers.total = Rate { per_s: 10, burst: 50 };
    });
    let mut ask = |millis| -> usize {
        (1..=200).map(|host| answers(&mut server, millis, Ipv4Addr::new(192, 0, 2, host), 1)).sum()
    };
    assert_eq!((ask(0), ask(1000)), (50, 10));
}

//= S-RS-14, T-12: the defaults do not touch 250,000 solicitations a second from 4,096 addresses
#[test]
fn a_large_honest_load_is_not_limited() {
    const ADDRESSES: u32 = 4096;
    let mut server = Server::new(Config::new(v4("8.8.4.4"), None), SEED);
    let solicitation = solicitation();
    for number in 0..250_000_u32 {
        // 1,024 prefixes with 4 addresses each, one after the other.
        let (prefix, host) = (number % 1024, number % ADDRESSES / 1024);
        let address = Ipv4Addr::from_bits((11 << 24) | (prefix << 8) | (host + 1));
        let now = ms(0) + std::time::Duration::from_micros(4) * number;
        let inbound = put(&mut server, now, SocketAddrV4::new(address, 4096), &solicitation);
        assert_eq!(inbound, Inbound::Consumed);
        if number % 64 == 0 {
            drain(&mut server);
        }
    }
    assert_eq!(server.counters().advertisements_sent, 250_000);
}

/// Bubbles and echo requests that are passed on out of `count` of each, at one moment.
fn passed(server: &mut Server, from: SocketAddrV4, count: usize) -> [usize; 2] {
    let source = teredo(OTHER_SERVER, from);
    [bubble(source, client()), echo(source, NATIVE, b"nonce")]
        .map(|payload| (0..count).map(|_| exchange(server, ms(0), from, &payload).1.len()).sum())
}

//= S-FWD-09, T-11, T-13: bubbles and echo tests have limits of their own, by source and by /24
#[test]
fn what_is_passed_on_is_limited() {
    let mut server = server();
    assert_eq!(passed(&mut server, STRANGER_AT, 20_000), [16 * 1024, 1024]);
    assert_eq!(server.counters().dropped(DropReason::RateLimit), 20_000 * 2 - 17 * 1024);
    assert_eq!(answers(&mut server, 0, *STRANGER_AT.ip(), 1), 1, "answers are another matter");

    let neighbours = (100..110).map(|host| {
        let at = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, host), 4096);
        passed(&mut server, at, 2000)
    });
    let [_, echoes] = neighbours.fold([0, 0], |sum, each| [sum[0] + each[0], sum[1] + each[1]]);
    assert_eq!(echoes, 3 * 1024, "of the /24's four");
    assert_eq!(passed(&mut server, CLIENT_AT, 100), [100, 100], "others have theirs");
}

//= T-11, T-13: and there is a limit for everybody together
#[test]
fn what_is_passed_on_for_everybody_is_limited() {
    let mut server = server_with(|config| {
        config.limits.bubbles.total = Rate { per_s: 1, burst: 30 };
        config.limits.echoes.total = Rate { per_s: 1, burst: 20 };
    });
    let of_all = (1..=100).map(|host| {
        passed(&mut server, SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, host), 4096), 1)
    });
    let all = of_all.fold([0, 0], |sum, each| [sum[0] + each[0], sum[1] + each[1]]);
    assert_eq!(all, [30, 20]);
}

//= S-RS-14, T-12: a thousand clients behind one NAT refresh undisturbed for a minute of a flood
#[test]
fn a_carrier_nat_refreshes_undisturbed() {
    let mut server = Server::new(Config::new(v4("8.8.4.4"), None), SEED);
    let nat = v4("9.9.9.9");
    let solicitation = solicitation();
    let mut refused = 0;
    for tick in 0..60_000_u32 {
        let now = ms(u64::from(tick));
        // 5,000 a second from two million addresses, all over the address space.
        for number in 5 * tick..5 * tick + 5 {
            let scattered = number.wrapping_mul(1_229_783) % (1 << 21);
            let from = SocketAddrV4::new(Ipv4Addr::from_bits((11 << 24) + scattered), 4096);
            let _ = put(&mut server, now, from, &solicitation);
        }
        drain(&mut server);
        // Each of the thousand every 30 s.
        if tick % 30 == 0 {
            let from = SocketAddrV4::new(nat, 1024 + (tick / 30 % 1000) as u16);
            refused += usize::from(put(&mut server, now, from, &solicitation) != Inbound::Consumed);
        }
    }
    assert_eq!(refused, 0);
}

//= SEC-10: what is documented: 4 MiB
#[test]
fn memory_is_four_mebibytes() {
    assert!(Config::new(SERVER, Some(SECONDARY)).memory_max() <= 4 << 20);
}

#[test]
fn answers_wait_in_bounded_memory() {
    let mut server = server();
    let asked = answers_without_draining(&mut server, 1000);
    assert_eq!(drain(&mut server).len(), asked);
    assert_eq!(server.counters().dropped(DropReason::QueueFull) as usize, 1000 - asked);
    assert_eq!(answers_without_draining(&mut server, 10), 10);
}

fn answers_without_draining(server: &mut Server, count: usize) -> usize {
    let ask = |_| put(server, ms(0), CLIENT_AT, &solicitation()) == Inbound::Consumed;
    (0..count).map(ask).filter(|&taken| taken).count()
}
