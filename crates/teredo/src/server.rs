//! The subcommand `teredo server`.

mod helper;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::BorrowedFd;

use anyhow::Context;
use clap::ValueEnum;
use serde::Serialize;
use teredo_engine::linux::{HostDevice, UdpPort, seed};
use teredo_engine::network::Addresses;
use teredo_engine::{Engine, Flow, Host};
use teredo_proto::server::{Clients, Config, EndpointCheck, Server};
use teredo_proto::{Event, Instant, Role};
use teredo_sys::raw::RawIpv6;
use teredo_sys::sandbox::Needs;
use teredo_wire::TEREDO_PORT;

use crate::exit::Exit;
use crate::host::{self, CommonArgs, Watch, Watching};
use crate::keys::ClientsArgs;
use crate::report::Report;
use crate::sandbox;
use crate::secondary::Secondary;

use helper::{HelperArgs, Prepared};

/// Options of `teredo server`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Primary IPv4 address, the one clients are configured with
    #[arg(long, value_name = "IPV4")]
    address: Ipv4Addr,

    /// Secondary IPv4 address, or "none"; without it the one after the primary. Clients learn from
    /// it what kind of NAT they are behind
    #[arg(long, value_name = "IPV4|none", default_value = "next", hide_default_value = true)]
    secondary: Secondary,

    /// How closely a bubble's Teredo source has to fit where it came from. RFC 4380 says strict;
    /// clients behind symmetric NATs need same-address
    #[arg(long, value_name = "RULE", default_value = "same-address")]
    endpoint_check: EndpointRule,

    /// A relay on this host: what comes from this endpoint is not taken for a loop
    #[arg(long, value_name = "IPV4:PORT")]
    relay: Option<SocketAddrV4>,

    #[command(flatten)]
    clients: ClientsArgs,

    #[command(flatten)]
    helper: HelperArgs,

    #[command(flatten)]
    common: CommonArgs,
}

const EXAMPLES: &str = "Examples:
  teredo server --address 192.0.2.1                     and 192.0.2.2
  teredo server --address 192.0.2.1 --secondary 192.0.2.77
  teredo server --address 192.0.2.1 --secondary none
  teredo server --address 192.0.2.1 --clients /etc/teredo/clients
  teredo server --address 192.0.2.1 --helper /etc/teredo/helped

Needs no privilege but for forwarding connectivity tests to native IPv6 hosts: CAP_NET_RAW, or
CAP_NET_ADMIN and a kernel that forwards (net.ipv6.conf.all.forwarding=1).";

/// The values of `--endpoint-check`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum EndpointRule {
    /// Address and port
    Strict,
    /// The address alone
    SameAddress,
    /// Anything
    Any,
}

