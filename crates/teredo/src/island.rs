//! The subcommand `teredo island`: a server and a relay on one host, for clients with keys.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use serde::Serialize;
use teredo_engine::network::Addresses;
use teredo_proto::Ipv4Filter;
use teredo_proto::keys::Algorithm;
use teredo_wire::ipv4::Ipv4Cidr;
use toml::Value;

use crate::exit::Exit;
use crate::keys::{Name, NewKey, create};
use crate::secondary::Secondary;
use crate::{host, output, relay};

/// Options of `teredo island`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write the configuration of a private server and a relay on this host, and print how its
    /// first client starts
    Init(InitArgs),
}

/// Options of `teredo island init`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct InitArgs {
    /// Public IPv4 address of this host
    #[arg(long, value_name = "IPV4")]
    address: Ipv4Addr,

    /// Its second address, or "none"; without it the one after the first if this host has that
    #[arg(long, value_name = "IPV4|none", default_value = "next", hide_default_value = true)]
    secondary: Secondary,

    /// Identifier of the first client; `teredo key new` makes keys for further ones
    #[arg(long, value_name = "NAME", default_value = "client-1")]
    client: Name,

    /// Where the configuration goes
    #[arg(long, value_name = "DIRECTORY", default_value = "/etc/teredo")]
    directory: PathBuf,

    /// Take this range for public although it is a special-purpose one (may be given several times)
    #[arg(long, value_name = "CIDR")]
    allow_ipv4: Vec<Ipv4Cidr>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  teredo island init --address 192.0.2.1 --client laptop
  teredo daemon                        serves it, from /etc/teredo/teredo.toml

What it prints on standard output is to be pasted into a root shell of the client. With it comes the
key, so let nobody watch. Files that exist are not touched.";

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let Action::Init(args) = args.action;
    let addresses = host::addresses()?;
    let filter = Ipv4Filter { allowed: args.allow_ipv4.clone(), ..Ipv4Filter::default() };
    if !filter.is_global(args.address) {
        let address = args.address;
        bail!("{address} is not a public address; if it is meant, --allow-ipv4 {address}");
    }
    let island = Island::plan(args, &addresses)?;
    let key = NewKey::draw(&island.args.client, Algorithm::default())?;
    island.write(&key)?;
    output::print(|out| {
        if !island.args.json {
            return writeln!(out, "{}", island.client_lines(&key));
        }
        serde_json::to_writer(&mut *out, &island.fact(&key))?;
        writeln!(out)
    })?;
    if !island.args.json {
        island.say();
    }
    Ok(Exit::Ok)
}

/// What is to be written.
struct Island {
    args: InitArgs,
    secondary: Option<Ipv4Addr>,
    /// Without native IPv6 there is nothing to relay to.
    has_relay: bool,
    configuration: PathBuf,
    clients: PathBuf,
}

impl Island {
    fn plan(args: InitArgs, addresses: &Addresses) -> anyhow::Result<Self> {
        let secondary = args.secondary.beside(args.address);
        let secondary = match args.secondary {
            Secondary::Next => {
                secondary.ok().flatten().filter(|address| addresses.ipv4.contains(address))
            }
            Secondary::None | Secondary::At(_) => secondary?,
        };
        let directory = std::path::absolute(&args.directory);
        let directory = directory.context("cannot tell where the configuration goes")?;
        Ok(Self {
            secondary,
            has_relay: !addresses.native_ipv6.is_empty(),
            configuration: directory.join("teredo.toml"),
            clients: directory.join("clients"),
            args,
        })
    }

    /// Writes both files, or none.
    fn write(&self, key: &NewKey) -> anyhow::Result<()> {
        let [configuration, clients] = [&self.configuration, &self.clients];
        if let Some(existing) = [configuration, clients].into_iter().find(|path| path.exists()) {
            bail!("{} exists already; --directory names another place", existing.display());
        }
        if let Some(directory) = configuration.parent() {
            let made = fs::create_dir_all(directory);
            made.with_context(|| format!("cannot create {}", directory.display()))?;
        }
        create(clients, 0o600, &format!("{CLIENTS_HEAD}{}\n", key.line()))?;
        create(configuration, 0o644, &self.text()).inspect_err(|_| drop(fs::remove_file(clients)))
    }

