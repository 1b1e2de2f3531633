use core::time::Duration;

use super::*;

const INSIDE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 2), 4000);
const OTHER_INSIDE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 3), 4000);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 101);
const START: Instant = Instant::from_nanos(1_000_000_000);

fn nat(config: NatConfig) -> Nat {
    Nat::new(config, vec![OUTSIDE], [7; 32])
}

fn remote(host: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, host), port)
}

fn with(mapping: Mapping, filtering: Filtering) -> NatConfig {
    NatConfig { mapping, filtering, ..NatConfig::ps() }
}

//= N-NAT-01: endpoint-independent, address-dependent, address- and port-dependent mapping
#[test]
fn maps_by_what_the_key_contains() {
    let filtering = Filtering::EndpointIndependent;
    for (mapping, same_port_differs, other_host_differs) in [
        (Mapping::EndpointIndependent, false, false),
        (Mapping::AddressDependent, false, true),
        (Mapping::AddressAndPortDependent, true, true),
    ] {
        let mut nat = nat(with(mapping, filtering));
        let first = nat.outbound(START, INSIDE, remote(1, 10)).unwrap();
        assert_eq!(nat.outbound(START, INSIDE, remote(1, 10)), Some(first), "{mapping:?}");
        let other_port = nat.outbound(START, INSIDE, remote(1, 11)).unwrap();
        let other_host = nat.outbound(START, INSIDE, remote(2, 10)).unwrap();
        assert_eq!(other_port != first, same_port_differs, "{mapping:?}");
        assert_eq!(other_host != first, other_host_differs, "{mapping:?}");
        assert_ne!(nat.outbound(START, OTHER_INSIDE, remote(1, 10)), Some(first), "{mapping:?}");
    }
}

//= N-NAT-02: endpoint-independent, address-dependent, address- and port-dependent filtering
#[test]
fn lets_in_whom_the_filter_admits() {
    for (filtering, other_port, other_host) in [
        (Filtering::EndpointIndependent, true, true),
        (Filtering::AddressDependent, true, false),
        (Filtering::AddressAndPortDependent, false, false),
    ] {
        let mut nat = nat(with(Mapping::EndpointIndependent, filtering));
        let external = nat.outbound(START, INSIDE, remote(1, 10)).unwrap();
        let admits = |nat: &mut Nat, from| nat.inbound(START, external, from) == Some(INSIDE);
        assert!(admits(&mut nat, remote(1, 10)), "{filtering:?}");
        assert_eq!(admits(&mut nat, remote(1, 11)), other_port, "{filtering:?}");
        assert_eq!(admits(&mut nat, remote(2, 10)), other_host, "{filtering:?}");
        let unmapped = SocketAddrV4::new(OUTSIDE, external.port() ^ 1);
        assert_eq!(nat.inbound(START, unmapped, remote(1, 10)), None);
    }
}

//= N-NAT-03: preserving, sequential and random ports, and what happens when one is taken
#[test]
fn allocates_ports_as_configured() {
    let mut preserving = nat(NatConfig::pp());
    assert_eq!(preserving.outbound(START, INSIDE, remote(1, 10)).unwrap().port(), 4000);
    assert_ne!(preserving.outbound(START, INSIDE, remote(2, 10)).unwrap().port(), 4000);
    assert_ne!(preserving.outbound(START, OTHER_INSIDE, remote(1, 10)).unwrap().port(), 4000);

    let mut sequential = nat(NatConfig::seq(2));
    let ports: Vec<u16> = (1..6)
        .filter_map(|host| sequential.outbound(START, INSIDE, remote(host, 10)))
        .map(|external| external.port())
        .collect();
    assert!(ports.windows(2).all(|pair| pair[1] == PortRange::ALL.after(pair[0], 2)), "{ports:?}");

    let mut random = nat(NatConfig::ps());
    let mut ports: Vec<u16> = (0..2_000_u32)
        .map(|n| SocketAddrV4::new(Ipv4Addr::from_bits(0x0800_0000 + n), 10))
        .filter_map(|remote| random.outbound(START, INSIDE, remote))
        .map(|external| external.port())
        .collect();
    assert!(ports.windows(2).filter(|pair| pair[1].abs_diff(pair[0]) < 100).count() < 50);
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 2_000);
}

