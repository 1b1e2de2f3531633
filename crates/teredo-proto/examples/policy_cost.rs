//! What the inbound policy costs a packet on the fast path: a host-specific relay, which has one,
//! beside a relay for others, which has none and is the same otherwise, in alternating rounds.
//!
//! `cargo run --release -p teredo-proto --example policy_cost`

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a program for developers, with output and a clock, who read panics"
)]

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::time::Instant as Clock;

use teredo_proto::relay::{Config, Relay, Scope};
use teredo_proto::role::TRANSMIT_LEN_MAX;
use teredo_proto::{Arrival, Inbound, Instant, Local, Outbound, Role};
use teredo_wire::ipv6::{Header, next_header};
use teredo_wire::{Flags, TeredoAddress, Writer};

const SERVER: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);
const RELAY_AT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(8, 8, 8, 8), 3545);
const CLIENT_AT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(11, 1, 1, 1), 4096);
const HOST: Ipv6Addr = Ipv6Addr::new(0x2600, 0, 0, 0, 0, 0, 0, 2);
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Nothing happens in between, so time can stand still.
const NOW: Instant = Instant::from_nanos(1_000_000_000);
const ROUNDS: usize = 11;
const PACKETS: usize = 1_000_000;
/// Fills a packet of the Teredo MTU behind its headers.
const DATA_LEN: usize = 1280 - 40 - TCP_LEN;
const TCP_LEN: usize = 20;
const SYN: u8 = 2;
const ACK: u8 = 16;

fn main() {
    println!("ns a packet             no policy   policy   ratio");
    for flows in [1, 64, 4096] {
        for direction in [Direction::In, Direction::Out] {
            let mut without = Stand::new(Scope::internet(HOST), flows);
            let mut with = Stand::new(Scope::Host { own: vec![HOST] }, flows);
            let mut times = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                times[0].push(without.measure(direction));
                times[1].push(with.measure(direction));
            }
            let [without_ns, with_ns] = times.map(median);
            let ratio = with_ns / without_ns;
            let what = format!("{direction:?}, {flows} flows in turn");
            println!("{what:<24}{without_ns:>8.1}{with_ns:>9.1}{ratio:>8.2}");
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Direction {
    In,
    Out,
}

/// A relay that has met a client, and packets of their connections.
struct Stand {
    relay: Relay,
    sent: Vec<Vec<u8>>,
    received: Vec<Vec<u8>>,
}

impl Stand {
    fn new(scope: Scope, flows: u16) -> Self {
        let mut relay = Relay::new(Config::new(RELAY_AT, scope), [7; 32]);
        let client = TeredoAddress { server: SERVER, flags: Flags(0x1004), mapped: CLIENT_AT };
        let client = client.to_ipv6();
        let ports = 1..=flows;
        let packets = |source, destination, flags| {
            let packet = |port| tcp(source, destination, port, flags);
            ports.clone().map(packet).collect::<Vec<_>>()
        };
        let [opening, sent] = [SYN, ACK].map(|flags| packets(HOST, client, flags));
        let received = packets(client, HOST, ACK);
        // The first packet has the client sought, and it answers.
        assert_eq!(relay.handle_packet(NOW, &opening[0]), Outbound::Queued);
        let bubble = written(|writer| Header::bubble(client, LINK_LOCAL).write(writer).unwrap());
        let arrival = Arrival { from: CLIENT_AT, on: Local::Primary };
        assert_eq!(relay.handle_datagram(NOW, arrival, &bubble), Inbound::Consumed);
        while relay.poll_transmit(&mut [0; TRANSMIT_LEN_MAX]).is_some() {}
        for packet in opening.iter().chain(&sent) {
            assert!(matches!(relay.handle_packet(NOW, packet), Outbound::Send { .. }));
        }
        Self { relay, sent, received }
    }

    /// Nanoseconds that a packet takes.
    fn measure(&mut self, direction: Direction) -> f64 {
        let arrival = Arrival { from: CLIENT_AT, on: Local::Primary };
        let packets = match direction {
            Direction::In => &self.received,
            Direction::Out => &self.sent,
        };
        let start = Clock::now();
        for packet in packets.iter().cycle().take(PACKETS) {
            match direction {
                Direction::In => {
                    let inbound = self.relay.handle_datagram(NOW, arrival, black_box(packet));
                    assert!(matches!(inbound, Inbound::Deliver(_)));
                }
                Direction::Out => {
                    let outbound = self.relay.handle_packet(NOW, black_box(packet));
                    assert!(matches!(outbound, Outbound::Send { .. }));
                }
            }
        }
        start.elapsed().as_nanos() as f64 / PACKETS as f64
    }
}

fn tcp(source: Ipv6Addr, destination: Ipv6Addr, port: u16, flags: u8) -> Vec<u8> {
    let mut segment = [0; TCP_LEN + DATA_LEN];
    for at in [0, 2] {
        segment[at..at + 2].copy_from_slice(&port.to_be_bytes());
    }
    segment[13] = flags;
    let payload_len = segment.len() as u16;
    let next_header = next_header::TCP;
    written(|writer| {
        let header = Header { payload_len, next_header, hop_limit: 64, source, destination };
        header.write(writer).unwrap();
        writer.put(&segment).unwrap();
    })
}

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = [0; TRANSMIT_LEN_MAX];
    let mut writer = Writer::new(&mut buffer);
    write(&mut writer);
    writer.written().to_vec()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
