//! A gateway that grants ports on its NAT: PCP (RFC 6887) and NAT-PMP (RFC 6886).
//!
//! Like [`Nat`] it is a value that sees payloads and endpoints and nothing else, so that it serves
//! simulated and real packets alike.

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;
use std::collections::BTreeMap;

use teredo_proto::Instant;
use teredo_wire::pcp::Operation;
use teredo_wire::{Writer, nat_pmp, pcp};

use crate::nat::Nat;

/// What a gateway grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// It speaks PCP.
    pub pcp: bool,
    /// It speaks NAT-PMP.
    pub nat_pmp: bool,
    /// It gives another port than the one that is asked for.
    pub gives_other_ports: bool,
    /// It gives no longer lifetime.
    pub lifetime_max: Duration,
    /// It grants mappings for single flows (PEER) only.
    pub peers_only: bool,
    /// It refuses every mapping with this result of PCP, by NAT-PMP for want of resources.
    pub refuses: Option<pcp::ResultCode>,
    /// It grants a mapping once and then refuses its own nonce.
    pub refuses_renewals: bool,
    /// What of its answers is wrong.
    pub lie: Option<Lie>,
    /// How long it takes to answer.
    pub answers_after: Duration,
    /// It speaks UPnP, to which hosts turn that get nothing else. Only what comes of that is
    /// modelled: asking takes searches and connections, which no role does by itself.
    pub upnp: bool,
}

/// What a gateway says that is not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// It grants all and does nothing.
    NothingMapped,
    /// Its mappings are at another address than it says.
    OtherAddress(Ipv4Addr),
    /// It answers another question than the one it was asked; only PCP has a nonce.
    OtherNonce,
}

impl GatewayConfig {
    /// Both protocols, everything as asked for.
    pub const fn new() -> Self {
        Self {
            pcp: true,
            nat_pmp: true,
            gives_other_ports: false,
            lifetime_max: Duration::from_secs(86_400),
            peers_only: false,
            refuses: None,
            refuses_renewals: false,
            lie: None,
            answers_after: Duration::ZERO,
            upnp: false,
        }
    }

    /// UPnP alone.
    pub const fn upnp() -> Self {
        Self { pcp: false, nat_pmp: false, upnp: true, ..Self::new() }
    }

