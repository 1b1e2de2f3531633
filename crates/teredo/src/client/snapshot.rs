//! A client at one moment, for people and for programs.

use std::net::{Ipv6Addr, SocketAddrV4};

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
}

impl Snapshot {
    /// The client now.
    pub(super) fn of(client: &Client) -> Self {
        Self {
            state: client.state(),
            nat: client.nat_kind(),
            address: client.address(),
            mapped: client.mapped(),
        }
    }

    /// As a line of JSON.
    pub(super) fn fact<'a>(&self, port: u16, interface: &'a str, elapsed_ms: f64) -> Fact<'a> {
        Fact {
            event: "state",
            role: "client",
            state: self.state.name(),
            reason: self.state.offline_reason().map(OfflineReason::name),
            nat: self.nat.name(),
            address: self.address,
            mapped: self.mapped,
            port,
            interface,
            elapsed_ms,
        }
    }

    /// In words, as far as it differs from the one before.
    pub(super) fn words(&self, before: Option<&Self>, server: &str) -> String {
        match (self.state, self.address, self.mapped) {
            (State::Qualified, Some(address), Some(mapped)) => {
                let was = before.filter(|before| before.address == self.address);
                if was.is_some() {
                    return format!("{}", Nat(self.nat));
                }
                format!("qualified: {address}, mapped to {mapped}; {}", Nat(self.nat))
            }
            (State::Qualified, ..) => "qualified".to_owned(),
            (State::Probe, ..) => format!("asking server {server} for an address"),
            (State::Dormant, ..) => "dormant".to_owned(),
            (State::Offline(reason), ..) => offline(reason, server),
        }
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
    elapsed_ms: f64,
}

fn offline(reason: OfflineReason, server: &str) -> String {
    match reason {
        OfflineReason::Stopped => "off-line".to_owned(),
        OfflineReason::ForbiddenServer => format!(
            "off-line: server {server} has no public IPv4 address (--allow-ipv4 lets one be used \
             all the same)"
        ),
        OfflineReason::NoAnswer => format!(
            "off-line: no answer from server {server} (is UDP port 3544 blocked, or the server \
             gone?); will try again"
        ),
        OfflineReason::NoSecondaryAnswer => format!(
            "off-line: no answer from the secondary address of server {server}, which --strict \
             asks for; will try again"
        ),
        OfflineReason::Refused => {
            format!("off-line: server {server} serves only clients it knows; will try again")
        }
        OfflineReason::SymmetricNat => "off-line: the NAT is symmetric, it shows another address \
                                        or port to each destination; will try again"
            .to_owned(),
    }
}

/// The kind of NAT in words.
struct Nat(NatKind);

impl std::fmt::Display for Nat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            NatKind::Unknown => f.write_str("kind of NAT not known yet"),
            NatKind::None => f.write_str("no NAT"),
            NatKind::EndpointIndependent | NatKind::PortSymmetric | NatKind::AddressSymmetric => {
                write!(f, "NAT: {}", self.0.name())
            }
        }
    }
}
