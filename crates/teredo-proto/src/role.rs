//! The verbs that all roles share, and what goes in and comes out.

use core::net::{Ipv6Addr, SocketAddrV4};
use core::ops::Range;
use core::time::Duration;

use crate::client::HelperState;
use crate::reason::{Counters, DropReason};
use crate::time::Instant;

/// A Teredo role: a state machine that is fed packets and time, and drained.
///
/// # Contract
///
/// Mutate once, drain, then wait. After each `handle_*` call take everything out of
/// [`poll_transmit`](Self::poll_transmit) and [`poll_event`](Self::poll_event) until they return
/// `None`, then ask [`poll_timeout`](Self::poll_timeout) how long nothing needs to happen. A batch
/// of `handle_*` calls may be drained at its end. `now` never goes backwards; calling
/// [`handle_timeout`](Self::handle_timeout) early or for nothing is harmless.
///
/// Packets that need no decision of their own are answered on the spot
/// ([`Inbound::Deliver`], [`Outbound::Send`]): one table look-up, no copy, no allocation.
pub trait Role {
    /// Takes the payload of a UDP datagram that arrived on one of the role's sockets.
    fn handle_datagram(&mut self, now: Instant, arrival: Arrival, payload: &[u8]) -> Inbound;

    /// Takes an IPv6 packet from the host's or router's IPv6 side.
    fn handle_packet(&mut self, now: Instant, packet: &[u8]) -> Outbound;

    /// Does what has become due. Roles that wait for nothing do nothing.
    fn handle_timeout(&mut self, _now: Instant) {}

    /// Writes the next thing to send into `buffer`, which holds at least
    /// [`TRANSMIT_LEN_MAX`] bytes; `None` when there is nothing.
    fn poll_transmit(&mut self, buffer: &mut [u8]) -> Option<Transmit>;

    /// Takes the host's answer to [`Event::BindPort`]: the local port of the new socket, or `None`
    /// when there is none to be had. Roles that never ask ignore it.
    fn handle_bound(&mut self, _now: Instant, _local: Local, _port: Option<u16>) {}

    /// The next thing to tell the host; `None` when there is nothing.
    fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// When `handle_timeout` wants to be called next, and what for; `None` for never.
    fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        None
    }

    /// What happened so far.
    fn counters(&self) -> &Counters;
}

/// The most bytes one [`Transmit`] takes: an IPv6 packet of the Teredo MTU. Longer ones go out as
/// they came in, through [`Outbound::Send`].
pub const TRANSMIT_LEN_MAX: usize = 1500;

/// The most random ports of a client at a time: as many connections through port-symmetric NATs. A
/// NAT of a home has a few thousand mappings for all its hosts.
pub const RANDOM_PORTS_MAX: usize = 64;

/// Bytes before a packet that is sent through a helper.
pub const WRAP_LEN: usize = teredo_wire::helper::FORWARD_HEADER_LEN;
/// The most ports that a client opens beside those to probe for one peer, and closes again within
/// half a minute. Providers that share addresses leave a household 1,000 to 2,000 ports; together
/// with [`RANDOM_PORTS_MAX`] they are fewer than the 1,024 descriptors that a process has by
/// default.
pub const BIRTHDAY_PORTS_MAX: usize = 512;

/// The most sockets that a client asks for: those, its random ports, and the secondary one of RFC
/// 4380 section 5.2.7.
pub const PORTS_MAX: usize = RANDOM_PORTS_MAX + BIRTHDAY_PORTS_MAX + 1;

/// Where a datagram came from and on which socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The observed source.
    pub from: SocketAddrV4,
    /// The socket it arrived on.
    pub on: Local,
}

/// One of the sockets of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Local {
    /// The service port of a client or relay; a server's primary address.
    Primary,
    /// A server's secondary address.
    Secondary,
    /// What was sent to the multicast group of local discovery (RFC 4380 section 5.2.8). Nothing
    /// leaves from here.
    Discovery,
    /// The helper of a client, which passes on what the client sends it in frames. Frames pass
    /// through the service port, so that a host never gets to see this.
    Helper,
    /// A random port of RFC 6081 section 3.3, one for each peer that needs it, one of many that are
    /// tried for a peer, or the secondary port of RFC 4380 section 5.2.7. Numbers are not used
    /// again until 65,535 others have been.
    Random(u16),
}

/// What is to be done with a received datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Inbound {
    /// These bytes of the payload are an IPv6 packet for the IPv6 side.
    Deliver(Range<usize>),
    /// The role took what it needed.
    Consumed,
    /// Dropped, and counted.
    Dropped(DropReason),
}

/// What is to be done with an IPv6 packet from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outbound {
    /// Send the packet, as it is, in a datagram.
    Send {
        /// Destination of the datagram.
        to: SocketAddrV4,
        /// Socket to send it from.
        via: Local,
    },
    /// Send the packet in a datagram with these bytes before it. Together they are no longer than
    /// [`TRANSMIT_LEN_MAX`].
    Wrap {
        /// What stands before the packet.
        header: [u8; WRAP_LEN],
        /// Destination of the datagram.
        to: SocketAddrV4,
        /// Socket to send it from.
        via: Local,
    },
    /// The role keeps a copy until it knows where to send it.
    Queued,
    /// Dropped, and counted; an ICMPv6 error for the sender may follow from `poll_transmit`.
    Dropped(DropReason),
}

/// Something to send, written into the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// A UDP payload.
    Datagram {
        /// Destination.
        to: SocketAddrV4,
        /// Socket to send it from.
        via: Local,
        /// Bytes written.
        len: usize,
    },
    /// An IPv6 packet for the IPv6 side.
    Packet {
        /// Bytes written.
        len: usize,
    },
}

