//! The subcommand `teredo lab`.

use anyhow::bail;

use crate::exit::Exit;

/// Options of `teredo lab`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args) -> anyhow::Result<Exit> {
    bail!("the lab is being written")
}
