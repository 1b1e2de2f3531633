//! The subcommand `teredo decode`.

use anyhow::bail;

use crate::exit::Exit;

/// Options of `teredo decode`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args) -> anyhow::Result<Exit> {
    bail!("decode is being written")
}
