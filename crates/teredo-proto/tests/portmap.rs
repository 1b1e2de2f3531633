//! The port mapper against a scripted gateway and a scripted clock.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use core::net::{Ipv4Addr, SocketAddrV4};
use core::time::Duration;

use teredo_proto::Instant;
use teredo_proto::portmap::{
    Config, Event, Failure, Ignored, PortMapper, Protocol, Reason, TRANSMIT_LEN_MAX,
};
use teredo_proto::random::Random;
use teredo_wire::pcp::Operation;
use teredo_wire::{Writer, nat_pmp, pcp};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 101);
const PORT: u16 = 3545;
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

fn server() -> SocketAddrV4 {
    SocketAddrV4::new(GATEWAY, pcp::SERVER_PORT)
}

fn external(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(EXTERNAL, port)
}

fn remote() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 9000)
}

/// A mapper and the clock it lives by; the gateway's clock began an hour before.
struct Bench {
    mapper: PortMapper,
    now: Instant,
    epoch_base_s: u64,
    /// What was sent and nobody looked at yet, with the time.
    sent: Vec<(Instant, Vec<u8>)>,
}

impl Bench {
    fn started() -> Self {
        let now = Instant::from_nanos(1_000_000_000_000);
        let mapper = PortMapper::new(Config::new(GATEWAY, LOCAL, PORT), [7; 32]);
        let mut bench = Self { mapper, now, epoch_base_s: 3_600, sent: Vec::new() };
        bench.mapper.start(now);
        bench
    }

    /// With a mapping by PCP of two hours to the same port.
    fn mapped() -> Self {
        let mut bench = Self::started();
        let request = bench.pcp_request();
        bench.grant(&request, external(PORT), 7_200);
        assert_eq!(bench.events(), [Event::Mapped(external(PORT))]);
        bench
    }

    fn epoch_s(&self) -> u32 {
        let since = self.now.since(Instant::from_nanos(1_000_000_000_000));
        (self.epoch_base_s + since.as_secs()) as u32
    }

