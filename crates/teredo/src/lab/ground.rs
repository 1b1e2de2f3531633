//! The ground that the lab stands on: namespaces without root, hosts with an uplink each.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use teredo_sys::caps::Capability;
use teredo_sys::netlink::{InterfaceAddress, Lifetime, Netlink, Route};
use teredo_sys::ns::{self, Forked, NetNamespace};
use teredo_sys::tun::Tun;
use teredo_sys::{mount, sysctl};

use super::kernel_nat::KernelNat;
use super::nats::{Kind, Nats};
use super::place::{Host, WIRE_MTU};

/// Leaves the host: a user namespace unless we are root anyway, then a process-id namespace in
/// which the child does everything. To be called while there is one thread.
pub(super) fn leave() -> anyhow::Result<Forked> {
    let needed = [Capability::SysAdmin, Capability::NetAdmin, Capability::NetRaw];
    if !needed.into_iter().all(Capability::is_effective) {
        ns::enter_user_namespace().map_err(explain)?;
    }
    ns::fork_into_pid_namespace().map_err(explain)
}

/// The lab's hosts: a network namespace each.
#[derive(Debug)]
pub(super) struct Ground {
    namespaces: [NetNamespace; Host::ALL.len()],
    /// Those of the kernel's NATs.
    nats: Vec<NetNamespace>,
    runtime: PathBuf,
}

impl Ground {
    /// Builds the hosts, the clients with a gateway where that maps ports; returns with them the
    /// other ends of their uplinks, in the order of [`Host::ALL`].
    pub(super) fn build(nats: Nats) -> anyhow::Result<(Self, [Tun; Host::ALL.len()])> {
        let runtime = make_runtime_directories()?;
        let [a, b, c, d, e] = Host::ALL.map(|host| build_host(host, nats.gateway_of(host)));
        let ((a, ta), (b, tb), (c, tc), (d, td), (e, te)) = (a?, b?, c?, d?, e?);
        let ground = Self { namespaces: [a, b, c, d, e], nats: Vec::new(), runtime };
        Ok((ground, [ta, tb, tc, td, te]))
    }

    /// Builds the NATs that the kernel is to be.
    pub(super) fn add_nats(&mut self, nats: Nats) -> anyhow::Result<Vec<KernelNat>> {
        let places = Host::CLIENTS.into_iter().zip(nats.0).flat_map(|(client, chain)| {
            let count = chain.kinds().count();
            let levels = chain.kinds().enumerate().filter(|(_, kind)| *kind == Kind::Kernel);
            levels.map(move |(level, _)| (client, level, count))
        });
        let mut built = Vec::new();
        for (client, level, count) in places {
            let namespace = NetNamespace::create().map_err(explain)?;
            built.push(KernelNat::build(&namespace, (client, level, count))?);
            self.nats.push(namespace);
        }
        Ok(built)
    }

    /// The namespace of `host`.
    pub(super) fn namespace(&self, host: Host) -> &NetNamespace {
        &self.namespaces[host.index()]
    }

    /// The directory for what the programs on `host` publish.
    pub(super) fn runtime_directory(&self, host: Host) -> PathBuf {
        self.runtime.join(host.key())
    }
}

/// Makes one host and its uplink.
fn build_host(host: Host, gateway: Option<Ipv4Addr>) -> anyhow::Result<(NetNamespace, Tun)> {
    let namespace = NetNamespace::create().map_err(explain)?;
    let tun = namespace
        .run(|| connect(host, gateway))
        .and_then(|tun| tun)
        .map_err(explain)
        .with_context(|| format!("cannot build {}", host.name()))?;
    Ok((namespace, tun))
}