/// Something the host should know or do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client changed its state.
    StateChanged(State),
    /// The client's Teredo address is this one now, on a link of this MTU; `None`: it has none.
    AddressChanged(Option<(Ipv6Addr, u16)>),
    /// The client goes dormant. Its address is to stay where it is, for no new connection to choose
    /// if there is another, so that a packet from it can wake the client.
    AddressDeprecated,
    /// The client learned what kind of NAT it is behind.
    NatKindChanged(NatKind),
    /// The role wants a socket more, on any free port; the answer goes to
    /// [`Role::handle_bound`]. There are never more than [`PORTS_MAX`] of them.
    BindPort(Local),
    /// The role has no more use for that socket, or for the answer.
    ReleasePort(Local),
    /// From the next refresh on this refresh interval is in force, as far as is known of the NAT
    /// (RFC 4380 section 5.2.7).
    RefreshIntervalChanged(Duration),
    /// The client is so far with its helper now.
    HelperChanged(HelperState),
    /// The gateway should be asked which external port it gives a flow from `local_port` to
    /// `remote` ([`PortMapper::map_peer`](crate::portmap::PortMapper::map_peer)). The answer goes
    /// to [`Client::take_port_mapping`](crate::client::Client::take_port_mapping). Only clients
    /// that have been told of such a gateway ask.
    MapPeer {
        /// The number of one of the random ports.
        local_port: u16,
        /// The peer's endpoint.
        remote: SocketAddrV4,
    },
    /// What the gateway was asked for is needed no more.
    UnmapPeer {
        /// The number of one of the random ports.
        local_port: u16,
        /// The peer's endpoint.
        remote: SocketAddrV4,
    },
    /// The server asks for a new key for the client (`true`), or no more (`false`). The old one
    /// still serves.
    KeyRenewal(bool),
    /// The server's name should be resolved again; the answer goes to the client.
    ServerLost,
    /// Packets to this peer now go directly.
    PeerReached(Ipv6Addr),
    /// Nothing directly came from this peer in time; what was queued for it is dropped.
    PeerUnreachable(Ipv6Addr),
    /// The relay begins (`true`) or ceases (`false`) to refuse new peers because of its limits.
    /// Whoever announces 2001::/32 to it should withdraw the route meanwhile.
    Overload(bool),
}

/// The state of a client; the words are those of every output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Not in service.
    Offline(OfflineReason),
    /// Enabled, idle, without need of an address.
    Dormant,
    /// Qualifying.
    Probe,
    /// An address is obtained and maintained.
    Qualified,
}

impl State {
    /// The word used in output, metrics and the control interface.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offline(_) => "offline",
            Self::Dormant => "dormant",
            Self::Probe => "probe",
            Self::Qualified => "qualified",
        }
    }

    /// Why the client is off-line, if it is.
    pub const fn offline_reason(self) -> Option<OfflineReason> {
        match self {
            Self::Offline(reason) => Some(reason),
            Self::Dormant | Self::Probe | Self::Qualified => None,
        }
    }
}

/// Why a client is off-line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OfflineReason {
    /// It was not started, or was stopped.
    Stopped,
    /// The server's address is not one that may be sent to (RFC 4380 section 5.2.4).
    ForbiddenServer,
    /// The primary server address did not answer.
    NoAnswer,
    /// The secondary server address did not answer, and `strict` asks for it.
    NoSecondaryAnswer,
    /// The server refused: a confirmation byte other than 0 without proof that it knows the key.
    Refused,
    /// The server answered without proof that it knows the client's key.
    NoProof,
    /// The NAT maps each destination to another endpoint (RFC 4380 section 5.2.1).
    SymmetricNat,
    /// Everything is to go through the helper, and it did not register the client.
    NoHelper,
}

impl OfflineReason {
    /// The word used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::ForbiddenServer => "forbidden-server",
            Self::NoAnswer => "no-answer",
            Self::NoSecondaryAnswer => "no-secondary-answer",
            Self::Refused => "refused",
            Self::NoProof => "no-proof",
            Self::SymmetricNat => "symmetric-nat",
            Self::NoHelper => "no-helper",
        }
    }
}

/// What the two server addresses show of the NAT (RFC 4787 section 4.1, RFC 6081 section 3).
/// Filtering cannot be seen since RFC 5991.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NatKind {
    /// The secondary address has not answered, yet or at all.
    #[default]
    Unknown,
    /// The mapped endpoint is the local one.
    None,
    /// Both addresses see the same mapped endpoint: cone, address- or port-restricted.
    EndpointIndependent,
    /// They see different ports: port-symmetric.
    PortSymmetric,
    /// They see different addresses: address-symmetric.
    AddressSymmetric,
}

impl NatKind {
    /// The word used in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::None => "none",
            Self::EndpointIndependent => "endpoint-independent",
            Self::PortSymmetric => "port-symmetric",
            Self::AddressSymmetric => "address-symmetric",
        }
    }
}

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Repeating or giving up a Router Solicitation.
    Solicitation,
    /// Maintenance of the mapping (RFC 4380 section 5.2.5).
    Refresh,
    /// A new attempt to qualify.
    Restart,
    /// The end of service for want of need.
    Dormancy,
    /// Repeating or giving up bubbles or echo requests to a peer.
    Peer,
    /// The next discovery bubble (RFC 4380 section 5.2.8).
    Discovery,
    /// Keeping a random port in use, or repeating or giving up the test of one (RFC 6081 sections
    /// 5.4.2.1 and 5.5.2.2).
    RandomPort,
    /// The next step of birthday probing.
    Birthday,
    /// Registering with a helper, or the end of a registration.
    Helper,
    /// A step in the determination of the refresh interval (RFC 4380 section 5.2.7).
    Interval,
    /// The end of an overload.
    Overload,
}
