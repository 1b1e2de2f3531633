//! The Internet with the roles to be flooded, and one flood.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use teredo_proto::{client, relay, server};
use teredo_tests::internet::{HOST, Internet, Nat, RELAY, SECONDARY, SERVER, SOURCES};
use teredo_tests::namespace::Namespace;
use teredo_tests::process::Process;
use teredo_tests::roles::{self, Maker, Running};
use teredo_tests::{program, traffic};

use super::load::{Flow, Usage, example, number};
use super::{
    BEHIND_NAT, Honest, Measured, PEERS_MAX, PROGRAM_BYTES, QUALIFYING, SHARE_OF_CAPACITY,
};
use crate::bench::measure::{Cpu, pin};

/// A client without a NAT before it, so that the flood reaches it.
const VICTIM: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 60);
const VICTIM_PORT: u16 = 3546;
const RELAY_PORT: u16 = 3545;
/// Honest addresses, beyond those of the flood.
const QUALIFYING_AT: Ipv4Addr = Ipv4Addr::new(100, 100, 0, 1);
const BEHIND_NAT_AT: Ipv4Addr = Ipv4Addr::new(100, 110, 0, 1);
/// Addresses of a flood, and of as much honest load at a server.
const BAD_SOURCES: u32 = 1 << 21;
const GOOD_SOURCES: u32 = 1 << 12;
/// Packets of a scan: half as many new clients again as a relay seeks, and a full queue for each.
const SCANNED_PER_S: u32 = 12_000;
/// By how much two measurements of the same thing may differ: at a server bad and good packets are
/// the same but for where they come from.
const NOISE: f64 = 0.1;
/// Time in which the clients behind the NAT qualify before the flood.
const NAT_STARTS_S: u32 = 8;
/// How long capacities and the flow alone are measured.
const CALM_S: u32 = 4;
/// Roles are ready well before this.
const START_MAX: Duration = Duration::from_secs(15);

/// Whom to flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Server,
    Relay,
    Client,
}

impl Target {
    pub(crate) const ALL: [Self; 3] = [Self::Server, Self::Relay, Self::Client];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Relay => "relay",
            Self::Client => "client",
        }
    }
}

/// All roles, running. Fields are dropped in order: roles first.
pub(crate) struct Ground {
    victim_role: Running,
    _client: Running,
    _relay: Process,
    _server: Running,
    victim: Namespace,
    crowd: Namespace,
    internet: Internet,
    storm: PathBuf,
    scan: PathBuf,
    honest: PathBuf,
}

impl Ground {
    /// Builds it; both clients are qualified on return.
    pub(crate) fn new() -> Result<Self> {
        let ours = program::release()?;
        let (storm, scan, honest) = (example("storm")?, example("scan")?, example("honest")?);
        let internet = Internet::new([Nat::PortRestricted; 2])?;
        let crowd = internet.crowd()?;
        let victim = internet.host_at("victim", VICTIM)?;
        for host in [&internet.relay, &victim] {
            Internet::lead_to_crowd(host)?;
        }
        let maker = Maker::Ours(ours.clone());
        let server = roles::server(&internet, &maker)?;
        let mut command = roles::ours(&internet, &internet.relay, &ours, "relay");
        command.args(["--address", &RELAY.to_string(), "--allow-ipv4", SOURCES]);
        command.args(["--peers-max", &PEERS_MAX.to_string()]);
        let mut relay = Process::start("relay", internet.directory(), &mut command)?;
        relay.wait_until(START_MAX, |it| it.stdout().contains("\"ready\""))?;
        let client = roles::client(&internet, 1, &maker)?;
        let victim_role = victim_role(&internet, &victim, &ours)?;
        Ok(Self {
            victim_role,
            _client: client,
            _relay: relay,
            _server: server,
            victim,
            crowd,
            internet,
            storm,
            scan,
            honest,
        })
    }

