//! What this host knows of its own place in the network.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use teredo_proto::Ipv4Filter;
use teredo_sys::netlink::{AddressEntry, AddressScope, Family, Netlink};
use teredo_wire::address::is_teredo;
use teredo_wire::ipv4::Ipv4Cidr;

/// Any host of the IPv6 Internet: in the range of all global unicast addresses, in a block of it
/// that nobody has, so that only a route to everywhere leads there.
const SOMEWHERE_V6: Ipv6Addr = Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1);

/// Any host of the IPv4 Internet, likewise: addresses that are not given out any more.
const SOMEWHERE_V4: Ipv4Addr = Ipv4Addr::new(192, 88, 99, 1);

/// The addresses of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Its IPv4 addresses.
    pub ipv4: Vec<Ipv4Addr>,
    /// The IPv4 subnets attached to it.
    pub ipv4_subnets: Vec<Ipv4Cidr>,
    /// Its native IPv6 addresses: global unicast, not Teredo, ready for use.
    pub native_ipv6: Vec<Ipv6Addr>,
}

impl Addresses {
    /// Asks the kernel.
    pub fn read() -> io::Result<Self> {
        let mut addresses = Self::default();
        for entry in Netlink::open()?.addresses()? {
            match entry.address {
                IpAddr::V4(address) => {
                    addresses.ipv4.push(address);
                    addresses.ipv4_subnets.extend(Ipv4Cidr::new(address, entry.prefix_len));
                }
                IpAddr::V6(address) if is_usable(&entry) && is_native(address) => {
                    addresses.native_ipv6.push(address);
                }
                IpAddr::V6(_) => {}
            }
        }
        Ok(addresses)
    }

    /// The IPv4 filter of a role on this host that also lets through `allowed`.
    pub fn ipv4_filter(&self, allowed: &[Ipv4Cidr]) -> Ipv4Filter {
        Ipv4Filter {
            allowed: allowed.to_vec(),
            own: self.ipv4.clone(),
            subnets: self.ipv4_subnets.clone(),
        }
    }
}

/// The IPv6 address from which this host reaches the IPv6 Internet without Teredo, if it does.
pub fn native_ipv6_source() -> Option<Ipv6Addr> {
    match source_towards(SOMEWHERE_V6.into())? {
        IpAddr::V6(source) if is_native(source) => Some(source),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// The IPv4 address from which this host reaches `destination`, if it does.
pub fn ipv4_source_towards(destination: Ipv4Addr) -> Option<Ipv4Addr> {
    match source_towards(destination.into())? {
        IpAddr::V4(source) => Some(source),
        IpAddr::V6(_) => None,
    }
}

/// The IPv4 address from which this host reaches the Internet, if it does.
pub fn ipv4_source() -> Option<Ipv4Addr> {
    ipv4_source_towards(SOMEWHERE_V4)
}

/// The router that this host's packets to the IPv4 Internet go to, if there is one.
pub fn default_gateway() -> Option<Ipv4Addr> {
    let routes = Netlink::open().ok()?.routes(Family::V4, |it| it.route.is_default()).ok()?;
    let best = routes.into_iter().filter(|it| it.route.gateway.is_some());
    match best.min_by_key(|it| it.route.metric)?.route.gateway? {
        IpAddr::V4(gateway) => Some(gateway),
        IpAddr::V6(_) => None,
    }
}

/// Has the kernel choose a source, by all its rules; nothing is sent.
fn source_towards(destination: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match destination {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(SocketAddr::new(destination, DISCARD_PORT)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// A connected UDP socket needs some port.
const DISCARD_PORT: u16 = 9;

fn is_usable(entry: &AddressEntry) -> bool {
    entry.scope == AddressScope::Global && !entry.tentative
}

/// Global unicast (2000::/3), by other means than Teredo.
fn is_native(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xe000 == 0x2000 && !is_teredo(address)
}
