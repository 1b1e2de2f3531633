//! The inbound policy (invariant I9): what was sent may be answered, what the owner allows may come
//! in, everything else is refused. RFC 6092 and RFC 4890, for a host instead of a gateway.
//!
//! **Who opens a flow.** Only this side: a SYN, an echo request, a UDP or other packet. What comes
//! in never makes an entry, so nothing outside can fill the table or displace anything in it. A
//! packet that the policy lets in needs no entry either, since the next one is let in by the same
//! rule; nor does its answer, which is told from a packet that opens something by the rule that
//! would let the other side's packets in anyway. So a policy change cuts what was opened from
//! outside under a rule that is gone, at once, and no connection that our side opened.
//!
//! **Who may answer.** The node and the port written to, and nobody else (address- and port-
//! dependent filtering). RFC 6092 section 3.2.3 would have a gateway let any node answer, because
//! the host behind it cannot tell the gateway what it wants; here the owner can, with a rule for
//! the port, and without one a port that asked one server something is not open to the world.
//!
//! **TCP** is opened by our SYN alone, and followed as far as to know how long it is worth
//! remembering. **ICMPv6 errors** come in when they quote a packet of a flow, or an answer of ours
//! to what the policy lets in (RFC 4890 section 4.3.1); they never change or refresh anything.
//! **Fragments** follow the first one. What cannot be seen, behind whatever headers, belongs to
//! nothing and is refused. Refusals are silent: nothing is sent because of a packet that nobody
//! wanted, not even the ICMPv6 error that RFC 6092 section 3.3.1 asks for.

mod content;
mod flows;
mod fragments;
mod tcp;

use core::net::Ipv6Addr;

use teredo_wire::icmpv6::{DESTINATION_UNREACHABLE, PARAMETER_PROBLEM};
use teredo_wire::ipv6::Ipv6;

use crate::guard::content::Content;
use crate::guard::flows::{Flow, FlowId, FlowTable, Stage};
use crate::guard::fragments::{Train, Trains};
use crate::guard::tcp::Segment;
use crate::inspect::{Upper, upper_layer};
use crate::policy::{Asked, Policy};
use crate::random::Seed;
use crate::reason::DropReason;
use crate::time::Instant;

/// Decides what may come out of the tunnel, and remembers what was sent for that.
#[derive(Debug)]
pub(crate) struct Guard {
    policy: Policy,
    flows: FlowTable,
    trains: Trains,
}

/// What is to be noted of a packet that may come in, once it does. Good for as long as nothing is
/// sent.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub(crate) struct Pass {
    flow: Option<FlowId>,
    /// If this is one of TCP.
    segment: Option<Segment>,
    /// Of a first fragment.
    train: Option<Train>,
    /// Of an ICMPv6 error: whom the packet of ours was for that it is about.
    pub(crate) about: Option<Ipv6Addr>,
}

impl Guard {
    /// Bytes that it allocates at most.
    pub(crate) const MEMORY_MAX: usize = FlowTable::memory_max(FLOWS_MAX) + Trains::MEMORY;

    /// A guard under whom nothing was sent yet.
    pub(crate) fn new(policy: Policy, seed: Seed) -> Self {
        Self { policy, flows: FlowTable::new(FLOWS_MAX, seed), trains: Trains::new(seed) }
    }

    /// Takes another policy.
    pub(crate) fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// Notes a packet that our side sends, so that it may be answered.
    ///
    /// # Errors
    /// [`DropReason::FlowLimit`]: it would open a flow, and there is no room for one.
    pub(crate) fn note_sent(&mut self, now: Instant, packet: &Ipv6<'_>) -> Result<(), DropReason> {
        let Ok(upper) = upper_layer(packet) else { return Ok(()) };
        if is_later_fragment(&upper) {
            return Ok(());
        }
        let content = Content::read(&upper);
        let Some(flow) = sent_flow(packet, &upper, &content) else { return Ok(()) };
        let id = match self.flows.find(now, &flow) {
            Some(id) => id,
            None if self.opens(&flow, &content) => {
                self.flows.open(now, flow).map_err(|_| DropReason::FlowLimit)?
            }
            None => return Ok(()),
        };
        let stage = match content.segment() {
            Some(segment) => {
                let connection = self.flows.connection_mut(id);
                connection.note_sent(segment);
                tcp_stage(connection.is_established())
            }
            None => self.flows.stage(id),
        };
        self.flows.note_use(now, id, stage);
        Ok(())
    }

    /// Whether a packet may come in. Nothing changes before
    /// [`note_received`](Self::note_received), so that a forged one does nothing.
    ///
    /// # Errors
    /// The reason why not.
    pub(crate) fn check(
        &self,
        now: Instant,
        packet: &Ipv6<'_>,
        upper: &Upper<'_>,
    ) -> Result<Pass, DropReason> {
        if is_later_fragment(upper) {
            return self.check_later_fragment(now, packet, upper);
        }
        let content = Content::read(upper);
        let pass = Pass { train: train(packet, upper), ..Pass::default() };
        if let Some(flow) = received_flow(packet, upper, &content)
            && let Some(id) = self.flows.find(now, &flow)
        {
            let segment = content.segment();
            if segment.is_none_or(|segment| self.flows.connection(id).takes(segment.flags)) {
                return Ok(Pass { flow: Some(id), segment, ..pass });
            }
        }
        if self.policy.allows(content.asks(upper.protocol), packet.source()) {
            return Ok(pass);
        }
        let Content::Error { kind, quoted } = content else {
            return Err(DropReason::Unsolicited);
        };
        let about = self.addressee(now, packet.destination(), kind, quoted);
        about.map(|_| Pass { about, ..pass }).ok_or(DropReason::UnsolicitedError)
    }

