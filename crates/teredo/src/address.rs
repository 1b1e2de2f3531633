//! The subcommand `teredo address`.

use anyhow::bail;

use crate::exit::Exit;

/// Options of `teredo address`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: Args) -> anyhow::Result<Exit> {
    bail!("address is being written")
}
