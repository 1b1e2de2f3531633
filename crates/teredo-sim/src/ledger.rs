//! What became of every packet of test data: the books that a run is checked against.

use core::net::Ipv6Addr;
use std::collections::BTreeMap;

use teredo_wire::ipv6::Ipv6;

use crate::stack;

/// All test data of a world, by tag.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    destination: Ipv6Addr,
    /// The packet but for its hop limit.
    bytes: Vec<u8>,
    delivered: bool,
    reported: bool,
}

impl Ledger {
    /// Enters a packet and returns its tag.
    pub(crate) fn enter(
        &mut self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        len: usize,
    ) -> (u64, Vec<u8>) {
        let tag = self.entries.len() as u64;
        let packet = stack::data(source, destination, tag, len);
        let bytes = without_hop_limit(&packet);
        let entry = Entry { destination, bytes, delivered: false, reported: false };
        self.entries.insert(tag, entry);
        (tag, packet)
    }

    /// A role made this packet: if it is an error, it says what became of another.
    pub(crate) fn note_report(&mut self, packet: &[u8]) {
        let quoted = Ipv6::parse(packet).ok().and_then(|(ipv6, _)| stack::quoted(&ipv6));
        if let Some(entry) = quoted.and_then(|quoted| self.entry(quoted)) {
            entry.reported = true;
        }
    }

    /// A stack took this packet. False if it is test data that nobody sent there, or not as it is.
    pub(crate) fn deliver(&mut self, packet: &[u8]) -> bool {
        let Some(destination) = Ipv6::parse(packet).ok().map(|(ipv6, _)| ipv6.destination()) else {
            return false;
        };
        if stack::tag(packet).is_none() {
            return true;
        }
        let Some(entry) = self.entry(packet) else { return false };
        entry.delivered = true;
        entry.destination == destination && entry.bytes == without_hop_limit(packet)
    }

    pub(crate) fn is_delivered(&self, tag: u64) -> bool {
        self.entries.get(&tag).is_some_and(|entry| entry.delivered)
    }

    pub(crate) fn is_reported(&self, tag: u64) -> bool {
        self.entries.get(&tag).is_some_and(|entry| entry.reported)
    }

    /// Packets entered, and those that reached their destination.
    pub(crate) fn totals(&self) -> (usize, usize) {
        let delivered = self.entries.values().filter(|entry| entry.delivered).count();
        (self.entries.len(), delivered)
    }

    /// A packet that looks like test data and that no stack ever sent.
    pub(crate) fn forge(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        stack::data(source, destination, u64::MAX, FORGED_LEN)
    }

    fn entry(&mut self, packet: &[u8]) -> Option<&mut Entry> {
        self.entries.get_mut(&stack::tag(packet)?)
    }
}

/// Any length will do.
const FORGED_LEN: usize = 200;

fn without_hop_limit(packet: &[u8]) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    if let Some(hop_limit) = bytes.get_mut(7) {
        *hop_limit = 0;
    }
    bytes
}