    /// Measures a role at rest, floods it, and measures it again.
    pub(crate) fn flood(&self, target: Target, seconds: u32) -> Result<Measured> {
        let host = self.host(target);
        pin(&roles::pids(host), Cpu::First)?;
        let flow = self.flow(target);
        traffic::ping(flow.from, HOST)?;
        let most_mbits = flow.mbits(None, CALM_S)?;
        // A quarter of what goes at all: flood and flow together fit, but not twice.
        let paced = Some(most_mbits / 4.0);
        let before = Usage::of(host)?;
        let flow_alone_mbits = flow.mbits(paced, CALM_S)?;
        let calm = Usage::of(host)?.since(&before);
        let capacity = self.storm_to_its_end(target, BAD_SOURCES)?;
        let capacity_per_s = capacity.datagrams / f64::from(CALM_S);
        let good_ns = match target {
            // It knows nobody, so that good is who comes from few addresses.
            Target::Server => {
                let good = self.storm_to_its_end(target, GOOD_SOURCES)?;
                good.cpu_ns_per_datagram() * (1.0 + NOISE)
            }
            Target::Relay | Target::Client => calm.cpu_ns_per_datagram(),
        };

        let behind_nat = self.behind_nat(target, seconds)?;
        let rate = (capacity_per_s * SHARE_OF_CAPACITY) as u64;
        let before = Usage::of(host)?;
        let mut storm = self.storm(target, rate, seconds, BAD_SOURCES)?;
        let scan = self.scan(target, seconds)?;
        let qualifying = self.qualifying(target, seconds)?;
        let flow_mbits = flow.mbits(paced, seconds.saturating_sub(1))?;
        let sent_per_s = number(&mut storm, "sent_per_s", seconds)?;
        let taken = Usage::of(host)?.since(&before);
        drop(scan);
        Ok(Measured {
            capacity_per_s,
            sent_per_s,
            taken_per_s: taken.datagrams / f64::from(seconds),
            bad_ns: capacity.cpu_ns_per_datagram(),
            good_ns,
            memory_bytes: Usage::of(host)?.memory_bytes,
            memory_bytes_max: memory_max(target) as f64,
            flow_alone_mbits,
            flow_mbits,
            honest: behind_nat.zip(qualifying).map(became_of).transpose()?,
        })
    }

    fn host(&self, target: Target) -> &Namespace {
        match target {
            Target::Server => &self.internet.server,
            Target::Relay => &self.internet.relay,
            Target::Client => &self.victim,
        }
    }

