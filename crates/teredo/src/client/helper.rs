//! The helper that a client may use, as its options have it.

use std::fmt;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail};
use clap::ValueEnum;
use teredo_engine::resolve::resolve;
use teredo_proto::client::{HelperConfig, HelperUse};
use teredo_proto::keys::Secret;
use teredo_wire::helper::HELPER_PORT;

use crate::keys::HelperKeyArgs;
use crate::report::Report;

/// Options for the helper.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct HelperArgs {
    /// A helper that passes packets on to and from peers that cannot be met directly; one at either
    /// end will do. It has to know a key of this client
    #[arg(long, value_name = "HOST[:PORT]")]
    helper: Option<Place>,

    /// What the helper is used for: peers that cannot be met directly, or all traffic, where this
    /// network lets nothing else through
    #[arg(long, value_name = "WHAT", default_value = "peers", requires = "helper")]
    helper_for: Purpose,

    #[command(flatten)]
    key: HelperKeyArgs,
}

impl HelperArgs {
    /// The file with the key.
    pub(crate) fn key_file(&self) -> Option<PathBuf> {
        self.key.file()
    }

    /// What the options say, with the key read from its file and the name looked up. The key is
    /// `servers` if there is none for the helper. Whoever needs it for some peers only goes without
    /// one whose name does not resolve.
    pub(super) fn config(
        &self,
        servers: Option<&Secret>,
        report: Report,
    ) -> anyhow::Result<Option<HelperConfig>> {
        let Some(place) = &self.helper else { return Ok(None) };
        let secret = match self.key.secret()? {
            Some(secret) => secret,
            None => servers
                .context("a helper wants a key: --helper-identifier and --helper-key-file")?
                .clone(),
        };
        let endpoint = match place.look_up() {
            Ok(endpoint) => endpoint,
            Err(error) if self.helper_for == Purpose::Peers => {
                report.say(&format!("no helper: {error:#}"));
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        Ok(Some(HelperConfig { endpoint, secret, used_for: self.helper_for.into() }))
    }
}

/// Name or address, and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    host: String,
    port: u16,
}

impl Place {
    fn look_up(&self) -> anyhow::Result<SocketAddrV4> {
        let address = resolve(&self.host).context("the helper")?;
        Ok(SocketAddrV4::new(address, self.port))
    }
}

impl FromStr for Place {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|&port: &u16| port != 0)),
            None => (text, Some(HELPER_PORT)),
        };
        match port {
            Some(port) if !host.is_empty() => Ok(Self { host: host.to_owned(), port }),
            Some(_) | None => bail!("not a name or IPv4 address, or one with a port after a colon"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The values of `--helper-for`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Purpose {
    /// Peers that cannot be met directly
    Peers,
    /// Everything: the address is one at the helper
    All,
}

impl From<Purpose> for HelperUse {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Peers => Self::Peers,
            Purpose::All => Self::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_a_port_of_its_own_or_the_usual_one() {
        for (text, shown) in [
            ("192.0.2.1", Some("192.0.2.1:3545")),
            ("helper.example.net:4000", Some("helper.example.net:4000")),
            ("", None),
            (":1", None),
            ("a:", None),
            ("a:0", None),
            ("a:65536", None),
            ("2001:db8::1", None),
        ] {
            assert_eq!(text.parse::<Place>().ok().map(|it| it.to_string()).as_deref(), shown);
        }
    }
}
