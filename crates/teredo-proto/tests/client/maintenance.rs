//! RFC 4380 section 5.2.5: keeping the address.

use core::time::Duration;

use teredo_proto::client::Config;
use teredo_proto::role::{NatKind, OfflineReason, State};
use teredo_proto::{DropReason, Event, Inbound, Instant, Outbound, Reason, Role};
use teredo_wire::TeredoAddress;

use crate::bytes::{
    Advertisement, bubble, endpoint, indirect_bubble, mtu_option, prefix_option, udp,
};
use crate::harness::{
    Bench, NATIVE, RELAY_ADDRESS, SERVER, Sent, config, kinds, mapped, peer, peer_address, relay,
    secondary, server,
};

/// Lets time pass to the next solicitation of the primary and says how long that took.
fn wait_for_refresh(bench: &mut Bench) -> f64 {
    let start = bench.now;
    bench.take();
    loop {
        let (deadline, _) = bench.client.poll_timeout().unwrap();
        bench.now = bench.now.max(deadline);
        bench.client.handle_timeout(bench.now);
        let sent = bench.peek();
        if sent.iter().any(|sent| sent.is_solicitation() && sent.is_to(server())) {
            return bench.now.since(start).as_secs_f64();
        }
    }
}

fn remapped() -> core::net::SocketAddrV4 {
    endpoint("192.0.2.1:5000")
}

//= C-MAINT-01, C-MAINT-02, C-MAINT-05: a solicitation after 75 to 100 % of the interval, uniformly
#[test]
fn a_silent_server_is_asked_after_a_random_interval() {
    let mut bench = Bench::qualified();
    let mut intervals = Vec::new();
    for _ in 0..400 {
        assert_eq!(bench.client.poll_timeout().unwrap().1, Reason::Refresh);
        intervals.push(wait_for_refresh(&mut bench));
        bench.answer(server(), mapped());
        if bench.peek().iter().any(|sent| sent.is_to(secondary())) {
            bench.answer(secondary(), mapped());
        }
    }
    // The first one counts from the primary's answer, the others from the solicitation.
    intervals.remove(0);
    intervals.sort_by(f64::total_cmp);
    let (least, most) = (intervals[0] + 0.05, intervals[intervals.len() - 1] + 0.1);
    assert!((22.4..23.0).contains(&least), "{least}");
    assert!((29.5..=30.1).contains(&most), "{most}");
    let median = intervals[intervals.len() / 2];
    assert!((25.5..27.0).contains(&median), "{median}");
}

//= C-MAINT-04: another interval, also below 30 s
#[test]
fn the_interval_is_configurable() {
    for seconds in [4, 10, 120] {
        let refresh_interval = Duration::from_secs(seconds);
        let mut bench = Bench::qualified_with(Config { refresh_interval, ..config() });
        let share = (wait_for_refresh(&mut bench) + 0.05) / seconds as f64;
        assert!((0.75..=1.02).contains(&share), "{share}");
    }
}

//= C-MAINT-11: an interval of zero does not become a flood
#[test]
fn an_interval_has_a_lower_bound() {
    let mut bench = Bench::qualified_with(Config { refresh_interval: Duration::ZERO, ..config() });
    for _ in 0..20 {
        assert!(wait_for_refresh(&mut bench) >= 0.6);
        bench.answer(server(), mapped());
    }
}

//= C-MAINT-06: any packet of the server counts, so no solicitation follows
#[test]
fn any_packet_of_the_server_counts() {
    let mut bench = Bench::qualified();
    for round in 0..60 {
        // Heard: a relay's bubble. Sent: an echo request, since a mapping may need that (E-20).
        let bubble = indirect_bubble(relay(), RELAY_ADDRESS, bench.own());
        assert_eq!(bench.inject(server(), &bubble), Inbound::Consumed);
        let host = core::net::Ipv6Addr::from_bits(NATIVE.to_bits() + round);
        let packet = udp(bench.own(), host, b"x");
        assert_eq!(bench.send(&packet), Outbound::Queued);
        bench.wait_s(7.0);
        assert!(bench.take().iter().all(|sent| !sent.is_solicitation()), "round {round}");
    }
}

