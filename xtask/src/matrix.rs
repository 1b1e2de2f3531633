//! The matrix of RFC 6081 in the simulator: every pair of NATs, many times each.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::workspace;

/// Where the reviewed figures are, beside the source so that a change of them is seen in its diff.
const SNAPSHOT: &str = "docs/matrix.csv";

/// Seeds of the reviewed figures.
const SEEDS: u32 = 200;

/// Pairs where the RFC is more cautious than it has to be: an endpoint that was reserved serves
/// both ways (E-29), and two draws from a small pool of addresses may fall on the same one.
const MAY_EXCEED: [&str; 2] = ["upr", "addr"];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Runs of each pair
    #[arg(long, value_name = "N", default_value_t = SEEDS)]
    seeds: u32,
    /// One JSON object for each pair instead of the table
    #[arg(long)]
    json: bool,
    /// Change nothing; fail unless every pair connects as RFC 6081 has it, and with the reviewed
    /// number of seeds exactly as reviewed
    #[arg(long)]
    check: bool,
}

/// Runs all pairs and prints the table; with the usual number of seeds the reviewed file is
/// written.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let seeds = arguments.seeds.to_string();
    let example =
        ["run", "--release", "--locked", "--package", "teredo-sim", "--example", "matrix"];
    let output = workspace::cargo()
        .args(example)
        .args(["--", "--seeds", &seeds])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot run the simulator")?;
    ensure!(output.status.success(), "the simulator failed");
    let table = Table::parse(&String::from_utf8_lossy(&output.stdout))?;
    if arguments.json {
        print!("{}", table.json()?);
    } else {
        print!("{}", table.text());
    }
    let path = workspace::root().join(SNAPSHOT);
    let is_reviewed = arguments.seeds == SEEDS;
    if arguments.check {
        table.check()?;
        if is_reviewed {
            compare(&path, &table.csv())?;
        }
    } else if is_reviewed {
        std::fs::write(&path, table.csv()).with_context(|| format!("cannot write {SNAPSHOT}"))?;
    }
    Ok(())
}

fn compare(path: &Path, now: &str) -> Result<()> {
    let reviewed = std::fs::read_to_string(path).with_context(|| format!("no {SNAPSHOT}"))?;
    let changed: Vec<&str> = now.lines().filter(|line| !reviewed.contains(*line)).collect();
    if !changed.is_empty() || reviewed.len() != now.len() {
        bail!(
            "{SNAPSHOT} says otherwise; if this is better, run `cargo xtask matrix` and have it \
             reviewed:\n{}",
            changed.join("\n")
        );
    }
    Ok(())
}

/// What came of one pair.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Cell {
    from: String,
    to: String,
    /// What RFC 6081 connects it by; "-" if by nothing.
    rfc: String,
    seeds: u32,
    connected: u32,
    /// Until data had gone both ways.
    median_ms: Option<u32>,
    worst_ms: Option<u32>,
    /// Datagrams with bubbles that both clients sent until then; the median.
    bubbles: Option<u32>,
    failed_seed: Option<u64>,
}

/// All pairs, in the order of the RFC's figure.
struct Table {
    kinds: Vec<String>,
    cells: BTreeMap<(usize, usize), Cell>,
}

impl Table {
    fn parse(lines: &str) -> Result<Self> {
        let cells: Vec<Cell> = lines
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .context("the simulator said something else")?;
        let kinds: Vec<String> = teredo_kinds().iter().map(|kind| (*kind).to_owned()).collect();
        let place = |kind: &str| {
            kinds.iter().position(|it| it == kind).with_context(|| format!("what is {kind}?"))
        };
        let mut placed = BTreeMap::new();
        for cell in cells {
            placed.insert((place(&cell.from)?, place(&cell.to)?), cell);
        }
        ensure!(placed.len() == kinds.len() * kinds.len(), "{} pairs", placed.len());
        Ok(Self { kinds, cells: placed })
    }

    /// Each pair on which the RFC and what happened do not agree is named.
    fn check(&self) -> Result<()> {
        let mut wrong = String::new();
        for cell in self.cells.values() {
            let Cell { from, to, rfc, seeds, connected, .. } = cell;
            let may_exceed = [from, to].iter().any(|kind| MAY_EXCEED.contains(&kind.as_str()));
            let is_right = match rfc.as_str() {
                "-" => *connected == 0 || may_exceed,
                _ => connected == seeds,
            };
            if !is_right {
                let seed = cell.failed_seed.map(|seed| format!(", not with seed {seed}"));
                let seed = seed.unwrap_or_default();
                writeln!(wrong, "{from} to {to} ({rfc}): {connected} of {seeds}{seed}")?;
            }
        }
        ensure!(wrong.is_empty(), "not as RFC 6081 has it:\n{wrong}");
        Ok(())
    }