impl From<EndpointRule> for EndpointCheck {
    fn from(rule: EndpointRule) -> Self {
        match rule {
            EndpointRule::Strict => Self::Strict,
            EndpointRule::SameAddress => Self::SameAddress,
            EndpointRule::Any => Self::Any,
        }
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let report = Report::new(args.common.json);
    let watch = Watch::new()?;
    let secondary = args.secondary.beside(args.address)?;
    let clients = args.clients.read()?;
    let served = clients.as_ref().map(Clients::len);
    let bind = |address| UdpPort::bind(SocketAddrV4::new(address, TEREDO_PORT));
    let primary = bind(args.address)?;
    let second = secondary.map(bind).transpose();
    let second =
        second.context("the secondary address (another one, or none, with --secondary)")?;
    let (device, native) = open_native(&report);
    let servers: Vec<_> = std::iter::once(args.address).chain(secondary).collect();
    let servers: Vec<_> =
        servers.into_iter().map(|it| SocketAddrV4::new(it, TEREDO_PORT)).collect();
    let helper = args.helper.prepare(&servers, &args.common.allow_ipv4)?;

    let mut config = Config::new(args.address, secondary);
    config.endpoint_check = args.endpoint_check.into();
    config.relay = args.relay;
    config.helper = helper.as_ref().map(Prepared::endpoint);
    config.clients = clients;
    config.filter = host::addresses()?.ipv4_filter(&args.common.allow_ipv4);
    let server = Server::new(config, seed()?);

    let sandbox = sandbox::enter(&Needs::default())?;
    let mut engine = Engine::new(server, primary, second, device);
    let ready = Ready {
        event: "ready",
        role: "server",
        address: args.address,
        secondary,
        port: TEREDO_PORT,
        native,
        clients: served,
        helper: helper.as_ref().map(Prepared::endpoint),
        elapsed_ms: report.elapsed_ms(),
    };
    let addresses = match secondary {
        Some(secondary) => format!("{} and {secondary}", args.address),
        None => args.address.to_string(),
    };
    let whom = served.map(|count| format!(" {count} clients with keys")).unwrap_or_default();
    report.say(&format!("serving{whom} on {addresses}, UDP port {TEREDO_PORT}"));
    if let Some(helper) = &helper {
        let (clients, endpoint) = (helper.clients(), helper.endpoint());
        report.say(&format!("helping {clients} clients with keys at {endpoint}"));
    }
    let helper = helper.map(|helper| helper.start(report)).transpose()?;
    sandbox.tell(&report, "server");
    report.fact(&ready);
    let mut host = ServerHost { watch, args };
    host::run(&mut engine, &mut host)?;
    if let Some(helper) = helper {
        helper.stop();
    }
    report.say_traffic(engine.tally(), engine.role().counters());
    Ok(Exit::Ok)
}

/// Printed when the server serves.
#[derive(Serialize)]
struct Ready {
    event: &'static str,
    role: &'static str,
    address: Ipv4Addr,
    secondary: Option<Ipv4Addr>,
    port: u16,
    /// How connectivity tests reach native hosts: "raw", "tun", or not at all.
    native: Option<&'static str>,
    /// How many clients have a key, if the server is a private one.
    clients: Option<usize>,
    /// Where the helper is, if there is one.
    helper: Option<SocketAddrV4>,
    elapsed_ms: f64,
}

struct ServerHost {
    watch: Watch,
    args: Args,
}

impl Watching for ServerHost {
    fn watch(&self) -> &Watch {
        &self.watch
    }

    fn further(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }
}

impl Host<Server> for ServerHost {
    fn handle_event(&mut self, _: Instant, _: &mut Server, _: Event) -> io::Result<()> {
        Ok(())
    }

    fn handle_events_end(&mut self, _: Instant, _: &mut Server) -> io::Result<()> {
        Ok(())
    }

    fn handle_source(&mut self, now: Instant, _: &mut Server, source: u64) -> io::Result<Flow> {
        if source == host::SIGNALS && self.watch.signal()?.is_some() {
            return Ok(Flow::Stop);
        }
        self.watch.note_change(now)?;
        Ok(Flow::Continue)
    }

    fn handle_deadline(&mut self, now: Instant, server: &mut Server) -> io::Result<Flow> {
        if self.watch.is_due(now) {
            server.set_filter(Addresses::read()?.ipv4_filter(&self.args.common.allow_ipv4));
        }
        Ok(Flow::Continue)
    }

    fn poll_deadline(&self) -> Option<Instant> {
        self.watch.deadline()
    }
}

/// The way to native IPv6 hosts. A server without one still serves: its clients get addresses and
/// reach each other.
fn open_native(report: &Report) -> (HostDevice, Option<&'static str>) {
    let raw = match RawIpv6::open() {
        Ok(raw) => return (HostDevice::Raw(raw), Some("raw")),
        Err(error) => error,
    };
    match host::create_tunnel(TUNNEL_NAME) {
        Ok((tun, _)) => {
            host::check_forwarding(report);
            (HostDevice::Tun(tun), Some("tun"))
        }
        Err(_) => {
            report.say(&format!(
                "clients will not reach native IPv6 hosts, whose connectivity tests cannot be \
                 forwarded: {raw}"
            ));
            (HostDevice::None, None)
        }
    }
}

/// The kernel replaces `%d` by a number; nobody needs to know the name.
const TUNNEL_NAME: &str = "teredo-srv%d";
