//! Routes of the main table.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use super::{Family, Netlink};
use crate::error::Context;

/// Marks the routes that this program has installed, so that they can be recognised and purged. The
/// kernel does not interpret it; routing daemons registered in `rt_protos` keep clear of it.
pub const ROUTE_PROTOCOL: u8 = 215;

/// A route to a subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The subnet's address; unspecified for a default route.
    pub destination: IpAddr,
    /// How many bits of the address count.
    pub prefix_len: u8,
    /// The next router, if the subnet is not on the link itself.
    pub gateway: Option<IpAddr>,
    /// The interface; absent if the route has several, or none.
    pub interface: Option<u32>,
    /// Lower ones are preferred. 0 lets the kernel choose its default, which is 1,024 for IPv6.
    pub metric: u32,
    /// The source address for connections that do not choose one.
    pub source: Option<IpAddr>,
}

impl Route {
    /// A route to a subnet that is on the link of `interface` itself.
    pub fn on_link(destination: IpAddr, prefix_len: u8, interface: u32) -> Self {
        let (gateway, source) = (None, None);
        Self { destination, prefix_len, gateway, interface: Some(interface), metric: 0, source }
    }

    /// Whether it leads to everywhere.
    pub fn is_default(&self) -> bool {
        self.prefix_len == 0
    }
}

/// A route that the kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstalledRoute {
    /// The route.
    pub route: Route,
    /// Who installed it; ours is [`ROUTE_PROTOCOL`].
    pub protocol: u8,
}

impl Netlink {
    /// Adds a route.
    ///
    /// # Errors
    /// `AlreadyExists` if there is one to the same subnet with the same metric.
    pub fn add_route(&mut self, route: &Route) -> io::Result<()> {
        self.change(RouteNetlinkMessage::NewRoute(message(route)), NLM_F_CREATE | NLM_F_EXCL)
            .context(|| format!("adding the route {route}"))
    }

    /// Adds a route in place of one to the same subnet with the same metric, if there is one.
    pub fn replace_route(&mut self, route: &Route) -> io::Result<()> {
        self.change(RouteNetlinkMessage::NewRoute(message(route)), NLM_F_CREATE | NLM_F_REPLACE)
            .context(|| format!("setting the route {route}"))
    }

    /// Whether the kernel takes packets to `address` for this host's own.
    pub(super) fn is_local(&mut self, address: Ipv6Addr) -> io::Result<bool> {
        let mut request = RouteMessage::default();
        request.header.address_family = Family::V6.into();
        request.header.destination_prefix_length = 128;
        request.attributes = vec![RouteAttribute::Destination(address.into())];
        match self.ask(RouteNetlinkMessage::GetRoute(request)) {
            Ok(RouteNetlinkMessage::NewRoute(found)) => Ok(found.header.kind == RouteType::Local),
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NetworkUnreachable => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes a route that this program has added, and no other.
    pub fn delete_route(&mut self, route: &Route) -> io::Result<()> {
        let mut message = message(route);
        // No particular scope.
        message.header.scope = RouteScope::NoWhere;
        self.change(RouteNetlinkMessage::DelRoute(message), 0)
            .context(|| format!("deleting the route {route}"))
    }

    /// The routes of the main table that packets are forwarded by and that `wanted` wants. The
    /// choice is made while reading, because a router may have a million.
    pub fn routes(
        &mut self,
        family: Family,
        wanted: impl Fn(&InstalledRoute) -> bool,
    ) -> io::Result<Vec<InstalledRoute>> {
        let mut request = RouteMessage::default();
        request.header.address_family = family.into();
        self.dump(RouteNetlinkMessage::GetRoute(request), |message| {
            installed(message, family).filter(|route| wanted(route))
        })
        .context(|| "listing the routes".to_owned())
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.destination, self.prefix_len)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(interface) = self.interface {
            write!(f, " on interface {interface}")?;
        }
        Ok(())
    }
}

fn message(route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    let family = match route.destination {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    };
    message.header.address_family = family.into();
    message.header.destination_prefix_length = route.prefix_len;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Other(ROUTE_PROTOCOL);
    message.header.kind = RouteType::Unicast;
    message.header.scope = match route.gateway {
        Some(_) => RouteScope::Universe,
        None => RouteScope::Link,
    };
    let metric = (route.metric != 0).then_some(route.metric);
    message.attributes = [
        Some(RouteAttribute::Destination(route.destination.into())),
        route.gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())),
        route.interface.map(RouteAttribute::Oif),
        metric.map(RouteAttribute::Priority),
        route.source.map(|source| RouteAttribute::PrefSource(source.into())),
    ]
    .into_iter()
    .flatten()
    .collect();
    message
}

fn installed(message: RouteNetlinkMessage, family: Family) -> Option<InstalledRoute> {
    let RouteNetlinkMessage::NewRoute(message) = message else { return None };
    let is_wanted = message.header.table == RouteHeader::RT_TABLE_MAIN
        && message.header.kind == RouteType::Unicast;
    if !is_wanted {
        return None;
    }
    let mut route = Route {
        destination: match family {
            Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
        },
        prefix_len: message.header.destination_prefix_length,
        gateway: None,
        interface: None,
        metric: 0,
        source: None,
    };
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => route.destination = ip(address)?,
            RouteAttribute::Gateway(address) => route.gateway = ip(address),
            RouteAttribute::Oif(index) => route.interface = Some(index),
            RouteAttribute::Priority(metric) => route.metric = metric,
            RouteAttribute::PrefSource(address) => route.source = ip(address),
            _ => {}
        }
    }
    Some(InstalledRoute { route, protocol: message.header.protocol.into() })
}

fn ip(address: RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(address.into()),
        RouteAddress::Inet6(address) => Some(address.into()),
        _ => None,
    }
}
