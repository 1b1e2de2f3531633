//! Randomness and keyed hashes from a seed that the host draws.

use core::fmt;
use core::hash::Hasher;
use core::time::Duration;

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher24};

/// A generator of unpredictable numbers: SipHash-2-4 in counter mode under a secret key.
///
/// Nonces, flags and intervals come from here; with the same seed they are the same again.
#[derive(Clone, Debug)]
pub struct Random {
    key: Key,
    counter: u64,
}

impl Random {
    /// Starts from 32 secret bytes out of the system's generator, or from a simulator's seed.
    pub fn new(seed: Seed) -> Self {
        Self { key: Key::new(seed, b"random"), counter: 0 }
    }

    /// 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.counter += 1;
        self.key.hash(&self.counter.to_be_bytes()) as u64
    }

    /// A number below `bound`, which is not 0. The bias is under `bound` / 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A time from zero to `max`, to the nanosecond.
    pub fn up_to(&mut self, max: Duration) -> Duration {
        let nanos = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.below(nanos.saturating_add(1)))
    }

    /// `N` bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_be_bytes()[..chunk.len()]);
        }
        bytes
    }
}

/// What a role draws its secrets from.
pub type Seed = [u8; 32];

/// A secret key for hashes that others cannot compute: table positions, stateless proofs.
#[derive(Clone)]
pub struct Key([u8; 16]);

impl Key {
    /// The key for one purpose out of a seed.
    pub fn new(seed: Seed, purpose: &[u8]) -> Self {
        let (mut first, mut second) = ([0; 16], [0; 16]);
        first.copy_from_slice(&seed[..16]);
        second.copy_from_slice(&seed[16..]);
        let inner = Self(first).hash(purpose).to_be_bytes();
        Self(Self(second).hash(&inner).to_be_bytes())
    }

    /// 64 bits of SipHash-1-3: the place in a table, which nobody gets to see.
    pub(crate) fn place(&self, bytes: &[u8]) -> u64 {
        SipHasher13::new_with_key(&self.0).hash(bytes)
    }

    /// 128 bits of SipHash-2-4.
    pub fn hash(&self, bytes: &[u8]) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(bytes);
        hasher.finish128().as_u128()
    }
}

impl fmt::Debug for Key {
    /// Shows nothing: what is printed may end up in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}