    /// Lets time pass, stopping at each deadline.
    fn wait(&mut self, duration: Duration) {
        self.drain();
        let end = self.now + duration;
        let mut steps = 0;
        while let Some((deadline, _)) = self.mapper.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(deadline);
            self.mapper.handle_timeout(self.now);
            self.drain();
            steps += 1;
            assert!(steps < 10_000, "the clock stands still");
        }
        self.now = end;
    }

    fn wait_for_request(&mut self) {
        while self.sent.is_empty() {
            self.wait(SECOND / 4);
        }
    }

    fn drain(&mut self) {
        let mut buffer = [0; TRANSMIT_LEN_MAX];
        while let Some(transmit) = self.mapper.poll_transmit(&mut buffer) {
            assert_eq!(transmit.to, server());
            self.sent.push((self.now, buffer[..transmit.len].to_vec()));
        }
    }

    fn take(&mut self) -> Vec<Vec<u8>> {
        self.drain();
        core::mem::take(&mut self.sent).into_iter().map(|(_, bytes)| bytes).collect()
    }

    /// Milliseconds of what was sent since `start`, and the bytes.
    fn take_since(&mut self, start: Instant) -> Vec<(u128, Vec<u8>)> {
        self.drain();
        let sent = core::mem::take(&mut self.sent);
        sent.into_iter().map(|(at, bytes)| (at.since(start).as_millis(), bytes)).collect()
    }

    /// The one request that was sent.
    fn pcp_request(&mut self) -> pcp::Request {
        let sent = self.take();
        assert_eq!(sent.len(), 1, "{sent:?}");
        pcp::Request::parse(&sent[0]).unwrap()
    }

    fn nat_pmp_requests(&mut self) -> Vec<nat_pmp::Request> {
        self.take().iter().map(|bytes| nat_pmp::Request::parse(bytes).unwrap()).collect()
    }

    fn inject(&mut self, payload: &[u8]) -> Result<(), Ignored> {
        self.mapper.handle_datagram(self.now, server(), payload)
    }

    fn events(&mut self) -> Vec<Event> {
        core::iter::from_fn(|| self.mapper.poll_event()).collect()
    }

    fn answer(&mut self, response: &pcp::Response) -> Result<(), Ignored> {
        self.inject(&written(|writer| response.write(writer).unwrap()))
    }

    fn grant(&mut self, request: &pcp::Request, external: SocketAddrV4, lifetime_s: u32) {
        let response = self.response_to(request, external, lifetime_s);
        assert_eq!(self.answer(&response), Ok(()));
    }

    fn response_to(
        &self,
        request: &pcp::Request,
        external: SocketAddrV4,
        lifetime_s: u32,
    ) -> pcp::Response {
        let mut operation = request.operation;
        match &mut operation {
            Operation::Map(mapping) | Operation::Peer(mapping, _) => mapping.external = external,
            Operation::Announce => {}
        }
        let (result, epoch_s) = (pcp::ResultCode::SUCCESS, self.epoch_s());
        pcp::Response { result, lifetime_s, epoch_s, operation: Some(operation) }
    }

    fn refuse(&mut self, request: &pcp::Request, result: pcp::ResultCode, lifetime_s: u32) {
        let operation = Some(request.operation);
        let response = pcp::Response { result, lifetime_s, epoch_s: self.epoch_s(), operation };
        assert_eq!(self.answer(&response), Ok(()));
    }

    fn nat_pmp_answer(&mut self, answer: nat_pmp::Answer) -> Result<(), Ignored> {
        let request = match answer {
            nat_pmp::Answer::ExternalAddress(_) => nat_pmp::Request::ExternalAddress,
            nat_pmp::Answer::Map { internal_port, external_port, lifetime_s } => {
                nat_pmp::Request::Map { internal_port, external_port, lifetime_s }
            }
        };
        let (result, epoch_s) = (nat_pmp::ResultCode::SUCCESS, self.epoch_s());
        let response = nat_pmp::Response { result, epoch_s, answer: Some(answer) };
        self.inject(&written(|writer| response.write(writer, request).unwrap()))
    }

    /// A gateway that knows NAT-PMP only, and has granted.
    fn mapped_by_nat_pmp(port: u16, lifetime_s: u32) -> Self {
        let mut bench = Self::started();
        bench.take();
        assert_eq!(bench.inject(&[0, 129, 0, 1, 0, 0, 0, 1]), Ok(()));
        assert_eq!(bench.nat_pmp_requests(), [nat_pmp::Request::ExternalAddress]);
        bench.nat_pmp_answer(nat_pmp::Answer::ExternalAddress(EXTERNAL)).unwrap();
        let [nat_pmp::Request::Map { internal_port: PORT, external_port: PORT, .. }] =
            bench.nat_pmp_requests()[..]
        else {
            panic!("no request for a mapping");
        };
        bench.nat_pmp_answer(map(port, lifetime_s)).unwrap();
        assert_eq!(bench.events(), [Event::Mapped(external(port))]);
        bench
    }
}

fn map(external_port: u16, lifetime_s: u32) -> nat_pmp::Answer {
    nat_pmp::Answer::Map { internal_port: PORT, external_port, lifetime_s }
}

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = [0; 128];
    let mut writer = Writer::new(&mut buffer);
    write(&mut writer);
    writer.written().to_vec()
}

//= X-PCP-01: MAP for UDP and the service port, with the own address, to the same port outside
#[test]
fn asks_with_pcp_at_once() {
    let mut bench = Bench::started();
    let request = bench.pcp_request();
    assert_eq!((request.lifetime_s, request.client), (7_200, LOCAL));
    let Operation::Map(mapping) = request.operation else { panic!("{request:?}") };
    assert_eq!((mapping.protocol, mapping.internal_port), (17, PORT));
    assert_eq!(mapping.external, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT));
    bench.grant(&request, external(4096), 7_200);
    assert_eq!(bench.events(), [Event::Mapped(external(4096))]);
    assert_eq!(bench.mapper.external(), Some(external(4096)));
    assert_eq!(bench.mapper.protocol(), Some(Protocol::Pcp));
}

