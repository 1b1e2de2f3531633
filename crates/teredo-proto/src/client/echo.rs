//! Nonces of the direct IPv6 connectivity test (RFC 4380 section 5.2.9).
//!
//! A nonce is a keyed hash over both addresses and the time of sending, and the peer's entry keeps
//! only the times. So a nonce proves one peer to one own address, and nobody can make one up.

use core::net::Ipv6Addr;
use core::time::Duration;

use crate::random::{Key, Random, Seed};
use crate::time::Instant;

/// What nonces are made with.
#[derive(Debug)]
pub(super) struct EchoKey {
    key: Key,
    identifier: u16,
}

/// The variable parts of an echo request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) identifier: u16,
    pub(super) sequence: u16,
    pub(super) nonce: [u8; NONCE_LEN],
}

/// The echo requests sent to one peer.
#[derive(Debug, Default)]
pub(super) struct Probes {
    /// When the last ones were sent, the latest at the end.
    sent_at: [Option<Instant>; OUTSTANDING_MAX],
    /// When the one was sent whose reply counted last.
    proven_by: Option<Instant>,
    sequence: u16,
}

/// What an echo reply with one of our nonces means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// Its sender has read a request that no reply counted for yet.
    Fresh,
    /// A duplicate, a late one or a replay: it proves nothing.
    Stale,
}

impl EchoKey {
    pub(super) fn new(seed: Seed, random: &mut Random) -> Self {
        Self { key: Key::new(seed, b"echo"), identifier: random.next_u64() as u16 }
    }

    fn nonce(&self, own: Ipv6Addr, peer: Ipv6Addr, sent_at: Instant) -> [u8; NONCE_LEN] {
        let mut text = [0; 40];
        text[..16].copy_from_slice(&own.octets());
        text[16..32].copy_from_slice(&peer.octets());
        text[32..].copy_from_slice(&sent_at.as_nanos().to_be_bytes());
        self.key.hash(&text).to_be_bytes()
    }
}

impl Probes {
    /// Whether the last request has had its time for an answer.
    pub(super) fn may_send(&self, now: Instant) -> bool {
        self.answer_due().is_none_or(|due| due <= now)
    }

    /// When the answer to the last request is due.
    pub(super) fn answer_due(&self) -> Option<Instant> {
        self.sent_at[OUTSTANDING_MAX - 1].map(|sent_at| sent_at + PING_TIMEOUT)
    }

    /// Makes the next request to `peer`.
    pub(super) fn next(
        &mut self,
        now: Instant,
        key: &EchoKey,
        own: Ipv6Addr,
        peer: Ipv6Addr,
    ) -> Probe {
        self.sent_at.rotate_left(1);
        self.sent_at[OUTSTANDING_MAX - 1] = Some(now);
        self.sequence = self.sequence.wrapping_add(1);
        let nonce = key.nonce(own, peer, now);
        Probe { identifier: key.identifier, sequence: self.sequence, nonce }
    }

    /// What the data of an echo reply from `peer` proves; `None` when it is none of ours.
    pub(super) fn check(
        &self,
        now: Instant,
        key: &EchoKey,
        own: Ipv6Addr,
        peer: Ipv6Addr,
        data: &[u8],
    ) -> Option<(Proof, Instant)> {
        let data: [u8; NONCE_LEN] = data.try_into().ok()?;
        let is_equal = |sent_at: &Instant| {
            u128::from_ne_bytes(key.nonce(own, peer, *sent_at)) ^ u128::from_ne_bytes(data) == 0
        };
        let sent_at = self.sent_at.into_iter().flatten().find(is_equal)?;
        let is_fresh = now.since(sent_at) <= NONCE_LIFE
            && self.proven_by.is_none_or(|proven_by| proven_by < sent_at);
        Some((if is_fresh { Proof::Fresh } else { Proof::Stale }, sent_at))
    }

    /// The reply to the request of `sent_at` counted.
    pub(super) fn note_proof(&mut self, sent_at: Instant) {
        self.proven_by = Some(sent_at);
    }
}

/// Sends of one test (RFC 4380 section 5.2.4 (2): up to 3 repeats).
pub(super) const PROBES_MAX: u8 = 4;

/// How long an answer may take (RFC 4380 section 5.2.4 (2)).
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a nonce proves anything (E-40).
const NONCE_LIFE: Duration = Duration::from_secs(30);
/// Requests whose replies are known: those of one test (E-40).
const OUTSTANDING_MAX: usize = PROBES_MAX as usize;
/// Bytes of a nonce: twice the 64 bits of RFC 4380 section 5.2.9. The ICMPv6 part is then 24 bytes,
/// well below the 88 that deployed servers let through.
const NONCE_LEN: usize = 16;
