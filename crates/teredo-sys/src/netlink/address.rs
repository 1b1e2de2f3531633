//! Addresses of interfaces.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::thread;
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol, CacheInfo,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::Netlink;
use crate::error::Context;

/// An address to put on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// How many of its first bits are the subnet's. With less than all, the kernel adds a route to
    /// the subnet by itself.
    pub prefix_len: u8,
    /// How long it is good for.
    pub lifetime: Lifetime,
}

/// How long an address lives, in seconds from now (RFC 4862, section 5.5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// How long new connections may choose it.
    pub preferred_s: u32,
    /// How long it stays at all.
    pub valid_s: u32,
}

impl Lifetime {
    /// Without an end.
    pub const FOREVER: Self = Self { preferred_s: u32::MAX, valid_s: u32::MAX };
}

/// An address that an interface has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressEntry {
    /// The interface.
    pub index: u32,
    /// The host's own address there.
    pub address: IpAddr,
    /// How many of its first bits are the subnet's.
    pub prefix_len: u8,
    /// How far it reaches.
    pub scope: AddressScope,
    /// Not to be used yet: duplicate address detection is under way, or has failed.
    pub tentative: bool,
    /// Not to be chosen for new connections.
    pub deprecated: bool,
    /// Duplicate address detection has found another host with it.
    pub duplicate: bool,
    /// How long it is still good for.
    pub lifetime: Lifetime,
    /// How it came to be.
    pub origin: AddressOrigin,
    /// A privacy address (RFC 8981), with a random end.
    pub temporary: bool,
    /// When it was made, in hundredths of a second since boot, time asleep not counted.
    pub created_cs: u32,
    /// When it was last set, on the same clock.
    pub updated_cs: u32,
}

/// Who has put an address on an interface, as far as the kernel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOrigin {
    /// A program or a person.
    Program,
    /// The kernel, on the loopback interface.
    Loopback,
    /// The kernel, after a router advertisement.
    RouterAdvertisement,
    /// The kernel, of itself, on every link.
    LinkLocal,
}

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressScope {
    /// Everywhere, as far as the kernel knows: private IPv4 addresses count as global here.
    Global,
    /// This link.
    Link,
    /// This host.
    Host,
    /// Anything else, such as the old site scope.
    Other,
}

impl Netlink {
    /// Adds an address, without duplicate address detection, or renews it. When this returns, the
    /// address can be bound to and packets to it are accepted.
    pub fn add_address(&mut self, address: &InterfaceAddress) -> io::Result<()> {
        self.request_address(address)
            .context(|| format!("adding {} to interface {}", address.address, address.index))
    }

    fn request_address(&mut self, address: &InterfaceAddress) -> io::Result<()> {
        let mut message = message(address.index, address.address, address.prefix_len);
        message.header.flags = AddressHeaderFlags::Nodad;
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_preferred = address.lifetime.preferred_s;
        lifetime.ifa_valid = address.lifetime.valid_s;
        message.attributes.push(AddressAttribute::CacheInfo(lifetime));
        self.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)?;
        match address.address {
            IpAddr::V4(_) => Ok(()),
            IpAddr::V6(address) => self.wait_until_local(address),
        }
    }

    /// The kernel acknowledges an IPv6 address first and installs the route that makes it local
    /// afterwards, from a work queue. A packet that comes in between is dropped.
    fn wait_until_local(&mut self, address: Ipv6Addr) -> io::Result<()> {
        let deadline = Instant::now() + LOCAL_ROUTE_TIMEOUT;
        while !self.is_local(address)? {
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(LOCAL_ROUTE_POLL);
        }
        Ok(())
    }

    /// Takes an address away.
    pub fn delete_address(
        &mut self,
        index: u32,
        address: IpAddr,
        prefix_len: u8,
    ) -> io::Result<()> {
        let message = message(index, address, prefix_len);
        self.change(RouteNetlinkMessage::DelAddress(message), 0)
            .context(|| format!("deleting {address} from interface {index}"))
    }

    /// All addresses of all interfaces, of both families.
    pub fn addresses(&mut self) -> io::Result<Vec<AddressEntry>> {
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.dump(request, entry).context(|| "listing the addresses".to_owned())
    }
}

/// The work queue takes some 20 us on an idle machine; this is long for one that is swapping.
const LOCAL_ROUTE_TIMEOUT: Duration = Duration::from_secs(2);

/// Short beside a round trip, long beside the question.
const LOCAL_ROUTE_POLL: Duration = Duration::from_micros(50);

fn message(index: u32, address: IpAddr, prefix_len: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = prefix_len;
    message.header.family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.attributes = vec![AddressAttribute::Local(address), AddressAttribute::Address(address)];
    message
}

fn entry(message: RouteNetlinkMessage) -> Option<AddressEntry> {
    let RouteNetlinkMessage::NewAddress(message) = message else { return None };
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    let (mut local, mut address) = (None, None);
    let mut cache = CacheInfo::default();
    let mut origin = AddressOrigin::Program;
    (cache.ifa_preferred, cache.ifa_valid) = (u32::MAX, u32::MAX);
    for attribute in message.attributes {
        match attribute {
            AddressAttribute::CacheInfo(info) => cache = info,
            AddressAttribute::Protocol(protocol) => origin = protocol.into(),
            AddressAttribute::Local(ip) => local = Some(ip),
            AddressAttribute::Address(ip) => address = Some(ip),
            AddressAttribute::Flags(all) => flags = all,
            _ => {}
        }
    }
    Some(AddressEntry {
        index: message.header.index,
        // On a point-to-point link the other attribute is the far end's address.
        address: local.or(address)?,
        prefix_len: message.header.prefix_len,
        scope: message.header.scope.into(),
        tentative: flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed),
        deprecated: flags.contains(AddressFlags::Deprecated),
        duplicate: flags.contains(AddressFlags::Dadfailed),
        lifetime: Lifetime { preferred_s: cache.ifa_preferred, valid_s: cache.ifa_valid },
        origin,
        // The same bit says "secondary" of an IPv4 address.
        temporary: message.header.family == AddressFamily::Inet6
            && flags.contains(AddressFlags::Secondary),
        created_cs: cache.cstamp,
        updated_cs: cache.tstamp,
    })
}

impl From<AddressProtocol> for AddressOrigin {
    fn from(protocol: AddressProtocol) -> Self {
        match protocol {
            AddressProtocol::Loopback => Self::Loopback,
            AddressProtocol::RouterAnnouncement => Self::RouterAdvertisement,
            AddressProtocol::LinkLocal => Self::LinkLocal,
            _ => Self::Program,
        }
    }
}

impl From<netlink_packet_route::address::AddressScope> for AddressScope {
    fn from(scope: netlink_packet_route::address::AddressScope) -> Self {
        use netlink_packet_route::address::AddressScope as Kernel;
        match scope {
            Kernel::Universe => Self::Global,
            Kernel::Link => Self::Link,
            Kernel::Host => Self::Host,
            _ => Self::Other,
        }
    }
}