#[test]
fn silence_is_answered_with_nat_pmp_at_the_times_of_both_rfcs() {
    let mut bench = Bench::started();
    let start = bench.now;
    bench.wait(600 * SECOND);
    let sent = bench.take_since(start);
    let (pcp, nat_pmp): (Vec<_>, Vec<_>) = sent.iter().partition(|(_, bytes)| bytes[0] == 2);
    let pcp: Vec<_> = pcp.iter().map(|(at, _)| *at).collect();
    assert!(matches!(pcp[..], [0, 2_700..=3_300]), "{pcp:?}");
    let first = nat_pmp[0].0;
    assert!((8_100..=9_900).contains(&first), "{first}");
    let waits: Vec<_> = nat_pmp.iter().map(|(at, _)| at - first).collect();
    assert_eq!(waits, [0, 250, 750, 1_750, 3_750, 7_750, 15_750, 31_750, 63_750]);
    assert_eq!(bench.events(), [Event::Unmapped(Failure::NoAnswer)]);
    assert_eq!(bench.mapper.poll_timeout().unwrap().1, Reason::Retry);
    bench.wait(HOUR);
    let sent = bench.take();
    assert_eq!(sent[0][0], 2, "then with PCP again");
    assert!(sent.len() <= 2 * 11, "and as seldom: {}", sent.len());
}

#[test]
fn a_gateway_of_nat_pmp_is_told_by_its_version_and_asked_at_once() {
    let bench = Bench::mapped_by_nat_pmp(4096, 7_200);
    assert_eq!(bench.mapper.protocol(), Some(Protocol::NatPmp));
    // A gateway of another version of PCP says so likewise, with or without the request.
    let mut bench = Bench::started();
    bench.take();
    let mut refusal = vec![2, 0x81, 0, 1];
    refusal.resize(24, 0);
    assert_eq!(bench.inject(&refusal), Ok(()));
    assert_eq!(bench.nat_pmp_requests(), [nat_pmp::Request::ExternalAddress]);
}

#[test]
fn renews_at_half_life_with_jitter_and_with_half_of_the_rest_each_time() {
    let mut bench = Bench::mapped();
    let start = bench.now;
    assert_eq!(bench.mapper.poll_timeout().unwrap().1, Reason::Renewal);
    bench.wait(7_199 * SECOND);
    let sent = bench.take_since(start);
    assert!((3_600_000..=4_500_000).contains(&sent[0].0), "{}", sent[0].0);
    let mut rest = 7_200_000 - sent[0].0;
    for pair in sent.windows(2) {
        let wait = pair[1].0 - pair[0].0;
        assert!(wait >= 3_999 && wait <= rest * 5 / 8 + 4_001, "{wait} of {rest}");
        rest = 7_200_000 - pair[1].0;
    }
    assert!(sent.len() < 16, "{}", sent.len());
    assert_eq!(bench.mapper.external(), Some(external(PORT)));
    assert!(bench.events().is_empty());
    bench.wait(2 * SECOND);
    assert_eq!(bench.events(), [Event::Unmapped(Failure::NoAnswer)]);
    assert_eq!(bench.mapper.external(), None);
}

#[test]
fn a_renewal_keeps_the_nonce_and_the_endpoint() {
    let mut bench = Bench::mapped();
    for _ in 0..5 {
        bench.wait_for_request();
        let request = bench.pcp_request();
        let Operation::Map(mapping) = request.operation else { panic!("{request:?}") };
        assert_eq!(mapping.external, external(PORT));
        bench.grant(&request, external(PORT), 7_200);
        assert!(bench.events().is_empty(), "no news");
    }
}

#[test]
fn what_somebody_may_have_taken_away_is_asked_for_again_without_a_word() {
    let mut bench = Bench::mapped();
    bench.mapper.renew(bench.now);
    let request = bench.pcp_request();
    assert_eq!(bench.mapper.external(), Some(external(PORT)));
    bench.grant(&request, external(PORT), 7_200);
    assert!(bench.events().is_empty());
}

#[test]
fn another_endpoint_on_renewal_is_news() {
    let mut bench = Bench::mapped();
    bench.wait_for_request();
    let request = bench.pcp_request();
    bench.grant(&request, external(4096), 7_200);
    assert_eq!(bench.events(), [Event::Mapped(external(4096))]);
}

#[test]
fn a_lost_epoch_is_seen_in_an_answer_and_everything_is_asked_for_again() {
    let mut bench = Bench::mapped();
    assert!(bench.mapper.map_peer(bench.now, PORT, remote()));
    let request = bench.pcp_request();
    bench.grant(&request, external(PORT), 7_200);
    bench.events();
    bench.wait_for_request();
    let request = bench.take().swap_remove(0);
    let request = pcp::Request::parse(&request).unwrap();
    bench.epoch_base_s = 0;
    bench.grant(&request, external(5000), 7_200);
    let events = bench.events();
    assert!(events.contains(&Event::GatewayRestarted), "{events:?}");
    let again = bench.pcp_request();
    assert_ne!(again.operation, request.operation, "the other one");
}

