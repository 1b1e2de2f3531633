//! What may come in unasked: the owner's word, as a plain value.
//!
//! Windows calls it edge traversal and refuses it by default; so do we (invariant I9).

use core::fmt;
use core::net::Ipv6Addr;
use core::str::FromStr;

use teredo_wire::ipv6::{Ipv6Cidr, next_header};

/// The unsolicited IPv6 packets that may come out of the tunnel. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    /// Lets in what any of these rules names.
    ///
    /// # Errors
    /// [`TooManyRules`] when there are more than [`RULES_MAX`].
    pub fn new(rules: Vec<Rule>) -> Result<Self, TooManyRules> {
        if rules.len() > RULES_MAX { Err(TooManyRules) } else { Ok(Self { rules }) }
    }

    /// Lets in everything: there is another firewall, or nothing to protect.
    pub fn everything() -> Self {
        Self { rules: vec![Rule { service: Service::All, from: None }] }
    }

    /// The rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether somebody may reach this port of ours unasked, be it not everybody.
    pub fn opens(&self, protocol: u8, port: u16) -> bool {
        let asked = Asked { protocol, port: Some(port), is_echo: false };
        self.rules.iter().any(|rule| rule.service.covers(asked))
    }

    /// Whether a packet to this `service` of ours may come in from `source` unasked.
    pub(crate) fn allows(&self, service: Asked, source: Ipv6Addr) -> bool {
        self.rules.iter().any(|rule| rule.covers(service, source))
    }
}

/// One thing that may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What may be asked for.
    pub service: Service,
    /// Who may ask; `None` for everybody.
    pub from: Option<Ipv6Cidr>,
}

impl Rule {
    fn covers(&self, asked: Asked, source: Ipv6Addr) -> bool {
        self.service.covers(asked) && self.from.is_none_or(|from| from.contains(source))
    }
}

/// What a [`Rule`] lets others ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Anything at all, also what cannot be told apart.
    All,
    /// TCP to these ports.
    Tcp(Ports),
    /// UDP to these ports.
    Udp(Ports),
    /// ICMPv6 echo requests.
    Echo,
    /// This protocol number, whatever it says.
    Protocol(u8),
}

impl Service {
    fn covers(self, asked: Asked) -> bool {
        match self {
            Self::All => true,
            Self::Tcp(ports) => asked.protocol == next_header::TCP && ports.contain(asked.port),
            Self::Udp(ports) => asked.protocol == next_header::UDP && ports.contain(asked.port),
            Self::Echo => asked.is_echo,
            Self::Protocol(protocol) => asked.protocol == protocol,
        }
    }
}

/// A range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Ports {
    /// All of them.
    pub const ALL: Self = Self { first: 0, last: u16::MAX };

    /// From `first` to `last`; `None` when that is nothing.
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first > last {
            return None;
        }
        Some(Self { first, last })
    }

    /// A port that cannot be read may be any.
    fn contain(self, port: Option<u16>) -> bool {
        port.map_or(self == Self::ALL, |port| (self.first..=self.last).contains(&port))
    }
}

/// What a packet asks of its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) protocol: u8,
    /// The destination port, if there is such a thing and it can be read.
    pub(crate) port: Option<u16>,
    /// Whether this is an ICMPv6 echo request.
    pub(crate) is_echo: bool,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.service.fmt(f)?;
        self.from.map_or(Ok(()), |from| write!(f, "@{from}"))
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Tcp(ports) => write!(f, "tcp{ports}"),
            Self::Udp(ports) => write!(f, "udp{ports}"),
            Self::Echo => f.write_str("echo"),
            Self::Protocol(protocol) => protocol.fmt(f),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ALL => Ok(()),
            Self { first, last } if first == last => write!(f, "/{first}"),
            Self { first, last } => write!(f, "/{first}-{last}"),
        }
    }
}

impl FromStr for Rule {
    type Err = InvalidRule;

    /// Reads `PROTO[/PORT[-PORT]][@PREFIX]`.
    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let (service, from) = match text.split_once('@') {
            Some((service, from)) => (service, Some(from.parse().map_err(|_| InvalidRule)?)),
            None => (text, None),
        };
        Ok(Self { service: service.parse()?, from })
    }
}

impl FromStr for Service {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let (protocol, ports) = match text.split_once('/') {
            Some((protocol, ports)) => (protocol, Some(ports.parse()?)),
            None => (text, None),
        };
        match (protocol, ports) {
            ("tcp", ports) => Ok(Self::Tcp(ports.unwrap_or(Ports::ALL))),
            ("udp", ports) => Ok(Self::Udp(ports.unwrap_or(Ports::ALL))),
            ("all", None) => Ok(Self::All),
            ("echo", None) => Ok(Self::Echo),
            (number, None) => Ok(Self::Protocol(parse_number(number)?)),
            (_, Some(_)) => Err(InvalidRule),
        }
    }
}

