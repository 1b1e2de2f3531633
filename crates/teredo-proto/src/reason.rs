//! Why a packet was dropped: one variant, one name, one counter.

use teredo_wire::Malformed;

/// Numbers of what a role did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    dropped: [u64; DropReason::COUNT],
    /// IPv6 packets handed to the IPv6 side.
    pub delivered: u64,
    /// IPv6 packets sent on to a peer, at once or from a queue.
    pub sent: u64,
    /// Bubbles sent: one for each batch of direct and indirect ones.
    pub bubbles_sent: u64,
    /// Bubbles received and taken.
    pub bubbles_received: u64,
    /// Answers sent: Router Advertisements of a server.
    pub advertisements_sent: u64,
    /// Registrations that a helper has granted or renewed.
    pub registrations: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            dropped: [0; DropReason::COUNT],
            delivered: 0,
            sent: 0,
            bubbles_sent: 0,
            bubbles_received: 0,
            advertisements_sent: 0,
            registrations: 0,
        }
    }
}

impl Counters {
    /// Packets dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason.index()]
    }

    /// Packets dropped, by reason, in the order of [`DropReason::all`].
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::all().map(|reason| (reason, self.dropped(reason)))
    }

    /// Packets dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    pub(crate) fn count_drop(&mut self, reason: DropReason) {
        self.dropped[reason.index()] += 1;
    }
}

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// Why a packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DropReason {
            $($(#[$doc])* $variant,)+
            /// The UDP payload is not a Teredo datagram.
            Malformed(Malformed),
        }

        impl DropReason {
            const PLAIN: &[Self] = &[$(Self::$variant,)+];
            /// Number of reasons.
            pub const COUNT: usize = Self::PLAIN.len() + Malformed::ALL.len();

            /// The name used in counters and output.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Malformed(malformed) => malformed.name(),
                }
            }

            fn index(self) -> usize {
                match self {
                    Self::Malformed(malformed) => Self::PLAIN.len() + malformed as usize,
                    $(Self::$variant => Slot::$variant as usize,)+
                }
            }
        }

        enum Slot { $($variant,)+ }
    };
}

