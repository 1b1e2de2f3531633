use core::time::Duration;

use teredo_wire::Writer;
use teredo_wire::icmpv6::{ECHO_REPLY, ECHO_REQUEST, PACKET_TOO_BIG};
use teredo_wire::ipv6::{Header, next_header};

use super::*;
use crate::guard::flows::{ANSWERED_MIN, ESTABLISHED_IDLE_MAX, IDLE_MAX, RECENCY_GRAIN, TableFull};
use crate::guard::tcp::Flags;

const SEED: Seed = [7; 32];
const OWN: Ipv6Addr = Ipv6Addr::new(0x2001, 0, 0xcb00, 0x710a, 0, 1, 2, 3);
const REMOTE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 6, 0, 0, 0, 0, 2);
const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 6, 0, 0, 0, 0, 3);

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(1_000_000_000 * (1 + seconds))
}

fn packet(source: Ipv6Addr, destination: Ipv6Addr, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let payload_len = payload.len() as u16;
    let header = Header { payload_len, next_header, hop_limit: 64, source, destination };
    let mut bytes = vec![0; 40];
    header.write(&mut Writer::new(&mut bytes)).unwrap();
    bytes.extend(payload);
    bytes
}

fn with_ports(ports: [u16; 2], rest: &[u8]) -> Vec<u8> {
    [&ports[0].to_be_bytes(), &ports[1].to_be_bytes(), rest].concat()
}

fn udp_bytes(ports: [u16; 2]) -> Vec<u8> {
    with_ports(ports, &[0, 12, 0, 0, 1, 2, 3, 4])
}

fn tcp_bytes(ports: [u16; 2], flags: u8) -> Vec<u8> {
    numbered_tcp_bytes(ports, [0, 0], flags)
}

/// With a sequence number, and the one that is expected next.
fn numbered_tcp_bytes(ports: [u16; 2], numbers: [u32; 2], flags: u8) -> Vec<u8> {
    let numbers = numbers.map(u32::to_be_bytes).concat();
    with_ports(ports, &[&numbers[..], &[0x50, flags, 0, 0, 0, 0, 0, 0]].concat())
}

fn echo_bytes(kind: u8, identifier: u16) -> Vec<u8> {
    let [high, low] = identifier.to_be_bytes();
    vec![kind, 0, 0, 0, high, low, 0, 1]
}

/// A guard and what it is asked.
struct Bench {
    guard: Guard,
    now: Instant,
}

impl Bench {
    fn new(rules: &str) -> Self {
        Self { guard: Guard::new(policy(rules), SEED), now: at(0) }
    }

    fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    fn send(&mut self, to: Ipv6Addr, protocol: u8, payload: &[u8]) {
        let bytes = packet(OWN, to, protocol, payload);
        self.guard.note_sent(self.now, &Ipv6::parse(&bytes).unwrap().0).unwrap();
    }

    fn receive(&mut self, from: Ipv6Addr, protocol: u8, payload: &[u8]) -> Result<(), DropReason> {
        let bytes = packet(from, OWN, protocol, payload);
        let (ipv6, _) = Ipv6::parse(&bytes).unwrap();
        let upper = upper_layer(&ipv6)?;
        let pass = self.guard.check(self.now, &ipv6, &upper)?;
        self.guard.note_received(self.now, pass);
        Ok(())
    }

    fn send_tcp(&mut self, flags: u8) {
        self.send(REMOTE, 6, &tcp_bytes([5000, 80], flags));
    }

    fn receive_tcp(&mut self, flags: u8) -> Result<(), DropReason> {
        self.receive(REMOTE, 6, &tcp_bytes([80, 5000], flags))
    }

    fn receive_udp(&mut self, from: Ipv6Addr, ports: [u16; 2]) -> Result<(), DropReason> {
        self.receive(from, 17, &udp_bytes(ports))
    }

    /// Our side opens a connection from port 5000 to port 80.
    fn connect(&mut self) {
        self.send_tcp(SYN);
        self.receive_tcp(SYN | ACK).unwrap();
        self.send_tcp(ACK);
    }

    /// An ICMPv6 error from a router on the way.
    fn receive_error(&mut self, kind: u8, quoted: &[u8]) -> Result<(), DropReason> {
        let body = [&[kind, 0, 0, 0, 0, 0, 5, 0], quoted].concat();
        self.receive(OTHER, 58, &body)
    }
}

fn policy(rules: &str) -> Policy {
    Policy::new(rules.split_whitespace().map(|rule| rule.parse().unwrap()).collect()).unwrap()
}

