//! Who is registered.

use core::net::{Ipv6Addr, SocketAddrV4};
use std::collections::BTreeMap;

use teredo_wire::helper::{Token, link_local};

use crate::helper::Capacity;
use crate::helper::allowance::Allowance;
use crate::time::Instant;

/// A place for each client with a key, and so a bounded table.
#[derive(Debug)]
pub(super) struct Table {
    places: Box<[Place]>,
    by_endpoint: BTreeMap<SocketAddrV4, usize>,
    /// By address and by link-local address.
    by_address: BTreeMap<Ipv6Addr, usize>,
}

/// What is kept about a client.
#[derive(Clone, Debug)]
struct Place {
    registration: Option<Registration>,
    /// The cookie of the last request that was taken, by when it was issued, and its nonce. It
    /// outlives the registration, so that no old request can be used again.
    last: Option<(Instant, [u8; 8])>,
    allowances: [Allowance; 2],
}

/// A registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registration {
    pub(super) address: Ipv6Addr,
    pub(super) endpoint: SocketAddrV4,
    pub(super) token: Token,
    pub(super) expires_at: Instant,
}

/// Which way a datagram goes, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

impl Table {
    /// Bytes for each client: its place, and two entries in each map or less.
    pub(super) const ENTRY_BYTES: usize = size_of::<Place>() + 4 * 64;

    pub(super) fn new(clients: usize, capacity: Capacity) -> Self {
        let allowance = Allowance::new(capacity);
        let allowances = [allowance.clone(), allowance];
        let place = Place { registration: None, last: None, allowances };
        Self {
            places: vec![place; clients].into(),
            by_endpoint: BTreeMap::new(),
            by_address: BTreeMap::new(),
        }
    }

    /// Whether a request of a client is newer than the last one that was taken, or that one itself
    /// again. Notes it if so.
    pub(super) fn is_news(&mut self, client: usize, issued_at: Instant, nonce: [u8; 8]) -> bool {
        let place = &mut self.places[client];
        let is_news = place.last.is_none_or(|(last, last_nonce)| {
            issued_at > last || (issued_at == last && nonce == last_nonce)
        });
        if is_news {
            place.last = Some((issued_at, nonce));
        }
        is_news
    }

    /// Whether another client has this address, or one that takes up the same link-local one. Who
    /// was at the same endpoint before is there no more.
    pub(super) fn has_other(
        &self,
        now: Instant,
        (client, endpoint): (usize, SocketAddrV4),
        address: Ipv6Addr,
    ) -> bool {
        let is_gone = |other: usize| self.by_endpoint.get(&endpoint) == Some(&other);
        let is_other = |address: &Ipv6Addr| {
            let other = self.by_address.get(address);
            other.is_some_and(|&it| it != client && self.is_live(now, it) && !is_gone(it))
        };
        [address, link_local(address)].iter().any(is_other)
    }

    pub(super) fn is_live(&self, now: Instant, client: usize) -> bool {
        self.places[client].registration.is_some_and(|it| now < it.expires_at)
    }

    /// How many are registered.
    pub(super) fn live(&self, now: Instant) -> usize {
        (0..self.places.len()).filter(|&client| self.is_live(now, client)).count()
    }

    /// Registers a client in place of what it had, and of whoever was at its endpoint: a NAT has
    /// given that to somebody else. The token stays as long as the endpoint does; it is returned.
    pub(super) fn enter(&mut self, client: usize, mut registration: Registration) -> Token {
        if let Some(old) = self.remove(client)
            && old.endpoint == registration.endpoint
        {
            registration.token = old.token;
        }
        let Registration { address, endpoint, token, .. } = registration;
        let others = [
            self.by_endpoint.get(&endpoint).copied(),
            self.by_address.get(&address).copied(),
            self.by_address.get(&link_local(address)).copied(),
        ];
        for other in others.into_iter().flatten() {
            self.remove(other);
        }
        self.by_endpoint.insert(endpoint, client);
        self.by_address.insert(address, client);
        self.by_address.insert(link_local(address), client);
        self.places[client].registration = Some(registration);
        token
    }

    /// The client at an endpoint, if it knows its token.
    pub(super) fn at(&self, now: Instant, endpoint: SocketAddrV4, token: Token) -> Option<usize> {
        let client = *self.by_endpoint.get(&endpoint)?;
        let registration = self.places[client].registration?;
        let knows = u32::from_ne_bytes(registration.token) ^ u32::from_ne_bytes(token) == 0;
        (knows && self.is_live(now, client)).then_some(client)
    }

    /// The client with an address, be it the link-local one.
    pub(super) fn of(&self, now: Instant, address: Ipv6Addr) -> Option<usize> {
        self.by_address.get(&address).copied().filter(|&client| self.is_live(now, client))
    }

    /// The address of a client.
    pub(super) fn address(&self, client: usize) -> Option<Ipv6Addr> {
        self.places[client].registration.map(|it| it.address)
    }

    /// Where a client is.
    pub(super) fn way_to(&self, client: usize) -> Option<(SocketAddrV4, Token)> {
        self.places[client].registration.map(|it| (it.endpoint, it.token))
    }

    /// What a client may still send or get.
    pub(super) fn allowance(&mut self, client: usize, direction: Direction) -> &mut Allowance {
        let [inbound, outbound] = &mut self.places[client].allowances;
        match direction {
            Direction::In => inbound,
            Direction::Out => outbound,
        }
    }

    fn remove(&mut self, client: usize) -> Option<Registration> {
        let old = self.places[client].registration.take()?;
        self.by_endpoint.remove(&old.endpoint);
        self.by_address.remove(&old.address);
        self.by_address.remove(&link_local(old.address));
        Some(old)
    }
}
