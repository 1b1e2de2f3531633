//! A host whose own firewall drops whatever is not let through, the agent on it, and a neighbour.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use teredo_control::State;
use teredo_control::server::{Config, Server};
use teredo_control::testing::{TestDir, snapshot};

use crate::namespace::{Namespace, run};
use crate::process::Process;

/// The host's address.
pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The neighbour's.
pub const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Longer than anything here takes on a busy machine, unless it goes wrong.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a packet is waited for that should not arrive.
const SILENCE: Duration = Duration::from_millis(100);

/// The ground. Dropping it ends everything in it.
#[derive(Debug)]
pub struct Ground {
    /// The host with the firewall.
    pub host: Namespace,
    /// Its neighbour, without one.
    pub neighbour: Namespace,
    /// Where daemon and agent meet.
    pub runtime: TestDir,
}

impl Ground {
    /// Builds it. In both directions the host drops what is not let through by `rules`, which stand
    /// in its chains, or is ICMP or ARP.
    ///
    /// # Errors
    ///
    /// If `ip` or `nft` fails.
    pub fn new(rules: &str) -> Result<Self> {
        let (host, neighbour) = (Namespace::new("host")?, Namespace::new("near")?);
        let link = format!("link add eth0 type veth peer name eth0 netns {}", neighbour.name());
        host.ip(&link)?;
        for (namespace, address) in [(&host, HOST), (&neighbour, NEIGHBOUR)] {
            namespace.ip(&format!(
                "addr add {address}/24 dev eth0\nlink set eth0 up\nroute add 224.0.0.0/4 dev eth0"
            ))?;
        }
        let ground = Self { host, neighbour, runtime: TestDir::new()? };
        ground.load(rules)?;
        Ok(ground)
    }

    /// Loads the host's own ruleset as boot scripts do, after a `flush ruleset`.
    ///
    /// # Errors
    ///
    /// If `nft` fails.
    pub fn load(&self, rules: &str) -> Result<()> {
        let chain = |hook: &str| {
            format!(
                "chain {hook} {{ type filter hook {hook} priority filter; policy drop; \
                 ip protocol icmp accept\n{rules}\n}}\n"
            )
        };
        let (input, output) = (chain("input"), chain("output"));
        let set = "set teredo_port { type inet_service; flags timeout; }";
        self.host.nft(&format!("flush ruleset\ntable inet filter {{ {set}\n{input}{output}}}"))
    }

    /// Starts the agent and waits until it says that it is ready.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn agent(&self, program: &Path, options: &[&str]) -> Result<Process> {
        let mut command = self.host.command(program);
        command.args(["firewall", "--json"]).args(options);
        command.env("TEREDO_RUNTIME_DIR", self.runtime.runtime().path());
        let mut agent = Process::start("firewall", self.runtime.runtime().path(), &mut command)?;
        agent.wait_until(PATIENCE, |agent| agent.stdout().contains("\"ready\""))?;
        Ok(agent)
    }

    /// What is in a set, such as `inet teredo ports`.
    ///
    /// # Errors
    ///
    /// If there is no such set.
    pub fn elements(&self, set: &str) -> Result<Vec<u64>> {
        elements(&self.host, set)
    }

    /// Whether a datagram from one place to another arrives. `to` may be a group.
    ///
    /// # Errors
    ///
    /// If sockets cannot be made.
    pub fn arrives(&self, from: &Place<'_>, to: &Place<'_>) -> Result<bool> {
        let target = SocketAddrV4::new(to.address, to.port);
        let receiver = to.namespace.enter(|| to.socket())??;
        let sender = from.namespace.enter(|| from.socket())??;
        receiver.set_read_timeout(Some(SILENCE))?;
        // A chain of the sender's own that drops makes it fail.
        if sender.send_to(b"teredo", target).is_err() {
            return Ok(false);
        }
        Ok(receiver.recv_from(&mut [0; 64]).is_ok())
    }

    /// Whether the port is open to the neighbour in both directions.
    ///
    /// # Errors
    ///
    /// If sockets cannot be made, or one direction is open and the other is not.
    pub fn is_open(&self, port: u16) -> Result<bool> {
        let (here, there) = (self.at_host(port), self.at_neighbour(40_000));
        let (incoming, outgoing) = (self.arrives(&there, &here)?, self.arrives(&here, &there)?);
        ensure!(incoming == outgoing, "port {port}: in {incoming}, out {outgoing}");
        Ok(incoming)
    }

    /// A port of the host.
    pub fn at_host(&self, port: u16) -> Place<'_> {
        Place { namespace: &self.host, address: HOST, port }
    }

    /// A port of the neighbour.
    pub fn at_neighbour(&self, port: u16) -> Place<'_> {
        Place { namespace: &self.neighbour, address: NEIGHBOUR, port }
    }
}

/// What is in a set of a host's, such as `inet teredo ports`.
///
/// # Errors
///
/// If there is no such set.
pub fn elements(host: &Namespace, set: &str) -> Result<Vec<u64>> {
    let list = run(host.command("nft").args(["-j", "list", "set"]).args(set.split(' ')))?;
    let list: Value = serde_json::from_str(&list)?;
    let sets = list["nftables"].as_array().into_iter().flatten();
    let elements = sets.filter_map(|object| object.pointer("/set/elem")?.as_array()).flatten();
    let ports = elements.map(|it| it.pointer("/elem/val").unwrap_or(it).as_u64());
    ports.collect::<Option<_>>().context("not a set of ports")
}

