//! A host-specific relay at one moment, as it is published on its host.

use std::net::SocketAddrV4;
use std::num::{NonZeroU16, NonZeroU32};

use teredo_control::{Network, Role, Snapshot, State, Type};

use super::Args;

/// The relay now, which serves on `local` if it serves; the interface goes by name and index.
///
/// For the programs of its host it takes the place of a client.
pub(super) fn publication(
    args: &Args,
    local: Option<SocketAddrV4>,
    interface: Option<(&str, u32)>,
) -> Snapshot {
    let known = Snapshot {
        kind: Type::Client,
        refresh_interval_s: REFRESH_INTERVAL_S,
        client_port: NonZeroU16::new(args.port),
        reason: local.is_none().then(|| "no-native-address".to_owned()),
        interface_name: interface.map(|(name, _)| name.to_owned()),
        interface_index: interface.and_then(|(_, index)| NonZeroU32::new(index)),
        ..Snapshot::default()
    };
    let Some(local) = local else { return known };
    Snapshot {
        state: State::Qualified,
        role: Some(Role::HostSpecificRelay),
        network: Some(Network::Unmanaged),
        local_mapping: Some(local),
        port: NonZeroU16::new(local.port()),
        ..known
    }
}

/// That of a client, which nobody has configured.
const REFRESH_INTERVAL_S: u32 = 30;
