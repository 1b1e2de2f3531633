//! The subcommand `teredo port`.

use std::io::{self, Write};
use std::num::NonZeroU16;
use std::sync::mpsc::channel;

use anyhow::{Context, bail};
use serde::Serialize;

use crate::exit::Exit;
use crate::{control, output};

/// Options of `teredo port`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Go on: print a line after every change, "none" (null in JSON) while there is no port
    #[arg(long)]
    watch: bool,

    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  teredo port            the UDP port that a firewall has to let through
  teredo port --watch --json
  nft add element inet filter teredo { $(teredo port) }

Exit code 3 while Teredo is not running, 4 while it is off-line; --watch waits instead.";

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    if args.watch {
        return watch(args.json);
    }
    match netioapi::port() {
        Ok(port) => output::print(|out| out.write_all(line(Some(port), args.json).as_bytes()))
            .map(|_| Exit::Ok),
        Err(netioapi::Error::NotReady) => why_not(),
        Err(error) => bail!("{error}"),
    }
}

/// Tells every change, until nobody listens.
fn watch(json: bool) -> anyhow::Result<Exit> {
    let (sender, ports) = channel();
    // Before the first look, so that no change is missed.
    let watch = netioapi::watch_port(false, move |event| {
        // Fails only at the end.
        let _ = sender.send(event.port);
    });
    let _watch = watch.context("cannot follow the port")?;
    let mut told = None;
    for port in std::iter::once(netioapi::port().ok()).chain(&ports) {
        if told.replace(port) == Some(port) {
            continue;
        }
        match io::stdout().lock().write_all(line(port, json).as_bytes()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => return Err(error).context("cannot write to standard output"),
        }
    }
    Ok(Exit::Ok)
}

/// Tells a daemon without a port from none.
fn why_not() -> anyhow::Result<Exit> {
    let Some(mut client) = control::connect()? else { return Ok(Exit::NotRunning) };
    let status = client.status().context("cannot ask the Teredo client of this host")?;
    eprintln!("teredo: there is no port: Teredo is {}", status.snapshot.state.name());
    Ok(Exit::NotQualified)
}

fn line(port: Option<NonZeroU16>, json: bool) -> String {
    if json {
        let fact = Fact { event: "port", port };
        return format!("{}\n", serde_json::to_string(&fact).unwrap_or_default());
    }
    port.map_or_else(|| "none\n".to_owned(), |port| format!("{port}\n"))
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Fact {
    event: &'static str,
    port: Option<NonZeroU16>,
}
