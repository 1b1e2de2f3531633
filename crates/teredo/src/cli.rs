//! The command line as a whole; each subcommand's options stand in its own module.

use std::ffi::OsString;
use std::io::IsTerminal;

use clap::{CommandFactory, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::exit::Exit;
use crate::{
    address, allow, client, daemon, decode, firewall, island, keys, lab, port, relay, server, set,
    status, wait_online,
};

/// Teredo for Linux: IPv6 for hosts behind IPv4 NATs.
#[derive(Debug, Parser)]
#[command(name = "teredo", version, propagate_version = true, after_help = after_help())]
pub(crate) struct Cli {
    /// Log more on standard error: -v what happens, -vv every detail
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,

    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Give this host an IPv6 address through its NAT
    Client(client::Args),
    /// Serve clients: answer solicitations, pass on bubbles and echo tests
    Server(server::Args),
    /// Carry packets between clients and the native IPv6 Internet
    Relay(relay::Args),
    /// Run the roles of a configuration file
    Daemon(daemon::Args),
    /// Print the UDP port that Teredo uses on this host
    Port(port::Args),
    /// Show what Teredo does on this host
    Status(status::Args),
    /// Show something, as netsh does: "teredo show state" is "teredo status"
    Show(status::ShowArgs),
    /// Change the settings of the daemon's client
    Set(set::Args),
    /// Wait until Teredo is qualified
    WaitOnline(wait_online::Args),
    /// Say what may come in that nobody here has asked for
    Allow(allow::Args),
    /// Keep the host's firewall open for that port, whatever it is, and for nothing else
    Firewall(firewall::Args),
    /// Make keys for the clients of a private server
    Key(keys::Args),
    /// Set up a private server and a relay on this host
    Island(island::Args),
    /// Build a small Internet in namespaces and show that it all works; needs no root
    Lab(lab::Args),
    /// Explain a Teredo address, or build one
    Address(address::Args),
    /// Print the Teredo packets of a capture, one a line
    Decode(decode::Args),
}

impl Cli {
    /// Sends the log to standard error, at the level of `--verbose` or else of `TEREDO_LOG`.
    pub(crate) fn start_log(&self) {
        let level = match self.verbose {
            0 => level_of_environment(),
            1 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .init();
    }
}

/// The program and the subcommands that the words of a command line name.
pub(crate) fn named(words: impl IntoIterator<Item = OsString>) -> String {
    let (program, mut name) = (Cli::command(), String::from("teredo"));
    let mut command = &program;
    for word in words {
        let Some(next) = command.find_subcommand(&word) else { break };
        name = format!("{name} {}", next.get_name());
        command = next;
    }
    name
}

fn level_of_environment() -> LevelFilter {
    let Some(level) = std::env::var_os(LOG_VARIABLE).filter(|level| !level.is_empty()) else {
        return LevelFilter::WARN;
    };
    level.to_str().and_then(|level| level.parse().ok()).unwrap_or_else(|| {
        eprintln!("teredo: {LOG_VARIABLE}={} is none of {LEVELS}", level.display());
        LevelFilter::WARN
    })
}

/// Names the least important level that is logged.
const LOG_VARIABLE: &str = "TEREDO_LOG";

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{}\n\n{LOG_VARIABLE}=LEVEL sets the log level: {LEVELS}.", Exit::help())
}

const LEVELS: &str = "off, error, warn (default), info, debug, trace";
const EXAMPLES: &str = "Examples:
  teredo lab                                  all of it, on this machine, without root
  teredo client --server teredo.example.net   be a client (as root)
  teredo daemon                               be what /etc/teredo/teredo.toml says
  teredo status                               what it does now
  teredo port                                 the port to let through
  teredo allow add tcp/22                     what may come in unasked
  teredo firewall                             let it through (as root)
  teredo server --address 192.0.2.1 --secondary 192.0.2.2
  teredo relay --address 192.0.2.20
  teredo address 2001:0:cb00:7178:0:efff:3fff:fdfe
  teredo decode --json capture.pcap";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