#[test]
fn no_mapping_without_a_free_port() {
    let mut nat = nat(NatConfig::pp());
    for port in 1024..=u16::MAX {
        let internal = SocketAddrV4::new(*INSIDE.ip(), port);
        assert_eq!(nat.outbound(START, internal, remote(1, 10)).unwrap().port(), port);
    }
    assert_eq!(nat.outbound(START, OTHER_INSIDE, remote(1, 10)), None);
    assert_eq!(
        Nat::new(NatConfig::cone(), vec![], [7; 32]).outbound(START, INSIDE, remote(1, 1)),
        None
    );
}

#[test]
fn sequential_ports_wrap_inside_the_range() {
    let after = |port, step| PortRange::ALL.after(port, step);
    assert_eq!(after(u16::MAX, 1), 1024);
    assert_eq!(after(u16::MAX - 1, 2), 1024);
    assert_eq!(after(u16::MAX, 2), 1025);
}

//= N-NAT-03: an address-symmetric NAT draws from its pool, a paired one keeps to one address
#[test]
fn allocates_addresses_as_configured() {
    let pool: Vec<Ipv4Addr> = (101..104).map(|host| Ipv4Addr::new(203, 0, 113, host)).collect();
    let addresses = |config| {
        let mut nat = Nat::new(config, pool.clone(), [7; 32]);
        let mut seen: Vec<Ipv4Addr> = (1..50)
            .filter_map(|host| nat.outbound(START, INSIDE, remote(host, 10)))
            .map(|external| *external.ip())
            .collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    };
    assert_eq!(addresses(NatConfig::addr()), pool);
    assert_eq!(addresses(NatConfig::ps()).len(), 1);
}

/// Ports of mappings to one remote after the other, a second apart.
fn ports(nat: &mut Nat, internal: SocketAddrV4, count: u8) -> Vec<u16> {
    let map = |host: u8| {
        let now = START + Duration::from_secs(host.into());
        nat.outbound(now, internal, remote(host, 10)).unwrap().port()
    };
    (1..=count).map(map).collect()
}

//= N-NAT-03: preserving with a counter to fall back on; one counter for each internal address
#[test]
fn counts_for_the_whole_nat_or_for_each_host() {
    let preserving =
        NatConfig { allocation: Allocation::PreserveOrNext { step: 2 }, ..NatConfig::pp() };
    let ports = ports(&mut nat(preserving), INSIDE, 4);
    assert_eq!(ports[0], INSIDE.port());
    assert_eq!((ports[2] - ports[1], ports[3] - ports[2]), (2, 2), "{ports:?}");

    for (allocation, is_shared) in [
        (Allocation::Sequential { step: 1 }, true),
        (Allocation::SequentialPerHost { step: 1 }, false),
    ] {
        let mut nat = nat(NatConfig { allocation, ..NatConfig::pp() });
        let first = nat.outbound(START, INSIDE, remote(1, 10)).unwrap().port();
        let other = nat.outbound(START, OTHER_INSIDE, remote(1, 10)).unwrap().port();
        let second = nat.outbound(START, INSIDE, remote(2, 10)).unwrap().port();
        assert_eq!(other == first + 1, is_shared, "{allocation:?}");
        assert_eq!(second, if is_shared { first + 2 } else { first + 1 }, "{allocation:?}");
    }
}

//= N-NAT-03: parity and range of external ports
#[test]
fn ports_keep_their_range_and_parity() {
    let range = PortRange::new(5_009, 5_000);
    for allocation in [Allocation::Random, Allocation::Sequential { step: 1 }, Allocation::Preserve]
    {
        let small = NatConfig { allocation, ports: range, ..NatConfig::pp() };
        let mut all = ports(&mut nat(small), INSIDE, 10);
        all.sort_unstable();
        assert_eq!(all, (5_000..=5_009).collect::<Vec<_>>(), "{allocation:?}");
        let even = NatConfig { keeps_parity: true, ..small };
        let mut even = nat(even);
        let mut half = ports(&mut even, INSIDE, 5);
        half.sort_unstable();
        assert_eq!(half, [5_000, 5_002, 5_004, 5_006, 5_008], "{allocation:?}");
        let later = START + Duration::from_secs(9);
        assert_eq!(even.outbound(later, INSIDE, remote(6, 10)), None, "no even port is left");
        let odd = SocketAddrV4::new(*INSIDE.ip(), 4_001);
        assert!(even.outbound(later, odd, remote(6, 10)).is_some(), "{allocation:?}");
        let by_two = Allocation::Sequential { step: 2 };
        let mut by_two = nat(NatConfig { allocation: by_two, keeps_parity: true, ..small });
        for internal in [INSIDE, odd] {
            assert!(by_two.outbound(START, internal, remote(1, 10)).is_some());
        }
    }
}

