//! What the daemon tells about itself, and what it can be told.
//!
//! The types are those of the interface description (`org.teredo.Client.varlink`); a test compares
//! them. Words are the same in every output of the program.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddrV4};
use std::num::{NonZeroU16, NonZeroU32};

use serde::{Deserialize, Deserializer, Serialize};

/// All that is to be known of the daemon at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The type that the client is configured to have.
    #[serde(rename = "type")]
    pub kind: Type,
    /// The configured name or IPv4 address of the server; none if there is none.
    pub server_name: Option<String>,
    /// The configured refresh interval in seconds.
    pub refresh_interval_s: u32,
    /// The *configured* local UDP port; none if the system chooses. The one in use is
    /// [`port`](Self::port).
    pub client_port: Option<NonZeroU16>,
    /// Which of the settings above a policy dictates.
    pub from_policy: Vec<SettingName>,
    /// The state of the client; of a host-specific relay `qualified` while it serves.
    pub state: State,
    /// Which address of the server is being asked, in state `probe`.
    pub probing: Option<ServerAddress>,
    /// Why it is off-line: a word such as `symmetric-nat`. More words may come.
    pub reason: Option<String>,
    /// A number that goes with the reason, if some system call gave one.
    pub error_code: Option<u32>,
    /// As what it runs; none while it does not run.
    pub role: Option<Role>,
    /// What kind of network the host is on; none until it is known.
    pub network: Option<Network>,
    /// What kind of NAT there is; none until it is known.
    pub nat: Option<Nat>,
    /// Whether a port was mapped by UPnP; none until it is known.
    pub upnp: Option<bool>,
    /// Whether the NAT keeps port numbers; none until it is known.
    pub port_preserving: Option<bool>,
    /// The IPv4 address and UDP port of the local socket.
    pub local_mapping: Option<SocketAddrV4>,
    /// The same as the server sees them.
    pub external_mapping: Option<SocketAddrV4>,
    /// The Teredo address in use.
    pub address: Option<Ipv6Addr>,
    /// The tunnel interface.
    pub interface_name: Option<String>,
    /// The tunnel interface.
    pub interface_index: Option<NonZeroU32>,
    /// The UDP port in use, in host byte order: what `GetTeredoPort` reports. None unless the
    /// client (or the host-specific relay) holds its socket.
    pub port: Option<NonZeroU16>,
    /// Whether the server asks for a new key for this client, whose old one still serves; none
    /// without a key.
    pub key_renewal: Option<bool>,
    /// The refresh interval in seconds that was determined and is in force in place of the
    /// configured one; none unless one was.
    pub determined_interval_s: Option<u32>,
    /// The helper that the client may use; none if it has none.
    pub helper: Option<Helper>,
    /// Techniques against NATs that somebody has switched off, with commas between them.
    pub without: Option<String>,
    /// What the daemon has given up; none if it runs without a sandbox.
    pub sandbox: Option<Sandbox>,
}

/// A helper, and how far the client is with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Helper {
    /// Where it is.
    pub endpoint: SocketAddrV4,
    /// How far the client is with it.
    pub state: HelperState,
    /// Why it refused, in state `refused`: a word such as `full`. More words may come.
    pub refusal: Option<String>,
}

impl fmt::Display for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.endpoint, self.state.words())?;
        match &self.refusal {
            Some(refusal) => write!(f, " ({})", refusal.replace('-', " ")),
            None => Ok(()),
        }
    }
}

/// How far a client is with its helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HelperState {
    /// It is not needed.
    Idle,
    /// It is being asked.
    Asking,
    /// It passes on what is for the client.
    Registered,
    /// It has refused.
    Refused,
    /// It has not answered.
    Silent,
}

impl HelperState {
    /// In words.
    const fn words(self) -> &'static str {
        match self {
            Self::Idle => "not needed",
            Self::Asking => "being asked",
            Self::Registered => "registered",
            Self::Refused => "refused",
            Self::Silent => "no answer",
        }
    }
}

