//! Who connects behind which NATs (protocol sections 6.1, 6.2 and 6.5).

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod common;

use core::net::SocketAddrV4;
use core::time::Duration;

use teredo_proto::client::Traversal;
use teredo_proto::role::{NatKind, OfflineReason, State};
use teredo_sim::matrix::{self, KINDS, Options, Technique};
use teredo_sim::nat::Hairpin;
use teredo_sim::predicate::Side;
use teredo_sim::{HostId, Link, NatConfig, Place, World};
use teredo_wire::trailer::Trailer;
use teredo_wire::{TEREDO_PORT, TeredoAddress, Writer, ipv6};

use common::{PLAIN, SECOND, ping, ping_until_answered, qualify};

fn kind(key: &str) -> NatConfig {
    key.parse().unwrap()
}

/// All pairs of NATs that RFC 4380 alone copes with.
fn plain_pairs() -> impl Iterator<Item = [&'static str; 2]> {
    PLAIN.into_iter().flat_map(|first| PLAIN.map(|second| [first, second]))
}

/// Two clients behind NATs of these kinds, of one server or of two.
fn pair(world: &mut World, kinds: [&str; 2], servers: usize) -> [HostId; 2] {
    let servers: Vec<HostId> = (0..servers).map(|_| world.add_server()).collect();
    let nats = kinds.map(|key| world.add_nat(kind(key)));
    let last = *servers.last().unwrap();
    [world.add_client_of(servers[0], nats[0]), world.add_client_of(last, nats[1])]
}

/// The protocol's own time for a first ping between peers at 10 ms a link: bubbles through the
/// server (40 ms), the answer (20 ms), the ping and its answer (40 ms).
const PEER_PING_MAX: Duration = Duration::from_millis(100);

//= C-TX-09: clients behind cone, address- and port-restricted NATs reach each other
#[test]
fn plain_nats_connect_with_one_ping() {
    for servers in [1, 2] {
        for kinds in plain_pairs() {
            let mut world = World::new(1);
            let [a, b] = pair(&mut world, kinds, servers);
            qualify(&mut world, &[a, b]);
            let first = ping(&mut world, a, b, SECOND);
            assert!(first <= Some(PEER_PING_MAX) && first.is_some(), "{kinds:?} {first:?}");
            assert_eq!(ping(&mut world, b, a, SECOND), Some(Duration::from_millis(40)));
        }
    }
}

#[test]
fn plain_nats_connect_when_both_begin_at_once() {
    for kinds in plain_pairs() {
        let mut world = World::new(2);
        let [a, b] = pair(&mut world, kinds, 2);
        qualify(&mut world, &[a, b]);
        let pings = [(a, b), (b, a)].map(|(from, to)| {
            let to = world.ipv6(to).unwrap();
            world.ping(from, to).unwrap()
        });
        let answered = |world: &World| pings.iter().all(|ping| world.answer_time(*ping).is_some());
        let took = world.run_until(SECOND, answered);
        assert!(
            took.is_ok_and(|took| took <= PEER_PING_MAX),
            "{kinds:?} {took:?}\n{}",
            world.log_text()
        );
    }
}

//= C-QUAL-08, C-QUAL-10: a client of RFC 4380 alone behind a symmetric NAT is off-line
#[test]
fn symmetric_nats_go_offline_without_rfc_6081() {
    for key in ["ups", "ps", "pp", "seq", "addr"] {
        let mut world = World::new(3);
        world.add_server();
        let nat = world.add_nat_at(Place::Internet, kind(key), 8);
        let client = world.add_client_with(nat, |config| config.traversal = Traversal::NONE);
        let offline = State::Offline(OfflineReason::SymmetricNat);
        let took = world.run_until(SECOND, |world| world.state(client) == Some(offline));
        assert!(took.is_ok(), "{key}\n{}", world.log_text());
        assert_eq!(world.ipv6(client), None, "{key}");
        assert_eq!(world.run_for(10 * SECOND), Ok(()));
        assert_eq!(world.state(client), Some(offline), "{key}");
    }
}

