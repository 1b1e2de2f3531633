//! A client at one moment, as it is published on its host.

use std::net::SocketAddrV4;
use std::num::{NonZeroU16, NonZeroU32};

use teredo_control::{self as control, Helper, Nat, Network, Role, ServerAddress};
use teredo_proto::client::{Client, HelperState, Traversal};
use teredo_proto::role::{NatKind, OfflineReason, State};
use teredo_proto::time::Instant;
use teredo_wire::helper::Status;

use super::Args;

/// The settings of a client, which has not begun.
pub(crate) fn settings(args: &Args) -> control::Snapshot {
    control::Snapshot {
        kind: args.kind.0,
        server_name: args.server.clone(),
        refresh_interval_s: args.refresh_interval,
        client_port: NonZeroU16::new(args.port),
        from_policy: args.from_policy.clone(),
        without: switched_off(args),
        ..control::Snapshot::default()
    }
}

/// Techniques that are on by default and here are not.
fn switched_off(args: &Args) -> Option<String> {
    let off = Traversal::default().without(args.traversal());
    (off != Traversal::NONE).then(|| off.to_string())
}

/// The client now, but for why it is off-line. `local` is its socket, if the network, which is of
/// this kind, has an address for it; the interface goes by name and index.
pub(super) fn publication(
    args: &Args,
    (client, now): (&Client, Instant),
    port: u16,
    local: Option<SocketAddrV4>,
    network: Network,
    (interface, index): (&str, u32),
) -> control::Snapshot {
    let state = client.state();
    let known = control::Snapshot {
        state: published_state(state),
        helper: helper(client, now),
        interface_name: Some(interface.to_owned()),
        interface_index: NonZeroU32::new(index),
        ..settings(args)
    };
    if let State::Offline(reason) = state {
        let nat = (reason == OfflineReason::SymmetricNat).then(|| nat(client.nat_kind()));
        return control::Snapshot { nat, ..known };
    }
    let mapped = client.mapped();
    control::Snapshot {
        probing: probing(client),
        role: Some(Role::Client),
        network: Some(network),
        nat: mapped.map(|_| nat(client.nat_kind())),
        upnp: mapped.map(|_| client.explicit_mapping().is_some()),
        port_preserving: mapped.map(|mapped| mapped.port() == port),
        local_mapping: local,
        external_mapping: mapped,
        address: client.address(),
        port: NonZeroU16::new(port),
        key_renewal: client.key_renewal(),
        determined_interval_s: determined_interval_s(client),
        ..known
    }
}

fn published_state(state: State) -> control::State {
    match state {
        State::Offline(_) => control::State::Offline,
        State::Dormant => control::State::Dormant,
        State::Probe => control::State::Probe,
        State::Qualified => control::State::Qualified,
    }
}

fn probing(client: &Client) -> Option<ServerAddress> {
    let which = if client.is_asking_secondary() {
        ServerAddress::Secondary
    } else {
        ServerAddress::Primary
    };
    Some(which).filter(|_| client.state() == State::Probe)
}

/// Rounded down, so that it is never longer than what was found.
fn determined_interval_s(client: &Client) -> Option<u32> {
    client.determined_interval().and_then(|interval| interval.as_secs().try_into().ok())
}

/// The helper that the client has.
pub(super) fn helper(client: &Client, now: Instant) -> Option<Helper> {
    let (endpoint, state) = client.helper().zip(client.helper_state(now))?;
    let (state, refusal) = match state {
        HelperState::Idle => (control::HelperState::Idle, None),
        HelperState::Asking => (control::HelperState::Asking, None),
        HelperState::Registered => (control::HelperState::Registered, None),
        HelperState::Refused(status) => (control::HelperState::Refused, Some(refusal(status))),
        HelperState::Silent => (control::HelperState::Silent, None),
    };
    Some(Helper { endpoint, state, refusal })
}

fn refusal(status: Status) -> String {
    match status {
        Status::FULL => "full".to_owned(),
        Status::ADDRESS_IN_USE => "address-in-use".to_owned(),
        Status::UNUSABLE_ADDRESS => "unusable-address".to_owned(),
        Status(other) => format!("status-{other}"),
    }
}

fn nat(kind: NatKind) -> Nat {
    match kind {
        NatKind::Unknown => Nat::Unknown,
        NatKind::None => Nat::None,
        NatKind::EndpointIndependent => Nat::EndpointIndependent,
        NatKind::PortSymmetric => Nat::PortSymmetric,
        NatKind::AddressSymmetric => Nat::AddressSymmetric,
    }
}
