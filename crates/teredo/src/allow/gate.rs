//! What the rules of a role come to at the moment: its policy, and whether anybody listens.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use teredo_control::AllowedRule;
use teredo_proto::policy::{Ports, RULES_MAX, Rule, Service};
use teredo_proto::{Instant, Policy};
use teredo_sys::netlink::{Listener, Listeners, Transport};
use teredo_wire::ipv6::{Ipv6Cidr, next_header};

use super::owner::{Owner, USERS, user_number};
use super::rule::AllowRule;
use super::rules::Rules;
use super::units::Units;
use crate::report::Report;

/// Keeps a policy equal to the rules.
///
/// For rules by owner it looks at the sockets of this host every [`LOOK_EVERY`]; for others only so
/// that a client with a service does not go dormant, and less often. Without either, never.
pub(crate) struct Gate {
    report: Report,
    rules: Rules,
    owned: Vec<Owned>,
    units: Units,
    policy: Policy,
    /// After what time without need the role goes dormant, if it ever does.
    dormant_after: Option<Duration>,
    sockets: Option<Listeners>,
    look_at: Option<Instant>,
    /// What has been said to be wrong.
    complaints: BTreeSet<String>,
}

/// A rule by owner.
struct Owned {
    /// Its place among the rules.
    at: usize,
    from: Option<Ipv6Cidr>,
    owner: Known,
    /// What it lets in now.
    services: Vec<Service>,
    /// The same in words.
    told: Vec<String>,
}

/// An owner as the kernel knows it.
enum Known {
    /// None for a name that nobody has.
    User(Option<u32>),
    Unit(String),
}

/// What a look at the sockets has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// The policy is another one than before.
    pub(crate) has_changed: bool,
    /// Something listens that the policy lets others reach.
    pub(crate) is_served: bool,
}

impl Gate {
    /// For a role that has just started.
    pub(crate) fn new(
        report: Report,
        rules: Rules,
        dormant_after: Option<Duration>,
        now: Instant,
    ) -> Self {
        let mut gate = Self {
            report,
            rules: Rules::default(),
            owned: Vec::new(),
            units: Units::new(Vec::new(), BTreeSet::new()),
            policy: Policy::default(),
            dormant_after: None,
            sockets: None,
            look_at: None,
            complaints: BTreeSet::new(),
        };
        gate.set(now, rules, dormant_after);
        gate
    }

    /// Takes other rules. What those by owner stand for, the next [`look`](Self::look) shows.
    pub(crate) fn set(&mut self, now: Instant, rules: Rules, dormant_after: Option<Duration>) {
        self.dormant_after = dormant_after;
        self.look_at = Some(now);
        self.owned = rules.iter().enumerate().filter_map(owned).collect();
        let units = self.owned.iter().filter_map(|owned| match &owned.owner {
            Known::Unit(name) => Some(name.clone()),
            Known::User(_) => None,
        });
        self.units = Units::new(CONTROL_GROUPS.map(PathBuf::from).into(), units.collect());
        for name in rules.iter().filter_map(AllowRule::unknown_user) {
            self.complain(format!(
                "there is no user {name} in {USERS}, to whom anything is allowed"
            ));
        }
        self.rules = rules;
        self.policy = self.made();
    }

    /// The rules.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What may come in now.
    pub(crate) fn policy(&self) -> Policy {
        self.policy.clone()
    }

    /// The rules as they are told.
    pub(crate) fn listing(&self) -> Vec<AllowedRule> {
        let owned = |at| self.owned.iter().find(|owned| owned.at == at);
        self.rules.listing(|at| owned(at).map(|owned| owned.told.as_slice()))
    }

    /// When to look at the sockets.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.look_at
    }

    /// Looks at the sockets if it is time. `interface` is that of the tunnel.
    pub(crate) fn look(&mut self, now: Instant, interface: u32) -> Look {
        if self.look_at.is_none_or(|at| at > now) {
            return Look::default();
        }
        self.look_at = self.pause().map(|pause| now + pause);
        if self.look_at.is_none() {
            return Look::default();
        }
        let listeners = match self.listeners(interface) {
            Ok(listeners) => listeners,
            Err(error) => {
                // Who cannot see them lets nothing in.
                self.complain(format!("cannot see which programs listen: {error}"));
                Vec::new()
            }
        };
        let groups = listeners.iter().filter_map(|listener| listener.cgroup).collect();
        self.units.learn(&groups);
        let units = &self.units;
        for owned in &mut self.owned {
            let of_owner = |it: &&Listener| owned.owner.has(it, units);
            owned.services = services(listeners.iter().filter(of_owner));
            owned.told = owned.services.iter().map(Service::to_string).collect();
        }
        let policy = self.made();
        let has_changed = policy != self.policy;
        self.policy = policy;
        let is_served = |it: &Listener| self.policy.opens(protocol(it.transport), it.port);
        Look { has_changed, is_served: listeners.iter().any(is_served) }
    }

    /// How long until the next look; `None` if there is nothing to look for.
    fn pause(&self) -> Option<Duration> {
        if !self.owned.is_empty() {
            return Some(LOOK_EVERY);
        }
        // Nobody listens for an echo.
        let is_port = |rule: &Rule| rule.service != Service::Echo;
        let has_ports = self.policy.rules().iter().any(is_port);
        let pause = |after: Duration| (after / 2).min(LOOK_FOR_NEED_EVERY);
        self.dormant_after.filter(|_| has_ports).map(pause)
    }

    /// The sockets that can be reached through the tunnel by who may.
    fn listeners(&mut self, interface: u32) -> std::io::Result<Vec<Listener>> {
        let sockets = match &mut self.sockets {
            Some(sockets) => sockets,
            none => none.insert(Listeners::open()?),
        };
        let mut listeners = Vec::new();
        let result = sockets.look(|listener| {
            if is_reachable(&listener, interface) && listeners.len() < LISTENERS_MAX {
                listeners.push(listener);
            }
        });
        if result.is_err() {
            // What is still to come would be taken for the answer to the next question.
            self.sockets = None;
        }
        result.map(|()| listeners)
    }

    /// The policy that the rules make. What does not fit is left out, and so stays closed.
    fn made(&mut self) -> Policy {
        let plain = self.rules.iter().filter_map(|rule| match rule {
            AllowRule::Plain(rule) => Some(*rule),
            AllowRule::Owned { .. } => None,
        });
        let owned = self.owned.iter().flat_map(|owned| {
            owned.services.iter().map(|&service| Rule { service, from: owned.from })
        });
        let mut rules: Vec<_> = plain.chain(owned).collect();
        if rules.len() > RULES_MAX {
            self.complain(format!(
                "the rules by user and unit stand for more than {RULES_MAX} ranges of ports; the \
                 last ones stay closed"
            ));
            rules.truncate(RULES_MAX);
        }
        Policy::new(rules).unwrap_or_default()
    }

    /// Says what is wrong, once: it would be the same each time.
    fn complain(&mut self, words: String) {
        if self.complaints.len() < COMPLAINTS_MAX && self.complaints.insert(words.clone()) {
            self.report.say(&words);
        }
    }
}

