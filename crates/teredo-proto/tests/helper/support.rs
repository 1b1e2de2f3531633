//! A helper and those who write to it.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use core::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use teredo_proto::helper::{Config, Helper};
use teredo_proto::keys::{Algorithm, Identifier, Secret, SharedKey};
use teredo_proto::role::TRANSMIT_LEN_MAX;
use teredo_proto::server::{Clients, KnownClient};
use teredo_proto::{Arrival, DropReason, Inbound, Instant, Local, Role, Transmit};
use teredo_wire::helper::{Forward, Frame, Register, Registered, Status, Token};
use teredo_wire::ipv6::Header;
use teredo_wire::{Flags, TeredoAddress, Writer};

pub(crate) const HELPER: SocketAddrV4 = endpoint([9, 9, 9, 9], 3545);
pub(crate) const SERVER: SocketAddrV4 = endpoint([9, 9, 9, 9], 3544);
pub(crate) const CLIENT: SocketAddrV4 = endpoint([11, 0, 0, 1], 4096);
pub(crate) const OTHER: SocketAddrV4 = endpoint([11, 0, 0, 2], 4097);
pub(crate) const PEER: SocketAddrV4 = endpoint([12, 0, 0, 1], 5000);

pub(crate) const fn endpoint([a, b, c, d]: [u8; 4], port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port)
}

/// The Teredo address of a client that a server sees at this endpoint.
pub(crate) fn address_at(mapped: SocketAddrV4) -> Ipv6Addr {
    TeredoAddress { server: *SERVER.ip(), flags: Flags::from_random(0x1234), mapped }.to_ipv6()
}

pub(crate) fn key_of(name: &str) -> Vec<u8> {
    format!("the long key of {name}").into_bytes()
}

/// A helper under test.
pub(crate) struct Bench {
    pub(crate) helper: Helper,
    pub(crate) now: Instant,
}

