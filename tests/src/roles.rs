//! Starting roles: ours and Miredo's, in the hosts of an [`Internet`].

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::internet::{INTERNET, Internet, RELAY, SECONDARY, SERVER, SOURCES};
use crate::namespace::Namespace;
use crate::process::Process;

/// How long a role may take to serve; a client sends its third solicitation after 8 s.
const START_MAX: Duration = Duration::from_secs(15);
/// Miredo shows its address before its routes are there; packets sent before that are lost.
const MIREDO_SETTLES: Duration = Duration::from_millis(300);
/// Miredo's relay and server say nothing when they are ready.
const MIREDO_STARTS: Duration = Duration::from_millis(400);

/// Whose program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Maker {
    /// This binary of ours.
    Ours(PathBuf),
    /// Debian's `miredo` and `miredo-server`.
    Miredo,
}

/// A role that runs.
#[derive(Debug)]
pub struct Running {
    /// Its process.
    pub process: Process,
    /// A client's Teredo address.
    pub address: Option<Ipv6Addr>,
}

impl Running {
    /// The address of a client.
    ///
    /// # Errors
    ///
    /// For other roles.
    pub fn address(&self) -> Result<Ipv6Addr> {
        self.address.context("this role has no Teredo address")
    }
}

/// Starts a server and waits until it serves.
///
/// # Errors
///
/// With its last words, if it does not.
pub fn server(internet: &Internet, maker: &Maker) -> Result<Running> {
    let mut command = match maker {
        Maker::Ours(program) => {
            let mut command = ours(internet, &internet.server, program, "server");
            let (address, secondary) = (SERVER.to_string(), SECONDARY.to_string());
            command.args(["--address", &address, "--secondary", &secondary]);
            command.args(["--allow-ipv4", SOURCES]);
            command
        }
        Maker::Miredo => {
            let text = format!(
                "ServerBindAddress {SERVER}\nServerBindAddress2 {SECONDARY}\n\
                 Prefix 2001:0::\nInterfaceMTU 1280\n"
            );
            miredo(internet, &internet.server, "miredo-server", "server", &text)?
        }
    };
    let process = Process::start("server", internet.directory(), &mut command)?;
    serving(process, maker)
}

/// Starts a relay and waits until it serves.
///
/// # Errors
///
/// With its last words, if it does not.
pub fn relay(internet: &Internet, maker: &Maker) -> Result<Running> {
    let mut command = match maker {
        Maker::Ours(program) => {
            let mut command = ours(internet, &internet.relay, program, "relay");
            command.args(["--address", &RELAY.to_string()]);
            command
        }
        Maker::Miredo => {
            let text = format!(
                "RelayType cone\nInterfaceName teredo\nPrefix 2001:0::\n\
                 BindPort 3545\nBindAddress {RELAY}\n"
            );
            miredo(internet, &internet.relay, "miredo", "relay", &text)?
        }
    };
    let process = Process::start("relay", internet.directory(), &mut command)?;
    serving(process, maker)
}

/// Starts client 1 or 2 and waits until it has an address.
///
/// # Errors
///
/// With its last words, if it gets none.
pub fn client(internet: &Internet, number: usize, maker: &Maker) -> Result<Running> {
    let host = &internet.clients[number - 1];
    let name = format!("client{number}");
    let mut command = match maker {
        Maker::Ours(program) => our_client(internet, number, program),
        Maker::Miredo => {
            let text = format!(
                "RelayType client\nInterfaceName teredo\nServerAddress {SERVER}\n\
                 ServerAddress2 {SECONDARY}\nBindPort 3545\n"
            );
            miredo(internet, host, "miredo", &name, &text)?
        }
    };
    let mut process = Process::start(&name, internet.directory(), &mut command)?;
    let mut address = None;
    process.wait_until(START_MAX, |process| {
        let ready = *maker == Maker::Miredo || process.stdout().contains("\"state\":\"qualified\"");
        address = teredo_address(host).filter(|_| ready);
        address.is_some()
    })?;
    if *maker == Maker::Miredo {
        std::thread::sleep(MIREDO_SETTLES);
    }
    Ok(Running { process, address })
}

/// The command line of our client in a client's host.
pub fn our_client(internet: &Internet, number: usize, program: &PathBuf) -> Command {
    our_client_in(internet, &internet.clients[number - 1], program)
}

/// The command line of our client in any host.
pub fn our_client_in(internet: &Internet, host: &Namespace, program: &PathBuf) -> Command {
    let mut command = ours(internet, host, program, "client");
    let (server, secondary) = (SERVER.to_string(), SECONDARY.to_string());
    command.args(["--server", &server, "--secondary", &secondary, "--interface", "teredo"]);
    // As Miredo, which refuses nothing.
    command.args(["--allow", "all"]);
    command
}

/// The command line of one of our roles in a host, as far as it is the same for all.
pub fn ours(internet: &Internet, host: &Namespace, program: &PathBuf, role: &str) -> Command {
    let mut command = host.command(program);
    command.args([role, "--allow-ipv4", INTERNET, "--json"]);
    command.env("TEREDO_RUNTIME_DIR", internet.directory().join(host.name()));
    command
}

fn miredo(
    internet: &Internet,
    host: &Namespace,
    program: &str,
    name: &str,
    configuration: &str,
) -> Result<Command> {
    let path = internet.directory().join(format!("{name}.conf"));
    fs::write(&path, configuration)?;
    let mut command = host.command(program);
    // In the foreground; it refuses to run as root for good.
    command.args(["-f", "-u", "miredo", "-c"]).arg(path);
    command.arg("-p").arg(internet.directory().join(format!("{name}.pid")));
    Ok(command)
}

fn serving(mut process: Process, maker: &Maker) -> Result<Running> {
    match maker {
        Maker::Ours(_) => process.wait_until(START_MAX, |it| it.stdout().contains("\"ready\""))?,
        Maker::Miredo => {
            std::thread::sleep(MIREDO_STARTS);
            process.wait_until(Duration::ZERO, |_| true)?;
        }
    }
    Ok(Running { process, address: None })
}

/// The address in 2001::/32 on any interface of the host.
pub fn teredo_address(host: &Namespace) -> Option<Ipv6Addr> {
    let read = || fs::read_to_string("/proc/thread-self/net/if_inet6");
    let table = host.enter(read).ok()?.ok()?;
    let words = table.lines().filter_map(|line| line.split_whitespace().next());
    let addresses = words.filter_map(|word| u128::from_str_radix(word, 16).ok());
    addresses.map(Ipv6Addr::from_bits).find(|it| it.segments()[..2] == [0x2001, 0])
}

/// The processes of the roles in a host; Miredo forks.
pub fn pids(host: &Namespace) -> Vec<u32> {
    let is_role = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.starts_with("miredo") || name.starts_with("teredo")
    };
    host.pids().into_iter().filter(is_role).collect()
}

/// The CPU time that the roles in a host have used, in seconds.
pub fn cpu_seconds(host: &Namespace) -> f64 {
    pids(host).into_iter().map(crate::process::cpu_seconds).sum()
}

/// Fails unless the IPv4 address is one of the embedded ones of a Teredo address.
///
/// # Errors
///
/// If the address is built from another server or mapped address.
pub fn check_address(address: Ipv6Addr, mapped: Ipv4Addr) -> Result<()> {
    let [_, _, server_high, server_low, _, _, client_high, client_low] = address.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    let (server, client) = (join(server_high, server_low), join(!client_high, !client_low));
    if (server, client) != (SERVER, mapped) {
        bail!("{address} embeds server {server} and client {client}, not {SERVER} and {mapped}");
    }
    Ok(())
}
