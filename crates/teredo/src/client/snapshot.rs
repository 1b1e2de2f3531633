//! A client at one moment, for people and for programs.

use std::net::{Ipv6Addr, SocketAddrV4};
use std::time::Duration;

use serde::Serialize;
use teredo_proto::client::Client;
use teredo_proto::role::{NatKind, OfflineReason, State};

/// All that is told of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) state: State,
    nat: NatKind,
    address: Option<Ipv6Addr>,
    mapped: Option<SocketAddrV4>,
    /// Whether the server asks for a new key; none without a key.
    key_renewal: Option<bool>,
    /// The refresh interval that was determined.
    determined: Option<Duration>,
}

impl Snapshot {
    /// The client now.
    pub(super) fn of(client: &Client) -> Self {
        Self {
            state: client.state(),
            nat: client.nat_kind(),
            address: client.address(),
            mapped: client.mapped(),
            key_renewal: client.key_renewal(),
            determined: client.determined_interval(),
        }
    }

    /// As a line of JSON. `reason` is why the client is off-line.
    pub(super) fn fact<'a>(
        &self,
        reason: Option<&'static str>,
        port: u16,
        interface: &'a str,
        elapsed_ms: f64,
    ) -> Fact<'a> {
        Fact {
            event: "state",
            role: "client",
            state: self.state.name(),
            reason,
            nat: self.nat.name(),
            address: self.address,
            mapped: self.mapped,
            port,
            interface,
            key_renewal: self.key_renewal,
            determined_interval_s: self.determined.map(|it| it.as_secs_f64()),
            elapsed_ms,
        }
    }

    /// In words, as far as it differs from the one before. `took_ms` is the time that the first
    /// qualification took.
    pub(super) fn words(
        &self,
        before: Option<&Self>,
        server: &str,
        took_ms: Option<f64>,
    ) -> Option<String> {
        let nat = nat(self.nat);
        let words = match (self.state, self.address, self.mapped) {
            (State::Qualified, address, _)
                if before.is_some_and(|before| before.address == address) =>
            {
                let before = before?;
                if before.nat != self.nat {
                    return Some(nat.to_owned());
                }
                // Else it is the key that is to be renewed, or no more, and that was said.
                return (before.determined != self.determined).then(|| interval(self.determined));
            }
            (State::Qualified, Some(address), Some(mapped)) => {
                let took = took_ms.map(|took_ms| format!(" after {took_ms:.1} ms"));
                let took = took.unwrap_or_default();
                format!("qualified{took}: {address}, mapped to {mapped}; {nat}")
            }
            (State::Probe, ..) => format!("asking server {server} for an address"),
            (State::Offline(reason), ..) => {
                return offline(reason, server, self.key_renewal.is_some());
            }
            (State::Dormant, ..) => "dormant until somebody needs the address".to_owned(),
            (State::Qualified, ..) => return None,
        };
        Some(words)
    }
}

/// What is printed on standard output.
#[derive(Serialize)]
pub(super) struct Fact<'a> {
    event: &'static str,
    role: &'static str,
    state: &'static str,
    reason: Option<&'static str>,
    nat: &'static str,
    address: Option<Ipv6Addr>,
    mapped: Option<SocketAddrV4>,
    port: u16,
    interface: &'a str,
    key_renewal: Option<bool>,
    determined_interval_s: Option<f64>,
    elapsed_ms: f64,
}

fn offline(reason: OfflineReason, server: &str, has_key: bool) -> Option<String> {
    let why = match reason {
        // Whoever stopped it knows why, and has said so.
        OfflineReason::Stopped => return None,
        OfflineReason::ForbiddenServer => {
            format!("server {server} has no public IPv4 address (--allow-ipv4 makes it one)")
        }
        OfflineReason::NoAnswer if has_key => format!(
            "no answer from server {server} (is UDP port 3544 blocked, the server gone, or the key \
             not the one it has?)"
        ),
        OfflineReason::NoAnswer => {
            format!(
                "no answer from server {server} (is UDP port 3544 blocked, or the server gone?)"
            )
        }
        OfflineReason::NoSecondaryAnswer => format!(
            "no answer from the secondary address of server {server}, which --strict asks for"
        ),
        OfflineReason::Refused => format!("server {server} serves only clients it knows"),
        OfflineReason::NoProof => {
            format!("server {server} does not show that it knows the key of this client")
        }
        OfflineReason::SymmetricNat => "the NAT is symmetric: it shows another address or port to \
                                        each destination"
            .to_owned(),
        OfflineReason::NoHelper => "the helper did not register this client".to_owned(),
    };
    Some(format!("off-line: {why}; will try again"))
}

fn interval(determined: Option<Duration>) -> String {
    match determined.map(|it| it.as_secs_f64()) {
        Some(seconds) => format!("the NAT keeps mappings for {seconds} s: refreshing that seldom"),
        None => "the NAT forgets sooner than was determined: back to --refresh-interval".to_owned(),
    }
}

/// The kind of NAT in words.
fn nat(kind: NatKind) -> &'static str {
    match kind {
        NatKind::Unknown => "kind of NAT not known yet",
        NatKind::None => "no NAT",
        NatKind::EndpointIndependent => "NAT: endpoint-independent",
        NatKind::PortSymmetric => "NAT: port-symmetric",
        NatKind::AddressSymmetric => "NAT: address-symmetric",
    }
}
