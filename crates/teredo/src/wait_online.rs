//! The subcommand `teredo wait-online`.

use std::time::{Duration, Instant};

use anyhow::Context;
use teredo_control::{Event, RuntimeDir, State, Subscription};

use crate::control;
use crate::exit::Exit;

/// Options of `teredo wait-online`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Give up, with exit code 4, after this many seconds; without it, wait for ever
    #[arg(long, value_name = "S")]
    #[arg(value_parser = clap::value_parser!(u64).range(..=86_400))]
    timeout: Option<u64>,
}

const EXAMPLES: &str = "Examples:
  teredo wait-online --timeout 10 && ping -c 1 ipv6.example.net
  teredo wait-online --timeout 0    whether Teredo is qualified now

A client that sleeps is woken. Exit code 3 if Teredo is not running, or ends meanwhile.";

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let end = args.timeout.map(|timeout_s| Instant::now() + Duration::from_secs(timeout_s));
    let mut subscription = Subscription::new(RuntimeDir::from_environment())?;
    let Some(mut client) = control::connect()? else { return Ok(Exit::NotRunning) };
    let mut state = client.status().context("cannot ask the Teredo client of this host")?;
    loop {
        match state.snapshot.state {
            State::Qualified => return Ok(Exit::Ok),
            State::Dormant => client.wake().context("cannot wake the Teredo client")?,
            State::Offline | State::Probe => {}
        }
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        state = match subscription.next(left)? {
            Some(Event::Status(status)) => *status,
            Some(Event::Gone) => return Ok(control::not_running()),
            None => {
                eprintln!("teredo: not qualified in time: {}", state.snapshot.state.name());
                return Ok(Exit::NotQualified);
            }
        };
    }
}
