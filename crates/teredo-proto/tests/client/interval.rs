//! RFC 4380 section 5.2.7: how long the NAT remembers.

use core::net::SocketAddrV4;
use core::time::Duration;

use teredo_proto::client::Config;
use teredo_proto::role::OfflineReason;
use teredo_proto::{DropReason, Event, Inbound, Instant, Local, Role};
use teredo_wire::TeredoAddress;

use crate::bytes::{Advertisement, bubble, endpoint, indirect_bubble, udp};
use crate::harness::{Bench, Sent, config, mapped, peer, peer_address, secondary, server};

/// The secondary port as the server sees it.
fn second() -> SocketAddrV4 {
    endpoint("192.0.2.1:5001")
}

fn determining() -> Config {
    Config { determine_interval: true, ..config() }
}

/// A qualified client that waits for its secondary port, and that port.
fn waiting() -> (Bench, Local) {
    let mut bench = Bench::started(determining());
    bench.answer(server(), mapped());
    bench.answer(secondary(), mapped());
    bench.take();
    let asked = bench
        .events()
        .into_iter()
        .find_map(|event| if let Event::BindPort(local) = event { Some(local) } else { None });
    (bench, asked.expect("a port was asked for"))
}

/// One whose secondary port is there, and has its mapping.
fn resting() -> (Bench, Local) {
    let (mut bench, local) = waiting();
    bench.client.handle_bound(bench.now, local, Some(41_000));
    let sent = bench.take();
    answer(&mut bench, local, &sent[0], second());
    (bench, local)
}

/// The server answers a solicitation of the secondary port.
fn answer(bench: &mut Bench, local: Local, solicitation: &Sent, origin: SocketAddrV4) {
    let nonce = solicitation.parsed().authentication.unwrap().nonce;
    let advertisement = Advertisement { origin: Some(origin), ..Advertisement::new(nonce) };
    assert_eq!(bench.inject_on(local, server(), &advertisement.to_bytes()), Inbound::Consumed);
}

/// Whether this is the bubble that tests the secondary port's mapping.
fn is_test(bench: &Bench, sent: &Sent) -> bool {
    sent.is_bubble()
        && sent.is_to(server())
        && sent.parsed().ipv6.source() == bench.own()
        && sent.via() == Local::Primary
}

/// The server passes a bubble on to the secondary port.
fn forward(bench: &mut Bench, local: Local, sent: &Sent) -> Inbound {
    let parsed = sent.parsed().ipv6;
    let forwarded = indirect_bubble(mapped(), parsed.source(), parsed.destination());
    bench.inject_on(local, server(), &forwarded)
}

/// Lets time pass to the next thing sent that is not a refresh of the service port.
fn next(bench: &mut Bench, local: Local) -> Sent {
    loop {
        let (deadline, _) = bench.client.poll_timeout().unwrap();
        bench.now = bench.now.max(deadline);
        bench.client.handle_timeout(bench.now);
        for sent in bench.take() {
            if sent.via() == local || is_test(bench, &sent) {
                return sent;
            }
            if sent.is_solicitation() && sent.is_to(server()) {
                let nonce = sent.parsed().authentication.unwrap().nonce;
                let origin = bench.client.mapped().unwrap();
                bench.answer_now(nonce, origin);
            }
        }
    }
}

/// What has just been sent from the secondary port.
fn sent_from(bench: &mut Bench, local: Local) -> Sent {
    let sent = bench.take().into_iter().find(|sent| sent.via() == local);
    sent.expect("something from the secondary port")
}

/// Runs the procedure behind a NAT that keeps mappings this long: which idle times were tried, in
/// seconds, and what was determined.
fn determine(lifetime: Duration) -> (Vec<f64>, Option<f64>) {
    let (mut bench, local) = resting();
    let (mut idle_since, mut tried) = (bench.now, Vec::new());
    loop {
        let bubble = next(&mut bench, local);
        assert!(is_test(&bench, &bubble));
        let idle = bench.now.since(idle_since);
        tried.push(idle.as_secs_f64());
        if idle <= lifetime {
            assert_eq!(forward(&mut bench, local, &bubble), Inbound::Consumed);
        } else {
            for _ in 0..3 {
                let repeated = next(&mut bench, local);
                assert!(is_test(&bench, &repeated));
            }
            bench.wait_s(2.0);
        }
        if bench.released() == [local] {
            let found = bench.client.determined_interval();
            return (tried, found.map(|found| found.as_secs_f64()));
        }
        let maintenance = sent_from(&mut bench, local);
        answer(&mut bench, local, &maintenance, second());
        idle_since = bench.now;
    }
}