#[test]
fn a_server_that_talks_is_asked_all_the_same_when_we_are_silent() {
    let mut bench = Bench::qualified();
    for second in 0..31 {
        // A relay's bubble is answered to the relay: nothing goes to the server (E-20).
        let bubble = indirect_bubble(relay(), RELAY_ADDRESS, bench.own());
        let _ = bench.inject(server(), &bubble);
        bench.wait_s(1.0);
        if bench.take().iter().any(Sent::is_solicitation) {
            assert!(second >= 22);
            return;
        }
    }
    panic!("no solicitation");
}

//= C-MAINT-07: the answer is validated as in qualification
#[test]
fn an_invalid_answer_changes_nothing() {
    let mut bench = Bench::qualified();
    wait_for_refresh(&mut bench);
    let valid = Advertisement::new(bench.nonce(server()));
    let before = bench.state_digest();
    let invalid = [
        Advertisement { nonce: Some([0; 8]), ..valid.clone() },
        Advertisement { nonce: None, ..valid.clone() },
        Advertisement { origin: None, ..valid.clone() },
        Advertisement { origin: Some(endpoint("10.0.0.1:5000")), ..valid.clone() },
        Advertisement { hop_limit: 64, ..valid.clone() },
        Advertisement { options: Vec::new(), ..valid.clone() },
        Advertisement { checksum_error: 1, ..valid.clone() },
    ];
    for advertisement in invalid {
        bench.inject_dropped(server(), &advertisement.to_bytes());
        assert!(bench.state_digest() == before, "{advertisement:?}");
    }
    let moved = Advertisement { origin: Some(remapped()), ..valid }.to_bytes();
    assert_eq!(bench.inject(server(), &moved), Inbound::Consumed);
    assert_eq!(bench.client.mapped(), Some(remapped()));
}

//= C-MAINT-08: the same mapping keeps address and peers
#[test]
fn the_same_mapping_keeps_everything() {
    let mut bench = Bench::qualified();
    let address = bench.own();
    wait_for_refresh(&mut bench);
    let nonce = bench.nonce(server());
    bench.befriend(&peer());
    bench.answer_now(nonce, mapped());
    assert_eq!(bench.client.address(), Some(address));
    assert_eq!(bench.events(), []);
    assert_eq!(bench.route(peer_address()), Some(peer().mapped));
}

//= C-MAINT-08, C-MAINT-09: a changed mapping means a new address at once
//= C-MAINT-10: and no trust in peers
#[test]
fn a_changed_mapping_changes_the_address_and_clears_trust() {
    let mut bench = Bench::qualified();
    let old = bench.own();
    wait_for_refresh(&mut bench);
    let nonce = bench.nonce(server());
    bench.befriend(&peer());
    bench.befriend_native();
    assert_eq!(bench.route(peer_address()), Some(peer().mapped));
    bench.answer_now(nonce, remapped());
    let new = bench.own();
    assert_eq!(TeredoAddress::parse(new).unwrap().mapped, remapped());
    assert_ne!(new, old);
    assert_eq!(bench.client.state(), State::Qualified);
    let events = bench.events();
    assert!(events.contains(&Event::AddressChanged(Some((new, 1280)))));
    assert_eq!(bench.route(peer_address()), None);
    assert_eq!(bench.route(NATIVE), None);
    // The old address is gone in both directions.
    let late = udp(peer_address(), old, b"late");
    assert_eq!(bench.inject_dropped(peer().mapped, &late), DropReason::NotOurAddress);
    let stale = udp(old, peer_address(), b"stale");
    assert_eq!(bench.send(&stale), Outbound::Dropped(DropReason::WrongSource));
}

