//! A small Internet: hosts with one interface each, and a thread that is the wire between them.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use teredo_control::testing::TestDir;
use teredo_sys::epoll::{Events, Interest, Poller};
use teredo_sys::netlink::{
    Family, InstalledRoute, InterfaceAddress, Lifetime, Netlink, ROUTE_PROTOCOL, Route,
};
use teredo_sys::ns::NetNamespace;
use teredo_sys::raw::PingSocket;
use teredo_sys::tun::Tun;

/// The Internet's range, which the roles must be told to take for public.
pub(crate) const RANGE: &str = "203.0.113.0/24";
/// The server's addresses.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub(crate) const SECONDARY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
/// The relay's addresses.
pub(crate) const RELAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
pub(crate) const RELAY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 6, 1, 0, 0, 0, 0x20);
/// The clients' addresses.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 30);
pub(crate) const CLIENT_MOVED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 31);

const INSIDE: &str = "TEREDO_TEST_IN_USER_NAMESPACE";

/// Runs `body` where namespaces can be made. `test` is the path of the calling test: without the
/// privilege it is started again inside a user namespace, and where that is refused, skipped.
pub(crate) fn with_namespaces(test: &str, body: impl FnOnce()) {
    match NetNamespace::create() {
        Ok(_) => body(),
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => panic!("{error}"),
        Err(error) if std::env::var_os(INSIDE).is_some() => println!("SKIPPED {test}: {error}"),
        Err(_) => again_in_user_namespace(test),
    }
}

/// By `unshare` of util-linux, because this process has threads.
fn again_in_user_namespace(test: &str) {
    let probe = Command::new("unshare").args(["--user", "--map-root-user", "true"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED {test}: user namespaces are refused here");
        return;
    }
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test} fails in a user namespace");
}

/// The hosts that a test needs, and the wire.
pub(crate) struct Internet {
    pub(crate) server: Host,
    pub(crate) relay: Host,
    pub(crate) client: Host,
    is_over: Arc<AtomicBool>,
    wire: Option<JoinHandle<()>>,
}

impl Internet {
    /// Builds it. The server reaches the relay's native address by IPv6, as it would in the native
    /// Internet.
    pub(crate) fn new() -> Self {
        let server = Host::new(&[SERVER, SECONDARY]);
        let relay = Host::new(&[RELAY]);
        let client = Host::new(&[CLIENT]);
        relay.add_native(RELAY_V6);
        server.namespace.run(|| route_to(RELAY_V6, 64, server.index, None)).unwrap();
        let owners = BTreeMap::from([
            (IpAddr::from(SERVER), 0),
            (SECONDARY.into(), 0),
            (RELAY.into(), 1),
            (RELAY_V6.into(), 1),
            (CLIENT.into(), 2),
            (CLIENT_MOVED.into(), 2),
        ]);
        let tuns = [&server, &relay, &client].map(|host| Arc::clone(&host.tun));
        let is_over = Arc::new(AtomicBool::new(false));
        let is_over_too = Arc::clone(&is_over);
        let wire = thread::spawn(move || carry(&tuns, &owners, &is_over_too));
        Self { server, relay, client, is_over, wire: Some(wire) }
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(wire) = self.wire.take() {
            let _ = wire.join();
        }
    }
}

/// Takes packets from where they are sent to where they belong.
fn carry(tuns: &[Arc<Tun>], owners: &BTreeMap<IpAddr, usize>, is_over: &AtomicBool) {
    let poller = Poller::new().unwrap();
    for (tun, token) in tuns.iter().zip(0..) {
        poller.add(tun.as_ref(), token, Interest::Read).unwrap();
    }
    let mut events = Events::with_capacity(tuns.len());
    let mut packet = [0; 2_048];
    while !is_over.load(Ordering::Relaxed) {
        poller.wait(&mut events, Some(Duration::from_millis(20))).unwrap();
        for event in events.iter() {
            let Ok(len) = tuns[event.token as usize].recv(&mut packet) else { continue };
            let owner = destination(&packet[..len]).and_then(|to| owners.get(&to));
            if let Some(owner) = owner {
                let _ = tuns[*owner].send(&packet[..len]);
            }
        }
    }
}

fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?)),
        6 => Some(IpAddr::from(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?)),
        _ => None,
    }
}

/// A host, whose uplink the test holds.
pub(crate) struct Host {
    pub(crate) namespace: NetNamespace,
    /// Where its programs meet.
    pub(crate) runtime: TestDir,
    tun: Arc<Tun>,
    index: u32,
}

