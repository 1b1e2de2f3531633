//! Why there is no mapping, and why a datagram was ignored.

use core::fmt;

use teredo_wire::{nat_pmp, pcp};

/// Why the gateway gives no mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// It does not answer: it speaks neither protocol, or something is in between.
    NoAnswer,
    /// It refuses this host, or everybody.
    NotAuthorized,
    /// It has no more room.
    NoResources,
    /// This host has enough of its mappings.
    Quota,
    /// It has no external address itself.
    NetworkFailure,
    /// It sees another source address than the host's: there is another NAT before it.
    AddressMismatch,
    /// It does not know the operation, as NAT-PMP does not know remote endpoints.
    Unsupported,
    /// It granted something of no use: no port, or for a few seconds.
    Unusable,
    /// Any other result of PCP.
    Other(u8),
}

impl Failure {
    /// The word used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "no-answer",
            Self::NotAuthorized => "not-authorized",
            Self::NoResources => "no-resources",
            Self::Quota => "quota",
            Self::NetworkFailure => "network-failure",
            Self::AddressMismatch => "address-mismatch",
            Self::Unsupported => "unsupported",
            Self::Unusable => "unusable",
            Self::Other(_) => "other",
        }
    }

    pub(super) fn from_pcp(result: pcp::ResultCode) -> Self {
        match result {
            pcp::ResultCode::NOT_AUTHORIZED => Self::NotAuthorized,
            pcp::ResultCode::NO_RESOURCES | pcp::ResultCode::CANNOT_PROVIDE_EXTERNAL => {
                Self::NoResources
            }
            pcp::ResultCode::QUOTA | pcp::ResultCode::EXCESSIVE_REMOTE_PEERS => Self::Quota,
            pcp::ResultCode::NETWORK_FAILURE => Self::NetworkFailure,
            pcp::ResultCode::ADDRESS_MISMATCH => Self::AddressMismatch,
            pcp::ResultCode::UNSUPPORTED_OPCODE | pcp::ResultCode::UNSUPPORTED_PROTOCOL => {
                Self::Unsupported
            }
            pcp::ResultCode(code) => Self::Other(code),
        }
    }

    pub(super) fn from_nat_pmp(result: nat_pmp::ResultCode) -> Self {
        match result {
            nat_pmp::ResultCode::NOT_AUTHORIZED => Self::NotAuthorized,
            nat_pmp::ResultCode::NETWORK_FAILURE => Self::NetworkFailure,
            nat_pmp::ResultCode::NO_RESOURCES => Self::NoResources,
            _ => Self::Unsupported,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a datagram was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// It is not from the gateway's port.
    NotGateway,
    /// It is no message of either protocol.
    Malformed,
    /// It answers nothing that was asked: another nonce, port or endpoint.
    Unmatched,
    /// It is of the protocol that is not in use.
    OtherProtocol,
}

impl Ignored {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::NotGateway, Self::Malformed, Self::Unmatched, Self::OtherProtocol];

    /// The name used in counters and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotGateway => "not-gateway",
            Self::Malformed => "malformed",
            Self::Unmatched => "unmatched",
            Self::OtherProtocol => "other-protocol",
        }
    }
}

impl From<pcp::Fault> for Ignored {
    fn from(_: pcp::Fault) -> Self {
        Self::Malformed
    }
}
