//! The flags of the client's own address (RFC 5991 section 3.1).

use teredo_proto::Inbound;
use teredo_wire::TeredoAddress;

use crate::bytes::{bubble, endpoint};
use crate::harness::{Bench, config, mapped, peer, server};

fn flags(bench: &Bench) -> u16 {
    TeredoAddress::parse(bench.own()).unwrap().flags.0
}

//= P-ADDR-04, P-ADDR-06, P-ADDR-07, T-16: z, U, G and cone bit are 0 in 10,000 addresses
//= P-ADDR-05, T-16: the other twelve bits are random and do not repeat in a pattern
#[test]
fn twelve_random_bits_and_four_zero_ones() {
    let mut ones = [0; 16];
    let mut seen = vec![0; 0x1_0000];
    let mut equal_neighbours = 0;
    let mut last = None;
    for number in 0..10_000u16 {
        let mut seed = [1; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        let mut bench = Bench::with_seed(config(), seed);
        bench.client.start(bench.now);
        bench.answer(server(), mapped());
        let flags = flags(&bench);
        assert_eq!(flags & !0x3cff, 0, "{flags:#06x}");
        for (bit, count) in ones.iter_mut().enumerate() {
            *count += flags >> bit & 1;
        }
        seen[usize::from(flags)] += 1;
        equal_neighbours += i32::from(last.replace(flags) == Some(flags));
    }
    for bit in (0..16).filter(|bit| 0x3cff >> bit & 1 == 1) {
        assert!((4_700..5_300).contains(&ones[bit]), "bit {bit}: {}", ones[bit]);
    }
    let values = seen.iter().filter(|&&count| count > 0).count();
    assert!(values > 3_600, "{values} of 4096 values"); // 4096 × (1 − e^(−2.44)) = 3739
    assert!(*seen.iter().max().unwrap() < 15);
    assert!(equal_neighbours < 15);
}

//= P-ADDR-12: stable while mapping and server stay, new otherwise
#[test]
fn flags_change_with_the_mapping_only() {
    let mut bench = Bench::qualified();
    let first = bench.own();
    for _ in 0..5 {
        bench.client.network_changed(bench.now, None);
        bench.answer(server(), mapped());
        assert_eq!(bench.own(), first);
    }
    let mut all = vec![flags(&bench)];
    for port in 5_000..5_020 {
        bench.client.network_changed(bench.now, None);
        bench.answer(server(), endpoint(&format!("192.0.2.1:{port}")));
        all.push(flags(&bench));
    }
    all.sort_unstable();
    all.dedup();
    assert!(all.len() > 15);
}

//= P-ADDR-08, C-TX-06: all flags of peers are accepted alike, cone bit included
#[test]
fn the_flags_of_peers_do_not_matter() {
    let mut bench = Bench::quiet();
    for flags in 0..=u16::MAX {
        bench.wait_s(0.1); // one host may not turn up under too many addresses at once
        let mut peer = peer();
        peer.flags.0 = flags;
        let bubble = bubble(peer.to_ipv6(), bench.own());
        assert_eq!(bench.inject(peer.mapped, &bubble), Inbound::Consumed, "{flags:#06x}");
        bench.take();
        bench.events();
    }
}