const REFUSED: Result<(), DropReason> = Err(DropReason::Unsolicited);
const NOT_OURS: Result<(), DropReason> = Err(DropReason::UnsolicitedError);
const NO_FIRST: Result<(), DropReason> = Err(DropReason::UnsolicitedFragment);

//= API-77, SEC-11: nothing comes in that nobody asked for, whatever it is
#[test]
fn what_nobody_asked_for_is_refused() {
    let mut bench = Bench::new("");
    for flags in 0..=0x3f {
        assert_eq!(bench.receive_tcp(flags), REFUSED);
    }
    assert_eq!(bench.receive_udp(REMOTE, [53, 5000]), REFUSED);
    for kind in [ECHO_REQUEST, ECHO_REPLY, 130, 131, 132, 139, 140, 143, 255] {
        assert_eq!(bench.receive(REMOTE, 58, &echo_bytes(kind, 1)), REFUSED, "type {kind}");
    }
    for protocol in 0..=255 {
        if ![0, 43, 44, 51, 58, 60].contains(&protocol) {
            assert_eq!(bench.receive(REMOTE, protocol, &[0; 40]), REFUSED, "{protocol}");
        }
    }
}

//= API-77: what cannot be seen is refused: cut short, or behind too much
#[test]
fn what_cannot_be_seen_is_refused() {
    let mut bench = Bench::new("tcp/80 udp/53 echo");
    bench.connect();
    let segment = tcp_bytes([80, 5000], ACK);
    for len in 0..14 {
        assert_eq!(bench.receive(REMOTE, 6, &segment[..len]), REFUSED, "{len}");
    }
    for len in 0..4 {
        assert_eq!(bench.receive(REMOTE, 17, &udp_bytes([1, 53])[..len]), REFUSED, "{len}");
    }
    for len in 0..6 {
        assert_eq!(bench.receive(REMOTE, 58, &echo_bytes(ECHO_REQUEST, 1)[..len]), REFUSED);
    }
    let options = [60, 0, 1, 4, 0, 0, 0, 0].repeat(9);
    assert_eq!(bench.receive(REMOTE, 60, &options), Err(DropReason::ExtensionHeaders));
    // Behind a few options it can be seen.
    let options = [&[6, 0, 1, 4, 0, 0, 0, 0], &segment[..]].concat();
    assert_eq!(bench.receive(REMOTE, 0, &options), Ok(()));
    assert_eq!(bench.receive(OTHER, 0, &options), REFUSED);
}

//= API-77: an answer comes from the node and the port that was written to, to the port it left
#[test]
fn only_the_node_and_port_written_to_may_answer() {
    let mut bench = Bench::new("");
    bench.send(REMOTE, 17, &udp_bytes([5000, 53]));
    assert_eq!(bench.receive_udp(REMOTE, [53, 5000]), Ok(()));
    assert_eq!(bench.receive_udp(REMOTE, [54, 5000]), REFUSED);
    assert_eq!(bench.receive_udp(REMOTE, [53, 5001]), REFUSED);
    assert_eq!(bench.receive_udp(OTHER, [53, 5000]), REFUSED);
    assert_eq!(bench.receive(REMOTE, 6, &tcp_bytes([53, 5000], ACK)), REFUSED);
    bench.send(REMOTE, 58, &echo_bytes(ECHO_REQUEST, 7));
    assert_eq!(bench.receive(REMOTE, 58, &echo_bytes(ECHO_REPLY, 7)), Ok(()));
    assert_eq!(bench.receive(REMOTE, 58, &echo_bytes(ECHO_REPLY, 8)), REFUSED);
    assert_eq!(bench.receive(REMOTE, 58, &echo_bytes(ECHO_REQUEST, 7)), REFUSED);
    bench.send(REMOTE, 50, &[1; 20]);
    assert_eq!(bench.receive(REMOTE, 50, &[2; 20]), Ok(()));
    assert_eq!(bench.receive(OTHER, 50, &[2; 20]), REFUSED);
    assert_eq!(bench.receive(REMOTE, 132, &[2; 20]), REFUSED);
}

