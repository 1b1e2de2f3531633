//! Multicast on one link: a group is joined, and sent to, on the interface that has an address.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use rustix::net::sockopt::{
    set_ip_add_membership, set_ip_drop_membership, set_ip_multicast_if, set_ip_multicast_loop,
    set_ip_multicast_ttl,
};

/// Joins `group` on the interface that has the address `on`.
///
/// # Errors
/// The kernel's: no interface has the address.
pub fn join(socket: impl AsFd, group: Ipv4Addr, on: Ipv4Addr) -> io::Result<()> {
    Ok(set_ip_add_membership(socket, &group, &on)?)
}

/// Leaves `group` where it was joined by the same address.
///
/// # Errors
/// The kernel's: the interface has gone, and the membership with it.
pub fn leave(socket: impl AsFd, group: Ipv4Addr, on: Ipv4Addr) -> io::Result<()> {
    Ok(set_ip_drop_membership(socket, &group, &on)?)
}

/// Has what the socket sends to groups leave on the interface that has the address `on`, no
/// farther than its link, and not come back to this host.
///
/// # Errors
/// The kernel's: no interface has the address.
pub fn send_on(socket: impl AsFd, on: Ipv4Addr) -> io::Result<()> {
    set_ip_multicast_if(&socket, &on)?;
    set_ip_multicast_ttl(&socket, 1)?;
    Ok(set_ip_multicast_loop(&socket, false)?)
}
