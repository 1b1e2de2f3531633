//! What a NAT does, by the parameters of RFC 4787, and the kinds that RFC 6081 names.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

/// The behaviour of a NAT: a plain value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatConfig {
    /// When an internal endpoint keeps its external one.
    pub mapping: Mapping,
    /// Whom a mapping lets in.
    pub filtering: Filtering,
    /// How a new mapping gets its external port.
    pub allocation: Allocation,
    /// The external ports that it gives out.
    pub ports: PortRange,
    /// Whether an external port is odd when the internal one is, and even when it is even
    /// (RFC 4787 section 4.2.3).
    pub keeps_parity: bool,
    /// Whether mappings for different remotes may have the same external endpoint (RFC 7857
    /// section 3). With [`Allocation::Preserve`] this is a Linux kernel.
    pub overlapping: bool,
    /// How a new mapping gets its external address.
    pub pooling: Pooling,
    /// How long a mapping, and the admission of one remote, lives without traffic.
    pub lifetime: Duration,
    /// How long the admission of one remote lives instead, if that is not as long.
    pub filter_lifetime: Option<Duration>,
    /// Whether inbound packets prolong a lifetime; outbound ones always do.
    pub inbound_refresh: bool,
    /// What becomes of packets from the inside to an external endpoint of the NAT.
    pub hairpin: Hairpin,
    /// Whether each client behind it is given an explicit mapping before it starts, as by UPnP.
    pub gives_explicit: bool,
    /// Whether it rewrites addresses that it finds in payloads (RFC 4380 section 3.1).
    pub rewrites_payload: bool,
    /// Whether packets from an explicitly mapped endpoint leave from that mapping, as with PCP and
    /// with any one mapping for all destinations; not with UPnP on a symmetric NAT.
    pub uses_explicit: bool,
    /// What the sender of a refused packet is told.
    pub refusal: Refusal,
    /// Whether an ICMP error about a mapping's packet ends the mapping, against RFC 4787 section 9.
    pub icmp_ends_mapping: bool,
    /// Whether it becomes another kind of NAT, and when.
    pub mode_change: ModeChange,
    /// New mappings a second, on the average, for others inside that the world does not show.
    pub cross_traffic: u16,
}

impl NatConfig {
    /// The keys of the kinds that [`FromStr`] knows.
    pub const KEYS: [&str; 9] = ["cone", "ar", "pr", "upr", "ups", "pp", "seq", "ps", "addr"];

    /// Cone: one mapping for all destinations, open to everyone.
    pub const fn cone() -> Self {
        Self {
            mapping: Mapping::EndpointIndependent,
            filtering: Filtering::EndpointIndependent,
            allocation: Allocation::Preserve,
            ports: PortRange::ALL,
            keeps_parity: false,
            overlapping: false,
            pooling: Pooling::Paired,
            lifetime: LIFETIME_DEFAULT,
            filter_lifetime: None,
            inbound_refresh: false,
            hairpin: Hairpin::None,
            gives_explicit: false,
            rewrites_payload: false,
            uses_explicit: true,
            refusal: Refusal::Silence,
            icmp_ends_mapping: false,
            mode_change: ModeChange::Never,
            cross_traffic: 0,
        }
    }

    /// Address-restricted: one mapping, open to addresses that were sent to.
    pub const fn ar() -> Self {
        Self { filtering: Filtering::AddressDependent, ..Self::cone() }
    }

    /// Port-restricted: one mapping, open to endpoints that were sent to.
    pub const fn pr() -> Self {
        Self { filtering: Filtering::AddressAndPortDependent, ..Self::cone() }
    }

    /// UPnP port-restricted: an endpoint that was asked for is open to everyone, and packets of its
    /// owner leave from it.
    pub const fn upr() -> Self {
        Self { gives_explicit: true, ..Self::pr() }
    }