//= C-MAINT-10: packets that waited under the old address are not sent under the new one
#[test]
fn what_waited_under_the_old_address_is_dropped() {
    let mut bench = Bench::qualified();
    wait_for_refresh(&mut bench);
    let nonce = bench.nonce(server());
    let packet = udp(bench.own(), peer_address(), b"old");
    assert_eq!(bench.send(&packet), Outbound::Queued);
    bench.answer_now(nonce, remapped());
    bench.take();
    let bubble = bubble(peer_address(), bench.own());
    assert_eq!(bench.inject(peer().mapped, &bubble), Inbound::Consumed);
    assert!(bench.take().iter().all(|sent| sent.is_bubble()));
    assert_eq!(bench.client.counters().dropped(DropReason::PeerUnreachable), 1);
}

#[test]
fn a_changed_mtu_is_told_and_keeps_peers() {
    let mut bench = Bench::qualified();
    wait_for_refresh(&mut bench);
    let nonce = bench.nonce(server());
    bench.befriend(&peer());
    let options = [prefix_option(SERVER), mtu_option(1400)].concat();
    let answer = Advertisement { options, ..Advertisement::new(nonce) }.to_bytes();
    assert_eq!(bench.inject(server(), &answer), Inbound::Consumed);
    assert_eq!(bench.events(), [Event::AddressChanged(Some((bench.own(), 1400)))]);
    assert_eq!(bench.route(peer_address()), Some(peer().mapped));
}

/// REC of protocol section 3.3: compare again after a mapping change, and every 30 minutes.
#[test]
fn the_comparison_is_repeated_after_a_change_and_every_half_hour() {
    let mut bench = Bench::qualified();
    wait_for_refresh(&mut bench);
    bench.answer(server(), remapped());
    assert_eq!(kinds(&bench.events()), [NatKind::Unknown]);
    bench.answer(secondary(), remapped());
    assert_eq!(bench.client.nat_kind(), NatKind::EndpointIndependent);
    let compared_at = bench.now;
    loop {
        wait_for_refresh(&mut bench);
        bench.answer(server(), remapped());
        let asked = bench.peek().iter().any(|sent| sent.is_to(secondary()));
        let passed = bench.now.since(compared_at).as_secs();
        assert_eq!(asked, passed >= 30 * 60, "{passed}");
        if asked {
            break;
        }
    }
    bench.answer(secondary(), endpoint("192.0.2.1:5001"));
    assert_eq!(bench.client.nat_kind(), NatKind::PortSymmetric);
}

/// Answers of the secondary address may get lost, and without one a symmetric NAT is not met.
#[test]
fn an_unknown_kind_of_nat_is_asked_for_again_after_five_minutes() {
    let mut bench = Bench::started(config());
    bench.answer(server(), mapped());
    bench.wait_s(12.0);
    assert_eq!(bench.client.nat_kind(), NatKind::Unknown);
    bench.take();
    let failed_at = bench.now;
    loop {
        wait_for_refresh(&mut bench);
        bench.answer(server(), mapped());
        let asked = bench.take().iter().any(|sent| sent.is_to(secondary()));
        let passed = bench.now.since(failed_at).as_secs();
        assert_eq!(asked, passed >= 5 * 60, "{passed}");
        if asked {
            break;
        }
    }
}

//= C-MAINT-12: three tries of 4 s, then down, the name resolved again, and qualification anew
#[test]
fn a_lost_server_takes_the_client_down_and_qualifies_again() {
    let mut bench = Bench::qualified();
    wait_for_refresh(&mut bench);
    let start = bench.now;
    bench.wait_s(11.999);
    let sent = bench.take_since(start);
    assert_eq!(sent.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0.0, 4.0, 8.0]);
    assert_eq!(bench.client.state(), State::Qualified);
    bench.wait_s(0.001);
    let offline = State::Offline(OfflineReason::NoAnswer);
    assert_eq!(
        bench.events(),
        [Event::ServerLost, Event::AddressChanged(None), Event::StateChanged(offline)]
    );
    bench.wait_for_probe();
    let waited = bench.now.since(start).as_secs_f64() - 12.0;
    assert!((22.5..=38.0).contains(&waited), "{waited}");
    bench.answer(server(), mapped());
    assert_eq!(bench.client.state(), State::Qualified);
}

