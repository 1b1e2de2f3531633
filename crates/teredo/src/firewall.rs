//! The subcommand `teredo firewall`: the host's exceptions follow the client's port.
//!
//! It is what anybody's firewall would be: of Teredo it knows only what `netioapi` tells.

mod agent;
pub(crate) mod fuzz;
mod listing;
mod model;
pub(crate) mod nft;
mod plan;

use std::io::Write;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::str::FromStr;

use anyhow::bail;
use clap::Subcommand;

use self::model::SetId;
use self::nft::Nft;
use self::plan::{Exceptions, Plan, Target};
use crate::exit::Exit;
use crate::output;
use crate::report::Report;

/// Options of `teredo firewall`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    plan: PlanArgs,

    /// Print each transaction, as JSON for nft -j, instead of running it
    #[arg(long, global = true)]
    dry_run: bool,

    /// Print what happens as JSON, one object a line
    #[arg(long, global = true)]
    json: bool,
}

/// What to do instead of following the port.
#[derive(Debug, Subcommand)]
enum Action {
    /// Remove what an agent may have left: its table, or what is in its set
    Clear,
    /// Print what would be loaded now, in the syntax of nft
    Print {
        /// As if the client had this port
        #[arg(long, value_name = "N")]
        port: Option<NonZeroU16>,
    },
}

/// What is kept, and where.
#[derive(Debug, clap::Args)]
struct PlanArgs {
    /// Keep the port in this set, declared with "type inet_service; flags timeout;", instead of
    /// marking packets in a table of its own
    #[arg(long, global = true, num_args = 3, value_names = ["FAMILY", "TABLE", "SET"])]
    #[arg(action = clap::ArgAction::Set)]
    set: Option<Vec<Name>>,

    /// The bit that marks what is to be let through
    #[arg(long, global = true, value_name = "BIT", default_value = "0x1000")]
    mark: Mark,

    /// Seconds after which everything closes if the agent is killed
    #[arg(long, global = true, value_name = "S", default_value = "10")]
    #[arg(value_parser = clap::value_parser!(u32).range(2..=3_600))]
    timeout: u32,

    /// Let any port ask this server on UDP port 3544, and its answers in: the client's first
    /// question then need not wait for the agent (may be given several times)
    #[arg(long, global = true, value_name = "IPV4", conflicts_with = "set")]
    server: Vec<Ipv4Addr>,

    /// Let this router be asked for port mappings (NAT-PMP, PCP, and the search of UPnP), and its
    /// answers in (may be given several times)
    #[arg(long, global = true, value_name = "IPV4", conflicts_with = "set")]
    router: Vec<Ipv4Addr>,

    /// Do not let clients on the same link find each other (UDP port 3544 of 224.0.0.253)
    #[arg(long, global = true, conflicts_with = "set")]
    no_local_discovery: bool,
}

const EXAMPLES: &str = "Examples:
  teredo firewall                            mark in a table of its own, and in the host's rules:
      meta l4proto udp meta mark & 0x1000 == 0x1000 accept
  teredo firewall --set inet filter teredo_port
      set teredo_port { type inet_service; flags timeout; }
      meta nfproto ipv4 udp dport @teredo_port accept
  teredo firewall print --port 3545
  teredo firewall clear                      after one that was killed

Needs CAP_NET_ADMIN and the program nft. An accept in a table of its own would open nothing, where
another table drops: hence the mark.";

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let plan = args.plan.plan()?;
    let mut nft = Nft::default();
    nft.is_dry = args.dry_run;
    match args.action {
        None => agent::run(plan, nft, Report::new(args.json)),
        Some(Action::Clear) => agent::clear(&plan, &mut nft).map(|()| Exit::Ok),
        Some(Action::Print { port }) => {
            let contents = plan.contents(port.or_else(|| netioapi::port().ok()));
            let ruleset = plan.install(&contents);
            output::print(|out| write!(out, "{ruleset}")).map(|_| Exit::Ok)
        }
    }
}

impl PlanArgs {
    fn plan(self) -> anyhow::Result<Plan> {
        let target = match self.set {
            None => Target::Table(Exceptions {
                mark: self.mark.0,
                local_discovery: !self.no_local_discovery,
                servers: self.server,
                routers: self.router,
            }),
            Some(names) => {
                let names: Vec<_> = names.into_iter().map(|Name(name)| name).collect();
                let Ok([family, table, name]) = <[String; 3]>::try_from(names) else {
                    bail!("--set takes a family, a table and a set");
                };
                Target::Set(SetId { family, table, name })
            }
        };
        Ok(Plan { target, timeout_s: self.timeout })
    }
}

/// A name as nftables allows it. Families are such names too.
#[derive(Clone, Debug)]
struct Name(String);

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_first = |first: char| first.is_ascii_alphabetic() || first == '_';
        let is_further = |it: char| it.is_ascii_alphanumeric() || "_-./".contains(it);
        if text.starts_with(is_first) && text.chars().all(is_further) && text.len() <= NAME_LEN_MAX
        {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected a name, such as in: --set inet filter teredo_port")
        }
    }
}

/// The kernel's own limit is 255.
const NAME_LEN_MAX: usize = 255;

/// One bit of the 32 of a packet's mark.
#[derive(Clone, Copy, Debug)]
struct Mark(u32);

impl FromStr for Mark {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bits = match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => text.parse(),
        };
        let bit = bits.ok().filter(|bits| bits.is_power_of_two());
        bit.map(Self).ok_or("expected a single bit, such as 0x1000")
    }
}
