//! The helper beside a server: a thread of its own, so that what it passes on for its clients keeps
//! no solicitation waiting.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};

use anyhow::Context;
use teredo_engine::linux::{BootClock, HostDevice, UdpPort, Waits, seed};
use teredo_engine::network::Addresses;
use teredo_engine::{Engine, Flow, Host};
use teredo_proto::helper::{Capacity, Config, Helper};
use teredo_proto::{Event, Instant};
use teredo_sys::netlink::Monitor;
use teredo_wire::helper::HELPER_PORT;
use teredo_wire::ipv4::Ipv4Cidr;

use crate::keys::HelperClientsArgs;
use crate::report::Report;

/// Options for the helper.
#[derive(Debug, clap::Args)]
pub(super) struct HelperArgs {
    #[command(flatten)]
    clients: HelperClientsArgs,

    /// UDP port of the helper
    #[arg(long, value_name = "N", default_value_t = HELPER_PORT, requires = "helper")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    helper_port: u16,

    /// Kilobits a second that are passed on for each of its clients, in each direction
    #[arg(long, value_name = "KBIT", default_value = "4000", requires = "helper")]
    #[arg(value_parser = clap::value_parser!(u32).range(RATE))]
    helper_rate: u32,

    /// Kilobits a second that are passed on for all of them, both directions together
    #[arg(long, value_name = "KBIT", default_value = "40000", requires = "helper")]
    #[arg(value_parser = clap::value_parser!(u32).range(RATE))]
    helper_total_rate: u32,

    /// Clients that are registered at a time
    #[arg(long, value_name = "N", default_value = "1024", requires = "helper")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=65_536))]
    helper_clients_max: u32,
}

impl HelperArgs {
    /// Sets up a helper at the address of `servers[0]`, if there is to be one.
    pub(super) fn prepare(
        &self,
        servers: &[SocketAddrV4],
        allowed: &[Ipv4Cidr],
    ) -> anyhow::Result<Option<Prepared>> {
        let Some(clients) = self.clients.read()? else { return Ok(None) };
        let Some(server) = servers.first() else { return Ok(None) };
        let endpoint = SocketAddrV4::new(*server.ip(), self.helper_port);
        let mut config = Config::new(endpoint, clients);
        config.neighbours = servers.to_vec();
        config.limits.clients_max = self.helper_clients_max as usize;
        config.limits.client = Capacity::kbit_per_s(self.helper_rate);
        config.limits.total = Capacity::kbit_per_s(self.helper_total_rate);
        config.filter = crate::host::addresses()?.ipv4_filter(allowed);
        let socket = UdpPort::bind(endpoint).context("the helper's port (--helper-port)")?;
        let (stop, stopped) = UnixStream::pair()?;
        let monitor = Monitor::open()?;
        let host = HelperHost { stopped, monitor, allowed: allowed.to_vec() };
        Ok(Some(Prepared { config, socket, stop, host }))
    }
}

/// A helper that waits for the sandbox.
pub(super) struct Prepared {
    config: Config,
    socket: UdpPort,
    stop: UnixStream,
    host: HelperHost,
}

impl Prepared {
    /// Where it will be.
    pub(super) fn endpoint(&self) -> SocketAddrV4 {
        self.config.endpoint
    }

    /// How many clients it knows.
    pub(super) fn clients(&self) -> usize {
        self.config.clients.len()
    }

    /// Begins to serve.
    pub(super) fn start(self, report: Report) -> anyhow::Result<Running> {
        let Self { config, socket, stop, mut host } = self;
        let helper = Helper::new(config, seed()?);
        let mut engine = Engine::new(helper, socket, None, HostDevice::None);
        let thread = thread::Builder::new().name("helper".to_owned()).spawn(move || {
            let served = serve(&mut engine, &mut host);
            if let Err(error) = served {
                report.say(&format!("the helper has ended, the server goes on: {error}"));
            }
            report.say_traffic_of(
                "helper",
                engine.tally(),
                teredo_proto::Role::counters(engine.role()),
            );
        })?;
        Ok(Running { stop, thread })
    }
}

fn serve(
    engine: &mut Engine<Helper, UdpPort, HostDevice>,
    host: &mut HelperHost,
) -> io::Result<()> {
    let (stopped, monitor) = (host.stopped.try_clone()?, host.monitor.as_fd());
    let mut waits = Waits::new(engine, &[stopped.as_fd(), monitor])?;
    engine.run(&BootClock, &mut waits, host)
}

/// A helper that serves.
pub(super) struct Running {
    stop: UnixStream,
    thread: JoinHandle<()>,
}

impl Running {
    /// Ends it, and waits for that.
    pub(super) fn stop(self) {
        drop(self.stop);
        // A panic was told by the thread itself.
        let _ = self.thread.join();
    }
}

/// What surrounds a helper.
struct HelperHost {
    /// Readable when the server ends.
    stopped: UnixStream,
    monitor: Monitor,
    allowed: Vec<Ipv4Cidr>,
}

impl Host<Helper> for HelperHost {
    fn handle_event(&mut self, _: Instant, _: &mut Helper, _: Event) -> io::Result<()> {
        Ok(())
    }

    fn handle_events_end(&mut self, _: Instant, _: &mut Helper) -> io::Result<()> {
        Ok(())
    }

    fn handle_source(&mut self, _: Instant, helper: &mut Helper, source: u64) -> io::Result<Flow> {
        if source == STOPPED {
            return Ok(Flow::Stop);
        }
        if self.monitor.drain()? {
            helper.set_filter(Addresses::read()?.ipv4_filter(&self.allowed));
        }
        Ok(Flow::Continue)
    }

    fn handle_deadline(&mut self, _: Instant, _: &mut Helper) -> io::Result<Flow> {
        Ok(Flow::Continue)
    }

    fn poll_deadline(&self) -> Option<Instant> {
        None
    }
}

/// The position among the helper's sources of the pair whose other end the server holds.
const STOPPED: u64 = 0;

/// From what a bubble a second takes to 4 Gbit/s.
const RATE: std::ops::RangeInclusive<i64> = 8..=4_000_000;
