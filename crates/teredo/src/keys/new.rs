//! The subcommand `teredo key`.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use serde::Serialize;
use teredo_engine::linux::seed;
use teredo_proto::keys::Algorithm;

use super::{Name, Signature, create};
use crate::exit::Exit;
use crate::output;

/// Options of `teredo key`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key for a client: print the line for the file of the server's --clients
    New(NewArgs),
}

/// Options of `teredo key new`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct NewArgs {
    /// Identifier of the client: one word
    #[arg(value_name = "NAME")]
    name: Name,

    /// How the key signs
    #[arg(long, value_name = "NAME", default_value = "hmac-sha1")]
    algorithm: Signature,

    /// Write the client's key into this new file, which only its owner can read
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  umask 077                                          # what is written here is closed to others
  teredo key new laptop --key-file laptop.key >> clients
  teredo server --address 192.0.2.1 --clients clients
  teredo client --server 192.0.2.1 --identifier laptop --key-file laptop.key

The client gets laptop.key, the server the file of clients; take both over by a safe way. A key that
is to be replaced gets the word \"renew\" at the end of its line: its client says so, and works on.
The server reads the file when it starts.";

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let Action::New(args) = args.action;
    let key = NewKey::draw(&args.name, args.algorithm.into())?;
    if let Some(path) = &args.key_file {
        create(path, 0o600, &format!("{}\n", key.digits()))?;
    }
    output::print(|out| {
        if !args.json {
            return writeln!(out, "{}", key.line());
        }
        serde_json::to_writer(&mut *out, &key)?;
        writeln!(out)
    })?;
    if !args.json {
        say_use(&args.name, args.algorithm.into(), args.key_file.as_deref());
    }
    Ok(Exit::Ok)
}

/// On standard error: standard output may be the file of clients.
fn say_use(name: &Name, algorithm: Algorithm, path: Option<&Path>) {
    let file = path.map_or("FILE".into(), |path| path.display().to_string());
    let mut options = format!("--identifier {} --key-file {file}", name.quoted());
    if algorithm != Algorithm::default() {
        options.push_str(&format!(" --algorithm {}", algorithm.name()));
    }
    eprintln!("teredo: server: the line goes into the file of teredo server --clients");
    eprintln!("teredo: client: teredo client --server HOST {options}");
    if path.is_none() {
        eprintln!("teredo: where {file}, of mode 600, holds the third word of the line");
    }
}

/// A fresh key.
#[derive(Serialize)]
pub(crate) struct NewKey {
    identifier: String,
    algorithm: &'static str,
    key: String,
}

impl NewKey {
    /// A key for the client of this name.
    pub(crate) fn draw(name: &Name, algorithm: Algorithm) -> anyhow::Result<Self> {
        let bytes = seed().context("cannot draw a key")?;
        let key = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { identifier: name.to_string(), algorithm: algorithm.name(), key })
    }

    /// The line for the server.
    pub(crate) fn line(&self) -> String {
        format!("{} {} {}", self.identifier, self.algorithm, self.key)
    }

    /// The key itself.
    pub(crate) fn digits(&self) -> &str {
        &self.key
    }
}