#[test]
fn an_announcement_only_makes_it_ask_and_not_often() {
    let mut bench = Bench::mapped();
    let mut announcement = vec![2, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    announcement.resize(24, 0);
    assert_eq!(bench.inject(&announcement), Ok(()));
    assert!(bench.events().is_empty(), "not believed");
    bench.wait(SECOND);
    let request = bench.pcp_request();
    bench.grant(&request, external(PORT), 7_200);
    assert!(bench.events().is_empty(), "the gateway has not forgotten");
    for _ in 0..100 {
        assert_eq!(bench.inject(&announcement), Ok(()));
    }
    bench.wait(SECOND);
    assert!(bench.take().is_empty());
    bench.wait(10 * SECOND);
    bench.epoch_base_s = 0;
    assert_eq!(bench.inject(&announcement), Ok(()));
    bench.wait(SECOND);
    let request = bench.pcp_request();
    bench.grant(&request, external(4097), 7_200);
    assert_eq!(bench.events(), [Event::GatewayRestarted, Event::Mapped(external(4097))]);
}

#[test]
fn an_announcement_of_nat_pmp_that_shows_another_address_makes_it_ask() {
    let mut bench = Bench::mapped_by_nat_pmp(PORT, 7_200);
    let other = Ipv4Addr::new(203, 0, 113, 102);
    assert_eq!(bench.nat_pmp_answer(nat_pmp::Answer::ExternalAddress(EXTERNAL)), Ok(()));
    assert!(bench.take().is_empty(), "no news");
    assert_eq!(bench.nat_pmp_answer(nat_pmp::Answer::ExternalAddress(other)), Ok(()));
    bench.wait(SECOND);
    assert_eq!(bench.nat_pmp_requests()[0], nat_pmp::Request::ExternalAddress);
    bench.nat_pmp_answer(nat_pmp::Answer::ExternalAddress(other)).unwrap();
    bench.take();
    bench.nat_pmp_answer(map(PORT, 7_200)).unwrap();
    assert_eq!(bench.events(), [Event::Mapped(SocketAddrV4::new(other, PORT))]);
}

#[test]
fn nat_pmp_renews_and_sees_a_restart() {
    let mut bench = Bench::mapped_by_nat_pmp(PORT, 7_200);
    bench.wait_for_request();
    assert_eq!(bench.nat_pmp_requests().len(), 2, "address and port");
    bench.epoch_base_s = 0;
    bench.nat_pmp_answer(map(PORT, 7_200)).unwrap();
    assert_eq!(bench.events(), [Event::GatewayRestarted]);
    assert_eq!(bench.nat_pmp_requests(), [nat_pmp::Request::ExternalAddress]);
    bench.nat_pmp_answer(nat_pmp::Answer::ExternalAddress(EXTERNAL)).unwrap();
    bench.take();
    bench.nat_pmp_answer(map(4096, 7_200)).unwrap();
    assert_eq!(bench.events(), [Event::Mapped(external(4096))]);
}

#[test]
fn refusals_have_names_and_pauses() {
    for (result, failure) in [
        (pcp::ResultCode::NOT_AUTHORIZED, Failure::NotAuthorized),
        (pcp::ResultCode::NO_RESOURCES, Failure::NoResources),
        (pcp::ResultCode::QUOTA, Failure::Quota),
        (pcp::ResultCode::NETWORK_FAILURE, Failure::NetworkFailure),
        (pcp::ResultCode::ADDRESS_MISMATCH, Failure::AddressMismatch),
        (pcp::ResultCode::UNSUPPORTED_OPCODE, Failure::Unsupported),
        (pcp::ResultCode(99), Failure::Other(99)),
    ] {
        let mut bench = Bench::started();
        let mut request = bench.pcp_request();
        for pause_s in [120_u32, 120, 120, 240, 480] {
            bench.refuse(&request, result, 120);
            assert_eq!(bench.events(), [Event::Unmapped(failure)]);
            bench.wait(pause_s * SECOND - SECOND);
            assert!(bench.take().is_empty(), "{failure}");
            let end = bench.now + pause_s / 8 * SECOND + 2 * SECOND;
            bench.wait_for_request();
            assert!(bench.now <= end, "{failure}");
            request = bench.pcp_request();
        }
        bench.grant(&request, external(PORT), 7_200);
        assert_eq!(bench.events(), [Event::Mapped(external(PORT))]);
    }
}

#[test]
fn a_refusal_for_ever_is_asked_about_once_an_hour() {
    let mut bench = Bench::started();
    let request = bench.pcp_request();
    bench.refuse(&request, pcp::ResultCode::NOT_AUTHORIZED, u32::MAX);
    bench.wait(HOUR - SECOND);
    assert!(bench.take().is_empty());
    bench.wait(HOUR / 8 + SECOND);
    assert!(!bench.take().is_empty());
}

#[test]
fn a_refused_renewal_leaves_the_mapping_until_its_end() {
    let mut bench = Bench::mapped();
    bench.wait_for_request();
    let request = bench.pcp_request();
    bench.refuse(&request, pcp::ResultCode::NO_RESOURCES, 7_200);
    assert!(bench.events().is_empty());
    bench.wait(HOUR);
    assert_eq!(bench.events()[0], Event::Unmapped(Failure::NoResources));
}

#[test]
fn what_is_granted_uselessly_is_a_refusal() {
    for (endpoint, lifetime_s) in [
        (external(0), 7_200),
        (SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT), 7_200),
        (external(PORT), 0),
        (external(PORT), 9),
    ] {
        let mut bench = Bench::started();
        let request = bench.pcp_request();
        bench.grant(&request, endpoint, lifetime_s);
        assert_eq!(bench.events(), [Event::Unmapped(Failure::Unusable)]);
    }
}