impl Host {
    fn new(addresses: &[Ipv4Addr]) -> Self {
        let namespace = NetNamespace::create().unwrap();
        let tun = namespace.run(|| {
            let tun = Tun::create("uplink").unwrap();
            let mut netlink = Netlink::open().unwrap();
            netlink.disable_link_local(tun.index()).unwrap();
            netlink.set_link_up(tun.index()).unwrap();
            tun
        });
        let tun = tun.unwrap();
        let runtime = TestDir::new().unwrap();
        let host = Self { namespace, runtime, index: tun.index(), tun: Arc::new(tun) };
        for address in addresses {
            host.add_ipv4(*address);
        }
        host
    }

    /// Makes a command one of this host.
    pub(crate) fn command<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("TEREDO_RUNTIME_DIR", self.runtime.runtime().path());
        self.namespace.command(command)
    }

    /// Gives the host an address in the Internet's range.
    pub(crate) fn add_ipv4(&self, address: Ipv4Addr) {
        let lifetime = Lifetime::FOREVER;
        let address = address.into();
        let address = InterfaceAddress { index: self.index, address, prefix_len: 24, lifetime };
        self.change(|netlink| netlink.add_address(&address).unwrap());
    }

    /// Takes it away.
    pub(crate) fn remove_ipv4(&self, address: Ipv4Addr) {
        let index = self.index;
        self.change(|netlink| netlink.delete_address(index, address.into(), 24).unwrap());
    }

    /// Gives the host native IPv6: an address with a default route.
    pub(crate) fn add_native(&self, address: Ipv6Addr) {
        let index = self.index;
        self.change(|netlink| {
            let lifetime = Lifetime::FOREVER;
            let address =
                InterfaceAddress { index, address: address.into(), prefix_len: 64, lifetime };
            netlink.add_address(&address).unwrap();
        });
        self.namespace.run(|| route_to(Ipv6Addr::UNSPECIFIED, 0, index, Some(address))).unwrap();
    }

    /// Takes native IPv6 away, and its default route with it.
    pub(crate) fn remove_native(&self, address: Ipv6Addr) {
        let route = Route::on_link(Ipv6Addr::UNSPECIFIED.into(), 0, self.index);
        let index = self.index;
        self.change(|netlink| {
            netlink.delete_route(&Route { metric: NATIVE_METRIC, ..route }).unwrap();
            netlink.delete_address(index, address.into(), 64).unwrap();
        });
    }

    /// What is on the interface `name`, if there is one.
    pub(crate) fn interface(&self, name: &str) -> Option<Interface> {
        self.change(|netlink| {
            let index = netlink.link_index(name).ok()?;
            let addresses = netlink.addresses().unwrap();
            let addresses = addresses.into_iter().filter(|entry| entry.index == index);
            let of_us = |installed: &InstalledRoute| {
                installed.protocol == ROUTE_PROTOCOL && installed.route.interface == Some(index)
            };
            let routes = netlink.routes(Family::V6, of_us).unwrap();
            Some(Interface {
                addresses: addresses.map(|entry| entry.address).collect(),
                routes: routes.into_iter().map(|installed| installed.route).collect(),
            })
        })
    }

    /// Pings until there is an answer, and returns how many tries it took.
    pub(crate) fn ping(&self, to: Ipv6Addr) -> usize {
        let ping = || {
            let socket = PingSocket::open().unwrap();
            let end = Instant::now() + PATIENCE;
            for sequence in 1.. {
                socket.send(to, 1, sequence, b"teredo").unwrap();
                if let Some(reply) = socket.receive(Duration::from_secs(1)).unwrap() {
                    assert_eq!(reply.from, to);
                    return usize::from(sequence);
                }
                assert!(Instant::now() < end, "{to} does not answer");
            }
            unreachable!("patience ends before the numbers do");
        };
        self.namespace.run(ping).unwrap()
    }

    /// Changes or reads the host's network configuration.
    pub(crate) fn change<T: Send>(&self, change: impl FnOnce(&mut Netlink) -> T + Send) -> T {
        self.namespace.run(|| change(&mut Netlink::open().unwrap())).unwrap()
    }
}

/// Longer than anything here takes, shorter than anybody waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What is on an interface.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) addresses: Vec<IpAddr>,
    /// Those that the program has made.
    pub(crate) routes: Vec<Route>,
}

impl Interface {
    /// The routes as destination, length and source.
    pub(crate) fn routes(&self) -> Vec<(IpAddr, u8, Option<IpAddr>)> {
        let mut routes: Vec<_> = self
            .routes
            .iter()
            .map(|route| (route.destination, route.prefix_len, route.source))
            .collect();
        routes.sort_unstable();
        routes
    }
}

fn route_to(destination: Ipv6Addr, prefix_len: u8, index: u32, source: Option<Ipv6Addr>) {
    let route = Route::on_link(destination.into(), prefix_len, index);
    let route = Route { metric: NATIVE_METRIC, source: source.map(IpAddr::V6), ..route };
    Netlink::open().unwrap().add_route(&route).unwrap();
}

/// That of routes learnt from router advertisements.
const NATIVE_METRIC: u32 = 1_024;
