//! The subcommand `teredo lab`: a small Internet in namespaces of its own, and what works in it.
//!
//! Every host has a network namespace and an uplink TUN whose other end this process holds: it is
//! wire, delay, router, NAT and trace in one. The roles are child processes of this program.

mod cast;
mod command;
mod ground;
mod helper;
mod icmp;
mod internet;
mod kernel_nat;
mod knock;
mod matrix;
mod nats;
mod observe;
mod options;
mod packet;
mod pair;
mod ping;
mod place;
mod results;
mod show;
mod story;
mod trace;
mod transfer;
mod translator;
mod wires;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, anyhow};
use teredo_engine::io::Clock;
use teredo_engine::linux::{BootClock, seed};
use teredo_sys::ns::Forked;
use teredo_sys::signal::{Signal, Signals};

use crate::exit::Exit;
use crate::output;

use self::ground::Ground;
use self::internet::Internet;
use self::nats::Nats;
use self::options::{ByteCount, Techniques};
use self::results::Results;
use self::show::{Failure, Interrupted, Show};
use self::story::Story;
use self::trace::Trace;
use self::wires::{Totals, Wires};

/// Options of `teredo lab`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Args {
    /// More than one lab
    #[command(subcommand)]
    labs: Option<Labs>,

    /// NATs before the clients, one kind for both or two; the kinds are listed below
    #[arg(long, value_name = "KIND[,KIND]", default_value = "pr,pr")]
    nat: Nats,

    /// One-way delay of each host's access link; client to server and back is four times this
    #[arg(long, value_name = "MS", default_value = "0")]
    #[arg(value_parser = clap::value_parser!(u64).range(..=DELAY_MS_MAX))]
    delay: u64,

    #[command(flatten)]
    techniques: Techniques,

    /// Write a capture of each wire into this directory
    #[arg(long, value_name = "DIR")]
    trace: Option<PathBuf>,

    /// Bytes to move by TCP through the relay
    #[arg(long, value_name = "N", default_value = "16M")]
    bytes: ByteCount,

    /// Print the results as one JSON object
    #[arg(long)]
    json: bool,

    /// Only have the clients meet, within so many seconds
    #[arg(long, value_name = "S", hide = true, conflicts_with = "command")]
    pair: Option<u64>,

    /// Instead of measuring, run this in client 1 and exit with its status. It finds LAB_V6HOST,
    /// LAB_PEER, LAB_SERVER, LAB_CLIENT_PID and TEREDO_RUNTIME_DIR in its environment
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What more than one lab can show.
#[derive(Debug, clap::Subcommand)]
enum Labs {
    /// Have all 81 pairs of the nine kinds of NAT meet, and draw the table
    Matrix(matrix::Args),
}

/// A client repeats a solicitation after four seconds (RFC 4380 section 5.2.1): by then the answer
/// has to be there.
const DELAY_MS_MAX: u64 = 900;

const EXAMPLES: &str = "Kinds of NAT:
  cone         lets everybody in
  ar           address-restricted: lets in addresses that were sent to
  pr           port-restricted: lets in endpoints that were sent to
  upr          pr that maps ports for whoever asks (PCP, NAT-PMP)
  ups          ps that does
  pp           symmetric, a port for each destination; the first one is kept
  seq          symmetric, ports in sequence
  ps           symmetric, random ports
  addr         symmetric, random ports of several addresses
  kernel       this machine's own; needs nft
  INNER+OUTER  a NAT behind a NAT

Examples:
  teredo lab                            show that everything works
  teredo lab --nat cone,ar --delay 25   other NATs, more distance
  teredo lab --nat pr+ps,kernel         a NAT behind another, and this machine's own
  teredo lab --trace traces --json
  teredo lab matrix                     all pairs of NATs, as a table
  teredo lab -- bash                    a shell in client 1
  teredo lab -- sh -c 'ping -c 3 $LAB_PEER'

Needs no root, but namespaces for ordinary users and /dev/net/tun. Nothing is left behind.";

