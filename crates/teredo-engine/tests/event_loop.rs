//! The event loop against scripted sockets, devices and clocks.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test picks out what it looks at")]

mod support;

use std::io;
use std::time::Duration;

use support::{
    Bench, FakeSocket, Happened, RANDOM, Sending, device_ready, room_ready, socket_ready,
};
use teredo_engine::engine::BURST;
use teredo_engine::io::{Ready, Wanted};
use teredo_proto::{Instant, Local};

const IDLE: Wanted = Wanted { device: true, room: false };
const CONGESTED: Wanted = Wanted { device: false, room: true };

const ENOBUFS: i32 = 105;

fn packets(first: u8, count: u8) -> impl Iterator<Item = io::Result<Vec<u8>>> {
    (0..count).map(move |number| Ok(vec![first, number]))
}

#[test]
fn packets_of_the_host_leave_in_one_batch() {
    let mut bench = Bench::new(128);
    bench.device.packets.extend(packets(b'S', 3));
    bench.script.steps.push_back(device_ready());
    let outcome = bench.run();
    assert_eq!(outcome.sent(), [&b"S\0"[..], b"S\x01", b"S\x02", b"bye"]);
    assert_eq!((outcome.tally.packets_read, outcome.tally.datagrams_sent), (3, 4));
}

#[test]
fn a_dropped_packet_gives_its_slot_to_the_next() {
    let mut bench = Bench::new(128);
    bench.device.packets.extend([Ok(b"X".to_vec()), Ok(b"S1".to_vec())]);
    bench.script.steps.push_back(device_ready());
    assert_eq!(bench.run().sent(), [&b"S1"[..], b"bye"]);
}

#[test]
fn delivered_bytes_go_to_the_device_and_answers_to_the_network() {
    let mut bench = Bench::new(128);
    let batch = [&b"D1"[..], b"A2", b"P3", b"?", b"D4"].map(<[u8]>::to_vec);
    bench.primary.arrivals.push_back(Ok(batch.to_vec()));
    bench.script.steps.push_back(socket_ready());
    let outcome = bench.run();
    assert_eq!(outcome.written(), [&b"1"[..], b"P3", b"4"]);
    assert_eq!(outcome.sent(), [&b"A2"[..], b"bye"]);
    assert_eq!((outcome.tally.datagrams_received, outcome.tally.packets_written), (5, 3));
}

#[test]
fn a_full_socket_stops_the_device_until_there_is_room() {
    let mut bench = Bench::new(128);
    bench.device.packets.extend(packets(b'S', 100));
    bench.primary.sendings.extend([Sending::Takes(10), Sending::Takes(5)]);
    // While the socket is full, the device is not read even if it is reported.
    bench.script.steps.extend([device_ready(), device_ready(), room_ready(), room_ready()]);
    bench.script.steps.push_back(device_ready());
    let outcome = bench.run();
    outcome.result.as_ref().unwrap();
    let expected: Vec<_> = (0..100).map(|number| vec![b'S', number]).collect();
    assert_eq!(outcome.sent()[..100], expected);
    assert_eq!(outcome.tally.datagrams_overflowed, 0);
    let wanted: Vec<_> = outcome.waits().into_iter().map(|(_, wanted)| wanted).collect();
    assert_eq!(wanted[..5], [IDLE, CONGESTED, CONGESTED, CONGESTED, IDLE]);
    assert_eq!(outcome.tally.socket_full, 2);
}

#[test]
fn answers_past_a_full_backlog_are_counted_not_kept() {
    let mut bench = Bench::new(4);
    bench.primary.sendings.push_back(Sending::Takes(0));
    bench.primary.arrivals.push_back(Ok(vec![b"A".to_vec(); 7]));
    bench.primary.arrivals.push_back(Ok(vec![b"D1".to_vec()]));
    bench.script.steps.extend([socket_ready(), socket_ready()]);
    let outcome = bench.run();
    assert_eq!(outcome.sent(), [] as [&[u8]; 0]);
    // Seven answers and the farewell; four of them had a slot until the end.
    assert_eq!(outcome.tally.datagrams_overflowed, 8);
    assert_eq!(outcome.tally.socket_full, 1, "asked again only when there is room");
    assert_eq!(outcome.written(), [b"1"], "the other direction goes on");
}