#[test]
fn a_short_lifetime_is_kept_by_renewing_in_time() {
    let mut bench = Bench::started();
    let mut request = bench.pcp_request();
    bench.grant(&request, external(PORT), 10);
    bench.events();
    for _ in 0..20 {
        let before = bench.now;
        bench.wait_for_request();
        assert!(bench.now.since(before) >= 4 * SECOND, "not more often than every four seconds");
        request = pcp::Request::parse(&bench.take()[0]).unwrap();
        bench.grant(&request, external(PORT), 10);
    }
    assert!(bench.events().is_empty());
}

#[test]
fn gives_back_what_it_has_and_is_done() {
    let mut bench = Bench::mapped();
    bench.mapper.stop(bench.now);
    let request = bench.pcp_request();
    assert_eq!(request.lifetime_s, 0);
    assert!(!bench.mapper.is_idle());
    bench.grant(&request, external(PORT), 0);
    assert!(bench.mapper.is_idle());
    assert!(bench.events().is_empty());
    assert_eq!(bench.mapper.poll_timeout(), None);

    let mut bench = Bench::mapped();
    bench.mapper.stop(bench.now);
    bench.wait(SECOND);
    assert_eq!(bench.take().len(), 2, "once more in case it was lost");
    assert!(bench.mapper.is_idle());

    let mut bench = Bench::mapped_by_nat_pmp(4096, 7_200);
    bench.mapper.stop(bench.now);
    let deletion = nat_pmp::Request::Map { internal_port: PORT, external_port: 0, lifetime_s: 0 };
    assert_eq!(bench.nat_pmp_requests(), [deletion]);
    bench.nat_pmp_answer(map(0, 0)).unwrap();
    assert!(bench.mapper.is_idle());
}

#[test]
fn a_mapping_towards_one_peer() {
    let mut bench = Bench::mapped();
    assert!(bench.mapper.map_peer(bench.now, 5555, remote()));
    let request = bench.pcp_request();
    let Operation::Peer(mapping, peer) = request.operation else { panic!("{request:?}") };
    assert_eq!((mapping.internal_port, peer), (5555, remote()));
    bench.grant(&request, external(6666), 120);
    let event =
        Event::PeerMapped { internal_port: 5555, remote: remote(), external: external(6666) };
    assert_eq!(bench.events(), [event]);
    bench.mapper.unmap_peer(bench.now, 5555, remote());
    assert_eq!(bench.pcp_request().lifetime_s, 0);
    bench.wait(SECOND);
    assert_eq!(bench.mapper.external(), Some(external(PORT)), "the other one stays");
}

