//! What a pair of clients was connected by, as an onlooker on their wires sees it: nobody is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use teredo_wire::ipv6::next_header::ICMPV6;
use teredo_wire::{Datagram, TEREDO_PORT, pcp};

use super::packet::{End, Ipv4};
use super::place::SERVER;

/// What a client has sent, on its side of its NATs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// The port of its first solicitation.
    service: Option<u16>,
    /// Port and destination of its last data.
    data: Option<(u16, SocketAddrV4)>,
    /// Destinations of bubbles.
    bubbled: BTreeSet<SocketAddrV4>,
    /// By port, in the order of sending.
    signals: BTreeMap<u16, Vec<Signal>>,
    /// It has asked its gateway where it will send a flow from.
    has_asked_for_flow: bool,
}

/// What is sent to get somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Solicitation,
    Bubble,
}

impl Sent {
    /// Takes note of a packet.
    pub(super) fn note(&mut self, packet: &mut [u8]) {
        let Ok(packet) = Ipv4::parse(packet) else { return };
        let ends = packet.endpoint(End::Source).zip(packet.endpoint(End::Destination));
        let (Some((from, to)), Some(payload)) = (ends, packet.udp_payload()) else { return };
        if to.port() == pcp::SERVER_PORT {
            self.has_asked_for_flow |= payload.get(1) == Some(&PEER);
            return;
        }
        let Ok(datagram) = Datagram::parse(payload) else { return };
        let first = datagram.ipv6.payload().first().copied();
        let signal = match (datagram.ipv6.next_header(), first) {
            (ICMPV6, Some(ROUTER_SOLICITATION)) => {
                self.service.get_or_insert(from.port());
                Signal::Solicitation
            }
            (ICMPV6, Some(ECHO_REQUEST | ECHO_REPLY)) => {
                self.data = Some((from.port(), to));
                return;
            }
            _ if datagram.ipv6.is_bubble() && to.port() != TEREDO_PORT => {
                if self.bubbled.len() < NOTED_MAX {
                    self.bubbled.insert(to);
                }
                Signal::Bubble
            }
            _ => return,
        };
        if self.signals.len() < NOTED_MAX || self.signals.contains_key(&from.port()) {
            let signals = self.signals.entry(from.port()).or_default();
            signals.extend((signals.len() < NOTED_MAX).then_some(signal));
        }
    }

    /// Whether it has tried many ports, its own or those of others.
    fn has_probed(&self) -> bool {
        self.signals.len() > PROBES_MIN || self.bubbled.len() > PROBES_MIN
    }

    /// What made this port known to the peer before it was used.
    fn prediction(&self, port: u16) -> &'static str {
        let signals = self.signals.get(&port).map(Vec::as_slice).unwrap_or_default();
        match signals {
            _ if self.has_asked_for_flow => "P",
            [Signal::Solicitation, Signal::Solicitation, ..] => "D",
            [Signal::Solicitation, ..] => "SS",
            _ => "SP",
        }
    }
}

/// A client as the lab knows it, for [`technique`].
#[derive(Clone, Debug)]
pub(super) struct Seen<'a> {
    /// What it has sent.
    pub(super) sent: &'a Sent,
    /// The endpoint in its address.
    pub(super) embedded: SocketAddrV4,
    /// Whether its NAT gives different flows different endpoints.
    pub(super) is_symmetric: bool,
    /// Whether its gateway maps its port.
    pub(super) is_mapped: bool,
    /// Whether anybody gets through to the endpoint in its address.
    pub(super) is_open: bool,
}

/// The name of what has connected two clients, as [`target`](teredo_sim::matrix::target) has them,
/// but R1 for a helper that one of them reaches the other through, and R2 for one that one of them
/// lives behind.
pub(super) fn technique(clients: [&Seen<'_>; 2]) -> &'static str {
    let [a, b] = clients;
    let (Some((a_port, a_to)), Some((b_port, b_to))) = (a.sent.data, b.sent.data) else {
        return helper(clients);
    };
    if [a_to, b_to].iter().any(|to| *to.ip() == SERVER) {
        return helper(clients);
    }
    let ways = [(a, a_port), (b, b_port)];
    let random = ways.into_iter().filter(|(client, port)| client.sent.service != Some(*port));
    let mut predictions: Vec<_> =
        random.map(|(client, port)| client.sent.prediction(port)).collect();
    if !predictions.is_empty() {
        predictions.sort_unstable();
        let has_probed = clients.iter().any(|client| client.sent.has_probed());
        // D and P before SP before SS, of which a pair may use two.
        let prediction = if predictions.contains(&"SS") { "SS" } else { predictions[0] };
        let is_beyond = predictions.iter().find(|it| ["D", "P"].contains(it));
        return if has_probed { "B" } else { is_beyond.copied().unwrap_or(prediction) };
    }
    let (reaches_a, reaches_b) = (b_to == a.embedded, a_to == b.embedded);
    let is_symmetric = a.is_symmetric || b.is_symmetric;
    match (reaches_a, reaches_b) {
        _ if is_symmetric && a.is_mapped && b.is_mapped => "SU",
        (true, true) if is_symmetric => "SU",
        (true, true) => "Y",
        (true, false) => by_address(a, (a_to, b)),
        (false, true) => by_address(b, (b_to, a)),
        (false, false) => "S",
    }
}

/// What has connected a client that is reached at the endpoint in its address and sends to another
/// than that in the peer's.
fn by_address(client: &Seen<'_>, (to, peer): (SocketAddrV4, &Seen<'_>)) -> &'static str {
    match client {
        Seen { is_mapped: true, .. } => "O",
        Seen { is_open: false, .. } if to.ip() != peer.embedded.ip() => "L",
        Seen { .. } => "S",
    }
}

fn helper(clients: [&Seen<'_>; 2]) -> &'static str {
    let lives_behind = clients.iter().any(|client| *client.embedded.ip() == SERVER);
    if lives_behind { "R2" } else { "R1" }
}

/// The opcode of RFC 6887 section 12.
const PEER: u8 = 2;
const ROUTER_SOLICITATION: u8 = 133;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
/// More ports than any other technique tries.
const PROBES_MIN: usize = 16;
/// Kept of what a client sends: as much as tells it apart.
const NOTED_MAX: usize = 64;
