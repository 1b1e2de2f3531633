//! RFC 4380 section 5.2.1: getting an address, or not.

use core::net::Ipv4Addr;
use core::time::Duration;

use teredo_proto::client::{Config, Traversal};
use teredo_proto::role::{NatKind, OfflineReason, State};
use teredo_proto::{DropReason, Event, Inbound, Outbound, Reason, Role};
use teredo_wire::TeredoAddress;
use teredo_wire::address::{ALL_ROUTERS, CLIENT_LINK_LOCAL};

use crate::bytes::{Advertisement, endpoint, udp};
use crate::harness::{Bench, NATIVE, SECONDARY, SERVER, config, kinds, mapped, secondary, server};

//= C-CFG-01, C-CFG-02: made from both server addresses and a service port
//= C-MAINT-03: a refresh interval of 30 s by default
#[test]
fn a_client_is_configured_with_servers_and_a_port() {
    let config = Config::new(SERVER, Some(SECONDARY), 40_000);
    assert_eq!((config.server, config.secondary), (SERVER, Some(SECONDARY)));
    assert_eq!(config.service_port, 40_000);
    assert_eq!(config.refresh_interval, Duration::from_secs(30));
    assert_eq!(Config::new(SERVER, Some(SERVER), 1).secondary, None);
}

//= C-CFG-01: a server address that nothing may be sent to is refused
#[test]
fn a_server_that_is_not_global_is_refused() {
    for address in [Ipv4Addr::new(192, 168, 1, 1), Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST] {
        let mut bench = Bench::started(Config { server: address, ..config() });
        bench.wait(Duration::from_secs(3_600));
        assert_eq!(bench.client.state(), State::Offline(OfflineReason::ForbiddenServer));
        assert_eq!(bench.take(), []);
    }
}

//= C-CFG-01: one that this host's addresses forbid is asked once they do not
#[test]
fn a_server_that_is_forbidden_for_a_while_is_asked_afterwards() {
    let mut config = Config { server: SECONDARY, ..config() };
    // The broadcast address of a subnet that the host is in for now.
    config.filter.subnets = vec!["203.0.113.8/30".parse().unwrap()];
    let mut bench = Bench::started(config);
    assert_eq!(bench.client.state(), State::Offline(OfflineReason::ForbiddenServer));
    bench.client.set_filter(crate::harness::config().filter);
    bench.wait(Duration::from_secs(60));
    assert!(bench.take().iter().any(|sent| sent.is_to(secondary())));
}

//= C-QUAL-01, C-QUAL-02, C-QUAL-03: one solicitation to primary:3544, cone bit 0, to all routers
//= P-ADDR-10: the link-local source embeds nothing global
//= C-SEC-05, C-SEC-07: empty authentication, confirmation 0
#[test]
fn the_first_solicitation_goes_to_the_primary_at_once() {
    let mut bench = Bench::started(config());
    let sent = bench.take();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].is_to(server()));
    let datagram = sent[0].parsed();
    assert_eq!(datagram.ipv6.source(), CLIENT_LINK_LOCAL);
    assert_eq!(datagram.ipv6.source().octets()[8] & 0x80, 0);
    assert_eq!(datagram.ipv6.destination(), ALL_ROUTERS);
    let authentication = datagram.authentication.unwrap();
    assert!(authentication.client_id.is_empty() && authentication.value.is_empty());
    assert_eq!(authentication.confirmation, 0);
    assert_eq!(datagram.origin, None);
}

//= C-QUAL-04, C-QUAL-05: sent at 0, 4 and 8 s, off-line at 12 s
//= C-QUAL-02: none of them with the cone bit
#[test]
fn three_transmissions_four_seconds_apart_then_offline() {
    let mut bench = Bench::started(config());
    let start = bench.now;
    bench.wait_s(11.999);
    assert_eq!(bench.client.state(), State::Probe);
    let sent = bench.take_since(start);
    assert_eq!(sent.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0.0, 4.0, 8.0]);
    assert!(sent.iter().all(|(_, sent)| sent.is_solicitation() && sent.is_to(server())));
    assert!(sent.iter().all(|(_, sent)| sent.parsed().ipv6.source() == CLIENT_LINK_LOCAL));
    bench.wait_s(0.001);
    assert_eq!(bench.client.state(), State::Offline(OfflineReason::NoAnswer));
    assert!(bench.events().contains(&Event::ServerLost));
}

