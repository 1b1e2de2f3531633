//! Putting a world together, and what befalls it.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use core::time::Duration;

use teredo_proto::client::{self, Client, DISCOVERY_ENDPOINT};
use teredo_proto::helper;
use teredo_proto::relay::{self, Scope};
use teredo_proto::server::Clients;
use teredo_proto::{Instant, Ipv4Filter, Local, Policy, server};
use teredo_wire::TEREDO_PORT;
use teredo_wire::helper::HELPER_PORT;
use teredo_wire::ipv4::Ipv4Cidr;
use teredo_wire::ipv6::Ipv6Cidr;

use crate::asked;
use crate::host::{AnyRole, Datagram, Host, HostId, Plan, Service};
use crate::ledger::Ledger;
use crate::link::{Lane, Link};
use crate::nat::{Nat, NatConfig};
use crate::stack::{self, Stack};

use super::forward::Arrival;
use super::{Attachment, NatBox, NatId, Place, World};

impl World {
    /// The link of the hosts that are added from now on.
    pub fn set_host_link(&mut self, link: Link) {
        self.host_link = link;
    }

    /// Replaces the link of one host.
    pub fn set_link(&mut self, host: HostId, link: Link) {
        self.set_links(host, link, link);
    }

    /// The link of each packet on the IPv6 Internet.
    pub fn set_ipv6_link(&mut self, link: Link) {
        self.ipv6_link = Lane::new(link);
    }

    /// Adds a NAT with one address on the Internet. Its own link takes no time.
    pub fn add_nat(&mut self, config: NatConfig) -> NatId {
        self.add_nat_at(Place::Internet, config, 1)
    }

    /// Adds a NAT anywhere, with several external addresses.
    pub fn add_nat_at(&mut self, place: impl Into<Place>, config: NatConfig, pool: u8) -> NatId {
        let (place, id) = (place.into(), NatId(self.nats.len()));
        let mut external = Vec::new();
        for _ in 0..pool {
            let address = self.free_address(place, FIRST_NAT);
            self.attachments.insert((place, address), Attachment::Nat(id));
            external.push(address);
        }
        let nat = Nat::new(config, external, self.next_seed());
        let lanes = [Lane::new(Link::perfect(Duration::ZERO)); 2];
        self.nats.push(NatBox { nat, place, lanes, gateway: None });
        id
    }

    /// Adds a server with two addresses on the Internet.
    pub fn add_server(&mut self) -> HostId {
        self.add_server_with(|_| {})
    }

    /// Adds a server whose configuration `change` has the last word on.
    pub fn add_server_with(&mut self, change: impl FnOnce(&mut server::Config)) -> HostId {
        let host = self.add_host("server", Place::Internet, FIRST_SERVER);
        let primary = self.address_of(host);
        let secondary = self.add_address(host, FIRST_SERVER);
        let mut config = server::Config::new(primary, Some(secondary));
        config.filter = self.filter(host);
        change(&mut config);
        let mut sockets = vec![(Local::Primary, SocketAddrV4::new(config.primary, TEREDO_PORT))];
        let second = config.secondary.map(|address| SocketAddrV4::new(address, TEREDO_PORT));
        sockets.extend(second.map(|endpoint| (Local::Secondary, endpoint)));
        self.servers.push(host);
        self.serve(host, Plan::Server(config), sockets);
        host
    }

    /// Adds a client of the first server, and starts it.
    pub fn add_client(&mut self, place: impl Into<Place>) -> HostId {
        self.add_client_with(place, |_| {})
    }

    /// Adds a client of any server, and starts it: if its NAT gives out endpoints, with one.
    pub fn add_client_of(&mut self, server: HostId, place: impl Into<Place>) -> HostId {
        let addresses = self.server_addresses(server);
        self.add_client_with(place, |config| (config.server, config.secondary) = addresses)
    }

    /// Adds a client whose configuration `change` has the last word on, and starts it. It lets in
    /// everything, so that only the protocol decides.
    pub fn add_client_with(
        &mut self,
        place: impl Into<Place>,
        change: impl FnOnce(&mut client::Config),
    ) -> HostId {
        let host = self.add_host("client", place.into(), FIRST_HOST);
        let address = self.address_of(host);
        let server = self.servers.first().map(|server| self.server_addresses(*server));
        let (primary, secondary) = server.unwrap_or((Ipv4Addr::UNSPECIFIED, None));
        let port = FIRST_PORT + host.0 as u16;
        let mut config = client::Config::new(primary, secondary, port);
        config.local_address = Some(address);
        config.filter = self.filter(host);
        config.policy = Policy::everything();
        change(&mut config);
        let service = SocketAddrV4::new(address, config.service_port);
        let mut sockets = vec![(Local::Primary, service)];
        if config.local_discovery {
            sockets.push((Local::Discovery, DISCOVERY_ENDPOINT));
        }
        self.serve(host, Plan::Client(Box::new(config)), sockets);
        self.give_explicit(host);
        host
    }

