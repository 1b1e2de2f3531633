//! The subcommand `teredo daemon`: the roles of a configuration file, for as long as the host runs.

mod client;
mod configuration;
mod finder;
pub(crate) mod fuzz;
mod layers;
mod roles;
mod section;

use std::path::PathBuf;

use teredo_sys::signal::{Signal, Signals};

use crate::daemon::configuration::Configuration;
use crate::exit::Exit;

/// Options of `teredo daemon`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/teredo/teredo.toml")]
    config: PathBuf,

    /// A directory of files whose settings override all others; without it policy.d beside the
    /// configuration file
    #[arg(long, value_name = "DIRECTORY")]
    policy: Option<PathBuf>,

    /// Read the configuration, say what is wrong with it, and end
    #[arg(long)]
    check: bool,

    /// Run this role only
    #[arg(long, value_name = "ROLE", hide = true)]
    only: Option<roles::Role>,

    /// End with this process, the one that has started this role
    #[arg(long, value_name = "PID", hide = true)]
    parent: Option<u32>,
}

const EXAMPLES: &str = "Examples:
  teredo daemon                                  what /etc/teredo/teredo.toml says
  teredo daemon --config lab.toml --check
  systemctl reload teredo                        after a change (SIGHUP)

The file has a table for each role, and in it the options of that role's subcommand by their names:

  [client]
  server = \"teredo.example.net\"
  refresh-interval = 30

Files in FILE.d/*.toml come after it, in the order of their names; what they set counts. Settings
made by \"teredo set state\" are kept there. A policy directory overrides them all.";

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    // A hangup asks to read the configuration again, and must not be the end of a daemon that is
    // only just reading it. It stays blocked until there is somebody who takes it.
    drop(Signals::new(&[Signal::Hangup])?);
    let mut configuration = Configuration::read(args.config, args.policy)?;
    if args.check {
        return Ok(Exit::Ok);
    }
    if let Some(parent) = args.parent {
        teredo_sys::process::end_with_parent(parent)?;
    }
    match (args.only, &configuration.roles()[..]) {
        (Some(roles::Role::Client), _) | (None, [roles::Role::Client]) => {
            client::run(&mut configuration)
        }
        (Some(roles::Role::Server), _) => crate::server::run(configuration.server()?),
        (Some(roles::Role::Relay), _) => crate::relay::run(configuration.relay()?),
        (None, all) => roles::run(&configuration, all),
    }
}