    /// Notes that a packet comes in.
    pub(crate) fn note_received(&mut self, now: Instant, pass: Pass) {
        if let Some(train) = pass.train {
            self.trains.note_first(now, train);
        }
        let Some(id) = pass.flow else { return };
        let stage = match pass.segment {
            Some(segment) => {
                let connection = self.flows.connection_mut(id);
                connection.note_received(segment);
                tcp_stage(connection.is_established())
            }
            None => Stage::Answered,
        };
        // What opens or is over only our side keeps: else who was asked once could wait until
        // another program listens at that port, and open a connection to it.
        if stage == Stage::Tentative && self.flows.stage(id) == Stage::Tentative {
            return;
        }
        self.flows.note_use(now, id, stage);
    }

    fn check_later_fragment(
        &self,
        now: Instant,
        packet: &Ipv6<'_>,
        upper: &Upper<'_>,
    ) -> Result<Pass, DropReason> {
        let asked = Asked { protocol: upper.protocol, port: None, is_echo: false };
        let is_known = train(packet, upper).is_some_and(|train| self.trains.contains(now, &train));
        if is_known || self.policy.allows(asked, packet.source()) {
            Ok(Pass::default())
        } else {
            Err(DropReason::UnsolicitedFragment)
        }
    }

    /// Whether a packet of ours without an entry gets one. TCP does by its SYN, whatever the
    /// policy; of others that the policy lets be answered anyway, it cannot be told that they are
    /// no answers themselves.
    fn opens(&self, flow: &Flow, content: &Content<'_>) -> bool {
        match content.segment() {
            Some(segment) => segment.flags.opens(),
            None => !self.policy.allows(content.answer_asks(flow.protocol), flow.remote),
        }
    }

    /// Whom the packet was for that an ICMPv6 error to `own` is about, if we sent it: any router on
    /// the way may say so, but has to quote it (RFC 5927 section 4.1).
    fn addressee(&self, now: Instant, own: Ipv6Addr, kind: u8, quoted: &[u8]) -> Option<Ipv6Addr> {
        if !(DESTINATION_UNREACHABLE..=PARAMETER_PROBLEM).contains(&kind) {
            return None;
        }
        let packet = Ipv6::parse_quoted(quoted).ok()?;
        let upper = upper_layer(&packet).ok()?;
        if packet.source() != own || is_later_fragment(&upper) {
            return None;
        }
        let content = Content::read_quoted(&upper);
        let flow = sent_flow(&packet, &upper, &content);
        let is_ours = flow.is_some_and(|flow| self.flows.find(now, &flow).is_some())
            || self.policy.allows(content.answer_asks(upper.protocol), packet.destination());
        is_ours.then(|| packet.destination())
    }
}

fn tcp_stage(is_established: bool) -> Stage {
    if is_established { Stage::Established } else { Stage::Tentative }
}

/// The flow that a packet of ours belongs to; none if nobody is to answer it.
fn sent_flow(packet: &Ipv6<'_>, upper: &Upper<'_>, content: &Content<'_>) -> Option<Flow> {
    let ports = match content {
        Content::Tcp { ports, .. } | Content::Udp(ports) => [ports.source, ports.destination],
        Content::EchoRequest(identifier) => [*identifier, 0],
        Content::Other => [0, 0],
        Content::EchoReply(_) | Content::Error { .. } | Content::Unknown => return None,
    };
    let (own, remote) = (packet.source(), packet.destination());
    Some(Flow { own, remote, protocol: upper.protocol, ports })
}

/// The flow that a packet for us belongs to; none if it answers nothing.
fn received_flow(packet: &Ipv6<'_>, upper: &Upper<'_>, content: &Content<'_>) -> Option<Flow> {
    let ports = match content {
        Content::Tcp { ports, .. } | Content::Udp(ports) => [ports.destination, ports.source],
        Content::EchoReply(identifier) => [*identifier, 0],
        Content::Other => [0, 0],
        Content::EchoRequest(_) | Content::Error { .. } | Content::Unknown => return None,
    };
    let (own, remote) = (packet.destination(), packet.source());
    Some(Flow { own, remote, protocol: upper.protocol, ports })
}

fn train(packet: &Ipv6<'_>, upper: &Upper<'_>) -> Option<Train> {
    let identification = upper.fragment?.identification;
    Some(Train { source: packet.source(), destination: packet.destination(), identification })
}

fn is_later_fragment(upper: &Upper<'_>) -> bool {
    upper.fragment.is_some_and(|fragment| !fragment.is_first)
}

/// Flows at most: as many as one address has ports.
const FLOWS_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests;