//= N-NAT-03: overlapping ports (RFC 7857 section 3): one for all remotes, as with a Linux kernel
#[test]
fn mappings_for_different_remotes_share_a_port() {
    let mut nat = nat(NatConfig::kernel());
    let external = nat.outbound(START, INSIDE, remote(1, 10)).unwrap();
    assert_eq!(external.port(), INSIDE.port());
    assert_eq!(nat.outbound(START, INSIDE, remote(2, 10)), Some(external));
    assert_eq!(nat.outbound(START, OTHER_INSIDE, remote(3, 10)), Some(external));
    let clash = nat.outbound(START, OTHER_INSIDE, remote(1, 10)).unwrap();
    assert_ne!(clash, external, "two hosts inside, one remote");
    for (from, inside) in [(remote(2, 10), INSIDE), (remote(3, 10), OTHER_INSIDE)] {
        assert_eq!(nat.inbound(START, external, from), Some(inside));
    }
    assert_eq!(nat.inbound(START, external, remote(4, 10)), None);
    let hour = Duration::from_secs(3_600);
    let explicit = nat.map_explicitly(START, INSIDE, external.port(), hour);
    assert_ne!(explicit, Some(external), "somebody else has a part of it");
}

//= N-NAT-03: modes that change: random after a collision, symmetric once a port is shared
#[test]
fn modes_change_until_a_reboot() {
    let mode_change = ModeChange::RandomAfterCollision;
    let mut preserving = nat(NatConfig { mode_change, ..NatConfig::cone() });
    let map = |nat: &mut Nat, host, port| {
        let internal = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, host), port);
        nat.outbound(START, internal, remote(1, 10)).unwrap().port()
    };
    assert_eq!(map(&mut preserving, 2, 4_000), 4_000);
    assert_ne!(map(&mut preserving, 3, 4_000), 4_000);
    assert_ne!(map(&mut preserving, 2, 4_001), 4_001, "never again");
    preserving.reboot();
    assert_eq!(map(&mut preserving, 2, 4_001), 4_001);

    let mode_change = ModeChange::SymmetricAfterSharedPort;
    let mut cone = nat(NatConfig { mode_change, ..NatConfig::cone() });
    let first = cone.outbound(START, INSIDE, remote(1, 10)).unwrap();
    assert_eq!(cone.outbound(START, INSIDE, remote(2, 10)), Some(first));
    cone.outbound(START, OTHER_INSIDE, remote(1, 10)).unwrap();
    let second = cone.outbound(START, INSIDE, remote(3, 10)).unwrap();
    let third = cone.outbound(START, INSIDE, remote(4, 10)).unwrap();
    assert!(second != third && second != first);
    assert_eq!(cone.inbound(START, first, remote(9, 9)), Some(INSIDE), "until it expires");
}

//= N-NAT-03: others inside take ports of a sequential NAT, as often as configured
#[test]
fn cross_traffic_takes_ports() {
    let taken_in_a_minute = |cross_traffic| {
        let mut nat = nat(NatConfig { cross_traffic, ..NatConfig::seq(1) });
        let first = nat.outbound(START, INSIDE, remote(1, 10)).unwrap().port();
        let later = START + Duration::from_secs(60);
        let next = nat.outbound(later, INSIDE, remote(2, 10)).unwrap().port();
        next.wrapping_sub(first).wrapping_sub(1)
    };
    assert_eq!(taken_in_a_minute(0), 0);
    assert!(taken_in_a_minute(1).abs_diff(60) < 30, "{}", taken_in_a_minute(1));
    assert!(taken_in_a_minute(50).abs_diff(3_000) < 200, "{}", taken_in_a_minute(50));
    let mut idle = nat(NatConfig { cross_traffic: 50, ..NatConfig::seq(1) });
    idle.outbound(START, INSIDE, remote(1, 10)).unwrap();
    let next_year = START + Duration::from_secs(365 * 86_400);
    assert!(idle.outbound(next_year, INSIDE, remote(1, 10)).is_some());
    assert!(idle.mapping_count() < 16_000, "{}", idle.mapping_count());
}

