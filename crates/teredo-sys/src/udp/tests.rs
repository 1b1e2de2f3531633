use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::epoll::{Events, Interest, Poller};

const DATAGRAM_LEN: usize = 1500;
const DEADLINE: Duration = Duration::from_secs(5);

fn localhost(last: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), port)
}

fn bound(last: u8) -> UdpSocket {
    UdpSocket::bind(localhost(last, 0)).unwrap()
}

/// Adds a datagram to a batch that has room.
fn push(batch: &mut SendBatch, payload: &[u8], to: SocketAddrV4, source: Option<Ipv4Addr>) {
    batch.slot().unwrap()[..payload.len()].copy_from_slice(payload);
    batch.commit(payload.len(), to, source);
}

fn wait_for(socket: &UdpSocket) -> crate::epoll::Event {
    let poller = Poller::new().unwrap();
    poller.add(socket, 1, Interest::Read).unwrap();
    let mut events = Events::with_capacity(1);
    poller.wait(&mut events, Some(DEADLINE)).unwrap();
    events.iter().next().expect("nothing arrived in time")
}

fn sent(count: usize) -> SendReport {
    SendReport { sent: count, ..SendReport::default() }
}

/// Payloads of all kinds of lengths, the same on each run.
fn payloads(count: usize) -> Vec<Vec<u8>> {
    let mut state = 0x5eed_u32;
    let mut next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    (0..count)
        .map(|_| {
            let len = next() as usize % (DATAGRAM_LEN + 1);
            (0..len).map(|_| next() as u8).collect()
        })
        .collect()
}

#[test]
fn batches_of_every_size_arrive_whole_and_in_order() {
    let (here, there) = (bound(1), bound(2));
    let expected = payloads(300);
    let mut arrived = Vec::new();
    let mut incoming = RecvBatch::new(7, DATAGRAM_LEN);
    let mut rest = expected.as_slice();
    for size in (1..=25).cycle() {
        let (now, later) = rest.split_at(size.min(rest.len()));
        if now.is_empty() {
            break;
        }
        rest = later;
        let mut outgoing = SendBatch::new(size, DATAGRAM_LEN);
        for payload in now {
            push(&mut outgoing, payload, there.local_addr(), None);
        }
        assert_eq!(here.send_batch(&mut outgoing).unwrap(), sent(now.len()));
        assert!(outgoing.is_empty());
        while let Ok(count) = there.recv_batch(&mut incoming) {
            assert_eq!(incoming.iter().count(), count);
            for datagram in incoming.iter() {
                assert_eq!(datagram.from, here.local_addr());
                assert_eq!(datagram.to, Some(*there.local_addr().ip()));
                assert!(!datagram.truncated);
                arrived.push(datagram.payload.to_vec());
            }
        }
    }
    assert!(arrived == expected);
}

/// Runs that the kernel gets as one message: of all lengths, ended by a shorter datagram, a longer
/// one, an empty one, another destination, another source, the limits of one message.
#[test]
fn alike_neighbours_arrive_as_they_were_committed() {
    let (here, there, elsewhere) = (bound(1), bound(2), bound(3));
    let (to, away) = (there.local_addr(), elsewhere.local_addr());
    let other = Some(Ipv4Addr::new(127, 0, 0, 9));
    let lens = [1, 100, 100, 100, 60, 60, 0, 0, 60, 61, 61, 7].into_iter();
    let lens = lens.chain([1_280; 130]).chain([1_279, 1_280, 1_280]).chain([9; 70]);
    let mut outgoing = SendBatch::new(256, DATAGRAM_LEN);
    let mut expected = Vec::new();
    for (number, len) in lens.enumerate() {
        let payload = vec![number as u8; len];
        push(&mut outgoing, &payload, if number == 2 { away } else { to }, None);
        if number != 2 {
            expected.push((*here.local_addr().ip(), payload));
        }
    }
    for number in 0..4 {
        let payload = vec![number; 50];
        let source = other.filter(|_| number % 2 == 1);
        push(&mut outgoing, &payload, to, source);
        expected.push((source.unwrap_or(*here.local_addr().ip()), payload));
    }
    assert_eq!(here.send_batch(&mut outgoing).unwrap(), sent(expected.len() + 1));
    let mut incoming = RecvBatch::new(256, DATAGRAM_LEN);
    let mut arrived = Vec::new();
    while arrived.len() < expected.len() {
        wait_for(&there);
        there.recv_batch(&mut incoming).unwrap();
        arrived.extend(incoming.iter().map(|it| (*it.from.ip(), it.payload.to_vec())));
    }
    assert!(arrived == expected, "in another order, or cut otherwise");
    elsewhere.recv_batch(&mut incoming).unwrap();
    assert_eq!(incoming.received(0).payload, [2; 100]);
}