    /// NAT-PMP alone.
    pub const fn nat_pmp() -> Self {
        Self { pcp: false, ..Self::new() }
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// A gateway. Its NAT keeps the mappings; the gateway keeps who may change them.
#[derive(Clone, Debug)]
pub struct Gateway {
    config: GatewayConfig,
    external: Ipv4Addr,
    booted_at: Instant,
    nonces: BTreeMap<SocketAddrV4, [u8; 12]>,
}

impl Gateway {
    /// A gateway that boots now, whose NAT owns `external`.
    pub fn new(config: GatewayConfig, external: Ipv4Addr, now: Instant) -> Self {
        Self { config, external, booted_at: now, nonces: BTreeMap::new() }
    }

    /// What it grants.
    pub fn config(&self) -> &GatewayConfig {
        &self.config
    }

    /// What comes of asking by UPnP for the port of `internal`, for ever (RFC 6081 section 5.3.3):
    /// the external endpoint, unless somebody else has that port or the gateway refuses.
    pub fn answer_upnp(
        &self,
        now: Instant,
        nat: &mut Nat,
        internal: SocketAddrV4,
    ) -> Option<SocketAddrV4> {
        if !self.config.upnp {
            return None;
        }
        let external = self.map(now, nat, internal, internal.port(), u32::MAX)?;
        if external.port() != internal.port() {
            nat.unmap_explicitly(internal);
            return None;
        }
        Some(SocketAddrV4::new(self.claimed(external), external.port()))
    }

    /// Forgets who asked for what; its clock begins anew.
    pub fn reboot(&mut self, now: Instant) {
        self.booted_at = now;
        self.nonces.clear();
    }

    /// The answer to a datagram from the inside to port 5351; none to what makes no sense.
    pub fn answer(
        &mut self,
        now: Instant,
        nat: &mut Nat,
        from: SocketAddrV4,
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        match payload.first() {
            Some(&pcp::VERSION) if self.config.pcp => {
                let request = pcp::Request::parse(payload).ok()?;
                let response = self.answer_pcp(now, nat, from, request);
                Some(bytes(|writer| response.write(writer)))
            }
            Some(&nat_pmp::VERSION) if self.config.nat_pmp => {
                let request = nat_pmp::Request::parse(payload).ok()?;
                let response = self.answer_nat_pmp(now, nat, from, request);
                Some(bytes(|writer| response.write(writer, request)))
            }
            Some(_) if self.config.nat_pmp => {
                let (result, answer) = (nat_pmp::ResultCode::UNSUPPORTED_VERSION, None);
                let response = nat_pmp::Response { result, epoch_s: self.epoch_s(now), answer };
                let request = nat_pmp::Request::ExternalAddress;
                Some(bytes(|writer| response.write(writer, request)))
            }
            Some(_) | None => None,
        }
    }

    /// What it tells all hosts of its link after it has booted.
    pub fn announcements(&self, now: Instant) -> Vec<Vec<u8>> {
        let epoch_s = self.epoch_s(now);
        let mut announcements = Vec::new();
        if self.config.pcp {
            let (result, operation) = (pcp::ResultCode::SUCCESS, Some(Operation::Announce));
            let response = pcp::Response { result, lifetime_s: 0, epoch_s, operation };
            announcements.push(bytes(|writer| response.write(writer)));
        }
        if self.config.nat_pmp {
            let result = nat_pmp::ResultCode::SUCCESS;
            let answer = Some(nat_pmp::Answer::ExternalAddress(self.external));
            let response = nat_pmp::Response { result, epoch_s, answer };
            let request = nat_pmp::Request::ExternalAddress;
            announcements.push(bytes(|writer| response.write(writer, request)));
        }
        announcements
    }

    fn answer_pcp(
        &mut self,
        now: Instant,
        nat: &mut Nat,
        from: SocketAddrV4,
        request: pcp::Request,
    ) -> pcp::Response {
        let mut operation = request.operation;
        let lifetime_s = request.lifetime_s.min(self.config.lifetime_max.as_secs() as u32);
        let result = if request.client != *from.ip() {
            pcp::ResultCode::ADDRESS_MISMATCH
        } else {
            self.grant(now, nat, from, &mut operation, lifetime_s)
        };
        let lifetime_s = if result == pcp::ResultCode::SUCCESS { lifetime_s } else { REFUSAL_S };
        let operation = Some(operation);
        pcp::Response { result, lifetime_s, epoch_s: self.epoch_s(now), operation }
    }

    fn grant(
        &mut self,
        now: Instant,
        nat: &mut Nat,
        from: SocketAddrV4,
        operation: &mut Operation,
        lifetime_s: u32,
    ) -> pcp::ResultCode {
        let (mapping, remote) = match operation {
            Operation::Announce => return pcp::ResultCode::SUCCESS,
            Operation::Map(mapping) => (mapping, None),
            Operation::Peer(mapping, remote) => (mapping, Some(*remote)),
        };
        let internal = SocketAddrV4::new(*from.ip(), mapping.internal_port);
        let external = match remote {
            Some(remote) => nat.outbound(now, internal, remote),
            None if self.config.peers_only => return pcp::ResultCode::NOT_AUTHORIZED,
            None => {
                let nonce = self
                    .nonces
                    .get(&internal)
                    .filter(|_| nat.explicit_mapping(now, internal).is_some());
                let is_renewal = nonce.is_some() && lifetime_s != 0;
                if nonce.is_some_and(|nonce| *nonce != mapping.nonce)
                    || (is_renewal && self.config.refuses_renewals)
                {
                    return pcp::ResultCode::NOT_AUTHORIZED;
                }
                self.nonces.insert(internal, mapping.nonce);
                self.map(now, nat, internal, mapping.external.port(), lifetime_s)
            }
        };
        match (external, self.config.refuses) {
            (_, Some(result)) => result,
            (None, None) => pcp::ResultCode::NO_RESOURCES,
            (Some(external), None) => {
                mapping.external = SocketAddrV4::new(self.claimed(external), external.port());
                if self.config.lie == Some(Lie::OtherNonce) {
                    mapping.nonce[0] ^= 1;
                }
                pcp::ResultCode::SUCCESS
            }
        }
    }

    /// The mapping as it is now; deleted, the endpoint that it had.
    fn map(
        &self,
        now: Instant,
        nat: &mut Nat,
        internal: SocketAddrV4,
        port: u16,
        lifetime_s: u32,
    ) -> Option<SocketAddrV4> {
        if self.config.refuses.is_some() {
            return None;
        }
        if lifetime_s == 0 {
            nat.unmap_explicitly(internal);
            return Some(SocketAddrV4::new(self.external, port));
        }
        if self.config.lie == Some(Lie::NothingMapped) {
            return Some(SocketAddrV4::new(self.external, port));
        }
        let port = if self.config.gives_other_ports { port ^ 1 } else { port };
        nat.map_explicitly(now, internal, port, Duration::from_secs(lifetime_s.into()))
    }

    /// The address that it says an external endpoint has.
    fn claimed(&self, external: SocketAddrV4) -> Ipv4Addr {
        match self.config.lie {
            Some(Lie::OtherAddress(other)) => other,
            Some(Lie::NothingMapped | Lie::OtherNonce) | None => *external.ip(),
        }
    }

    fn answer_nat_pmp(
        &self,
        now: Instant,
        nat: &mut Nat,
        from: SocketAddrV4,
        request: nat_pmp::Request,
    ) -> nat_pmp::Response {
        let answer = match request {
            nat_pmp::Request::ExternalAddress => {
                let own = SocketAddrV4::new(self.external, 0);
                Some(nat_pmp::Answer::ExternalAddress(self.claimed(own)))
            }
            nat_pmp::Request::Map { internal_port, external_port, lifetime_s } => {
                let lifetime_s = lifetime_s.min(self.config.lifetime_max.as_secs() as u32);
                let internal = SocketAddrV4::new(*from.ip(), internal_port);
                let external = self.map(now, nat, internal, external_port, lifetime_s);
                external.map(|external| nat_pmp::Answer::Map {
                    internal_port,
                    external_port: if lifetime_s == 0 { 0 } else { external.port() },
                    lifetime_s,
                })
            }
        };
        let result = match answer {
            Some(_) => nat_pmp::ResultCode::SUCCESS,
            None => nat_pmp::ResultCode::NO_RESOURCES,
        };
        nat_pmp::Response { result, epoch_s: self.epoch_s(now), answer }
    }

    fn epoch_s(&self, now: Instant) -> u32 {
        now.since(self.booted_at).as_secs() as u32
    }
}

fn bytes(write: impl FnOnce(&mut Writer<'_>) -> Result<(), teredo_wire::NoSpace>) -> Vec<u8> {
    let mut buffer = [0; pcp::LEN_MAX];
    let mut writer = Writer::new(&mut buffer);
    // The longest message takes 80 bytes.
    let _ = write(&mut writer);
    writer.written().to_vec()
}

/// For how long a refusal is said to last.
const REFUSAL_S: u32 = 30;