drop_reasons! {
    // Any role, on reception.
    /// An unknown trailer demands it (RFC 6081 section 5.1.2).
    RefusedTrailer = "refused-trailer",
    /// The observed source cannot be one: port 0, 0/8, 127/8, multicast, broadcast.
    ImpossibleSource = "impossible-source",
    /// The observed source is an own endpoint: a loop.
    OwnEndpoint = "own-endpoint",
    /// A routing header (RFC 6169 section 2.3).
    RoutingHeader = "routing-header",
    /// More extension headers than are looked behind.
    ExtensionHeaders = "extension-headers",
    /// A Router Advertisement without the authentication that the solicitation had, or a
    /// solicitation without one to a private server.
    MissingAuthentication = "missing-authentication",
    /// No message authentication code where there is a key.
    MissingMac = "missing-mac",
    /// A message authentication code that is not that of the key, or is cut short.
    WrongMac = "wrong-mac",
    /// An IPv6 source that no node has: unspecified, loopback, multicast.
    ImpossibleIpv6Source = "impossible-ipv6-source",
    /// ICMPv6 that is cut short or has a wrong checksum.
    InvalidIcmpv6 = "invalid-icmpv6",

    // Client and host-specific relay, by the inbound policy.
    /// Nobody here asked for it, and the policy does not let it in.
    Unsolicited = "unsolicited",
    /// An ICMPv6 error about nothing that was sent.
    UnsolicitedError = "unsolicited-error",
    /// A fragment whose first one was not let in before.
    UnsolicitedFragment = "unsolicited-fragment",
    /// A packet of our own that would open one flow more than are remembered.
    FlowLimit = "flow-limit",

    // Client, reception.
    /// The client has no address.
    NotQualified = "not-qualified",
    /// The IPv6 destination is not the client's Teredo address.
    NotOurAddress = "not-our-address",
    /// The IPv6 source is the client's own address.
    OwnAddress = "own-address",
    /// What was sent to the group of local discovery is no discovery bubble.
    NotDiscovery = "not-discovery",
    /// A discovery bubble from an address that is not on the client's link.
    OffLink = "off-link",
    /// A discovery bubble of a client behind another NAT.
    ForeignMapping = "foreign-mapping",
    /// A link-local source that is not a relay's bubble through the own server.
    LinkLocalSource = "link-local-source",
    /// Neighbor discovery, which never passes the tunnel.
    NeighborDiscovery = "neighbor-discovery",
    /// A Router Advertisement that answers nothing outstanding.
    UnsolicitedAdvertisement = "unsolicited-advertisement",
    /// A Router Advertisement with another client identifier than ours.
    WrongIdentifier = "wrong-identifier",
    /// A Router Advertisement with another nonce.
    WrongNonce = "wrong-nonce",
    /// A Router Advertisement whose confirmation byte refuses the client.
    Refused = "refused",
    /// A Router Advertisement without a usable origin indication.
    UnusableOrigin = "unusable-origin",
    /// A Router Advertisement with wrong IPv6 addresses, hop limit, code, length or options.
    InvalidAdvertisement = "invalid-advertisement",
    /// A Router Advertisement without exactly one usable prefix.
    UnusablePrefix = "unusable-prefix",
    /// A Router Advertisement with an MTU below 1280 or above 65535.
    UnusableMtu = "unusable-mtu",
    /// A packet from an endpoint that is not proven to lead to its Teredo source.
    UnprovenPeer = "unproven-peer",
    /// An Alternate Address Trailer of impossible length (RFC 6081 section 5.6.4.2).
    BadAlternates = "bad-alternates",
    /// A bubble that asks for an answer past the limits of RFC 4380 section 5.2.6.
    BubbleLimit = "bubble-limit",

    // Client and relay, transmission.
    /// Not an IPv6 packet, or cut short.
    InvalidPacket = "invalid-packet",
    /// The IPv6 source is not one this role sends for.
    WrongSource = "wrong-source",
    /// The IPv6 destination is one this role never sends to.
    WrongDestination = "wrong-destination",
    /// An IPv4 address embedded in the destination may not be sent to (section 5.2.4).
    ForbiddenIpv4 = "forbidden-ipv4",
    /// The packet is larger than the MTU.
    TooBig = "too-big",
    /// The queue of the peer, or of all peers, is full.
    QueueFull = "queue-full",
    /// The peer did not answer in time.
    PeerUnreachable = "peer-unreachable",
    /// The destination embeds port 0, or one whose service might answer; or what a helper passes on
    /// comes from such a port, to which it sends nothing back.
    DeniedPort = "denied-port",
    /// The peer list is full of peers worth keeping.
    PeerListFull = "peer-list-full",

    // Server.
    /// The observed IPv4 source is not global unicast.
    ForbiddenSource = "forbidden-source",
    /// Neither a bubble nor ICMPv6.
    NotForServer = "not-for-server",
    /// A Router Solicitation that RFC 4861 section 6.1.1 finds invalid.
    InvalidSolicitation = "invalid-solicitation",
    /// A Teredo source that does not embed the observed source.
    EndpointMismatch = "endpoint-mismatch",
    /// A solicitation from a client that a private server has no key for.
    UnknownIdentifier = "unknown-identifier",
    /// From a client of another server to somebody else, which a private server does not pass on.
    ForeignClient = "foreign-client",
    /// No acceptance rule of RFC 4380 section 5.3.1 fits.
    NotAccepted = "not-accepted",
    /// An IPv6 destination that is not global in scope.
    NotGlobalScope = "not-global-scope",
    /// The destination embeds an own address, or both ports are 3544: a loop.
    Loop = "loop",
    /// Larger than any bubble or echo request Teredo needs.
    TooLarge = "too-large",
    /// The hop limit is used up.
    HopLimit = "hop-limit",
    /// Past a limit: at a server of what it does for others, at a client of peers that come by
    /// themselves and of wrong nonces.
    RateLimit = "rate-limit",
    /// A solicitation to be answered from the other address, and there is none.
    NoSecondary = "no-secondary",

    // Helper, and its clients.
    /// A frame that is cut short, of another version, or not for this side.
    BadFrame = "bad-frame",
    /// A datagram to be passed on from where nobody is registered, or without the token of the
    /// registration.
    NotRegistered = "not-registered",
    /// An answer of a helper that answers nothing outstanding, or a datagram without our token.
    UnsolicitedFrame = "unsolicited-frame",
    /// A datagram that did not come through the helper, at a client that does everything through
    /// it.
    NotThroughHelper = "not-through-helper",

    // Relay.
    /// An authentication or origin, which only servers send.
    UnexpectedEncapsulation = "unexpected-encapsulation",
    /// An IPv6 source that is not a Teredo address.
    NotTeredoSource = "not-teredo-source",
    /// A client that this relay has no packets for.
    UnknownPeer = "unknown-peer",
    /// An IPv6 destination outside the served range, or that no client of a helper has registered.
    NotServed = "not-served",
    /// Past the limit of new peers.
    NewPeerLimit = "new-peer-limit",
}

impl DropReason {
    /// All reasons, in a fixed order.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::PLAIN.iter().copied().chain(Malformed::ALL.into_iter().map(Self::Malformed))
    }
}

impl From<Malformed> for DropReason {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_name_and_counter() {
        let mut names: Vec<_> = DropReason::all().map(DropReason::name).collect();
        let mut slots: Vec<_> = DropReason::all().map(DropReason::index).collect();
        assert_eq!(slots.len(), DropReason::COUNT);
        names.sort_unstable();
        names.dedup();
        slots.dedup();
        assert_eq!(names.len(), DropReason::COUNT);
        assert_eq!(slots, (0..DropReason::COUNT).collect::<Vec<_>>());
    }
}