//= N-NAT-06: the client tells the kinds of NAT apart as far as that can be seen
#[test]
fn kinds_of_nat_are_recognised() {
    for (key, seen) in [
        ("cone", NatKind::EndpointIndependent),
        ("ar", NatKind::EndpointIndependent),
        ("pr", NatKind::EndpointIndependent),
        ("upr", NatKind::EndpointIndependent),
        ("ups", NatKind::PortSymmetric),
        ("ps", NatKind::PortSymmetric),
        ("pp", NatKind::PortSymmetric),
        ("seq", NatKind::PortSymmetric),
        ("addr", NatKind::AddressSymmetric),
    ] {
        let mut world = World::new(3);
        world.add_server();
        let pool = if key == "addr" { 8 } else { 1 };
        let nat = world.add_nat_at(Place::Internet, kind(key), pool);
        let client = world.add_client(nat);
        let took = world.run_until(SECOND, |world| world.nat_kind(client) == Some(seen));
        assert!(took.is_ok(), "{key}: {:?}\n{}", world.nat_kind(client), world.log_text());
    }
}

#[test]
fn a_client_without_nat_knows_it() {
    let mut world = World::new(4);
    world.add_server();
    let client = world.add_client(Place::Internet);
    qualify(&mut world, &[client]);
    assert_eq!(world.run_for(SECOND), Ok(()));
    assert_eq!(world.nat_kind(client), Some(NatKind::None));
}

#[test]
fn qualified_after_one_round_trip() {
    let mut world = World::new(5);
    world.add_server();
    let nat = world.add_nat(NatConfig::pr());
    let client = world.add_client(nat);
    let took = world.run_until(SECOND, |world| world.is_qualified(client));
    assert_eq!(took, Ok(Duration::from_millis(40)));
}

//= N-NAT-09: a NAT that rewrites addresses in payloads breaks neither qualification nor traffic
#[test]
fn a_rewriting_nat_does_no_harm() {
    let mut world = World::new(6);
    world.add_server();
    let rewriting = NatConfig { rewrites_payload: true, ..NatConfig::pr() };
    let nats = [(); 2].map(|()| world.add_nat(rewriting));
    let [a, b] = nats.map(|nat| world.add_client(nat));
    qualify(&mut world, &[a, b]);
    assert!(ping(&mut world, a, b, SECOND).is_some());
}

#[test]
fn nested_nats_connect() {
    for (inner, outer) in [("pr", "pr"), ("cone", "ar"), ("pr", "cone")] {
        let mut world = World::new(7);
        world.add_server();
        let outer = world.add_nat(kind(outer));
        let inner = world.add_nat_at(outer, kind(inner), 1);
        let other = world.add_nat(NatConfig::pr());
        let (a, b) = (world.add_client(inner), world.add_client(other));
        qualify(&mut world, &[a, b]);
        assert!(ping(&mut world, a, b, SECOND).is_some());
        assert!(ping(&mut world, b, a, SECOND).is_some());
    }
}

/// Two clients behind one NAT of this kind, and whether a ping from one to the other is answered.
fn connects_behind_one_nat(config: NatConfig, traversal: Traversal) -> bool {
    let mut world = World::new(8);
    world.add_server();
    let nat = world.add_nat(config);
    let [a, b] =
        [(); 2].map(|()| world.add_client_with(nat, |config| config.traversal = traversal));
    qualify(&mut world, &[a, b]);
    ping(&mut world, a, b, SECOND).is_some()
}

#[test]
fn hairpinning_connects_clients_behind_one_nat() {
    let nat = |hairpin| NatConfig { hairpin, ..NatConfig::pr() };
    let no_alternates = Traversal { hairpin: false, ..Traversal::RFC6081 };
    for (hairpin, plain, symmetric) in [
        (Hairpin::None, false, false),
        (Hairpin::External, true, true),
        (Hairpin::Internal, false, true),
    ] {
        assert_eq!(connects_behind_one_nat(nat(hairpin), Traversal::NONE), plain, "{hairpin:?}");
        assert_eq!(connects_behind_one_nat(nat(hairpin), no_alternates), symmetric, "{hairpin:?}");
    }
}

//= X-HP-09: behind one NAT without hairpinning, and behind two NATs below a third
#[test]
fn other_addresses_connect_clients_where_nothing_turns_back() {
    for key in KINDS {
        assert!(connects_behind_one_nat(kind(key), Traversal::RFC6081), "{key}");
    }
    for key in PLAIN {
        let alone = Traversal { hairpin: true, ..Traversal::NONE };
        assert!(connects_behind_one_nat(kind(key), alone), "{key}: it needs no other extension");
    }
    for hairpin in [true, false] {
        let mut world = World::new(9);
        world.add_server();
        let outer = world.add_nat(NatConfig::pr());
        let nats = [(); 2].map(|()| world.add_nat_at(outer, kind("upr"), 1));
        let traversal = Traversal { hairpin, ..Traversal::RFC6081 };
        let [a, b] =
            nats.map(|nat| world.add_client_with(nat, |config| config.traversal = traversal));
        qualify(&mut world, &[a, b]);
        let answer = ping(&mut world, a, b, SECOND);
        assert_eq!(answer.is_some(), hairpin, "{}", world.log_text());
    }
}

