//! The subcommand `teredo status`.

use std::io::{self, Write};

use anyhow::Context;
use teredo_control::{Nat, Network, Role, ServerAddress, SettingName, Snapshot, State};

use crate::exit::Exit;
use crate::{control, output};

/// Options of `teredo status`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  teredo status
  teredo status --json | jq -r .state

The rows are those of netsh interface teredo show state, and behind them what is ours alone, such as
the sandbox that the client is in. Exit code 3 while Teredo is not running.";

/// Options of `teredo show`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    #[command(subcommand)]
    what: What,
}

/// What `teredo show` can show.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// What Teredo does on this host: the same as teredo status
    State(Args),
}

pub(crate) fn show(args: ShowArgs) -> anyhow::Result<Exit> {
    let What::State(args) = args.what;
    run(args)
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let Some(mut client) = control::connect()? else { return Ok(Exit::NotRunning) };
    let status = client.status().context("cannot ask the Teredo client of this host")?;
    let snapshot = status.snapshot;
    output::print(|out| {
        if !args.json {
            return write_table(out, &snapshot);
        }
        serde_json::to_writer(&mut *out, &snapshot)?;
        writeln!(out)
    })?;
    Ok(Exit::Ok)
}

fn write_table(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    writeln!(out, "Teredo Parameters")?;
    writeln!(out, "{}", "-".repeat(RULE_LEN))?;
    for (label, value) in rows(snapshot) {
        writeln!(out, "{label:<LABEL_LEN$}: {value}")?;
    }
    Ok(())
}

/// The rows that there are in this state. Scripts read them by their position: the first five are
/// always there, and nothing comes between them.
fn rows(snapshot: &Snapshot) -> Vec<(&'static str, String)> {
    let mut rows = settings(snapshot);
    rows.push(("State", state(snapshot)));
    if snapshot.state == State::Offline {
        let (text, code) = error(snapshot.reason.as_deref());
        rows.push(("Error", text.to_owned()));
        let code = snapshot.error_code.or(code);
        rows.extend(code.map(|code| ("Error Code", code.to_string())));
    }
    if matches!(snapshot.state, State::Probe | State::Qualified) {
        rows.extend(snapshot.role.map(|role| ("Client Type", client_type(role).to_owned())));
        rows.extend(snapshot.network.map(|it| ("Network", network(it).to_owned())));
    }
    rows.extend(snapshot.nat.map(|kind| ("NAT", nat(kind).to_owned())));
    if snapshot.state == State::Qualified {
        rows.extend(mappings(snapshot));
        // After all that others have, too.
        let determined = snapshot.determined_interval_s;
        rows.extend(determined.map(|it| ("Determined Interval", format!("{it} seconds"))));
        let is_due = snapshot.key_renewal == Some(true);
        rows.extend(is_due.then(|| ("Key", "to be renewed".to_owned())));
    }
    // Not any of netsh's.
    rows.extend(snapshot.helper.as_ref().map(|helper| ("Helper", helper.to_string())));
    rows.extend(snapshot.without.clone().map(|names| ("Switched Off", names)));
    rows.extend(snapshot.sandbox.as_ref().map(|sandbox| ("Sandbox", sandbox.to_string())));
    rows
}

fn settings(snapshot: &Snapshot) -> Vec<(&'static str, String)> {
    let mark = |name, value: String| {
        let suffix = if snapshot.from_policy.contains(&name) { " (Group Policy)" } else { "" };
        format!("{value}{suffix}")
    };
    let unspecified = || UNSPECIFIED.to_owned();
    let server = snapshot.server_name.clone().unwrap_or_else(unspecified);
    let interval = format!("{} seconds", snapshot.refresh_interval_s);
    let port = snapshot.client_port.map_or_else(unspecified, |port| port.to_string());
    vec![
        ("Type", mark(SettingName::Type, snapshot.kind.name().to_owned())),
        ("Server Name", mark(SettingName::ServerName, server)),
        ("Client Refresh Interval", mark(SettingName::RefreshInterval, interval)),
        ("Client Port", mark(SettingName::ClientPort, port)),
    ]
}

fn state(snapshot: &Snapshot) -> String {
    let name = snapshot.state.name();
    match snapshot.probing.filter(|_| snapshot.state == State::Probe) {
        Some(ServerAddress::Primary) => format!("{name} (primary server)"),
        Some(ServerAddress::Secondary) => format!("{name} (secondary server)"),
        None => name.to_owned(),
    }
}

fn mappings(snapshot: &Snapshot) -> impl Iterator<Item = (&'static str, String)> {
    let special = snapshot.upnp.zip(snapshot.port_preserving).map(|(upnp, preserving)| {
        format!("UPNP: {}, PortPreserving: {}", yes_or_no(upnp), yes_or_no(preserving))
    });
    let rows = [
        ("NAT Special Behaviour", special),
        ("Local Mapping", snapshot.local_mapping.map(|mapping| mapping.to_string())),
        ("External NAT Mapping", snapshot.external_mapping.map(|mapping| mapping.to_string())),
    ];
    rows.into_iter().filter_map(|(label, value)| Some((label, value?)))
}

/// What stands for a reason, and the code that goes with it.
fn error(reason: Option<&str>) -> (&'static str, Option<u32>) {
    let text = match reason {
        None | Some("stopped") => "none",
        Some("managed-network") => "client is in a managed network",
        Some("symmetric-nat") => "client behind symmetric NAT",
        Some("no-answer") => "primary Teredo server not reachable over UDP",
        Some("no-secondary-answer") => "secondary Teredo server not reachable over UDP",
        Some("no-server") => "no Teredo server is configured",
        Some("unresolvable-server") => "Teredo server name could not be resolved",
        Some("native-ipv6") => "this host has IPv6 without Teredo",
        Some("key-unusable") => "client key could not be used",
        Some("port-unusable") => "client port could not be used",
        Some("no-tunnel-adapter") => "Failed to open tunnel adapter",
        Some("forbidden-server") => "Teredo server has no public IPv4 address",
        Some("refused") => "Teredo server refuses unknown clients",
        Some("no-proof") => "Teredo server does not know the key of the client",
        Some("no-helper") => "Teredo helper does not serve the client",
        Some("helper-unusable") => "Teredo helper could not be used",
        Some("no-native-address") => "no native IPv6 or no IPv4 address",
        Some(_) => return ("general system failure", Some(u32::MAX)),
    };
    (text, None)
}

const fn client_type(role: Role) -> &'static str {
    match role {
        Role::Client => "teredo client",
        Role::HostSpecificRelay => "teredo host-specific relay",
    }
}

const fn network(network: Network) -> &'static str {
    match network {
        Network::Managed => "managed",
        Network::Unmanaged => "unmanaged",
    }
}

/// Filtering cannot be seen since RFC 5991, so that no NAT is said to be a cone.
const fn nat(kind: Nat) -> &'static str {
    match kind {
        Nat::None => "none (global connectivity)",
        Nat::EndpointIndependent => "restricted",
        Nat::PortSymmetric => "symmetric (port)",
        Nat::AddressSymmetric => "symmetric",
        Nat::Unknown => "unknown",
    }
}

const fn yes_or_no(value: bool) -> &'static str {
    if value { "Yes" } else { "No" }
}

const RULE_LEN: usize = 45;
/// The colon stands in column 24, counted from 0.
const LABEL_LEN: usize = 24;
const UNSPECIFIED: &str = "unspecified";