    fn json(&self) -> Result<String> {
        let lines = self.cells.values().map(serde_json::to_string);
        let lines: Vec<String> = lines.collect::<Result<_, _>>()?;
        Ok(lines.join("\n") + "\n")
    }

    fn csv(&self) -> String {
        let mut text = String::from("from,to,rfc6081,seeds,connected,median_ms,worst_ms,bubbles\n");
        for cell in self.cells.values() {
            let Cell { from, to, rfc, seeds, connected, .. } = cell;
            let number = |value: Option<u32>| value.map(|it| it.to_string()).unwrap_or_default();
            let [median, worst, bubbles] =
                [cell.median_ms, cell.worst_ms, cell.bubbles].map(number);
            text += &format!("{from},{to},{rfc},{seeds},{connected},{median},{worst},{bubbles}\n");
        }
        text
    }

    /// A row for the NAT before the client that begins, a column for that before the other one: how
    /// many connected, or the median and the longest time, and the bubbles.
    fn text(&self) -> String {
        let mut text = format!("{:>6}", "");
        for kind in &self.kinds {
            text += &format!("{kind:>16}");
        }
        for (row, kind) in self.kinds.iter().enumerate() {
            text += &format!("\n{kind:>6}");
            for column in 0..self.kinds.len() {
                let cell = self.cells.get(&(row, column)).map(Cell::text).unwrap_or_default();
                text += &format!("{cell:>16}");
            }
        }
        text + "\n\n" + LEGEND
    }
}

impl Cell {
    fn text(&self) -> String {
        let Self { rfc, seeds, connected, .. } = self;
        match (self.median_ms, self.worst_ms, self.bubbles) {
            (Some(median), Some(worst), Some(bubbles)) if connected == seeds => {
                format!("{rfc} {median}/{worst} {bubbles}")
            }
            _ if *connected == 0 && rfc == "-" => "-".to_owned(),
            _ => format!("{rfc} !{connected}/{seeds}"),
        }
    }
}

const LEGEND: &str = "\
What RFC 6081 connects the pair by, median and longest time in ms until data had gone both ways,
bubbles; `!` and how many connected where it was not all of them, `-` for none.
";

/// The kinds of NAT in the order of the RFC's figure.
const fn teredo_kinds() -> [&'static str; 9] {
    ["cone", "ar", "pr", "upr", "ups", "pp", "seq", "ps", "addr"]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(change: impl Fn(&mut Cell)) -> Table {
        let mut lines = String::new();
        for from in teredo_kinds() {
            for to in teredo_kinds() {
                let mut cell = Cell {
                    from: from.to_owned(),
                    to: to.to_owned(),
                    rfc: "S".to_owned(),
                    seeds: 3,
                    connected: 3,
                    median_ms: Some(100),
                    worst_ms: Some(200),
                    bubbles: Some(4),
                    failed_seed: None,
                };
                change(&mut cell);
                lines += &(serde_json::to_string(&cell).unwrap() + "\n");
            }
        }
        Table::parse(&lines).unwrap()
    }

    #[test]
    fn a_pair_that_does_not_connect_is_named() {
        assert!(table(|_| {}).check().is_ok());
        let fails = table(|cell| {
            if (cell.from.as_str(), cell.to.as_str()) == ("pr", "pp") {
                (cell.connected, cell.failed_seed) = (2, Some(9));
            }
        });
        let error = fails.check().unwrap_err().to_string();
        assert!(error.contains("pr to pp (S): 2 of 3, not with seed 9"), "{error}");
        let exceeds = |kind: &'static str| {
            table(move |cell| {
                if (cell.from.as_str(), cell.to.as_str()) == (kind, "ps") {
                    cell.rfc = "-".to_owned();
                }
            })
        };
        assert!(exceeds("upr").check().is_ok());
        assert!(exceeds("ps").check().is_err());
    }

    #[test]
    fn a_table_has_all_pairs() {
        let table = table(|_| {});
        assert_eq!(table.csv().lines().count(), 82);
        assert_eq!(table.text().matches("S 100/200 4").count(), 81);
        assert!(Table::parse("{}").is_err() && Table::parse("").is_err());
    }
}
