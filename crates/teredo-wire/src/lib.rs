//! Teredo on the wire: bytes to meaning and back.
//!
//! Addresses, encapsulations, IPv6 and ICMPv6 as Teredo uses them, the trailers of RFC 6081, and
//! what a client asks its gateway for a port with (PCP, NAT-PMP), and what it says to a helper.
//! Parsing yields checked views that borrow from the input; emitting writes into the caller's
//! buffer. This crate may not allocate, perform I/O or depend on anything, and no input makes it
//! panic.
//!
//! All multi-byte fields on the wire are big-endian; the types here carry host-order numbers and
//! `core::net` addresses.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod address;
pub mod capture;
pub mod checksum;
pub mod datagram;
pub mod helper;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod nat_pmp;
pub mod pcap;
mod pcapng;
pub mod pcp;
pub mod print;
pub mod trailer;
pub mod writer;

pub use address::{Flags, TeredoAddress};
pub use datagram::{Authentication, Datagram, Malformed};
pub use ipv6::Ipv6;
pub use writer::{NoSpace, Writer};

use core::net::Ipv4Addr;

/// The UDP port on which Teredo servers listen (RFC 4380 section 2.7).
pub const TEREDO_PORT: u16 = 3544;

/// The multicast group of local client discovery (RFC 4380 section 2.17).
pub const DISCOVERY_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 253);

/// The MTU of a Teredo link in bytes, by default and as advertised (RFC 4380 section 5.1.2).
pub const MTU_DEFAULT: u16 = 1280;
