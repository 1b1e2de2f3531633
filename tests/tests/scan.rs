//! Every port of a client, tried from the native IPv6 Internet: only what was allowed is reached.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Uid;
use rustix::thread::set_thread_uid;
use teredo_sys::epoll::{Events, Interest, Poller};
use teredo_sys::tun::Tun;
use teredo_tests::internet::{HOST, Internet, Nat, SECONDARY, SERVER};
use teredo_tests::namespace::run;
use teredo_tests::process::Process;
use teredo_tests::roles::{Maker, ours, relay, server, teredo_address};
use teredo_tests::{needs, program};
use teredo_wire::ipv6::{Header, Ipv6, next_header};
use teredo_wire::{Writer, checksum};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an answer takes at the most, where none is lost.
const ANSWER: Duration = Duration::from_millis(500);
/// Ports tried, by two packets each, before an answer shows that all have arrived: fewer packets
/// than any queue on the way holds.
const BATCH: usize = 96;
/// Where the scanner is, behind the native host.
const SCANNER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 6, 9, 0, 0, 0, 2);
const SCANNER_PORT: u16 = 40_000;
/// User 0's listeners: many more than allowed.
const LISTENING: std::ops::Range<u16> = 8_000..8_200;
/// Of another user, for whom there is a rule.
const OTHERS: [u16; 2] = [9_000, 61_000];
const OTHER_USER: u32 = 65_534;

/// The client's programs. Those of UDP keep what has come.
struct Listeners {
    _tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
}

impl Listeners {
    fn start(internet: &Internet) -> Result<Self> {
        let bind = |ports: &[u16]| -> Result<Self> {
            let at = |port: &u16| (Ipv6Addr::UNSPECIFIED, *port);
            let tcp: std::io::Result<_> =
                ports.iter().map(|it| TcpListener::bind(at(it))).collect();
            let udp: std::io::Result<_> = ports.iter().map(|it| UdpSocket::bind(at(it))).collect();
            Ok(Self { _tcp: tcp?, udp: udp? })
        };
        let ports: Vec<u16> = [22, 53].into_iter().chain(LISTENING).collect();
        let client = &internet.clients[0];
        let mut all = client.enter(|| bind(&ports))??;
        let others = client.enter(|| {
            // Of this thread alone.
            set_thread_uid(Uid::from_raw(OTHER_USER))?;
            bind(&OTHERS)
        })??;
        all._tcp.extend(others._tcp);
        all.udp.extend(others.udp);
        for socket in &all.udp {
            socket.set_nonblocking(true)?;
        }
        Ok(all)
    }

    /// The ports of UDP to which something has come since the last call.
    fn reached(&self) -> Result<BTreeSet<u16>> {
        let mut ports = BTreeSet::new();
        for socket in &self.udp {
            while socket.recv_from(&mut [0; 64]).is_ok() {
                ports.insert(socket.local_addr()?.port());
            }
        }
        Ok(ports)
    }
}

/// Ports that have given a sign of life.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Connections would come about.
    tcp_open: BTreeSet<u16>,
    /// Nobody listens, but the packet has come through.
    tcp_closed: BTreeSet<u16>,
    udp_closed: BTreeSet<u16>,
}

/// A host of its own in the native Internet, made of packets.
struct Scanner {
    tun: Tun,
    poller: Poller,
    client: Ipv6Addr,
    found: Found,
    sequence: u16,
    answered: u16,
}

impl Scanner {
    fn start(internet: &Internet, client: Ipv6Addr) -> Result<Self> {
        let host = &internet.host;
        let tun = host.enter(|| Tun::create("scan"))??;
        host.ip("link set scan up\nroute add 2001:db8:6:9::/64 dev scan")?;
        internet.relay.ip(&format!("route add 2001:db8:6:9::/64 via {HOST}"))?;
        let poller = Poller::new()?;
        poller.add(&tun, 0, Interest::Read)?;
        let found = Found::default();
        Ok(Self { tun, poller, client, found, sequence: 0, answered: 0 })
    }