//= C-QUAL-06: the secondary is asked after the primary's answer, cone bit 0
//= C-QUAL-11: the address has the mapping of the primary's answer and the advertised prefix
#[test]
fn qualified_with_the_answer_of_the_primary_then_the_secondary_is_asked() {
    let mut bench = Bench::started(config());
    let start = bench.now;
    bench.answer(server(), mapped());
    assert_eq!(bench.client.state(), State::Qualified);
    assert_eq!(bench.now.since(start), Duration::from_millis(50));
    assert_eq!(bench.client.nat_kind(), NatKind::Unknown);
    let address = bench.own();
    let parsed = TeredoAddress::parse(address).unwrap();
    assert_eq!((parsed.server, parsed.mapped), (SERVER, mapped()));
    let events = bench.events();
    assert_eq!(
        events,
        [
            Event::StateChanged(State::Probe),
            Event::AddressChanged(Some((address, 1280))),
            Event::StateChanged(State::Qualified),
        ]
    );
    let sent = bench.take();
    assert!(sent[1].is_to(secondary()) && sent[1].is_solicitation());
    assert_eq!(sent[1].parsed().ipv6.source(), CLIENT_LINK_LOCAL);
}

//= C-QUAL-08, C-QUAL-27: the kind of NAT comes from comparing both answers
#[test]
fn the_answer_of_the_secondary_sets_the_kind_of_nat() {
    let other_port = endpoint("192.0.2.1:4097");
    let other_address = endpoint("192.0.2.2:4096");
    let expected = [
        (mapped(), NatKind::EndpointIndependent),
        (other_port, NatKind::PortSymmetric),
        (other_address, NatKind::AddressSymmetric),
    ];
    for (second, kind) in expected {
        let mut bench = Bench::started(config());
        bench.answer(server(), mapped());
        bench.answer(secondary(), second);
        assert_eq!(bench.client.nat_kind(), kind);
        assert_eq!(kinds(&bench.events()), [kind]);
    }
}

#[test]
fn without_a_nat_the_mapped_endpoint_is_the_local_one() {
    let mut config = config();
    config.local_address = Some(*mapped().ip());
    config.service_port = mapped().port();
    let bench = Bench::qualified_with(config);
    assert_eq!(bench.client.nat_kind(), NatKind::None);
}

//= C-QUAL-10: a symmetric NAT takes the client off-line without the support of RFC 6081
#[test]
fn a_symmetric_nat_takes_the_client_offline() {
    let mut bench = Bench::started(Config { traversal: Traversal::NONE, ..config() });
    bench.answer(server(), mapped());
    bench.events();
    bench.answer(secondary(), endpoint("192.0.2.1:4097"));
    let offline = State::Offline(OfflineReason::SymmetricNat);
    assert_eq!(bench.client.state(), offline);
    assert_eq!(bench.client.address(), None);
    let events = bench.events();
    assert_eq!(events[1..], [Event::AddressChanged(None), Event::StateChanged(offline)]);
    // From now on both answers are needed, so that no address comes and goes.
    bench.take();
    bench.wait_for_probe();
    bench.answer(server(), mapped());
    assert_eq!((bench.client.state(), bench.client.address()), (State::Probe, None));
    bench.answer(secondary(), endpoint("192.0.2.1:4098"));
    assert_eq!(bench.client.state(), offline);
    bench.take();
    bench.wait_for_probe();
    bench.answer(server(), mapped());
    bench.answer(secondary(), mapped());
    assert_eq!(bench.client.state(), State::Qualified);
}

//= C-QUAL-07: degraded by default: qualified, kind unknown
#[test]
fn a_silent_secondary_leaves_the_kind_of_nat_unknown() {
    let mut bench = Bench::started(config());
    bench.answer(server(), mapped());
    let start = bench.now;
    bench.take();
    bench.wait_s(13.0);
    let asked = bench.take_since(start);
    assert_eq!(asked.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [4.0, 8.0]);
    assert_eq!(bench.client.state(), State::Qualified);
    assert_eq!(bench.client.nat_kind(), NatKind::Unknown);
}