impl Bench {
    /// One that knows the clients `a`, `b` and `c`.
    pub(crate) fn new(change: impl FnOnce(&mut Config)) -> Self {
        let known = ["a", "b", "c"].map(|name| {
            let key = SharedKey::new(Algorithm::HmacSha1, &key_of(name)).unwrap();
            let secret = Secret { identifier: Identifier::new(name.as_bytes()).unwrap(), key };
            KnownClient { secret, is_renewal_due: false }
        });
        let mut config = Config::new(HELPER, Clients::new(known.into()).unwrap());
        config.filter.own = vec![*HELPER.ip()];
        config.neighbours = vec![SERVER];
        change(&mut config);
        let now = Instant::from_nanos(3_600_000_000_000);
        Self { helper: Helper::new(config, [7; 32]), now }
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// A datagram comes in; what goes out for it.
    pub(crate) fn put(
        &mut self,
        from: SocketAddrV4,
        payload: &[u8],
    ) -> Vec<(SocketAddrV4, Vec<u8>)> {
        let arrival = Arrival { from, on: Local::Primary };
        let inbound = self.helper.handle_datagram(self.now, arrival, payload);
        let sent = self.drain();
        match inbound {
            Inbound::Consumed => assert!(!sent.is_empty()),
            Inbound::Dropped(_) => assert!(sent.is_empty(), "{sent:02x?}"),
            Inbound::Deliver(_) => panic!("a helper has nobody to deliver to"),
        }
        let out: usize = sent.iter().map(|(_, payload)| payload.len()).sum();
        assert!(out <= payload.len() + 12, "{out} bytes for {}", payload.len());
        sent
    }

    fn drain(&mut self) -> Vec<(SocketAddrV4, Vec<u8>)> {
        let (mut sent, mut buffer) = (Vec::new(), [0; TRANSMIT_LEN_MAX]);
        while let Some(transmit) = self.helper.poll_transmit(&mut buffer) {
            let Transmit::Datagram { to, via: Local::Primary, len } = transmit else { panic!() };
            sent.push((to, buffer[..len].to_vec()));
        }
        sent
    }

    /// Asserts that a datagram is dropped for this reason, and counted.
    #[track_caller]
    pub(crate) fn refuses(&mut self, from: SocketAddrV4, payload: &[u8], why: DropReason) {
        let before = self.helper.counters().dropped(why);
        assert_eq!(self.put(from, payload), [], "{why:?} was expected");
        assert_eq!(self.helper.counters().dropped(why), before + 1, "{why:?}");
    }

    /// Registers a client as it does itself: with a cookie. What it then knows.
    pub(crate) fn register(
        &mut self,
        name: &str,
        from: SocketAddrV4,
        address: Ipv6Addr,
    ) -> Registered {
        let cookie = self.cookie(name, from);
        let sent = self.put(from, &request(name, [1; 8], cookie, address));
        answer(&sent, from)
    }

    /// The same, which has to be granted.
    pub(crate) fn token(&mut self, name: &str, from: SocketAddrV4) -> Token {
        let answer = self.register(name, from, address_at(from));
        assert_eq!(answer.status, Status::GRANTED);
        answer.token
    }

    /// A cookie for whoever is at an endpoint.
    pub(crate) fn cookie(&mut self, name: &str, from: SocketAddrV4) -> [u8; 16] {
        let request = request(name, [9; 8], [0; 16], address_at(from));
        let sent = self.put(from, &request);
        let Ok(Frame::Challenge(challenge)) = Frame::parse(&sent[0].1) else { panic!() };
        assert!(sent.len() == 1 && sent[0].0 == from && sent[0].1.len() < request.len());
        assert_eq!(challenge.nonce, [9; 8]);
        challenge.cookie
    }
}

/// A request, signed with the key of that name.
pub(crate) fn request(name: &str, nonce: [u8; 8], cookie: [u8; 16], address: Ipv6Addr) -> Vec<u8> {
    request_signed(name, &key_of(name), (nonce, cookie), address)
}

/// The same with any key: signed with another implementation than the helper's.
pub(crate) fn request_signed(
    name: &str,
    key: &[u8],
    (nonce, cookie): ([u8; 8], [u8; 16]),
    address: Ipv6Addr,
) -> Vec<u8> {
    let request = Register { nonce, cookie, address, client_id: name.as_bytes() };
    let mut frame = written(|writer| request.write(writer, 20));
    let mac = mac(&mac(key, b"teredo helper"), &frame);
    frame.extend(mac);
    frame
}

pub(crate) fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mac = Hmac::<Sha1>::new_from_slice(key).unwrap().chain_update(text);
    mac.finalize().into_bytes().to_vec()
}

/// The answer to a request, which is signed.
pub(crate) fn answer(sent: &[(SocketAddrV4, Vec<u8>)], to: SocketAddrV4) -> Registered {
    assert!(sent.len() == 1 && sent[0].0 == to, "{sent:02x?}");
    let Ok(Frame::Registered(answer, seal)) = Frame::parse(&sent[0].1) else { panic!() };
    let is_signed = ["a", "b", "c"]
        .iter()
        .any(|name| mac(&mac(&key_of(name), b"teredo helper"), seal.covered) == seal.mac);
    assert!(is_signed);
    answer
}

pub(crate) fn forward(token: Token, to: SocketAddrV4, datagram: &[u8]) -> Vec<u8> {
    written(|writer| Forward { endpoint: to, token, datagram }.write(writer))
}

pub(crate) fn bubble(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    written(|writer| Header::bubble(source, destination).write(writer))
}

/// A UDP packet of `len` bytes in all.
pub(crate) fn data(source: Ipv6Addr, destination: Ipv6Addr, len: usize) -> Vec<u8> {
    let mut packet = bubble(source, destination);
    packet.resize(len, 0x5a);
    packet[4..6].copy_from_slice(&u16::try_from(len - 40).unwrap().to_be_bytes());
    packet[6] = 17;
    packet
}

pub(crate) fn written(
    write: impl FnOnce(&mut Writer<'_>) -> Result<(), teredo_wire::NoSpace>,
) -> Vec<u8> {
    let mut buffer = [0; 4096];
    let mut writer = Writer::new(&mut buffer);
    write(&mut writer).unwrap();
    writer.written().to_vec()
}
