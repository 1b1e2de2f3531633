//! The tunnel interface: its address and its routes.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use teredo_sys::netlink::{Family, InterfaceAddress, Lifetime, Netlink, ROUTE_PROTOCOL, Route};
use teredo_sys::sysctl;
use teredo_sys::tun::Tun;
use teredo_wire::address::is_teredo;

/// Bytes of the largest IPv6 packet on a tunnel interface, whatever MTU a server advertises. Larger
/// ones would need larger slots for every datagram; all known servers say 1,280.
pub const INTERFACE_MTU_MAX: u16 = 1_500;

/// The MTU before a server has said otherwise (RFC 4380 section 5.1.2).
pub const INTERFACE_MTU_DEFAULT: u16 = 1_280;

/// The metric of the default route: behind whatever others assign, because Teredo is a last resort
/// (RFC 4380 section 5.5). The kernel gives 1,024, systemd-networkd up to 2,048 and NetworkManager
/// up to 1,100, with 20,000 more for a link that it has found to lead nowhere.
const DEFAULT_ROUTE_METRIC: u32 = 65_535;

/// 2001:0000::, the start of all Teredo addresses; it is 32 bits long.
const SERVICE_PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0);

/// A tunnel interface, as the kernel's configuration knows it.
///
/// It disappears with the [`Tun`] that was made with it, and with it all that this has set.
pub struct Tunnel {
    netlink: Netlink,
    name: String,
    index: u32,
    mtu: u16,
    address: Option<Ipv6Addr>,
    is_deprecated: bool,
    /// That of [`set_teredo_route`](Self::set_teredo_route), and its source.
    relay_route: Option<Option<Ipv6Addr>>,
    has_routes: bool,
}

