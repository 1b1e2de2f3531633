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

#[cfg(test)]
mod tests {
    use teredo_wire::Writer;
    use teredo_wire::icmpv6::write_router_solicitation;
    use teredo_wire::ipv6::Header;

    use super::super::packet;
    use super::*;

    const A: &str = "203.0.113.101:40000";
    const B: &str = "203.0.113.102:40000";
    const SERVICE: u16 = 40_000;
    const RANDOM: u16 = 50_000;

    fn noted(packets: &[(u16, &str, Signal)], data: (u16, &str)) -> Sent {
        let mut sent = Sent::default();
        let mut note = |port: u16, to: &str, payload: &[u8]| {
            let from = SocketAddrV4::new([192, 168, 1, 2].into(), port);
            sent.note(&mut packet::udp(from, to.parse().unwrap(), payload).unwrap());
        };
        let [source, destination] = ["fe80::1", "2001::1"].map(|it| it.parse().unwrap());
        let written = |write: &dyn Fn(&mut Writer<'_>)| {
            let mut buffer = [0; 200];
            let mut writer = Writer::new(&mut buffer);
            write(&mut writer);
            writer.written().to_vec()
        };
        let solicitation = written(&|writer| write_router_solicitation(writer, source).unwrap());
        let bubble = written(&|writer| Header::bubble(source, destination).write(writer).unwrap());
        let header =
            Header { payload_len: 8, next_header: ICMPV6, ..Header::bubble(source, destination) };
        let mut echo = written(&|writer| header.write(writer).unwrap());
        echo.extend([ECHO_REQUEST, 0, 0, 0, 0, 0, 0, 0]);
        note(SERVICE, "203.0.113.10:3544", &solicitation);
        for &(port, to, signal) in packets {
            note(port, to, if signal == Signal::Bubble { &bubble } else { &solicitation });
        }
        note(data.0, data.1, &echo);
        sent
    }

    fn seen<'a>(sent: &'a Sent, embedded: &str) -> Seen<'a> {
        let embedded = embedded.parse().unwrap();
        Seen { sent, embedded, is_symmetric: false, is_mapped: false, is_open: true }
    }

    #[test]
    fn embedded_endpoints_need_nothing() {
        let (a, b) = (noted(&[], (SERVICE, B)), noted(&[], (SERVICE, A)));
        assert_eq!(technique([&seen(&a, A), &seen(&b, B)]), "Y");
        let symmetric = Seen { is_symmetric: true, ..seen(&b, B) };
        assert_eq!(technique([&seen(&a, A), &symmetric]), "SU");
    }

    #[test]
    fn another_endpoint_than_the_embedded_one_tells_by_what_it_was_met() {
        let elsewhere = "203.0.113.102:1025";
        let (a, b) = (noted(&[], (SERVICE, elsewhere)), noted(&[], (SERVICE, A)));
        let symmetric = Seen { is_symmetric: true, ..seen(&b, B) };
        assert_eq!(technique([&seen(&a, A), &symmetric]), "S");
        assert_eq!(technique([&symmetric, &seen(&a, A)]), "S");
        let mapped = Seen { is_mapped: true, ..seen(&a, A) };
        assert_eq!(technique([&mapped, &symmetric]), "O");
        let both = Seen { is_mapped: true, ..symmetric.clone() };
        assert_eq!(technique([&mapped, &both]), "SU");

        let restricted = |sent| Seen { is_open: false, ..seen(sent, A) };
        assert_eq!(technique([&restricted(&a), &symmetric]), "S");
        let pool = noted(&[], (SERVICE, "203.0.113.112:1025"));
        assert_eq!(technique([&restricted(&pool), &symmetric]), "L");
        assert_eq!(technique([&seen(&pool, A), &symmetric]), "S");
    }

    #[test]
    fn a_random_port_was_preserved_or_predicted() {
        use Signal::{Bubble, Solicitation};
        let primary = "203.0.113.10:3544";
        let b = noted(&[], (SERVICE, "203.0.113.101:1025"));
        for (packets, name) in [
            (&[(RANDOM, B, Bubble)][..], "SP"),
            (
                &[
                    (RANDOM, primary, Solicitation),
                    (RANDOM, B, Bubble),
                    (RANDOM, primary, Solicitation),
                ],
                "SS",
            ),
            (
                &[
                    (RANDOM, primary, Solicitation),
                    (RANDOM, primary, Solicitation),
                    (RANDOM, B, Bubble),
                ],
                "D",
            ),
        ] {
            let a = noted(packets, (RANDOM, B));
            assert_eq!(technique([&seen(&a, A), &seen(&b, B)]), name);
        }
        let many: Vec<_> = (0..40).map(|port| (RANDOM + port, B, Bubble)).collect();
        let a = noted(&many, (RANDOM, B));
        assert_eq!(technique([&seen(&a, A), &seen(&b, B)]), "B");
    }

    #[test]
    fn a_helper_is_seen_from_either_side() {
        let through = noted(&[], (SERVICE, "203.0.113.10:5000"));
        let hidden = Sent::default();
        assert_eq!(technique([&seen(&through, A), &seen(&hidden, B)]), "R1");
        assert_eq!(technique([&seen(&hidden, A), &seen(&hidden, B)]), "R1");
        assert_eq!(technique([&seen(&through, A), &seen(&hidden, "203.0.113.10:5000")]), "R2");
    }
}
