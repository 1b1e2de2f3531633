//! Long runs, by name. Continuous integration runs a twentieth of each.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{fuzz, matrix, workspace};

/// Labs between two signs of life.
const PROGRESS_EVERY: u32 = 20;

/// A client should be qualified in a round trip, here well below a millisecond, and this much of
/// its own time. More on a busy machine is told, not refused.
const QUALIFIED_MS_GOAL: f64 = 20.0;

/// Continuous integration divides the number of runs by this where nothing else is said.
const CI_DIVISOR: u32 = 20;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which one; without, they are listed
    name: Option<String>,
    /// How many runs instead of the usual number
    #[arg(long)]
    runs: Option<u32>,
    /// A few of the runs, as continuous integration does
    #[arg(long, conflicts_with = "runs")]
    ci: bool,
    /// First seed of the runs that have one
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

struct Soak {
    name: &'static str,
    runs: u32,
    /// Runs in continuous integration; a twentieth if it does not say.
    ci: Option<u32>,
    what: &'static str,
    run: fn(u32, u64) -> Result<()>,
}

const SOAKS: [Soak; 7] = [
    Soak {
        name: "sim",
        runs: 1_000_000,
        ci: Some(20_000),
        what: "random simulated networks: faults, restarts, moves, an attacker",
        run: simulator,
    },
    Soak {
        name: "loss",
        runs: 2_000,
        ci: None,
        what: "seeds of every pair of NATs with 1 % loss: 99 % of each connect",
        run: matrix::loss,
    },
    Soak {
        name: "lab",
        runs: 200,
        ci: None,
        what: "labs in a row: every one qualifies and loses no ping",
        run: lab,
    },
    Soak {
        name: "kills",
        runs: 1000,
        ci: None,
        what: "daemons killed: the next GetTeredoPort of every process is 21",
        run: |runs, _seed| api("kills", runs),
    },
    Soak {
        name: "restarts",
        runs: 1000,
        ci: None,
        what: "daemons killed and started again: 50 registered processes end with the last port",
        run: |runs, _seed| api("restarts", runs),
    },
    Soak {
        name: "firewall",
        runs: 1_000,
        ci: None,
        what: "ports, a change every 10 ms: the firewall keeps none that was given up; as root",
        run: firewall,
    },
    Soak {
        name: "fuzz",
        runs: 10,
        ci: None,
        what: "minutes of each fuzz target, with the inputs of fuzz/corpus to start from",
        run: |minutes, _seed| fuzz::run(minutes),
    },
];

/// Runs one, or lists all.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Some(name) = &arguments.name else {
        for soak in &SOAKS {
            println!("{:<8} {:>7} runs  {}", soak.name, soak.runs, soak.what);
        }
        return Ok(());
    };
    let Some(soak) = SOAKS.iter().find(|soak| soak.name == name) else {
        bail!("there is no soak `{name}`; `cargo xtask soak` lists them");
    };
    let usual = if arguments.ci { soak.ci.unwrap_or(soak.runs / CI_DIVISOR) } else { soak.runs };
    let runs = arguments.runs.unwrap_or(usual);
    println!("soak {name}: {runs} runs: {}", soak.what);
    (soak.run)(runs, arguments.seed)
}

fn simulator(runs: u32, seed: u64) -> Result<()> {
    let (runs, seed) = (runs.to_string(), seed.to_string());
    let example = ["run", "--release", "--locked", "--package", "teredo-sim", "--example", "soak"];
    let options = ["--", "--runs", &runs, "--seed", &seed];
    workspace::run(workspace::cargo().args(example).args(options))
}

/// A run of `tests/examples/api`.
fn api(name: &str, runs: u32) -> Result<()> {
    let example = ["--package", "teredo-tests", "--example", "api"];
    let program = teredo_tests::program::executable(&example, &["--release"])?;
    workspace::run(Command::new(program).args([name, &runs.to_string()]))
}

