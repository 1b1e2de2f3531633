//! Which pairs of NATs must connect, and worlds to see whether they do.
//!
//! [`Technique`] is the matrix of RFC 6081 (figure 1) as data; [`connect`] runs one pair.

use core::iter::{once, repeat};
use core::time::Duration;

use teredo_proto::client::{HelperConfig, HelperUse, Traversal};
use teredo_proto::keys::{Algorithm, Identifier, Secret, SharedKey};
use teredo_proto::random::Random;
use teredo_proto::role::NatKind;
use teredo_proto::server::{Clients, EndpointCheck, KnownClient};

use crate::host::HostId;
use crate::link::Link;
use crate::nat::NatConfig;
use crate::predicate::Side;
use crate::world::{Place, Stopped, World};

/// The kinds of NAT of RFC 6081, in the order of its figure 1; names are those of
/// [`NatConfig::KEYS`].
pub const KINDS: [&str; 9] = NatConfig::KEYS;

/// What connects a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Technique {
    /// RFC 4380 alone.
    Plain,
    /// Symmetric NAT support.
    Symmetric,
    /// That, and endpoints reserved by UPnP on both sides.
    Mapped,
    /// That, and port preservation.
    PortPreserving,
    /// That, and port prediction.
    Sequential,
    /// Other addresses of a client behind the same NAT: in no pair of figure 1.
    Hairpinning,
    /// Nothing in the RFC.
    None,
}

impl Technique {
    /// What RFC 6081 says of a client behind the NAT `from` that begins to talk to one behind `to`,
    /// both numbers of [`KINDS`].
    pub fn of(from: usize, to: usize) -> Self {
        match FIGURE_1.get(from).and_then(|row| row.split(',').nth(to)) {
            Some("Y") => Self::Plain,
            Some("S") => Self::Symmetric,
            Some("SU") => Self::Mapped,
            Some("SP") => Self::PortPreserving,
            Some("SS") => Self::Sequential,
            _ => Self::None,
        }
    }

    /// The name used in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "Y",
            Self::Symmetric => "S",
            Self::Mapped => "SU",
            Self::PortPreserving => "SP",
            Self::Sequential => "SS",
            Self::Hairpinning => "HP",
            Self::None => "-",
        }
    }

    /// Whether it is among these extensions.
    pub const fn is_in(self, traversal: Traversal) -> bool {
        match self {
            Self::Plain => true,
            Self::Symmetric => traversal.symmetric,
            Self::Mapped => traversal.mapped_symmetric,
            Self::PortPreserving => traversal.port_preserving,
            Self::Sequential => traversal.sequential,
            Self::Hairpinning => traversal.hairpin,
            Self::None => false,
        }
    }
}

/// RFC 6081 figure 1, rows and columns in the order of [`KINDS`].
const FIGURE_1: [&str; 9] = [
    "Y,Y,Y,Y,S,S,S,S,S",
    "Y,Y,Y,Y,S,S,S,S,-",
    "Y,Y,Y,Y,-,SP,SS,-,-",
    "Y,Y,Y,Y,SU,-,-,-,-",
    "S,S,-,SU,SU,-,-,-,-",
    "S,S,SP,-,-,SP,SS,-,-",
    "S,S,SS,-,-,-,-,-,-",
    "S,S,-,-,-,-,-,-,-",
    "S,-,-,-,-,-,-,-,-",
];

/// What connects a pair of our own clients with everything that there is, both numbers of
/// [`KINDS`]: the names of [`Technique`], or beyond them O (an explicit mapping is as good as a
/// cone), P (that and prediction), D (deferred-open prediction), L (a list of addresses), B
/// (birthday probing) or R (a helper). Where there are two, the second is what is left if the
/// gateway tells nothing.
pub fn target(from: usize, to: usize) -> &'static str {
    TARGET.get(from).and_then(|row| row.split(',').nth(to)).unwrap_or("-")
}

/// All pairs, rows and columns in the order of [`KINDS`].
const TARGET: [&str; 9] = [
    "Y,Y,Y,Y,S,S,S,S,S",
    "Y,Y,Y,Y,S,S,S,S,L",
    "Y,Y,Y,Y,P/B,SP,SS,B,B",
    "Y,Y,Y,Y,SU,O,O,O,O",
    "S,S,P/B,SU,SU,P/R,P/R,R,R",
    "S,S,SP,O,P/R,SP,SS,R,R",
    "S,S,SS,O,P/R,D,D,R,R",
    "S,S,B,O,R,R,R,R,R",
    "S,L,B,O,R,R,R,R,R",
];

/// What came of one attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// How long it took until data had gone both ways, the first packet and the answer to it or to
    /// a later one; `None` if it was not within [`CONNECT_MAX`].
    pub took: Option<Duration>,
    /// Datagrams with bubbles that both clients sent meanwhile.
    pub bubbles: usize,
}

/// What a pair has beside its NATs.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The techniques of the client that begins, and of the other one.
    pub traversals: [Traversal; 2],
    /// What goes wrong on the access link of each client, on the way in and on the way out. The
    /// delay is another one.
    pub faults: Link,
}

impl Options {
    /// Both clients with these techniques, on links on which nothing goes wrong.
    pub const fn both(traversal: Traversal) -> Self {
        Self { traversals: [traversal; 2], faults: Link::perfect(Duration::ZERO) }
    }

    /// Access links that lose so many of a thousand packets.
    #[must_use]
    pub const fn with_loss(self, loss_permille: u16) -> Self {
        Self { faults: Link { loss_permille, ..self.faults }, ..self }
    }
}