    /// Gives a client an explicit mapping for good, if its NAT does that.
    pub(super) fn give_explicit(&mut self, host: HostId) {
        let Place::Behind(NatId(nat)) = self.hosts[host.0].place else { return };
        let nat = &mut self.nats[nat].nat;
        let service = self.hosts[host.0].services.first().and_then(|it| it.sockets.first());
        let Some((_, service)) = service.filter(|_| nat.config().gives_explicit) else { return };
        let mapping = nat.map_explicitly(self.now, *service, service.port(), Duration::MAX);
        self.with_client(host, |client, now| client.set_explicit_mapping(now, mapping));
    }

    /// Adds a helper on the Internet for these clients, with a configuration that `change` has the
    /// last word on.
    pub fn add_helper(
        &mut self,
        clients: Clients,
        change: impl FnOnce(&mut helper::Config),
    ) -> HostId {
        let host = self.add_host("helper", Place::Internet, FIRST_RELAY);
        self.add_helper_to(host, clients, change);
        host
    }

    /// Makes a host, be it a server, a helper: one socket more.
    pub fn add_helper_to(
        &mut self,
        host: HostId,
        clients: Clients,
        change: impl FnOnce(&mut helper::Config),
    ) {
        let endpoint = SocketAddrV4::new(self.address_of(host), HELPER_PORT);
        let mut config = helper::Config::new(endpoint, clients);
        config.filter = self.filter(host);
        for neighbour in &mut self.hosts[host.0].services {
            if let Plan::Server(server) = &mut neighbour.plan {
                server.helper = Some(endpoint);
                let addresses = [Some(server.primary), server.secondary].into_iter().flatten();
                let servers = addresses.map(|address| SocketAddrV4::new(address, TEREDO_PORT));
                config.neighbours.extend(servers);
            }
        }
        change(&mut config);
        self.restart(host);
        self.serve(host, Plan::Helper(config), vec![(Local::Primary, endpoint)]);
    }

    /// Adds a relay on the Internet that the IPv6 Internet reaches Teredo clients through.
    pub fn add_relay(&mut self, place: impl Into<Place>) -> HostId {
        let host = self.add_host("relay", place.into(), FIRST_RELAY);
        self.add_relay_to(host);
        host
    }

    /// Makes a host, be it a server, a relay: one socket more, and the route for Teredo clients.
    pub fn add_relay_to(&mut self, host: HostId) {
        let service = SocketAddrV4::new(self.address_of(host), FIRST_PORT + host.0 as u16);
        for neighbour in &mut self.hosts[host.0].services {
            if let Plan::Server(config) = &mut neighbour.plan {
                config.relay = Some(service);
            }
        }
        self.restart(host);
        let address = self.add_native_address(host);
        let served = Ipv6Cidr::new(NATIVE_RANGE, NATIVE_RANGE_LEN).into_iter().collect();
        let scope = Scope::Network { address, served };
        let config = self.relay_config(host, service, scope);
        self.serve(host, Plan::Relay(config), vec![(Local::Primary, service)]);
        self.teredo_route = Some(host);
    }

    /// Adds a host with native IPv6 that is its own relay. It lets in everything.
    pub fn add_host_relay(&mut self, place: impl Into<Place>) -> HostId {
        let host = self.add_host("host-relay", place.into(), FIRST_HOST);
        let own = self.add_native_address(host);
        let service = SocketAddrV4::new(self.address_of(host), FIRST_PORT + host.0 as u16);
        let config = self.relay_config(host, service, Scope::Host { own: vec![own] });
        self.serve(host, Plan::Relay(config), vec![(Local::Primary, service)]);
        host
    }

    /// Adds a host with native IPv6 only.
    pub fn add_native_host(&mut self) -> HostId {
        let host = self.push_host("native", Place::Internet);
        self.add_native_address(host);
        host
    }

    /// Adds a host without any role, to send and take datagrams by hand.
    pub fn add_plain_host(&mut self, place: impl Into<Place>) -> HostId {
        self.add_host("plain", place.into(), FIRST_HOST)
    }