//= API-77: only our SYN opens a connection, and nobody opens one in its place
#[test]
fn only_our_syn_opens_a_connection() {
    let mut bench = Bench::new("");
    for flags in [ACK, SYN | ACK, RST, FIN | ACK] {
        bench.send_tcp(flags);
        assert_eq!(bench.receive_tcp(ACK), REFUSED);
    }
    bench.connect();
    assert_eq!(bench.receive_tcp(ACK), Ok(()));
    assert_eq!(bench.receive_tcp(SYN), REFUSED);
    bench.send_tcp(FIN | ACK);
    assert_eq!(bench.receive_tcp(FIN | ACK), Ok(()));
    assert_eq!(bench.receive_tcp(SYN), REFUSED);
}

//= API-77: idle times of RFC 6092: UDP five minutes, TCP two hours and four minutes
#[test]
fn flows_are_forgotten_when_idle() {
    let mut bench = Bench::new("");
    bench.send(REMOTE, 17, &udp_bytes([5000, 53]));
    for _ in 0..3 {
        bench.wait(IDLE_MAX);
        assert_eq!(bench.receive_udp(REMOTE, [53, 5000]), Ok(()), "it refreshes itself");
    }
    bench.wait(IDLE_MAX + 2 * RECENCY_GRAIN);
    assert_eq!(bench.receive_udp(REMOTE, [53, 5000]), REFUSED);

    bench.connect();
    bench.wait(ESTABLISHED_IDLE_MAX);
    assert_eq!(bench.receive_tcp(ACK), Ok(()));
    bench.wait(ESTABLISHED_IDLE_MAX + 2 * RECENCY_GRAIN);
    assert_eq!(bench.receive_tcp(ACK), REFUSED);

    bench.send_tcp(SYN);
    bench.wait(Duration::from_mins(4));
    assert_eq!(bench.receive_tcp(SYN | ACK), Ok(()));
    bench.wait(IDLE_MAX + 2 * RECENCY_GRAIN);
    assert_eq!(bench.receive_tcp(SYN | ACK), REFUSED, "never established");

    bench.connect();
    bench.receive_tcp(RST | ACK).unwrap();
    bench.wait(IDLE_MAX + 2 * RECENCY_GRAIN);
    assert_eq!(bench.receive_tcp(ACK), REFUSED, "reset");
}

//= API-77: whoever forges a reset without the numbers of a connection does not have it forgotten
#[test]
fn a_reset_with_other_numbers_leaves_a_connection_its_time() {
    let reset = |number| numbered_tcp_bytes([80, 5000], [number, 0], RST);
    for (number, is_kept) in [(7_000, false), (7_001, false), (6_999, true), (900_000, true)] {
        let mut bench = Bench::new("");
        bench.connect();
        bench.send(REMOTE, 6, &numbered_tcp_bytes([5000, 80], [1, 7_000], ACK));
        assert_eq!(bench.receive(REMOTE, 6, &reset(number)), Ok(()), "the stack is to judge");
        bench.wait(IDLE_MAX + 2 * RECENCY_GRAIN);
        assert_eq!(bench.receive_tcp(ACK).is_ok(), is_kept, "{number}");
    }
}

//= API-77: who was asked once cannot keep the way to a port open until somebody listens there
#[test]
fn only_our_side_keeps_a_connection_that_is_not_established() {
    for (established, flags) in [(false, SYN), (false, SYN | ACK), (true, ACK), (true, RST)] {
        let mut bench = Bench::new("");
        bench.send_tcp(SYN);
        if established {
            bench.connect();
            bench.send_tcp(RST);
        }
        for _ in 0..2 {
            bench.wait(IDLE_MAX / 2);
            assert_eq!(bench.receive_tcp(flags), Ok(()));
        }
        bench.wait(2 * RECENCY_GRAIN);
        assert_eq!(bench.receive_tcp(flags), REFUSED, "{flags}");
    }
}

