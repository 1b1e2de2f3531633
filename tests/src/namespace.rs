//! A network namespace with a name, deleted with everything in it when it is dropped.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Our namespaces are called `tt<pid>-<number>-<host>`.
const PREFIX: &str = "tt";
/// Where `ip netns` keeps them.
const DIRECTORY: &str = "/run/netns";

/// A network namespace made with `ip netns`.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace for a host of this name, with its loopback up.
    ///
    /// # Errors
    ///
    /// If `ip netns add` fails, which needs root.
    pub fn new(host: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static PURGE: Once = Once::new();
        PURGE.call_once(purge);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("{PREFIX}{}-{number}-{host}", std::process::id()) };
        run(Command::new("ip").args(["netns", "add", &namespace.name]))?;
        namespace.ip("link set lo up")?;
        for (key, value) in [
            ("net/ipv6/conf/all/accept_dad", "0"),
            ("net/ipv6/conf/default/accept_dad", "0"),
            ("net/ipv6/conf/all/accept_ra", "0"),
            ("net/ipv6/conf/default/accept_ra", "0"),
        ] {
            namespace.sysctl(key, value)?;
        }
        Ok(namespace)
    }

    /// The name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` commands in the namespace, one a line.
    ///
    /// # Errors
    ///
    /// With what `ip` says, if one fails; later ones are not tried.
    pub fn ip(&self, batch: &str) -> Result<()> {
        feed(Command::new("ip").args(["-n", &self.name, "-batch", "-"]), batch)
    }

    /// Runs an nftables script in the namespace.
    ///
    /// # Errors
    ///
    /// With what `nft` says.
    pub fn nft(&self, script: &str) -> Result<()> {
        feed(self.command("nft").args(["-f", "-"]), script)
    }

    /// Writes a setting; `key` is a path below `/proc/sys`, in `net/`.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.enter(|| fs::write(&path, value))?.with_context(|| format!("cannot set {key}"))
    }

    /// A command that will run in the namespace. Its process is the program itself.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program).stdin(Stdio::null());
        command
    }

    /// Calls a function on a thread of its own inside the namespace; sockets made there belong to
    /// the namespace for good.
    ///
    /// # Errors
    ///
    /// If the namespace cannot be entered.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T> {
        let namespace = File::open(self.path()).with_context(|| format!("no {}", self.name))?;
        let go = || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), kind).context("setns")?;
            Ok(inside())
        };
        std::thread::scope(|scope| scope.spawn(go).join())
            .map_err(|_| anyhow!("the thread inside {} panicked", self.name))?
    }

    /// The processes inside.
    pub fn pids(&self) -> Vec<u32> {
        pids(&self.name)
    }

    fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        delete(&self.name);
    }
}

/// Runs a program to its end.
///
/// # Errors
///
/// With what it said, if it fails.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn feed(command: &mut Command, input: &str) -> Result<()> {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).with_context(|| format!("{command:?}"))?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Deletes what earlier runs left behind that could not clean up after themselves.
fn purge() {
    for entry in fs::read_dir(DIRECTORY).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let Some(owner) = owner.and_then(|owner| owner.parse::<u32>().ok()) else { continue };
        if !Path::new("/proc").join(owner.to_string()).exists() {
            delete(&name);
        }
    }
}

/// Ends the processes of one of our namespaces, then the namespace.
fn delete(name: &str) {
    for (signal, tries) in [(Signal::TERM, 20), (Signal::KILL, 20)] {
        for pid in pids(name).into_iter().filter_map(|it| Pid::from_raw(it.cast_signed())) {
            // It may have ended by itself meanwhile.
            let _ = kill_process(pid, signal);
        }
        for _ in 0..tries {
            if pids(name).is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }
    if let Err(error) = run(Command::new("ip").args(["netns", "del", name])) {
        eprintln!("namespace {name} stays: {error:#}");
    }
}

fn pids(name: &str) -> Vec<u32> {
    let listed = run(Command::new("ip").args(["netns", "pids", name])).unwrap_or_default();
    let own = std::process::id();
    listed.lines().filter_map(|it| it.trim().parse().ok()).filter(|it| *it != own).collect()
}
