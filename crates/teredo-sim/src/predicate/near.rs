//! Clients behind one NAT, or behind two NATs below one (protocol section 6.5).

use teredo_proto::client::Traversal;

use crate::matrix::Technique;
use crate::nat::{Hairpin, ModeChange, NatConfig};

use super::front::Front;
use super::{Side, Verdict};

/// Whether two clients behind one NAT connect, without local discovery.
pub fn verdict_behind_one(nat: &NatConfig, traversals: [Traversal; 2]) -> Verdict {
    let traversals = traversals.map(Traversal::with_dependencies);
    let front = Front::of(&Side::behind(*nat, traversals[0]));
    let [all_symmetric, all_hairpin] =
        [traversals.iter().all(|it| it.symmetric), traversals.iter().all(|it| it.hairpin)];
    let know_nonces = traversals.iter().any(|it| it.symmetric || it.hairpin);
    if front.is_frail || is_odd(nat) || (front.is_touchy && front.complains) {
        return Verdict::May;
    }
    if front.service.is_symmetric() && !all_symmetric {
        return Verdict::MustNot;
    }
    if all_hairpin {
        return Verdict::Must(Technique::Hairpinning);
    }
    match nat.hairpin {
        Hairpin::None => Verdict::MustNot,
        Hairpin::External | Hairpin::Internal if front.service.is_symmetric() => Verdict::May,
        Hairpin::External => Verdict::Must(Technique::Plain),
        // Packets do not come from the embedded endpoint.
        Hairpin::Internal if all_symmetric => Verdict::Must(Technique::Symmetric),
        Hairpin::Internal if know_nonces => Verdict::May,
        Hairpin::Internal => Verdict::MustNot,
    }
}

/// Whether two clients connect whose NATs are below one that turns nothing back, without local
/// discovery: one of them needs an endpoint between the NATs that it can name.
pub fn verdict_below_one(
    outer: &NatConfig,
    inner: [&NatConfig; 2],
    traversals: [Traversal; 2],
) -> Verdict {
    let traversals = traversals.map(Traversal::with_dependencies);
    let fronts = inner.map(|inner| {
        Front::of(&Side { nats: vec![*inner, *outer], pool: 1, traversal: traversals[0] })
    });
    let are_at_odds = fronts.iter().any(|it| it.is_touchy) && fronts.iter().any(|it| it.complains);
    let is_doubtful = are_at_odds || fronts.iter().any(|it| it.is_frail);
    let is_odd = is_odd(outer) || inner.iter().any(|nat| nat.rewrites_payload);
    if outer.hairpin != Hairpin::None || is_doubtful || is_odd {
        return Verdict::May;
    }
    let is_offline =
        |front: &Front, traversal: &Traversal| front.service.is_symmetric() && !traversal.symmetric;
    if fronts.iter().zip(&traversals).any(|(front, traversal)| is_offline(front, traversal)) {
        return Verdict::MustNot;
    }
    let can_name = |nat: &NatConfig| nat.gives_explicit;
    if !traversals.iter().all(|it| it.hairpin) || !inner.into_iter().any(can_name) {
        return Verdict::MustNot;
    }
    let keeps_it = |nat: &NatConfig| can_name(nat) && nat.uses_explicit;
    if inner.into_iter().any(keeps_it) {
        return Verdict::Must(Technique::Hairpinning);
    }
    Verdict::May
}

/// Whether a second client makes it another NAT, or it changes what trailers say: their addresses
/// are not hidden as those in origin indications are.
fn is_odd(nat: &NatConfig) -> bool {
    nat.mode_change != ModeChange::Never || nat.rewrites_payload
}
