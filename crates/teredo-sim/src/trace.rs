//! What was on the wires: a hash of every byte, and the packets themselves when asked for.

use core::hash::Hasher;
use core::net::SocketAddrV4;
use std::hash::DefaultHasher;

use teredo_proto::Instant;

use crate::host::HostId;
use crate::world::NatId;

/// The wires of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wire {
    /// The access link of a host.
    Host(HostId),
    /// The access link of a NAT, on its outer side.
    Nat(NatId),
    /// The IPv6 Internet.
    Ipv6,
}

/// One packet on one wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// When the near end saw it.
    pub at: Instant,
    /// Where.
    pub wire: Wire,
    /// The packet.
    pub packet: Packet,
}

/// A packet on a wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A UDP datagram over IPv4.
    Datagram {
        /// Source.
        from: SocketAddrV4,
        /// Destination.
        to: SocketAddrV4,
        /// Payload.
        payload: Vec<u8>,
    },
    /// An IPv6 packet.
    Ipv6(Vec<u8>),
}

/// The record of all wires.
#[derive(Debug, Default)]
pub struct Trace {
    hasher: DefaultHasher,
    frame_count: u64,
    frames: Option<Vec<Frame>>,
}

impl Trace {
    /// Keeps the packets from now on, the first [`FRAMES_MAX`] of them.
    pub fn keep_frames(&mut self) {
        self.frames.get_or_insert_default();
    }

    /// The packets kept.
    pub fn frames(&self) -> &[Frame] {
        self.frames.as_deref().unwrap_or_default()
    }

    /// How many packets there were on all wires.
    pub fn frame_count(&self) -> u64 {
        self.frame_count
    }

    /// A hash of time, wire, addresses and bytes of all packets so far.
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    pub(crate) fn datagram(
        &mut self,
        at: Instant,
        wire: Wire,
        from: SocketAddrV4,
        to: SocketAddrV4,
        payload: &[u8],
    ) {
        self.mark(at, wire);
        for endpoint in [from, to] {
            self.hasher.write_u32(endpoint.ip().to_bits());
            self.hasher.write_u16(endpoint.port());
        }
        self.hasher.write(payload);
        self.keep(at, wire, || Packet::Datagram { from, to, payload: payload.to_vec() });
    }

    pub(crate) fn ipv6(&mut self, at: Instant, packet: &[u8]) {
        self.mark(at, Wire::Ipv6);
        self.hasher.write(packet);
        self.keep(at, Wire::Ipv6, || Packet::Ipv6(packet.to_vec()));
    }

    fn mark(&mut self, at: Instant, wire: Wire) {
        self.frame_count += 1;
        self.hasher.write_u64(at.as_nanos());
        let (kind, index) = match wire {
            Wire::Host(HostId(index)) => (0, index),
            Wire::Nat(NatId(index)) => (1, index),
            Wire::Ipv6 => (2, 0),
        };
        self.hasher.write_u8(kind);
        self.hasher.write_usize(index);
    }

    fn keep(&mut self, at: Instant, wire: Wire, packet: impl FnOnce() -> Packet) {
        if let Some(frames) = self.frames.as_mut().filter(|frames| frames.len() < FRAMES_MAX) {
            frames.push(Frame { at, wire, packet: packet() });
        }
    }
}

/// Enough for minutes of a small world, and at most some hundred megabytes.
pub const FRAMES_MAX: usize = 200_000;
