//! The multicast group of local discovery.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

use teredo_proto::client::DISCOVERY_ENDPOINT;
use teredo_sys::udp::multicast;

use super::UdpPort;

/// A membership on one link at a time, and the way there for what the service port sends.
pub struct DiscoveryGroup {
    group: OwnedFd,
    service: OwnedFd,
    joined_on: Option<Ipv4Addr>,
}

impl DiscoveryGroup {
    /// Opens the socket that hears the group, which is joined nowhere yet. It is bound to the
    /// group, so that it gets nothing that was sent to this host.
    ///
    /// # Errors
    /// The kernel's: another program has the port for itself.
    pub fn open(service: &UdpPort) -> io::Result<(UdpPort, Self)> {
        let port = UdpPort::bind_group(DISCOVERY_ENDPOINT)?;
        let group = port.as_fd().try_clone_to_owned()?;
        let service = service.as_fd().try_clone_to_owned()?;
        Ok((port, Self { group, service, joined_on: None }))
    }

    /// Joins the group on the interface that has the address `on`, and nowhere else.
    ///
    /// # Errors
    /// The kernel's; the group is then joined nowhere.
    pub fn join_on(&mut self, on: Option<Ipv4Addr>) -> io::Result<()> {
        let group = *DISCOVERY_ENDPOINT.ip();
        if let Some(before) = self.joined_on.take() {
            // It may have gone with its interface.
            let _ = multicast::leave(&self.group, group, before);
        }
        let Some(on) = on else { return Ok(()) };
        multicast::join(&self.group, group, on)?;
        self.joined_on = Some(on);
        multicast::send_on(&self.service, on)
    }
}