/// Gives the host whose namespace the thread is in an uplink, addresses and default routes.
fn connect(host: Host, gateway: Option<Ipv4Addr>) -> io::Result<Tun> {
    enable_ipv6()?;
    let tun = Tun::create("uplink")?;
    let index = tun.index();
    let mut netlink = Netlink::open()?;
    netlink.disable_link_local(index)?;
    netlink.set_link_mtu(index, WIRE_MTU as u32)?;
    netlink.set_link_up(index)?;
    let v4 = host.ipv4().iter().map(|&address| (IpAddr::V4(address), 24));
    let v6 = host.ipv6().map(|address| (IpAddr::V6(address), 64));
    for (address, prefix_len) in v4.chain(v6) {
        let lifetime = Lifetime::FOREVER;
        netlink.add_address(&InterfaceAddress { index, address, prefix_len, lifetime })?;
    }
    if !host.ipv4().is_empty() {
        let on_link = Route::on_link(Ipv4Addr::UNSPECIFIED.into(), 0, index);
        netlink.add_route(&Route { gateway: gateway.map(IpAddr::V4), ..on_link })?;
    }
    if host.ipv6().is_some() {
        netlink.add_route(&Route::on_link(Ipv6Addr::UNSPECIFIED.into(), 0, index))?;
    }
    if host == Host::Relay {
        sysctl::write("ipv6/conf/all/forwarding", "1")?;
    }
    Ok(tun)
}

/// Some containers switch IPv6 off for every new namespace. The loopback interface, which exists
/// already, needs a word of its own.
fn enable_ipv6() -> io::Result<()> {
    for name in ["all", "default", "lo"] {
        let setting = format!("ipv6/conf/{name}/disable_ipv6");
        if sysctl::read(&setting)? != "0" {
            sysctl::write(&setting, "0")?;
        }
    }
    Ok(())
}

/// A directory for each host, in a file system that only the lab sees and that disappears with it,
/// however it ends.
fn make_runtime_directories() -> anyhow::Result<PathBuf> {
    let point = RUNTIME_MOUNT_POINTS.map(Path::new).into_iter().find(|path| path.is_dir());
    let point = point.context("there is no /dev/shm to put a file system of the lab's own over")?;
    mount::empty(point).map_err(explain)?;
    let runtime = point.join("teredo-lab");
    for host in Host::ALL {
        let directory = runtime.join(host.key());
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    Ok(runtime)
}

/// Directories that exist nearly everywhere and that nobody misses who is in the lab.
const RUNTIME_MOUNT_POINTS: [&str; 2] = ["/dev/shm", "/mnt"];

/// Says what to do where the system does not let us.
fn explain(error: io::Error) -> anyhow::Error {
    // Without a user namespace left to have, the kernel says that there is no space.
    let is_refused = [io::ErrorKind::PermissionDenied, io::ErrorKind::StorageFull];
    let is_refused = is_refused.contains(&error.kind());
    let error = anyhow::Error::new(error);
    if !is_refused {
        return error;
    }
    let device = File::options().read(true).write(true).open(TUN_DEVICE);
    if device.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
        return error.context(format!(
            "ordinary users may not open {TUN_DEVICE} here; run the lab as root, or allow it with: \
             chmod 666 {TUN_DEVICE}"
        ));
    }
    let obstacle = OBSTACLES.iter().find(|(setting, bad, _)| {
        let path = format!("/proc/sys/{}", setting.replace('.', "/"));
        fs::read_to_string(path).is_ok_and(|value| value.trim() == *bad)
    });
    error.context(match obstacle {
        Some((setting, _, good)) => format!(
            "this system does not let ordinary users have namespaces; run the lab as root, or \
             allow it with: sysctl -w {setting}={good}"
        ),
        None => "this system does not let the lab have namespaces and TUN devices of its own; run \
                 it as root, and in a container with CAP_SYS_ADMIN, CAP_NET_ADMIN and /dev/net/tun"
            .to_owned(),
    })
}

const TUN_DEVICE: &str = "/dev/net/tun";

/// Settings that forbid namespaces to ordinary users: the value that does, and one that does not.
const OBSTACLES: [(&str, &str, &str); 3] = [
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "1000"),
];