//= API-77: errors come in with a packet of a flow in them, from whomever
#[test]
fn errors_about_our_packets_come_in() {
    let mut bench = Bench::new("");
    let udp = packet(OWN, REMOTE, 17, &udp_bytes([5000, 53]));
    let tcp = packet(OWN, REMOTE, 6, &tcp_bytes([5000, 80], ACK));
    let echo = packet(OWN, REMOTE, 58, &echo_bytes(ECHO_REQUEST, 7));
    for quoted in [&udp, &tcp, &echo] {
        assert_eq!(bench.receive_error(PACKET_TOO_BIG, quoted), NOT_OURS);
    }
    bench.send(REMOTE, 17, &udp_bytes([5000, 53]));
    bench.connect();
    bench.send(REMOTE, 58, &echo_bytes(ECHO_REQUEST, 7));
    for quoted in [&udp, &tcp, &echo] {
        for kind in 1..=4 {
            assert_eq!(bench.receive_error(kind, quoted), Ok(()));
            // Eight bytes of the upper layer are enough, fewer than the ports are not.
            assert_eq!(bench.receive_error(kind, &quoted[..48]), Ok(()));
            assert_eq!(bench.receive_error(kind, &quoted[..43]), NOT_OURS);
        }
        for kind in [0, 5, 100, 127] {
            assert_eq!(bench.receive_error(kind, quoted), NOT_OURS);
        }
        // As if they had come to us.
        let turned = [&quoted[..8], &quoted[24..40], &quoted[8..24], &quoted[40..]].concat();
        assert_eq!(bench.receive_error(1, &turned), NOT_OURS);
    }
    let foreign = packet(OTHER, REMOTE, 17, &udp_bytes([5000, 53]));
    assert_eq!(bench.receive_error(1, &foreign), NOT_OURS);
    assert_eq!(bench.receive_error(1, &[]), NOT_OURS);
    // An error neither ends a connection nor keeps it.
    assert_eq!(bench.receive_tcp(ACK), Ok(()));
    bench.wait(IDLE_MAX);
    assert_eq!(bench.receive_error(1, &udp), Ok(()));
    bench.wait(2 * RECENCY_GRAIN);
    assert_eq!(bench.receive_error(1, &udp), NOT_OURS);
}

//= API-77: errors about answers of ours to what the policy lets in
#[test]
fn errors_about_our_answers_come_in() {
    let mut bench = Bench::new("tcp/22 echo");
    let answer = packet(OWN, REMOTE, 6, &tcp_bytes([22, 5000], ACK));
    let echo = packet(OWN, REMOTE, 58, &echo_bytes(ECHO_REPLY, 7));
    for quoted in [&answer, &echo] {
        assert_eq!(bench.receive_error(PACKET_TOO_BIG, quoted), Ok(()));
    }
    bench.guard.set_policy(Policy::default());
    for quoted in [&answer, &echo] {
        assert_eq!(bench.receive_error(PACKET_TOO_BIG, quoted), NOT_OURS);
    }
}

/// A fragment of a packet with this identification.
fn fragment(protocol: u8, place: u16, identification: u8, rest: &[u8]) -> Vec<u8> {
    let [high, low] = place.to_be_bytes();
    [&[protocol, 0, high, low, 0, 0, 0, identification], rest].concat()
}

//= API-77: the first fragment decides for those after it, for a minute
#[test]
fn later_fragments_follow_the_first() {
    let mut bench = Bench::new("");
    let first = |id| fragment(17, 1, id, &udp_bytes([53, 5000]));
    let later = |id| fragment(17, 8, id, &[0; 8]);
    assert_eq!(bench.receive(REMOTE, 44, &first(1)), REFUSED);
    assert_eq!(bench.receive(REMOTE, 44, &later(1)), NO_FIRST);
    bench.send(REMOTE, 17, &udp_bytes([5000, 53]));
    assert_eq!(bench.receive(REMOTE, 44, &later(1)), NO_FIRST);
    assert_eq!(bench.receive(REMOTE, 44, &first(1)), Ok(()));
    for _ in 0..3 {
        assert_eq!(bench.receive(REMOTE, 44, &later(1)), Ok(()));
    }
    assert_eq!(bench.receive(REMOTE, 44, &later(2)), NO_FIRST);
    assert_eq!(bench.receive(OTHER, 44, &later(1)), NO_FIRST);
    bench.wait(Duration::from_mins(1));
    assert_eq!(bench.receive(REMOTE, 44, &later(1)), NO_FIRST);
    // Ports in the second fragment are no ports (RFC 7112).
    assert_eq!(bench.receive(REMOTE, 44, &fragment(17, 1, 3, &[])), REFUSED);
    // A packet in one part is no fragment.
    assert_eq!(bench.receive(REMOTE, 44, &fragment(17, 0, 4, &udp_bytes([53, 5000]))), Ok(()));
    assert_eq!(bench.receive(REMOTE, 44, &later(4)), NO_FIRST);
    // Nor is a packet a part of two (RFC 8200 section 4.1).
    for place in [0, 1] {
        let nested = fragment(44, place, 5, &fragment(17, 1, 6, &udp_bytes([53, 5000])));
        assert_eq!(bench.receive(REMOTE, 44, &nested), Err(DropReason::ExtensionHeaders));
        assert_eq!(bench.receive(REMOTE, 44, &later(6)), NO_FIRST);
    }
    // Nor is our own later fragment a packet that opens anything.
    bench.send(REMOTE, 44, &fragment(17, 8, 9, &udp_bytes([6000, 53])));
    assert_eq!(bench.receive_udp(REMOTE, [53, 6000]), REFUSED);
}