#[test]
fn nothing_waiting_is_would_block_and_empties_the_batch() {
    let (here, there) = (bound(1), bound(1));
    let mut batch = RecvBatch::new(4, DATAGRAM_LEN);
    let mut outgoing = SendBatch::new(1, DATAGRAM_LEN);
    push(&mut outgoing, b"one", there.local_addr(), None);
    here.send_batch(&mut outgoing).unwrap();
    assert_eq!(there.recv_batch(&mut batch).unwrap(), 1);
    let error = there.recv_batch(&mut batch).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(batch.iter().count(), 0);
}

#[test]
fn each_datagram_leaves_from_the_source_asked_for() {
    let here = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let there = bound(9);
    let port = here.local_addr().port();
    let mut batch = SendBatch::new(200, 16);
    for last in 1..=200 {
        push(&mut batch, &[last], there.local_addr(), Some(*localhost(last, 0).ip()));
    }
    assert_eq!(here.send_batch(&mut batch).unwrap(), sent(200));
    let mut incoming = RecvBatch::new(256, 16);
    assert_eq!(there.recv_batch(&mut incoming).unwrap(), 200);
    for (datagram, last) in incoming.iter().zip(1..) {
        assert_eq!((datagram.payload, datagram.from), (&[last][..], localhost(last, port)));
    }
}

#[test]
fn the_destination_tells_which_own_address_was_meant() {
    let here = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let there = bound(1);
    let mut outgoing = SendBatch::new(2, 16);
    for last in [10, 11] {
        push(&mut outgoing, b"hello", localhost(last, here.local_addr().port()), None);
    }
    there.send_batch(&mut outgoing).unwrap();
    let mut incoming = RecvBatch::new(2, 16);
    here.recv_batch(&mut incoming).unwrap();
    let to: Vec<_> = incoming.iter().map(|datagram| datagram.to.unwrap()).collect();
    assert_eq!(to, [*localhost(10, 0).ip(), *localhost(11, 0).ip()]);
}

#[test]
fn a_datagram_longer_than_its_slot_is_cut_and_marked() {
    let (here, there) = (bound(1), bound(1));
    let mut outgoing = SendBatch::new(3, 64);
    for len in [9, 8, 64] {
        push(&mut outgoing, &[7; 64][..len], there.local_addr(), None);
    }
    here.send_batch(&mut outgoing).unwrap();
    let mut incoming = RecvBatch::new(3, 8);
    assert_eq!(there.recv_batch(&mut incoming).unwrap(), 3);
    let seen: Vec<_> =
        incoming.iter().map(|datagram| (datagram.payload.len(), datagram.truncated)).collect();
    assert_eq!(seen, [(8, true), (8, false), (8, true)]);
}

#[test]
fn a_closed_port_is_told_by_the_error_queue_and_stops_nothing_else() {
    let (here, there) = (bound(1), bound(1));
    let closed = bound(1).local_addr();
    let mut outgoing = SendBatch::new(8, 16);
    push(&mut outgoing, b"lost", closed, None);
    here.send_batch(&mut outgoing).unwrap();
    assert!(wait_for(&here).error);
    // The error is pending on the socket: neither direction may stumble over it.
    push(&mut outgoing, b"fine", there.local_addr(), None);
    assert_eq!(here.send_batch(&mut outgoing).unwrap(), sent(1));
    push(&mut outgoing, b"lost", closed, None);
    here.send_batch(&mut outgoing).unwrap();
    push(&mut outgoing, b"back", here.local_addr(), None);
    there.send_batch(&mut outgoing).unwrap();
    let mut incoming = RecvBatch::new(8, 16);
    assert_eq!(here.recv_batch(&mut incoming).unwrap(), 1);

    let mut told = Vec::new();
    assert_eq!(here.read_errors(|error| told.push(error)).unwrap(), 2);
    let from = *closed.ip();
    let origin = ErrorOrigin::Icmp { kind: 3, code: 3, from };
    assert_eq!(told, [DeliveryError { to: closed, errno: libc::ECONNREFUSED, origin }; 2]);
    assert_eq!(here.read_errors(|_| ()).unwrap(), 0);
}

