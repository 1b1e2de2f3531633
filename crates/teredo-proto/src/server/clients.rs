//! The clients that a private server knows.

use teredo_wire::Datagram;

use crate::keys::{Identifier, Secret};
use crate::reason::DropReason;

/// The clients with a key, by identifier.
#[derive(Clone, Debug)]
pub struct Clients(Box<[KnownClient]>);

/// One of them.
#[derive(Clone, Debug)]
pub struct KnownClient {
    /// What it proves itself with.
    pub secret: Secret,
    /// Whether it is served with the hint to get a new key.
    pub is_renewal_due: bool,
}

impl Clients {
    /// A server for these clients.
    ///
    /// # Errors
    /// An identifier that occurs more than once.
    pub fn new(mut clients: Vec<KnownClient>) -> Result<Self, Identifier> {
        clients.sort_by(|a, b| a.secret.identifier.cmp(&b.secret.identifier));
        let is_twice = |pair: &&[KnownClient]| {
            let [first, second] = pair else { return false };
            first.secret.identifier == second.secret.identifier
        };
        match clients.windows(2).find(is_twice) {
            Some(pair) => Err(pair[0].secret.identifier.clone()),
            None => Ok(Self(clients.into())),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The client that a solicitation says it is from; whether that is true, its key tells.
    pub(super) fn named(&self, datagram: &Datagram<'_>) -> Result<&KnownClient, DropReason> {
        let authentication = datagram.authentication.ok_or(DropReason::MissingAuthentication)?;
        let at = self.position(authentication.client_id).ok_or(DropReason::UnknownIdentifier)?;
        Ok(&self.0[at])
    }

    /// Which one of them has this identifier.
    pub(crate) fn position(&self, identifier: &[u8]) -> Option<usize> {
        let by_name = |client: &KnownClient| client.secret.identifier.as_bytes().cmp(identifier);
        self.0.binary_search_by(by_name).ok()
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> core::slice::Iter<'_, KnownClient> {
        self.0.iter()
    }
}
