//! Measures our roles beside Debian's Miredo, in one run, on the same machine.
//!
//! Two equal Internets of kernel namespaces and kernel NATs stand side by side, one with our roles
//! and one with Miredo's. Rounds alternate between them, so that what else the machine does meets
//! both. Reported are medians, and ours as a ratio of Miredo's. The programming interface has
//! figures of its own ([`api`]).

mod api;
mod flood;
mod machine;
mod measure;
mod report;

use anyhow::{Result, bail};
use teredo_tests::roles::Maker;
use teredo_tests::{needs, program};

use machine::Machine;
use measure::Stand;
use report::Report;

use crate::workspace;

/// Beyond the programs that every test on this ground needs.
const PROGRAMS: [&str; 4] = ["miredo", "miredo-server", "iperf3", "ping"];

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    other: Option<Other>,
    /// How often each thing is measured on each side
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// How long each measurement takes
    #[arg(long, default_value_t = 4, value_name = "SECONDS")]
    seconds: u32,
    /// Only what has this in its name
    #[arg(long)]
    only: Option<String>,
    /// One JSON object instead of the table
    #[arg(long)]
    json: bool,
    /// Miredo against itself: shows how much to trust the ratios
    #[arg(long)]
    control: bool,
}

/// What else can be measured.
#[derive(clap::Subcommand)]
enum Other {
    /// The programming interface; needs neither root nor Miredo
    Api(api::Arguments),
    /// Our roles flooded from two million sources
    Flood(flood::Arguments),
    /// Connections a second and core in the simulator; fails below 2,000
    Sim(SimArguments),
}

#[derive(clap::Args)]
struct SimArguments {
    /// Connections of each pair of NATs that RFC 6081 connects
    #[arg(long, value_name = "N", default_value_t = 1000)]
    seeds: u32,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantity {
    /// TCP from client 1 to the native host, through the relay.
    ClientToHost,
    /// The same the other way.
    HostToClient,
    /// TCP from client 1 to client 2, directly.
    ClientToClient,
    /// Router advertisements that a server gives in answer to solicitations.
    Answers,
}

impl Quantity {
    pub(crate) const ALL: [Self; 4] =
        [Self::ClientToHost, Self::HostToClient, Self::ClientToClient, Self::Answers];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ClientToHost => "tcp client to host",
            Self::HostToClient => "tcp host to client",
            Self::ClientToClient => "tcp client to client",
            Self::Answers => "server answers",
        }
    }

    pub(crate) const fn unit(self) -> &'static str {
        match self {
            Self::ClientToHost | Self::HostToClient | Self::ClientToClient => "Mbit/s",
            Self::Answers => "1/s",
        }
    }

    /// What the CPU time is divided by.
    pub(crate) const fn cpu_unit(self) -> &'static str {
        match self {
            Self::ClientToHost | Self::HostToClient | Self::ClientToClient => "ns/byte",
            Self::Answers => "ns/answer",
        }
    }
}

fn simulator(arguments: &SimArguments) -> Result<()> {
    let seeds = arguments.seeds.to_string();
    let example = ["run", "--release", "--locked", "--package", "teredo-sim", "--example", "speed"];
    workspace::run(workspace::cargo().args(example).args(["--", "--seeds", &seeds]))
}

/// Measures, prints, and fails if ours is slower anywhere.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.other {
        Some(Other::Api(arguments)) => return api::run(arguments),
        Some(Other::Flood(arguments)) => return flood::run(arguments),
        Some(Other::Sim(arguments)) => return simulator(arguments),
        None => {}
    }
    if let Some(reason) = needs::missing(&PROGRAMS) {
        bail!("bench {reason}");
    }
    let wanted = |it: &Quantity| match &arguments.only {
        Some(part) => it.name().contains(part.as_str()),
        None => true,
    };
    let quantities: Vec<Quantity> = Quantity::ALL.into_iter().filter(wanted).collect();
    if quantities.is_empty() {
        bail!(
            "nothing measured has that in its name: {}",
            Quantity::ALL.map(Quantity::name).join(", ")
        );
    }
    let ours = if arguments.control { Maker::Miredo } else { Maker::Ours(program::release()?) };
    let generator =
        program::executable(&["--package", "teredo-tests", "--example", "flood"], &["--release"])?;
    let machine = Machine::now();
    eprintln!("building two Internets");
    let stands = [Stand::new(Maker::Miredo, &generator)?, Stand::new(ours, &generator)?];
    let mut report = Report::new(&quantities);
    for round in 1..=arguments.rounds {
        for quantity in &quantities {
            // Who goes first changes, so that warming up favours nobody.
            let order = if round % 2 == 0 { [1, 0] } else { [0, 1] };
            for side in order {
                let sample = stands[side].measure(*quantity, arguments.seconds)?;
                let name = ["Miredo", "ours"][side];
                eprintln!("round {round} {}: {name} {sample}", quantity.name());
                report.take(*quantity, side, sample);
            }
        }
    }
    drop(stands);
    for doubt in machine.doubts() {
        eprintln!("doubtful figures: {doubt}");
    }
    if arguments.json {
        report.print_json()
    } else {
        report.print()
    }
    let slower = report.slower();
    if !slower.is_empty() && !arguments.control {
        bail!("slower than Miredo: {}", slower.join(", "));
    }
    Ok(())
}