#[test]
fn a_server_that_sent_something_meanwhile_is_not_lost() {
    let mut bench = Bench::qualified();
    wait_for_refresh(&mut bench);
    bench.wait_s(5.0);
    let bubble = indirect_bubble(relay(), RELAY_ADDRESS, bench.own());
    assert_eq!(bench.inject(server(), &bubble), Inbound::Consumed);
    bench.wait_s(8.0);
    assert_eq!(bench.client.state(), State::Qualified);
    assert_eq!(bench.events(), []);
}

//= C-MAINT-13: a change of the network makes the client qualify at once
#[test]
fn a_change_of_the_network_qualifies_at_once() {
    let mut bench = Bench::qualified();
    let address = bench.own();
    bench.client.network_changed(bench.now, None);
    assert_eq!(bench.client.state(), State::Probe);
    assert!(bench.take()[0].is_solicitation());
    assert!(bench.events().contains(&Event::AddressChanged(None)));
    // Also in the middle of a back-off.
    bench.wait_s(12.0);
    assert!(matches!(bench.client.state(), State::Offline(_)));
    bench.client.network_changed(bench.now, None);
    bench.answer(server(), mapped());
    assert_eq!(bench.client.address(), Some(address));
}

//= C-MAINT-12: other server addresses qualify anew, the same ones change nothing
#[test]
fn new_server_addresses_qualify_anew() {
    let mut bench = Bench::qualified();
    bench.client.set_server(bench.now, SERVER, Some(*secondary().ip()));
    assert_eq!(bench.client.state(), State::Qualified);
    let other = "203.0.113.77".parse().unwrap();
    bench.client.set_server(bench.now, other, None);
    assert_eq!(bench.client.state(), State::Probe);
    assert!(bench.take()[0].is_to(endpoint("203.0.113.77:3544")));
}

//= C-MAINT-12: a name that stands for a forbidden address for a while does not stop the client
#[test]
fn a_forbidden_server_address_is_not_taken() {
    let mut bench = Bench::started(config());
    bench.wait_s(12.0);
    assert!(bench.events().contains(&Event::ServerLost));
    let portal = "192.168.1.1".parse().unwrap();
    bench.client.set_server(bench.now, portal, None);
    bench.take();
    bench.wait_s(60.0);
    assert!(bench.take().iter().any(|sent| sent.is_to(server())), "it goes on with the old one");
    assert!(!bench.client.set_server(bench.now, portal, None), "and says so");
    assert!(bench.client.set_server(bench.now, SERVER, None));
}

//= SEC-09: time that jumps far ahead leads to one repetition, not to a burst
#[test]
fn a_jump_of_time_leads_to_one_solicitation() {
    let mut bench = Bench::qualified();
    bench.befriend(&peer());
    let packet = udp(bench.own(), NATIVE, b"x");
    assert_eq!(bench.send(&packet), Outbound::Queued);
    bench.take();
    let day = Duration::from_secs(86_400);
    bench.now = bench.now + day;
    bench.client.handle_timeout(bench.now);
    let sent = bench.take();
    assert_eq!(sent.iter().filter(|sent| sent.is_solicitation()).count(), 1);
    assert!(sent.len() <= 2, "{sent:?}");
    assert!(bench.client.poll_timeout().unwrap().0 > bench.now);
    // Calls with an old time are harmless.
    bench.client.handle_timeout(Instant::default());
    assert_eq!(bench.take(), []);
}
