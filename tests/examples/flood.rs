//! A closed loop of router solicitations, for measuring a server: `flood SERVER SECONDS`.
//!
//! The sources are spread over 4,096 addresses in 1,024 /24s, so that a server's limits per source
//! are on and not reached. They must be local to the namespace this runs in. Counts only
//! advertisements with an origin indication and the nonce of an open solicitation, each once.
//! Prints one JSON object.

#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use teredo_sys::udp::{RecvBatch, SendBatch, UdpSocket};
use teredo_wire::icmpv6::{Icmpv6, ROUTER_ADVERTISEMENT, write_router_solicitation};
use teredo_wire::{Authentication, Datagram, Writer};

/// The first address of the sources, 1,024 /24s in the range that the bench routes to us.
const SOURCES: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);
const SUBNETS: u32 = 1024;
const HOSTS_PER_SUBNET: u32 = 4;
/// Solicitations that may wait for an answer.
const WINDOW: u32 = 1024;
/// Of one system call.
const BATCH: u32 = 64;
/// Longer than any queue between us and the server.
const LOST_AFTER: Duration = Duration::from_millis(100);
/// Where the nonce stands: behind indicator, lengths (RFC 4380 section 5.1.1).
const NONCE_AT: usize = 4;
/// The non-cone source of a solicitation.
const SOLICITOR: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xffff, 0xffff, 0xffff);
const PORT: u16 = 3544;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let server: Ipv4Addr = words.next().context("usage: flood SERVER SECONDS")?.parse()?;
    let seconds: u64 = words.next().context("usage: flood SERVER SECONDS")?.parse()?;
    let mut flood = Flood::new(SocketAddrV4::new(server, PORT))?;
    let start = Instant::now();
    let end = start + Duration::from_secs(seconds);
    let mut now = start;
    while now < end {
        let received = flood.receive()?;
        let sent = flood.send(now)?;
        flood.give_up(now);
        if !received && !sent {
            std::thread::yield_now();
        }
        now = Instant::now();
    }
    let per_second = flood.answered as f64 / start.elapsed().as_secs_f64();
    println!(
        "{{\"answers_per_s\":{per_second:.0},\"answered\":{},\"sent\":{},\"lost\":{},\"bad\":{}}}",
        flood.answered, flood.next, flood.lost, flood.bad
    );
    Ok(())
}

/// The open solicitations are numbered `oldest..next`.
struct Flood {
    server: SocketAddrV4,
    socket: UdpSocket,
    incoming: RecvBatch,
    outgoing: SendBatch,
    template: Vec<u8>,
    /// When number `n` was sent, at `n % len`; `None` once answered.
    open: Vec<Option<Instant>>,
    oldest: u64,
    next: u64,
    waiting: u32,
    answered: u64,
    lost: u64,
    bad: u64,
}

impl Flood {
    /// Holds what can be sent in [`LOST_AFTER`] many times over.
    const OPEN_MAX: usize = 1 << 18;

    fn new(server: SocketAddrV4) -> Result<Self> {
        let mut buffer = [0; 128];
        let mut writer = Writer::new(&mut buffer);
        Authentication::nonce_only([0; 8]).write(&mut writer).ok().context("template")?;
        write_router_solicitation(&mut writer, SOLICITOR).ok().context("template")?;
        Ok(Self {
            server,
            socket: UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?,
            incoming: RecvBatch::new(BATCH as usize, 256),
            outgoing: SendBatch::new(BATCH as usize, 128),
            template: writer.written().to_vec(),
            open: vec![None; Self::OPEN_MAX],
            oldest: 0,
            next: 0,
            waiting: 0,
            answered: 0,
            lost: 0,
            bad: 0,
        })
    }

    /// Takes one batch of answers; whether there was one.
    fn receive(&mut self) -> Result<bool> {
        match self.socket.recv_batch(&mut self.incoming) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(false),
            result => result?,
        };
        for datagram in self.incoming.iter() {
            let number = answered(datagram.payload);
            let known = number.filter(|number| (self.oldest..self.next).contains(number));
            let slot = known.and_then(|number| self.open[slot(number)].take());
            if slot.is_some() {
                self.answered += 1;
                self.waiting -= 1;
            } else {
                self.bad += 1;
            }
        }
        Ok(true)
    }

    /// Fills a batch if the window has room for one; whether it had.
    fn send(&mut self, now: Instant) -> Result<bool> {
        if self.waiting + BATCH > WINDOW {
            return Ok(false);
        }
        while let Some(buffer) = self.outgoing.slot() {
            let datagram = &mut buffer[..self.template.len()];
            datagram.copy_from_slice(&self.template);
            datagram[NONCE_AT..NONCE_AT + 8].copy_from_slice(&self.next.to_be_bytes());
            self.outgoing.commit(self.template.len(), self.server, Some(source(self.next)));
            self.open[slot(self.next)] = Some(now);
            self.next += 1;
            self.waiting += 1;
        }
        let report = self.socket.send_batch(&mut self.outgoing)?;
        // What the socket did not take counts as lost when its time has passed.
        self.outgoing.clear();
        anyhow::ensure!(report.failed == 0, "sending: error {:?}", report.first_errno);
        Ok(true)
    }

    fn give_up(&mut self, now: Instant) {
        while self.oldest < self.next {
            match self.open[slot(self.oldest)] {
                Some(sent) if now.duration_since(sent) < LOST_AFTER => break,
                Some(_) => {
                    self.open[slot(self.oldest)] = None;
                    self.waiting -= 1;
                    self.lost += 1;
                }
                None => {}
            }
            self.oldest += 1;
        }
    }
}

fn slot(number: u64) -> usize {
    (number % Flood::OPEN_MAX as u64) as usize
}

fn source(number: u64) -> Ipv4Addr {
    let number = (number % u64::from(SUBNETS * HOSTS_PER_SUBNET)) as u32;
    let (subnet, host) = (number % SUBNETS, number / SUBNETS + 1);
    Ipv4Addr::from_bits(SOURCES.to_bits() + (subnet << 8) + host)
}

/// The number of the solicitation that this payload answers.
fn answered(payload: &[u8]) -> Option<u64> {
    let datagram = Datagram::parse(payload).ok()?;
    datagram.origin?;
    let icmpv6 = Icmpv6::parse(&datagram.ipv6).ok()?;
    (icmpv6.kind == ROUTER_ADVERTISEMENT).then_some(())?;
    Some(u64::from_be_bytes(datagram.authentication?.nonce))
}
