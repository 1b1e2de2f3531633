//! The client that nobody needs.

use core::time::Duration;

use teredo_proto::role::{OfflineReason, State};
use teredo_proto::{DropReason, Event, Outbound, Role};

use crate::bytes::{self, endpoint};
use crate::harness::{Bench, NATIVE, config, mapped, peer, peer_address, secondary, server};

const HOUR: Duration = Duration::from_secs(3_600);

/// A client that may sleep after an hour, refreshed by a server that always answers.
struct Sleeper {
    bench: Bench,
}

impl Sleeper {
    fn new() -> Self {
        let mut config = config();
        config.dormant_after = Some(HOUR);
        Self { bench: Bench::qualified_with(config) }
    }

    /// Lets time pass with a server that answers each solicitation at once.
    fn pass(&mut self, time: Duration) {
        let end = self.bench.now + time;
        while self.bench.now < end {
            self.bench.wait(end.since(self.bench.now).min(Duration::from_secs(1)));
            let sent = self.bench.peek();
            for to in [server(), secondary()] {
                if sent.iter().any(|sent| sent.is_to(to) && sent.is_solicitation()) {
                    let nonce = self.bench.nonce(to);
                    let mut answer = bytes::Advertisement::new(nonce);
                    answer.origin = Some(mapped());
                    let _ = self.bench.inject(to, &answer.to_bytes());
                }
            }
            self.bench.take();
        }
    }

    fn asleep() -> Self {
        let mut sleeper = Self::new();
        sleeper.pass(HOUR + Duration::from_secs(1));
        assert_eq!(sleeper.bench.client.state(), State::Dormant);
        sleeper.bench.events();
        sleeper
    }
}

//= API-74: an hour without need ends service; the address stays with the host, for a packet to wake
#[test]
fn an_hour_without_need_ends_service() {
    let mut sleeper = Sleeper::new();
    sleeper.pass(HOUR - Duration::from_secs(2));
    assert_eq!(sleeper.bench.client.state(), State::Qualified);
    sleeper.bench.events();
    sleeper.pass(Duration::from_secs(4));
    let bench = &mut sleeper.bench;
    assert_eq!(bench.client.state(), State::Dormant);
    let events = bench.events();
    assert_eq!(events, [Event::AddressDeprecated, Event::StateChanged(State::Dormant)]);
    assert_eq!((bench.client.address(), bench.client.mapped()), (None, None));
    assert_eq!(bench.client.poll_timeout(), None, "nothing is to be done");
    bench.wait(10 * HOUR);
    assert!(bench.take().is_empty(), "not one packet");
}

#[test]
fn the_hour_begins_when_the_address_is_there() {
    let mut config = config();
    config.dormant_after = Some(HOUR);
    let mut bench = Bench::started(config);
    bench.wait(2 * HOUR);
    while bench.client.state() != State::Probe {
        bench.wait(Duration::from_secs(1));
    }
    bench.answer(server(), mapped());
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.client.state(), State::Qualified);
}

#[test]
fn traffic_either_way_and_whoever_says_so_keep_it_awake() {
    let needs: [fn(&mut Bench); 3] = [
        |bench| {
            let _ = bench.send(&bytes::udp(bench.own(), NATIVE, b"out"));
        },
        |bench| {
            bench.befriend(&peer());
            let packet = bytes::udp(peer_address(), bench.own(), b"in");
            let _ = bench.inject(peer().mapped, &packet);
        },
        |bench| bench.client.need(bench.now),
    ];
    for (index, need) in needs.into_iter().enumerate() {
        let mut sleeper = Sleeper::new();
        sleeper.pass(HOUR / 2);
        need(&mut sleeper.bench);
        sleeper.pass(HOUR - Duration::from_secs(10));
        assert_eq!(sleeper.bench.client.state(), State::Qualified, "need {index}");
        sleeper.pass(Duration::from_secs(20));
        assert_eq!(sleeper.bench.client.state(), State::Dormant, "need {index}");
    }
}

#[test]
fn what_is_refused_keeps_nobody_awake() {
    let mut sleeper = Sleeper::new();
    for _ in 0..60 {
        sleeper.pass(HOUR / 60);
        let bench = &mut sleeper.bench;
        let own = peer_address();
        let _ = bench.send(&bytes::udp(own, NATIVE, b"not from our address"));
        let bubble = bytes::bubble(NATIVE, own);
        let _ = bench.inject(endpoint("203.0.113.99:1"), &bubble);
    }
    sleeper.pass(Duration::from_secs(2));
    assert_eq!(sleeper.bench.client.state(), State::Dormant);
}

