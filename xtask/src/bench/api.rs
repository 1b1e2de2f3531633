//! Measures the programming interface beside a round trip over a Unix socket in the same run. Needs
//! no root and no other program than a C compiler; `tests/examples/api` does the measuring.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use teredo_tests::program;

use super::machine::Machine;
use crate::{dist, workspace};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// Measures, prints, and fails if a goal is missed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let example = ["--package", "teredo-tests", "--example", "api"];
    let measuring = program::executable(&example, &["--release"])?;
    let port_cost = port_cost()?;
    let machine = Machine::now();
    let output = Command::new(measuring)
        .arg("figures")
        .arg(port_cost)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run the example `api`")?;
    if !output.status.success() {
        bail!("the figures could not be taken ({})", output.status);
    }
    let report = Report::new(&serde_json::from_slice(&output.stdout)?)?;
    for doubt in machine.doubts() {
        eprintln!("doubtful figures: {doubt}");
    }
    if arguments.json {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    let missed = report.missed();
    if !missed.is_empty() {
        bail!("goals missed: {}", missed.join(", "));
    }
    Ok(())
}

/// The C program that measures, linked with the library as it is installed.
fn port_cost() -> Result<PathBuf> {
    let out = workspace::root().join("target/bench");
    let library = out.join("dist");
    dist::build(&dist::Arguments::release(&library))?;
    let program = out.join("port_cost");
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-O2", "-Wall", "-Wextra", "-o"]).arg(&program);
    cc.arg(workspace::root().join("tests/examples/api/port_cost.c"));
    cc.arg("-I").arg(library.join("include")).arg("-L").arg(library.join("lib"));
    cc.arg(format!("-Wl,-rpath,{}", library.join("lib").display())).arg("-lnetioapi");
    workspace::run(&mut cc)?;
    Ok(program)
}

/// What was measured, and what it was to be.
struct Report {
    round_trip_ns: f64,
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    unit: &'static str,
    value: f64,
    goal: Goal,
}

#[derive(Clone, Copy)]
enum Goal {
    /// So many times faster than the round trip.
    Faster(f64),
    Below(f64),
    Exactly(f64),
    /// Only to be known; that what was read is right, the example checks.
    None,
}

impl Report {
    /// From what the example says.
    fn new(said: &Value) -> Result<Self> {
        let number = |pointer: &str| {
            said.pointer(pointer).and_then(Value::as_f64).with_context(|| format!("no {pointer}"))
        };
        let rows = ROWS.iter().map(|(name, unit, pointer, goal)| {
            Ok(Row { name, unit, value: number(pointer)?, goal: *goal })
        });
        let rows = rows.collect::<Result<_>>()?;
        Ok(Self { round_trip_ns: number("/costs/round_trip_ns")?, rows })
    }

    fn ratio(&self, row: &Row) -> f64 {
        self.round_trip_ns / row.value
    }

    /// A value that is no number reaches no goal.
    fn is_reached(&self, row: &Row) -> bool {
        match row.goal {
            Goal::Faster(times) => self.ratio(row) >= times,
            Goal::Below(limit) => row.value < limit,
            Goal::Exactly(wanted) => row.value == wanted,
            Goal::None => row.value.is_finite(),
        }
    }

    fn missed(&self) -> Vec<&str> {
        let missed = self.rows.iter().filter(|row| !self.is_reached(row));
        missed.map(|row| row.name).collect()
    }

    fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let goal = match row.goal {
                Goal::Faster(times) => json!({"ratio": times}),
                Goal::Below(limit) => json!({"below": limit}),
                Goal::Exactly(wanted) => json!({"exactly": wanted}),
                Goal::None => Value::Null,
            };
            let ratio = (row.unit == "ns").then(|| self.ratio(row));
            json!({"name": row.name, "unit": row.unit, "value": row.value, "ratio": ratio,
                   "goal": goal, "reached": self.is_reached(row)})
        });
        json!({"round_trip_ns": self.round_trip_ns, "rows": rows.collect::<Vec<_>>()})
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<54} {:>10.0} ns", "round trip over a Unix socket, one core", {
            self.round_trip_ns
        })?;
        for row in &self.rows {
            write!(f, "{:<54} {:>10.2} {:<2}", row.name, row.value, row.unit)?;
            if row.unit == "ns" && self.ratio(row) >= 1.0 {
                write!(f, " {:>5.0} times faster", self.ratio(row))?;
            }
            match row.goal {
                Goal::Faster(times) => write!(f, " (at least {times})")?,
                Goal::Below(limit) => write!(f, " (below {limit})")?,
                Goal::Exactly(wanted) => write!(f, " (exactly {wanted})")?,
                Goal::None => {}
            }
            writeln!(f, "{}", if self.is_reached(row) { "" } else { " MISSED" })?;
        }
        Ok(())
    }
}

/// Name, unit, where it stands in what the example says, and the goal. That every process ends with
/// the last port, and that no port is read that nobody wrote, the example checks itself.
const ROWS: [(&str, &str, &str, Goal); 11] = [
    ("GetTeredoPort from C", "ns", "/costs/c_ns", FASTER),
    ("GetTeredoPort from C, written all the time", "ns", "/costs/c_while_written_ns", Goal::None),
    ("port() in Rust", "ns", "/costs/rust_ns", FASTER),
    ("port() in Rust, written all the time", "ns", "/costs/rust_while_written_ns", Goal::None),
    ("the first call of a process", "ns", "/costs/first_ns", Goal::None),
    ("a call without a daemon", "ns", "/costs/absent_ns", Goal::None),
    ("change to callback, 1 process, median", "ms", "/changes/0/median_ms", Goal::Below(0.5)),
    ("change to callback, 100 processes, median", "ms", "/changes/1/median_ms", Goal::Below(5.0)),
    ("change to callback, 100 processes, longest", "ms", "/changes/1/max_ms", Goal::Below(100.0)),
    ("connections of 100 processes", "", "/registrations/connections", Goal::Exactly(100.0)),
    ("last of 100 changes to all of 10,000 registrations", "ms", "/registrations/all_ms", LAST),
];
const FASTER: Goal = Goal::Faster(500.0);
/// That it comes at all is what counts; a program should not wait longer than for a slow start.
const LAST: Goal = Goal::Below(5000.0);

#[cfg(test)]
mod tests {
    use super::*;

    fn report(port_ns: f64, longest_ms: f64) -> Report {
        let costs = json!({"round_trip_ns": 10_000, "c_ns": port_ns, "c_while_written_ns": 90,
                           "rust_ns": 1, "rust_while_written_ns": 90,
                           "first_ns": 50_000, "absent_ns": 5_000});
        let changes = json!([{"median_ms": 0.1}, {"median_ms": 1, "max_ms": longest_ms}]);
        let registrations = json!({"connections": 100, "all_ms": 5});
        let said = json!({"costs": costs, "changes": changes, "registrations": registrations});
        Report::new(&said).unwrap()
    }

    #[test]
    fn each_goal_is_judged() {
        assert!(report(20.0, 99.0).missed().is_empty());
        assert_eq!(report(20.1, 99.0).missed(), ["GetTeredoPort from C"]);
        let late = report(1.0, 100.0);
        assert_eq!(late.missed(), ["change to callback, 100 processes, longest"]);
        assert_eq!(late.to_string().matches("MISSED").count(), 1);
        assert_eq!(late.json()["rows"][8]["reached"], false);
        assert!(Report::new(&json!({})).is_err());
    }
}
