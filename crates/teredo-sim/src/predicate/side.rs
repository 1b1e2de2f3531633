//! What stands before a client, drawn at random as well as written down.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use teredo_proto::client::Traversal;
use teredo_proto::random::Random;

use crate::matrix::{KINDS, POOL};
use crate::nat::{
    Allocation, Filtering, Mapping, ModeChange, NatConfig, Pooling, PortRange, Refusal, UnknownKind,
};

/// A client with the NATs before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// From the innermost to the one on the Internet; with none the client is there itself.
    pub nats: Vec<NatConfig>,
    /// External addresses of the outermost.
    pub pool: u8,
    /// What the client does beside RFC 4380.
    pub traversal: Traversal,
}

impl Side {
    /// A client behind one NAT with one address.
    pub fn behind(nat: NatConfig, traversal: Traversal) -> Self {
        Self { nats: vec![nat], pool: 1, traversal }
    }

    /// A client behind a NAT of one of [`KINDS`], by number.
    pub fn of_kind(kind: usize, traversal: Traversal) -> Self {
        let config = KINDS.get(kind).and_then(|key| key.parse().ok());
        let pool = if KINDS.get(kind) == Some(&"addr") { POOL } else { 1 };
        Self { pool, ..Self::behind(config.unwrap_or(NatConfig::cone()), traversal) }
    }

    /// Two sides as different as they may be, the same ones for the same seed.
    pub fn draw_pair(seed: u64) -> [Self; 2] {
        let mut bytes = *b"pairs that nobody has thought of";
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut random = Random::new(bytes);
        [(); 2].map(|()| Self::draw(&mut random, Traversal::RFC6081))
    }

    /// Any side: mostly one NAT, sometimes two or three or none, of any parameters.
    pub fn draw(random: &mut Random, traversal: Traversal) -> Self {
        let depth = pick(random, &[0, 1, 1, 1, 1, 1, 1, 2, 2, 3]);
        let nats = (0..depth).map(|_| draw_nat(random)).collect();
        Self { nats, pool: pick(random, &[1, 1, 1, 2, 4]), traversal }
    }
}

impl FromStr for Side {
    type Err = UnknownKind;

    /// Reads kinds of NAT, from the innermost on with `+` between them: `pr+cone`; `none` is a
    /// client on the Internet. It does what RFC 6081 says.
    fn from_str(words: &str) -> Result<Self, UnknownKind> {
        let keys = words.split('+').filter(|key| *key != "none");
        let nats: Vec<NatConfig> = keys.map(str::parse).collect::<Result<_, _>>()?;
        let has_pool = words.rsplit('+').next() == Some("addr");
        let pool = if has_pool { POOL } else { 1 };
        Ok(Self { nats, pool, traversal: Traversal::RFC6081 })
    }
}

impl fmt::Display for Side {
    /// The NATs from the innermost on.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nats.is_empty() {
            return f.write_str("no NAT");
        }
        for (index, nat) in self.nats.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", behind " };
            write!(f, "{separator}{nat}")?;
        }
        if self.pool > 1 {
            write!(f, " of {} addresses", self.pool)?;
        }
        Ok(())
    }
}

/// Any NAT. Parameters that most NATs share stay as they are most of the time.
pub fn draw_nat(random: &mut Random) -> NatConfig {
    use Mapping as M;
    let step = 1 + random.below(2) as u16;
    let seldom = |random: &mut Random| random.below(16) == 0;
    NatConfig {
        mapping: pick(
            random,
            &[M::EndpointIndependent, M::AddressDependent, M::AddressAndPortDependent],
        ),
        filtering: pick(
            random,
            &[
                Filtering::EndpointIndependent,
                Filtering::AddressDependent,
                Filtering::AddressAndPortDependent,
            ],
        ),
        allocation: pick(
            random,
            &[
                Allocation::Preserve,
                Allocation::PreserveOrNext { step },
                Allocation::Sequential { step },
                Allocation::SequentialPerHost { step },
                Allocation::Random,
            ],
        ),
        ports: if seldom(random) { PortRange::new(20_000, 45_000) } else { PortRange::ALL },
        keeps_parity: seldom(random),
        overlapping: random.below(6) == 0,
        pooling: pick(random, &[Pooling::Paired, Pooling::Arbitrary]),
        lifetime: if seldom(random) { Duration::from_secs(10) } else { LIFETIME },
        filter_lifetime: seldom(random).then_some(Duration::from_secs(20)),
        inbound_refresh: random.below(2) == 0,
        gives_explicit: random.below(5) == 0,
        uses_explicit: random.below(2) == 0,
        rewrites_payload: seldom(random),
        refusal: if random.below(8) == 0 { Refusal::PortUnreachable } else { Refusal::Silence },
        icmp_ends_mapping: random.below(8) == 0,
        mode_change: pick(
            random,
            &[
                ModeChange::Never,
                ModeChange::Never,
                ModeChange::RandomAfterCollision,
                ModeChange::SymmetricAfterSharedPort,
            ],
        ),
        cross_traffic: if seldom(random) { 50 } else { 0 },
        ..NatConfig::cone()
    }
}

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len() as u64) as usize]
}

/// What RFC 4787 section 4.3 asks for at least.
const LIFETIME: Duration = Duration::from_secs(120);
