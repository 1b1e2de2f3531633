//! What strangers, clients and those who listen cannot make of it.

use core::time::Duration;

use teredo_proto::helper::Capacity;
use teredo_proto::{DropReason, Rate, Role};
use teredo_wire::helper::{Frame, Status};

use crate::support::*;

//= SEC-10: no memory, no look-up and no MAC for whoever does not get what is sent to it
#[test]
fn a_request_without_a_cookie_gets_one_and_nothing_else() {
    let mut bench = Bench::new(|_| {});
    for number in 0..1_000 {
        let from = endpoint([20, 0, (number >> 8) as u8, number as u8], 4096);
        // Whoever it says it is, and whatever it is signed with.
        for name in ["a", "nobody"] {
            let request = request_signed(name, b"wrong", ([1; 8], [0; 16]), address_at(from));
            let sent = bench.put(from, &request);
            let Ok(Frame::Challenge(_)) = Frame::parse(&sent[0].1) else { panic!() };
            assert!(sent[0].0 == from && sent[0].1.len() < request.len());
        }
    }
    assert_eq!(bench.helper.registered(bench.now), 0);
    assert_eq!(bench.helper.counters().dropped_total(), 0);
}

//= SEC-10: a cookie is for one endpoint, and for two minutes
#[test]
fn a_cookie_serves_nobody_else_and_not_for_long() {
    let mut bench = Bench::new(|_| {});
    let cookie = bench.cookie("a", CLIENT);
    let is_challenged =
        |sent: Vec<(_, Vec<u8>)>| matches!(Frame::parse(&sent[0].1), Ok(Frame::Challenge(_)));
    for from in [OTHER, endpoint(CLIENT.ip().octets(), 4097)] {
        let replayed = request("a", [1; 8], cookie, address_at(CLIENT));
        assert!(is_challenged(bench.put(from, &replayed)));
    }
    for bit in 0..128 {
        let mut forged = cookie;
        forged[bit / 8] ^= 1 << (bit % 8);
        let forged = request("a", [1; 8], forged, address_at(CLIENT));
        assert!(is_challenged(bench.put(CLIENT, &forged)), "bit {bit}");
    }
    bench.wait(Duration::from_secs(120));
    assert!(is_challenged(bench.put(CLIENT, &request("a", [1; 8], cookie, address_at(CLIENT)))));
    assert_eq!(bench.helper.registered(bench.now), 0);
}

//= SEC-10: what somebody has recorded takes nothing away from the client
#[test]
fn an_old_request_is_of_no_use() {
    let mut bench = Bench::new(|_| {});
    let first = bench.cookie("a", CLIENT);
    bench.wait(Duration::from_secs(1));
    let second = bench.cookie("a", CLIENT);
    let other_address = address_at(PEER);
    let recorded = request("a", [1; 8], first, other_address);
    assert_eq!(answer(&bench.put(CLIENT, &recorded), CLIENT).status, Status::GRANTED);
    let newer = request("a", [2; 8], second, address_at(CLIENT));
    let token = answer(&bench.put(CLIENT, &newer), CLIENT).token;
    // Sent again from where it was: only the last one is done again, and has the same answer.
    let sent = bench.put(CLIENT, &recorded);
    assert!(matches!(Frame::parse(&sent[0].1), Ok(Frame::Challenge(_))));
    assert_eq!(answer(&bench.put(CLIENT, &newer), CLIENT).token, token);
    let other_nonce = request("a", [3; 8], second, other_address);
    let sent = bench.put(CLIENT, &other_nonce);
    assert!(matches!(Frame::parse(&sent[0].1), Ok(Frame::Challenge(_))));
    let packet = bubble(address_at(PEER), address_at(CLIENT));
    assert_eq!(bench.put(PEER, &packet).len(), 1);
    // Not even when the registration has ended.
    bench.wait(Duration::from_secs(119));
    let sent = bench.put(CLIENT, &recorded);
    assert!(matches!(Frame::parse(&sent[0].1), Ok(Frame::Challenge(_))));
}

#[test]
fn a_wrong_name_or_key_gets_silence() {
    let mut bench = Bench::new(|_| {});
    let cookie = bench.cookie("a", CLIENT);
    let address = address_at(CLIENT);
    let by = |name, key: &[u8]| request_signed(name, key, ([1; 8], cookie), address);
    bench.refuses(CLIENT, &by("nobody", &key_of("a")), DropReason::UnknownIdentifier);
    bench.refuses(CLIENT, &by("a", &key_of("b")), DropReason::WrongMac);
    // The key of solicitations is not that of frames.
    let mut unseparated = by("a", &key_of("a"));
    let len = unseparated.len() - 20;
    let mac = mac(&key_of("a"), &unseparated[..len]);
    unseparated.splice(len.., mac);
    bench.refuses(CLIENT, &unseparated, DropReason::WrongMac);
    let mut unsigned = unseparated[..len].to_vec();
    unsigned[3] = 0;
    bench.refuses(CLIENT, &unsigned, DropReason::MissingMac);
    let good = by("a", &key_of("a"));
    for bit in 0..8 * good.len() {
        // The nonce, the address, the name, the MAC. Another cookie is none, and the rest no frame.
        if !(32..96).contains(&bit) && bit < 8 * 28 {
            continue;
        }
        let mut bent = good.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(bench.put(CLIENT, &bent), [], "bit {bit}");
    }
    assert_eq!(bench.helper.registered(bench.now), 0);
}

