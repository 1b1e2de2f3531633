//! A scan of Teredo addresses from all over the native IPv6 Internet: `scan PER_SECOND SECONDS`.
//!
//! Runs in the namespace of a router towards a relay. Each packet is as long as one may be, comes
//! from another /32 than the one before, and is for one of two million clients; eight in a row are
//! for the same one, as many as a relay keeps for it. Prints one JSON object.

#![forbid(unsafe_code)]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use teredo_sys::netlink::Netlink;
use teredo_sys::tun::Tun;
use teredo_wire::ipv6::{Header, next_header};
use teredo_wire::{Flags, MTU_DEFAULT, TeredoAddress, Writer};

/// The interface that the native Internet is behind.
const INTERFACE: &str = "scan";
/// The first of the clients' addresses, and how many there are.
const CLIENTS: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);
const COUNT: u32 = 1 << 21;
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// Packets for one client in a row.
const IN_A_ROW: u32 = 8;
/// Odd, to scatter numbers over networks and clients.
const STRIDE: u32 = 0x9e37_79b1;
const USAGE: &str = "usage: scan PER_SECOND SECONDS";

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let per_second: u64 = words.next().context(USAGE)?.parse().context(USAGE)?;
    let length = Duration::from_secs(words.next().context(USAGE)?.parse().context(USAGE)?);
    let tun = Tun::create(INTERFACE)?;
    let mut netlink = Netlink::open()?;
    netlink.disable_link_local(tun.index())?;
    netlink.set_link_up(tun.index())?;
    let mut buffer = [0; MTU_DEFAULT as usize];
    let (start, mut number, mut refused) = (Instant::now(), 0_u32, 0_u32);
    while start.elapsed() < length {
        let due = start.elapsed().as_nanos() as u64 * per_second / 1_000_000_000;
        if due < u64::from(number) + u64::from(IN_A_ROW) {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        for _ in 0..IN_A_ROW {
            write(&mut buffer, number).context("a packet does not fit")?;
            refused += u32::from(tun.send(&buffer).is_err());
            number += 1;
        }
    }
    println!("{{\"sent\":{},\"refused\":{refused}}}", number - refused);
    Ok(())
}

fn write(buffer: &mut [u8], number: u32) -> Option<()> {
    let client = (number / IN_A_ROW).wrapping_mul(STRIDE) % COUNT;
    let mapped = SocketAddrV4::new(Ipv4Addr::from_bits(CLIENTS.to_bits() + client), 4096);
    // 2600::/8 and up: a quarter of a million networks.
    let network = 0x2600_0000 + (number.wrapping_mul(STRIDE) >> 14);
    let header = Header {
        payload_len: u16::try_from(buffer.len()).ok()? - 40,
        next_header: next_header::UDP,
        hop_limit: 64,
        source: Ipv6Addr::from_bits(u128::from(network) << 96 | 1),
        destination: TeredoAddress { server: SERVER, flags: Flags(0x1004), mapped }.to_ipv6(),
    };
    header.write(&mut Writer::new(buffer)).ok()
}