//= API-74: the first packet ends it, waits for the address, and goes on its way
#[test]
fn a_packet_wakes_it_and_is_not_lost() {
    let mut sleeper = Sleeper::new();
    let own = sleeper.bench.own();
    sleeper.pass(HOUR + Duration::from_secs(1));
    let bench = &mut sleeper.bench;
    bench.events();
    let packet = bytes::udp(own, peer_address(), b"first");
    assert_eq!(bench.send(&packet), Outbound::Queued);
    assert_eq!(bench.send(&bytes::udp(own, peer_address(), b"second")), Outbound::Queued);
    assert_eq!(bench.client.state(), State::Probe);
    assert!(bench.events().contains(&Event::StateChanged(State::Probe)));
    bench.answer(server(), mapped());
    assert_eq!(bench.own(), own);
    let events = bench.events();
    let changed = Event::AddressChanged(Some((own, 1280)));
    assert_eq!(events, [changed, Event::StateChanged(State::Qualified)]);
    bench.take();
    let reply = bytes::bubble(peer_address(), own);
    let _ = bench.inject(peer().mapped, &reply);
    let data: Vec<_> = bench.take().into_iter().filter(|sent| !sent.is_bubble()).collect();
    assert_eq!(data.len(), 2);
    assert_eq!(data[0].datagram(), (peer().mapped, &packet[..]));
}

#[test]
fn with_another_address_the_sender_is_told_to_try_again() {
    let mut sleeper = Sleeper::new();
    let own = sleeper.bench.own();
    sleeper.pass(HOUR + Duration::from_secs(1));
    let bench = &mut sleeper.bench;
    assert_eq!(bench.send(&bytes::udp(own, NATIVE, b"first")), Outbound::Queued);
    bench.answer(server(), endpoint("192.0.2.1:4097"));
    assert_ne!(bench.own(), own);
    assert!(bench.take().iter().any(|sent| sent.error() == Some((1, 3))));
    assert_eq!(bench.client.counters().dropped(DropReason::WrongSource), 1);
}

#[test]
fn without_a_server_the_sender_is_told_and_the_address_is_gone() {
    let mut sleeper = Sleeper::new();
    let own = sleeper.bench.own();
    sleeper.pass(HOUR + Duration::from_secs(1));
    let bench = &mut sleeper.bench;
    bench.events();
    assert_eq!(bench.send(&bytes::udp(own, NATIVE, b"first")), Outbound::Queued);
    bench.wait(Duration::from_secs(13));
    assert_eq!(bench.client.state(), State::Offline(OfflineReason::NoAnswer));
    assert!(bench.take().iter().any(|sent| sent.error() == Some((1, 3))));
    assert!(bench.events().contains(&Event::AddressChanged(None)));
    assert_eq!(bench.client.counters().dropped(DropReason::NotQualified), 1);
}

#[test]
fn only_packets_that_could_be_sent_wake_it() {
    let mut sleeper = Sleeper::new();
    let own = sleeper.bench.own();
    sleeper.pass(HOUR + Duration::from_secs(1));
    let bench = &mut sleeper.bench;
    let foreign = bytes::udp(peer_address(), NATIVE, b"foreign");
    assert_eq!(bench.send(&foreign), Outbound::Dropped(DropReason::WrongSource));
    for destination in ["ff02::2", "fe80::1", "::1"] {
        let packet = bytes::udp(own, destination.parse().unwrap(), b"local");
        assert_eq!(bench.send(&packet), Outbound::Dropped(DropReason::WrongDestination));
    }
    assert_eq!(bench.send(&bytes::udp(own, own, b"self")), {
        Outbound::Dropped(DropReason::WrongDestination)
    });
    assert_eq!(bench.client.state(), State::Dormant);
}

#[test]
fn a_sleeper_follows_changes_without_waking_and_can_be_stopped() {
    let bench = &mut Sleeper::asleep().bench;
    bench.client.network_changed(bench.now, Some("192.168.1.9".parse().unwrap()));
    bench.client.set_server(bench.now, "203.0.113.44".parse().unwrap(), None);
    assert_eq!(bench.client.state(), State::Dormant);
    assert!(bench.events().is_empty());
    bench.client.stop();
    let stopped = State::Offline(OfflineReason::Stopped);
    assert_eq!(bench.events(), [Event::AddressChanged(None), Event::StateChanged(stopped)]);
}

#[test]
fn a_stop_while_it_wakes_takes_the_waiting_packets_along() {
    let mut sleeper = Sleeper::new();
    let own = sleeper.bench.own();
    sleeper.pass(HOUR + Duration::from_secs(1));
    let bench = &mut sleeper.bench;
    assert_eq!(bench.send(&bytes::udp(own, NATIVE, b"first")), Outbound::Queued);
    bench.client.stop();
    assert_eq!(bench.client.counters().dropped(DropReason::NotQualified), 1);
}

//= API-74: a need ends the sleep
#[test]
fn whoever_needs_it_wakes_it() {
    let bench = &mut Sleeper::asleep().bench;
    bench.client.need(bench.now);
    assert_eq!(bench.client.state(), State::Probe);
    bench.answer(server(), mapped());
    assert_eq!(bench.client.state(), State::Qualified);
}

//= API-75: without a time for it there is no sleep, and one who may not sleep any more wakes
#[test]
fn default_qualified_never_sleeps() {
    let mut sleeper = Sleeper::new();
    sleeper.bench.client.set_dormant_after(sleeper.bench.now, None);
    sleeper.pass(30 * HOUR);
    assert_eq!(sleeper.bench.client.state(), State::Qualified);
    let bench = &mut Sleeper::asleep().bench;
    bench.client.set_dormant_after(bench.now, None);
    assert_eq!(bench.client.state(), State::Probe);
}
