//! What the clients of the lab are behind: the option `--nat`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use teredo_sim::NatConfig;
use teredo_sim::nat::Filtering;

use super::place::Host;

/// A kind of NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One of the simulator's, by its key.
    Model(&'static str, NatConfig),
    /// This machine's own: masquerading of nftables.
    Kernel,
}

impl Kind {
    /// All of them.
    fn all() -> impl Iterator<Item = Self> {
        let config = |key: &str| key.parse().unwrap_or(NatConfig::cone());
        NatConfig::KEYS
            .into_iter()
            .map(move |key| Self::Model(key, config(key)))
            .chain([Self::Kernel])
    }

    /// Whether anybody gets through to an endpoint that its client has, or has asked for.
    pub(super) fn lets_in_everyone(self) -> bool {
        let is_open = |config: &NatConfig| {
            config.gives_explicit || config.filtering == Filtering::EndpointIndependent
        };
        matches!(self, Self::Model(_, config) if is_open(&config))
    }

    /// The word for it.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Model(key, _) => key,
            Self::Kernel => KERNEL,
        }
    }

    /// What people call it.
    fn name(self) -> &'static str {
        match self.key() {
            "cone" => "cone NAT",
            "ar" => "address-restricted NAT",
            "pr" => "port-restricted NAT",
            "upr" => "port-restricted NAT with port mapping",
            "ups" => "port-symmetric NAT with port mapping",
            "pp" => "port-preserving NAT",
            "seq" => "sequential NAT",
            "ps" => "port-symmetric NAT",
            "addr" => "address-symmetric NAT",
            _ => "kernel NAT",
        }
    }
}

impl FromStr for Kind {
    type Err = UnknownNat;

    fn from_str(key: &str) -> Result<Self, UnknownNat> {
        Self::all().find(|kind| kind.key() == key).ok_or(UnknownNat)
    }
}

/// What one client is behind: a NAT, or one and a further one behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    inner: Option<Kind>,
    outer: Kind,
}

impl Chain {
    /// The NATs, from the client outwards.
    pub(super) fn kinds(self) -> impl Iterator<Item = Kind> {
        self.inner.into_iter().chain([self.outer])
    }

    /// What people call it.
    pub(super) fn name(self) -> String {
        match self.inner {
            Some(inner) => format!("{} behind a {}", inner.name(), self.outer.name()),
            None => self.outer.name().to_owned(),
        }
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.map(|kind| format!("{}+", kind.key())).unwrap_or_default();
        f.pad(&format!("{inner}{}", self.outer.key()))
    }
}

impl FromStr for Chain {
    type Err = UnknownNat;

    fn from_str(text: &str) -> Result<Self, UnknownNat> {
        let (inner, outer) = match text.split_once('+') {
            Some((inner, outer)) => (Some(inner.parse()?), outer),
            None => (None, text),
        };
        Ok(Self { inner, outer: outer.parse()? })
    }
}

/// The value of `--nat`: what each client is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nats(pub(super) [Chain; 2]);

impl Nats {
    /// Whom a host asks for a port mapping, if there is somebody.
    pub(super) fn gateway_of(self, host: Host) -> Option<Ipv4Addr> {
        let place = Host::CLIENTS.into_iter().position(|client| client == host)?;
        let maps = |kind| matches!(kind, Kind::Model(_, NatConfig { gives_explicit: true, .. }));
        self.0[place].kinds().next().is_some_and(maps).then(|| host.router())
    }
}

impl FromStr for Nats {
    type Err = UnknownNat;

    fn from_str(text: &str) -> Result<Self, UnknownNat> {
        let (first, second) = text.split_once(',').unwrap_or((text, text));
        Ok(Self([first.parse()?, second.parse()?]))
    }
}

impl fmt::Display for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.0;
        write!(f, "{first},{second}")
    }
}

/// The text names no NAT that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownNat;

impl fmt::Display for UnknownNat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = Kind::all().map(Kind::key).collect();
        let keys = keys.join(", ");
        write!(
            f,
            "expected one of {keys} for both clients, or two with a comma between; INNER+OUTER \
             stands for a NAT behind a NAT"
        )
    }
}

impl std::error::Error for UnknownNat {}

const KERNEL: &str = "kernel";

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> [String; 2] {
        text.parse::<Nats>().unwrap().0.map(|chain| chain.to_string())
    }

    #[test]
    fn one_chain_stands_for_both_clients() {
        assert_eq!(texts("cone"), ["cone", "cone"]);
        assert_eq!(texts("ar,ps"), ["ar", "ps"]);
        assert_eq!(texts("pr+cone,kernel"), ["pr+cone", "kernel"]);
        let bad = ["", ",", "pr,", "pr,pr,pr", "pr, pr", "nat", "+", "pr+", "+pr", "pr+pr+pr"];
        for text in bad {
            assert_eq!(text.parse::<Nats>(), Err(UnknownNat), "{text}");
        }
    }

    #[test]
    fn every_kind_has_a_name_of_its_own_and_is_listed() {
        let names: std::collections::BTreeSet<_> = Kind::all().map(Kind::name).collect();
        assert_eq!(names.len(), 10);
        let error = UnknownNat.to_string();
        assert!(Kind::all().all(|kind| error.contains(kind.key())), "{error}");
    }

    #[test]
    fn the_inner_nat_comes_first() {
        let Nats([chain, _]) = "upr+ps".parse().unwrap();
        assert_eq!(chain.kinds().map(Kind::key).collect::<Vec<_>>(), ["upr", "ps"]);
        assert_eq!(
            chain.name(),
            "port-restricted NAT with port mapping behind a port-symmetric NAT"
        );
    }
}
