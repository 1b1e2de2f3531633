//! What this side has asked of others, in a list of its own: nothing may come in that is not on it
//! and that the policy does not name.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use teredo_proto::{Instant, Policy};
use teredo_wire::Ipv6;
use teredo_wire::ipv6::next_header;

/// Everything that was sent, and when it was last of use.
#[derive(Default)]
pub(crate) struct Asked {
    last: BTreeMap<Question, Instant>,
    /// Packets of which the first part came in: source, destination and identification.
    trains: BTreeMap<(Ipv6Addr, Ipv6Addr, u32), Instant>,
    /// Whatever the stack has sent, or tried to.
    offered: Vec<Vec<u8>>,
    policy: usize,
}

/// Who, with whom, in which protocol, from which port of ours to which of theirs.
type Question = (Ipv6Addr, Ipv6Addr, u8, [u16; 2]);

impl Asked {
    /// Takes one of the policies, and returns it as the role takes it.
    pub(crate) fn set_policy(&mut self, number: u8) -> Policy {
        self.policy = usize::from(number) % POLICIES.len();
        let rules = POLICIES[self.policy].0.iter().filter_map(|rule| rule.parse().ok());
        Policy::new(rules.collect()).unwrap_or_default()
    }

    /// The stack has sent something, or tried to.
    pub(crate) fn note_sent(&mut self, now: Instant, packet: &[u8]) {
        self.offered.push(packet.to_vec());
        let Some(content) = Content::read(packet) else { return };
        let Some(question) = content.question() else { return };
        let opens = !content.is_tcp_without_syn();
        if opens || self.last.contains_key(&question) {
            self.last.insert(question, now);
        }
    }

    /// Checks that a packet may come in, and notes that it did.
    pub(crate) fn check(&mut self, now: Instant, packet: &[u8]) {
        let may = self.may_come_in(now, packet);
        assert!(may, "let in under {:?}: {packet:02x?}", POLICIES[self.policy].0);
        let Some(content) = Content::read(packet) else { return };
        if let Some((identification, true)) = content.part {
            let train = (content.source, content.destination, identification);
            self.trains.insert(train, now);
        }
        if let Some(answered) = content.answers().and_then(|it| self.last.get_mut(&it)) {
            *answered = now;
        }
    }

    /// Checks an error that the role itself tells the stack: it is about what that has sent.
    pub(crate) fn check_complaint(&self, packet: &[u8]) {
        let quoted = Content::read(packet).and_then(|it| it.quoted());
        let is_ours = |quoted: &[u8]| self.offered.iter().any(|it| it.starts_with(quoted));
        assert!(quoted.is_some_and(is_ours), "a complaint about nothing: {packet:02x?}");
    }

    fn may_come_in(&self, now: Instant, packet: &[u8]) -> bool {
        let Some(content) = Content::read(packet) else { return false };
        if let Some((identification, false)) = content.part {
            let train = (content.source, content.destination, identification);
            let first = self.trains.get(&train);
            return first.is_some_and(|first| now.since(*first) <= TRAIN_LIFE)
                || self.lets_in(content.protocol, None, content.source);
        }
        let is_echo = content.icmpv6_kind() == Some(128);
        content.answers().is_some_and(|it| self.is_asked(now, it))
            || self.lets_in_unasked(&content, is_echo)
            || content.quoted().is_some_and(|it| self.is_about_ours(now, &content, it))
    }

    fn is_asked(&self, now: Instant, question: Question) -> bool {
        let idle_max = if question.2 == next_header::TCP { TCP_IDLE_MAX } else { IDLE_MAX };
        self.last.get(&question).is_some_and(|last| now.since(*last) <= idle_max)
    }

    fn lets_in_unasked(&self, content: &Content<'_>, is_echo: bool) -> bool {
        let port = if is_echo { Some(ECHO) } else { content.ports().map(|[_, own]| own) };
        self.lets_in(content.protocol, port, content.source)
    }

    /// An error about what was sent, or about an answer to what the policy lets in.
    fn is_about_ours(&self, now: Instant, error: &Content<'_>, quoted: &[u8]) -> bool {
        let Some(quoted) = Content::read(quoted) else { return false };
        let is_echo = quoted.icmpv6_kind() == Some(129);
        let port = if is_echo { Some(ECHO) } else { quoted.ports().map(|[own, _]| own) };
        quoted.source == error.destination
            && (quoted.question().is_some_and(|it| self.is_asked(now, it))
                || self.lets_in(quoted.protocol, port, quoted.destination))
    }

    fn lets_in(&self, protocol: u8, port: Option<u16>, from: Ipv6Addr) -> bool {
        (POLICIES[self.policy].1)(protocol, port, from)
    }
}

