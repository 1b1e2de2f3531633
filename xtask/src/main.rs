//! Developer commands: `cargo xtask test`, `lint`, `bench`, `matrix`, `soak`, `conformance`,
//! `licenses`.
//!
//! One place for everything that is not the product. It runs other programs and reads the source
//! tree; it is never part of a release and nothing depends on it.

#![forbid(unsafe_code)]

mod bench;
mod conformance;
mod dist;
mod floors;
mod fuzz;
mod licences;
mod lint;
mod loom;
mod matrix;
mod soak;
mod source;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "Developer commands of this workspace")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run all tests, then the tidy checks and the conformance table
    Test(test::Arguments),
    /// Formatting, clippy, floors, licences, documentation
    Lint,
    /// Print the conformance table; fail if a MUST in scope has no test
    Conformance(conformance::Arguments),
    /// Measure beside Miredo in one run, which needs root; or the programming interface
    Bench(bench::Arguments),
    /// Check the licences of all dependencies
    Licenses,
    /// Put together the C library: shared, static, headers, pkg-config
    Dist(dist::Arguments),
    /// Every pair of NATs in the simulator, and what connects it
    Matrix(matrix::Arguments),
    /// Try all interleavings of the hand-overs between threads
    Loom,
    /// Long runs by name; without a name, list them
    Soak(soak::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Test(arguments) => return finish(test::run(&arguments)),
        Command::Lint => lint::run(),
        Command::Conformance(arguments) => conformance::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Licenses => licences::run(),
        Command::Dist(arguments) => dist::run(&arguments),
        Command::Matrix(arguments) => matrix::run(&arguments),
        Command::Loom => loom::run(),
        Command::Soak(arguments) => soak::run(&arguments),
    };
    finish(done.map(|()| ExitCode::SUCCESS))
}

fn finish(done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
