//! Interfaces.

use std::io;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage,
};
use rustix::net::netdevice;

use super::Netlink;
use crate::error::Context;

impl Netlink {
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