#[test]
fn a_frame_counts_only_from_where_its_client_is_and_with_its_token() {
    let mut bench = Bench::new(|_| {});
    let token = bench.token("a", CLIENT);
    let packet = bubble(address_at(CLIENT), address_at(PEER));
    let good = forward(token, PEER, &packet);
    assert_eq!(bench.put(CLIENT, &good).len(), 1);
    for from in [OTHER, PEER, endpoint(CLIENT.ip().octets(), 4097)] {
        bench.refuses(from, &good, DropReason::NotRegistered);
    }
    for bit in 0..32 {
        let mut guessed = token;
        guessed[bit / 8] ^= 1 << (bit % 8);
        bench.refuses(CLIENT, &forward(guessed, PEER, &packet), DropReason::NotRegistered);
    }
}

/// No open relay: not for clients, either.
#[test]
fn nothing_but_teredo_from_the_clients_own_address_leaves() {
    let mut bench = Bench::new(|_| {});
    let (a, b) = (bench.token("a", CLIENT), bench.token("b", OTHER));
    let (own, peer) = (address_at(CLIENT), address_at(PEER));
    let shapes: [(&[u8], DropReason); 3] = [
        (&bubble(address_at(OTHER), peer), DropReason::WrongSource),
        (&bubble(peer, peer), DropReason::WrongSource),
        (&bubble("2001:db8::1".parse().unwrap(), peer), DropReason::WrongSource),
    ];
    for (packet, why) in shapes {
        bench.refuses(CLIENT, &forward(a, PEER, packet), why);
    }
    // DNS, an encapsulated frame, an IPv4 packet, nothing.
    let nested = forward(b, PEER, &bubble(address_at(OTHER), peer));
    let dns = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03net\0\0\xff\0\x01";
    for payload in [&dns[..], &nested, b"\x45\0\0\x14", b""] {
        let frame = forward(a, PEER, payload);
        assert_eq!(bench.put(CLIENT, &frame), []);
    }
    // An origin is for servers to tell.
    let mut with_origin = written(|writer| teredo_wire::datagram::write_origin(writer, PEER));
    with_origin.extend(bubble(own, peer));
    bench.refuses(CLIENT, &forward(a, PEER, &with_origin), DropReason::UnexpectedEncapsulation);
    let mut authenticated =
        written(|writer| teredo_wire::Authentication::nonce_only([1; 8]).write(writer));
    authenticated.extend(bubble(own, peer));
    bench.refuses(CLIENT, &forward(a, PEER, &authenticated), DropReason::UnexpectedEncapsulation);
    let large = data(own, peer, 1501);
    bench.refuses(CLIENT, &forward(a, PEER, &large), DropReason::TooLarge);
}

//= SEC-01: never to private addresses, services that answer anybody, or this host
#[test]
fn nothing_goes_where_nothing_may_go() {
    let mut bench = Bench::new(|_| {});
    let token = bench.token("a", CLIENT);
    let packet = bubble(address_at(CLIENT), address_at(PEER));
    let forbidden = [
        ("10.0.0.1:4096", DropReason::ForbiddenIpv4),
        ("127.0.0.1:4096", DropReason::ForbiddenIpv4),
        ("192.168.1.1:80", DropReason::ForbiddenIpv4),
        ("169.254.169.254:80", DropReason::ForbiddenIpv4),
        ("100.64.0.1:4096", DropReason::ForbiddenIpv4),
        ("224.0.0.253:3544", DropReason::ForbiddenIpv4),
        ("255.255.255.255:4096", DropReason::ForbiddenIpv4),
        ("0.0.0.0:4096", DropReason::ForbiddenIpv4),
        ("12.0.0.1:0", DropReason::DeniedPort),
        ("12.0.0.1:53", DropReason::DeniedPort),
        ("12.0.0.1:1900", DropReason::DeniedPort),
        ("9.9.9.9:22", DropReason::Loop),
        ("9.9.9.9:3546", DropReason::Loop),
    ];
    for (to, why) in forbidden {
        bench.refuses(CLIENT, &forward(token, to.parse().unwrap(), &packet), why);
    }
    // The server beside it is there for everybody.
    assert_eq!(bench.put(CLIENT, &forward(token, SERVER, &packet)), [(SERVER, packet)]);
}

