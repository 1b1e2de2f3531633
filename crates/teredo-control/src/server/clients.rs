//! All clients of the control socket, counted.

use std::collections::BTreeMap;

use crate::connect::ROOT;
use crate::server::Config;
use crate::server::connection::Connection;

/// The connections by their numbers, in the order in which they came.
pub(super) struct Clients {
    connections: BTreeMap<u64, Connection>,
    /// How many there are of each user; no entry for none.
    of_user: BTreeMap<u32, usize>,
    config: Config,
}

impl Clients {
    pub(super) fn new(config: Config) -> Self {
        Self { connections: BTreeMap::new(), of_user: BTreeMap::new(), config }
    }

    /// Whether there is no room for another connection of this user.
    pub(super) fn is_full_for(&self, user: u32) -> bool {
        let of = |user| self.of_user.get(&user).copied().unwrap_or(0);
        let all = self.connections.len();
        // The part that is kept for root, who may be the only one to put things right.
        let for_others = self.config.clients_max - self.config.clients_max / 4;
        of(user) >= self.config.clients_per_user_max
            || all >= self.config.clients_max
            || (user != ROOT && all - of(ROOT) >= for_others)
    }

    pub(super) fn insert(&mut self, connection: Connection) {
        *self.of_user.entry(connection.peer.user).or_default() += 1;
        self.connections.insert(connection.token, connection);
    }

    pub(super) fn get_mut(&mut self, token: u64) -> Option<&mut Connection> {
        self.connections.get_mut(&token)
    }

    pub(super) fn remove(&mut self, token: u64) {
        let Some(connection) = self.connections.remove(&token) else { return };
        let user = connection.peer.user;
        if let Some(count) = self.of_user.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                self.of_user.remove(&user);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Connection> {
        self.connections.values()
    }
}