/// Two clients of two servers behind NATs of two of [`KINDS`]; the first one begins once both are
/// qualified and know their NATs. Delays of links and all ports follow from `seed`. Where packets
/// are lost, a client that does not qualify in time is one that does not connect.
///
/// # Errors
/// A bug, or a client that does not qualify.
pub fn connect(seed: u64, kinds: [usize; 2], options: &Options) -> Result<Connection, Stopped> {
    let [first, second] = options.traversals;
    let sides = [Side::of_kind(kinds[0], first), Side::of_kind(kinds[1], second)];
    connect_sides(seed, &sides, options.faults)
}

/// The same with any NATs before the two clients.
///
/// # Errors
/// A bug, or a client that does not qualify.
pub fn connect_sides(seed: u64, sides: &[Side; 2], faults: Link) -> Result<Connection, Stopped> {
    connect_in(&mut World::new(seed), seed, sides, faults)
}

/// The same in a world that is there already, to look at it afterwards.
///
/// # Errors
/// A bug, or a client that does not qualify.
pub fn connect_in(
    world: &mut World,
    seed: u64,
    sides: &[Side; 2],
    faults: Link,
) -> Result<Connection, Stopped> {
    let clients = pair(world, seed, sides, faults);
    let known = |world: &World| {
        clients.iter().all(|client| {
            world.is_qualified(*client) && world.nat_kind(*client) != Some(NatKind::Unknown)
        })
    };
    let is_lossy = faults.loss_permille > 0;
    let qualified_max = if is_lossy { QUALIFIED_LOSSY_MAX } else { QUALIFIED_MAX };
    match world.run_until(qualified_max, known) {
        Err(Stopped::Late) if is_lossy => {
            return Ok(Connection { took: None, bubbles: world.bubble_count() });
        }
        qualified => qualified?,
    };
    let bubbles_before = world.bubble_count();
    let took = ping_until_answered(world, clients)?;
    Ok(Connection { took, bubbles: world.bubble_count() - bubbles_before })
}

/// Puts the two clients into a world.
pub fn pair(world: &mut World, seed: u64, sides: &[Side; 2], faults: Link) -> [HostId; 2] {
    let mut seed_bytes = *b"matrix: delays of the two links.";
    seed_bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let mut random = Random::new(seed_bytes);
    // A client behind a NAT with several addresses reaches a foreign server from any of them, which
    // only a server that does not look at the address passes on (E-11b).
    let has_pool = sides.iter().any(|side| side.pool > 1);
    let check = if has_pool { EndpointCheck::Any } else { EndpointCheck::default() };
    sides.each_ref().map(|side| {
        let server = world.add_server_with(|config| config.endpoint_check = check);
        let (primary, secondary) = world.server_addresses(server);
        let outermost = side.nats.iter().rev().zip(once(side.pool).chain(repeat(1)));
        let place = outermost.fold(Place::Internet, |place, (nat, pool)| {
            Place::Behind(world.add_nat_at(place, *nat, pool))
        });
        let helper = side.traversal.helper.then(|| helper(world)).flatten();
        let client = world.add_client_with(place, |config| {
            (config.server, config.secondary) = (primary, secondary);
            config.traversal = side.traversal;
            config.helper = helper;
        });
        let delay = DELAY_MIN + random.up_to(DELAY_SPREAD);
        world.set_link(client, Link { delay, ..faults });
        client
    })
}

/// A helper for one client, and what that one has to know of it.
fn helper(world: &mut World) -> Option<HelperConfig> {
    let key = SharedKey::new(Algorithm::default(), b"a key of the matrix")?;
    let secret = Secret { identifier: Identifier::new(b"client")?, key };
    let known = KnownClient { secret: secret.clone(), is_renewal_due: false };
    let host = world.add_helper(Clients::new(vec![known]).ok()?, |_| {});
    let endpoint = world.endpoint_of(host)?;
    Some(HelperConfig { endpoint, secret, used_for: HelperUse::Peers })
}

fn ping_until_answered(
    world: &mut World,
    [from, to]: [HostId; 2],
) -> Result<Option<Duration>, Stopped> {
    let start = world.now();
    let mut pings = Vec::new();
    while world.now().since(start) < CONNECT_MAX {
        let address = world.ipv6(to);
        pings.extend(address.and_then(|address| world.ping(from, address)));
        let answered = |world: &World| pings.iter().any(|&ping| world.answer_time(ping).is_some());
        match world.run_until(PING_EVERY, answered) {
            Ok(_) => return Ok(Some(world.now().since(start))),
            Err(Stopped::Late) => {}
            Err(stopped) => return Err(stopped),
        }
    }
    Ok(None)
}

/// Connected later than this is not connected.
pub const CONNECT_MAX: Duration = Duration::from_secs(30);
/// External addresses of the address-symmetric NAT.
pub const POOL: u8 = 4;
const PING_EVERY: Duration = Duration::from_secs(1);
/// One way over a client's link.
const DELAY_MIN: Duration = Duration::from_millis(5);
const DELAY_SPREAD: Duration = Duration::from_millis(20);
/// Two round trips; nothing is lost.
const QUALIFIED_MAX: Duration = Duration::from_secs(3);
/// Several attempts of three solicitations four seconds apart, with the pauses between attempts.
const QUALIFIED_LOSSY_MAX: Duration = Duration::from_secs(120);
