//! Every pair of NATs in the simulator, many times each: which connect, how fast, and by what.

mod goal;
mod table;

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use self::goal::{CLIENTS, Clients};
use self::table::Table;
use crate::workspace;

/// Where the reviewed figures are, beside the source so that a change of them is seen in its diff.
const SNAPSHOT: &str = "docs/matrix.csv";

/// Seeds of the reviewed figures.
const SEEDS: u32 = 200;
/// Seeds in continuous integration.
const SEEDS_CI: u32 = 50;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Runs of each pair
    #[arg(long, value_name = "N", default_value_t = SEEDS)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// One JSON object for each pair instead of the tables
    #[arg(long)]
    json: bool,
    /// Change nothing; fail unless every pair connects as it is to, and with the reviewed number of
    /// seeds exactly as reviewed
    #[arg(long)]
    check: bool,
}

/// Runs all pairs and prints the tables; with the usual number of seeds the reviewed file is
/// written.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let tables = tables(arguments.seeds)?;
    for table in &tables {
        if arguments.json {
            print!("{}", table.json()?);
        } else {
            println!("{}", table.text());
        }
    }
    if !arguments.json {
        print!("{}", table::LEGEND);
    }
    let path = workspace::root().join(SNAPSHOT);
    let is_reviewed = arguments.seeds == SEEDS;
    if arguments.check {
        check_all(&tables)?;
        if is_reviewed {
            compare(&path, &table::csv(&tables))?;
        }
    } else if is_reviewed {
        let written = std::fs::write(&path, table::csv(&tables));
        written.with_context(|| format!("cannot write {SNAPSHOT}"))?;
    }
    Ok(())
}

/// The same with few seeds and without the tables, for `cargo xtask test`.
pub(crate) fn check() -> Result<String> {
    check_all(&tables(SEEDS_CI)?)?;
    Ok(format!("matrix: every pair connects as it is to, with {SEEDS_CI} seeds"))
}

/// All pairs with everything on, where one packet in a hundred is lost on each access link: none
/// may connect less often than [`LOSSY_PERCENT`] says.
pub(crate) fn loss(seeds: u32, first: u64) -> Result<()> {
    let [first, loss] = [first, LOSS_PERMILLE].map(|number| number.to_string());
    let table = simulate(&goal::EVERYTHING, seeds, &["--first", &first, "--loss", &loss])?;
    print!("{}", table.text());
    let poor = table.poor(LOSSY_PERCENT);
    ensure!(poor.is_empty(), "less than {LOSSY_PERCENT} % connected:\n{poor}");
    Ok(())
}

/// Packets lost on each access link, of a thousand.
const LOSS_PERMILLE: u64 = 10;
/// How many connect all the same.
const LOSSY_PERCENT: u32 = 99;

fn tables(seeds: u32) -> Result<Vec<Table>> {
    CLIENTS.iter().map(|clients| simulate(clients, seeds, &["--by", "yes"])).collect()
}

fn simulate(clients: &'static Clients, seeds: u32, options: &[&str]) -> Result<Table> {
    let seeds = seeds.to_string();
    let output = workspace::cargo()
        .args(["run", "--release", "--locked", "--quiet"])
        .args(["--package", "teredo-sim", "--example", "matrix", "--"])
        .args(["--seeds", &seeds, "--techniques", clients.techniques, "--peer", clients.peer])
        .args(options)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot run the simulator")?;
    ensure!(output.status.success(), "the simulator failed");
    Table::parse(clients, &String::from_utf8_lossy(&output.stdout))
}

fn check_all(tables: &[Table]) -> Result<()> {
    let wrong: String = tables.iter().map(Table::wrong).collect();
    ensure!(wrong.is_empty(), "not as it is to be:\n{wrong}");
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
