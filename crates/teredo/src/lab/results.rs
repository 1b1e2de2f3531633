//! The results as one JSON object.

use std::net::Ipv6Addr;
use std::time::Duration;

use serde::Serialize;

use super::Args;
use super::cast::Fact;
use super::pair::PairResult;
use super::ping::Pings;
use super::place::Host;
use super::transfer::Transfer;

/// All results; times are in milliseconds, absent if there is none.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Results {
    pub(super) client1: ClientResult,
    pub(super) client2: ClientResult,
    pub(super) relay_ping: PingResult,
    pub(super) peer_ping: PingResult,
    pub(super) transfer: TransferResult,
    /// Whether a connection that nobody had asked for was tried, and did not come about.
    pub(super) unsolicited_refused: bool,
    /// What became of a pair of the matrix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pair: Option<PairResult>,
    /// Why the lab failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

impl Results {
    /// Those of a lab in which nothing has happened yet.
    pub(super) fn of(args: &Args) -> Self {
        let mut results = Self::default();
        for (client, nat) in Host::CLIENTS.into_iter().zip(args.nat.0) {
            results.client_mut(client).nat = nat.to_string();
        }
        results
    }

    /// Those of a client.
    pub(super) fn client(&self, client: Host) -> &ClientResult {
        if client == Host::Client2 { &self.client2 } else { &self.client1 }
    }

    /// Those of a client, to be changed.
    pub(super) fn client_mut(&mut self, client: Host) -> &mut ClientResult {
        if client == Host::Client2 { &mut self.client2 } else { &mut self.client1 }
    }
}

/// What became of a client.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct ClientResult {
    pub(super) state: Option<String>,
    /// The key of the NAT before it.
    pub(super) nat: String,
    /// What it thinks of its NAT.
    pub(super) nat_seen: Option<String>,
    pub(super) address: Option<Ipv6Addr>,
    pub(super) mapped: Option<String>,
    /// The local UDP port.
    pub(super) port: Option<u16>,
    /// From before its process was started.
    pub(super) qualified_ms: Option<f64>,
    /// What its gateway has mapped to it.
    #[serde(skip)]
    pub(super) external: Option<String>,
}

impl ClientResult {
    /// Takes what a client says of itself.
    pub(super) fn update(&mut self, fact: &Fact) {
        self.state.clone_from(&fact.state);
        self.nat_seen.clone_from(&fact.nat);
        self.address = fact.teredo_address();
        self.mapped.clone_from(&fact.mapped);
        self.port = fact.port;
    }

    /// Whether it is in service.
    pub(super) fn is_qualified(&self) -> bool {
        self.state.as_deref() == Some("qualified")
    }

    /// Whether it has found out what NAT it is behind.
    pub(super) fn knows_nat(&self) -> bool {
        self.nat_seen.as_deref().is_some_and(|kind| kind != "unknown")
    }
}

/// What became of a row of pings.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct PingResult {
    pub(super) sent: usize,
    pub(super) received: usize,
    pub(super) first_ms: Option<f64>,
    pub(super) median_ms: Option<f64>,
}

impl From<&Pings> for PingResult {
    fn from(pings: &Pings) -> Self {
        Self {
            sent: pings.sent(),
            received: pings.received(),
            first_ms: pings.first().map(milliseconds),
            median_ms: pings.median().map(milliseconds),
        }
    }
}

/// What became of the transfer.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct TransferResult {
    pub(super) bytes: u64,
    pub(super) mbit_s: Option<f64>,
    /// Whether all of it arrived, and as it was sent.
    pub(super) verified: bool,
}

impl From<&Transfer> for TransferResult {
    fn from(transfer: &Transfer) -> Self {
        let mbit_s = (transfer.mbit_s() * 10.0).round() / 10.0;
        Self { bytes: transfer.bytes, mbit_s: Some(mbit_s), verified: true }
    }
}

/// To the microsecond.
pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1_000.0
}