#[test]
fn a_refused_datagram_is_counted_and_does_not_stop_the_others() {
    let mut bench = Bench::new(128);
    bench.device.packets.extend(packets(b'S', 3));
    bench.primary.sendings.push_back(Sending::Refuses(1, ENOBUFS));
    bench.script.steps.push_back(device_ready());
    let outcome = bench.run();
    assert_eq!(outcome.sent(), [&b"S\0"[..], b"S\x02", b"bye"]);
    assert_eq!(outcome.tally.datagrams_refused, 1);
    assert_eq!(outcome.tally.refused_errno, Some(ENOBUFS));
}

#[test]
fn a_broken_socket_ends_the_loop() {
    let mut bench = Bench::new(128);
    bench.device.packets.extend(packets(b'S', 1));
    bench.primary.sendings.push_back(Sending::Breaks);
    bench.script.steps.push_back(device_ready());
    assert_eq!(bench.run().result.unwrap_err().kind(), io::ErrorKind::NotConnected);
}

#[test]
fn receive_errors_pass_but_not_for_ever() {
    let mut bench = Bench::new(128);
    bench.primary.arrivals.push_back(Err(io::ErrorKind::OutOfMemory.into()));
    bench.primary.arrivals.push_back(Ok(vec![b"D1".to_vec()]));
    bench.script.steps.extend([socket_ready(), socket_ready()]);
    let outcome = bench.run();
    assert_eq!(outcome.written(), [b"1"]);
    assert_eq!(outcome.tally.receive_failures, 1);

    let mut bench = Bench::new(128);
    for _ in 0..2_000 {
        bench.primary.arrivals.push_back(Err(io::ErrorKind::OutOfMemory.into()));
        bench.script.steps.push_back(socket_ready());
    }
    assert!(bench.run().result.is_err());
}

#[test]
fn a_truncated_datagram_is_counted_and_not_shown_to_the_role() {
    let mut bench = Bench::new(128);
    // The fake takes an empty one for truncated.
    bench.primary.arrivals.push_back(Ok(vec![vec![], b"D1".to_vec()]));
    bench.script.steps.push_back(socket_ready());
    let outcome = bench.run();
    assert_eq!(outcome.tally.datagrams_truncated, 1);
    assert_eq!(outcome.seen, [(Local::Primary, b'D')]);
}

#[test]
fn an_interface_that_is_down_loses_packets_with_a_count() {
    let mut bench = Bench::new(128);
    bench.device.write_errors.extend([io::ErrorKind::Other, io::ErrorKind::InvalidInput]);
    bench.primary.arrivals.push_back(Ok(vec![b"D1".to_vec(), b"D2".to_vec(), b"D3".to_vec()]));
    bench.script.steps.push_back(socket_ready());
    let outcome = bench.run();
    assert_eq!(outcome.written(), [b"3"]);
    assert_eq!(outcome.tally.packets_refused, 2);
}