fn lab(runs: u32, _seed: u64) -> Result<()> {
    let program = teredo_tests::program::release()?;
    let mut report = LabReport::default();
    for number in 1..=runs {
        let output = Command::new(&program)
            .args(["lab", "--json"])
            .output()
            .with_context(|| format!("cannot run {}", program.display()))?;
        if let Err(error) = report.take(&output.stdout, output.status.success()) {
            report.failed += 1;
            println!("lab {number}: {error:#}");
        }
        if number % PROGRESS_EVERY == 0 {
            eprintln!("{number} of {runs} labs, {} failed", report.failed);
        }
    }
    report.print();
    if report.failed > 0 {
        bail!("{} of {runs} labs failed or lost a ping", report.failed);
    }
    Ok(())
}

fn firewall(runs: u32, _seed: u64) -> Result<()> {
    let program = teredo_tests::program::release()?;
    let changes = u16::try_from(runs).context("there are not so many ports")?;
    let chase = teredo_tests::firewall::chase(&program, changes)?;
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    println!("{} of {changes} ports were in the set, the last one to the end", chase.seen);
    println!("after it was given up one stayed for at most {:.1} ms", ms(chase.stay_max));
    println!("the longest transaction took {:.1} ms", ms(chase.run_max));
    Ok(())
}

/// What the labs said, all times in milliseconds.
#[derive(Default)]
struct LabReport {
    qualified_ms: Vec<f64>,
    relay_first_ms: Vec<f64>,
    peer_first_ms: Vec<f64>,
    failed: u32,
}

impl LabReport {
    fn take(&mut self, stdout: &[u8], success: bool) -> Result<()> {
        let lab: Value = serde_json::from_slice(stdout).context("no JSON on stdout")?;
        let number = |pointer: &str| {
            lab.pointer(pointer).and_then(Value::as_f64).with_context(|| format!("no {pointer}"))
        };
        self.qualified_ms.push(number("/client1/qualified_ms")?);
        self.qualified_ms.push(number("/client2/qualified_ms")?);
        self.relay_first_ms.push(number("/relay_ping/first_ms")?);
        self.peer_first_ms.push(number("/peer_ping/first_ms")?);
        for ping in ["relay_ping", "peer_ping"] {
            let sent = number(&format!("/{ping}/sent"))?;
            let received = number(&format!("/{ping}/received"))?;
            if sent != received || sent == 0.0 {
                bail!("{ping}: {received} of {sent} answered");
            }
        }
        if !success {
            bail!("exit status is not 0");
        }
        Ok(())
    }

    fn print(&mut self) {
        println!("{:<22} {:>9} {:>9} {:>9}", "ms", "min", "median", "max");
        for (name, values) in [
            ("qualified", &mut self.qualified_ms),
            ("first ping, relay", &mut self.relay_first_ms),
            ("first ping, peer", &mut self.peer_first_ms),
        ] {
            values.sort_by(f64::total_cmp);
            let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
            let (middle, last) = (values.len() / 2, values.len().saturating_sub(1));
            println!("{name:<22} {:>9.2} {:>9.2} {:>9.2}", at(0), at(middle), at(last));
        }
        let late = self.qualified_ms.iter().filter(|it| **it > QUALIFIED_MS_GOAL).count();
        let all = self.qualified_ms.len();
        println!("{late} of {all} clients took more than {QUALIFIED_MS_GOAL} ms to qualify");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"client1":{"qualified_ms":3.0},"client2":{"qualified_ms":5},
        "relay_ping":{"sent":5,"received":5,"first_ms":1.5,"median_ms":0.4},
        "peer_ping":{"sent":5,"received":5,"first_ms":2.5,"median_ms":0.4}}"#;

    #[test]
    fn a_lost_ping_is_a_failure() {
        let mut report = LabReport::default();
        assert!(report.take(GOOD.as_bytes(), true).is_ok());
        assert_eq!(report.qualified_ms, [3.0, 5.0]);
        assert!(report.take(GOOD.as_bytes(), false).is_err());
        let lost = GOOD.replace("\"received\":5,\"first_ms\":2.5", "\"received\":4,\"first_ms\":2");
        assert!(report.take(lost.as_bytes(), true).is_err());
        assert!(report.take(b"", true).is_err());
    }
}