//= API-77: what is allowed comes in, and leaves no trace
#[test]
fn allowed_packets_make_no_flow() {
    let mut bench = Bench::new("tcp/22 udp/5000-5009@2001:db8:6::2 echo");
    for port in 1..2000 {
        assert_eq!(bench.receive(OTHER, 6, &tcp_bytes([port, 22], SYN)), Ok(()));
        bench.send(OTHER, 6, &tcp_bytes([22, port], SYN | ACK));
        assert_eq!(bench.receive_udp(REMOTE, [port, 5003]), Ok(()));
        bench.send(REMOTE, 17, &udp_bytes([5003, port]));
        assert_eq!(bench.receive(OTHER, 58, &echo_bytes(ECHO_REQUEST, port)), Ok(()));
        bench.send(OTHER, 58, &echo_bytes(ECHO_REPLY, port));
    }
    assert_eq!(bench.guard.flows.len(), 0);
    assert_eq!(bench.receive_udp(OTHER, [1, 5003]), REFUSED);
    assert_eq!(bench.receive(OTHER, 6, &tcp_bytes([1, 23], SYN)), REFUSED);
}

//= API-77: a scan of all ports finds exactly what is allowed
#[test]
fn a_scan_of_all_ports_finds_what_is_allowed() {
    let mut bench = Bench::new("tcp/22 tcp/8000-8010 udp/6881");
    bench.connect();
    bench.send(REMOTE, 17, &udp_bytes([5000, 53]));
    let (mut tcp, mut udp) = (Vec::new(), Vec::new());
    for port in 0..=u16::MAX {
        let open = bench.receive(OTHER, 6, &tcp_bytes([80, port], SYN));
        tcp.extend(open.ok().map(|()| port));
        udp.extend(bench.receive_udp(OTHER, [53, port]).ok().map(|()| port));
    }
    assert_eq!(tcp, [22].into_iter().chain(8000..=8010).collect::<Vec<_>>());
    assert_eq!(udp, [6881]);
}

//= API-77: a rule that goes takes along what was opened from outside, and nothing else
#[test]
fn a_policy_change_ends_what_the_rule_let_in() {
    let mut bench = Bench::new("tcp");
    bench.connect();
    let theirs = |flags| tcp_bytes([9000, 22], flags);
    bench.receive(REMOTE, 6, &theirs(SYN)).unwrap();
    bench.send(REMOTE, 6, &tcp_bytes([22, 9000], SYN | ACK));
    bench.receive(REMOTE, 6, &theirs(ACK)).unwrap();
    for rules in ["tcp udp", "udp tcp/22"] {
        bench.guard.set_policy(policy(rules));
        assert_eq!(bench.receive(REMOTE, 6, &theirs(ACK)), Ok(()));
        assert_eq!(bench.receive_tcp(ACK), Ok(()));
    }
    bench.guard.set_policy(policy("udp"));
    assert_eq!(bench.receive(REMOTE, 6, &theirs(ACK)), REFUSED);
    // Our stack repeats itself, which does not open the connection again.
    bench.send(REMOTE, 6, &tcp_bytes([22, 9000], ACK));
    assert_eq!(bench.receive(REMOTE, 6, &theirs(ACK)), REFUSED);
    assert_eq!(bench.receive_tcp(ACK), Ok(()));
}

//= API-77: a packet that is only looked at, as a forged one is, changes nothing
#[test]
fn looking_at_a_packet_changes_nothing() {
    let mut bench = Bench::new("");
    bench.connect();
    let before = format!("{:?}", bench.guard);
    for flags in [RST, FIN | ACK, SYN, ACK] {
        let bytes = packet(REMOTE, OWN, 6, &tcp_bytes([80, 5000], flags));
        let (ipv6, _) = Ipv6::parse(&bytes).unwrap();
        let _ = bench.guard.check(at(60), &ipv6, &upper_layer(&ipv6).unwrap());
    }
    assert_eq!(format!("{:?}", bench.guard), before);
}

fn flow(number: u32) -> Flow {
    let remote = Ipv6Addr::from_bits(REMOTE.to_bits() + u128::from(number));
    Flow { own: OWN, remote, protocol: next_header::UDP, ports: [1, 1] }
}

