//! Secure qualification: a client with a key, and a server that knows it or not (RFC 4380 section
//! 5.2.2).

use core::net::SocketAddrV4;

use teredo_proto::client::Config;
use teredo_proto::keys::{Algorithm, Identifier, Secret, SharedKey};
use teredo_proto::role::{OfflineReason, State, TRANSMIT_LEN_MAX};
use teredo_proto::server::{self, Clients, KnownClient, Server};
use teredo_proto::{Arrival, DropReason, Event, Inbound, Instant, Local, Role, Transmit};
use teredo_wire::{Authentication, Datagram, TeredoAddress};

use crate::bytes::endpoint;
use crate::harness::{Bench, SECONDARY, SERVER, config, mapped, secondary, server};

const NAME: &str = "client-1";
const KEY: &[u8] = b"0123456789abcdef";

fn secret(name: &str, algorithm: Algorithm, key: &[u8]) -> Secret {
    let identifier = Identifier::new(name.as_bytes()).unwrap();
    Secret { identifier, key: SharedKey::new(algorithm, key).unwrap() }
}

fn ours() -> Secret {
    secret(NAME, Algorithm::HmacSha1, KEY)
}

fn config_with(secret: Secret) -> Config {
    Config { secret: Some(secret), ..config() }
}

/// A server that knows a client by this secret.
fn server_with(secret: Secret, is_renewal_due: bool) -> Server {
    let clients = Clients::new(vec![KnownClient { secret, is_renewal_due }]).unwrap();
    let filter = config().filter;
    let config = server::Config::new(SERVER, Some(SECONDARY));
    Server::new(server::Config { filter, clients: Some(clients), ..config }, [9; 32])
}

/// What the server answers to a solicitation that it sees from `origin`.
fn answer(server: &mut Server, on: Local, origin: SocketAddrV4, asked: &[u8]) -> Vec<u8> {
    let arrival = Arrival { from: origin, on };
    let now = Instant::from_nanos(0);
    assert_eq!(server.handle_datagram(now, arrival, asked), Inbound::Consumed);
    let mut buffer = [0; TRANSMIT_LEN_MAX];
    match server.poll_transmit(&mut buffer) {
        Some(Transmit::Datagram { to, via, len }) if (to, via) == (origin, on) => {
            buffer[..len].to_vec()
        }
        other => panic!("{other:?}"),
    }
}

/// The last solicitation to a server address.
fn solicitation(bench: &mut Bench, to: SocketAddrV4) -> Vec<u8> {
    let sent = bench.take();
    let to_server = sent.iter().rev().find(|sent| sent.is_to(to)).unwrap();
    to_server.datagram().1.to_vec()
}

/// A client that waits for its first answer, and the answer of a server with the same key.
fn asking() -> (Bench, Vec<u8>) {
    let mut bench = Bench::started(config_with(ours()));
    let asked = solicitation(&mut bench, server());
    let answer = answer(&mut server_with(ours(), false), Local::Primary, mapped(), &asked);
    (bench, answer)
}