//= C-INT-01: the port is asked for with the address, and qualified as soon as it is there
#[test]
fn the_secondary_port_is_qualified_right_after_the_service_port() {
    let mut bench = Bench::started(determining());
    assert!(!bench.events().iter().any(|event| matches!(event, Event::BindPort(_))));
    bench.answer(server(), mapped());
    bench.take();
    let local = bench.bind(41_000);
    let sent = bench.take();
    assert_eq!(sent.len(), 1);
    assert!(sent[0].is_solicitation() && sent[0].is_to(server()) && sent[0].via() == local);
}

#[test]
fn it_is_off_unless_asked_for() {
    let mut bench = Bench::started(config());
    bench.answer(server(), mapped());
    assert!(!bench.events().iter().any(|event| matches!(event, Event::BindPort(_))));
}

//= C-INT-02: no answer to three solicitations, or no port: the configured interval stays
#[test]
fn without_a_mapping_the_interval_stays() {
    let (mut bench, local) = waiting();
    bench.client.handle_bound(bench.now, local, Some(41_000));
    for _ in 0..3 {
        assert!(bench.take().iter().any(|sent| sent.is_solicitation() && sent.via() == local));
        assert_eq!(bench.released(), []);
        bench.wait_s(4.0);
    }
    assert_eq!(bench.released(), [local]);
    let (mut without, local) = waiting();
    without.client.handle_bound(without.now, local, None);
    for bench in [&mut bench, &mut without] {
        assert_eq!(bench.client.refresh_interval(), Duration::from_secs(30));
        bench.wait_s(9.0);
        assert!(bench.take().iter().all(|sent| sent.via() == Local::Primary));
    }
}

//= C-INT-03, C-INT-05: 60 of 120 s first, then between what lived and what did not, to 75 %
#[test]
fn the_interval_is_found_by_halving() {
    let cases: [(u64, &[f64], Option<f64>); 6] = [
        (20, &[60.0, 45.0, 37.5], None),
        (40, &[60.0, 45.0, 37.5], Some(37.5)),
        (45, &[60.0, 45.0], Some(45.0)),
        (70, &[60.0, 90.0, 75.0], Some(60.0)),
        (100, &[60.0, 90.0], Some(90.0)),
        (300, &[60.0, 90.0], Some(90.0)),
    ];
    for (lifetime_s, tried, found) in cases {
        let outcome = determine(Duration::from_secs(lifetime_s));
        assert_eq!(outcome, (tried.to_vec(), found), "{lifetime_s} s");
    }
}

//= C-INT-04: the bubble is sent four times, two seconds apart, then the candidate has failed
#[test]
fn the_bubble_is_repeated_three_times() {
    let (mut bench, local) = resting();
    let first = next(&mut bench, local);
    let start = bench.now;
    let to = TeredoAddress::parse(first.parsed().ipv6.destination()).unwrap();
    assert_eq!((to.server, to.mapped), (*server().ip(), second()));
    assert!(first.trailers().nonce.is_none());
    let repeats: Vec<f64> = (0..3)
        .map(|_| {
            assert_eq!(next(&mut bench, local).datagram(), first.datagram());
            bench.now.since(start).as_secs_f64()
        })
        .collect();
    assert_eq!(repeats, [2.0, 4.0, 6.0]);
    assert!(next(&mut bench, local).is_solicitation());
    assert_eq!(bench.now.since(start), Duration::from_secs(8));
    assert_eq!(bench.client.determined_interval(), None);
}

/// The last of the bubbles counts like the first.
#[test]
fn a_late_bubble_is_a_success() {
    let (mut bench, local) = resting();
    for _ in 0..3 {
        next(&mut bench, local);
    }
    let last = next(&mut bench, local);
    bench.wait_s(1.9);
    assert_eq!(forward(&mut bench, local, &last), Inbound::Consumed);
    assert_eq!(bench.client.determined_interval(), Some(Duration::from_secs(60)));
    let told = Event::RefreshIntervalChanged(Duration::from_secs(60));
    assert!(bench.events().contains(&told));
}

//= C-INT-06: nothing but solicitations leaves it, nothing but what belongs to it is taken there
#[test]
fn the_secondary_port_is_used_for_nothing_else() {
    let (mut bench, local) = resting();
    let ours = next(&mut bench, local);
    let to = ours.parsed().ipv6.destination();
    let own = bench.own();
    let strange: [(SocketAddrV4, Vec<u8>); 7] = [
        (peer().mapped, bubble(peer_address(), own)),
        (peer().mapped, bubble(peer_address(), to)),
        (peer().mapped, bubble(own, to)),
        (server(), indirect_bubble(peer().mapped, peer_address(), own)),
        (server(), indirect_bubble(peer().mapped, peer_address(), to)),
        (server(), udp(own, to, b"no bubble")),
        (server(), Advertisement::new([7; 8]).to_bytes()),
    ];
    for (from, payload) in strange {
        let inbound = bench.inject_on(local, from, &payload);
        assert!(matches!(inbound, Inbound::Dropped(_)), "{inbound:?}");
        assert_eq!(bench.client.determined_interval(), None);
    }
    assert!(bench.take().is_empty(), "nothing is answered");
    // Nor is our own bubble anything elsewhere.
    assert_eq!(
        forward(&mut bench, Local::Primary, &ours),
        Inbound::Dropped(DropReason::NotOurAddress)
    );
    assert_eq!(forward(&mut bench, local, &ours), Inbound::Consumed);
    // Peers are met through the service port.
    bench.take();
    let sent = bench.begin();
    assert!(!sent.is_empty() && sent.iter().all(|sent| sent.via() == Local::Primary));
}