impl Known {
    fn has(&self, listener: &Listener, units: &Units) -> bool {
        match self {
            Self::User(user) => *user == Some(listener.user),
            Self::Unit(name) => {
                listener.cgroup.and_then(|group| units.of(group)) == Some(name.as_str())
            }
        }
    }
}

fn owned((at, rule): (usize, &AllowRule)) -> Option<Owned> {
    let AllowRule::Owned { owner, from } = rule else { return None };
    let owner = match owner {
        Owner::User(name) => Known::User(user_number(name)),
        Owner::Unit(name) => Known::Unit(name.clone()),
    };
    Some(Owned { at, from: *from, owner, services: Vec::new(), told: Vec::new() })
}

/// Whether packets from the tunnel may end at this socket. One for IPv4 alone is none of these.
fn is_reachable(listener: &Listener, interface: u32) -> bool {
    let address = listener.address;
    let is_of_host = address.is_loopback()
        || address.is_unicast_link_local()
        || address.is_multicast()
        || address.to_ipv4_mapped().is_some();
    !is_of_host
        && listener.port != 0
        && (listener.interface == 0 || listener.interface == interface)
}

/// The ports of these sockets, neighbours taken together.
fn services<'a>(listeners: impl Iterator<Item = &'a Listener>) -> Vec<Service> {
    let places: BTreeSet<_> = listeners.map(|it| (it.transport, it.port)).collect();
    let mut ranges: Vec<(Transport, u16, u16)> = Vec::new();
    for (transport, port) in places {
        match ranges.last_mut() {
            Some((known, _, last)) if *known == transport && *last + 1 == port => *last = port,
            Some(_) | None => ranges.push((transport, port, port)),
        }
    }
    let service = |(transport, first, last)| {
        let ports = Ports::new(first, last)?;
        Some(match transport {
            Transport::Tcp => Service::Tcp(ports),
            Transport::Udp => Service::Udp(ports),
        })
    };
    ranges.into_iter().filter_map(service).collect()
}

const fn protocol(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp => next_header::TCP,
        Transport::Udp => next_header::UDP,
    }
}

/// A program that begins to listen is reachable this much later, and one that ends is shut as much
/// later: what a person hardly notices. A look keeps the role from packets for about a millisecond
/// (measured with 200 sockets on a busy machine), so that this is a thousandth of its time.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Far less than the usual time until dormancy, and soon enough after a service has started.
const LOOK_FOR_NEED_EVERY: Duration = Duration::from_secs(5);
/// Of different ones.
const COMPLAINTS_MAX: usize = RULES_MAX;
/// Sockets looked at, some megabytes of them: more than hosts have that listen.
const LISTENERS_MAX: usize = 1 << 16;

/// Where the control groups are that sockets are in: alone, and where there are older ones beside.
pub(crate) const CONTROL_GROUPS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn listener(transport: Transport, port: u16) -> Listener {
        let address = Ipv6Addr::UNSPECIFIED;
        Listener { transport, address, port, interface: 0, user: 0, cgroup: None }
    }

    #[test]
    fn neighbouring_ports_are_one_range() {
        let ports = [65_535, 22, 6_882, 65_534, 6_881, 22, 6_883];
        let mut sockets: Vec<_> = ports.map(|port| listener(Transport::Udp, port)).into();
        sockets.push(listener(Transport::Tcp, 22));
        sockets.push(listener(Transport::Tcp, 65_535));
        let told: Vec<_> = services(sockets.iter()).iter().map(Service::to_string).collect();
        assert_eq!(told, ["tcp/22", "tcp/65535", "udp/22", "udp/6881-6883", "udp/65534-65535"]);
    }

    #[test]
    fn only_sockets_that_the_tunnel_leads_to_count() {
        let at = |address: &str, interface| Listener {
            address: address.parse().unwrap(),
            interface,
            ..listener(Transport::Tcp, 22)
        };
        for (address, interface, expected) in [
            ("::", 0, true),
            ("2001:0:cb00:710a:0:63bf:34ff:8e9a", 0, true),
            ("::", 7, true),
            ("::", 6, false),
            ("::1", 0, false),
            ("fe80::1", 0, false),
            ("::ffff:192.0.2.1", 0, false),
            ("ff02::fb", 0, false),
        ] {
            assert_eq!(is_reachable(&at(address, interface), 7), expected, "{address}");
        }
    }
}
