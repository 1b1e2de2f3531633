//! One life of a client: from its socket and interface to the end of its event loop.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::anyhow;
use teredo_engine::Engine;
use teredo_engine::io::{Clock, DatagramSocket};
use teredo_engine::linux::{BootClock, DiscoveryGroup, HostDevice, UdpPort, seed};
use teredo_proto::Role;
use teredo_proto::client::{Client, Config, HelperConfig, HelperUse};
use teredo_proto::filter::Ipv4Filter;
use teredo_wire::ipv4::is_special_purpose;

use super::host::{ClientHost, Network};
use super::publication::settings;
use super::{Args, Source};
use crate::allow::Gate;
use crate::exit::Exit;
use crate::host::{self as shared, Watch};
use crate::publisher::Publisher;
use crate::report::Report;
use crate::sandbox::Entered;

/// What a client finds when it starts.
pub(crate) struct Start<'a> {
    pub(crate) report: Report,
    pub(crate) sandbox: &'a Entered,
    pub(crate) publisher: &'a Publisher,
    pub(crate) source: &'a mut dyn Source,
    /// Signals are caught by it already.
    pub(crate) watch: &'a mut Watch,
    /// What the server's name stands for.
    pub(crate) server: Ipv4Addr,
    /// The port that was used before: without a configured one it is kept, so that the NAT's
    /// mapping and with it the address can stay.
    pub(crate) last_port: Option<u16>,
}

/// How a client ended.
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    /// The options to start again with.
    pub(crate) again: Option<Args>,
    /// The port it had.
    pub(crate) port: u16,
}

/// Why a client did not start, or could not go on.
pub(crate) struct Failure {
    /// The word by which the state `offline` is explained.
    pub(crate) reason: &'static str,
    pub(crate) error: anyhow::Error,
}

impl Failure {
    fn of(reason: &'static str) -> impl FnOnce(anyhow::Error) -> Self {
        move |error| Self { reason, error }
    }

    /// The system's number for what went wrong, if it was the system.
    pub(crate) fn code(&self) -> Option<u32> {
        let mut causes = self.error.chain().filter_map(|it| it.downcast_ref::<io::Error>());
        causes.find_map(io::Error::raw_os_error).and_then(|code| code.try_into().ok())
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { reason: "failed", error: error.into() }
    }
}

/// Runs a client until it is told to end or its options change.
pub(crate) fn serve(start: Start<'_>, args: Args) -> Result<Ended, Failure> {
    let Start { report, sandbox, publisher, source, watch, server, last_port } = start;
    let secret = args.key.secret().map_err(Failure::of("key-unusable"))?;
    let helper = args.helper.config(secret.as_ref(), report);
    let helper = helper.map_err(Failure::of("helper-unusable"))?;
    let secondary = args.secondary.beside(server)?;
    let network = Network::read(server)?;
    let filter = network.addresses.ipv4_filter(&args.common.allow_ipv4);
    if !filter.is_global(server) {
        return Err(Failure { reason: "forbidden-server", error: not_public("server", server) });
    }
    let helper = usable(helper, &filter, report).map_err(Failure::of("helper-unusable"))?;
    publisher.publish(settings(&args));
    let socket = bind(&args, last_port).map_err(Failure::of("port-unusable"))?;
    let tunnel = shared::create_tunnel(&args.interface);
    let (tun, tunnel) = tunnel.map_err(Failure::of("no-tunnel-adapter"))?;

    sandbox.tell(&report, "client");

    let now = BootClock.now();
    let gate = Gate::new(report, args.rules(), args.dormant_after(), now);
    let port = socket.local_addr().port();
    let mut config = Config::new(server, secondary, port);
    config.local_address = network.local_address;
    config.refresh_interval = Duration::from_secs(args.refresh_interval.into());
    config.determine_interval = args.determine_interval;
    config.dormant_after = args.dormant_after();
    config.strict = args.strict;
    config.traversal = args.traversal();
    config.secret = secret;
    config.filter = filter;
    config.policy = gate.policy();
    let (group_port, group) = open_group(&args, &socket, report).unzip();
    config.local_discovery = group.is_some();
    config.helper = helper;
    config.peers_max = args.peers_max.map_or(config.peers_max, |most| most as usize);

    let mut client = Client::new(config, seed()?);
    client.start(now);
    let engine = Engine::new(client, socket, None, HostDevice::Tun(tun));
    let mut engine = engine.with_discovery(group_port);
    let parts = (report, publisher, source, watch, tunnel, gate);
    let mut host = ClientHost::new(args, parts, (server, port), network, now)?.with_group(group);
    shared::run(&mut engine, &mut host)?;
    let (exit, again) = host.end();
    if exit == Exit::Ok && again.is_none() {
        report.say_traffic(engine.tally(), engine.role().counters());
    }
    Ok(Ended { exit, again, port })
}

/// The helper, if it may be sent to. Whoever needs it for some peers only goes without.
fn usable(
    helper: Option<HelperConfig>,
    filter: &Ipv4Filter,
    report: Report,
) -> anyhow::Result<Option<HelperConfig>> {
    let Some(config) = helper else { return Ok(None) };
    let address = *config.endpoint.ip();
    if filter.is_global(address) {
        return Ok(Some(config));
    }
    let error = not_public("helper", address);
    if config.used_for == HelperUse::All {
        return Err(error);
    }
    report.say(&format!("no helper: {error}"));
    Ok(None)
}

fn not_public(what: &str, address: Ipv4Addr) -> anyhow::Error {
    let hint = match is_special_purpose(address) {
        true => format!("; if it is meant, --allow-ipv4 {address}"),
        false => String::new(),
    };
    anyhow!("{what} address {address} is not a public one{hint}")
}

/// The group of local discovery, unless it is not wanted. The client does its work without it, too.
fn open_group(args: &Args, service: &UdpPort, report: Report) -> Option<(UdpPort, DiscoveryGroup)> {
    if args.no_local_discovery {
        return None;
    }
    DiscoveryGroup::open(service)
        .inspect_err(|error| report.say(&format!("no local discovery: {error}")))
        .ok()
}

fn bind(args: &Args, last_port: Option<u16>) -> anyhow::Result<UdpPort> {
    let bind = |port| UdpPort::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    if args.port == 0
        && let Some(socket) = last_port.and_then(|port| bind(port).ok())
    {
        return Ok(socket);
    }
    Ok(bind(args.port)?)
}

#[cfg(test)]
mod tests {
    use teredo_proto::keys::{Algorithm, Identifier, Secret, SharedKey};

    use super::*;

    /// A helper with this address, as far as it is usable.
    fn usable_at(address: Ipv4Addr, used_for: HelperUse) -> anyhow::Result<bool> {
        let parts = Identifier::new(b"a").zip(SharedKey::new(Algorithm::HmacSha256, &[7; 32]));
        let (identifier, key) = parts.ok_or_else(|| anyhow!("no key"))?;
        let secret = Secret { identifier, key };
        let helper = HelperConfig { endpoint: SocketAddrV4::new(address, 3545), secret, used_for };
        usable(Some(helper), &Ipv4Filter::default(), Report::new(false)).map(|it| it.is_some())
    }

    #[test]
    fn a_helper_that_may_not_be_sent_to_is_said() -> anyhow::Result<()> {
        let (public, private) = (Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(10, 0, 0, 1));
        assert!(usable_at(public, HelperUse::All)?);
        assert!(!usable_at(private, HelperUse::Peers)?);
        let error = usable_at(private, HelperUse::All).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("helper address 10.0.0.1 is not a public one"));
        Ok(())
    }
}
