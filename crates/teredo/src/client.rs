//! The subcommand `teredo client`.

mod host;
mod publication;
mod snapshot;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::bail;
use teredo_engine::Engine;
use teredo_engine::io::{Clock, DatagramSocket};
use teredo_engine::linux::{BootClock, HostDevice, UdpPort, seed};
use teredo_engine::network::native_ipv6_source;
use teredo_engine::resolve::resolve;
use teredo_proto::Role;
use teredo_proto::client::{Client, Config};
use teredo_sys::caps::Capability;
use teredo_sys::sandbox::Needs;

use crate::client::host::{ClientHost, Network};
use crate::client::publication::settings;
use crate::exit::Exit;
use crate::host::{self as shared, CommonArgs, Watch};
use crate::publisher::Publisher;
use crate::report::Report;
use crate::sandbox;
use crate::secondary::Secondary;

/// Options of `teredo client`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Name or IPv4 address of the server
    #[arg(long, value_name = "HOST")]
    server: String,

    /// Secondary address of the server, or "none"; without it the one after the primary. It shows
    /// what kind of NAT this host is behind
    #[arg(long, value_name = "IPV4|none", default_value = "next", hide_default_value = true)]
    secondary: Secondary,

    /// Local UDP port, for instance one that the NAT forwards; without it a random one
    #[arg(long, value_name = "N", default_value = "0", hide_default_value = true)]
    port: u16,

    /// Name of the tunnel interface
    #[arg(long, value_name = "NAME", default_value = "teredo")]
    interface: String,

    /// Go into service only with the answers of both server addresses, as RFC 4380 has it
    #[arg(long)]
    strict: bool,

    /// Seconds for which a NAT keeps a mapping without traffic
    #[arg(long, value_name = "S", default_value = "30")]
    #[arg(value_parser = clap::value_parser!(u64).range(5..=3_600))]
    refresh_interval: u64,

    /// Give up, with exit code 4, if there is no address after this many seconds; without it the
    /// client keeps trying
    #[arg(long, value_name = "S")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: Option<u64>,

    /// Run also where this host has IPv6 by other means
    #[arg(long)]
    despite_native_ipv6: bool,

    #[command(flatten)]
    common: CommonArgs,
}

const EXAMPLES: &str = "Examples:
  teredo client --server teredo.example.net
  teredo client --server 192.0.2.1 --port 3545 --json
  teredo client --server 192.0.2.1 --timeout 10 || echo no IPv6

Needs CAP_NET_ADMIN. The interface and all that is on it disappear when the client ends. What it
does is told by teredo status, teredo port and libnetioapi.";

/// What a client needs in its sandbox: it may have to ask for its server's address again, and
/// starts anew with other settings.
pub(crate) fn needs() -> Needs {
    Needs {
        capabilities: vec![Capability::NetAdmin],
        names: true,
        devices: true,
        writable: vec![sandbox::runtime_directory()],
        ..Needs::default()
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let report = Report::new(args.common.json);
    if let Some(address) = native_ipv6_source().filter(|_| !args.despite_native_ipv6) {
        report.say(&format!(
            "this host has IPv6 without Teredo ({address}); to reach Teredo clients from it run \
             \"teredo relay --host-only\", to be a client all the same add --despite-native-ipv6"
        ));
        return Ok(Exit::Forbidden);
    }
    let server = resolve(&args.server)?;
    let secondary = args.secondary.beside(server)?;
    let network = Network::read(server)?;
    let filter = network.addresses.ipv4_filter(&args.common.allow_ipv4);
    if !filter.is_global(server) {
        bail!("server address {server} is not a public one; if it is meant, --allow-ipv4 {server}");
    }
    // From here on a signal ends the loop, and only the loop.
    let watch = Watch::new()?;
    let sandbox = sandbox::enter(&needs())?;
    let publisher = Publisher::start(&report, settings(&args), sandbox.state());
    let socket = UdpPort::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, args.port))?;
    let (tun, tunnel) = shared::create_tunnel(&args.interface)?;

    sandbox.tell(&report, "client");
    shared::warn_unfiltered(&report, tunnel.name());

    let port = socket.local_addr().port();
    let mut config = Config::new(server, secondary, port);
    config.local_address = network.local_address;
    config.refresh_interval = Duration::from_secs(args.refresh_interval);
    config.strict = args.strict;
    config.filter = filter;

    let mut client = Client::new(config, seed()?);
    let now = BootClock.now();
    client.start(now);
    let mut engine = Engine::new(client, socket, None, HostDevice::Tun(tun));
    let parts = (report, publisher, watch, tunnel);
    let mut host = ClientHost::new(args, parts, (server, port), network, now)?;
    shared::run(&mut engine, &mut host)?;
    if host.exit() == Exit::Ok {
        report.say_traffic(engine.tally(), engine.role().counters());
    }
    Ok(host.exit())
}