/// Access links on which one packet in ten is lost, doubled or overtaken.
fn bad_link() -> Link {
    Link {
        loss_permille: 100,
        duplicate_permille: 100,
        reorder_permille: 100,
        reorder_delay: Duration::from_millis(50),
        ..Link::perfect(Duration::from_millis(10))
    }
}

//= N-NAT-10: with 10 % loss, duplication and reordering all connect within 30 s all the same
#[test]
fn bad_links_only_delay_connections() {
    for seed in 0..5 {
        for kinds in plain_pairs() {
            let mut world = World::new(seed);
            let [a, b] = pair(&mut world, kinds, 2);
            world.set_link(a, bad_link());
            world.set_link(b, bad_link());
            qualify(&mut world, &[a, b]);
            let left = (30 * SECOND).saturating_sub(world.elapsed());
            let answered = ping_until_answered(&mut world, &[(a, b), (b, a)], left);
            assert_eq!(answered, [true; 2], "{seed} {kinds:?}\n{}", world.log_text());
        }
    }
}

#[test]
fn bad_links_only_delay_the_way_through_a_relay() {
    for seed in 0..10 {
        for key in PLAIN {
            let mut world = World::new(seed);
            world.add_server();
            world.add_relay(Place::Internet);
            let native = world.add_native_host();
            let nat = world.add_nat(kind(key));
            let client = world.add_client(nat);
            world.set_link(client, bad_link());
            qualify(&mut world, &[client]);
            let left = (30 * SECOND).saturating_sub(world.elapsed());
            let pairs = [(client, native), (native, client)];
            let answered = ping_until_answered(&mut world, &pairs, left);
            assert_eq!(answered, [true; 2], "{seed} {key}\n{}", world.log_text());
        }
    }
}

/// Runs a cell of the matrix a few times and says how often it connected.
fn connections(kinds: [usize; 2], traversals: [Traversal; 2]) -> usize {
    let options = Options { traversals, ..Options::both(Traversal::NONE) };
    let connected = |seed| {
        let connection = matrix::connect(seed, kinds, &options);
        connection.unwrap_or_else(|stopped| panic!("{kinds:?}, seed {seed}: {stopped}")).took
    };
    (1..=SEEDS).filter_map(connected).count()
}

const SEEDS: u64 = 5;

/// All pairs of kinds, by their numbers.
fn pairs() -> impl Iterator<Item = [usize; 2]> {
    (0..KINDS.len()).flat_map(|from| (0..KINDS.len()).map(move |to| [from, to]))
}

/// Whether two address-symmetric NATs may meet by chance, or a NAT whose endpoint was reserved is
/// better than the RFC says (E-29).
fn may_exceed(from: usize, to: usize) -> bool {
    let is = |index: usize, key| KINDS[index] == key;
    is(from, "upr") || is(to, "upr") || is(from, "addr") || is(to, "addr")
}

//= N-NAT-07, X-SNS-14, X-UPNP-12, X-PP-15, X-SS-11: what figure 1 promises connects, all else not
#[test]
fn pairs_connect_as_rfc_6081_has_it() {
    for [from, to] in pairs() {
        let connected = connections([from, to], [Traversal::RFC6081; 2]) as u64;
        let pair = [KINDS[from], KINDS[to]];
        if Technique::of(from, to) != Technique::None {
            assert_eq!(connected, SEEDS, "{pair:?}");
        } else if !may_exceed(from, to) {
            assert_eq!(connected, 0, "{pair:?}");
        }
    }
}

/// What goes beyond the RFC is not in the way of what the RFC does: nothing has to be tried again.
#[test]
fn everything_on_keeps_the_pairs_of_rfc_6081_fast() {
    let options = Options::both(Traversal::ALL);
    for kinds in pairs().filter(|[from, to]| Technique::of(*from, *to) != Technique::None) {
        for seed in 1..=SEEDS {
            let connection = matrix::connect(seed, kinds, &options).unwrap();
            let pair = kinds.map(|kind| KINDS[kind]);
            assert!(connection.took.is_some_and(|took| took < SECOND), "{pair:?} {connection:?}");
        }
    }
}

//= N-NAT-08: with everything on every pair connects
#[test]
fn pairs_connect_with_everything_on() {
    for [from, to] in pairs() {
        let connected = connections([from, to], [Traversal::ALL; 2]) as u64;
        assert_eq!(connected, SEEDS, "{} to {}", KINDS[from], KINDS[to]);
    }
}