    /// UPnP port-symmetric: an endpoint that was asked for is open to everyone, but only the first
    /// mapping of its owner is at it.
    pub const fn ups() -> Self {
        Self { gives_explicit: true, uses_explicit: false, ..Self::ps() }
    }

    /// Port-symmetric: a mapping with a random port for each destination.
    pub const fn ps() -> Self {
        Self { allocation: Allocation::Random, ..Self::pp() }
    }

    /// Port-preserving port-symmetric: the first mapping keeps the local port, later ones do not.
    pub const fn pp() -> Self {
        Self { mapping: Mapping::AddressAndPortDependent, ..Self::pr() }
    }

    /// Sequential port-symmetric: each mapping takes the port `step` after the last one.
    pub const fn seq(step: u16) -> Self {
        Self { allocation: Allocation::Sequential { step }, ..Self::pp() }
    }

    /// A Linux kernel that masquerades: the local port for every destination, as long as no two
    /// hosts inside want the same one for the same destination.
    pub const fn kernel() -> Self {
        Self { overlapping: true, ..Self::pp() }
    }

    /// Address-symmetric: a random port and one of several addresses for each destination.
    pub const fn addr() -> Self {
        Self { pooling: Pooling::Arbitrary, ..Self::ps() }
    }
}

impl fmt::Display for NatConfig {
    /// Mapping, filtering and allocation in the abbreviations of RFC 7857, then what is not as with
    /// most NATs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mapping = match self.mapping {
            Mapping::EndpointIndependent => "EIM",
            Mapping::AddressDependent => "ADM",
            Mapping::AddressAndPortDependent => "APDM",
        };
        let filtering = match self.filtering {
            Filtering::EndpointIndependent => "EIF",
            Filtering::AddressDependent => "ADF",
            Filtering::AddressAndPortDependent => "APDF",
        };
        write!(f, "{mapping}+{filtering} ")?;
        match self.allocation {
            Allocation::Preserve => f.write_str("preserve")?,
            Allocation::PreserveOrNext { step } => write!(f, "preserve-or-next:{step}")?,
            Allocation::Sequential { step } => write!(f, "sequential:{step}")?,
            Allocation::SequentialPerHost { step } => write!(f, "sequential-per-host:{step}")?,
            Allocation::Random => f.write_str("random")?,
        }
        for (is_so, word) in [
            (self.overlapping, "overlapping"),
            (self.keeps_parity, "parity"),
            (self.pooling == Pooling::Arbitrary, "arbitrary-pool"),
            (self.gives_explicit && self.uses_explicit, "explicit"),
            (self.gives_explicit && !self.uses_explicit, "explicit-inbound"),
            (self.inbound_refresh, "inbound-refresh"),
            (self.rewrites_payload, "rewrites"),
            (self.hairpin == Hairpin::External, "hairpin"),
            (self.hairpin == Hairpin::Internal, "hairpin-internal-source"),
            (self.refusal == Refusal::PortUnreachable, "icmp"),
            (self.icmp_ends_mapping, "icmp-ends-mapping"),
            (self.mode_change == ModeChange::RandomAfterCollision, "random-after-collision"),
            (self.mode_change == ModeChange::SymmetricAfterSharedPort, "symmetric-after-share"),
        ] {
            if is_so {
                write!(f, " {word}")?;
            }
        }
        if self.ports != PortRange::ALL {
            write!(f, " ports:{}-{}", self.ports.first, self.ports.last)?;
        }
        if self.lifetime != LIFETIME_DEFAULT {
            write!(f, " lifetime:{}", self.lifetime.as_secs())?;
        }
        if let Some(lifetime) = self.filter_lifetime {
            write!(f, " filter-lifetime:{}", lifetime.as_secs())?;
        }
        if self.cross_traffic > 0 {
            write!(f, " cross-traffic:{}", self.cross_traffic)?;
        }
        Ok(())
    }
}

impl FromStr for NatConfig {
    type Err = UnknownKind;

