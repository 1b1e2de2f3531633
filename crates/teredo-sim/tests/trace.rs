//! Same seed, same run; and what was on the wires can be read by others.

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use core::time::Duration;

use teredo_sim::trace::{End, Packet, Wire};
use teredo_sim::world::START;
use teredo_sim::{HostId, Link, NatConfig, Place, World};
use teredo_wire::capture::Udp;
use teredo_wire::pcap::{LinkType, Reader};

use common::{SECOND, ping, qualify};

/// A world with faults, traffic, and a host to look at.
fn world(seed: u64) -> (World, HostId) {
    let mut world = World::new(seed);
    world.trace_mut().keep_frames();
    world.add_server();
    world.add_relay(Place::Internet);
    let native = world.add_native_host();
    world.set_host_link(Link {
        loss_permille: 50,
        duplicate_permille: 50,
        reorder_permille: 50,
        reorder_delay: 3 * Duration::from_millis(10),
        ..Link::perfect(Duration::from_millis(10))
    });
    let nats = [(); 2].map(|()| world.add_nat(NatConfig::pr()));
    let [a, b] = nats.map(|nat| world.add_client(nat));
    qualify(&mut world, &[a, b]);
    for to in [b, native] {
        for _ in 0..5 {
            ping(&mut world, a, to, SECOND);
        }
    }
    assert_eq!(world.run_for(100 * SECOND), Ok(()));
    (world, a)
}

#[test]
fn same_seed_same_bytes() {
    let [(first, _), (again, _), (other, _)] = [world(1), world(1), world(2)];
    assert_eq!(first.trace().hash(), again.trace().hash());
    assert_eq!(first.trace().frames(), again.trace().frames());
    assert_eq!(first.log_text(), again.log_text());
    assert_ne!(first.trace().hash(), other.trace().hash());
}

/// One file of all wires: packets and times are those of the frames.
#[test]
fn the_capture_of_everything_can_be_read() {
    let (world, _) = world(4);
    let file = world.capture();
    let records: Vec<_> = Reader::new(&file).unwrap().map(Result::unwrap).collect();
    let frames = world.trace().frames();
    assert_eq!(records.len(), frames.len());
    for (record, frame) in records.iter().zip(frames) {
        assert_eq!((record.link, record.time), (LinkType::RAW, frame.at.since(START)));
        if let Packet::Datagram { from, to, payload } = &frame.packet {
            let udp = Udp::find(record.link, record.bytes).unwrap();
            assert_eq!((udp.source, udp.destination, udp.payload), (*from, *to, &payload[..]));
        }
    }
    let names = ["server0", "client3", "nat1", "ipv6"];
    let names_are_told =
        names.iter().all(|name| file.windows(name.len()).any(|window| window == name.as_bytes()));
    assert!(names_are_told);
}

//= N-NAT-02: what a NAT refuses and a link loses is told where it happens
#[test]
fn the_story_says_what_became_of_each_packet() {
    let mut ends = [End::Lost, End::Refused].map(|end| (end, 0));
    for seed in 5..15 {
        let (world, _) = world(seed);
        let (story, frames) = (world.story(), world.trace().frames());
        for (end, sum) in &mut ends {
            let count = frames.iter().filter(|frame| frame.end == Some(*end)).count();
            let told = story.lines().filter(|line| line.ends_with(&format!(": {end}"))).count();
            assert_eq!(told, count);
            *sum += count;
        }
    }
    assert!(ends.iter().all(|(_, sum)| *sum > 0), "{ends:?}");
    let (world, _) = world(5);
    let (story, frames) = (world.story(), world.trace().frames());
    assert!(story.contains("nat0: 203.0.113.101, EIM+APDF preserve\n"), "{story}");
    let times: Vec<f64> = story
        .lines()
        .filter(|line| line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect();
    assert_eq!(times.len(), frames.len() + world.log().len(), "one line for each");
    assert!(times.is_sorted());
}

#[test]
fn captures_can_be_read() {
    let (world, client) = world(3);
    let file = world.trace().pcap(Wire::Host(client));
    let records: Vec<_> = Reader::new(&file).unwrap().map(Result::unwrap).collect();
    assert!(records.len() > 20);
    for record in &records {
        let udp = Udp::find(record.link, record.bytes).unwrap();
        assert!(udp.teredo().is_ok());
    }
    assert!(records.windows(2).all(|pair| pair[0].time <= pair[1].time));

    let native: Vec<_> = world.captures();
    let (_, file) = native.iter().find(|(name, _)| name == "ipv6").unwrap();
    let first = Reader::new(file).unwrap().next().unwrap().unwrap();
    assert_eq!(first.bytes[0] >> 4, 6);
}
