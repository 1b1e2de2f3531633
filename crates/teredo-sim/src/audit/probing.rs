//! Birthday probing in the books (protocol section 6.4, B): what one client may send to ports of
//! another's NAT, or to one endpoint from many ports, beside its attempts.
//!
//! Only to a peer that has just shown that it got our nonce, to the IPv4 address embedded in the
//! peer's and to no other, as much as one session may take, one session in 300 s until something
//! comes directly, never faster than the pace, and with all peers together no more than the budget.

use core::net::{Ipv6Addr, SocketAddrV4};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use teredo_proto::role::BIRTHDAY_PORTS_MAX;
use teredo_proto::{Instant, Local};
use teredo_wire::trailer::{Alternates, Trailers};
use teredo_wire::{Datagram, TEREDO_PORT, TeredoAddress};

use crate::host::Plan;

use super::{Offence, recent};

/// The probing of one client.
#[derive(Debug, Default)]
pub(super) struct Probing {
    peers: BTreeMap<Ipv6Addr, Peer>,
    /// When probes of any peer were sent, within the window.
    sent: VecDeque<Instant>,
}

#[derive(Debug, Default)]
struct Peer {
    /// When it last offered to take part.
    offered_at: Option<Instant>,
    /// When it last did so with the nonce of our last indirect bubble.
    invited_at: Option<Instant>,
    /// When it was probed from the service port, within the window.
    probed: VecDeque<Instant>,
    /// When ports were opened towards it.
    opened: VecDeque<Instant>,
    /// Where it said that it is, or was heard from: what goes there is no probe.
    named: BTreeSet<SocketAddrV4>,
}

impl Probing {
    /// An indirect bubble of the peer says something; `nonce` is that of our last one to it.
    pub(super) fn note_call(
        &mut self,
        now: Instant,
        address: Ipv6Addr,
        said: &Trailers<'_>,
        nonce: Option<[u8; 4]>,
    ) {
        let peer = self.peers.entry(address).or_default();
        let embedded = TeredoAddress::parse(address).map(|address| *address.mapped.ip());
        let random = embedded.zip(said.random_port).map(|(ip, port)| SocketAddrV4::new(ip, port));
        let alternates = said.alternates.into_iter().flat_map(Alternates::endpoints);
        peer.named.extend(alternates.chain(random));
        let Some(offer) = said.birthday else { return };
        peer.offered_at = Some(now);
        if nonce == Some(offer.nonce) {
            peer.invited_at = Some(now);
        }
    }

    /// Something came directly from the peer: what comes next is about another search.
    pub(super) fn note_heard(&mut self, peer: Ipv6Addr, from: SocketAddrV4) {
        let peer = self.peers.entry(peer).or_default();
        peer.named.insert(from);
        peer.probed.clear();
        peer.opened.clear();
    }

    /// Whether a bubble is part of probing: it goes to the embedded address, from the service port
    /// to another port with the nonce, unless somebody forged a bubble without one, or from a
    /// random port to the embedded endpoint with nothing.
    pub(super) fn is_probe(
        &self,
        now: Instant,
        plan: &Plan,
        (to, via): (SocketAddrV4, Local),
        bubble: &Datagram<'_>,
    ) -> bool {
        let destination = bubble.ipv6.destination();
        let is_on = matches!(plan, Plan::Client(config) if config.traversal.birthday);
        let (Some(peer), Ok(trailers)) = (TeredoAddress::parse(destination), bubble.trailers())
        else {
            return false;
        };
        let nonce = trailers.nonce;
        let has_shape = match via {
            Local::Primary => to.ip() == peer.mapped.ip() && to.port() != peer.mapped.port(),
            Local::Random(_) => to == peer.mapped && nonce.is_none(),
            Local::Secondary | Local::Helper | Local::Discovery => false,
        };
        let is_bare = trailers == Trailers { nonce, ..Trailers::default() };
        let is_call = to == SocketAddrV4::new(peer.server, TEREDO_PORT);
        let is_named = self.peers.get(&destination).is_some_and(|peer| peer.named.contains(&to));
        let is_known = is_call || (is_named && via == Local::Primary);
        is_on && has_shape && is_bare && !is_known && self.is_due(now, destination)
    }

    /// Whether the peer may be probed now.
    fn is_due(&self, now: Instant, peer: Ipv6Addr) -> bool {
        let Some(peer) = self.peers.get(&peer) else { return false };
        let within = |at: Option<Instant>, max| at.is_some_and(|at| now.since(at) <= max);
        within(peer.offered_at, QUIET_MAX) && within(peer.invited_at, SESSION_MAX)
    }