//= C-QUAL-07: off-line as written, when strict
#[test]
fn a_strict_client_needs_the_answer_of_the_secondary() {
    let mut bench = Bench::started(Config { strict: true, ..config() });
    bench.answer(server(), mapped());
    assert_eq!((bench.client.state(), bench.client.address()), (State::Probe, None));
    bench.wait_s(12.0);
    assert_eq!(bench.client.state(), State::Offline(OfflineReason::NoSecondaryAnswer));

    let mut bench = Bench::started(Config { strict: true, ..config() });
    bench.answer(server(), mapped());
    bench.answer(secondary(), mapped());
    assert_eq!(bench.client.state(), State::Qualified);

    let mut bench = Bench::started(Config { strict: true, secondary: None, ..config() });
    bench.answer(server(), mapped());
    assert_eq!(bench.client.state(), State::Offline(OfflineReason::NoSecondaryAnswer));
}

//= C-CFG-01: a secondary address that nothing may be sent to is as good as none
#[test]
fn a_secondary_that_is_not_global_is_not_asked() {
    let secondary = Some(Ipv4Addr::new(192, 168, 1, 1));
    for strict in [false, true] {
        let mut bench = Bench::started(Config { secondary, strict, ..config() });
        bench.answer(server(), mapped());
        assert!(bench.take().iter().all(|sent| sent.is_to(server())));
        let expected = match strict {
            false => State::Qualified,
            true => State::Offline(OfflineReason::NoSecondaryAnswer),
        };
        assert_eq!(bench.client.state(), expected);
    }
}

//= C-QUAL-21: invalid answers do not end the wait, nor restart its timer
#[test]
fn an_invalid_answer_does_not_end_the_wait() {
    let mut bench = Bench::started(config());
    let start = bench.now;
    let nonce = bench.nonce(server());
    bench.wait_s(3.0);
    let invalid = Advertisement { origin: None, ..Advertisement::new(nonce) };
    assert_eq!(bench.inject_dropped(server(), &invalid.to_bytes()), DropReason::UnusableOrigin);
    bench.wait_s(1.5);
    let times: Vec<_> = bench.take_since(start).into_iter().map(|(at, _)| at).collect();
    assert_eq!(times, [0.0, 4.0]);
    assert_eq!(bench.inject(server(), &Advertisement::new(nonce).to_bytes()), Inbound::Consumed);
    assert_eq!(bench.client.state(), State::Qualified);
}

//= C-QUAL-23, T-06: late answers, of the phase before or with an old nonce, are ignored
#[test]
fn late_answers_are_ignored() {
    let mut bench = Bench::started(config());
    let nonce = bench.nonce(server());
    bench.answer(server(), mapped());
    let late = Advertisement::new(nonce).to_bytes();
    assert_eq!(bench.inject_dropped(server(), &late), DropReason::UnsolicitedAdvertisement);
    assert_eq!(bench.inject_dropped(secondary(), &late), DropReason::WrongNonce);

    let mut bench = Bench::started(config());
    let old = bench.nonce(server());
    bench.wait_s(12.0);
    bench.wait_for_probe();
    let late = Advertisement::new(old).to_bytes();
    assert_eq!(bench.inject_dropped(server(), &late), DropReason::WrongNonce);
}

