//! One side of the comparison: an Internet with all its roles, and how each quantity is measured.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::Value;
use teredo_tests::internet::{HOST, Internet, Nat, SERVER};
use teredo_tests::namespace::Namespace;
use teredo_tests::process::Process;
use teredo_tests::roles::{self, Maker, Running};
use teredo_tests::traffic;

use super::Quantity;

const IPERF_PORT: &str = "5301";
/// iperf3 listens well before this.
const LISTEN_MAX: Duration = Duration::from_secs(3);
/// In every namespace, whatever the kernel's default is.
const CONGESTION: &str = "cubic";

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// In the unit of the quantity.
    pub(crate) rate: f64,
    /// CPU time of the roles on the path, by byte or answer.
    pub(crate) cpu_ns: f64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}, CPU {:.1} ns", self.rate, self.cpu_ns)
    }
}

/// An Internet with all roles of one maker running. Fields are dropped in order: roles first.
pub(crate) struct Stand {
    clients: [Running; 2],
    _relay: Running,
    _server: Running,
    crowd: Namespace,
    internet: Internet,
    generator: PathBuf,
}

impl Stand {
    /// Builds it; both clients are qualified on return.
    pub(crate) fn new(maker: Maker, generator: &Path) -> Result<Self> {
        let internet = Internet::new([Nat::PortRestricted; 2])?;
        let crowd = internet.crowd()?;
        let server = roles::server(&internet, &maker)?;
        let relay = roles::relay(&internet, &maker)?;
        let clients = [roles::client(&internet, 1, &maker)?, roles::client(&internet, 2, &maker)?];
        let generator = generator.to_owned();
        Ok(Self { clients, _relay: relay, _server: server, crowd, internet, generator })
    }

    /// Measures once.
    pub(crate) fn measure(&self, quantity: Quantity, seconds: u32) -> Result<Sample> {
        let [one, two] = &self.internet.clients;
        let Internet { host, relay, .. } = &self.internet;
        match quantity {
            Quantity::ClientToHost => tcp(one, host, HOST, &[], &[one, relay], seconds),
            Quantity::HostToClient => tcp(one, host, HOST, &["-R"], &[one, relay], seconds),
            Quantity::ClientToClient => {
                tcp(one, two, self.clients[1].address()?, &[], &[one, two], seconds)
            }
            Quantity::Answers => self.answers(seconds),
        }
    }

    fn answers(&self, seconds: u32) -> Result<Sample> {
        let server = &self.internet.server;
        pin(&roles::pids(server), Cpu::First)?;
        let before = roles::cpu_seconds(server);
        let mut command = self.crowd.command(&self.generator);
        command.args([SERVER.to_string(), seconds.to_string()]);
        let mut flood = Process::start("flood", self.internet.directory(), &mut command)?;
        pin(&[flood.id()], Cpu::Last)?;
        let limit = Duration::from_secs(u64::from(seconds) + 10);
        flood.wait_until(limit, |it| it.stdout().ends_with('\n'))?;
        let cpu = roles::cpu_seconds(server) - before;
        let said: Value = serde_json::from_str(&flood.stdout()).context("flood's output")?;
        let number = |key: &str| said[key].as_f64().with_context(|| format!("flood: no {key}"));
        let answered = number("answered")?;
        if answered == 0.0 {
            bail!("the server answers nothing: {said}");
        }
        Ok(Sample { rate: number("answers_per_s")?, cpu_ns: cpu * 1e9 / answered })
    }
}

/// One TCP stream between two hosts; `on_path` are the hosts whose roles carry it.
fn tcp(
    from: &Namespace,
    to: &Namespace,
    address: Ipv6Addr,
    options: &[&str],
    on_path: &[&Namespace],
    seconds: u32,
) -> Result<Sample> {
    // The peers may have forgotten each other since the last round.
    traffic::ping(from, address)?;
    let directory = std::env::temp_dir().join(from.name());
    std::fs::create_dir_all(&directory)?;
    let mut listen = to.command("iperf3");
    listen.args(["-s", "-1", "-p", IPERF_PORT, "--forceflush"]);
    let mut server = Process::start("iperf3", &directory, &mut listen)?;
    server.wait_until(LISTEN_MAX, |it| it.stdout().contains("listening"))?;
    let before: f64 = on_path.iter().map(|host| roles::cpu_seconds(host)).sum();
    let mut command = from.command("iperf3");
    command.args(["-c", &address.to_string(), "-p", IPERF_PORT, "-J", "-C", CONGESTION]);
    command.args(["-t", &seconds.to_string()]).args(options);
    let output = command.output().context("cannot run iperf3")?;
    let cpu = on_path.iter().map(|host| roles::cpu_seconds(host)).sum::<f64>() - before;
    drop(server);
    std::fs::remove_dir_all(&directory)?;
    let said: Value = serde_json::from_slice(&output.stdout).context("iperf3's output")?;
    if let Some(error) = said["error"].as_str() {
        bail!("iperf3: {error}");
    }
    let received = &said["end"]["sum_received"];
    let number = |key: &str| received[key].as_f64().with_context(|| format!("iperf3: no {key}"));
    Ok(Sample { rate: number("bits_per_second")? / 1e6, cpu_ns: cpu * 1e9 / number("bytes")? })
}

pub(super) enum Cpu {
    First,
    Last,
}

/// Keeps processes with all their threads on one CPU, so that the generator's share of the machine
/// is the same beside every server.
pub(super) fn pin(pids: &[u32], cpu: Cpu) -> Result<()> {
    let count = std::thread::available_parallelism()?.get();
    let mut set = CpuSet::new();
    set.set(match cpu {
        Cpu::First => 0,
        Cpu::Last => count - 1,
    });
    for pid in pids {
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.file_name().to_string_lossy().parse::<i32>()?;
            sched_setaffinity(Pid::from_raw(task), &set).context("sched_setaffinity")?;
        }
    }
    Ok(())
}
