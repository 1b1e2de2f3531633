//! What a chain of NATs is to the world outside.

use core::time::Duration;

use crate::nat::{
    Allocation, Filtering, Mapping, ModeChange, NatConfig, Pooling, PortRange, Refusal,
};

use super::Side;

/// What decides who connects to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Front {
    /// Of the service port.
    pub(super) service: Way,
    /// Of another port of the client.
    pub(super) other: Way,
    /// Whom the endpoint embedded in the address lets in, although the client talks to nobody from
    /// there but its server; `None`: nobody else.
    pub(super) embedded: Option<Filtering>,
    /// Whether that is so because it was reserved on the only NAT, which is a symmetric one.
    pub(super) is_kept: bool,
    /// Whether the service port has its own number outside.
    pub(super) looks_preserving: bool,
    /// Whether mappings have several addresses.
    pub(super) has_pool: bool,
    /// Whether something else, a short lifetime, may spoil everything.
    pub(super) is_frail: bool,
    /// Whether ICMP errors end its mappings.
    pub(super) is_touchy: bool,
    /// Whether it sends some.
    pub(super) complains: bool,
}

/// How one local port appears outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) mapping: Mapping,
    pub(super) filtering: Filtering,
    pub(super) ports: Ports,
}

/// What external port a fresh local port gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ports {
    /// Its own at first.
    Preserved,
    /// One a few after the last.
    Sequential,
    /// Any.
    Random,
    /// One of these, depending on what else happens.
    Unclear,
}

impl Way {
    const OPEN: Self = Self {
        mapping: Mapping::EndpointIndependent,
        filtering: Filtering::EndpointIndependent,
        ports: Ports::Preserved,
    };

    pub(super) fn is_symmetric(self) -> bool {
        self.mapping != Mapping::EndpointIndependent
    }

    /// The same from the other side of one more NAT, which may draw from several addresses.
    fn through(self, nat: &NatConfig, has_pool: bool) -> Self {
        let (mapping, filtering) = behaviour(nat, has_pool);
        let is_first_only = mapping != Mapping::EndpointIndependent && !self.is_symmetric();
        let own = allocation(nat, mapping, self.mapping, has_pool);
        let ports = match own {
            Ports::Preserved if is_first_only => match self.ports {
                Ports::Preserved | Ports::Unclear => self.ports,
                // Later mappings of one endpoint get other ports, which nothing tells.
                Ports::Sequential | Ports::Random => Ports::Random,
            },
            Ports::Preserved => self.ports,
            Ports::Sequential | Ports::Random | Ports::Unclear => own,
        };
        Self { mapping: self.mapping.max(mapping), filtering: self.filtering.max(filtering), ports }
    }
}

impl Front {
    pub(super) fn of(side: &Side) -> Self {
        let inner = side.nats.first();
        let explicit = inner.filter(|nat| nat.gives_explicit);
        let outermost = side.nats.len().saturating_sub(1);
        let has_pool = |index: usize, nat: &NatConfig| {
            index == outermost && side.pool > 1 && nat.pooling == Pooling::Arbitrary
        };
        let fold = |skip: usize| {
            let nats = side.nats.iter().enumerate().skip(skip);
            nats.fold(Way::OPEN, |way, (index, nat)| way.through(nat, has_pool(index, nat)))
        };
        // An inner NAT whose explicit mapping has one endpoint for all makes the next one collide
        // where the mappings of other ports would not.
        let changes = |nat: &NatConfig| nat.mode_change == ModeChange::RandomAfterCollision;
        let is_torn = explicit.is_some() && side.nats.iter().skip(1).any(changes);
        // A port that is the same on several addresses is right by chance, and so is a trailer in
        // which the NAT has put another of them.
        let shares_pool = side.nats.last().is_some_and(|nat| {
            has_pool(outermost, nat) && (nat.overlapping || nat.rewrites_payload)
        });
        let other = fold(0);
        let service = if explicit.is_some_and(is_cone) { fold(1) } else { other };
        let preserves = |(index, nat): (usize, &NatConfig)| {
            (index == 0 && explicit.is_some()) || is_preserving(nat)
        };
        Self {
            service,
            other,
            embedded: embedded(side),
            is_kept: explicit.is_some() && side.nats.len() == 1 && service.is_symmetric(),
            looks_preserving: side.nats.iter().enumerate().all(preserves),
            has_pool: side.nats.last().is_some_and(|nat| has_pool(outermost, nat))
                && service.is_symmetric(),
            is_frail: side.nats.iter().any(is_frail) || shares_pool || is_torn,
            is_touchy: side.nats.iter().any(|nat| nat.icmp_ends_mapping),
            complains: side.nats.iter().any(|nat| nat.refusal != Refusal::Silence),
        }
    }
}