    /// Reads one of [`NatConfig::KEYS`].
    fn from_str(key: &str) -> Result<Self, UnknownKind> {
        match key {
            "cone" => Ok(Self::cone()),
            "ar" => Ok(Self::ar()),
            "pr" => Ok(Self::pr()),
            "upr" => Ok(Self::upr()),
            "ups" => Ok(Self::ups()),
            "ps" => Ok(Self::ps()),
            "pp" => Ok(Self::pp()),
            "seq" => Ok(Self::seq(1)),
            "addr" => Ok(Self::addr()),
            _ => Err(UnknownKind),
        }
    }
}

/// When an internal endpoint keeps its external one (RFC 4787 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mapping {
    /// Always.
    EndpointIndependent,
    /// Towards the same remote address.
    AddressDependent,
    /// Towards the same remote address and port.
    AddressAndPortDependent,
}

/// Whom a mapping lets in (RFC 4787 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Filtering {
    /// Everyone.
    EndpointIndependent,
    /// Remote addresses that were sent to.
    AddressDependent,
    /// Remote addresses and ports that were sent to.
    AddressAndPortDependent,
}

/// How a new mapping gets its external port (RFC 4787 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// The internal port if it is free, else a random one.
    Preserve,
    /// The internal port if it is free, else as [`Sequential`](Self::Sequential).
    PreserveOrNext {
        /// Distance of two ports given in a row; not 0.
        step: u16,
    },
    /// The one `step` after the last that the NAT gave, or the next free one.
    Sequential {
        /// Distance of two ports given in a row; not 0.
        step: u16,
    },
    /// The one `step` after the last that the NAT gave to the same internal address, or the next
    /// free one.
    SequentialPerHost {
        /// Distance of two ports given in a row; not 0.
        step: u16,
    },
    /// A random free one.
    Random,
}

/// External ports, from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// 1024 to 65535 (RFC 4787 section 4.2.2, REQ-3).
    pub const ALL: Self = Self { first: 1024, last: u16::MAX };

    /// The ports between the two and they themselves, in whatever order.
    pub const fn new(one: u16, other: u16) -> Self {
        if one < other {
            Self { first: one, last: other }
        } else {
            Self { first: other, last: one }
        }
    }

    /// Whether the port is in it.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// The number of ports.
    pub const fn count(self) -> u32 {
        (self.last - self.first) as u32 + 1
    }

    /// The port `index` after the first one; counted on from the first after the last.
    pub(super) const fn at(self, index: u32) -> u16 {
        self.first + (index % self.count()) as u16
    }

    /// The port `step` after `port`, or after a whole round.
    pub(super) fn after(self, port: u16, step: u16) -> u16 {
        self.at(u32::from(port.wrapping_sub(self.first)) + u32::from(step.max(1)))
    }
}

/// What a NAT tells the sender of a packet that it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing.
    Silence,
    /// That the port is unreachable, by ICMP.
    PortUnreachable,
}

/// When a NAT becomes another kind of NAT. It stays that until it reboots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeChange {
    /// It does not.
    Never,
    /// Ports are random once an internal port could not be preserved.
    RandomAfterCollision,
    /// Each remote endpoint has a mapping of its own once two internal hosts use the same port.
    SymmetricAfterSharedPort,
}

/// How a new mapping gets its external address (RFC 4787 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The same for all mappings of an internal address.
    Paired,
    /// Any, at random.
    Arbitrary,
}

/// What becomes of packets from the inside to an external endpoint of the NAT
/// (RFC 4787 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hairpin {
    /// Dropped.
    None,
    /// Turned back, with the sender's external endpoint as source.
    External,
    /// Turned back, with the sender's internal endpoint as source.
    Internal,
}

/// The text is not the key of a kind of NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownKind;

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected a kind of NAT: {}", NatConfig::KEYS.join(", "))
    }
}

impl core::error::Error for UnknownKind {}

/// What RFC 4787 section 4.3 recommends.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(300);