//= N-NAT-04: no hairpinning, with the external, with the internal source
#[test]
fn hairpins_as_configured() {
    let peer = OTHER_INSIDE;
    let turned_back = |hairpin| {
        let mut nat = nat(NatConfig { hairpin, ..NatConfig::cone() });
        let target = nat.outbound(START, peer, remote(1, 10)).unwrap();
        nat.hairpin(START, INSIDE, target)
    };
    assert_eq!(turned_back(Hairpin::None), None);
    let (source, destination) = turned_back(Hairpin::External).unwrap();
    assert_eq!((*source.ip(), destination), (OUTSIDE, peer));
    assert_eq!(turned_back(Hairpin::Internal), Some((INSIDE, peer)));

    let mut restricted = nat(NatConfig { hairpin: Hairpin::External, ..NatConfig::pr() });
    let target = restricted.outbound(START, peer, remote(1, 10)).unwrap();
    assert_eq!(restricted.hairpin(START, INSIDE, target), None, "the filter holds inside as well");
}

//= N-NAT-05: a mapping lives its lifetime; outbound packets prolong it, inbound ones by option
#[test]
fn mappings_expire_and_are_refreshed() {
    let lifetime = Duration::from_secs(45);
    for inbound_refresh in [false, true] {
        let mut nat = nat(NatConfig { lifetime, inbound_refresh, ..NatConfig::pr() });
        let peer = remote(1, 10);
        let external = nat.outbound(START, INSIDE, peer).unwrap();
        let later = START + Duration::from_secs(44);
        assert_eq!(nat.outbound(later, INSIDE, peer), Some(external));
        let later = later + Duration::from_secs(44);
        assert_eq!(nat.inbound(later, external, peer), Some(INSIDE));
        let later = later + Duration::from_secs(44);
        let still = nat.inbound(later, external, peer);
        assert_eq!(still, inbound_refresh.then_some(INSIDE));
    }
}

#[test]
fn one_remote_expires_while_another_is_refreshed() {
    let mut nat = nat(NatConfig { lifetime: Duration::from_secs(45), ..NatConfig::pr() });
    let external = nat.outbound(START, INSIDE, remote(1, 10)).unwrap();
    let later = START + Duration::from_secs(40);
    assert_eq!(nat.outbound(later, INSIDE, remote(2, 10)), Some(external));
    let later = later + Duration::from_secs(40);
    assert_eq!(nat.inbound(later, external, remote(1, 10)), None);
    assert_eq!(nat.inbound(later, external, remote(2, 10)), Some(INSIDE));
}

//= N-NAT-05: the admission of a remote may end before the mapping does
#[test]
fn filters_age_on_their_own() {
    let filter_lifetime = Some(Duration::from_secs(10));
    for inbound_refresh in [false, true] {
        let mut nat = nat(NatConfig { filter_lifetime, inbound_refresh, ..NatConfig::pr() });
        let external = nat.outbound(START, INSIDE, remote(1, 10)).unwrap();
        let mut heard = |after: u64| {
            let now = START + Duration::from_secs(after);
            nat.inbound(now, external, remote(1, 10)).is_some()
        };
        assert!(heard(8));
        assert_eq!(heard(16), inbound_refresh);
        assert!(!heard(27));
        let later = START + Duration::from_secs(28);
        assert_eq!(nat.outbound(later, INSIDE, remote(2, 10)), Some(external), "still mapped");
    }
}

/// RFC 4787 section 9, REQ-10: an ICMP message ends no mapping; some NATs do not know.
#[test]
fn an_error_finds_its_mapping_and_may_end_it() {
    for icmp_ends_mapping in [false, true] {
        let mut nat = nat(NatConfig { icmp_ends_mapping, ..NatConfig::ps() });
        let peer = remote(1, 10);
        let external = nat.outbound(START, INSIDE, peer).unwrap();
        assert_eq!(nat.inbound_error(START, remote(101, 1), peer), None);
        assert_eq!(nat.inbound_error(START, external, peer), Some(INSIDE));
        assert_eq!(nat.inbound(START, external, peer).is_none(), icmp_ends_mapping);
    }
}

