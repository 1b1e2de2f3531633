//! The program `teredo`: client, server, relay, a lab in one process, and tools to ask a client,
//! and to look at addresses and captures.
//!
//! This crate turns words on the command line into configuration, runs what the crates below
//! offer, and turns what happened into text, JSON and an exit code. It may not decide anything
//! about the protocol.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::exit::Exit;

mod address;
mod allow;
mod cli;
mod client;
mod control;
mod daemon;
mod decode;
mod exit;
mod firewall;
mod host;
mod island;
mod keys;
mod lab;
mod output;
mod port;
mod publisher;
mod relay;
mod report;
mod sandbox;
mod secondary;
mod server;
mod set;
mod status;
mod wait_online;

/// What the fuzz targets try, and nothing else: this library is there for the program.
#[doc(hidden)]
pub mod fuzz {
    pub use crate::daemon::fuzz::run as configuration;
    pub use crate::firewall::fuzz::run as nft;
    pub use crate::keys::fuzz::run as keys;
}

/// The program: does what its command line says.
///
/// Nothing may start a thread before the subcommand runs: the lab enters a user namespace, which
/// only a single-threaded process may do.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return Exit::of_usage(&error).into(),
    };
    cli.start_log();
    let result = match cli.command {
        Command::Client(args) => client::run(args),
        Command::Server(args) => server::run(args),
        Command::Relay(args) => relay::run(args),
        Command::Daemon(args) => daemon::run(args),
        Command::Port(args) => port::run(args),
        Command::Status(args) => status::run(args),
        Command::Set(args) => set::run(args),
        Command::Show(args) => status::show(args),
        Command::WaitOnline(args) => wait_online::run(args),
        Command::Allow(args) => allow::run(args),
        Command::Firewall(args) => firewall::run(args),
        Command::Key(args) => keys::run(args),
        Command::Island(args) => island::run(args),
        Command::Lab(args) => lab::run(args),
        Command::Address(args) => address::run(args),
        Command::Decode(args) => decode::run(args),
    };
    result.unwrap_or_else(|error| Exit::of_error(&error)).into()
}
