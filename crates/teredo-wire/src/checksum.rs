//! The Internet checksum (RFC 1071) with the IPv6 pseudo-header (RFC 8200 section 8.1).

use core::net::{Ipv4Addr, Ipv6Addr};

/// The checksum of an upper-layer packet over IPv6. Zero its checksum field to compute the value
/// to send; over a received packet, field included, the result is 0 when it is intact.
pub fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8, payload: &[u8]) -> u16 {
    let mut sum = Sum::default();
    sum.add(&source.octets());
    sum.add(&destination.octets());
    sum.add(&(payload.len() as u32).to_be_bytes());
    sum.add(&[0, 0, 0, next_header]);
    sum.add(payload);
    sum.finish()
}

/// The checksum of an upper-layer packet over IPv4, used as [`ipv6`]. For UDP, whose field says
/// "no checksum" with 0, send 0xffff in its place, over IPv6 as well (RFC 768, RFC 8200).
pub fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> u16 {
    let mut sum = Sum::default();
    sum.add(&source.octets());
    sum.add(&destination.octets());
    sum.add(&[0, protocol]);
    sum.add(&(payload.len() as u16).to_be_bytes());
    sum.add(payload);
    sum.finish()
}

/// The checksum of an IPv4 header, used as [`ipv6`].
pub fn ipv4_header(header: &[u8]) -> u16 {
    let mut sum = Sum::default();
    sum.add(header);
    sum.finish()
}

/// A running one's complement sum. Every part but the last must have even length.
#[derive(Default)]
struct Sum(u64);

impl Sum {
    /// Adds native-endian words: byte order commutes with one's complement addition, so the swap
    /// happens once, in `finish`.
    fn add(&mut self, bytes: &[u8]) {
        let (chunks, rest) = bytes.as_chunks::<4>();
        for chunk in chunks {
            self.0 += u64::from(u32::from_ne_bytes(*chunk));
        }
        let mut tail = [0; 4];
        tail[..rest.len()].copy_from_slice(rest);
        self.0 += u64::from(u32::from_ne_bytes(tail));
    }

    fn finish(self) -> u16 {
        let mut sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !u16::from_be(sum as u16)
    }
}
