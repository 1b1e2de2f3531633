//! Bytes as what happens: eight to a transition, none of them without a meaning.

use core::time::Duration;

use teredo_proto::random::Random;

/// Something happens. Numbers stand for one of what there is in the world.
#[derive(Clone, Copy, Debug)]
pub(super) enum Transition {
    AddServer {
        any_endpoint: bool,
    },
    AddRelay {
        place: u8,
    },
    AddHostRelay {
        place: u8,
        policy: u8,
    },
    AddNative,
    AddHelper {
        host: u8,
    },
    AddClient(ClientChoice),
    /// A burst of packets from one host to another, of which some are pings.
    Talk {
        from: u8,
        to: u8,
        count: u8,
        len: u8,
        pings: u8,
    },
    /// The link of a host, or of the IPv6 Internet, is another one.
    Link {
        host: u8,
        delay: u8,
        loss: u8,
        duplicates: u8,
        late: u8,
    },
    RestartClient(u8),
    RestartOther(u8),
    RebootNat(u8),
    /// A host goes to sleep or wakes up.
    Switch {
        host: u8,
        up: bool,
    },
    /// The IPv6 Internet reaches Teredo clients through this relay.
    Route(u8),
    Start(u8),
    Stop(u8),
    NetworkChanged(u8),
    Move {
        client: u8,
        to: ClientChoice,
    },
    Policy {
        host: u8,
        policy: u8,
    },
    /// All clocks jump ahead.
    Jump(Duration),
    /// A port mapper starts, or gives back what it has.
    Mapper {
        client: u8,
        on: bool,
    },
    Attack(Attack),
}

/// What a client is like, and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientChoice {
    pub(super) place: u8,
    pub(super) kind: u8,
    pub(super) lifetime: u8,
    pub(super) traits: u8,
    pub(super) techniques: u8,
    pub(super) server: u8,
}

/// What an attacker does, who sees only what is sent to it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attack {
    /// Bytes without sense, from anywhere.
    Noise { to: u8, len: u8, fill: u8 },
    /// Test data in another host's name, from an endpoint of the attacker.
    Data { to: u8, claimed: u8 },
    /// A bubble to a client, from an endpoint of the attacker or with a false source.
    Bubble { to: u8, claimed: u8, from: u8, trailers: u8, number: u8 },
    /// Bubbles through a server, many times.
    Storm { to: u8, claimed: u8, trailers: u8, number: u8, count: u8 },
    /// Bubbles of many Teredo addresses, all of them the attacker's own.
    Crowd { to: u8, count: u8 },
    /// A server's answer that nobody asked for, with an endpoint of the attacker's choice.
    Advertisement { to: u8, from: u8 },
    /// The answer to a test of connectivity that the attacker did not see.
    EchoReply { to: u8, claimed: u8 },
    /// What the attacker was sent, sent on to a client.
    Replay { to: u8, which: u8 },
}

/// The transitions that these bytes are, each with the pause after it; the first eight bytes are
/// the seed of the world.
pub(super) fn decode(bytes: &[u8]) -> impl Iterator<Item = (Transition, Duration)> {
    let records = bytes.get(SEED_LEN..).unwrap_or_default().chunks(RECORD_LEN);
    records.take(TRANSITIONS_MAX).map(|chunk| {
        let mut record = [0; RECORD_LEN];
        record[..chunk.len()].copy_from_slice(chunk);
        let [first, details @ .., pause] = record;
        (Transition::decode(first, details), pause_of(pause))
    })
}

/// The first bytes of the records that a scenario of a number begins with, and how many of each.
pub(super) fn beginning(random: &mut Random) -> [(u8, u64); 6] {
    [
        (ADD_SERVER, random.below(2)),
        (ADD_HELPER, random.below(3)),
        (ADD_RELAY, random.below(3)),
        (ADD_NATIVE, 1 + random.below(2)),
        (ADD_HOST_RELAY, u64::from(random.below(10) < 3)),
        (ADD_CLIENT, 2 + random.below(3)),
    ]
}

impl Transition {
    fn decode(first: u8, [a, b, c, d, e, f]: [u8; 6]) -> Self {
        let choice =
            ClientChoice { place: a, kind: b, lifetime: c, traits: d, techniques: e, server: f };
        match first {
            ADD_SERVER => Self::AddServer { any_endpoint: a & 1 != 0 },
            ADD_RELAY => Self::AddRelay { place: a },
            ADD_NATIVE => Self::AddNative,
            ADD_HOST_RELAY => Self::AddHostRelay { place: a, policy: b },
            ADD_CLIENT..ADD_HELPER => Self::AddClient(choice),
            ADD_HELPER => Self::AddHelper { host: a },
            8..18 => Self::Link { host: a, delay: b, loss: c, duplicates: d, late: e },
            18..28 => Self::RestartClient(a),
            28..36 => Self::RestartOther(a),
            36..48 => Self::RebootNat(a),
            48..58 => Self::Switch { host: a, up: b % 10 < 6 },
            58..64 => Self::Route(a),
            64..67 => Self::Start(a),
            67..70 => Self::Stop(a),
            70..76 => Self::NetworkChanged(a),
            76..82 => Self::Move { client: f, to: choice },
            82..86 => Self::Policy { host: a, policy: b },
            86..90 => Self::Jump(Duration::from_secs(1 << (a % 14))),
            90..98 => Self::Mapper { client: a, on: b % 4 != 0 },
            98..148 => Self::Attack(Attack::decode(first, [a, b, c, d, e])),
            148.. => Self::Talk { from: a, to: b, count: c, len: d, pings: e },
        }
    }
}

impl Attack {
    fn decode(first: u8, [a, b, c, d, e]: [u8; 5]) -> Self {
        match first {
            ..104 => Self::Noise { to: a, len: b, fill: c },
            104..112 => Self::Data { to: a, claimed: b },
            112..124 => Self::Bubble { to: a, claimed: b, from: c, trailers: d, number: e },
            124..132 => Self::Storm { to: a, claimed: b, trailers: c, number: d, count: e },
            132..134 => Self::Crowd { to: a, count: b },
            134..140 => Self::Advertisement { to: a, from: b },
            140..144 => Self::EchoReply { to: a, claimed: b },
            144.. => Self::Replay { to: a, which: b },
        }
    }
}

/// Most pauses are short, a few nearly a minute.
fn pause_of(byte: u8) -> Duration {
    let byte = u64::from(byte);
    Duration::from_millis(match byte {
        ..128 => byte * 8,
        128..240 => 1_000 + (byte - 128) * 30,
        _ => (byte - 240) * 3_500,
    })
}

const ADD_SERVER: u8 = 0;
const ADD_RELAY: u8 = 1;
const ADD_NATIVE: u8 = 2;
const ADD_HOST_RELAY: u8 = 3;
const ADD_CLIENT: u8 = 4;
const ADD_HELPER: u8 = 7;

const SEED_LEN: usize = 8;
/// Bytes of a transition: what happens, six details, the pause after it.
pub const RECORD_LEN: usize = 8;
/// Transitions of a scenario at most: what comes later is left out.
pub const TRANSITIONS_MAX: usize = 96;