/// What a process that is set up has given up, so that a fault in it is of little use to anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The capabilities that are left, such as `net_admin`.
    pub capabilities: Vec<String>,
    /// No program that it might run gives it more rights.
    pub no_new_privileges: bool,
    /// Which files it may use is restricted.
    pub landlock: bool,
    /// Which system calls it may make is restricted.
    pub seccomp: bool,
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = if self.capabilities.is_empty() {
            "none".to_owned()
        } else {
            self.capabilities.join(", ")
        };
        write!(f, "capabilities {left}")?;
        for (is_there, layer) in [
            (self.no_new_privileges, "no new privileges"),
            (self.landlock, "landlock"),
            (self.seccomp, "seccomp"),
        ] {
            let without = if is_there { "" } else { "without " };
            write!(f, "; {without}{layer}")?;
        }
        Ok(())
    }
}

/// A snapshot and where it stands in the daemon's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// What is the case.
    #[serde(rename = "status")]
    pub snapshot: Snapshot,
    /// How many different snapshots there have been since the daemon's start, this one included.
    pub generation: u64,
    /// How often the port has changed since then, to and from none included. A reader that has
    /// skipped snapshots sees here whether the port was lost and got back meanwhile.
    pub port_changes: u64,
}

/// The configured type of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// Nothing is configured: the same as `client`.
    #[default]
    Default,
    /// Not to run.
    Disabled,
    /// A client that does not run in managed networks.
    Client,
    /// A client that runs in managed networks too.
    EnterpriseClient,
    /// A client that maps a port on the NAT if it can.
    NatAwareClient,
    /// A server.
    Server,
}

impl Type {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Default,
        Self::Disabled,
        Self::Client,
        Self::EnterpriseClient,
        Self::NatAwareClient,
        Self::Server,
    ];

    /// The word used in configuration and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Disabled => "disabled",
            Self::Client => "client",
            Self::EnterpriseClient => "enterpriseclient",
            Self::NatAwareClient => "natawareclient",
            Self::Server => "server",
        }
    }
}

/// The state of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not in service: disabled, failed or not started.
    #[default]
    Offline,
    /// Enabled, idle, without an address; wakes on demand.
    Dormant,
    /// Qualifying.
    Probe,
    /// An address is obtained and maintained.
    Qualified,
}

impl State {
    /// The word used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Dormant => "dormant",
            Self::Probe => "probe",
            Self::Qualified => "qualified",
        }
    }
}

/// One of the two IPv4 addresses of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerAddress {
    /// The first.
    Primary,
    /// The second, which shows what kind of NAT there is.
    Secondary,
}

/// As what the host takes part in Teredo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// With a Teredo address.
    Client,
    /// With a native IPv6 address, relaying its own traffic only.
    HostSpecificRelay,
}

/// What kind of network the host is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// One with a domain controller, or one that is configured to count as such.
    Managed,
    /// Any other.
    Unmanaged,
}

/// What is known of the NAT (RFC 4787 section 4.1, RFC 6081 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nat {
    /// There is none.
    None,
    /// All destinations see the same mapped address and port.
    EndpointIndependent,
    /// They see different ports.
    PortSymmetric,
    /// They see different addresses.
    AddressSymmetric,
    /// The secondary address of the server did not answer; or a word from the future.
    #[serde(other)]
    Unknown,
}

/// A setting, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingName {
    /// The type of the client.
    Type,
    /// The name or IPv4 address of the server.
    ServerName,
    /// Seconds between packets that keep the NAT's mapping.
    #[serde(rename = "refresh_interval_s")]
    RefreshInterval,
    /// The local UDP port.
    ClientPort,
}

/// A change of settings. What is not named stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The type of the client.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Type>,
    /// The name or IPv4 address of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Seconds between packets that keep the NAT's mapping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_interval_s: Option<u32>,
    /// The local UDP port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_port: Option<NonZeroU16>,
    /// Settings that go back to their defaults. One that is also given a value above is an error.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub reset: Vec<SettingName>,
}

impl Settings {
    /// Whether the setting is given a value.
    pub(crate) fn names(&self, name: SettingName) -> bool {
        match name {
            SettingName::Type => self.kind.is_some(),
            SettingName::ServerName => self.server_name.is_some(),
            SettingName::RefreshInterval => self.refresh_interval_s.is_some(),
            SettingName::ClientPort => self.client_port.is_some(),
        }
    }
}

fn null_is_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SettingName>, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}