    /// A flow whose data comes to the role as datagrams, if it passes the role.
    fn flow(&self, target: Target) -> Flow<'_> {
        let to = &self.internet.host;
        match target {
            Target::Server | Target::Relay => {
                Flow { from: &self.internet.clients[0], to, reverse: false }
            }
            Target::Client => Flow { from: &self.victim, to, reverse: true },
        }
    }

    fn storm(&self, target: Target, per_s: u64, seconds: u32, sources: u32) -> Result<Process> {
        let (to, kinds) = match target {
            Target::Server => (
                SocketAddrV4::new(SERVER, 3544),
                vec!["solicitation".to_owned(), "bubble".to_owned(), format!("echo={HOST}")],
            ),
            Target::Relay => (
                SocketAddrV4::new(RELAY, RELAY_PORT),
                vec![format!("bubble={HOST}"), format!("echo={HOST}")],
            ),
            Target::Client => {
                let address = self.victim_role.address()?;
                let kinds = vec![format!("bubble={address}"), format!("echo={address}")];
                (SocketAddrV4::new(VICTIM, VICTIM_PORT), kinds)
            }
        };
        let mut command = self.crowd.command(&self.storm);
        command.args([to.to_string(), per_s.to_string()]);
        command.args([seconds.to_string(), sources.to_string()]).args(kinds);
        let storm = Process::start("storm", self.internet.directory(), &mut command)?;
        pin(&[storm.id()], Cpu::Last)?;
        Ok(storm)
    }

    /// For a relay, a scan from the native side: only from there its table grows.
    fn scan(&self, target: Target, seconds: u32) -> Result<Option<Process>> {
        if target != Target::Relay {
            return Ok(None);
        }
        let mut command = self.internet.host.command(&self.scan);
        command.args([SCANNED_PER_S.to_string(), seconds.to_string()]);
        let scan = Process::start("scan", self.internet.directory(), &mut command)?;
        pin(&[scan.id()], Cpu::Last)?;
        Ok(Some(scan))
    }

    /// As large a flood as goes, by itself, and what the role made of it.
    fn storm_to_its_end(&self, target: Target, sources: u32) -> Result<Usage> {
        let host = self.host(target);
        let before = Usage::of(host)?;
        let mut storm = self.storm(target, 0, CALM_S, sources)?;
        number(&mut storm, "sent", CALM_S)?;
        Ok(Usage::of(host)?.since(&before))
    }

    /// The clients behind one NAT, which have qualified on return.
    fn behind_nat(&self, target: Target, seconds: u32) -> Result<Option<Process>> {
        if target != Target::Server {
            return Ok(None);
        }
        let length = 2 * NAT_STARTS_S + seconds;
        let clients = [1, BEHIND_NAT, NAT_STARTS_S, length];
        let process = self.honest("behind-nat", BEHIND_NAT_AT, clients)?;
        std::thread::sleep(Duration::from_secs((NAT_STARTS_S + 2).into()));
        Ok(Some(process))
    }

    fn qualifying(&self, target: Target, seconds: u32) -> Result<Option<Process>> {
        if target != Target::Server {
            return Ok(None);
        }
        let clients = [QUALIFYING, QUALIFYING, seconds / 2, seconds];
        self.honest("qualifying", QUALIFYING_AT, clients).map(Some)
    }

    fn honest(&self, name: &str, at: Ipv4Addr, numbers: [u32; 4]) -> Result<Process> {
        let mut command = self.crowd.command(&self.honest);
        command.arg(at.to_string()).args(numbers.map(|it| it.to_string()));
        Process::start(name, self.internet.directory(), &mut command)
    }
}

fn became_of((mut behind_nat, mut qualifying): (Process, Process)) -> Result<Honest> {
    let kept = number(&mut behind_nat, "qualified", NAT_STARTS_S)?;
    Ok(Honest {
        qualified_in_time: number(&mut qualifying, "in_time", NAT_STARTS_S)?,
        slowest_ms: number(&mut qualifying, "slowest_ms", NAT_STARTS_S)?,
        undisturbed: kept - number(&mut behind_nat, "lost", NAT_STARTS_S)?,
    })
}

fn victim_role(internet: &Internet, host: &Namespace, program: &PathBuf) -> Result<Running> {
    let mut command = roles::ours(internet, host, program, "client");
    command.args(["--server", &SERVER.to_string(), "--secondary", &SECONDARY.to_string()]);
    command.args(["--port", &VICTIM_PORT.to_string(), "--interface", "teredo"]);
    command.args(["--allow-ipv4", SOURCES, "--peers-max", &PEERS_MAX.to_string()]);
    let mut process = Process::start("victim", internet.directory(), &mut command)?;
    process.wait_until(START_MAX, |it| it.stdout().contains("\"state\":\"qualified\""))?;
    let address = roles::teredo_address(host).context("the victim has no address")?;
    Ok(Running { process, address: Some(address) })
}

/// What the documentation says that a program with this role takes at most.
fn memory_max(target: Target) -> usize {
    let of_role = match target {
        Target::Server => server::Config::new(SERVER, Some(SECONDARY)).memory_max(),
        Target::Relay => {
            let service = SocketAddrV4::new(RELAY, RELAY_PORT);
            let config = relay::Config::new(service, relay::Scope::internet(HOST));
            relay::Config { peers_max: PEERS_MAX, ..config }.memory_max()
        }
        Target::Client => {
            let config = client::Config::new(SERVER, Some(SECONDARY), VICTIM_PORT);
            client::Config { peers_max: PEERS_MAX, ..config }.memory_max()
        }
    };
    of_role + PROGRAM_BYTES
}