    /// Which relay the IPv6 Internet reaches Teredo clients through; `None`: they are not reached.
    pub fn route_teredo_to(&mut self, relay: Option<HostId>) {
        self.teredo_route = relay;
    }

    /// Changes what a client, or a host that is its own relay, lets in unasked.
    pub fn set_policy(&mut self, host: HostId, policy: &Policy) {
        for Service { plan, role, .. } in &mut self.hosts[host.0].services {
            match (plan, role) {
                (Plan::Client(config), AnyRole::Client(client)) => {
                    config.policy = policy.clone();
                    client.set_policy(policy.clone());
                }
                (Plan::Relay(config), AnyRole::Relay(relay)) => {
                    config.policy = policy.clone();
                    relay.set_policy(policy.clone());
                }
                _ => {}
            }
        }
    }

    /// What a client, or a host that is its own relay, lets in unasked; nothing is in between for
    /// any other host.
    pub fn policy(&self, host: HostId) -> Option<&Policy> {
        self.hosts[host.0].services.iter().find_map(|service| asked::policy(&service.plan))
    }

    /// Switches a host off or on; nothing is forgotten.
    pub fn set_up(&mut self, host: HostId, up: bool) {
        self.hosts[host.0].up = up;
    }

    /// Boots a host: its roles start from nothing but their configuration.
    pub fn restart(&mut self, id: HostId) {
        self.bubbles.note_restart(id);
        for index in 0..self.hosts[id.0].services.len() {
            let seed = self.next_seed();
            let host = &mut self.hosts[id.0];
            host.stack.teredo = None;
            host.stack.asked.clear();
            host.services[index].restart(self.now, seed);
            self.drain(id, index);
        }
        if self.hosts[id.0].mapper.is_some() {
            self.start_mapper(id);
        }
        self.give_explicit(id);
    }

    /// Boots a NAT: no mapping is left, and its gateway says so.
    pub fn reboot_nat(&mut self, nat: NatId) {
        self.nats[nat.0].nat.reboot();
        self.announce_gateway(nat);
    }

    /// Lets mappings that are made or used from now on live this long.
    pub fn set_nat_lifetime(&mut self, nat: NatId, lifetime: Duration) {
        self.nats[nat.0].nat.set_lifetime(lifetime);
    }

    /// Has something done to a client.
    pub fn with_client(&mut self, host: HostId, act: impl FnOnce(&mut Client, Instant)) {
        let services = &mut self.hosts[host.0].services;
        let found = services.iter_mut().enumerate().find_map(|(index, service)| {
            let AnyRole::Client(client) = &mut service.role else { return None };
            Some((index, client))
        });
        if let Some((index, client)) = found {
            act(client, self.now);
            self.drain(host, index);
        }
    }

    /// Sends a UDP payload from any port of a host.
    pub fn send_datagram(&mut self, host: HostId, port: u16, to: SocketAddrV4, payload: Vec<u8>) {
        let from = SocketAddrV4::new(self.address_of(host), port);
        self.send_from(host, Datagram { from, to, payload });
    }

    /// Puts a datagram with any source on the Internet.
    pub fn inject(&mut self, from: SocketAddrV4, to: SocketAddrV4, payload: Vec<u8>) {
        self.carry(Place::Internet, Duration::ZERO, Datagram { from, to, payload });
    }

    /// Puts forged test data on the Internet. That any stack takes it is a violation: it must come
    /// from an endpoint that is not that of its IPv6 source.
    pub fn inject_forged(
        &mut self,
        from: SocketAddrV4,
        to: SocketAddrV4,
        source: Ipv6Addr,
        destination: Ipv6Addr,
    ) {
        self.inject(from, to, Ledger::forge(source, destination));
    }

    /// Sends an IPv6 packet out of the stack of a host.
    pub fn send_packet(&mut self, host: HostId, packet: Vec<u8>) {
        self.queue.plan(self.now, Arrival::Stack(host, packet));
    }

    /// Sends an echo request and returns its sequence number; none without an address.
    pub fn ping(&mut self, host: HostId, to: Ipv6Addr) -> Option<u16> {
        let source = self.hosts[host.0].stack.address()?;
        self.pings = self.pings.wrapping_add(1);
        self.pings_sent.insert(self.pings, self.now);
        self.send_packet(host, stack::echo_request(source, to, self.pings));
        Some(self.pings)
    }

