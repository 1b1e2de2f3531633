//! The subcommand `teredo server`.

use anyhow::bail;

use crate::exit::Exit;

/// Options of `teredo server`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args) -> anyhow::Result<Exit> {
    bail!("the server is being written")
}