#[test]
fn an_interface_that_is_gone_ends_the_loop() {
    let mut bench = Bench::new(128);
    bench.device.packets.push_back(Err(io::ErrorKind::NotFound.into()));
    bench.script.steps.push_back(device_ready());
    assert_eq!(bench.run().result.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn neither_direction_keeps_the_other_waiting() {
    let mut bench = Bench::new(128);
    bench.device.packets.extend(packets(b'S', 200));
    for _ in 0..3 {
        bench.primary.arrivals.push_back(Ok(vec![b"D1".to_vec(); BURST]));
    }
    let both = socket_ready().map(|ready| Ready { device: true, ..ready });
    bench.script.steps.extend([both.clone(), both]);
    let outcome = bench.run();
    assert_eq!(outcome.packets_left, 200 - 2 * BURST);
    assert_eq!(outcome.written().len(), 2 * BURST);
    let order = outcome.happened.iter().filter_map(|happened| match happened {
        Happened::Written(_) => Some('w'),
        Happened::Sent(..) => Some('s'),
        Happened::Waited(..) => Some('-'),
        _ => None,
    });
    let mut order: Vec<_> = order.collect();
    order.dedup();
    assert_eq!(order, ['-', 'w', 's', '-', 'w', 's', '-', 's']);
}

#[test]
fn what_is_sent_to_the_group_is_told_apart_and_answers_leave_from_the_service_port() {
    let mut bench = Bench::new(128);
    let mut group = FakeSocket::new(&bench.log, 2, 1);
    group.arrivals.push_back(Ok(vec![b"A".to_vec()]));
    bench.discovery = Some(group);
    bench.script.steps.push_back(Some(Ready { sockets: [false, true], ..Ready::default() }));
    let outcome = bench.run();
    assert_eq!(outcome.seen.iter().map(|(on, _)| *on).collect::<Vec<_>>(), [Local::Discovery]);
    let is_from_elsewhere = |it: &Happened| matches!(it, Happened::Sent(_, Some(_)));
    assert!(!outcome.happened.iter().any(is_from_elsewhere));
}

#[test]
fn both_sockets_are_read_and_answers_name_the_secondary_address() {
    let mut bench = Bench::new(128);
    let mut secondary = FakeSocket::new(&bench.log, 2, 1);
    secondary.arrivals.push_back(Ok(vec![b"A".to_vec(), b"2".to_vec()]));
    bench.primary.arrivals.push_back(Ok(vec![b"A".to_vec(), b"2".to_vec()]));
    let second = *secondary.addr.ip();
    bench.secondary = Some(secondary);
    bench.script.steps.push_back(Some(Ready { sockets: [true; 2], ..Ready::default() }));
    let outcome = bench.run();
    let on = [Local::Primary, Local::Primary, Local::Secondary, Local::Secondary];
    assert_eq!(outcome.seen.iter().map(|(on, _)| *on).collect::<Vec<_>>(), on);
    let sources: Vec<_> = outcome
        .happened
        .iter()
        .filter_map(|happened| match happened {
            Happened::Sent(_, source) => Some(*source),
            _ => None,
        })
        .collect();
    assert_eq!(sources, [None, Some(second), None, Some(second), None]);
}

#[test]
fn errors_told_by_the_network_are_taken_off_and_counted() {
    let mut bench = Bench::new(128);
    bench.primary.errors_queued = 3;
    let ready = Ready { errors: [true, false], ..Ready::default() };
    bench.script.steps.push_back(Some(ready));
    assert_eq!(bench.run().tally.delivery_errors, 3);
}

#[test]
fn the_role_is_woken_exactly_when_it_wants() {
    let mut bench = Bench::new(128);
    bench.role.deadlines.extend([5, 7, 7, 4_000]);
    bench.host.deadline = Some(Instant::from_nanos(6_000_000));
    bench.script.steps.extend([None, None, None, None]);
    let outcome = bench.run();
    let ms = |ms| Some(Duration::from_millis(ms));
    let happened: Vec<_> =
        outcome.happened.into_iter().filter(|it| !matches!(it, Happened::Sent(..))).collect();
    assert_eq!(
        happened,
        [
            Happened::Waited(ms(5), IDLE),
            Happened::Timeout(5),
            Happened::Waited(ms(1), IDLE),
            Happened::HostDeadline(6),
            Happened::Waited(ms(1), IDLE),
            Happened::Timeout(7),
            Happened::Waited(ms(3_993), IDLE),
            Happened::Timeout(4_000),
            Happened::Waited(None, IDLE),
        ]
    );
}

#[test]
fn a_deadline_is_met_also_while_packets_keep_coming() {
    let mut bench = Bench::new(128);
    bench.role.deadlines.push_back(0);
    bench.primary.arrivals.push_back(Ok(vec![b"D1".to_vec()]));
    bench.script.steps.push_back(socket_ready());
    let outcome = bench.run();
    assert_eq!(outcome.happened[0], Happened::Timeout(0), "due from the start");
}

#[test]
fn what_is_to_be_sent_leaves_before_the_host_is_told() {
    let mut bench = Bench::new(128);
    bench.primary.arrivals.push_back(Ok(vec![b"E".to_vec(), b"E".to_vec(), b"A".to_vec()]));
    bench.script.steps.push_back(socket_ready());
    let outcome = bench.run();
    assert_eq!(
        outcome.happened[1..5],
        [
            Happened::Sent(b"A".to_vec(), None),
            Happened::Event,
            Happened::Event,
            Happened::EventsEnd
        ]
    );
}

#[test]
fn events_that_cause_events_are_told_in_the_same_turn() {
    let mut bench = Bench::new(128);
    bench.host.echoes = 2;
    bench.primary.arrivals.push_back(Ok(vec![b"E".to_vec()]));
    bench.script.steps.push_back(socket_ready());
    let outcome = bench.run();
    let events = outcome.happened.iter().filter(|it| **it == Happened::Event).count();
    assert_eq!(events, 3);
    assert_eq!(outcome.waits().len(), 2);
}

#[test]
fn a_queued_packet_leaves_in_the_same_turn_once_the_role_lets_it() {
    let mut bench = Bench::new(128);
    bench.device.packets.extend([Ok(b"Q1".to_vec()), Ok(b"S2".to_vec())]);
    bench.script.steps.push_back(device_ready());
    let outcome = bench.run();
    assert_eq!(outcome.sent(), [&b"S2"[..], b"Q1", b"bye"]);
}

#[test]
fn the_farewell_is_sent_before_the_loop_ends() {
    let outcome = Bench::new(128).run();
    outcome.result.as_ref().unwrap();
    assert_eq!(outcome.sent(), [b"bye"]);
}

#[test]
fn a_random_port_is_bound_watched_used_and_closed() {
    let mut bench = Bench::new(128);
    bench.primary.arrivals.extend([Ok(vec![b"B".to_vec()]), Ok(vec![b"R".to_vec()])]);
    let arrivals = [Ok(vec![b"D1".to_vec(), b"A".to_vec()])].into_iter().collect();
    bench.primary.beside.borrow_mut().push_back(arrivals);
    bench.device.packets.extend([Ok(b"T1".to_vec()), Ok(b"T2".to_vec()), Ok(b"S3".to_vec())]);
    let random_ready = Some(Ready { random: vec![5], ..Ready::default() });
    bench.script.steps.extend([
        socket_ready(),
        device_ready(),
        random_ready.clone(),
        socket_ready(),
        random_ready,
    ]);
    let outcome = bench.run();
    assert_eq!(outcome.bound, [Some(50_000)]);
    assert_eq!(outcome.happened.iter().filter(|it| **it == Happened::Watched(5)).count(), 1);
    // Its batch holds one datagram, so the second one goes out in between.
    assert_eq!(outcome.sent(), [&b"bound"[..], b"T1", b"S3", b"T2", b"A", b"bye"]);
    assert_eq!(
        outcome.seen,
        [(Local::Primary, b'B'), (RANDOM, b'D'), (RANDOM, b'A'), (Local::Primary, b'R')]
    );
}

#[test]
fn a_role_hears_that_there_is_no_random_port() {
    let mut bench = Bench::new(128);
    bench.primary.arrivals.push_back(Ok(vec![b"B".to_vec()]));
    bench.device.packets.push_back(Ok(b"T1".to_vec()));
    bench.script.steps.extend([socket_ready(), device_ready()]);
    let outcome = bench.run();
    assert_eq!(outcome.bound, [None]);
    assert_eq!(outcome.tally.datagrams_overflowed, 1);
    assert!(outcome.result.is_ok());
}
