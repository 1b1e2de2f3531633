//! Why a client must not run here and now.

use std::net::Ipv6Addr;

use teredo_control::Type;
use teredo_engine::network::native_ipv6_source;

use super::{Args, managed};

/// What keeps a client from running, without being a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// It is switched off.
    Disabled,
    /// There is nobody to ask for an address.
    NoServer,
    /// The network has a domain controller, and its administrators a say.
    ManagedNetwork,
    /// Teredo is the last resort (RFC 4380 section 5.5), and this address of the host a better one.
    NativeIpv6(Ipv6Addr),
}

impl Obstacle {
    /// The first one that there is.
    pub(crate) fn of(args: &Args) -> Option<Self> {
        match args.kind.0 {
            Type::Disabled => return Some(Self::Disabled),
            Type::Default | Type::Client | Type::NatAwareClient
                if managed::is_managed(&args.managed_domain, &args.resolv_conf) =>
            {
                return Some(Self::ManagedNetwork);
            }
            Type::Default
            | Type::Client
            | Type::NatAwareClient
            | Type::EnterpriseClient
            | Type::Server => {}
        }
        if args.server.is_none() {
            return Some(Self::NoServer);
        }
        let native = native_ipv6_source().filter(|_| !args.despite_native_ipv6);
        native.map(Self::NativeIpv6)
    }

    /// The word by which the state `offline` is explained.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Disabled => "stopped",
            Self::NoServer => "no-server",
            Self::ManagedNetwork => "managed-network",
            Self::NativeIpv6(_) => "native-ipv6",
        }
    }

    /// For people, with what to do about it.
    pub(crate) fn words(self, args: &Args) -> String {
        match self {
            Self::Disabled => "the client is disabled (type)".to_owned(),
            Self::NoServer => "no server is configured".to_owned(),
            Self::ManagedNetwork => format!(
                "this network is a managed one: {} searches a domain that this host belongs to; to \
                 be a client all the same make it an enterpriseclient (type)",
                args.resolv_conf.display()
            ),
            Self::NativeIpv6(address) => format!(
                "this host has IPv6 without Teredo ({address}); to reach Teredo clients from it \
                 run \"teredo relay --host-only\", to be a client all the same add \
                 --despite-native-ipv6"
            ),
        }
    }
}
