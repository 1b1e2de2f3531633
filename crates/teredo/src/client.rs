//! The subcommand `teredo client`.

use anyhow::bail;

use crate::exit::Exit;

/// Options of `teredo client`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args) -> anyhow::Result<Exit> {
    bail!("the client is being written")
}
