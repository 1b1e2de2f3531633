//! What befalls hosts on the way: another network, sleep.

use core::time::Duration;

use teredo_proto::client::DISCOVERY_ENDPOINT;

use crate::host::{AnyRole, HostId, Plan};

use super::build::FIRST_HOST;
use super::{Place, World};

impl World {
    /// Moves a client's host to another network, with new IPv4 addresses on the same ports, and
    /// tells the client.
    pub fn move_client(&mut self, id: HostId, place: impl Into<Place>) {
        let host = &mut self.hosts[id.0];
        let old_place = core::mem::replace(&mut host.place, place.into());
        for address in core::mem::take(&mut host.addresses) {
            self.attachments.remove(&(old_place, address));
        }
        let address = self.add_address(id, FIRST_HOST);
        let filter = self.filter(id);
        for service in &mut self.hosts[id.0].services {
            let moving = service.sockets.iter_mut().map(|(_, socket)| socket);
            for socket in moving.filter(|socket| **socket != DISCOVERY_ENDPOINT) {
                socket.set_ip(address);
            }
            if let (Plan::Client(config), AnyRole::Client(client)) =
                (&mut service.plan, &mut service.role)
            {
                config.local_address = Some(address);
                config.filter = filter.clone();
                client.set_filter(filter.clone());
            }
        }
        self.with_client(id, |client, now| client.network_changed(now, Some(address)));
        if self.hosts[id.0].mapper.take().is_some() {
            self.start_mapper(id);
        }
        self.give_explicit(id);
    }

    /// Moves all clocks on at once: what was due meanwhile comes late, as after a sleep that nobody
    /// noticed.
    pub fn jump(&mut self, duration: Duration) {
        self.advance_to(self.now + duration);
    }
}