#[test]
fn a_refused_datagram_is_counted_and_the_others_go_on() {
    let (here, there) = (bound(1), bound(1));
    let mut outgoing = SendBatch::new(8, 70_000);
    push(&mut outgoing, b"first", there.local_addr(), None);
    push(&mut outgoing, &[0; 70_000], there.local_addr(), None);
    push(&mut outgoing, b"no port", localhost(1, 0), None);
    push(&mut outgoing, b"last", there.local_addr(), None);
    let report = here.send_batch(&mut outgoing).unwrap();
    let first_errno = Some(libc::EMSGSIZE);
    assert_eq!(report, SendReport { sent: 2, failed: 2, first_errno, pending: 0 });
    let mut incoming = RecvBatch::new(8, 16);
    there.recv_batch(&mut incoming).unwrap();
    let seen: Vec<_> = incoming.iter().map(|datagram| datagram.payload).collect();
    assert_eq!(seen, [&b"first"[..], b"last"]);
}

#[test]
fn a_batch_hands_out_exactly_its_slots() {
    let mut batch = SendBatch::new(3, 10);
    let mut buffers = BTreeSet::new();
    while let Some(slot) = batch.slot() {
        assert_eq!(slot.len(), 10);
        buffers.insert(slot.as_ptr());
        batch.commit(10, localhost(1, 1), None);
    }
    assert_eq!((buffers.len(), batch.len(), batch.is_full()), (3, 3, true));
    batch.clear();
    assert!(batch.is_empty() && !batch.is_full());
}

#[test]
fn a_batch_may_move_between_filling_and_sending() {
    let (here, there) = (bound(1), bound(1));
    let mut outgoing = SendBatch::new(2, 16);
    push(&mut outgoing, b"moved", there.local_addr(), Some(*here.local_addr().ip()));
    let boxed = std::thread::spawn(move || Box::new(outgoing)).join().unwrap();
    let mut outgoing = *boxed;
    assert_eq!(here.send_batch(&mut outgoing).unwrap(), sent(1));
    let mut incoming = Box::new(RecvBatch::new(2, 16));
    there.recv_batch(&mut incoming).unwrap();
    let incoming = *incoming;
    assert_eq!(incoming.iter().next().unwrap().payload, b"moved");
}

#[test]
fn the_port_is_ours_alone() {
    let here = bound(1);
    let error = UdpSocket::bind(here.local_addr()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&here.local_addr().to_string()), "{error}");
}

#[test]
fn a_group_is_heard_where_it_was_joined_and_nothing_else_is() {
    let group = Ipv4Addr::new(224, 0, 0, 253);
    let first = UdpSocket::bind_group(SocketAddrV4::new(group, 0)).unwrap();
    let endpoint = first.local_addr();
    // Another program may do the same.
    let second = UdpSocket::bind_group(endpoint).unwrap();
    let sender = bound(1);
    multicast::join(&first, group, Ipv4Addr::LOCALHOST).unwrap();
    multicast::send_on(&sender, Ipv4Addr::LOCALHOST).unwrap();

    let mut batch = SendBatch::new(2, DATAGRAM_LEN);
    push(&mut batch, b"to the host", localhost(1, endpoint.port()), None);
    push(&mut batch, b"to the group", endpoint, None);
    assert_eq!(sender.send_batch(&mut batch).unwrap(), sent(2));
    wait_for(&first);
    let mut inbox = RecvBatch::new(4, DATAGRAM_LEN);
    assert_eq!(first.recv_batch(&mut inbox).unwrap(), 1);
    let received = inbox.received(0);
    assert_eq!((received.payload, received.to), (&b"to the group"[..], Some(group)));
    let nothing = second.recv_batch(&mut inbox).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);

    multicast::leave(&first, group, Ipv4Addr::LOCALHOST).unwrap();
    push(&mut batch, b"too late", endpoint, None);
    assert_eq!(sender.send_batch(&mut batch).unwrap(), sent(1));
    assert!(first.recv_batch(&mut inbox).is_err());
}