//= C-INT-06: it is closed when the service ends, whatever ends it
#[test]
fn the_secondary_port_is_closed_with_the_service() {
    let ends: [fn(&mut Bench); 4] = [
        |bench| bench.client.stop(),
        |bench| bench.client.network_changed(bench.now, None),
        |bench| bench.client.set_determine_interval(false),
        |bench| {
            bench.wait_s(60.0);
            let silent = Some(OfflineReason::NoAnswer);
            assert_eq!(bench.client.state().offline_reason(), silent);
        },
    ];
    for end in ends {
        let (mut bench, local) = resting();
        end(&mut bench);
        assert_eq!(bench.released(), [local]);
        let payload = bubble(peer_address(), peer_address());
        assert!(matches!(bench.inject_on(local, server(), &payload), Inbound::Dropped(_)));
    }
}

/// The seconds to the next refresh of the service port.
fn to_refresh(bench: &mut Bench) -> f64 {
    let start: Instant = bench.now;
    bench.take();
    loop {
        let (deadline, _) = bench.client.poll_timeout().unwrap();
        bench.now = bench.now.max(deadline);
        bench.client.handle_timeout(bench.now);
        let sent = bench.peek();
        if sent.iter().any(|it| it.is_solicitation() && it.is_to(server())) {
            return bench.now.since(start).as_secs_f64();
        }
    }
}

/// A client that has determined 90 s, right after the answer to a refresh.
fn determined() -> Bench {
    let (mut bench, local) = resting();
    let bubble = next(&mut bench, local);
    assert_eq!(forward(&mut bench, local, &bubble), Inbound::Consumed);
    let solicitation = sent_from(&mut bench, local);
    answer(&mut bench, local, &solicitation, second());
    let bubble = next(&mut bench, local);
    assert_eq!(forward(&mut bench, local, &bubble), Inbound::Consumed);
    assert_eq!(bench.released(), [local]);
    assert_eq!(bench.client.determined_interval(), Some(Duration::from_secs(90)));
    to_refresh(&mut bench);
    bench.answer(server(), mapped());
    bench
}

/// From then on the refreshes are as far apart as that allows.
#[test]
fn the_determined_interval_is_used() {
    let mut bench = determined();
    for _ in 0..20 {
        let waited = to_refresh(&mut bench);
        assert!((67.0..=90.0).contains(&waited), "{waited}");
        bench.answer(server(), mapped());
        if bench.peek().iter().any(|sent| sent.is_to(secondary())) {
            bench.answer(secondary(), mapped());
        }
    }
}

/// A mapping that did not live as long as that: what failed is not tried again.
#[test]
fn a_mapping_lost_ends_the_trust_in_the_interval() {
    let mut bench = determined();
    to_refresh(&mut bench);
    bench.answer(server(), endpoint("192.0.2.1:4999"));
    assert_eq!(bench.client.determined_interval(), None);
    let local = bench.bind(41_001);
    let solicitation = sent_from(&mut bench, local);
    answer(&mut bench, local, &solicitation, second());
    // Between 30 and 90 s now.
    let rested_at = bench.now;
    let bubble = next(&mut bench, local);
    assert!(is_test(&bench, &bubble));
    assert_eq!(bench.now.since(rested_at), Duration::from_secs(60));
    assert_eq!(forward(&mut bench, local, &bubble), Inbound::Consumed);
    let solicitation = sent_from(&mut bench, local);
    answer(&mut bench, local, &solicitation, second());
    next(&mut bench, local);
    bench.wait_s(8.0);
    assert_eq!(bench.client.determined_interval(), Some(Duration::from_secs(60)));
    assert_eq!(bench.released(), [local], "75 s failed, and 60 of those are enough");
}

/// Whoever sets another interval begins anew; one near the most is not improved upon.
#[test]
fn another_configured_interval_begins_anew() {
    let mut bench = determined();
    bench.client.set_refresh_interval(Duration::from_secs(10));
    assert_eq!(bench.client.refresh_interval(), Duration::from_secs(10));
    let second = bench.bind(41_002);
    bench.client.set_refresh_interval(Duration::from_secs(100));
    assert_eq!(bench.client.refresh_interval(), Duration::from_secs(100));
    let told = [Event::ReleasePort(second)];
    assert_eq!(bench.events(), told, "and no port is asked for");
}