/// The answer with another authentication in front.
fn with_authentication(
    payload: &[u8],
    change: impl FnOnce(&mut Authentication<'static>),
) -> Vec<u8> {
    let there = Datagram::parse(payload).unwrap().authentication.unwrap();
    let leak = |bytes: &[u8]| -> &'static [u8] { bytes.to_vec().leak() };
    let mut other = Authentication {
        client_id: leak(there.client_id),
        value: leak(there.value),
        nonce: there.nonce,
        confirmation: there.confirmation,
    };
    change(&mut other);
    let mut buffer = [0; 600];
    let mut writer = teredo_wire::Writer::new(&mut buffer);
    other.write(&mut writer).unwrap();
    let front = 13 + there.client_id.len() + there.value.len();
    [writer.written(), &payload[front..]].concat()
}

//= C-SEC-04, C-SEC-05: identifier, MAC and confirmation 0 in every solicitation
#[test]
fn qualifies_and_stays_qualified_with_each_algorithm() {
    for algorithm in Algorithm::ALL {
        let ours = secret(NAME, algorithm, KEY);
        let mut known = server_with(ours.clone(), false);
        let mut bench = Bench::started(config_with(ours));
        for (to, on) in [
            (server(), Local::Primary),
            (secondary(), Local::Secondary),
            (server(), Local::Primary),
        ] {
            let asked = solicitation(&mut bench, to);
            let authentication = Datagram::parse(&asked).unwrap().authentication.unwrap();
            assert_eq!(authentication.client_id, NAME.as_bytes());
            assert_eq!(authentication.value.len(), algorithm.mac_len());
            assert_eq!(authentication.confirmation, 0);
            let answer = answer(&mut known, on, mapped(), &asked);
            assert_eq!(bench.inject(to, &answer), Inbound::Consumed);
            assert_eq!(bench.client.state(), State::Qualified);
            if to == secondary() {
                bench.wait_s(31.0);
            }
        }
        assert_eq!(bench.client.key_renewal(), Some(false));
    }
}

//= C-SEC-03, C-SEC-04: an answer with any covered bit changed is dropped, and nothing happens
#[test]
fn every_covered_bit_counts() {
    let (mut bench, answer) = asking();
    let covered = Datagram::parse(&answer).unwrap().authenticated_bytes().unwrap().len();
    let mac = answer.len() - covered - 20;
    for byte in mac..answer.len() {
        for bit in 0..8 {
            let mut forged = answer.clone();
            forged[byte] ^= 1 << bit;
            let reason = bench.inject_dropped(server(), &forged);
            // Some of them do not even look like an answer any more.
            let is_in_packet = byte >= answer.len() - 96;
            assert!(
                is_in_packet
                    || matches!(
                        reason,
                        DropReason::WrongMac | DropReason::WrongNonce | DropReason::Malformed(_)
                    ),
                "{byte}: {reason:?}"
            );
        }
    }
    assert_eq!(bench.client.state(), State::Probe);
    assert_eq!(bench.take(), []);
    assert_eq!(bench.inject(server(), &answer), Inbound::Consumed);
    assert_eq!(bench.client.state(), State::Qualified);
}

//= C-SEC-03: a MAC of any other length than its own is dropped
#[test]
fn a_mac_that_is_cut_short_is_dropped() {
    let (mut bench, answer) = asking();
    let mac = Datagram::parse(&answer).unwrap().authentication.unwrap().value.to_vec();
    for len in (0..=255).filter(|&len| len != mac.len()) {
        let value: Vec<u8> = mac.iter().copied().chain(core::iter::repeat(0)).take(len).collect();
        let forged = with_authentication(&answer, |it| it.value = value.leak());
        let expected = if len == 0 { DropReason::MissingMac } else { DropReason::WrongMac };
        assert_eq!(bench.inject_dropped(server(), &forged), expected, "{len} bytes");
    }
    assert_eq!(bench.client.state(), State::Probe);
}

//= C-SEC-04: trailers are not covered
#[test]
fn trailers_are_not_covered() {
    let (mut bench, answer) = asking();
    let nonce_trailer = [1, 4, 0xde, 0xad, 0xbe, 0xef];
    assert_eq!(bench.inject(server(), &[answer, nonce_trailer.into()].concat()), Inbound::Consumed);
    assert_eq!(bench.client.state(), State::Qualified);
}

//= C-SEC-09: another identifier, another key, another algorithm, no authentication at all
#[test]
fn an_answer_in_another_name_or_with_another_key_is_dropped() {
    let (mut bench, answer) = asking();
    for name in [&b""[..], b"client", b"client-2", b"client-10", b"Client-1"] {
        let forged = with_authentication(&answer, |it| it.client_id = name);
        assert_eq!(bench.inject_dropped(server(), &forged), DropReason::WrongIdentifier);
    }
    let bare = &answer[13 + NAME.len() + 20..];
    assert_eq!(bench.inject_dropped(server(), bare), DropReason::MissingAuthentication);

    let asked = |other: &Secret| {
        let mut bench = Bench::started(config_with(other.clone()));
        let asked = solicitation(&mut bench, server());
        let nonce = Datagram::parse(&asked).unwrap().authentication.unwrap().nonce;
        (asked, nonce)
    };
    let other_key = secret(NAME, Algorithm::HmacSha1, b"0123456789abcdeg");
    let other_algorithm = secret(NAME, Algorithm::HmacSha256, KEY);
    for other in [other_key, other_algorithm] {
        // Equal seeds make equal nonces.
        let (asked, nonce) = asked(&other);
        assert_eq!(Datagram::parse(&answer).unwrap().authentication.unwrap().nonce, nonce);
        let answer = self::answer(&mut server_with(other, false), Local::Primary, mapped(), &asked);
        assert_eq!(bench.inject_dropped(server(), &answer), DropReason::WrongMac);
    }
    assert_eq!(bench.client.state(), State::Probe);
}

//= C-SEC-01: the answer of an earlier exchange proves nothing in a later one
#[test]
fn a_replayed_answer_is_dropped() {
    let (mut bench, answer) = asking();
    assert_eq!(bench.inject(server(), &answer), Inbound::Consumed);
    let reason = bench.inject_dropped(server(), &answer);
    assert_eq!(reason, DropReason::UnsolicitedAdvertisement);
    bench.wait_s(31.0);
    assert!(bench.take().iter().any(|sent| sent.is_to(server())), "no refresh");
    assert_eq!(bench.inject_dropped(server(), &answer), DropReason::WrongNonce);
}

//= C-SEC-09, C-SEC-06: answers without a MAC serve a client with a key for nothing
#[test]
fn a_server_without_the_key_is_of_no_use() {
    for (confirmation, reason, why) in [
        (0, DropReason::MissingMac, OfflineReason::NoProof),
        (1, DropReason::Refused, OfflineReason::Refused),
    ] {
        let (mut bench, answer) = asking();
        let unsigned = with_authentication(&answer, |it| {
            (it.value, it.confirmation) = (&[], confirmation);
        });
        assert_eq!(bench.inject_dropped(server(), &unsigned), reason);
        assert_eq!(bench.client.state(), State::Probe);
        bench.wait_s(12.0);
        assert_eq!(bench.client.state(), State::Offline(why));
    }
}

//= C-SEC-06: a signed answer that asks for a new key is taken, and reported once
#[test]
fn a_key_that_is_to_be_renewed_still_serves() {
    let mut bench = Bench::started(config_with(ours()));
    let (mut due, mut renewed) = (server_with(ours(), true), server_with(ours(), false));
    let mut renewals = Vec::new();
    for (known, is_due) in [(0, true), (0, true), (1, false)] {
        let asked = solicitation(&mut bench, server());
        let known = if known == 0 { &mut due } else { &mut renewed };
        let answer = answer(known, Local::Primary, mapped(), &asked);
        assert_eq!(bench.inject(server(), &answer), Inbound::Consumed);
        assert_eq!(bench.client.state(), State::Qualified);
        assert_eq!(bench.client.key_renewal(), Some(is_due));
        let events = bench.events();
        renewals.extend(events.into_iter().filter(|it| matches!(it, Event::KeyRenewal(_))));
        bench.wait_s(31.0);
    }
    assert_eq!(renewals, [Event::KeyRenewal(true), Event::KeyRenewal(false)]);
}

/// The origin indication is covered too, so that nobody but the NAT moves a client.
#[test]
fn a_moved_mapping_is_believed_only_when_signed() {
    let (mut bench, answer) = asking();
    assert_eq!(bench.inject(server(), &answer), Inbound::Consumed);
    bench.wait_s(31.0);
    let asked = solicitation(&mut bench, server());
    let moved = endpoint("192.0.2.9:9999");
    let answer = self::answer(&mut server_with(ours(), false), Local::Primary, moved, &asked);
    let mut forged = answer.clone();
    let origin = forged.len() - 96 - 8;
    forged[origin + 3] ^= 1;
    assert_eq!(bench.inject_dropped(server(), &forged), DropReason::WrongMac);
    assert_eq!(TeredoAddress::parse(bench.own()).unwrap().mapped, mapped());
    assert_eq!(bench.inject(server(), &answer), Inbound::Consumed);
    assert_eq!(TeredoAddress::parse(bench.own()).unwrap().mapped, moved);
}
