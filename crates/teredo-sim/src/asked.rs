//! What a stack has asked of others: a list of its own, apart from the role's, that each delivery
//! is checked against.

use core::net::Ipv6Addr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use teredo_proto::policy::{Policy, Service};
use teredo_proto::{Instant, relay::Scope};
use teredo_wire::address::is_link_local;
use teredo_wire::icmpv6;
use teredo_wire::ipv6::{HEADER_LEN, Ipv6, next_header};

use crate::host::Plan;
use crate::stack;

/// When each question was last asked or answered.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    last: BTreeMap<(Ipv6Addr, Matter), Instant>,
    /// What the questions came from: addresses that the host has, or had.
    sources: BTreeSet<Ipv6Addr>,
}

/// What worlds talk about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Matter {
    Data,
    EchoRequest,
    EchoReply,
}

impl Asked {
    /// The stack sends a packet.
    pub(crate) fn note_sent(&mut self, now: Instant, packet: &[u8]) {
        let Ok((ipv6, _)) = Ipv6::parse(packet) else { return };
        if let Some(matter) = matter(packet) {
            self.last.insert((ipv6.destination(), matter), now);
            self.sources.insert(ipv6.source());
        }
    }

    /// Whether a packet that a role hands out may have come in under this policy.
    pub(crate) fn permits(
        &mut self,
        now: Instant,
        policy: &Policy,
        own: &[Ipv6Addr],
        packet: &[u8],
    ) -> bool {
        let Ok((ipv6, _)) = Ipv6::parse(packet) else { return false };
        if let Some(quoted) = stack::quoted(&ipv6) {
            // What the role itself says of a packet may come late: its clock may have jumped.
            let is_own = is_link_local(ipv6.source()) || own.contains(&ipv6.source());
            let age_max = if is_own { Duration::MAX } else { IDLE_MAX };
            return lets_in(policy, |_| false) || self.has_sent(now, quoted, age_max);
        }
        let answers = match matter(packet) {
            Some(Matter::EchoRequest) | None => None,
            Some(Matter::EchoReply) => Some(Matter::EchoRequest),
            Some(Matter::Data) => Some(Matter::Data),
        };
        let last = answers.and_then(|matter| self.last.get_mut(&(ipv6.source(), matter)));
        if let Some(last) = last.filter(|last| now.since(**last) <= IDLE_MAX) {
            *last = now;
            return true;
        }
        let matter = matter(packet);
        lets_in(policy, |service| match service {
            Service::Echo => matter == Some(Matter::EchoRequest),
            Service::Udp(_) => matter == Some(Matter::Data),
            Service::All | Service::Tcp(_) | Service::Protocol(_) => false,
        })
    }

    /// Whether a packet is what the role itself says of one of this stack, to where that one came
    /// from. If the address has changed since, nobody else is meant: the stack discards it.
    pub(crate) fn is_own_error(&self, now: Instant, packet: &[u8]) -> bool {
        let Ok((ipv6, _)) = Ipv6::parse(packet) else { return false };
        let Some(quoted) = stack::quoted(&ipv6) else { return false };
        let is_to_sender = Ipv6::parse_quoted(quoted).is_ok_and(|about| {
            about.source() == ipv6.destination() && self.sources.contains(&about.source())
        });
        is_link_local(ipv6.source()) && is_to_sender && self.has_sent(now, quoted, Duration::MAX)
    }

    /// The role has lost its memory.
    pub(crate) fn clear(&mut self) {
        self.last.clear();
        self.sources.clear();
    }

    /// Whether the stack has sent a packet like this one, which an error quotes.
    fn has_sent(&self, now: Instant, quoted: &[u8], age_max: Duration) -> bool {
        let Ok(ipv6) = Ipv6::parse_quoted(quoted) else { return false };
        let last = matter(quoted).and_then(|matter| self.last.get(&(ipv6.destination(), matter)));
        last.is_some_and(|last| now.since(*last) <= age_max)
    }
}

/// The policy that protects the host of a role, if there is one.
pub(crate) fn policy(plan: &Plan) -> Option<&Policy> {
    match plan {
        Plan::Client(config) => Some(&config.policy),
        Plan::Relay(config) => {
            Some(&config.policy).filter(|_| matches!(config.scope, Scope::Host { .. }))
        }
        Plan::Server(_) | Plan::Helper(_) => None,
    }
}

/// Worlds have rules for everybody and for all ports only.
fn lets_in(policy: &Policy, covers: impl Fn(Service) -> bool) -> bool {
    policy.rules().iter().any(|rule| rule.service == Service::All || covers(rule.service))
}

fn matter(packet: &[u8]) -> Option<Matter> {
    if stack::tag(packet).is_some() {
        return Some(Matter::Data);
    }
    match (packet.get(NEXT_HEADER_AT)?, packet.get(HEADER_LEN)?) {
        (&next_header::ICMPV6, &icmpv6::ECHO_REQUEST) => Some(Matter::EchoRequest),
        (&next_header::ICMPV6, &icmpv6::ECHO_REPLY) => Some(Matter::EchoReply),
        _ => None,
    }
}

const NEXT_HEADER_AT: usize = 6;
/// What RFC 6092 section 3.2.3 gives UDP, and how exact a role is.
const IDLE_MAX: Duration = Duration::from_secs(5 * 60 + 2);

#[cfg(test)]
mod tests {
    use teredo_wire::icmpv6::ErrorMessage;
    use teredo_wire::{Writer, address::CLIENT_LINK_LOCAL};

    use super::*;

    const OWN: Ipv6Addr = Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 1);
    const PEER: Ipv6Addr = Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 2);

    fn error(source: Ipv6Addr, destination: Ipv6Addr, about: &[u8]) -> Vec<u8> {
        let mut buffer = [0; 512];
        let mut writer = Writer::new(&mut buffer);
        let written = ErrorMessage::Prohibited.write(&mut writer, source, destination, about);
        written.map_or(Vec::new(), |()| writer.written().to_vec())
    }

    #[test]
    fn only_the_roles_word_to_the_sender_is_its_own() {
        let (mut asked, now) = (Asked::default(), Instant::from_nanos(0));
        let sent = stack::data(OWN, PEER, 1, 100);
        let own = error(CLIENT_LINK_LOCAL, OWN, &sent);
        assert!(!asked.is_own_error(now, &own));
        asked.note_sent(now, &sent);
        assert!(asked.is_own_error(now, &own));
        let others = [
            error(PEER, OWN, &sent),
            error(CLIENT_LINK_LOCAL, PEER, &sent),
            error(CLIENT_LINK_LOCAL, PEER, &stack::data(PEER, OWN, 1, 100)),
            error(CLIENT_LINK_LOCAL, OWN, &stack::data(OWN, OWN, 1, 100)),
            stack::data(PEER, OWN, 1, 100),
        ];
        for packet in others {
            assert!(!asked.is_own_error(now, &packet), "{packet:02x?}");
        }
    }
}
