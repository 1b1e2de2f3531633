//! Measures and strains the programming interface: many processes that follow the port of a daemon
//! which changes, ends and comes back. `cargo xtask bench api` and `cargo xtask soak` run it.
//!
//! ```text
//! api figures PORT_COST   what reading and following the port costs, as one JSON object
//! api kills RUNS          daemons that are killed, and what is read right after
//! api restarts RUNS       daemons that are killed and started again under registered processes
//! ```
//!
//! `PORT_COST` is the C program of that name beside this file, compiled. The processes that read,
//! follow and serve are this executable, started again.

#![forbid(unsafe_code)]

mod figures;
mod processes;
mod soak;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    // A daemon's process is told so by its environment.
    teredo_control::testing::serve_if_asked();
    let mut words = std::env::args().skip(1);
    let command = words.next().context("see the beginning of the source")?;
    let argument = words.next().unwrap_or_default();
    match command.as_str() {
        "figures" => figures::print(argument.as_ref()),
        "kills" => soak::kills(argument.parse()?),
        "restarts" => soak::restarts(argument.parse()?),
        figures::COST => figures::port_cost(argument.parse()?),
        processes::READ => processes::read(),
        processes::WATCH => processes::watch(argument.parse()?),
        other => bail!("`{other}` is no command"),
    }
}