    /// The configuration file.
    fn text(&self) -> String {
        let address = self.args.address;
        let allowed = self.args.allow_ipv4.iter().map(|range| Value::from(range.to_string()));
        let allowed =
            Some(Value::Array(allowed.collect())).filter(|_| !self.args.allow_ipv4.is_empty());
        let allowed = allowed.map(|ranges| format!("allow-ipv4 = {ranges}\n")).unwrap_or_default();
        let clients = Value::from(self.clients.display().to_string());
        let secondary = self.secondary_word();
        let mut text = format!(
            "{HEAD}\n[server]\naddress = \"{address}\"\nsecondary = \"{secondary}\"\n\
             clients = {clients}\n{allowed}"
        );
        if self.has_relay {
            let service = SocketAddrV4::new(address, relay::PORT);
            text.push_str(&format!("relay = \"{service}\"\n"));
            text.push_str(&format!("\n[relay]\naddress = \"{address}\"\n{allowed}"));
        }
        text
    }

    fn secondary_word(&self) -> String {
        self.secondary.map_or_else(|| "none".to_owned(), |address| address.to_string())
    }

    /// How the client starts.
    fn client_command(&self) -> String {
        let server = self.args.address;
        let secondary = self.secondary_word();
        let identifier = self.args.client.quoted();
        let allowed = self.args.allow_ipv4.iter().map(|range| format!(" --allow-ipv4 {range}"));
        let allowed: String = allowed.collect();
        format!(
            "teredo client --server {server} --secondary {secondary} --identifier {identifier} \
             --key-file {KEY_FILE}{allowed}"
        )
    }

    /// What is to be pasted. A shell writes the key itself, so that no list of processes shows it.
    fn client_lines(&self, key: &NewKey) -> String {
        let digits = key.digits();
        format!("(umask 077; echo {digits} > {KEY_FILE})\n{}", self.client_command())
    }

    fn fact<'a>(&'a self, key: &'a NewKey) -> Fact<'a> {
        Fact {
            configuration: &self.configuration,
            clients: &self.clients,
            secondary: self.secondary,
            has_relay: self.has_relay,
            key,
            client: self.client_command(),
        }
    }

    /// On standard error: standard output is for the client.
    fn say(&self) {
        let (configuration, clients) = (self.configuration.display(), self.clients.display());
        eprintln!("teredo: {configuration} and {clients} are written");
        eprintln!("teredo: serve with: teredo daemon --config {configuration}");
        if self.has_relay {
            eprintln!(
                "teredo: for others than this host: sysctl -w net.ipv6.conf.all.forwarding=1, and \
                 a route for 2001::/32 to this host"
            );
        } else {
            eprintln!(
                "teredo: this host has no native IPv6 address, so there is no relay: the clients \
                 reach each other and nobody else"
            );
        }
        if self.secondary.is_none() {
            eprintln!("teredo: with one address clients do not learn what kind of NAT they have");
        }
        eprintln!("teredo: the lines above go into a root shell of the client");
    }
}

/// Printed as JSON.
#[derive(Serialize)]
struct Fact<'a> {
    configuration: &'a Path,
    clients: &'a Path,
    secondary: Option<Ipv4Addr>,
    has_relay: bool,
    #[serde(flatten)]
    key: &'a NewKey,
    /// The command that starts the client.
    client: String,
}

/// Where the client's key goes, in the directory that it is started in.
const KEY_FILE: &str = "teredo.key";
const HEAD: &str = "\
# A Teredo server for its own clients and a relay, for \"teredo daemon\". Written by
# \"teredo island init\"; docs/src/daemon.md explains it.
";
const CLIENTS_HEAD: &str = "\
# The clients of this server, one a line. \"teredo key new NAME\" makes further ones; the
# server reads this file when it starts.
";