//= SEC-10: nothing comes from where nobody can be, and nothing goes round
#[test]
fn impossible_sources_and_loops_end_here() {
    let mut bench = Bench::new(|_| {});
    let _ = bench.token("a", CLIENT);
    let packet = bubble(address_at(PEER), address_at(CLIENT));
    bench.refuses(HELPER, &packet, DropReason::OwnEndpoint);
    bench.refuses(endpoint([9, 9, 9, 9], 22), &packet, DropReason::OwnEndpoint);
    bench.refuses(endpoint([10, 0, 0, 1], 4096), &packet, DropReason::ForbiddenSource);
    bench.refuses(endpoint([12, 0, 0, 1], 0), &packet, DropReason::ImpossibleSource);
    // Another helper's answers mean nothing here.
    let challenge = written(|writer| {
        teredo_wire::helper::Challenge { nonce: [1; 8], cookie: [1; 16] }.write(writer)
    });
    bench.refuses(PEER, &challenge, DropReason::BadFrame);
    for payload in [&b"\x84\0\0\0"[..], b"\x80\x01\0\0", b"\x80", b"\xbf\0"] {
        bench.refuses(PEER, payload, DropReason::BadFrame);
    }
    let unknown = bubble(address_at(CLIENT), address_at(PEER));
    bench.refuses(PEER, &unknown, DropReason::NotServed);
}

//= SEC-10: a client has its share in each direction, and all of them have theirs
#[test]
fn what_is_passed_on_has_limits() {
    let mut bench = Bench::new(|config| {
        config.limits.client = Capacity {
            bytes: Rate { per_s: 10_000, burst: 5_000 },
            packets: Rate { per_s: 100, burst: 50 },
        };
        config.limits.total = Capacity {
            bytes: Rate { per_s: 100_000, burst: 12_000 },
            packets: Rate { per_s: 1_000, burst: 500 },
        };
    });
    let (a, b) = (bench.token("a", CLIENT), bench.token("b", OTHER));
    let out =
        |token, from, len| forward(token, PEER, &data(address_at(from), address_at(PEER), len));
    let mut granted =
        |from, payload: Vec<u8>| (0..100).filter(|_| !bench.put(from, &payload).is_empty()).count();
    assert_eq!(granted(CLIENT, out(a, CLIENT, 1_000)), 5);
    // A flood from outside takes nothing from what it sends, and the other way round.
    assert_eq!(granted(PEER, data(address_at(PEER), address_at(CLIENT), 1_000)), 5);
    // Nor does one client take anything from another, as long as there is enough for all.
    assert_eq!(granted(OTHER, out(b, OTHER, 1_000)), 2);
    bench.wait(Duration::from_secs(10));
    let bubbles = forward(a, PEER, &bubble(address_at(CLIENT), address_at(PEER)));
    let sent = (0..100).filter(|_| !bench.put(CLIENT, &bubbles).is_empty()).count();
    assert_eq!(sent, 50, "small ones have a limit of their own");
    assert!(bench.helper.counters().dropped(DropReason::RateLimit) > 300);
}

//= SEC-10: a flood of requests makes no flood of answers, and leaves others alone
#[test]
fn requests_have_limits() {
    let mut bench = Bench::new(|config| {
        config.limits.requests.per_source = Rate { per_s: 4, burst: 8 };
        config.limits.requests.total = Rate { per_s: 100, burst: 100 };
    });
    let request = request("a", [1; 8], [0; 16], address_at(CLIENT));
    let answered = (0..1_000).filter(|_| !bench.put(CLIENT, &request).is_empty()).count();
    assert_eq!(answered, 8);
    let _ = bench.token("b", OTHER);
}

/// Whatever comes in: no panic, and never more out than in.
#[test]
fn bytes_do_no_harm() {
    let mut bench = Bench::new(|_| {});
    let token = bench.token("a", CLIENT);
    let samples = [
        forward(token, PEER, &bubble(address_at(CLIENT), address_at(PEER))),
        bubble(address_at(PEER), address_at(CLIENT)),
        request("a", [1; 8], [0; 16], address_at(CLIENT)),
    ];
    for sample in samples {
        for len in 0..sample.len() {
            let _ = bench.put(CLIENT, &sample[..len]);
            bench.wait(Duration::from_millis(50));
        }
        for index in 0..sample.len() {
            for value in [0, 0x7f, 0x80, 0xff] {
                let mut bent = sample.clone();
                bent[index] = value;
                let _ = bench.put(CLIENT, &bent);
                bench.wait(Duration::from_millis(50));
            }
        }
    }
}
