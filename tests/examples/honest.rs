//! Honest clients without tunnels: `honest FIRST_ADDRESS ADDRESSES CLIENTS START_S SECONDS`.
//!
//! CLIENTS client roles, each with a socket of its own, share ADDRESSES addresses from
//! FIRST_ADDRESS on, as behind carriers' NATs. They start one after the other within START_S and
//! then qualify and refresh as they would anywhere. Prints one JSON object: how many qualified
//! within 12 s, how many ever lost their address again, and what they sent and got.

#![forbid(unsafe_code)]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, setrlimit};
use teredo_proto::client::{Client, Config};
use teredo_proto::role::{State, TRANSMIT_LEN_MAX};
use teredo_proto::{Arrival, Event, Instant, Local, Role, Transmit};
use teredo_sys::clock::now_ns;
use teredo_sys::epoll::{Events, Interest, Poller};

const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const SECONDARY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
/// What plays the Internet here.
const INTERNET: [&str; 2] = ["203.0.113.0/24", "100.64.0.0/10"];
/// Three solicitations, four seconds apart (RFC 4380 section 5.2.1).
const QUALIFIED_MAX: Duration = Duration::from_secs(12);
/// How exact deadlines are kept.
const TICK: Duration = Duration::from_millis(20);
const USAGE: &str = "usage: honest FIRST_ADDRESS ADDRESSES CLIENTS START_S SECONDS";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [first, numbers @ ..] = &words[..] else { bail!(USAGE) };
    let first: Ipv4Addr = first.parse().context(USAGE)?;
    let numbers: Vec<u32> =
        numbers.iter().map(|it| it.parse().context(USAGE)).collect::<Result<_>>()?;
    let [addresses, clients, start_s, seconds] = numbers[..] else { bail!(USAGE) };
    let files = Some(u64::from(clients) + 64);
    setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files }).context("open files")?;

    let begin = now();
    let poller = Poller::new()?;
    let mut honest = Vec::new();
    for number in 0..clients {
        let address = Ipv4Addr::from_bits(first.to_bits() + number % addresses);
        let start_at = begin + Duration::from_secs(start_s.into()) * number / clients;
        let client = Honest::new(address, number, start_at)?;
        poller.add(&client.socket, number.into(), Interest::Read)?;
        honest.push(client);
    }
    let mut events = Events::with_capacity(256);
    while now().since(begin) < Duration::from_secs(seconds.into()) {
        poller.wait(&mut events, Some(TICK))?;
        for event in events.iter() {
            honest[event.token as usize].receive()?;
        }
        for client in &mut honest {
            client.do_what_is_due()?;
        }
    }
    let count = |what: &dyn Fn(&Honest) -> bool| honest.iter().filter(|it| what(it)).count();
    let in_time = count(&|it| it.took.is_some_and(|took| took <= QUALIFIED_MAX));
    let slowest = honest.iter().filter_map(|it| it.took).max().unwrap_or_default();
    println!(
        "{{\"clients\":{clients},\"in_time\":{in_time},\"qualified\":{},\"lost\":{},\
         \"slowest_ms\":{},\"sent\":{},\"received\":{}}}",
        count(&|it| it.client.state() == State::Qualified),
        count(&|it| it.has_lost),
        slowest.as_millis(),
        honest.iter().map(|it| it.sent).sum::<u64>(),
        honest.iter().map(|it| it.received).sum::<u64>(),
    );
    Ok(())
}

/// A client with its socket.
struct Honest {
    client: Client,
    socket: UdpSocket,
    start_at: Instant,
    is_started: bool,
    /// How long the first qualification took.
    took: Option<Duration>,
    /// Whether it was off-line again after that.
    has_lost: bool,
    sent: u64,
    received: u64,
}

impl Honest {
    fn new(address: Ipv4Addr, number: u32, start_at: Instant) -> Result<Self> {
        let socket = UdpSocket::bind(SocketAddrV4::new(address, 0))?;
        socket.set_nonblocking(true)?;
        let mut config = Config::new(SERVER, Some(SECONDARY), socket.local_addr()?.port());
        for range in INTERNET {
            config.filter.allowed.push(range.parse().ok().context("range")?);
        }
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        seed[4..12].copy_from_slice(&now_ns().to_be_bytes());
        let client = Client::new(config, seed);
        let (is_started, took, has_lost, sent, received) = (false, None, false, 0, 0);
        Ok(Self { client, socket, start_at, is_started, took, has_lost, sent, received })
    }

    fn receive(&mut self) -> Result<()> {
        let mut buffer = [0; 2048];
        loop {
            let (len, from) = match self.socket.recv_from(&mut buffer) {
                Ok((len, SocketAddr::V4(from))) => (len, from),
                Ok(_) => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            };
            self.received += 1;
            let arrival = Arrival { from, on: Local::Primary };
            let _ = self.client.handle_datagram(now(), arrival, &buffer[..len]);
        }
        self.drain()
    }

    fn do_what_is_due(&mut self) -> Result<()> {
        let now = now();
        if !self.is_started && self.start_at <= now {
            self.is_started = true;
            self.start_at = now;
            self.client.start(now);
        } else if self.client.poll_timeout().is_none_or(|(due, _)| due > now) {
            return Ok(());
        }
        self.client.handle_timeout(now);
        self.drain()
    }

    fn drain(&mut self) -> Result<()> {
        let mut buffer = [0; TRANSMIT_LEN_MAX];
        while let Some(transmit) = self.client.poll_transmit(&mut buffer) {
            let Transmit::Datagram { to, len, .. } = transmit else { continue };
            self.socket.send_to(&buffer[..len], to)?;
            self.sent += 1;
        }
        while let Some(event) = self.client.poll_event() {
            let Event::StateChanged(state) = event else { continue };
            if state == State::Qualified && self.took.is_none() {
                self.took = Some(now().since(self.start_at));
            }
            self.has_lost |= self.took.is_some() && state.offline_reason().is_some();
        }
        Ok(())
    }
}

fn now() -> Instant {
    Instant::from_nanos(now_ns())
}
