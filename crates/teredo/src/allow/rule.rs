//! A rule as the owner of a host writes it: by port, by user or by systemd unit.

use std::fmt;
use std::str::FromStr;

use teredo_proto::policy::{InvalidRule, Rule};
use teredo_wire::ipv6::Ipv6Cidr;

use super::owner::{Owner, user_number};

/// What may come in unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AllowRule {
    /// What it says of itself.
    Plain(Rule),
    /// Whatever ports sockets of this owner listen on.
    Owned {
        /// Whose sockets.
        owner: Owner,
        /// Who may ask; `None` for everybody.
        from: Option<Ipv6Cidr>,
    },
}

impl AllowRule {
    /// The user whom it names and nobody knows.
    pub(super) fn unknown_user(&self) -> Option<&str> {
        match self {
            Self::Owned { owner: Owner::User(name), .. } if user_number(name).is_none() => {
                Some(name)
            }
            Self::Owned { .. } | Self::Plain(_) => None,
        }
    }
}

impl FromStr for AllowRule {
    type Err = InvalidAllowRule;

    fn from_str(text: &str) -> Result<Self, InvalidAllowRule> {
        let Some((kind, rest)) = text.split_once(':').filter(|(kind, _)| OWNERS.contains(kind))
        else {
            return text.parse().map(Self::Plain).map_err(InvalidAllowRule::Plain);
        };
        // Names of units have an @ of their own, and so may those of users.
        let (name, from) = match rest.rsplit_once('@') {
            Some((name, from)) => match from.parse() {
                Ok(from) => (name, Some(from)),
                Err(_) => (rest, None),
            },
            None => (rest, None),
        };
        let owner = Owner::new(kind, name).ok_or(InvalidAllowRule::Owned)?;
        Ok(Self::Owned { owner, from })
    }
}

impl fmt::Display for AllowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(rule) => rule.fmt(f),
            Self::Owned { owner, from } => {
                owner.fmt(f)?;
                from.map_or(Ok(()), |from| write!(f, "@{from}"))
            }
        }
    }
}

/// The text is not a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvalidAllowRule {
    /// Not one by port.
    Plain(InvalidRule),
    /// Not one by owner.
    Owned,
}

impl fmt::Display for InvalidAllowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(error) => write!(f, "{error}, user:NAME, unit:NAME.service"),
            Self::Owned => f.write_str(
                "expected the name or number of a user, or the full name of a unit: \
                 user:bittorrent, unit:sshd.service, unit:sshd.service@2001:db8::/32",
            ),
        }
    }
}

impl std::error::Error for InvalidAllowRule {}

const OWNERS: [&str; 2] = ["user", "unit"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_they_are_written() {
        for text in [
            "all",
            "tcp/22@2001:db8:6::/48",
            "user:root",
            "user:1000@2001:db8::/32",
            "user:someone@ad.example",
            "unit:sshd.service",
            "unit:openvpn@client.service",
            "unit:openvpn@client.service@2001:db8::/32",
            "unit:docker-0a1b.scope",
        ] {
            assert_eq!(text.parse::<AllowRule>().unwrap().to_string(), text);
        }
        for wrong in [
            "user:",
            "user:a b",
            "user:a/b",
            "unit:sshd",
            "unit:.service",
            "unit:sshd.socket",
            "unit:system.slice",
            "unit:../sshd.service",
            "unit:a\nb.service",
            "user:@2001:db8::/32",
            "group:wheel",
            "tcp/x",
        ] {
            assert!(wrong.parse::<AllowRule>().is_err(), "{wrong:?}");
        }
    }
}