    /// Sends test data, a packet of `len` bytes in all, and returns its tag; none without an
    /// address.
    pub fn send_data(&mut self, host: HostId, to: Ipv6Addr, len: usize) -> Option<u64> {
        let source = self.hosts[host.0].stack.address()?;
        let (tag, packet) = self.ledger.enter(source, to, len);
        self.send_packet(host, packet);
        Some(tag)
    }

    /// The addresses that clients of a server are configured with.
    pub fn server_addresses(&self, server: HostId) -> (Ipv4Addr, Option<Ipv4Addr>) {
        let addresses = &self.hosts[server.0].addresses;
        (self.address_of(server), addresses.get(1).copied())
    }

    fn relay_config(&self, host: HostId, service: SocketAddrV4, scope: Scope) -> relay::Config {
        let mut config = relay::Config::new(service, scope);
        config.filter = self.filter(host);
        config.policy = Policy::everything();
        config.behind_nat = self.hosts[host.0].place != Place::Internet;
        config
    }

    fn serve(&mut self, id: HostId, plan: Plan, sockets: Vec<(Local, SocketAddrV4)>) {
        let seed = self.next_seed();
        let services = &mut self.hosts[id.0].services;
        services.push(Service::new(plan, sockets, self.now, seed));
        let index = services.len() - 1;
        self.drain(id, index);
    }

    fn add_host(&mut self, kind: &str, place: Place, first: u8) -> HostId {
        let host = self.push_host(kind, place);
        self.add_address(host, first);
        host
    }

    fn push_host(&mut self, kind: &str, place: Place) -> HostId {
        let id = HostId(self.hosts.len());
        self.hosts.push(Host {
            name: format!("{kind}{}", id.0),
            place,
            lanes: [Lane::new(self.host_link); 2],
            addresses: Vec::new(),
            up: true,
            services: Vec::new(),
            stack: Stack::default(),
            mapper: None,
            mailbox: Vec::new(),
        });
        id
    }

    pub(super) fn add_address(&mut self, id: HostId, first: u8) -> Ipv4Addr {
        let place = self.hosts[id.0].place;
        let address = self.free_address(place, first);
        self.attachments.insert((place, address), Attachment::Host(id));
        self.hosts[id.0].addresses.push(address);
        address
    }

    fn add_native_address(&mut self, host: HostId) -> Ipv6Addr {
        let [a, b, c, ..] = NATIVE_RANGE.segments();
        let address = Ipv6Addr::new(a, b, c + 6, 0, 0, 0, 0, 2 + host.0 as u16);
        self.native.insert(address, host);
        self.hosts[host.0].stack.native.push(address);
        address
    }

    /// The first free address of a place, counted from `first` on the Internet.
    fn free_address(&self, place: Place, first: u8) -> Ipv4Addr {
        let address = |host| match place {
            Place::Internet => Ipv4Addr::new(203, 0, 113, host),
            Place::Behind(NatId(nat)) => Ipv4Addr::new(192, 168, 1 + nat as u8, host),
        };
        let first = if place == Place::Internet { first } else { FIRST_INSIDE };
        let is_free = |host: &u8| !self.attachments.contains_key(&(place, address(*host)));
        address((first..LAST).find(is_free).unwrap_or(LAST))
    }

    pub(super) fn filter(&self, host: HostId) -> Ipv4Filter {
        Ipv4Filter {
            allowed: Ipv4Cidr::new(Ipv4Addr::new(203, 0, 113, 0), 24).into_iter().collect(),
            own: self.hosts[host.0].addresses.clone(),
            subnets: match self.hosts[host.0].place {
                Place::Internet => Vec::new(),
                Place::Behind(NatId(nat)) => private_network(nat).into_iter().collect(),
            },
        }
    }
}

/// The network behind a NAT; the NAT would be .1.
fn private_network(nat: usize) -> Option<Ipv4Cidr> {
    Ipv4Cidr::new(Ipv4Addr::new(192, 168, 1 + nat as u8, 0), 24)
}

// The last byte of addresses in 203.0.113.0/24, as in the lab.
const FIRST_SERVER: u8 = 10;
const FIRST_RELAY: u8 = 30;
pub(super) const FIRST_HOST: u8 = 60;
const FIRST_NAT: u8 = 101;
/// Private networks are 192.168.n.0/24; their NAT would be .1.
const FIRST_INSIDE: u8 = 2;
const LAST: u8 = 254;

/// The native IPv6 Internet, which relays serve.
const NATIVE_RANGE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0);
const NATIVE_RANGE_LEN: u8 = 32;

/// UDP ports of clients and relays count from here, by host.
const FIRST_PORT: u16 = 40_000;
