//! A private server: clients with keys (RFC 4380 sections 5.3.1 and 5.3.2).

use std::net::SocketAddrV4;

use teredo_proto::keys::{Algorithm, Identifier, Secret, SharedKey};
use teredo_proto::server::{Clients, Config, KnownClient, Server};
use teredo_proto::{DropReason, Inbound, Rate, Role};
use teredo_wire::{Authentication, Datagram};

use crate::packets::*;
use crate::server_acceptance::{server_with, solicitation};

const KEY: &[u8] = b"0123456789abcdef";

/// The solicitation of the vectors, signed by client-1.
fn signed() -> Vec<u8> {
    let value = hex("e0547e619c6c132ae89e50c136fa7d8e9f0dfa4d");
    request(b"client-1", &value)
}

fn request(client_id: &[u8], value: &[u8]) -> Vec<u8> {
    let nonce = [0, 1, 2, 3, 4, 5, 6, 7];
    let authentication = Authentication { client_id, value, nonce, confirmation: 0 };
    with_authentication(authentication, &solicitation())
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.split_whitespace().flat_map(str::bytes).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn known(name: &[u8], algorithm: Algorithm, is_renewal_due: bool) -> KnownClient {
    let identifier = Identifier::new(name).unwrap();
    let key = SharedKey::new(algorithm, KEY).unwrap();
    KnownClient { secret: Secret { identifier, key }, is_renewal_due }
}

/// A server that knows client-1, among others.
fn private() -> Server {
    private_with(|_| {})
}

fn private_with(change: impl FnOnce(&mut Config)) -> Server {
    let names = ["client-2", "client-1", "client", "zebra"];
    let clients = names.map(|name| known(name.as_bytes(), Algorithm::HmacSha1, false));
    server_with(|config| {
        config.clients = Some(Clients::new(clients.into()).unwrap());
        change(config);
    })
}

fn refused(server: &mut Server, payload: &[u8]) -> DropReason {
    let (inbound, sent) = exchange(server, ms(0), CLIENT_AT, payload);
    let Inbound::Dropped(reason) = inbound else { panic!("{inbound:?}") };
    assert_eq!(sent, []);
    assert!(server.counters().dropped(reason) > 0);
    reason
}

//= C-SEC-04, S-RS-08, S-RS-10: the whole answer, byte for byte
#[test]
fn the_signed_answer_is_the_vector() {
    let mut server = private_with(|config| config.primary = OTHER_SERVER);
    let (_, sent) = exchange(&mut server, ms(0), CLIENT_AT, &signed());
    let expected = hex("00 01 08 14 636c69656e742d31
         243fadb5971bccb1b1ae143fd7f5887b18f8c0ed 0001020304050607 00
         0000 efff 3ffffdfe
         6000000000383aff fe80000000000000 8000f22734ff8e87 fe80000000000000 0000ffffffffffff
         8600954c 00000000 00000000 000007d0
         03044040 ffffffff ffffffff 00000000 20010000cb007178 0000000000000000
         05010000 00000500");
    assert_eq!(sent, [datagram(CLIENT_AT, expected)]);
}

//= S-RX-05: no authentication, no identifier, an unknown one, no MAC: dropped without an answer
#[test]
fn strangers_get_nothing() {
    let mut server = private();
    let reasons = [
        (solicitation(), DropReason::MissingAuthentication),
        (request(b"", b""), DropReason::UnknownIdentifier),
        (request(b"client-3", &[0; 20]), DropReason::UnknownIdentifier),
        (request(b"clien", &[0; 20]), DropReason::UnknownIdentifier),
        (request(&[b'z'; 255], &[0; 255]), DropReason::UnknownIdentifier),
        (request(b"client-1", b""), DropReason::MissingMac),
        (request(b"client-1", &[0; 20]), DropReason::WrongMac),
    ];
    for (payload, reason) in reasons {
        assert_eq!(refused(&mut server, &payload), reason);
    }
    let mut nobody = server_with(|config| config.clients = Some(Clients::new(vec![]).unwrap()));
    assert_eq!(refused(&mut nobody, &signed()), DropReason::UnknownIdentifier);
}

//= S-RX-05, C-SEC-03: a solicitation with any covered bit changed is dropped
#[test]
fn every_covered_bit_counts() {
    let (mut server, signed) = (private(), signed());
    let covered = Datagram::parse(&signed).unwrap().authenticated_bytes().unwrap().len();
    for byte in signed.len() - covered - 20..signed.len() {
        for bit in 0..8 {
            let mut forged = signed.clone();
            forged[byte] ^= 1 << bit;
            let reason = refused(&mut server, &forged);
            let is_in_packet = byte >= signed.len() - 48;
            assert!(is_in_packet || reason == DropReason::WrongMac, "{byte}: {reason:?}");
        }
    }
    assert_eq!(exchange(&mut server, ms(0), CLIENT_AT, &signed).1.len(), 1);
}

//= S-RX-05: a MAC of any other length than its own
#[test]
fn a_mac_that_is_cut_short_is_dropped() {
    let mac = hex("e0547e619c6c132ae89e50c136fa7d8e9f0dfa4d");
    let mut server = private();
    for len in 1..mac.len() {
        let cut = request(b"client-1", &mac[..len]);
        assert_eq!(refused(&mut server, &cut), DropReason::WrongMac, "{len} bytes");
    }
    let longer = request(b"client-1", &[&mac[..], &[0]].concat());
    assert_eq!(refused(&mut server, &longer), DropReason::WrongMac);
}

//= C-SEC-04: trailers are not covered
#[test]
fn trailers_are_not_covered() {
    let with_trailer = [&signed()[..], &[1, 4, 0xde, 0xad, 0xbe, 0xef]].concat();
    assert_eq!(exchange(&mut private(), ms(0), CLIENT_AT, &with_trailer).1.len(), 1);
}

//= S-RS-08, S-RS-09: identifier and nonce are echoed; confirmation 1 when a new key is due
#[test]
fn a_key_that_is_to_be_renewed_is_confirmed_with_1() {
    for (is_renewal_due, confirmation) in [(false, 0), (true, 1)] {
        let client = known(b"client-1", Algorithm::HmacSha1, is_renewal_due);
        let clients = Clients::new(vec![client.clone()]).unwrap();
        let mut server = server_with(|config| config.clients = Some(clients));
        let (_, sent) = exchange(&mut server, ms(0), CLIENT_AT, &signed());
        let [Sent::Datagram { payload, .. }] = &sent[..] else { panic!("{sent:?}") };
        let authentication = Datagram::parse(payload).unwrap().authentication.unwrap();
        assert_eq!(authentication.client_id, b"client-1");
        assert_eq!(authentication.nonce, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(authentication.confirmation, confirmation);
        assert_eq!(authentication.value.len(), 20);
    }
}

/// What is dropped costs a MAC at most as often as an answer is granted, and what is dropped before
/// that takes nothing away from the clients behind the same NAT.
#[test]
fn limits_come_before_the_mac() {
    let rate = Rate { per_s: 1, burst: 3 };
    let mut server = private_with(|config| {
        config.limits.answers.per_source = rate;
    });
    for _ in 0..100 {
        let reason = refused(&mut server, &request(b"nobody", &[0; 20]));
        assert_eq!(reason, DropReason::UnknownIdentifier);
        assert_eq!(refused(&mut server, &solicitation()), DropReason::MissingAuthentication);
    }
    let forged = request(b"client-1", &[0; 20]);
    for _ in 0..3 {
        assert_eq!(refused(&mut server, &forged), DropReason::WrongMac);
    }
    for _ in 0..100 {
        assert_eq!(refused(&mut server, &forged), DropReason::RateLimit);
    }
    let elsewhere = endpoint("198.51.100.7:50000");
    assert_eq!(exchange(&mut server, ms(0), elsewhere, &signed()).1.len(), 1);
}

/// Bubbles and echo tests go to and from clients of this server only, as far as addresses tell.
#[test]
fn nothing_is_passed_on_between_clients_of_other_servers() {
    let foreign = teredo(OTHER_SERVER, endpoint("198.51.100.9:999"));
    let own_at: SocketAddrV4 = CLIENT_AT;
    let passed = |from, payload: &[u8]| exchange(&mut private(), ms(0), from, payload).1.len();
    assert_eq!(passed(STRANGER_AT, &bubble(stranger(), client())), 1);
    assert_eq!(passed(STRANGER_AT, &bubble(LINK_LOCAL, client())), 1);
    assert_eq!(passed(STRANGER_AT, &echo(NATIVE, client(), b"12345678")), 1);
    assert_eq!(passed(own_at, &bubble(client(), foreign)), 1);
    assert_eq!(passed(own_at, &echo(client(), NATIVE, b"12345678")), 1);
    for payload in [
        bubble(stranger(), foreign),
        echo(stranger(), foreign, b"12345678"),
        echo(stranger(), NATIVE, b"12345678"),
    ] {
        let (inbound, sent) = exchange(&mut private(), ms(0), STRANGER_AT, &payload);
        assert_eq!((inbound, sent), (Inbound::Dropped(DropReason::ForeignClient), vec![]));
        let open = exchange(&mut server_with(|_| {}), ms(0), STRANGER_AT, &payload);
        assert_eq!(open.1.len(), 1, "an open server passes it on");
    }
}

/// The longest answer there is.
#[test]
fn the_longest_identifier_and_mac_fit() {
    let name = [b'x'; 255];
    let client = known(&name, Algorithm::HmacSha256, true);
    let config = teredo_proto::client::Config {
        secret: Some(client.secret.clone()),
        filter: lab_filter(),
        ..teredo_proto::client::Config::new(SERVER, None, 40_000)
    };
    let mut asking = teredo_proto::client::Client::new(config, SEED);
    asking.start(ms(0));
    let sent = drain(&mut asking);
    let [Sent::Datagram { payload, .. }] = &sent[..] else { panic!("{sent:?}") };
    let clients = Clients::new(vec![client]).unwrap();
    let mut server = server_with(|config| config.clients = Some(clients));
    let (_, answers) = exchange(&mut server, ms(0), CLIENT_AT, payload);
    let [Sent::Datagram { payload, .. }] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(payload.len(), 13 + 255 + 32 + 8 + 96);
    let from = SocketAddrV4::new(SERVER, 3544);
    assert_eq!(put(&mut asking, ms(0), from, payload), Inbound::Consumed);
    assert!(asking.address().is_some());
    assert_eq!(asking.key_renewal(), Some(true));
}

#[test]
fn an_identifier_occurs_once() {
    let twice = ["a", "b", "a"].map(|name| known(name.as_bytes(), Algorithm::HmacSha1, false));
    assert_eq!(Clients::new(twice.into()).unwrap_err(), Identifier::new(b"a").unwrap());
    let once = ["b", "a"].map(|name| known(name.as_bytes(), Algorithm::HmacSha1, false));
    let once = Clients::new(once.into()).unwrap();
    assert_eq!((once.len(), once.is_empty()), (2, false));
}