    pub(super) fn note_probe(
        &mut self,
        now: Instant,
        address: Ipv6Addr,
        via: Local,
    ) -> Result<(), Offence> {
        self.sent.push_back(now);
        let total = recent(&mut self.sent, now, WINDOW).len();
        let in_second = self.sent.iter().rev().take_while(|at| now.since(**at) < SECOND).count();
        let peer = self.peers.entry(address).or_default();
        let is_primary = via == Local::Primary;
        let others = if is_primary { 0 } else { OPENERS_MAX };
        let times = if is_primary { &mut peer.probed } else { &mut peer.opened };
        times.push_back(now);
        let count = recent(times, now, WINDOW).len();
        let [first, last] = [times.get(others), times.iter().nth_back(others)];
        let lasted = first.zip(last).map_or(Duration::ZERO, |(first, last)| last.since(*first));
        let max = if is_primary { PROBES_MAX } else { BIRTHDAY_PORTS_MAX + others };
        let is_kept = total <= TOTAL_MAX
            && in_second <= PER_SECOND_MAX
            && count <= max
            && lasted <= SESSION_MAX;
        if is_kept { Ok(()) } else { Err(Offence::Probes(address, count, in_second)) }
    }

    /// Indirect bubbles beside those of attempts: one at the beginning and the reminders.
    pub(super) fn calls(&mut self, now: Instant, peer: Ipv6Addr) -> usize {
        let Some(peer) = self.peers.get(&peer) else { return 0 };
        let invited = peer.invited_at.is_some_and(|at| now.since(at) <= WINDOW);
        if invited { CALLS_MAX } else { 0 }
    }
}

/// Limits as ARCHITECTURE.md has them under "Birthday probing".
const PROBES_MAX: usize = 2048;
const WINDOW: Duration = Duration::from_secs(300);
const TOTAL_MAX: usize = 3_972;
const SESSION_MAX: Duration = Duration::from_secs(25);
const QUIET_MAX: Duration = Duration::from_secs(15);
const SECOND: Duration = Duration::from_secs(1);
/// The pace, and alternates at the same address, which look the same.
const PER_SECOND_MAX: usize = 100 + super::BATCH_MAX;
/// A search without probing opens ports to the embedded endpoint by bubbles that look the same, one
/// or two an attempt: so many openers before a session or after it are not of it.
const OPENERS_MAX: usize = 8;
/// One at the beginning, one every six seconds.
const CALLS_MAX: usize = 1 + 25 / 6;

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Ipv6Addr = Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 1);

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    /// So many probes ten milliseconds apart.
    fn probe(probing: &mut Probing, from: u64, count: u64, via: Local) -> Result<(), Offence> {
        (0..count).try_for_each(|number| probing.note_probe(at(from + number * 10), PEER, via))
    }

    //= X-B-01: the reference model allows 2,048 probes and 512 ports, 100 a second, once in 300 s
    #[test]
    fn more_than_one_session_is_an_offence() {
        let ports = BIRTHDAY_PORTS_MAX + OPENERS_MAX;
        let limits = [(Local::Primary, PROBES_MAX), (Local::Random(1), ports)];
        for (via, max) in limits {
            let mut probing = Probing::default();
            assert_eq!(probe(&mut probing, 0, max as u64, via), Ok(()));
            let more = probing.note_probe(at(24_000), PEER, via);
            assert_eq!(more, Err(Offence::Probes(PEER, max + 1, 1)));
            let mut probing = Probing::default();
            assert_eq!(probe(&mut probing, 0, 100, via), Ok(()));
            let others = if via == Local::Primary { 0 } else { OPENERS_MAX };
            assert_eq!(probe(&mut probing, 100_000, others as u64, via), Ok(()));
            assert_eq!(
                probing.note_probe(at(110_000), PEER, via),
                Err(Offence::Probes(PEER, 101 + others, 1))
            );
            assert_eq!(probe(&mut probing, 500_000, 100, via), Ok(()));
        }
        let mut probing = Probing::default();
        let burst = (0..200).try_for_each(|_| probing.note_probe(at(0), PEER, Local::Primary));
        let count = PER_SECOND_MAX + 1;
        assert_eq!(burst, Err(Offence::Probes(PEER, count, count)));
    }
}
