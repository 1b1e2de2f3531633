//! Interfaces.

use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
    State,
};
use rustix::net::netdevice;

use super::Netlink;
use crate::error::Context;

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkEntry {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What the kernel calls its kind, such as `tun` or `bridge`; empty for hardware.
    pub kind: String,
    /// The kind of link layer: an `ARPHRD_` number.
    pub layer: u16,
    /// Set up by the administrator.
    pub is_up: bool,
    /// Set up, and its lower layer carries packets.
    pub is_running: bool,
    /// Only two ends.
    pub is_point_to_point: bool,
    /// Can reach all neighbours with one packet.
    pub is_broadcast: bool,
    /// Its operational state.
    pub state: LinkState,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// Its link-layer address.
    pub address: Vec<u8>,
    /// The link-layer address that it was made with, if the driver tells.
    pub permanent_address: Vec<u8>,
    /// A text that an administrator has given it.
    pub alias: String,
    /// What it has carried.
    pub counters: LinkCounters,
}

/// The operational state of an interface (RFC 2863, `ifOperStatus`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// The driver does not tell; usual for tunnels and the loopback interface.
    #[default]
    Unknown,
    /// A part of it is missing.
    NotPresent,
    /// Down.
    Down,
    /// Down because the interface below it is.
    LowerLayerDown,
    /// Testing.
    Testing,
    /// Waiting for something.
    Dormant,
    /// Up.
    Up,
}

/// What an interface has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kernel's names (`rtnl_link_stats64`) say it")]
pub struct LinkCounters {
    pub rx_packets: u64,
    pub tx_packets: u64,
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
    pub multicast: u64,
    pub rx_no_handler: u64,
}

impl Netlink {
    /// All interfaces.
    pub fn links(&mut self) -> io::Result<Vec<LinkEntry>> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        self.dump(request, entry).context(|| "listing the interfaces".to_owned())
    }

    /// The interface `index`.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub fn link(&mut self, index: u32) -> io::Result<LinkEntry> {
        let answer = self.ask(RouteNetlinkMessage::GetLink(link(index)));
        // For an index that can be none, such as 0, the kernel says that the request is invalid.
        let unknown = [libc::ENODEV, libc::EINVAL, libc::ERANGE];
        if answer
            .as_ref()
            .is_err_and(|it| it.raw_os_error().is_some_and(|it| unknown.contains(&it)))
        {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("no interface {index}")));
        }
        let answer = answer.context(|| format!("asking for interface {index}"))?;
        entry(answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The index of the interface `name`.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    pub fn link_index(&self, name: &str) -> io::Result<u32> {
        match netdevice::name_to_index(&self.socket, name) {
            Err(rustix::io::Errno::NODEV) => {
                Err(io::Error::new(io::ErrorKind::NotFound, format!("no interface {name}")))
            }
            result => result.context(|| format!("looking for the interface {name}")),
        }
    }

    /// Sets an interface up.
    pub fn set_link_up(&mut self, index: u32) -> io::Result<()> {
        let mut link = link(index);
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        let message = RouteNetlinkMessage::SetLink(link);
        self.change(message, 0).context(|| format!("setting interface {index} up"))
    }

    /// Sets the MTU in bytes. IPv6 needs 1,280 at least.
    pub fn set_link_mtu(&mut self, index: u32, mtu: u32) -> io::Result<()> {
        let mut link = link(index);
        link.attributes.push(LinkAttribute::Mtu(mtu));
        let message = RouteNetlinkMessage::SetLink(link);
        self.change(message, 0).context(|| format!("setting the MTU of interface {index} to {mtu}"))
    }

    /// Keeps the kernel from giving the interface a link-local address of its own when it comes up,
    /// from which it would send router solicitations. Call it before
    /// [`set_link_up`](Self::set_link_up).
    pub fn disable_link_local(&mut self, index: u32) -> io::Result<()> {
        let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        let mut link = link(index);
        link.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]));
        let message = RouteNetlinkMessage::SetLink(link);
        self.change(message, 0)
            .context(|| format!("switching off link-local addresses on interface {index}"))
    }

    /// Deletes an interface.
    pub fn delete_link(&mut self, index: u32) -> io::Result<()> {
        let message = RouteNetlinkMessage::DelLink(link(index));
        self.change(message, 0).context(|| format!("deleting interface {index}"))
    }
}

fn link(index: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link
}

fn entry(message: RouteNetlinkMessage) -> Option<LinkEntry> {
    let RouteNetlinkMessage::NewLink(message) = message else { return None };
    let flags = message.header.flags;
    let mut entry = LinkEntry {
        index: message.header.index,
        layer: message.header.link_layer_type.into(),
        is_up: flags.contains(LinkFlags::Up),
        is_running: flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        is_point_to_point: flags.contains(LinkFlags::Pointopoint),
        is_broadcast: flags.contains(LinkFlags::Broadcast),
        ..LinkEntry::default()
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => entry.name = name,
            LinkAttribute::IfAlias(alias) => entry.alias = alias,
            LinkAttribute::Mtu(mtu) => entry.mtu = mtu,
            LinkAttribute::Address(address) => entry.address = address,
            LinkAttribute::PermAddress(address) => entry.permanent_address = address,
            LinkAttribute::OperState(state) => entry.state = state.into(),
            LinkAttribute::LinkInfo(infos) => {
                let mut kinds = infos.iter();
                entry.kind = kinds
                    .find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    })
                    .unwrap_or_default();
            }
            LinkAttribute::Stats64(stats) => {
                entry.counters = LinkCounters {
                    rx_packets: stats.rx_packets,
                    tx_packets: stats.tx_packets,
                    rx_bytes: stats.rx_bytes,
                    tx_bytes: stats.tx_bytes,
                    rx_errors: stats.rx_errors,
                    tx_errors: stats.tx_errors,
                    rx_dropped: stats.rx_dropped,
                    tx_dropped: stats.tx_dropped,
                    multicast: stats.multicast,
                    rx_no_handler: stats.rx_nohandler,
                };
            }
            _ => {}
        }
    }
    Some(entry)
}

impl From<State> for LinkState {
    fn from(state: State) -> Self {
        match state {
            State::NotPresent => Self::NotPresent,
            State::Down => Self::Down,
            State::LowerLayerDown => Self::LowerLayerDown,
            State::Testing => Self::Testing,
            State::Dormant => Self::Dormant,
            State::Up => Self::Up,
            _ => Self::Unknown,
        }
    }
}
