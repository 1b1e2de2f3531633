use super::*;

const SEED: Seed = [7; 32];

fn address(number: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(0x2001 << 112 | u128::from(number))
}

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(1_000_000_000 * seconds)
}

fn insert(table: &mut PeerTable<u32>, now: Instant, number: u32) -> Result<PeerId, TableFull> {
    insert_as(table, now, Class::Stranger, number)
}

fn insert_as(
    table: &mut PeerTable<u32>,
    now: Instant,
    class: Class,
    number: u32,
) -> Result<PeerId, TableFull> {
    table.insert(now, address(number), class, number).map(|inserted| inserted.id)
}

#[test]
fn finds_what_was_inserted_and_not_what_was_removed() {
    let mut table = PeerTable::new(100, SEED);
    for number in 0..100 {
        insert(&mut table, at(0), number).unwrap();
    }
    for number in 0..50 {
        let id = table.find(address(number)).unwrap();
        assert_eq!(table.remove(id), number);
    }
    for number in 100..150 {
        insert(&mut table, at(0), number).unwrap();
    }
    assert_eq!(table.len(), 100);
    for number in 0..150 {
        let found = table.find(address(number)).map(|id| table[id]);
        assert_eq!(found, (number >= 50).then_some(number));
    }
}

//= SEC-04: untrusted evicted first; trusted active peer survives a flood of a million sources
#[test]
fn a_protected_peer_in_use_survives_a_million_strangers() {
    let mut table = PeerTable::new(64, SEED);
    let friend = insert(&mut table, at(0), u32::MAX).unwrap();
    table.protect(friend);
    for number in 0..1_000_000 {
        let now = at(u64::from(number) / 1000);
        table.touch(now, friend);
        insert(&mut table, now, number).unwrap();
        assert!(table.len() <= 64);
    }
    assert_eq!(table.find(address(u32::MAX)), Some(friend));
}

#[test]
fn the_stranger_unused_for_longest_goes_first() {
    let mut table = PeerTable::new(3, SEED);
    for number in 0..3 {
        insert(&mut table, at(0), number).unwrap();
    }
    table.touch(at(5), table.find(address(0)).unwrap());
    let evicted = table.insert(at(6), address(3), Class::Stranger, 3).unwrap().evicted;
    assert_eq!(evicted, Some((address(1), 1)));
}

#[test]
fn a_table_full_of_protected_peers_gives_up_only_idle_ones() {
    let mut table = PeerTable::new(2, SEED);
    for number in 0..2 {
        let id = insert(&mut table, at(0), number).unwrap();
        table.protect(id);
    }
    assert_eq!(insert(&mut table, at(29), 2), Err(TableFull));
    assert!(insert(&mut table, at(30), 2).is_ok());
    assert_eq!(table.find(address(0)), None);
}

//= SEC-04, T-09: strangers displace strangers, and neither whom we seek nor who is a guest
#[test]
fn strangers_displace_strangers_only() {
    let mut table = PeerTable::new(8, SEED);
    let sought = insert_as(&mut table, at(0), Class::Sought, 1_000_001).unwrap();
    let guest = insert(&mut table, at(0), 1_000_002).unwrap();
    table.protect(guest);
    for number in 0..1_000_000 {
        let now = at(u64::from(number) / 50_000);
        insert(&mut table, now, number).unwrap();
    }
    assert_eq!(table.find(address(1_000_001)), Some(sought));
    assert_eq!(table.find(address(1_000_002)), Some(guest));
}

//= SEC-04, T-09: a list full of strangers that were answered has room for whom we seek
#[test]
fn guests_make_room_for_whom_we_seek() {
    let mut table = PeerTable::new(8, SEED);
    for number in 0..8 {
        let id = insert(&mut table, at(0), number).unwrap();
        table.protect(id);
    }
    assert_eq!(insert(&mut table, at(1), 8), Err(TableFull), "a stranger displaces no guest");
    for number in 9..12 {
        let id = insert_as(&mut table, at(1), Class::Sought, number).unwrap();
        table.protect(id);
    }
    assert!((0..3).all(|number| table.find(address(number)).is_none()), "the oldest ones go");
    assert!((3..8).chain(9..12).all(|number| table.find(address(number)).is_some()));
}

#[test]
fn a_stranger_that_we_ask_for_is_one_of_ours() {
    let mut table = PeerTable::new(2, SEED);
    let stranger = insert(&mut table, at(0), 0).unwrap();
    table.adopt(stranger);
    for number in 1..10 {
        insert(&mut table, at(u64::from(number)), number).unwrap();
    }
    assert_eq!(table.find(address(0)), Some(stranger));
}

