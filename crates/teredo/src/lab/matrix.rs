//! `teredo lab matrix`: every pair of the kinds of NAT, live.
//!
//! Each pair gets a lab of its own, a process that knows nothing of the others: its own server,
//! NATs and two clients that have just been started, so that nothing that worked before makes it
//! easier. That costs a sixth of a second a pair; clients that stay would gain that, and with it a
//! past.
//! The labs run one after the other, because what they measure is time.

mod cell;
mod selection;
mod table;

use std::io::Write;
use std::path::PathBuf;
use std::process::Output;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;
use teredo_sys::ns::Forked;
use teredo_sys::signal::{Caught, Signal, Signals};

use super::options::Techniques;
use super::show::{self, Interrupted};
use super::{DELAY_MS_MAX, exit_of, ground};
use crate::exit::Exit;
use crate::output;

use self::cell::Cell;
use self::selection::{Pair, Selection};
use self::table::Table;

/// Options of `teredo lab matrix`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only the pairs that begin behind this kind of NAT, or only this pair (may be given several
    /// times)
    #[arg(long, value_name = "KIND[,KIND]")]
    only: Vec<Selection>,

    /// One-way delay of each host's access link; client to server and back is four times this
    #[arg(long, value_name = "MS", default_value = "0")]
    #[arg(value_parser = clap::value_parser!(u64).range(..=DELAY_MS_MAX))]
    delay: u64,

    #[command(flatten)]
    techniques: Techniques,

    /// Seconds after which a pair that has not met is given up
    #[arg(long, value_name = "S", default_value = "30")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=300))]
    patience: u64,

    /// Fail also if a pair that RFC 6081 connects takes longer than 6 round trips to the server and
    /// 100 ms
    #[arg(long)]
    check: bool,

    /// Print the results as one JSON object
    #[arg(long)]
    json: bool,

    /// Print the results as comma-separated values, a pair a line
    #[arg(long, conflicts_with = "json")]
    csv: bool,

    /// Write captures of each pair's wires into a directory below this one
    #[arg(long, value_name = "DIR")]
    trace: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  teredo lab matrix                       all 81 pairs, as a table
  teredo lab matrix --delay 20 --check    with distance, and held against the limits
  teredo lab matrix --only pr             one row
  teredo lab matrix --without birthday,helper
  teredo lab matrix --only pr,ps --only ps,pr --trace traces
  teredo lab matrix --json >matrix.json

A pair counts when a packet went from the first client to the second and the answer came back, and
then the same the other way. Exits with 0 if all pairs do, or without some techniques all that have
others, else with 1. Needs no root, but namespaces for ordinary users and /dev/net/tun.";

/// Runs the matrix. There must be one thread only.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let pairs = Pair::selected(&args.only);
    let program = std::env::current_exe().context("cannot find this program")?;
    let wanted = [Signal::Interrupt, Signal::Terminate, Signal::Hangup, Signal::Child];
    let signals = Signals::new(&wanted)?;
    // The labs end with this process, however it ends.
    match ground::leave()? {
        Forked::Parent(init) => Ok(exit_of(init.supervise()?)),
        Forked::Child => Matrix { args, program, notes: watched(signals)? }.play(&pairs),
    }
}

struct Matrix<'a> {
    args: &'a Args,
    program: PathBuf,
    notes: (Sender<Note>, Receiver<Note>),
}

/// Something that the matrix has to know.
enum Note {
    /// A lab has ended.
    Done(std::io::Result<Output>),
    Signal(Caught),
}

/// A channel on which signals arrive.
fn watched(signals: Signals) -> anyhow::Result<(Sender<Note>, Receiver<Note>)> {
    let (sender, receiver) = mpsc::channel();
    let notes = sender.clone();
    let watch = move || show::watch(&signals, |caught| notes.send(Note::Signal(caught)).is_ok());
    thread::Builder::new().name("signals".into()).spawn(watch).context("cannot start a thread")?;
    Ok((sender, receiver))
}

impl Matrix<'_> {
    fn play(&self, pairs: &[Pair]) -> anyhow::Result<Exit> {
        let started = Instant::now();
        let mut table = Table::new(pairs, self.args.json || self.args.csv);
        let mut cells = Vec::new();
        for &pair in pairs {
            table.begin(pair)?;
            let cell = self.cell(pair, &mut table)?;
            table.end(&cell)?;
            cells.push(cell);
        }
        let results = Results::new(self.args, cells, started.elapsed());
        self.print(&results, &table)?;
        Ok(if results.is_good { Exit::Ok } else { Exit::Failed })
    }

    /// Runs the lab of one pair.
    fn cell(&self, pair: Pair, table: &mut Table) -> anyhow::Result<Cell> {
        let mut command = cell::command(&self.program, pair, self.args);
        let done = self.notes.0.clone();
        let run = move || done.send(Note::Done(command.output()));
        thread::Builder::new().name("lab".into()).spawn(run).context("cannot start a thread")?;
        loop {
            match self.notes.1.recv_timeout(TICK) {
                Ok(Note::Done(output)) => {
                    let output = output.context("cannot start a lab")?;
                    return Ok(Cell::of(pair, &output, self.args));
                }
                Ok(Note::Signal(caught)) if caught.signal == Signal::Child => {}
                Ok(Note::Signal(_)) => {
                    table.clear();
                    return Err(Interrupted.into());
                }
                Err(RecvTimeoutError::Timeout) => table.tick(),
                Err(RecvTimeoutError::Disconnected) => bail!("the lab's thread is gone"),
            }
        }
    }

    fn print(&self, results: &Results, table: &Table) -> anyhow::Result<()> {
        let (args, cells) = (self.args, &results.pairs);
        output::print(|out| {
            if args.json {
                serde_json::to_writer(&mut *out, results)?;
                writeln!(out)
            } else if args.csv {
                write!(out, "{}", cell::csv(cells))
            } else {
                write!(out, "{}", table.summary(results))
            }
        })?;
        if args.json || args.csv {
            eprint!("{}", table.summary(results));
        }
        Ok(())
    }
}

/// All results; times are in milliseconds.
#[derive(Debug, Serialize)]
struct Results {
    /// One way, of each host's access link.
    delay_ms: u64,
    /// Pairs that connect.
    connected: usize,
    /// Pairs that took longer than they should.
    late: usize,
    /// Whether nothing is wrong: all that must connect do and, if that was asked for, none is late.
    is_good: bool,
    took_s: f64,
    pairs: Vec<Cell>,
}

impl Results {
    fn new(args: &Args, pairs: Vec<Cell>, took: Duration) -> Self {
        let connected = pairs.iter().filter(|cell| cell.connected).count();
        let late = pairs.iter().filter(|cell| cell.is_late()).count();
        let all = pairs.iter().all(|cell| cell.connected || !cell.must_connect);
        let is_good = all && (late == 0 || !args.check);
        let took_s = (took.as_secs_f64() * 10.0).round() / 10.0;
        Self { delay_ms: args.delay, connected, late, is_good, took_s, pairs }
    }
}

/// How often the progress is shown anew.
const TICK: Duration = Duration::from_millis(200);