/// A packet, as much of it as says what it is about.
struct Content<'a> {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    protocol: u8,
    bytes: &'a [u8],
    /// The number of its whole, and whether it is the first part of it.
    part: Option<(u32, bool)>,
}

impl<'a> Content<'a> {
    fn read(packet: &'a [u8]) -> Option<Self> {
        let ipv6 = Ipv6::parse_quoted(packet).ok()?;
        let (mut protocol, mut bytes, mut part) = (ipv6.next_header(), ipv6.payload(), None);
        while let (0 | 44 | 51 | 60, &[next, len, a, b, ..]) = (protocol, bytes) {
            let header_len = match protocol {
                44 => 8,
                51 => 8 + 4 * usize::from(len),
                _ => 8 + 8 * usize::from(len),
            };
            if let (44, Some(&[c, d, e, f])) = (protocol, bytes.get(4..8)?.first_chunk()) {
                let place = u16::from_be_bytes([a, b]);
                let is_whole = place & 0xfff9 == 0;
                part = Some((u32::from_be_bytes([c, d, e, f]), place & 0xfff8 == 0))
                    .filter(|_| !is_whole)
                    .or(part);
            }
            protocol = next;
            bytes = bytes.get(header_len..).unwrap_or_default();
            if matches!(part, Some((_, false))) {
                break;
            }
        }
        let (source, destination) = (ipv6.source(), ipv6.destination());
        Some(Self { source, destination, protocol, bytes, part })
    }

    fn ports(&self) -> Option<[u16; 2]> {
        let has_ports = matches!(self.protocol, next_header::TCP | next_header::UDP);
        let &[a, b, c, d] = self.bytes.first_chunk().filter(|_| has_ports)?;
        Some([[a, b], [c, d]].map(u16::from_be_bytes))
    }

    fn icmpv6_kind(&self) -> Option<u8> {
        self.bytes.first().copied().filter(|_| self.protocol == next_header::ICMPV6)
    }

    fn is_tcp_without_syn(&self) -> bool {
        self.protocol == next_header::TCP && self.bytes.get(13).is_none_or(|it| it & 2 == 0)
    }

    /// What a packet of ours asks, if that can be answered.
    fn question(&self) -> Option<Question> {
        let details = match self.icmpv6_kind() {
            Some(128) => [u16::from_be_bytes(*self.bytes.get(4..6)?.first_chunk()?), 0],
            Some(_) => return None,
            None => self.ports().unwrap_or_default(),
        };
        Some((self.source, self.destination, self.protocol, details))
    }

    /// What a packet for us may be the answer to.
    fn answers(&self) -> Option<Question> {
        let details = match self.icmpv6_kind() {
            Some(129) => [u16::from_be_bytes(*self.bytes.get(4..6)?.first_chunk()?), 0],
            Some(_) => return None,
            None => self.ports().map(|[theirs, ours]| [ours, theirs]).unwrap_or_default(),
        };
        Some((self.destination, self.source, self.protocol, details))
    }

    /// What an ICMPv6 error quotes.
    fn quoted(&self) -> Option<&'a [u8]> {
        self.icmpv6_kind().filter(|kind| (1..=4).contains(kind))?;
        self.bytes.get(8..)
    }
}

/// The rules, and apart from them what they let in: protocol, port or [`ECHO`], and from whom.
type Rules = (&'static [&'static str], fn(u8, Option<u16>, Ipv6Addr) -> bool);

const POLICIES: [Rules; 6] = [
    (&[], |_, _, _| false),
    (&["tcp/22"], |protocol, port, _| protocol == 6 && port == Some(22)),
    (&["udp/21-23@2001:db8:6::/48", "echo"], |protocol, port, from| {
        let is_udp = protocol == 17 && port.is_some_and(|port| (21..=23).contains(&port));
        let is_near = from.segments()[..3] == [0x2001, 0xdb8, 6];
        is_udp && is_near || protocol == 58 && port == Some(ECHO)
    }),
    (&["udp", "50"], |protocol, _, _| matches!(protocol, 17 | 50)),
    (&["58", "tcp/20-29"], |protocol, port, _| {
        protocol == 58 || protocol == 6 && port.is_some_and(|port| (20..=29).contains(&port))
    }),
    (&["all"], |_, _, _| true),
];

/// Stands for an echo request, which has no port.
const ECHO: u16 = 0;
/// What RFC 6092 gives UDP and TCP, and how exact a role is.
const IDLE_MAX: Duration = Duration::from_secs(5 * 60 + 2);
const TCP_IDLE_MAX: Duration = Duration::from_secs((2 * 60 + 4) * 60 + 2);
const TRAIN_LIFE: Duration = Duration::from_mins(1);