#[test]
fn an_expired_mapping_does_not_come_back_as_another() {
    let mut nat = Nat::new(NatConfig::pp(), vec![OUTSIDE], [7; 32]);
    let first = nat.outbound(START, INSIDE, remote(1, 10)).unwrap();
    let later = START + Duration::from_secs(301);
    let second = nat.outbound(later, INSIDE, remote(2, 10)).unwrap();
    assert_eq!(second, first, "the preserved port is free again");
    assert_ne!(nat.outbound(later, INSIDE, remote(1, 10)), Some(second));
}

#[test]
fn tables_stay_small() {
    let mut nat = nat(NatConfig::ps());
    for n in 0..100_000_u32 {
        let now = START + Duration::from_millis(100) * n;
        let remote = SocketAddrV4::new(Ipv4Addr::from_bits(0x0800_0000 + n), 10);
        assert!(nat.outbound(now, INSIDE, remote).is_some());
    }
    assert!(nat.mapping_count() <= 6_000, "{}", nat.mapping_count());

    let mut nat = Nat::new(NatConfig::pr(), vec![OUTSIDE], [7; 32]);
    for n in 0..10_000_u32 {
        let remote = SocketAddrV4::new(Ipv4Addr::from_bits(0x0800_0000 + n), 10);
        nat.outbound(START, INSIDE, remote);
    }
    let held = nat.mappings.first_key_value().map(|(_, state)| state.admitted.len());
    assert_eq!(held, Some(ADMITTED_MAX));
}

//= N-NAT-09: a NAT that rewrites payloads changes the plain address and no other bytes
#[test]
fn rewrites_payloads_only_when_told() {
    let original = [1, 192, 168, 1, 2, 0xff, 0x3f, 0x57, 0xfe, 0xfd, 192, 168, 1];
    let mut payload = original;
    nat(NatConfig::cone()).rewrite(&mut payload, *INSIDE.ip(), OUTSIDE);
    assert_eq!(payload, original);
    let rewriting = NatConfig { rewrites_payload: true, ..NatConfig::cone() };
    nat(rewriting).rewrite(&mut payload, *INSIDE.ip(), OUTSIDE);
    assert_eq!(payload[..5], [1, 203, 0, 113, 101]);
    assert_eq!(payload[5..], original[5..]);
}

//= N-NAT-11: after a reboot no mapping is left
#[test]
fn reboot_forgets_mappings() {
    let mut nat = nat(NatConfig::ps());
    let before = nat.outbound(START, INSIDE, remote(1, 10)).unwrap();
    nat.reboot();
    assert_eq!(nat.inbound(START, before, remote(1, 10)), None);
    assert_ne!(nat.outbound(START, INSIDE, remote(1, 10)), Some(before));
}

#[test]
fn same_seed_same_ports() {
    let ports = |seed| {
        let mut nat = Nat::new(NatConfig::ps(), vec![OUTSIDE], seed);
        (1..20).map(|host| nat.outbound(START, INSIDE, remote(host, 10))).collect::<Vec<_>>()
    };
    assert_eq!(ports([1; 32]), ports([1; 32]));
    assert_ne!(ports([1; 32]), ports([2; 32]));
}

#[test]
fn every_key_names_its_own_kind() {
    let kinds: Vec<NatConfig> = NatConfig::KEYS.map(|key| key.parse().unwrap()).to_vec();
    for (index, kind) in kinds.iter().enumerate() {
        assert!(!kinds[..index].contains(kind), "{}", NatConfig::KEYS[index]);
    }
    assert_eq!("symmetric".parse::<NatConfig>(), Err(UnknownKind));
}

/// A port-preserving NAT gives a number once, and what comes second another one.
#[test]
fn says_who_has_not_its_own_number() {
    let mut nat = nat(NatConfig::pp());
    let (peer, later) = (*remote(1, 10).ip(), START + nat.config().lifetime);
    let first = nat.outbound(START, INSIDE, remote(2, 10)).unwrap();
    assert_ne!(nat.outbound(START, INSIDE, remote(1, 10)), Some(first));
    assert!(!nat.is_displaced(START, peer), "its own number is another peer's");
    assert_ne!(nat.outbound(START, OTHER_INSIDE, remote(1, 10)).unwrap().port(), 4000);
    assert!(nat.is_displaced(START, peer));
    assert!(!nat.is_displaced(START, *remote(2, 10).ip()));
    assert!(!nat.is_displaced(later, peer), "it is over");
}
