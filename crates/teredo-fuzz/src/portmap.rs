//! The port mapper and its two protocols: nobody but the gateway is believed, nobody but the
//! gateway is sent anything, and what is read is written as it was.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use teredo_proto::Instant;
use teredo_proto::portmap::{Config, PortMapper, TRANSMIT_LEN_MAX};
use teredo_wire::pcp::{Operation, SERVER_PORT};
use teredo_wire::{nat_pmp, pcp};

use crate::input::Input;
use crate::packets::written;

/// Drives a mapper with what the bytes say.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (now, config) = (Instant::from_nanos(1_000_000_000), Config::new(GATEWAY, LOCAL, 40_000));
    let mut bench = Bench { mapper: PortMapper::new(config, [7; 32]), now, asked: Vec::new() };
    bench.mapper.start(now);
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            return;
        }
        let step = input.byte();
        match step % 5 {
            0 => bench.put(step >> 3, input.bytes()),
            1 | 2 => bench.answer(step >> 3, &mut input),
            3 => {
                let word = input.word();
                bench.wait(Duration::from_millis(u64::from(word & 0xfff) << (word >> 12)));
            }
            _ => bench.command(step >> 3),
        }
    }
}

struct Bench {
    mapper: PortMapper,
    now: Instant,
    /// What the gateway was last asked.
    asked: Vec<u8>,
}

impl Bench {
    /// A datagram arrives, from the gateway if `from` is even.
    fn put(&mut self, from: u8, payload: &[u8]) {
        codecs(payload);
        let is_gateway = from & 1 == 0;
        let address = if is_gateway { GATEWAY } else { LOCAL };
        let from = SocketAddrV4::new(address, SERVER_PORT);
        let (before, external) = (self.ignored(), self.mapper.external());
        let taken = self.mapper.handle_datagram(self.now, from, payload);
        assert_eq!(self.ignored(), before + u64::from(taken.is_err()));
        assert!(is_gateway || taken.is_err(), "taken from somebody");
        if taken.is_err() {
            assert_eq!(self.mapper.external(), external, "changed by what was ignored");
        }
        self.drain();
    }

    /// The gateway answers what it was asked last, with some bytes changed.
    fn answer(&mut self, changes: u8, input: &mut Input<'_>) {
        let Some(mut answer) = reply(&self.asked, input) else { return };
        for _ in 0..changes & 3 {
            let (place, value) = (usize::from(input.byte()), input.byte());
            if let Some(byte) = answer.get_mut(place) {
                *byte = value;
            }
        }
        self.put(0, &answer);
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        let mut repeats = 0;
        for _ in 0..DEADLINES_MAX {
            let Some((deadline, reason)) = self.mapper.poll_timeout() else { break };
            if deadline > end {
                break;
            }
            repeats = if deadline > self.now { 0 } else { repeats + 1 };
            assert!(repeats <= REPEATS_MAX, "stalled at {reason:?}");
            self.now = self.now.max(deadline);
            self.mapper.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self.mapper.handle_timeout(end);
        self.drain();
    }

    fn command(&mut self, number: u8) {
        let remote = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, number), 3_544);
        match number {
            0 => self.mapper.start(self.now),
            1 => self.mapper.stop(self.now),
            2 => self.mapper.renew(self.now),
            3 => self.mapper.set_network(self.now, GATEWAY, Ipv4Addr::new(10, 0, 0, 3)),
            4 => self.mapper.set_network(self.now, GATEWAY, LOCAL),
            5..16 => self.mapper.unmap_peer(self.now, 40_000, remote),
            _ => _ = self.mapper.map_peer(self.now, 40_000, remote),
        }
        self.drain();
    }

    fn drain(&mut self) {
        let mut buffer = [0; TRANSMIT_LEN_MAX];
        let mut count = 0;
        while let Some(transmit) = self.mapper.poll_transmit(&mut buffer) {
            assert_eq!(transmit.to, SocketAddrV4::new(GATEWAY, SERVER_PORT));
            let sent = &buffer[..transmit.len];
            let is_request =
                pcp::Request::parse(sent).is_ok() || nat_pmp::Request::parse(sent).is_ok();
            assert!(is_request, "no request: {sent:02x?}");
            self.asked = sent.to_vec();
            count += 1;
            assert!(count <= SENT_MAX, "there is no end of what is sent");
        }
        while self.mapper.poll_event().is_some() {}
        assert!(self.mapper.external().is_none_or(|it| it.port() != 0), "port 0 leads nowhere");
    }

    fn ignored(&self) -> u64 {
        use teredo_proto::portmap::Ignored as It;
        let all = [It::NotGateway, It::Malformed, It::Unmatched, It::OtherProtocol];
        all.into_iter().map(|reason| self.mapper.ignored(reason)).sum()
    }
}

/// What a gateway says that grants everything.
fn reply(asked: &[u8], input: &mut Input<'_>) -> Option<Vec<u8>> {
    let external = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 7), input.word());
    let epoch_s = input.byte().into();
    if let Ok(request) = pcp::Request::parse(asked) {
        let with = |mapping| pcp::Mapping { external, ..mapping };
        let operation = match request.operation {
            Operation::Announce => Operation::Announce,
            Operation::Map(mapping) => Operation::Map(with(mapping)),
            Operation::Peer(mapping, remote) => Operation::Peer(with(mapping), remote),
        };
        let (result, lifetime_s) = (pcp::ResultCode::SUCCESS, request.lifetime_s);
        let response = pcp::Response { result, lifetime_s, epoch_s, operation: Some(operation) };
        return Some(written(|writer| response.write(writer)));
    }
    let request = nat_pmp::Request::parse(asked).ok()?;
    let answer = match request {
        nat_pmp::Request::ExternalAddress => nat_pmp::Answer::ExternalAddress(*external.ip()),
        nat_pmp::Request::Map { internal_port, lifetime_s, .. } => {
            nat_pmp::Answer::Map { internal_port, external_port: external.port(), lifetime_s }
        }
    };
    let result = nat_pmp::ResultCode::SUCCESS;
    let response = nat_pmp::Response { result, epoch_s, answer: Some(answer) };
    Some(written(|writer| response.write(writer, request)))
}

/// Whatever can be read can be written, and is then read as the same.
fn codecs(bytes: &[u8]) {
    if let Ok(request) = pcp::Request::parse(bytes) {
        let again = written(|writer| request.write(writer));
        assert_eq!(pcp::Request::parse(&again), Ok(request));
    }
    if let Ok(response) = pcp::Response::parse(bytes)
        && response.operation.is_some()
    {
        let again = written(|writer| response.write(writer));
        assert_eq!(pcp::Response::parse(&again), Ok(response));
    }
    if let Ok(request) = nat_pmp::Request::parse(bytes) {
        let again = written(|writer| request.write(writer));
        assert_eq!(nat_pmp::Request::parse(&again), Ok(request));
    }
    let _ = nat_pmp::Response::parse(bytes);
}

const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
const STEPS_MAX: usize = 256;
const DEADLINES_MAX: usize = 500;
const REPEATS_MAX: u32 = 8;
/// More than all its mappings need at once.
const SENT_MAX: usize = 64;
