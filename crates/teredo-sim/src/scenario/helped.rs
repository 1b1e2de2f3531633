//! Helpers, and what clients have of them.

use core::net::SocketAddrV4;

use teredo_proto::client::{HelperConfig, HelperUse, Traversal};
use teredo_proto::keys::{Algorithm, Identifier, Secret, SharedKey};
use teredo_proto::server::{Clients, KnownClient};

use crate::{HostId, NatId};

use super::Scenario;
use super::cast::{CLIENTS_MAX, Member, pick};

/// A helper.
#[derive(Clone, Copy, Debug)]
pub(super) struct Helper {
    host: HostId,
    endpoint: SocketAddrV4,
}

/// What a client has of a helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Help {
    None,
    /// For peers that cannot be met otherwise.
    Peers,
    /// For everything.
    All,
    /// It asks the helper, for this, with a wrong key.
    Refused(HelperUse),
}

impl Help {
    /// Whether the client does everything through the helper, or tries to.
    pub(super) fn is_throughout(self) -> bool {
        matches!(self, Self::All | Self::Refused(HelperUse::All))
    }

    pub(super) fn is_refused(self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// To others, a client that does everything through its helper is behind that and nothing else.
impl Member {
    /// Whether everybody can meet it.
    pub(super) fn is_plain(&self) -> bool {
        match self.help {
            Help::All => !self.home.is_wild,
            Help::Refused(HelperUse::All) => false,
            Help::None | Help::Peers | Help::Refused(HelperUse::Peers) => self.home.is_plain,
        }
    }

    /// Whether nothing is promised of it.
    pub(super) fn is_lost(&self) -> bool {
        self.home.is_wild || self.help == Help::Refused(HelperUse::All)
    }

    /// The outermost NAT in front of it.
    pub(super) fn front(&self) -> Option<NatId> {
        self.home.outermost.filter(|_| !self.help.is_throughout())
    }

    /// The number of the NAT's kind, if it is as RFC 6081 has it: a helper is a cone.
    pub(super) fn kind(&self) -> Option<usize> {
        if self.help.is_throughout() { Some(0) } else { self.home.kind }
    }
}

impl Scenario {
    /// A helper, on a host of its own or on that of a server, for all clients that there will be.
    pub(super) fn add_helper(&mut self, host: u8) {
        if self.helpers.len() >= HELPERS_MAX {
            return;
        }
        let known =
            |index| Some(KnownClient { secret: secret(index, index)?, is_renewal_due: false });
        let clients = Clients::new((0..CLIENTS_MAX).filter_map(known).collect());
        let Ok(clients) = clients else { return };
        let taken = |server: &HostId| self.helpers.iter().any(|helper| helper.host == *server);
        let free: Vec<_> = self.servers.iter().copied().filter(|it| !taken(it)).collect();
        let host = match pick(&free, host / 2).filter(|_| host % 2 == 1) {
            Some(server) => {
                self.world.add_helper_to(server, clients, |_| {});
                server
            }
            None => self.world.add_helper(clients, |_| {}),
        };
        if let Some(endpoint) = self.world.endpoint_of(host) {
            self.helpers.push(Helper { host, endpoint });
        }
    }

    /// Helpers on hosts of their own.
    pub(super) fn helper_hosts(&self) -> Vec<HostId> {
        let hosts = self.helpers.iter().map(|helper| helper.host);
        hosts.filter(|host| !self.servers.contains(host)).collect()
    }

    /// What the next client has of a helper, if there is one: half of them nothing, some a wrong
    /// key.
    pub(super) fn help(&self, choice: u8, traversal: Traversal) -> (Help, Option<HelperConfig>) {
        let helper = pick(&self.helpers, choice / 8).filter(|_| traversal.helper);
        let Some(Helper { endpoint, .. }) = helper else { return (Help::None, None) };
        let help = match choice % 8 {
            0..4 => Help::None,
            4 | 5 => Help::Peers,
            6 => Help::All,
            _ if choice & 8 == 0 => Help::Refused(HelperUse::Peers),
            _ => Help::Refused(HelperUse::All),
        };
        let used_for = match help {
            Help::None => return (help, None),
            Help::Peers => HelperUse::Peers,
            Help::All => HelperUse::All,
            Help::Refused(used_for) => used_for,
        };
        let index = self.members.len();
        let key = if help.is_refused() { CLIENTS_MAX } else { index };
        let config = secret(index, key).map(|secret| HelperConfig { endpoint, secret, used_for });
        (help, config)
    }
}

/// The name of one client with the key of one.
fn secret(name: usize, key: usize) -> Option<Secret> {
    let identifier = Identifier::new(format!("client {name}").as_bytes())?;
    let key = SharedKey::new(Algorithm::default(), format!("the long key of {key}").as_bytes())?;
    Some(Secret { identifier, key })
}

const HELPERS_MAX: usize = 2;