#[test]
fn deadlines_come_in_order_and_once() {
    let mut table = PeerTable::new(9, SEED);
    let ids: Vec<_> = (0..3).map(|n| insert(&mut table, at(0), n).unwrap()).collect();
    table.set_deadline(ids[0], Some(at(9)));
    table.set_deadline(ids[1], Some(at(3)));
    table.set_deadline(ids[2], Some(at(6)));
    table.set_deadline(ids[0], Some(at(1)));
    table.remove(ids[2]);
    assert_eq!(table.next_deadline(), Some(at(1)));
    assert_eq!(table.pop_due(at(0)), None);
    assert_eq!(table.pop_due(at(5)), Some(ids[0]));
    assert_eq!(table.pop_due(at(5)), Some(ids[1]));
    assert_eq!(table.pop_due(at(9)), None);
    assert_eq!(table.next_deadline(), None);
}

//= C-TX-15: bounded by packets and bytes; the newest packet is refused, order is kept
#[test]
fn a_full_queue_refuses_the_newest_packet() {
    let (mut queue, mut budget) = (PacketQueue::default(), QueueBudget::new(1 << 20));
    for number in 0..8 {
        queue.push(&mut budget, &[number; 1280]).unwrap();
    }
    assert_eq!(queue.push(&mut budget, &[8]), Err(QueueFull));
    let order: Vec<_> = core::iter::from_fn(|| queue.pop(&mut budget)).map(|p| p[0]).collect();
    assert_eq!(order, (0..8).collect::<Vec<_>>());
}

//= C-TX-15: all queues together hold at most what their budget is
#[test]
fn all_queues_share_one_budget() {
    let mut budget = QueueBudget::new(1024 * 1024);
    let mut queues: Vec<PacketQueue> = (0..200).map(|_| PacketQueue::default()).collect();
    let accepted = queues.iter_mut().flat_map(|queue| {
        (0..8).map(|_| queue.push(&mut budget, &[0; 1280]).is_ok()).collect::<Vec<_>>()
    });
    assert_eq!(accepted.filter(|&ok| ok).count(), 1024 * 1024 / (1280 + 48));
    for queue in &mut queues {
        queue.clear(&mut budget);
    }
    assert!(queues[0].push(&mut budget, &[0; 1280]).is_ok());
}

//= C-BUB-02, C-BUB-03: two seconds between attempts, four attempts in 300 s
#[test]
fn a_budget_gives_four_bubbles_two_seconds_apart() {
    let mut budget = BubbleBudget::default();
    let taken: Vec<_> = (0..1000).filter(|&second| budget.take(at(second))).collect();
    assert_eq!(taken, [0, 2, 4, 6, 300, 302, 304, 306, 600, 602, 604, 606, 900, 902, 904, 906]);
}

//= C-BUB-04, C-BUB-05: data counts as transmission; a direct packet resets the count
#[test]
fn transmissions_delay_a_bubble_and_direct_packets_reset_the_count() {
    let mut budget = BubbleBudget::default();
    budget.note_transmission(at(1));
    assert!(!budget.take(at(2)));
    for second in [3, 5, 7, 9] {
        assert!(budget.take(at(second)));
    }
    assert!(budget.is_exhausted(at(11)) && !budget.take(at(11)));
    budget.reset();
    assert!(budget.take(at(11)));
}

//= C-BUB-06: answers to indirect bubbles: at most 2 in a second and 8 in 30 s for one peer
#[test]
fn answers_have_their_own_limit() {
    let (mut limits, mut limiter) = (AnswerLimits::new(SEED), AnswerLimiter::default());
    let mut take = |now| limits.take_for_peer(now, &mut limiter);
    let granted = (0..30_000).filter(|ms| take(Instant::from_nanos(ms * 1_000_000)));
    let granted: Vec<_> = granted.collect();
    assert_eq!(granted, [0, 1, 1000, 1001, 2000, 2001, 3000, 3001]);
    assert!(take(at(30)));
}

//= C-BUB-06: and a token bucket of 50 a second, 100 at once, for all of them
#[test]
fn answers_to_all_peers_are_limited_together() {
    let mut limits = AnswerLimits::new(SEED);
    let mut peers = vec![AnswerLimiter::default(); 1000];
    let mut granted = |now| {
        let answers = peers.iter_mut().map(|peer| limits.take_for_peer(now, peer));
        answers.filter(|&granted| granted).count()
    };
    assert_eq!(granted(at(0)), 100);
    assert_eq!(granted(at(1)), 50);
}
