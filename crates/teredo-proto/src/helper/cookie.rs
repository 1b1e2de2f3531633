//! Cookies: proof, without memory, that a client gets what is sent to it.

use core::net::SocketAddrV4;
use core::time::Duration;

use teredo_wire::helper::Cookie;

use crate::random::{Key, Seed};
use crate::time::Instant;

/// Makes and checks them.
#[derive(Debug)]
pub(super) struct Cookies {
    key: Key,
    /// When the last one was issued: each one has a moment of its own.
    last: Instant,
}

impl Cookies {
    pub(super) fn new(seed: Seed) -> Self {
        Self { key: Key::new(seed, b"cookies"), last: Instant::default() }
    }

    /// One for whoever is at `endpoint`.
    pub(super) fn issue(&mut self, now: Instant, endpoint: SocketAddrV4) -> Cookie {
        self.last = now.max(self.last + Duration::from_nanos(1));
        let mut cookie = Cookie::default();
        let (time, tag) = cookie.split_at_mut(8);
        time.copy_from_slice(&self.last.as_nanos().to_be_bytes());
        tag.copy_from_slice(&self.tag(self.last, endpoint).to_be_bytes());
        cookie
    }

    /// When a cookie was issued, if it was, to the same endpoint and not long ago.
    pub(super) fn check(
        &self,
        now: Instant,
        endpoint: SocketAddrV4,
        cookie: Cookie,
    ) -> Option<Instant> {
        let (&time, tag) = cookie.split_first_chunk()?;
        let issued_at = Instant::from_nanos(u64::from_be_bytes(time));
        let is_fresh = issued_at <= self.last && now.since(issued_at) < LIFETIME;
        let tag = u64::from_be_bytes(tag.try_into().ok()?);
        // Compared as a whole, so that the time it takes tells nothing.
        (is_fresh && tag ^ self.tag(issued_at, endpoint) == 0).then_some(issued_at)
    }

    fn tag(&self, issued_at: Instant, endpoint: SocketAddrV4) -> u64 {
        let mut bytes = [0; 14];
        bytes[..8].copy_from_slice(&issued_at.as_nanos().to_be_bytes());
        bytes[8..12].copy_from_slice(&endpoint.ip().octets());
        bytes[12..].copy_from_slice(&endpoint.port().to_be_bytes());
        (self.key.hash(&bytes) >> 64) as u64
    }
}

/// As long as a registration, whose renewal brings back the cookie of the answer before.
const LIFETIME: Duration = Duration::from_secs(120);