    /// Tries every port, of TCP and of UDP.
    fn scan(&mut self) -> Result<Found> {
        self.settle()?;
        let ports: Vec<u16> = (1..=u16::MAX).collect();
        for batch in ports.chunks(BATCH) {
            for port in batch {
                self.send(next_header::TCP, &mut syn(*port), 16)?;
                self.send(next_header::UDP, &mut datagram(*port), 6)?;
            }
            self.settle()?;
        }
        Ok(std::mem::take(&mut self.found))
    }

    /// Waits until everything sent has arrived: an echo behind it comes back.
    fn settle(&mut self) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let start = Instant::now();
        while self.answered != self.sequence {
            ensure!(start.elapsed() < PATIENCE, "{} does not answer pings", self.client);
            let [high, low] = self.sequence.to_be_bytes();
            let mut request = [ECHO_REQUEST, 0, 0, 0, 0, 7, high, low];
            self.send(next_header::ICMPV6, &mut request, 2)?;
            let asked = Instant::now();
            while self.answered != self.sequence && asked.elapsed() < ANSWER {
                let mut events = Events::with_capacity(1);
                self.poller.wait(&mut events, Some(ANSWER))?;
                self.receive()?;
            }
        }
        Ok(())
    }

    fn send(&self, protocol: u8, payload: &mut [u8], checksum_at: usize) -> Result<()> {
        let sum = checksum::ipv6(SCANNER, self.client, protocol, payload);
        payload[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
        let mut buffer = [0; 128];
        let mut writer = Writer::new(&mut buffer);
        let header = Header {
            payload_len: u16::try_from(payload.len())?,
            next_header: protocol,
            hop_limit: 64,
            source: SCANNER,
            destination: self.client,
        };
        let is_written = header.write(&mut writer).and_then(|()| writer.put(payload));
        ensure!(is_written.is_ok(), "a packet does not fit");
        Ok(self.tun.send(writer.written())?)
    }

    fn receive(&mut self) -> Result<()> {
        let mut buffer = [0; 2_048];
        while let Ok(len) = self.tun.recv(&mut buffer) {
            let Ok((packet, _)) = Ipv6::parse(&buffer[..len]) else { continue };
            if packet.source() != self.client || packet.destination() != SCANNER {
                continue;
            }
            let payload = packet.payload();
            match (packet.next_header(), payload) {
                (next_header::TCP, [high, low, rest @ ..]) if rest.len() >= 18 => {
                    let port = u16::from_be_bytes([*high, *low]);
                    let is_reset = rest[11] & 4 != 0;
                    let found = &mut self.found;
                    let ports = if is_reset { &mut found.tcp_closed } else { &mut found.tcp_open };
                    ports.insert(port);
                }
                (next_header::ICMPV6, [ECHO_REPLY, _, _, _, _, _, high, low, ..]) => {
                    self.answered = u16::from_be_bytes([*high, *low]);
                }
                // The client's test whether we are where we say.
                (next_header::ICMPV6, [ECHO_REQUEST, ..]) => {
                    let mut reply = payload.to_vec();
                    reply[0] = ECHO_REPLY;
                    reply[2..4].fill(0);
                    self.send(next_header::ICMPV6, &mut reply, 2)?;
                }
                (next_header::ICMPV6, [UNREACHABLE, ..]) => {
                    let quoted = payload.get(8 + 40 + 2..).and_then(|rest| rest.first_chunk());
                    let port = quoted.context("an error about nothing")?;
                    self.found.udp_closed.insert(u16::from_be_bytes(*port));
                }
                (protocol, _) => bail!("protocol {protocol} from the client: {payload:?}"),
            }
        }
        Ok(())
    }
}

fn syn(port: u16) -> [u8; 20] {
    let mut segment = [0; 20];
    segment[..2].copy_from_slice(&SCANNER_PORT.to_be_bytes());
    segment[2..4].copy_from_slice(&port.to_be_bytes());
    // Five words of header, SYN, a window.
    segment[12..15].copy_from_slice(&[5 << 4, 2, 0xff]);
    segment
}

fn datagram(port: u16) -> [u8; 12] {
    let mut datagram = *b"\0\0\0\0\0\x0c\0\0scan";
    datagram[..2].copy_from_slice(&SCANNER_PORT.to_be_bytes());
    datagram[2..4].copy_from_slice(&port.to_be_bytes());
    datagram
}

const UNREACHABLE: u8 = 1;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;

