//! What the roles share on a host: watching it, stopping, the tunnel interface.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use anyhow::Context;
use teredo_engine::interface::Tunnel;
use teredo_engine::linux::{BootClock, HostDevice, UdpPort, Waits};
use teredo_engine::{Engine, Host};
use teredo_proto::{Instant, Role};
use teredo_sys::caps::Capability;
use teredo_sys::netlink::Monitor;
use teredo_sys::signal::{Signal, Signals};
use teredo_sys::sysctl;
use teredo_sys::tun::Tun;
use teredo_wire::ipv4::Ipv4Cidr;

use crate::report::Report;

/// Options of every role.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct CommonArgs {
    /// Take this range for public although it is a special-purpose one, as private networks, labs
    /// and tests need (may be given several times)
    #[arg(long, value_name = "CIDR")]
    pub(crate) allow_ipv4: Vec<Ipv4Cidr>,

    /// Print what happens as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Changes come in bursts: the network is looked at this long after the first sign of one.
const NETWORK_SETTLES: Duration = Duration::from_millis(100);

/// Tells when to stop and when to look at the network again.
pub(crate) struct Watch {
    signals: Signals,
    monitor: Monitor,
    look_at: Option<Instant>,
}

impl Watch {
    /// Starts to watch. From now on the signals that ask to end only do so through this, so make it
    /// after what may take long and before there is a second thread.
    pub(crate) fn new() -> io::Result<Self> {
        let signals = Signals::new(&[Signal::Interrupt, Signal::Terminate, Signal::Hangup])?;
        Ok(Self { signals, monitor: Monitor::open()?, look_at: None })
    }

    /// The next signal that asks to end, or to read the configuration again.
    pub(crate) fn signal(&mut self) -> io::Result<Option<Signal>> {
        Ok(self.signals.read()?.map(|caught| caught.signal))
    }

    /// What becomes readable with a signal, and with a sign of a change.
    pub(crate) fn sources(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>) {
        (self.signals.as_fd(), self.monitor.as_fd())
    }

    /// Takes note of signs of a change.
    pub(crate) fn note_change(&mut self, now: Instant) -> io::Result<()> {
        if self.monitor.drain()? && self.look_at.is_none() {
            self.look_at = Some(now + NETWORK_SETTLES);
        }
        Ok(())
    }

    /// Asks to look at the network at a certain moment, unless that is due before.
    pub(crate) fn look_again(&mut self, at: Instant) {
        self.look_at = Some(self.look_at.map_or(at, |due| due.min(at)));
    }

    /// When to look at the network.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.look_at
    }

    /// Whether to look at the network now.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        self.look_at.take_if(|at| *at <= now).is_some()
    }
}

/// Sets the tunnel interface up again: network managers, and people, take it down, or its address
/// or route away.
#[derive(Debug, Default)]
pub(crate) struct Repair {
    done_at: Option<Instant>,
}

/// Time between two repairs: there may be somebody who keeps changing the interface.
const REPAIR_PAUSE: Duration = Duration::from_secs(5);

impl Repair {
    /// Restores what is missing, now or, if that was done only just, later.
    pub(crate) fn restore(
        &mut self,
        now: Instant,
        watch: &mut Watch,
        tunnel: &mut Tunnel,
        report: &Report,
    ) -> io::Result<()> {
        let due = self.done_at.map(|at| at + REPAIR_PAUSE);
        if let Some(due) = due.filter(|due| *due > now) {
            watch.look_again(due);
            return Ok(());
        }
        if tunnel.restore()? {
            let name = tunnel.name();
            report.say(&format!("somebody else has changed {name}; it is set up again"));
            self.done_at = Some(now);
        }
        Ok(())
    }
}

/// The number of the signals among the sources of [`run`].
pub(crate) const SIGNALS: u64 = 0;
/// The number of the monitor.
pub(crate) const MONITOR: u64 = 1;

/// A host with a watch.
pub(crate) trait Watching {
    /// The watch.
    fn watch(&self) -> &Watch;

    /// Sources of its own, which get the numbers after [`MONITOR`].
    fn further(&self) -> Vec<BorrowedFd<'_>>;
}

/// Runs a role until its host stops it.
pub(crate) fn run<R: Role, H: Host<R> + Watching>(
    engine: &mut Engine<R, UdpPort, HostDevice>,
    host: &mut H,
) -> io::Result<()> {
    let watch = host.watch();
    let (signals, monitor) = watch.sources();
    let mut sources = vec![signals, monitor];
    sources.extend(host.further());
    let mut waits = Waits::new(engine, &sources)?;
    engine.run(&BootClock, &mut waits, host)
}

/// Creates a tunnel interface; an error says how to get what is missing.
pub(crate) fn create_tunnel(name: &str) -> anyhow::Result<(Tun, Tunnel)> {
    Tunnel::create(name).map_err(|error| {
        let is_denied = error.kind() == io::ErrorKind::PermissionDenied;
        let error = anyhow::Error::new(error);
        if is_denied && !Capability::NetAdmin.is_effective() {
            return error.context(format!(
                "cannot create the tunnel interface (run as root or with {})",
                Capability::NetAdmin
            ));
        }
        error.context("cannot create the tunnel interface")
    })
}

/// Reads the host's addresses for a role.
pub(crate) fn addresses() -> anyhow::Result<teredo_engine::network::Addresses> {
    teredo_engine::network::Addresses::read().context("cannot read this host's addresses")
}

/// Says what to set if the kernel does not pass on packets between its interfaces.
pub(crate) fn check_forwarding(report: &Report) {
    let is_on = sysctl::read(FORWARDING).is_ok_and(|value| value != "0");
    if !is_on {
        report.say(&format!(
            "this host does not forward IPv6, so that only itself is served; \
             to change that: sysctl -w net.{}=1",
            FORWARDING.replace('/', ".")
        ));
    }
}

/// Whether the kernel forwards IPv6.
const FORWARDING: &str = "ipv6/conf/all/forwarding";