/// Where datagrams come from or go to.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// On which host.
    pub namespace: &'a Namespace,
    /// Its address, or a group that it joins.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
}

impl Place<'_> {
    fn socket(&self) -> Result<UdpSocket> {
        let mut bound = UdpSocket::bind((self.address, self.port));
        for _ in 0..BIND_TRIES {
            // A process that another thread is just starting has the descriptor of the socket that
            // was here before, until it runs its program.
            if bound.as_ref().is_err_and(|error| error.kind() == ErrorKind::AddrInUse) {
                std::thread::sleep(Duration::from_millis(10));
                bound = UdpSocket::bind((self.address, self.port));
            }
        }
        let socket = bound?;
        if self.address.is_multicast() {
            let own = if self.namespace.name().ends_with("host") { HOST } else { NEIGHBOUR };
            socket.join_multicast_v4(&self.address, &own)?;
        }
        Ok(socket)
    }
}

const BIND_TRIES: usize = 100;

/// Waits until something is so.
///
/// # Errors
///
/// If it is not in time.
pub fn wait_for(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) -> Result<Duration> {
    let start = Instant::now();
    while !is_so() {
        ensure!(start.elapsed() < limit, "{what}: not after {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(start.elapsed())
}

/// What became of a client that changed its port all the time.
#[derive(Clone, Copy, Debug)]
pub struct Chase {
    /// How many different ports were in the set.
    pub seen: usize,
    /// The longest that a port stayed in the set after it was given up.
    pub stay_max: Duration,
    /// The longest transaction.
    pub run_max: Duration,
}

/// Changes the port every 10 ms and watches the set as the kernel tells of it.
///
/// # Errors
///
/// If the set does not end with the last port alone, or held one that was given up more than 100 ms
/// and one run of `nft` before. A run that takes longer than the 100 ms may have begun before the
/// port was given up, and is then waited for as well.
pub fn chase(program: &Path, changes: u16) -> Result<Chase> {
    let ground = Ground::new("")?;
    let first = snapshot(State::Qualified, FIRST_PORT);
    let directory = ground.runtime.runtime().clone();
    let start = || Server::start(&directory, Config::default(), first);
    let server = ground.host.enter(start)?.map_err(anyhow::Error::new)?;
    let mut agent = ground.agent(program, &[])?;
    let (mut monitor, changes_seen) = monitor(&ground.host)?;

    let mut given_up = vec![Instant::now(); usize::from(changes)];
    let begin = Instant::now();
    for (number, at) in (1..).zip(&mut given_up) {
        let due = begin + CHANGE_EVERY * u32::from(number);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        *at = Instant::now();
        server.publish(snapshot(State::Qualified, FIRST_PORT + number));
    }
    let last = FIRST_PORT + changes;
    wait_for("the last port", PATIENCE, || {
        ground.elements(PORTS).is_ok_and(|ports| ports == [u64::from(last)])
    })?;
    agent.stop()?;
    monitor.kill()?;
    monitor.wait()?;
    let run_max = run_max(&agent.stdout())?;
    let mut chase = Chase { seen: 0, stay_max: Duration::ZERO, run_max };
    for (at, change, port) in changes_seen {
        if change == "add" {
            chase.seen += 1;
            continue;
        }
        let index = usize::from(port.checked_sub(FIRST_PORT).context("a port of nobody's")?);
        // The last one goes with the agent.
        let Some(given_up) = given_up.get(index) else { continue };
        chase.stay_max = chase.stay_max.max(at.saturating_duration_since(*given_up));
    }
    let limit = run_max.max(STAY_MAX) + run_max;
    ensure!(chase.seen > 1, "the monitor of nft told nothing");
    if chase.stay_max > limit {
        bail!("a port that was given up stayed for {:?}, more than {limit:?}", chase.stay_max);
    }
    Ok(chase)
}

const FIRST_PORT: u16 = 20_000;
const CHANGE_EVERY: Duration = Duration::from_millis(10);
const STAY_MAX: Duration = Duration::from_millis(100);
const PORTS: &str = "inet teredo ports";

type Changes = Receiver<(Instant, String, u16)>;

/// Follows the set of ports: when a port was added or deleted.
fn monitor(host: &Namespace) -> Result<(std::process::Child, Changes)> {
    let mut command = host.command("nft");
    command.args(["monitor", "elements"]).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot run nft monitor")?;
    let stdout = child.stdout.take().context("no pipe from nft monitor")?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let at = Instant::now();
            let Some((change, rest)) = line.split_once(" element inet teredo ports { ") else {
                continue;
            };
            let port = rest.split(' ').next().and_then(|port| port.parse().ok());
            let Some(port) = port else { continue };
            if sender.send((at, change.to_owned(), port)).is_err() {
                return;
            }
        }
    });
    // It says nothing when it has begun; a change by ourselves shows it.
    std::thread::sleep(MONITOR_STARTS);
    Ok((child, receiver))
}

const MONITOR_STARTS: Duration = Duration::from_millis(300);

/// The longest transaction that the agent has told of.
fn run_max(facts: &str) -> Result<Duration> {
    let facts = facts.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let longest = facts.filter_map(|fact| fact["nft_ms"].as_f64()).max_by(f64::total_cmp);
    longest.map(|ms| Duration::from_secs_f64(ms / 1_000.0)).context("no transaction was told of")
}