/// What of the service port's mapping towards the server is open to others.
fn embedded(side: &Side) -> Option<Filtering> {
    let (mut of_all, mut is_symmetric) = (Filtering::EndpointIndependent, false);
    for (index, nat) in side.nats.iter().enumerate() {
        let (mapping, filtering) = behaviour(nat, false);
        let (mapping, filtering) = match index == 0 && nat.gives_explicit {
            true if is_cone(nat) => (Mapping::EndpointIndependent, Filtering::EndpointIndependent),
            true => (mapping, Filtering::EndpointIndependent),
            false => (mapping, filtering),
        };
        is_symmetric |= mapping != Mapping::EndpointIndependent;
        // From there on out, all that others were sent has been through other mappings.
        if is_symmetric && filtering != Filtering::EndpointIndependent {
            return None;
        }
        of_all = of_all.max(filtering);
    }
    Some(of_all)
}

/// Whether all packets of an explicitly mapped endpoint leave from the mapping.
fn is_cone(nat: &NatConfig) -> bool {
    nat.uses_explicit || nat.overlapping || nat.mapping == Mapping::EndpointIndependent
}

/// Mapping and filtering as they work out.
fn behaviour(nat: &NatConfig, has_pool: bool) -> (Mapping, Filtering) {
    if !nat.overlapping {
        return (nat.mapping, nat.filtering);
    }
    // A packet finds its mapping by its source, which is as good as a filter.
    let by_mapping = match nat.mapping {
        Mapping::EndpointIndependent => Filtering::EndpointIndependent,
        Mapping::AddressDependent => Filtering::AddressDependent,
        Mapping::AddressAndPortDependent => Filtering::AddressAndPortDependent,
    };
    let filtering = nat.filtering.max(by_mapping);
    let is_one = is_preserving(nat) && !has_pool;
    let mapping = if is_one { Mapping::EndpointIndependent } else { nat.mapping };
    (mapping, filtering)
}

/// How a NAT of this mapping that is fed by mappings of the other kind gives out ports.
fn allocation(nat: &NatConfig, mapping: Mapping, fed_by: Mapping, has_pool: bool) -> Ports {
    // Mappings of one internal endpoint want one port; those of an inner symmetric NAT have many.
    let collides = mapping > fed_by && !nat.overlapping;
    let is_fed_many = fed_by != Mapping::EndpointIndependent;
    let changes = nat.mode_change == ModeChange::RandomAfterCollision && collides;
    match nat.allocation {
        _ if nat.cross_traffic > 0 => Ports::Unclear,
        Allocation::Random => Ports::Random,
        Allocation::Preserve | Allocation::PreserveOrNext { .. } if changes => {
            // Those of an explicitly mapped port may be in no one's way.
            let is_certain = !is_fed_many && !has_pool && !nat.gives_explicit;
            if is_certain { Ports::Random } else { Ports::Unclear }
        }
        _ if !nat.ports.contains(PORTS_NEEDED.0) || !nat.ports.contains(PORTS_NEEDED.1) => {
            Ports::Unclear
        }
        Allocation::Preserve | Allocation::PreserveOrNext { .. } => Ports::Preserved,
        _ if nat.keeps_parity && is_fed_many => Ports::Unclear,
        Allocation::Sequential { step } | Allocation::SequentialPerHost { step } => {
            let step =
                if nat.keeps_parity && step % 2 == 1 { step.saturating_mul(2) } else { step };
            if step <= STEP_MAX { Ports::Sequential } else { Ports::Random }
        }
    }
}

fn is_preserving(nat: &NatConfig) -> bool {
    matches!(nat.allocation, Allocation::Preserve | Allocation::PreserveOrNext { .. })
        && nat.ports == PortRange::ALL
}

fn is_frail(nat: &NatConfig) -> bool {
    let is_short = |lifetime: Duration| lifetime < LIFETIME_MIN;
    let is_preserving_some =
        nat.ports != PortRange::ALL && !matches!(nat.allocation, Allocation::Random);
    is_short(nat.lifetime)
        || nat.filter_lifetime.is_some_and(is_short)
        || (nat.overlapping && is_preserving_some)
}

/// The least and the greatest port that hosts use.
const PORTS_NEEDED: (u16, u16) = (40_000, u16::MAX);

/// Half the distance that an echo test believes in (RFC 6081 section 5.5.4.4).
const STEP_MAX: u16 = 8;

/// Longer than a client is silent towards its server.
const LIFETIME_MIN: Duration = Duration::from_secs(35);
