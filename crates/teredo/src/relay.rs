//! The subcommand `teredo relay`.

use anyhow::bail;

use crate::exit::Exit;

/// Options of `teredo relay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args) -> anyhow::Result<Exit> {
    bail!("the relay is being written")
}