//= X-INDEP-01, X-DEP-01: with an extension off, on both sides, everything else connects as before
#[test]
fn each_extension_can_be_switched_off() {
    let all = Traversal::RFC6081;
    let switched = [
        Traversal { symmetric: false, ..all },
        Traversal { mapped_symmetric: false, ..all },
        Traversal { port_preserving: false, ..all },
        Traversal { sequential: false, ..all },
        Traversal { hairpin: false, ..all },
        Traversal { load_reduction: false, ..all },
        Traversal::NONE,
    ];
    for traversal in switched {
        let left = traversal.with_dependencies();
        for [from, to] in pairs() {
            let technique = Technique::of(from, to);
            // Without support of symmetric NATs no client behind one qualifies.
            if technique == Technique::None || !technique.is_in(left) || !left.symmetric {
                continue;
            }
            let connected = connections([from, to], [traversal; 2]) as u64;
            assert_eq!(connected, SEEDS, "{} {} {traversal:?}", KINDS[from], KINDS[to]);
        }
    }
    for kinds in plain_pairs() {
        let numbers = kinds.map(|key| KINDS.iter().position(|kind| *kind == key).unwrap());
        for traversals in [[Traversal::NONE; 2], [Traversal::NONE, all], [all, Traversal::NONE]] {
            assert_eq!(connections(numbers, traversals) as u64, SEEDS, "{kinds:?}");
        }
    }
}

/// A pair of the matrix with the techniques of the RFC.
fn met(world: &mut World, seed: u64, kinds: [usize; 2]) -> [HostId; 2] {
    let sides = kinds.map(|kind| Side::of_kind(kind, Traversal::RFC6081));
    matrix::pair(world, seed, &sides, Link::perfect(Duration::ZERO))
}

/// Pings every second until one is answered; says whether one was within 30 s.
fn connects(world: &mut World, from: HostId, to: HostId) -> bool {
    let left = 30;
    (0..left).any(|_| ping(world, from, to, SECOND).is_some())
}

//= X-PP-09, X-PP-10: what a peer announced long ago does not stand in the way of what it says now
#[test]
fn pairs_meet_again_after_a_silence() {
    for pause in [40, 100, 400, 700] {
        for [from, to] in pairs() {
            if Technique::of(from, to) == Technique::None {
                continue;
            }
            let mut world = World::new(pause);
            let [a, b] = met(&mut world, pause, [from, to]);
            qualify(&mut world, &[a, b]);
            assert_eq!(world.run_for(SECOND), Ok(()));
            for meeting in 0..3 {
                let connected = connects(&mut world, a, b);
                let (kinds, log) = ([KINDS[from], KINDS[to]], world.log_text());
                assert!(connected, "{kinds:?}, {pause} s, meeting {meeting}\n{log}");
                assert_eq!(world.run_for(Duration::from_secs(pause)), Ok(()));
            }
        }
    }
}

/// A bubble that somebody else sends in the name of `claimed`, with a random port.
fn forge_announcement(world: &mut World, claimed: HostId, victim: HostId) {
    let [source, destination] = [claimed, victim].map(|host| world.ipv6(host).unwrap());
    let mut buffer = [0; 120];
    let mut writer = Writer::new(&mut buffer);
    ipv6::Header::bubble(source, destination).write(&mut writer).unwrap();
    Trailer::Nonce([1, 2, 3, 4]).write(&mut writer).unwrap();
    Trailer::RandomPort(2_000).write(&mut writer).unwrap();
    let [source, destination] =
        [source, destination].map(|address| TeredoAddress::parse(address).unwrap());
    let server = SocketAddrV4::new(destination.server, TEREDO_PORT);
    world.inject(source.mapped, server, writer.written().to_vec());
}

//= SEC-07: what a forged bubble announces is forgotten, also if the peer itself announces nothing
#[test]
fn a_forged_announcement_does_not_last() {
    for [from, to] in pairs() {
        if Technique::of(from, to) == Technique::None {
            continue;
        }
        let mut world = World::new(12);
        let [a, b] = met(&mut world, 12, [from, to]);
        qualify(&mut world, &[a, b]);
        assert_eq!(world.run_for(SECOND), Ok(()));
        forge_announcement(&mut world, a, b);
        forge_announcement(&mut world, b, a);
        assert_eq!(world.run_for(320 * SECOND), Ok(()));
        let kinds = [KINDS[from], KINDS[to]];
        assert!(connects(&mut world, a, b), "{kinds:?}\n{}", world.log_text());
    }
}