impl Tunnel {
    /// Creates the interface and sets it up, without an address.
    ///
    /// No link-local address is made: the kernel would send Router Solicitations from it. What an
    /// earlier run may have left on an interface that was there before is removed.
    ///
    /// # Errors
    /// One line that names the device or the capability that is missing.
    pub fn create(name: &str) -> io::Result<(Tun, Self)> {
        let netlink = Netlink::open()?;
        let is_old = netlink.link_index(name).is_ok();
        let tun = Tun::create(name)?;
        let mut tunnel = Self {
            netlink,
            name: tun.name().to_owned(),
            index: tun.index(),
            mtu: INTERFACE_MTU_DEFAULT,
            address: None,
            is_deprecated: false,
            relay_route: None,
            has_routes: false,
        };
        tunnel.enable_ipv6()?;
        tunnel.netlink.disable_link_local(tunnel.index)?;
        tunnel.netlink.set_link_mtu(tunnel.index, tunnel.mtu.into())?;
        tunnel.netlink.set_link_up(tunnel.index)?;
        if is_old {
            tunnel.purge()?;
        }
        Ok((tun, tunnel))
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface's index.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Gives the interface this address and MTU in place of those before, and the routes with this
    /// source: first the address, then the routes, then the old address goes. `None` takes all
    /// away, so that programs fall back to IPv4 at once.
    pub fn set_address(&mut self, address: Option<(Ipv6Addr, u16)>) -> io::Result<()> {
        let Some((address, mtu)) = address else { return self.clear_address() };
        let mtu = mtu.min(INTERFACE_MTU_MAX);
        if mtu != self.mtu {
            self.netlink.set_link_mtu(self.index, mtu.into())?;
            self.mtu = mtu;
        }
        let old = self.address.replace(address);
        self.is_deprecated = false;
        self.put_address(address, Lifetime::FOREVER)?;
        self.set_route(&self.teredo_route(Some(address)))?;
        self.set_route(&self.default_route(address))?;
        self.has_routes = true;
        if let Some(old) = old.filter(|old| *old != address) {
            self.delete_address(old);
        }
        Ok(())
    }

    /// Keeps the address and the routes, but has the kernel choose any other address for new
    /// connections if there is one (RFC 4862 section 5.5.4). Setting an address ends that.
    pub fn deprecate_address(&mut self) -> io::Result<()> {
        let Some(address) = self.address else { return Ok(()) };
        self.is_deprecated = true;
        self.put_address(address, Lifetime { preferred_s: 0, ..Lifetime::FOREVER })
    }

    /// Sets again what somebody else has taken away, as setting the interface down does, and says
    /// whether anything was missing.
    pub fn restore(&mut self) -> io::Result<bool> {
        let routes = match (self.address, self.relay_route) {
            (Some(_), _) => CLIENT_ROUTES,
            (None, Some(_)) => RELAY_ROUTES,
            (None, None) => return Ok(false),
        };
        if self.has_address()? && self.own_routes()?.len() == routes {
            return Ok(false);
        }
        self.purge()?;
        self.has_routes = false;
        self.netlink.set_link_up(self.index)?;
        let is_deprecated = self.is_deprecated;
        if let Some(address) = self.address {
            self.set_address(Some((address, self.mtu)))?;
        }
        if is_deprecated {
            self.deprecate_address()?;
        }
        if let Some(source) = self.relay_route {
            self.set_teredo_route(source)?;
        }
        Ok(true)
    }

    /// Whether the interface has the address that it should have, if any.
    fn has_address(&mut self) -> io::Result<bool> {
        let Some(address) = self.address else { return Ok(true) };
        let entries = self.netlink.addresses()?;
        Ok(entries.iter().any(|entry| entry.index == self.index && entry.address == address))
    }

    /// Leads all of Teredo into the tunnel, for a relay. Packets of this host get the source
    /// `source`, or one the kernel chooses.
    pub fn set_teredo_route(&mut self, source: Option<Ipv6Addr>) -> io::Result<()> {
        if self.has_routes && self.relay_route == Some(source) {
            return Ok(());
        }
        // Somebody may have taken it down while there was no route to be missed.
        self.netlink.set_link_up(self.index)?;
        self.set_route(&self.teredo_route(source))?;
        self.relay_route = Some(source);
        self.has_routes = true;
        Ok(())
    }

    /// Takes away the route of [`set_teredo_route`](Self::set_teredo_route).
    pub fn clear_teredo_route(&mut self) {
        self.relay_route = None;
        if std::mem::take(&mut self.has_routes) {
            let route = self.teredo_route(None);
            self.delete_route(&route);
        }
    }

    fn put_address(&mut self, address: Ipv6Addr, lifetime: Lifetime) -> io::Result<()> {
        self.netlink.add_address(&InterfaceAddress {
            index: self.index,
            address: address.into(),
            // No subnet of its own: all of Teredo is on this link, by a route.
            prefix_len: 128,
            lifetime,
        })
    }

    fn clear_address(&mut self) -> io::Result<()> {
        let Some(address) = self.address.take() else { return Ok(()) };
        self.delete_route(&self.default_route(address));
        self.clear_teredo_route();
        self.delete_address(address);
        Ok(())
    }

    /// A route of somebody else to the same place is not replaced but reported.
    fn set_route(&mut self, route: &Route) -> io::Result<()> {
        if self.has_routes {
            return self.netlink.replace_route(route);
        }
        self.netlink.add_route(route).map_err(|error| {
            if error.kind() != io::ErrorKind::AlreadyExists {
                return error;
            }
            let (destination, len) = (route.destination, route.prefix_len);
            let text = format!("another route to {destination}/{len} exists; remove it first");
            io::Error::new(error.kind(), text)
        })
    }

    /// That somebody else has been faster is no failure; anything else goes with the interface.
    fn delete_route(&mut self, route: &Route) {
        let _ = self.netlink.delete_route(route);
    }

    /// As [`delete_route`](Self::delete_route).
    fn delete_address(&mut self, address: Ipv6Addr) {
        let _ = self.netlink.delete_address(self.index, address.into(), 128);
    }

    fn teredo_route(&self, source: Option<Ipv6Addr>) -> Route {
        let route = Route::on_link(SERVICE_PREFIX.into(), 32, self.index);
        Route { source: source.map(IpAddr::V6), ..route }
    }

    fn default_route(&self, source: Ipv6Addr) -> Route {
        let route = Route::on_link(Ipv6Addr::UNSPECIFIED.into(), 0, self.index);
        Route { metric: DEFAULT_ROUTE_METRIC, source: Some(source.into()), ..route }
    }

    /// Some systems switch IPv6 off for new interfaces, containers do for instance. This one is
    /// ours, and of no other use.
    fn enable_ipv6(&self) -> io::Result<()> {
        let setting = format!("ipv6/conf/{}/disable_ipv6", self.name);
        // Not readable: no IPv6 at all, or no /proc. The address will tell.
        match sysctl::read(&setting) {
            Ok(value) if value != "0" => sysctl::write(&setting, "0"),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Link-local addresses too: only an interface that was there before has one.
    fn purge(&mut self) -> io::Result<()> {
        for route in self.own_routes()? {
            self.delete_route(&route);
        }
        for entry in self.netlink.addresses()? {
            match entry.address {
                IpAddr::V6(address) if entry.index == self.index => {
                    if is_teredo(address) || address.is_unicast_link_local() {
                        let _ = self.netlink.delete_address(
                            self.index,
                            entry.address,
                            entry.prefix_len,
                        );
                    }
                }
                IpAddr::V4(_) | IpAddr::V6(_) => {}
            }
        }
        Ok(())
    }

    /// The routes into the interface that bear our mark.
    fn own_routes(&mut self) -> io::Result<Vec<Route>> {
        let index = self.index;
        let routes = self.netlink.routes(Family::V6, |installed| {
            installed.protocol == ROUTE_PROTOCOL && installed.route.interface == Some(index)
        })?;
        Ok(routes.into_iter().map(|installed| installed.route).collect())
    }
}

/// Those of [`Tunnel::set_address`]: to all of Teredo, and to everywhere.
const CLIENT_ROUTES: usize = 2;
/// That of [`Tunnel::set_teredo_route`].
const RELAY_ROUTES: usize = 1;
