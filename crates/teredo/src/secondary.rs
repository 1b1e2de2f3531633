//! The secondary address of a server on the command line.

use std::net::{AddrParseError, Ipv4Addr};
use std::str::FromStr;

use anyhow::Context;

/// The value of `--secondary`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secondary {
    /// The address after the primary, as all known clients and servers assume.
    Next,
    /// None.
    None,
    /// This one.
    At(Ipv4Addr),
}

impl Secondary {
    /// The secondary address beside a primary one.
    pub(crate) fn beside(self, primary: Ipv4Addr) -> anyhow::Result<Option<Ipv4Addr>> {
        match self {
            Self::Next => {
                let next = primary.to_bits().checked_add(1).map(Ipv4Addr::from_bits);
                next.map(Some).with_context(|| format!("there is no address after {primary}"))
            }
            Self::None => Ok(None),
            Self::At(address) if address == primary => {
                anyhow::bail!("{address} cannot be both the primary and the secondary address")
            }
            Self::At(address) => Ok(Some(address)),
        }
    }
}

impl FromStr for Secondary {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        match text {
            "next" => Ok(Self::Next),
            "none" => Ok(Self::None),
            address => address.parse().map(Self::At),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_next_address_unless_said_otherwise() {
        let primary = Ipv4Addr::new(192, 0, 2, 255);
        let beside = |text: &str| text.parse::<Secondary>().unwrap().beside(primary).unwrap();
        assert_eq!(beside("next"), Some(Ipv4Addr::new(192, 0, 3, 0)));
        assert_eq!(beside("none"), None);
        assert_eq!(beside("198.51.100.1"), Some(Ipv4Addr::new(198, 51, 100, 1)));
        assert!(Secondary::Next.beside(Ipv4Addr::BROADCAST).is_err());
        assert!(Secondary::At(primary).beside(primary).is_err());
        assert!("nowhere".parse::<Secondary>().is_err());
    }
}