/// Runs the lab. There must be one thread only.
pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    if let Some(Labs::Matrix(args)) = &args.labs {
        return matrix::run(args);
    }
    let story = Story::new();
    let (prepared, forked) = match Prepared::new(&args).and_then(|it| Ok((it, ground::leave()?))) {
        Ok(both) => both,
        Err(error) => return report(&args, Results::of(&args), Err(error.into())),
    };
    match forked {
        Forked::Parent(init) => {
            let status = init.supervise()?;
            if let Some(signal) = status.signal() {
                let error = anyhow!("the lab was killed by signal {signal}");
                return report(&args, Results::of(&args), Err(error.into()));
            }
            Ok(exit_of(status))
        }
        Forked::Child => {
            let mut results = Results::of(&args);
            let outcome = play(&args, story, prepared, &mut results);
            report(&args, results, outcome)
        }
    }
}

/// What is made before leaving the host.
struct Prepared {
    program: PathBuf,
    trace: Trace,
    signals: Signals,
}

impl Prepared {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let trace = args.trace.as_deref().map(Trace::create).transpose()?.unwrap_or_default();
        let wanted = [Signal::Interrupt, Signal::Terminate, Signal::Hangup, Signal::Child];
        Ok(Self { program, trace, signals: Signals::new(&wanted)? })
    }
}

/// Builds the lab and plays in it; `results` get what there is, also of a failure.
fn play(
    args: &Args,
    mut story: Story,
    prepared: Prepared,
    results: &mut Results,
) -> Result<Exit, Failure> {
    let Prepared { program, trace, signals } = prepared;
    let (mut ground, uplinks) = Ground::build(args.nat)?;
    let kernel_nats = ground.add_nats(args.nat)?;
    let internet = Internet::new(args.nat, BootClock.now(), seed()?);
    let delay = Duration::from_millis(args.delay);
    let records = (trace, args.pair.map(|_| Default::default()));
    let wires = Wires::start(uplinks, kernel_nats, internet, delay, records);
    let wires = wires.context("cannot start the wires")?;
    story.picture(args.nat.0, args.delay);
    story.built();

    let mut show = Show::new(args, program, ground, story, signals)?;
    let outcome = show.run();
    let totals = wires.stop();
    if let (Some(sent), Some(pair)) = (&totals.sent, &mut show.results.pair) {
        pair.by = pair::technique(args.nat, sent, [&show.results.client1, &show.results.client2]);
    }
    tell_end(args, &mut show, &outcome, &totals);
    results.clone_from(&show.results);
    let exit = outcome?;
    totals.trace.context("the trace is not complete")?;
    Ok(exit)
}

fn tell_end(args: &Args, show: &mut Show<'_>, outcome: &Result<Exit, Failure>, totals: &Totals) {
    show.story.clear();
    if show::is_verbose() {
        show.story.drops(totals);
    }
    match outcome {
        Ok(_) if args.command.is_empty() && args.pair.is_none() => {
            show.story.summary(&show.results, totals)
        }
        Err(failure) if !failure.error.is::<Interrupted>() => show.tell_last_words(),
        Ok(_) | Err(_) => {}
    }
    if let Some(directory) = &args.trace {
        show.story.step(&format!("captures of every wire are in {}", directory.display()));
    }
}

/// Prints what is to be printed at the end.
fn report(
    args: &Args,
    mut results: Results,
    outcome: Result<Exit, Failure>,
) -> anyhow::Result<Exit> {
    let exit = match outcome {
        Ok(exit) => exit,
        Err(failure) => {
            results.error = Some(format!("{:#}", failure.error));
            let _ = Exit::of_error(&failure.error);
            failure.exit
        }
    };
    if args.json {
        output::print(|out| {
            serde_json::to_writer(&mut *out, &results)?;
            writeln!(out)
        })?;
    }
    Ok(exit)
}

/// How the child has ended, which has told everything itself.
fn exit_of(status: ExitStatus) -> Exit {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(Exit::Failed, Exit::Command)
}