/// A client that lets in some of what there is, and some that there is not.
fn client(internet: &Internet, program: &Path) -> Result<Process> {
    let mut command = ours(internet, &internet.clients[0], &program.to_owned(), "client");
    let (server, secondary) = (SERVER.to_string(), SECONDARY.to_string());
    command.args(["--server", &server, "--secondary", &secondary, "--interface", "teredo"]);
    for rule in ["echo", "tcp/22", "tcp/8000-8003", "udp/53", "udp/7000", "user:65534"] {
        command.args(["--allow", rule]);
    }
    let mut process = Process::start("client", internet.directory(), &mut command)?;
    process.wait_until(PATIENCE, |it| it.stdout().contains("\"state\":\"qualified\""))?;
    Ok(process)
}

fn ports(list: &[u16]) -> BTreeSet<u16> {
    list.iter().copied().collect()
}

//= API-77, SEC-11, T-17: all ports from outside: what was allowed is found and nothing else
#[test]
fn a_scan_finds_what_was_allowed_and_nothing_else() -> Result<()> {
    if needs::skip_for(needs::missing(&[])) {
        return Ok(());
    }
    let internet = Internet::new([Nat::PortRestricted, Nat::PortRestricted])?;
    let host = &internet.clients[0];
    // Each of the answers that betray a port counts.
    host.sysctl("net/ipv6/icmp/ratelimit", "0")?;
    let program = program::debug()?;
    let maker = Maker::Ours(program.clone());
    let (_server, _relay) = (server(&internet, &maker)?, relay(&internet, &maker)?);
    let listeners = Listeners::start(&internet)?;
    let mut client = client(&internet, &program)?;
    let address = teredo_address(host).context("no address")?;
    let mut scanner = Scanner::start(&internet, address)?;
    let runtime = internet.directory().join(host.name());
    let teredo = |words: &[&str]| {
        let mut command = host.command(&program);
        command.env("TEREDO_RUNTIME_DIR", &runtime).args(words);
        command
    };

    let mut tcp = ports(&[22, 8_000, 8_001, 8_002, 8_003, 9_000, 61_000]);
    let mut udp = ports(&[53, 9_000, 61_000]);
    let mut check = |what: &str, tcp: &BTreeSet<u16>, udp: &BTreeSet<u16>| -> Result<()> {
        let start = Instant::now();
        let found = scanner.scan()?;
        println!("{what}: {:?}", start.elapsed());
        ensure!(found.tcp_open == *tcp, "{what}: TCP {:?}", found.tcp_open);
        ensure!(found.tcp_closed.is_empty(), "{what}: TCP {:?}", found.tcp_closed);
        ensure!(found.udp_closed == ports(&[7_000]), "{what}: UDP {:?}", found.udp_closed);
        ensure!(listeners.reached()? == *udp, "{what}: UDP");
        Ok(())
    };
    check("without a firewall", &tcp, &udp)?;

    let mut agent =
        Process::start("firewall", internet.directory(), &mut teredo(&["firewall", "--json"]))?;
    agent.wait_until(PATIENCE, |agent| agent.stdout().contains("\"ready\""))?;
    let tables = || run(host.command("nft").args(["list", "tables"]));
    ensure!(tables()?.contains("inet teredo"), "{}", tables()?);
    run(&mut teredo(&["allow", "add", "tcp/8100", "udp/8100"]))?;
    run(&mut teredo(&["allow", "remove", "tcp/8100"]))?;
    udp.insert(8_100);
    check("with its table", &tcp, &udp)?;

    agent.kill()?;
    host.nft("flush ruleset")?;
    ensure!(tables()?.is_empty(), "{}", tables()?);
    run(&mut teredo(&["allow", "add", "tcp/8199"]))?;
    tcp.insert(8_199);
    check("flushed", &tcp, &udp)?;

    client.stop()?;
    // That the rest was not merely lost on the way.
    let said = client.stderr();
    let refused = said
        .split("unsolicited ")
        .nth(1)
        .and_then(|rest| rest.split(|it: char| !it.is_ascii_digit()).next()?.parse::<u32>().ok());
    let sent = 3 * 2 * u32::from(u16::MAX);
    ensure!(refused.context(said)? >= sent - sent / 100, "{refused:?} of {sent}");
    Ok(())
}