#[test]
fn peers_are_bounded_and_nat_pmp_has_none() {
    let mut bench = Bench::mapped();
    let now = bench.now;
    let granted = (0..100).filter(|port| bench.mapper.map_peer(now, 1000 + port, remote())).count();
    assert_eq!(granted, 16);
    let mut bench = Bench::mapped_by_nat_pmp(PORT, 7_200);
    assert!(bench.mapper.map_peer(bench.now, PORT, remote()));
    let failure = Failure::Unsupported;
    let event = Event::PeerUnmapped { internal_port: PORT, remote: remote(), failure };
    assert_eq!(bench.events(), [event]);
    assert!(bench.take().is_empty());
}

#[test]
fn another_gateway_is_asked_anew() {
    let mut bench = Bench::mapped();
    let (now, gateway) = (bench.now, Ipv4Addr::new(192, 168, 9, 1));
    bench.mapper.set_network(now, GATEWAY, LOCAL);
    assert!(bench.take().is_empty(), "the same");
    bench.mapper.set_network(now, gateway, Ipv4Addr::new(192, 168, 9, 2));
    assert_eq!(bench.events(), [Event::Unmapped(Failure::NoAnswer)]);
    let mut buffer = [0; TRANSMIT_LEN_MAX];
    let transmit = bench.mapper.poll_transmit(&mut buffer).unwrap();
    assert_eq!(*transmit.to.ip(), gateway);
    let request = pcp::Request::parse(&buffer[..transmit.len]).unwrap();
    assert_eq!(request.client, Ipv4Addr::new(192, 168, 9, 2));
}

#[test]
fn what_is_not_an_answer_is_ignored_and_counted() {
    let mut bench = Bench::started();
    let request = bench.pcp_request();
    let mut response = bench.response_to(&request, external(PORT), 7_200);
    let bytes = written(|writer| response.write(writer).unwrap());
    for from in [SocketAddrV4::new(LOCAL, 5351), SocketAddrV4::new(GATEWAY, 5350)] {
        let ignored = bench.mapper.handle_datagram(bench.now, from, &bytes);
        assert_eq!(ignored, Err(Ignored::NotGateway));
    }
    assert_eq!(bench.inject(&bytes[..59]), Err(Ignored::Malformed));
    assert_eq!(bench.inject(&[1; 60]), Err(Ignored::Malformed));
    assert_eq!(bench.inject(&[]), Err(Ignored::Malformed));
    let address = nat_pmp::Answer::ExternalAddress(EXTERNAL);
    assert_eq!(bench.nat_pmp_answer(address), Err(Ignored::OtherProtocol));
    if let Some(Operation::Map(mapping)) = &mut response.operation {
        mapping.nonce[0] ^= 1;
    }
    assert_eq!(bench.answer(&response), Err(Ignored::Unmatched));
    let counts = Ignored::ALL.map(|reason| (reason.name(), bench.mapper.ignored(reason)));
    let expected = [("not-gateway", 2), ("malformed", 3), ("unmatched", 1), ("other-protocol", 1)];
    assert_eq!(counts, expected);
    assert!(bench.events().is_empty());
}

/// Bytes from the gateway, made from requests and from nothing: whatever comes, the mapper stays
/// small, sends little, and ends when it is told to.
#[test]
fn nothing_that_a_gateway_sends_breaks_it() {
    let mut random = Random::new([5; 32]);
    for round in 0..300 {
        let mut bench =
            if round % 2 == 0 { Bench::mapped() } else { Bench::mapped_by_nat_pmp(PORT, 7_200) };
        let mut kept = vec![vec![0, 128, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], vec![2; 24]];
        for _ in 0..100 {
            let mut bytes = kept[random.below(kept.len() as u64) as usize].clone();
            for _ in 0..random.below(4) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.next_u64() as u8;
            }
            bytes[1] |= 0x80;
            bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
            let _ = bench.inject(&bytes);
            if random.below(4) == 0 {
                bench.wait(Duration::from_secs(random.below(600)));
            }
            if random.below(8) == 0 {
                bench.mapper.map_peer(bench.now, random.next_u64() as u16, remote());
            }
            let sent = bench.take();
            assert!(sent.len() < 4_000, "{}", sent.len());
            kept.extend(sent);
            kept.truncate(32);
            bench.events();
        }
        bench.mapper.stop(bench.now);
        bench.wait(SECOND);
        assert!(bench.mapper.is_idle());
    }
}
