//! The subcommand `teredo relay`.

mod host;
mod publication;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use teredo_engine::Engine;
use teredo_engine::io::{Clock, DatagramSocket};
use teredo_engine::linux::{BootClock, HostDevice, UdpPort, seed};
use teredo_engine::network::{Addresses, ipv4_source, native_ipv6_source};
use teredo_proto::Role;
use teredo_proto::policy::RULES_MAX;
use teredo_proto::relay::{Config, Relay, Scope};
use teredo_sys::caps::Capability;
use teredo_sys::sandbox::Needs;
use teredo_wire::ipv6::Ipv6Cidr;

use crate::allow::{AllowRule, CONTROL_GROUPS, Gate, Rules, USERS};
use crate::exit::Exit;
use crate::host::{self as shared, CommonArgs, Watch};
use crate::publisher::Publisher;
use crate::relay::host::RelayHost;
use crate::relay::publication::publication;
use crate::report::Report;
use crate::sandbox;

/// Options of `teredo relay`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// IPv4 address to serve on; with --host-only, without it the one of the default route
    #[arg(long, value_name = "IPV4", required_unless_present = "host_only")]
    address: Option<Ipv4Addr>,

    /// UDP port to serve on; 0 for a random one
    #[arg(long, value_name = "N", default_value_t = PORT)]
    port: u16,

    /// Name of the tunnel interface
    #[arg(long, value_name = "NAME", default_value = "teredo")]
    interface: String,

    /// Serve the native IPv6 addresses of this host and nobody else
    #[arg(long)]
    host_only: bool,

    /// Serve only this IPv6 prefix (may be given several times); without it the whole Internet
    #[arg(long, value_name = "PREFIX", conflicts_with = "host_only")]
    serve: Vec<Ipv6Cidr>,

    /// Let in what this host has not asked for: all, echo, tcp, udp or a protocol number, tcp and
    /// udp with a port or range, or whatever ports a user or a systemd unit listens on, each from
    /// everybody or a prefix (may be given several times); without it nothing
    #[arg(long, value_name = "PROTO[/PORT[-PORT]]|user:NAME|unit:NAME[@PREFIX]")]
    #[arg(requires = "host_only")]
    allow: Vec<AllowRule>,

    /// The most clients remembered at a time, which sets how much memory it takes
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    peers_max: Option<u32>,

    #[command(flatten)]
    common: CommonArgs,

    /// The file that says what is allowed, unless it is the command line.
    #[arg(skip)]
    pub(crate) allow_file: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  teredo relay --address 192.0.2.20                           for everybody who routes to it
  teredo relay --address 192.0.2.20 --serve 2001:db8:6::/48   for one site
  teredo relay --host-only                                    for this host alone
  teredo relay --host-only --allow echo --allow tcp/443       which serves something
  teredo relay --host-only --allow unit:nginx.service         whatever port that listens on

Needs CAP_NET_ADMIN. For others than this host the kernel has to forward IPv6
(net.ipv6.conf.all.forwarding=1), and routers have to send 2001::/32 here.";

/// A fixed port, because the NATs of clients open towards it, and not that of servers, so that both
/// fit on one address.
pub(crate) const PORT: u16 = 3545;

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let report = Report::new(args.common.json);
    let rules =
        Rules { given: args.allow.clone(), file: args.allow_file.clone(), added: Vec::new() };
    ensure!(rules.fit(), "too much is allowed: there are more than {RULES_MAX} rules");
    let watch = Watch::new()?;
    let addresses = shared::addresses()?;
    // A host-specific relay moves with its host.
    let bound = args.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let Some(address) = args.address.or_else(ipv4_source) else {
        bail!("this host has no IPv4 address with a default route; give one with --address");
    };
    let native =
        native_address(&addresses).context("this host has no native IPv6 address to serve")?;
    let socket = UdpPort::bind(SocketAddrV4::new(bound, args.port))?;
    let (tun, mut tunnel) = shared::create_tunnel(&args.interface)?;
    if !args.host_only {
        shared::check_forwarding(&report);
    }

    let port = socket.local_addr().port();
    let mut config =
        Config::new(SocketAddrV4::new(address, port), scope(&args, native, &addresses));
    config.filter = addresses.ipv4_filter(&args.common.allow_ipv4);
    let gate = Gate::new(report, rules, None, BootClock.now());
    config.policy = gate.policy();
    config.peers_max = args.peers_max.map_or(config.peers_max, |most| most as usize);
    config.behind_nat = !config.filter.is_global(address);
    let relay = Relay::new(config, seed()?);
    tunnel.set_teredo_route(args.host_only.then_some(native))?;

    let sandbox = sandbox::enter(&needs(&args))?;
    let publisher = if args.host_only {
        Publisher::start(&report, publication(&args, None, None), sandbox.state())
    } else {
        Publisher::default()
    };
    sandbox.tell(&report, "relay");
    let mut engine = Engine::new(relay, socket, None, HostDevice::Tun(tun));
    let served = if args.host_only { "this host" } else { "2001::/32" };
    report.say(&format!("relaying for {served} on {address}, UDP port {port}"));
    report.fact(&Ready {
        event: "ready",
        role: "relay",
        address,
        port,
        interface: tunnel.name(),
        host_only: args.host_only,
        elapsed_ms: report.elapsed_ms(),
    });
    let mut host = RelayHost::new(args, (report, publisher, watch, tunnel, gate), port, addresses);
    shared::run(&mut engine, &mut host)?;
    report.say_traffic(engine.tally(), engine.role().counters());
    Ok(Exit::Ok)
}

/// What a relay needs in its sandbox. A host-specific one looks who may change what it lets in, and
/// which users and units that is about.
fn needs(args: &Args) -> Needs {
    let mut needs = Needs { capabilities: vec![Capability::NetAdmin], ..Needs::default() };
    if args.host_only {
        needs.readable = ["/etc/group", USERS].map(PathBuf::from).into();
        needs.readable.extend(CONTROL_GROUPS.map(PathBuf::from));
        needs.writable = vec![sandbox::runtime_directory()];
    }
    needs
}

/// Printed when the relay serves.
#[derive(Serialize)]
struct Ready<'a> {
    event: &'static str,
    role: &'static str,
    address: Ipv4Addr,
    port: u16,
    interface: &'a str,
    host_only: bool,
    elapsed_ms: f64,
}

/// This host's address in the native Internet: the one it uses itself, if there is a choice.
fn native_address(addresses: &Addresses) -> Option<Ipv6Addr> {
    native_ipv6_source().or(addresses.native_ipv6.first().copied())
}

/// Whom the relay serves. `native` is this host's address in the native Internet.
fn scope(args: &Args, native: Ipv6Addr, addresses: &Addresses) -> Scope {
    if args.host_only {
        // The first one is the source of ICMPv6 errors.
        let others = addresses.native_ipv6.iter().copied().filter(|other| *other != native);
        return Scope::Host { own: std::iter::once(native).chain(others).collect() };
    }
    if args.serve.is_empty() {
        return Scope::internet(native);
    }
    Scope::Network { address: native, served: args.serve.clone() }
}
