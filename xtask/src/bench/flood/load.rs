//! What is run beside the roles, and what is read of them.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use teredo_tests::internet::HOST;
use teredo_tests::namespace::Namespace;
use teredo_tests::process::Process;
use teredo_tests::{program, roles};

const IPERF_PORT: &str = "5302";
/// iperf3 listens well before this.
const LISTEN_MAX: Duration = Duration::from_secs(3);
/// A generator ends at most this long after its time.
const END_MAX: Duration = Duration::from_secs(20);

/// Builds one of the generators.
pub(super) fn example(name: &str) -> Result<PathBuf> {
    program::executable(&["--package", "teredo-tests", "--example", name], &["--release"])
}

/// Waits until a generator, which runs for `seconds`, has printed its object, and reads a number
/// from it.
pub(super) fn number(generator: &mut Process, key: &str, seconds: u32) -> Result<f64> {
    let is_done = |it: &Process| it.stdout().ends_with('\n');
    if !is_done(generator) {
        generator.wait_until(Duration::from_secs(seconds.into()) + END_MAX, is_done)?;
    }
    let said: Value = serde_json::from_str(&generator.stdout()).context("a generator's output")?;
    said[key].as_f64().with_context(|| format!("no {key} in {said}"))
}

/// What a host's role has used, and the datagrams it has taken.
pub(super) struct Usage {
    pub(super) cpu_s: f64,
    pub(super) datagrams: f64,
    /// The most it ever had.
    pub(super) memory_bytes: f64,
}

impl Usage {
    pub(super) fn of(host: &Namespace) -> Result<Self> {
        let memory = roles::pids(host).into_iter().map(peak_bytes).sum();
        let (cpu_s, datagrams) = (roles::cpu_seconds(host), datagrams(host)?);
        Ok(Self { cpu_s, datagrams, memory_bytes: memory })
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            cpu_s: self.cpu_s - before.cpu_s,
            datagrams: self.datagrams - before.datagrams,
            memory_bytes: self.memory_bytes,
        }
    }

    pub(super) fn cpu_ns_per_datagram(&self) -> f64 {
        self.cpu_s * 1e9 / self.datagrams
    }
}

/// TCP between a client and the native host.
pub(super) struct Flow<'a> {
    pub(super) from: &'a Namespace,
    pub(super) to: &'a Namespace,
    /// Whether the data flows towards `from`.
    pub(super) reverse: bool,
}

impl Flow<'_> {
    /// What arrives, when as much as goes is sent or this much.
    pub(super) fn mbits(&self, paced_mbits: Option<f64>, seconds: u32) -> Result<f64> {
        let directory = std::env::temp_dir().join(self.from.name());
        fs::create_dir_all(&directory)?;
        let mut listen = self.to.command("iperf3");
        listen.args(["-s", "-1", "-p", IPERF_PORT, "--forceflush"]);
        let mut server = Process::start("iperf3", &directory, &mut listen)?;
        server.wait_until(LISTEN_MAX, |it| it.stdout().contains("listening"))?;
        let mut command = self.from.command("iperf3");
        command.args(["-c", &HOST.to_string(), "-p", IPERF_PORT, "-J", "-C", "cubic"]);
        command.args(["-t", &seconds.to_string()]).args(self.reverse.then_some("-R"));
        if let Some(mbits) = paced_mbits {
            command.args(["-b", &format!("{mbits:.0}M")]);
        }
        let output = command.output().context("cannot run iperf3")?;
        drop(server);
        fs::remove_dir_all(&directory)?;
        let said: Value = serde_json::from_slice(&output.stdout).context("iperf3's output")?;
        if let Some(error) = said["error"].as_str() {
            bail!("iperf3: {error}");
        }
        let received = said["end"]["sum_received"]["bits_per_second"].as_f64();
        Ok(received.context("iperf3: no rate")? / 1e6)
    }
}

/// Datagrams that the sockets of a host have handed to its programs.
fn datagrams(host: &Namespace) -> Result<f64> {
    let text = host.enter(|| fs::read_to_string("/proc/thread-self/net/snmp"))??;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = lines.next().zip(lines.next()).context("no counters of UDP")?;
    let mut columns = names.split_whitespace().zip(values.split_whitespace());
    let (_, value) = columns.find(|(name, _)| *name == "InDatagrams").context("no InDatagrams")?;
    Ok(value.parse()?)
}

/// The most memory that a process ever had; 0 if it is gone.
fn peak_bytes(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1024.0
}