//= SEC-04: a scan from inside displaces itself, not a flow in use
#[test]
fn a_scan_displaces_itself() {
    let mut table = FlowTable::new(64, SEED);
    for (number, stage) in [(u32::MAX, Stage::Established), (u32::MAX - 1, Stage::Answered)] {
        let id = table.open(at(0), flow(number)).unwrap();
        table.note_use(at(0), id, stage);
    }
    for number in 0..100_000 {
        let now = at(u64::from(number) / 1000);
        let id = table.open(now, flow(number)).unwrap();
        assert_eq!(table.stage(id), Stage::Tentative);
        assert!(table.len() <= 64);
    }
    let (start, end) = (at(0), at(100));
    assert!(table.find(end, &flow(u32::MAX)).is_some());
    assert!(table.find(end, &flow(u32::MAX - 1)).is_some());
    assert!(table.find(end, &flow(99_999)).is_some() && table.find(start, &flow(0)).is_none());
}

#[test]
fn a_table_full_of_answered_flows_gives_up_only_idle_ones() {
    let mut table = FlowTable::new(2, SEED);
    for number in 0..2 {
        let id = table.open(at(0), flow(number)).unwrap();
        table.note_use(at(0), id, Stage::Answered);
    }
    assert_eq!(table.open(at(ANSWERED_MIN.as_secs() - 1), flow(2)), Err(TableFull));
    assert!(table.open(at(ANSWERED_MIN.as_secs()), flow(2)).is_ok());
    assert!(table.find(at(120), &flow(0)).is_none() && table.find(at(120), &flow(1)).is_some());
}

#[test]
fn a_table_full_of_connections_refuses_another() {
    let mut table = FlowTable::new(2, SEED);
    for number in 0..2 {
        let id = table.open(at(0), flow(number)).unwrap();
        table.note_use(at(0), id, Stage::Established);
    }
    assert_eq!(table.open(at(7_000), flow(2)), Err(TableFull));
    assert!(table.open(at(ESTABLISHED_IDLE_MAX.as_secs() + 1), flow(2)).is_ok());
}

//= API-77: the packet of ours that finds no room is refused, and says why
#[test]
fn one_flow_too_many_is_refused() {
    let mut bench = Bench::new("");
    for port in 0..FLOWS_MAX {
        let remote = Ipv6Addr::from_bits(OTHER.to_bits() + (port as u128 >> 15));
        let ports = [(port & 0x7fff) as u16, 80];
        for flags in [SYN, ACK] {
            bench.send(remote, 6, &tcp_bytes(ports, flags));
        }
    }
    let bytes = packet(OWN, REMOTE, 6, &tcp_bytes([1, 80], SYN));
    let refused = bench.guard.note_sent(bench.now, &Ipv6::parse(&bytes).unwrap().0);
    assert_eq!(refused, Err(DropReason::FlowLimit));
    bench.send(OTHER, 6, &tcp_bytes([1, 80], ACK));
}

#[test]
fn expired_flows_are_swept_up_as_others_are_opened() {
    let mut table = FlowTable::new(10_000, SEED);
    for number in 0..1_000 {
        table.open(at(0), flow(number)).unwrap();
    }
    for number in 1_000..2_000 {
        table.open(at(400), flow(number)).unwrap();
    }
    assert_eq!(table.len(), 1_000);
    // One that expired and was not swept up yet begins anew.
    let id = table.open(at(0), flow(9_999)).unwrap();
    table.connection_mut(id).note_sent(Segment { flags: Flags::new(ACK), ..Segment::default() });
    table.note_use(at(0), id, Stage::Established);
    let again = table.open(at(20_000), flow(9_999)).unwrap();
    assert!(!table.connection(again).is_established());
    assert_eq!((again, table.stage(again)), (id, Stage::Tentative));
}

#[test]
fn any_bytes_are_judged_without_panic() {
    let mut random = crate::random::Random::new(SEED);
    let mut bench = Bench::new("tcp/22 udp/53 echo 50");
    for _ in 0..100_000 {
        let protocol = [6, 17, 58, 44, 0, 60, 50, 59][random.below(8) as usize];
        let bytes = random.bytes::<72>();
        let payload = &bytes[..random.below(73) as usize];
        if random.below(2) == 0 {
            bench.send(REMOTE, protocol, payload);
        } else {
            let _ = bench.receive(REMOTE, protocol, payload);
        }
    }
}
