//! A flood from many sources, two million at most, whether or not anybody answers:
//! `storm TO PER_SECOND SECONDS SOURCES KIND...`, where a KIND is `solicitation`, `bubble`,
//! `bubble=IPV6` or `echo=IPV6`, and 0 a second means as many as go.
//!
//! Datagrams come from one address after the other, all of which must be local to the namespace
//! this runs in. Bubbles and echo requests are from Teredo clients at these addresses, and so
//! well-formed that only state tells them from honest ones. A bubble to no address in particular
//! goes to another of them. What comes back is left lying in the socket. Prints one JSON object.

#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use teredo_sys::udp::{SendBatch, UdpSocket};
use teredo_wire::icmpv6::{Echo, write_router_solicitation};
use teredo_wire::ipv6::Header;
use teredo_wire::{Authentication, Flags, NoSpace, TeredoAddress, Writer};

/// The first address of the sources.
const SOURCES: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);
/// Two million of them, a /11; fewer are spread over it.
const SPAN: u64 = 1 << 21;
/// Prime, so that multiples of it visit all sources, and large, so that neighbours in time are none
/// in the address space.
const STRIDE: u64 = 1_229_783;
/// The server of the clients; no role here minds which.
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The non-cone source of a solicitation.
const SOLICITOR: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xffff, 0xffff, 0xffff);
/// Of one system call.
const BATCH: usize = 64;
const USAGE: &str = "usage: storm TO PER_SECOND SECONDS SOURCES KIND...";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [to, per_second, seconds, sources, kinds @ ..] = &words[..] else { bail!(USAGE) };
    let to: SocketAddrV4 = to.parse().context(USAGE)?;
    let per_second: u64 = per_second.parse().context(USAGE)?;
    let length = Duration::from_secs(seconds.parse().context(USAGE)?);
    let sources: u64 = sources.parse().context(USAGE)?;
    let kinds = kinds.iter().map(|word| Kind::parse(word)).collect::<Result<Vec<_>>>()?;
    if kinds.is_empty() || !(1..=SPAN).contains(&sources) {
        bail!(USAGE);
    }
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
    let crowd = Crowd { sources, port: socket.local_addr().port() };
    let mut batch = SendBatch::new(BATCH, 256);
    let (start, mut number, mut sent) = (Instant::now(), 0_u64, 0);
    while start.elapsed() < length {
        let due = start.elapsed().as_nanos() as u64 * per_second / 1_000_000_000;
        if per_second > 0 && due < number + BATCH as u64 {
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        while let Some(slot) = batch.slot() {
            let mut writer = Writer::new(slot);
            let kind = &kinds[(number % kinds.len() as u64) as usize];
            kind.write(&mut writer, number, &crowd).ok().context("a datagram does not fit")?;
            let len = writer.len();
            batch.commit(len, to, Some(crowd.source(number)));
            number += 1;
        }
        let report = socket.send_batch(&mut batch)?;
        sent += report.sent;
        batch.clear();
    }
    let per_second = sent as f64 / start.elapsed().as_secs_f64();
    println!("{{\"sent\":{sent},\"sent_per_s\":{per_second:.0}}}");
    Ok(())
}

/// What is sent.
enum Kind {
    Solicitation,
    Bubble(Option<Ipv6Addr>),
    Echo(Ipv6Addr),
}

impl Kind {
    fn parse(word: &str) -> Result<Self> {
        let (kind, to) = word.split_once('=').unwrap_or((word, ""));
        let to = (!to.is_empty()).then(|| to.parse()).transpose().context(USAGE)?;
        Ok(match (kind, to) {
            ("solicitation", None) => Self::Solicitation,
            ("bubble", to) => Self::Bubble(to),
            ("echo", Some(to)) => Self::Echo(to),
            _ => bail!(USAGE),
        })
    }

    fn write(&self, writer: &mut Writer<'_>, number: u64, crowd: &Crowd) -> Result<(), NoSpace> {
        let client = crowd.client(number);
        match self {
            Self::Solicitation => {
                Authentication::nonce_only(number.to_be_bytes()).write(writer)?;
                write_router_solicitation(writer, SOLICITOR)
            }
            Self::Bubble(to) => {
                let to = to.unwrap_or_else(|| crowd.client(number + 1));
                Header::bubble(client, to).write(writer)
            }
            Self::Echo(to) => {
                let data = &number.to_be_bytes();
                let echo = Echo { reply: false, identifier: 1, sequence: 1, data };
                echo.write(writer, client, *to, 128)
            }
        }
    }
}

/// Who sends.
struct Crowd {
    sources: u64,
    port: u16,
}

impl Crowd {
    fn source(&self, number: u64) -> Ipv4Addr {
        let place = number.wrapping_mul(STRIDE) % self.sources;
        Ipv4Addr::from_bits(SOURCES.to_bits() + (place * (SPAN / self.sources)) as u32)
    }

    fn client(&self, number: u64) -> Ipv6Addr {
        let mapped = SocketAddrV4::new(self.source(number), self.port);
        TeredoAddress { server: SERVER, flags: Flags(0x1004), mapped }.to_ipv6()
    }
}
