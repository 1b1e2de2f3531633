//! Whether two clients connect, told from the parameters of their NATs and the techniques switched
//! on, without running anything.
//!
//! [`Technique::of`] is figure 1 of RFC 6081 as data, for nine kinds of NAT; this is the reasoning
//! behind it, for all of them, one behind the other as well. What it promises or denies a run must
//! show; where it says neither, luck decides.
//!
//! Links are presumed to keep the order of packets and to lose none for good.

mod front;
mod near;
mod side;

use core::fmt;

use crate::matrix::Technique;
use crate::nat::{Filtering, Mapping};

use front::{Front, Ports};

pub use near::{verdict_behind_one, verdict_below_one};
pub use side::{Side, draw_nat};

/// What is to become of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They connect, by this; but for one run in tens of thousands, in which the NAT gives a client
    /// a port that servers send no bubbles to, or begins its range anew within an echo test.
    Must(Technique),
    /// They do not, unless by guessing one port among tens of thousands.
    MustNot,
    /// They may connect: by chance, or by what is not reasoned about here.
    May,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Must(technique) => write!(f, "must connect ({})", technique.name()),
            Self::MustNot => f.write_str("must not connect"),
            Self::May => f.write_str("may connect"),
        }
    }
}

/// Whether the client `from` that begins to talk to the client `to` gets an answer. Each has its
/// own NATs; both have servers that pass on bubbles from anywhere.
pub fn verdict(from: &Side, to: &Side) -> Verdict {
    let sides = [from, to];
    let fronts = sides.map(Front::of);
    let [first, second] = &fronts;
    let are_at_odds =
        (first.is_touchy && second.complains) || (second.is_touchy && first.complains);
    if first.is_frail || second.is_frail || are_at_odds {
        return Verdict::May;
    }
    let is_offline = |side: &Side, front: &Front| {
        front.service.is_symmetric() && !side.traversal.with_dependencies().symmetric
    };
    if is_offline(from, first) || is_offline(to, second) {
        return Verdict::MustNot;
    }
    match standard(sides, &fronts) {
        Verdict::MustNot if goes_beyond(from) || goes_beyond(to) => Verdict::May,
        verdict @ (Verdict::Must(_) | Verdict::MustNot | Verdict::May) => verdict,
    }
}

/// What RFC 4380 and RFC 6081 achieve, both clients being qualified.
fn standard(sides: [&Side; 2], fronts: &[Front; 2]) -> Verdict {
    match fronts.each_ref().map(|front| front.service.is_symmetric()) {
        [false, false] => Verdict::Must(Technique::Plain),
        [true, false] => one_symmetric([sides[0], sides[1]], [&fronts[0], &fronts[1]]),
        [false, true] => one_symmetric([sides[1], sides[0]], [&fronts[1], &fronts[0]]),
        [true, true] => both_symmetric(sides, fronts),
    }
}

/// A client behind a symmetric NAT and one whose packets always come from its embedded endpoint:
/// the question is whether that lets the first one in.
fn one_symmetric([hard, easy]: [&Side; 2], [front, other]: [&Front; 2]) -> Verdict {
    if !easy.traversal.symmetric {
        // Nonces serve hairpinning too.
        return if easy.traversal.hairpin { Verdict::May } else { Verdict::MustNot };
    }
    match other.service.filtering {
        Filtering::EndpointIndependent => Verdict::Must(Technique::Symmetric),
        Filtering::AddressDependent if front.has_pool => Verdict::May,
        Filtering::AddressDependent => Verdict::Must(Technique::Symmetric),
        Filtering::AddressAndPortDependent if !easy.traversal.port_preserving => Verdict::MustNot,
        Filtering::AddressAndPortDependent => match foresight(hard, front) {
            Foresight::Right(technique) => Verdict::Must(technique),
            Foresight::Lucky => Verdict::May,
            Foresight::Wrong => Verdict::MustNot,
        },
    }
}

fn both_symmetric([from, to]: [&Side; 2], [first, second]: &[Front; 2]) -> Verdict {
    let has_mapped = |side: &Side| side.traversal.with_dependencies().mapped_symmetric;
    if first.is_kept && second.is_kept && has_mapped(from) && has_mapped(to) {
        return Verdict::Must(Technique::Mapped);
    }
    use Technique::{PortPreserving, Sequential};
    match (foresight(from, first), foresight(to, second)) {
        (Foresight::Right(PortPreserving), Foresight::Right(PortPreserving)) => {
            Verdict::Must(PortPreserving)
        }
        (Foresight::Right(PortPreserving), Foresight::Right(Sequential)) => {
            Verdict::Must(Sequential)
        }
        // It has opened its port to the embedded endpoint before it knows of the peer's port.
        (Foresight::Right(Sequential), Foresight::Right(_))
            if is_strict(first)
                && is_strict(second)
                && first.other.mapping == Mapping::AddressAndPortDependent =>
        {
            Verdict::MustNot
        }
        (mine, other) => {
            let [mine, other] = [mine, other].map(|foresight| foresight != Foresight::Wrong);
            let reached = [is_reached(first, mine, other), is_reached(second, other, mine)];
            let hears = [
                reached[0] || (reached[1] && takes_answers(first, second)),
                reached[1] || (reached[0] && takes_answers(second, first)),
            ];
            if hears == [true; 2] { Verdict::May } else { Verdict::MustNot }
        }
    }
}

fn is_strict(front: &Front) -> bool {
    front.other.filtering == Filtering::AddressAndPortDependent
}

/// Whether anything of a peer behind a symmetric NAT can arrive at an endpoint that it is told.
fn is_reached(front: &Front, foresees: bool, peer_foresees: bool) -> bool {
    let embedded = front.embedded.is_some_and(|it| it != Filtering::AddressAndPortDependent);
    embedded || (foresees && (!is_strict(front) || peer_foresees))
}

/// Whether a peer behind a symmetric NAT that was reached can answer: it does so from the endpoint
/// that was written to only if its NAT looks at addresses alone.
fn takes_answers(front: &Front, peer: &Front) -> bool {
    [front.service, front.other]
        .iter()
        .any(|way| way.filtering != Filtering::AddressAndPortDependent)
        || peer.service.mapping != Mapping::AddressAndPortDependent
        || peer.other.mapping != Mapping::AddressAndPortDependent
}

/// Whether a client can tell the external port of a local one before it is mapped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Foresight {
    Right(Technique),
    /// Now and then.
    Lucky,
    Wrong,
}

fn foresight(side: &Side, front: &Front) -> Foresight {
    let traversal = side.traversal.with_dependencies();
    let (believed, technique, is_on) = if front.looks_preserving {
        (Ports::Preserved, Technique::PortPreserving, traversal.port_preserving)
    } else {
        (Ports::Sequential, Technique::Sequential, traversal.sequential)
    };
    let is_right = front.other.ports == believed;
    // A bubble that gets in on the service port ends the search too early.
    let is_doubtful = front.has_pool || front.embedded.is_some();
    if !is_on {
        Foresight::Wrong
    } else if front.other.ports == Ports::Unclear || (is_right && is_doubtful) {
        Foresight::Lucky
    } else if is_right {
        Foresight::Right(technique)
    } else {
        Foresight::Wrong
    }
}

/// Whether a client knows ways that no RFC has.
fn goes_beyond(side: &Side) -> bool {
    let traversal = side.traversal.with_dependencies();
    traversal.peer_mapping
        || traversal.deferred_open
        || traversal.address_pool
        || traversal.birthday
        || traversal.helper
}