//= C-QUAL-24: restarts after 30 s, doubling to 300 s, each ±25 %
#[test]
fn restarts_back_off_with_jitter() {
    let mut seen = Vec::new();
    for seed in 0..20 {
        let mut bench = Bench::with_seed(config(), [seed; 32]);
        bench.client.start(bench.now);
        for delay in [30.0, 60.0, 120.0, 240.0, 300.0, 300.0] {
            bench.wait_s(12.0);
            let (restart_at, reason) = bench.client.poll_timeout().unwrap();
            assert_eq!(reason, Reason::Restart);
            let waited = restart_at.since(bench.now).as_secs_f64() / delay;
            assert!((0.75..=1.25).contains(&waited), "{waited}");
            seen.push(waited);
            bench.now = restart_at;
            bench.client.handle_timeout(bench.now);
            assert_eq!(bench.client.state(), State::Probe);
        }
    }
    let mean = seen.iter().sum::<f64>() / seen.len() as f64;
    assert!((0.95..1.05).contains(&mean), "{mean}");
    seen.sort_by(f64::total_cmp);
    assert!(seen[0] < 0.8 && seen[seen.len() - 1] > 1.2);
}

//= C-QUAL-24: success ends the back-off
#[test]
fn success_ends_the_back_off() {
    let mut bench = Bench::started(config());
    for _ in 0..3 {
        bench.wait_s(12.0);
        bench.wait_for_probe();
    }
    bench.answer(server(), mapped());
    bench.answer(secondary(), mapped());
    bench.take();
    bench.wait_s(30.0 + 12.0);
    assert_eq!(bench.client.state(), State::Offline(OfflineReason::NoAnswer));
    let (restart_at, _) = bench.client.poll_timeout().unwrap();
    assert!(restart_at.since(bench.now) <= Duration::from_secs(38));
}

//= C-QUAL-25: nothing of the stack is sent before; address unreachable instead
#[test]
fn before_qualification_the_stack_gets_an_error() {
    let source = "2001:db8::9".parse().unwrap();
    let mut offline = Bench::new(config());
    let mut probing = Bench::started(config());
    for bench in [&mut offline, &mut probing] {
        bench.take();
        let outbound = bench.send(&udp(source, NATIVE, b"early"));
        assert_eq!(outbound, Outbound::Dropped(DropReason::NotQualified));
        let sent = bench.take();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].error(), Some((1, 3)));
    }
}

//= C-SEC-08: a new unpredictable nonce for each phase and each maintenance cycle
#[test]
fn each_phase_and_cycle_has_its_own_nonce() {
    let mut nonces = Vec::new();
    for seed in 0..50 {
        let mut bench = Bench::with_seed(config(), [seed; 32]);
        bench.client.start(bench.now);
        let first = bench.nonce(server());
        bench.wait_s(4.0);
        assert_eq!(bench.nonce(server()), first, "one nonce within a phase");
        bench.answer(server(), mapped());
        nonces.extend([first, bench.nonce(secondary())]);
        bench.answer(secondary(), mapped());
        for _ in 0..3 {
            bench.wait_s(30.0);
            nonces.push(bench.nonce(server()));
            bench.answer(server(), mapped());
        }
    }
    let count = nonces.len();
    nonces.sort_unstable();
    nonces.dedup();
    assert_eq!(nonces.len(), count);
    let ones: u32 = nonces.iter().flatten().map(|byte| byte.count_ones()).sum();
    let share = f64::from(ones) / (count * 64) as f64;
    assert!((0.48..0.52).contains(&share), "{share}");
}

#[test]
fn stopping_takes_the_address_away_for_good() {
    let mut bench = Bench::qualified();
    bench.client.stop();
    let offline = State::Offline(OfflineReason::Stopped);
    assert_eq!(bench.events(), [Event::AddressChanged(None), Event::StateChanged(offline)]);
    assert_eq!(bench.client.poll_timeout(), None);
    bench.client.network_changed(bench.now, None);
    assert_eq!(bench.client.state(), offline);
    bench.client.start(bench.now);
    assert_eq!(bench.client.state(), State::Probe);
}

//= C-SEC-06: without a key a non-zero confirmation is a refusal: discarded, and reported
#[test]
fn a_refusal_is_reported_when_no_better_answer_comes() {
    let mut bench = Bench::started(config());
    let nonce = bench.nonce(server());
    let refusal = Advertisement { confirmation: 1, ..Advertisement::new(nonce) };
    assert_eq!(bench.inject_dropped(server(), &refusal.to_bytes()), DropReason::Refused);
    bench.wait_s(12.0);
    assert_eq!(bench.client.state(), State::Offline(OfflineReason::Refused));
}
