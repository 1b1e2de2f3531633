//! `cargo xtask bench flood`: our roles on the open Internet, in namespaces of their own.
//!
//! Each role in turn is flooded from two million sources with well-formed datagrams, at 60 % of
//! what it was measured to take, while an established flow goes on, and at the server also honest
//! clients qualify and a thousand behind one carrier NAT refresh. At the relay a scan from the
//! native side comes on top, since only that fills its table. What must hold is in [`goals`].

mod ground;
mod load;

use anyhow::{Result, bail};
use serde_json::{Value, json};
use teredo_tests::needs;

use super::machine::Machine;
use ground::{Ground, Target};

/// Beyond the programs that every test on this ground needs.
const PROGRAMS: [&str; 2] = ["iperf3", "ping"];
/// How much of what a role takes it is flooded with.
const SHARE_OF_CAPACITY: f64 = 0.6;
/// Entries that the tables of relay and client may hold.
const PEERS_MAX: usize = 1 << 16;
/// What a program takes beside what its role allocates: code, libraries, batches of datagrams.
const PROGRAM_BYTES: usize = 16 << 20;
/// Honest clients that qualify during the flood, and how many of them must.
const QUALIFYING: u32 = 50;
const QUALIFIED_MIN: f64 = 45.0;
/// Honest clients behind one address.
const BEHIND_NAT: u32 = 1000;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long each flood lasts
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    #[arg(value_parser = clap::value_parser!(u32).range(5..=300))]
    seconds: u32,
    /// Only the role that has this in its name
    #[arg(long)]
    only: Option<String>,
    /// One JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// Floods, prints, and fails if a goal is missed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Some(reason) = needs::missing(&PROGRAMS) {
        bail!("bench flood {reason}");
    }
    let wanted = |it: &Target| arguments.only.as_ref().is_none_or(|part| it.name().contains(part));
    let targets: Vec<Target> = Target::ALL.into_iter().filter(wanted).collect();
    if targets.is_empty() {
        bail!("no such role: {}", Target::ALL.map(Target::name).join(", "));
    }
    let ground = Ground::new()?;
    let machine = Machine::now();
    let mut rows = Vec::new();
    for target in targets {
        eprintln!("flooding the {}", target.name());
        let measured = ground.flood(target, arguments.seconds)?;
        rows.extend(goals(&measured).into_iter().map(|goal| (target, goal)));
    }
    drop(ground);
    for doubt in machine.doubts() {
        eprintln!("doubtful figures: {doubt}");
    }
    if arguments.json {
        let rows: Vec<Value> = rows.iter().map(|(target, goal)| goal.json(*target)).collect();
        println!("{}", json!({"seconds": arguments.seconds, "rows": rows}));
    } else {
        print(&rows);
    }
    let missed: Vec<String> = rows
        .iter()
        .filter(|(_, goal)| !goal.is_met())
        .map(|(target, goal)| format!("{} {}", target.name(), goal.what))
        .collect();
    if !missed.is_empty() {
        bail!("missed: {}", missed.join(", "));
    }
    Ok(())
}

/// What a role did before and during its flood.
pub(crate) struct Measured {
    /// Datagrams a second that it takes when it gets more than that.
    capacity_per_s: f64,
    /// Datagrams a second that were sent to it in the flood, and that it took.
    sent_per_s: f64,
    taken_per_s: f64,
    /// CPU time of one datagram of the flood, and of a good one.
    bad_ns: f64,
    good_ns: f64,
    /// The most memory it ever had, and what it may have.
    memory_bytes: f64,
    memory_bytes_max: f64,
    /// The established flow alone and in the flood.
    flow_alone_mbits: f64,
    flow_mbits: f64,
    /// Beside the server: honest clients.
    honest: Option<Honest>,
}

/// What became of honest clients.
pub(crate) struct Honest {
    qualified_in_time: f64,
    slowest_ms: f64,
    /// Those behind one carrier NAT that have an address at the end and never lost it.
    undisturbed: f64,
}

/// One thing that must hold, or that explains the others.
struct Goal {
    what: &'static str,
    unit: &'static str,
    value: f64,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    None,
    Least(f64),
    Most(f64),
}

impl Goal {
    fn is_met(&self) -> bool {
        match self.bound {
            Bound::None => true,
            // A value that is no number meets nothing.
            Bound::Least(least) => self.value >= least,
            Bound::Most(most) => self.value <= most,
        }
    }

    fn json(&self, target: Target) -> Value {
        let (least, most) = match self.bound {
            Bound::None => (None, None),
            Bound::Least(least) => (Some(least), None),
            Bound::Most(most) => (None, Some(most)),
        };
        json!({"role": target.name(), "what": self.what, "unit": self.unit, "value": self.value,
               "least": least, "most": most, "met": self.is_met()})
    }
}

/// The goals, and what they were measured under.
fn goals(measured: &Measured) -> Vec<Goal> {
    let mib = f64::from(1 << 20);
    let goal = |what, unit, value, bound| Goal { what, unit, value, bound };
    let mut goals = vec![
        goal("takes at most", "1/s", measured.capacity_per_s, Bound::None),
        goal("flood sent", "1/s", measured.sent_per_s, Bound::None),
        goal("flood taken", "1/s", measured.taken_per_s, Bound::None),
        goal("CPU of a bad packet", "ns", measured.bad_ns, Bound::Most(measured.good_ns)),
        goal(
            "memory",
            "MiB",
            measured.memory_bytes / mib,
            Bound::Most(measured.memory_bytes_max / mib),
        ),
        goal(
            "established flow",
            "Mbit/s",
            measured.flow_mbits,
            Bound::Least(measured.flow_alone_mbits / 2.0),
        ),
    ];
    if let Some(honest) = &measured.honest {
        goals.extend([
            goal(
                "qualified of 50 in 12 s",
                "",
                honest.qualified_in_time,
                Bound::Least(QUALIFIED_MIN),
            ),
            goal("the slowest of them", "ms", honest.slowest_ms, Bound::None),
            goal(
                "undisturbed of 1,000",
                "",
                honest.undisturbed,
                Bound::Least(f64::from(BEHIND_NAT)),
            ),
        ]);
    }
    goals
}

fn print(rows: &[(Target, Goal)]) {
    println!("{:<8} {:<26} {:>12} {:<7} {:>14}", "role", "", "measured", "", "goal");
    for (target, goal) in rows {
        let bound = match goal.bound {
            Bound::None => String::new(),
            Bound::Least(least) => format!(">= {least:.0}"),
            Bound::Most(most) => format!("<= {most:.0}"),
        };
        let verdict = if goal.is_met() { "" } else { "  MISSED" };
        println!(
            "{:<8} {:<26} {:>12.0} {:<7} {bound:>14}{verdict}",
            target.name(),
            goal.what,
            goal.value,
            goal.unit
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_meets_no_goal() {
        let met = |value, bound| Goal { what: "", unit: "", value, bound }.is_met();
        assert!(met(1.0, Bound::Least(1.0)) && met(1.0, Bound::Most(1.0)));
        assert!(!met(0.9, Bound::Least(1.0)) && !met(1.1, Bound::Most(1.0)));
        assert!(!met(f64::NAN, Bound::Least(1.0)) && !met(f64::NAN, Bound::Most(1.0)));
    }
}
