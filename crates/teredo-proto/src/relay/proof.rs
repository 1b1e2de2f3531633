//! Bubble sources that prove their receipt.

use core::net::Ipv6Addr;
use core::time::Duration;

use crate::random::{Key, Seed};
use crate::time::Instant;

/// Makes the link-local sources of a relay's bubbles, and recognises them.
///
/// A client answers a relay's bubble with one to the source of that bubble (RFC 4380 section
/// 5.2.3). If only the relay can know that source, the answer proves that the client got the bubble
/// through its server, whichever endpoint it comes from: so clients behind symmetric NATs, whose
/// datagrams to a relay never come from the embedded endpoint, are reached too. The source is a
/// keyed hash of the client's whole address: a client of a rogue server cannot pass off its own
/// bubble as that of another address with the same endpoint.
#[derive(Debug)]
pub(super) struct BubbleProof {
    key: Key,
}

impl BubbleProof {
    pub(super) fn new(seed: Seed) -> Self {
        Self { key: Key::new(seed, b"bubble sources") }
    }

    /// The source of a bubble to `client`.
    pub(super) fn source(&self, now: Instant, client: Ipv6Addr) -> Ipv6Addr {
        self.source_in(epoch(now), client)
    }

    /// Whether `address` is the source of a bubble that went to `client` lately.
    pub(super) fn is_fresh(&self, now: Instant, client: Ipv6Addr, address: Ipv6Addr) -> bool {
        let is_from = |epoch| self.source_in(epoch, client).to_bits() == address.to_bits();
        // Each comparison is one of whole numbers and both are always made: nothing to be timed.
        let epoch = epoch(now);
        is_from(epoch) | is_from(epoch.wrapping_sub(1))
    }

    fn source_in(&self, epoch: u64, client: Ipv6Addr) -> Ipv6Addr {
        let mut input = [0; 24];
        input[..8].copy_from_slice(&epoch.to_be_bytes());
        input[8..].copy_from_slice(&client.octets());
        let identifier = self.key.hash(&input) as u64 & !UNIVERSAL_AND_GROUP;
        Ipv6Addr::from_bits(LINK_LOCAL | u128::from(identifier))
    }
}

fn epoch(now: Instant) -> u64 {
    now.as_nanos() / EPOCH.as_nanos() as u64
}

/// A source is good in its own epoch and the next one, so for 15 to 30 s: longer than any answer
/// takes, and no longer than trust lasts.
const EPOCH: Duration = Duration::from_secs(15);
/// fe80::/64.
const LINK_LOCAL: u128 = 0xfe80 << 112;
/// The U and G bits of an interface identifier: 0, since it is not derived from any hardware.
const UNIVERSAL_AND_GROUP: u64 = 0x0300_0000_0000_0000;

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Ipv6Addr = Ipv6Addr::new(0x2001, 0, 0xcb00, 0x7178, 0, 0xefff, 0x3fff, 0xfdfe);

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(1_000_000_000 * seconds)
    }

    #[test]
    fn a_source_is_link_local_and_lives_15_to_30_seconds() {
        let proof = BubbleProof::new([7; 32]);
        for sent_s in 0..100 {
            let source = proof.source(at(sent_s), CLIENT);
            assert_eq!(source.segments()[..4], [0xfe80, 0, 0, 0]);
            assert_eq!(source.octets()[8] & 3, 0);
            assert!(proof.is_fresh(at(sent_s + 15), CLIENT, source));
            assert!(!proof.is_fresh(at(sent_s + 30), CLIENT, source));
        }
    }

    #[test]
    fn a_source_is_good_for_one_client_address_of_one_relay() {
        let proof = BubbleProof::new([7; 32]);
        let source = proof.source(at(1), CLIENT);
        for bit in 0..128 {
            let other = Ipv6Addr::from_bits(CLIENT.to_bits() ^ 1 << bit);
            assert!(!proof.is_fresh(at(1), other, source));
            let forged = Ipv6Addr::from_bits(source.to_bits() ^ 1 << bit);
            assert!(!proof.is_fresh(at(1), CLIENT, forged));
        }
        assert!(!BubbleProof::new([8; 32]).is_fresh(at(1), CLIENT, source));
    }
}
