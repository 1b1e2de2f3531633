//! Hosts: an IPv4 access link, sockets with Teredo roles or without, and an IPv6 stack.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use teredo_proto::client::{self, Client};
use teredo_proto::helper::{self, Helper};
use teredo_proto::random::Seed;
use teredo_proto::relay::{self, Relay, Scope};
use teredo_proto::server::{self, Server};
use teredo_proto::{DropReason, Instant, Local, Outbound, Role};

use crate::audit::Audit;
use crate::link::Lane;
use crate::stack::Stack;
use crate::world::{Mapper, Place};

/// One host of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub(crate) usize);

/// What a service is made from, at first and again at each restart.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    Client(Box<client::Config>),
    Server(server::Config),
    Relay(relay::Config),
    Helper(helper::Config),
}

impl Plan {
    /// A service as after boot; a client starts at once.
    fn build(&self, now: Instant, seed: Seed) -> AnyRole {
        match self {
            Self::Client(config) => {
                let mut client = Client::new((**config).clone(), seed);
                client.start(now);
                AnyRole::Client(Box::new(client))
            }
            Self::Server(config) => AnyRole::Server(Box::new(Server::new(config.clone(), seed))),
            Self::Relay(config) => AnyRole::Relay(Box::new(Relay::new(config.clone(), seed))),
            Self::Helper(config) => AnyRole::Helper(Box::new(Helper::new(config.clone(), seed))),
        }
    }

    /// Whether packets that the role hands out may be for other hosts.
    fn routes(&self) -> bool {
        match self {
            Self::Client(_) | Self::Helper(_) => false,
            Self::Server(_) => true,
            Self::Relay(config) => matches!(config.scope, Scope::Network { .. }),
        }
    }
}

/// One of the roles.
#[derive(Debug)]
pub(crate) enum AnyRole {
    Client(Box<Client>),
    Server(Box<Server>),
    Relay(Box<Relay>),
    Helper(Box<Helper>),
}

impl AnyRole {
    pub(crate) fn as_role(&self) -> &dyn Role {
        match self {
            Self::Client(client) => &**client,
            Self::Server(server) => &**server,
            Self::Relay(relay) => &**relay,
            Self::Helper(helper) => &**helper,
        }
    }

    pub(crate) fn as_role_mut(&mut self) -> &mut dyn Role {
        match self {
            Self::Client(client) => &mut **client,
            Self::Server(server) => &mut **server,
            Self::Relay(relay) => &mut **relay,
            Self::Helper(helper) => &mut **helper,
        }
    }
}

/// A role on its sockets.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) plan: Plan,
    pub(crate) role: AnyRole,
    pub(crate) sockets: Vec<(Local, SocketAddrV4)>,
    pub(crate) audit: Audit,
    outbound: OutboundCounts,
}

/// What a role did with the packets it was given.
#[derive(Debug, Default)]
struct OutboundCounts {
    sent_at_once: u64,
    queued: u64,
    /// Those refused because their peer does not answer.
    refused_unreachable: u64,
}

impl Service {
    pub(crate) fn new(
        plan: Plan,
        sockets: Vec<(Local, SocketAddrV4)>,
        now: Instant,
        seed: Seed,
    ) -> Self {
        let role = plan.build(now, seed);
        let (audit, outbound) = (Audit::default(), OutboundCounts::default());
        Self { plan, role, sockets, audit, outbound }
    }

    /// Starts the role from nothing but its configuration.
    pub(crate) fn restart(&mut self, now: Instant, seed: Seed) {
        self.sockets.retain(|(local, _)| !matches!(local, Local::Random(_)));
        self.role = self.plan.build(now, seed);
        self.audit = Audit::default();
        self.outbound = OutboundCounts::default();
    }

    /// Gives the role a packet from the IPv6 side.
    pub(crate) fn take_packet(&mut self, now: Instant, packet: &[u8]) -> Outbound {
        let outbound = self.role.as_role_mut().handle_packet(now, packet);
        match outbound {
            Outbound::Send { .. } | Outbound::Wrap { .. } => self.outbound.sent_at_once += 1,
            Outbound::Queued => self.outbound.queued += 1,
            Outbound::Dropped(DropReason::PeerUnreachable) => {
                self.outbound.refused_unreachable += 1;
            }
            Outbound::Dropped(_) => {}
        }
        outbound
    }

    /// Packets that the role queued and has neither sent nor dropped; servers and helpers queue
    /// nothing.
    pub(crate) fn queued_count(&self) -> i64 {
        if matches!(self.plan, Plan::Server(_) | Plan::Helper(_)) {
            return 0;
        }
        let counters = self.role.as_role().counters();
        let unreachable = counters.dropped(DropReason::PeerUnreachable);
        let left = counters.sent + unreachable;
        let never_queued = self.outbound.sent_at_once + self.outbound.refused_unreachable;
        self.outbound.queued as i64 + never_queued as i64 - left as i64
    }

    pub(crate) fn has_port(&self, port: u16) -> bool {
        self.sockets.iter().any(|(_, socket)| socket.port() == port)
    }

    pub(crate) fn local(&self, endpoint: SocketAddrV4) -> Option<Local> {
        self.sockets.iter().find(|(_, socket)| *socket == endpoint).map(|(local, _)| *local)
    }

    pub(crate) fn endpoint(&self, local: Local) -> Option<SocketAddrV4> {
        self.sockets.iter().find(|(socket, _)| *socket == local).map(|(_, endpoint)| *endpoint)
    }

    /// Whether packets from the host's own stack to `destination` go through this role.
    pub(crate) fn serves_stack(&self, destination: Ipv6Addr) -> bool {
        match self.plan {
            Plan::Client(_) => true,
            Plan::Server(_) | Plan::Helper(_) => false,
            Plan::Relay(_) => self.takes_route(destination),
        }
    }

    /// Whether packets that the host is to route to `destination` go through this role.
    pub(crate) fn takes_route(&self, destination: Ipv6Addr) -> bool {
        matches!(self.plan, Plan::Relay(_)) && teredo_wire::address::is_teredo(destination)
    }

    pub(crate) fn routes(&self) -> bool {
        self.plan.routes()
    }
}

/// A datagram that arrived on a socket without a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The observed source.
    pub from: SocketAddrV4,
    /// The socket.
    pub to: SocketAddrV4,
    /// The payload.
    pub payload: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) place: Place,
    /// Its access link, out and in.
    pub(crate) lanes: [Lane; 2],
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// Whether it is switched on.
    pub(crate) up: bool,
    pub(crate) services: Vec<Service>,
    pub(crate) stack: Stack,
    pub(crate) mapper: Option<Mapper>,
    /// What came to sockets without a role.
    pub(crate) mailbox: Vec<Datagram>,
}

impl Host {
    /// When the first of the roles wants to do something, and which; [`MAPPER`] for the mapper.
    pub(crate) fn deadline(&self) -> Option<(Instant, usize)> {
        let due = |(index, service): (usize, &Service)| {
            service.role.as_role().poll_timeout().map(|(at, _)| (at, index))
        };
        let mapper = self.mapper.as_ref().and_then(Mapper::deadline).map(|at| (at, MAPPER));
        let services = self.services.iter().enumerate().filter_map(due);
        services.chain(mapper).min().filter(|_| self.up)
    }

    /// Whether it passes IPv6 packets on.
    pub(crate) fn routes(&self) -> bool {
        self.services.iter().any(Service::routes)
    }
}

/// Stands for the port mapper where services go by their position.
pub(crate) const MAPPER: usize = usize::MAX;