impl FromStr for Ports {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Self::new(parse_number(first)?, parse_number(last)?).ok_or(InvalidRule)
    }
}

/// `parse` would take a sign.
fn parse_number<N: FromStr>(text: &str) -> Result<N, InvalidRule> {
    let digits = Some(text).filter(|text| !text.starts_with('+'));
    digits.and_then(|digits| digits.parse().ok()).ok_or(InvalidRule)
}

/// The text is not a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidRule;

impl fmt::Display for InvalidRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "expected all, echo, tcp, udp or a protocol number, tcp and udp with a port \
                     or a range, each with a source: tcp/22, udp/6881-6889, tcp/22@2001:db8::/32",
        )
    }
}

impl core::error::Error for InvalidRule {}

/// More rules than [`RULES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyRules;

impl fmt::Display for TooManyRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {RULES_MAX} rules")
    }
}

impl core::error::Error for TooManyRules {}

/// Rules at most: a host has fewer services, and a packet that nobody asked for is held against
/// each of them.
pub const RULES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const FRIEND: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 6, 0, 0, 0, 0, 2);
    const STRANGER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 2);

    fn policy(rules: &str) -> Policy {
        Policy::new(rules.split_whitespace().map(|rule| rule.parse().unwrap()).collect()).unwrap()
    }

    fn asked(protocol: u8, port: impl Into<Option<u16>>) -> Asked {
        Asked { protocol, port: port.into(), is_echo: false }
    }

    const ECHO: Asked = Asked { protocol: 58, port: None, is_echo: true };

    //= API-77, SEC-11: the default lets nothing in
    #[test]
    fn the_default_refuses_everything() {
        for asked in [asked(6, 22), asked(17, 53), asked(50, None), ECHO] {
            assert!(!Policy::default().allows(asked, FRIEND));
            assert!(Policy::everything().allows(asked, FRIEND));
        }
    }

    //= API-77: a rule lets in what it names, from whom it names
    #[test]
    fn a_rule_covers_what_it_says_and_no_more() {
        let policy = policy("tcp/22@2001:db8:6::/48 udp/6881-6889 echo 50");
        assert!(policy.allows(asked(6, 22), FRIEND) && !policy.allows(asked(6, 22), STRANGER));
        for (port, expected) in [(6880, false), (6881, true), (6889, true), (6890, false)] {
            assert_eq!(policy.allows(asked(17, port), STRANGER), expected, "{port}");
        }
        assert!(policy.allows(ECHO, STRANGER) && policy.allows(asked(50, None), STRANGER));
        for refused in [asked(6, 23), asked(58, None), asked(51, None), asked(6, None)] {
            assert!(!policy.allows(refused, FRIEND), "{refused:?}");
        }
    }

    #[test]
    fn a_port_is_open_if_it_is_to_anybody() {
        let policy = policy("tcp/22@2001:db8:6::/48 echo 50");
        assert!(policy.opens(6, 22) && policy.opens(50, 22));
        assert!(!policy.opens(6, 23) && !policy.opens(17, 22) && !policy.opens(58, 0));
    }

    #[test]
    fn a_port_that_cannot_be_read_is_covered_by_all_ports_only() {
        assert!(policy("tcp").allows(asked(6, None), FRIEND));
        assert!(!policy("tcp/0-65534").allows(asked(6, None), FRIEND));
    }

    #[test]
    fn rules_are_read_as_they_are_written() {
        for text in [
            "all",
            "echo",
            "tcp",
            "udp/53",
            "tcp/8000-8999",
            "132",
            "all@2001:db8::/32",
            "tcp/22@2001:db8:6::2/128",
        ] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        for wrong in [
            "",
            "TCP",
            "all/22",
            "echo/1",
            "50/22",
            "tcp/",
            "tcp/x",
            "tcp/+1",
            "+6",
            "tcp/2-1",
            "tcp/65536",
            "256",
            "tcp@",
            "tcp/22@192.0.2.0/24",
            "@::/0",
            "tcp/1-2-3",
        ] {
            assert_eq!(wrong.parse::<Rule>(), Err(InvalidRule), "{wrong}");
        }
    }

    #[test]
    fn the_number_of_rules_is_limited() {
        let rules = |count| Policy::new(vec!["echo".parse().unwrap(); count]);
        assert!(rules(RULES_MAX).is_ok());
        assert_eq!(rules(RULES_MAX + 1), Err(TooManyRules));
    }
}
