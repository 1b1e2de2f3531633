//! What must hold at any time, and what must hold once there is peace.

use core::net::SocketAddrV4;
use core::time::Duration;

use teredo_proto::DropReason;
use teredo_proto::client::{Client, HelperState, QUEUED_TOTAL_MAX};
use teredo_proto::filter::DENIED_PORTS;
use teredo_proto::policy::{Rule, Service};
use teredo_proto::role::{BIRTHDAY_PORTS_MAX, RANDOM_PORTS_MAX};

use crate::matrix::{CONNECT_MAX, KINDS, Technique};
use crate::stack;
use crate::{HostId, Link, Stopped, World};

use super::Scenario;
use super::cast::{Member, PEERS_MAX};
use super::helped::Help;

impl Scenario {
    /// Limits are kept, and nobody was misled.
    pub(super) fn check_always(&mut self) -> Result<(), String> {
        for datagram in self.world.take_datagrams(self.attacker) {
            if stack::find_tag(&datagram.payload).is_some() {
                return Err("the attacker was sent test data".to_owned());
            }
            if self.seen.len() < SEEN_MAX {
                self.seen.push(datagram.payload);
            }
        }
        for member in &self.members {
            self.check_client(member)?;
        }
        let most = self.world.most_bubbles();
        if most > BUBBLES_MAX {
            return Err(format!("{most} bubbles to one destination in ten seconds"));
        }
        let mapped = self.nats.iter().map(|nat| self.world.nat(*nat).mapping_count()).max();
        let prober_count = self.members.iter().filter(|it| it.traversal.birthday).count();
        if mapped > Some(MAPPINGS_MAX + prober_count * PROBER_MAPPINGS_MAX) {
            return Err(format!("{mapped:?} mappings in one NAT"));
        }
        Ok(())
    }

    fn check_client(&self, member: &Member) -> Result<(), String> {
        let host = member.host;
        let Some(client) = self.world.client(host) else { return Ok(()) };
        let told = self.world.stack(host).address();
        if told != client.address() {
            return Err(format!("{host:?} told its stack {told:?}, but {:?}", client.address()));
        }
        let (peers, queued_bytes) = (client.peer_count(), client.queued_bytes());
        if peers > PEERS_MAX {
            return Err(format!("{host:?} remembers {peers} peers"));
        }
        if queued_bytes > QUEUED_TOTAL_MAX.min((peers + 1) * PEER_BYTES_MAX) {
            return Err(format!("{host:?} keeps {queued_bytes} bytes for {peers} peers"));
        }
        let sockets = self.world.socket_count(host);
        let birthday_max = if member.traversal.birthday { BIRTHDAY_PORTS_MAX } else { 0 };
        if sockets > SOCKETS_LEAST_MAX + RANDOM_PORTS_MAX + birthday_max {
            return Err(format!("{host:?} has {sockets} sockets"));
        }
        let helper = client.helper_state(self.world.now());
        if member.help.is_refused() && helper == Some(HelperState::Registered) {
            return Err(format!("{host:?} is registered with a wrong key"));
        }
        Ok(())
    }

    /// Everything works again and everybody is quiet.
    pub(super) fn make_peace(&mut self) {
        self.world.set_ipv6_link(Link::perfect(PEACEFUL_DELAY));
        for host in self.everybody() {
            self.world.set_link(host, Link::perfect(PEACEFUL_DELAY));
            self.world.set_up(host, true);
        }
        for Member { host, home, .. } in self.members.clone() {
            // An endpoint that was given by hand is lost when its NAT boots.
            let is_given =
                home.outermost.is_some_and(|nat| self.world.nat(nat).config().gives_explicit);
            if is_given {
                self.world.restart(host);
            }
            self.world.with_client(host, Client::start);
        }
        self.world.route_teredo_to(self.relays.first().copied());
    }

    /// Every packet that a role kept was sent, or dropped and counted.
    pub(super) fn check_books(&self) -> Result<(), String> {
        let members = self.members.iter().map(|member| member.host);
        for host in members.chain(self.relays.clone()).chain(self.host_relays.clone()) {
            let queued = self.world.queued_count(host);
            if queued != 0 {
                return Err(format!("{host:?}: {queued} packets neither sent nor dropped"));
            }
        }
        for Member { host, .. } in &self.members {
            let kept = self.world.client(*host).map_or(0, Client::queued_bytes);
            if kept > 0 {
                return Err(format!("{host:?} still keeps {kept} bytes"));
            }
        }
        Ok(())
    }

    /// Who must be in service is, and who must be reachable answers.
    pub(super) fn check_reach(&mut self) -> Result<(), String> {
        let members = self.members.clone();
        let must_serve = |it: &&Member| !it.is_lost() && (it.is_plain() || it.traversal.symmetric);
        let lost = members.iter().filter(must_serve).find(|it| !self.world.is_qualified(it.host));
        if let Some(Member { host, .. }) = lost {
            return Err(format!("{host:?} is {:?}", self.world.state(*host)));
        }
        for from in &members {
            for to in members.iter().filter(|to| to.host != from.host) {
                if let Some(limit) = self.must_connect(from, to) {
                    self.connect_clients(from, to, limit)?;
                }
            }
            if self.relays.is_empty() || !from.is_plain() || self.is_refused(from.host) {
                continue;
            }
            for native in self.natives.clone() {
                self.connect(from.host, native, ANSWER_MAX)?;
                if self.answers_pings(from.host) {
                    self.connect(native, from.host, ANSWER_MAX)?;
                }
            }
        }
        Ok(())
    }

    /// Within which time one client must get an answer from another; none if it need not.
    fn must_connect(&self, from: &Member, to: &Member) -> Option<Duration> {
        let apart = from.front().is_none() || from.front() != to.front();
        let is_lost = from.is_lost() || to.is_lost();
        if !apart || is_lost || !self.answers_pings(to.host) || self.is_refused(to.host) {
            return None;
        }
        if from.is_plain() && to.is_plain() {
            return Some(ANSWER_MAX);
        }
        if self.is_refused(from.host) {
            return None; // it does not hear what the other one announces
        }
        let kinds = [from.kind()?, to.kind()?];
        let has_pool = kinds.iter().any(|kind| KINDS[*kind] == "addr");
        let passes = !has_pool || (from.any_endpoint && to.any_endpoint);
        let technique = Technique::of(kinds[0], kinds[1]);
        let both = technique.is_in(from.traversal) && technique.is_in(to.traversal);
        let symmetric = from.traversal.symmetric && to.traversal.symmetric;
        let seen = self.shows_its_kind(from) && self.shows_its_kind(to);
        (passes && (both || is_helped(from, to)) && symmetric && seen).then_some(CONNECT_MAX)
    }

    /// Whether the NAT gave the client a port that servers and relays send nothing to (protocol
    /// section 8.1): those that need them do not meet it, whatever it does.
    fn is_refused(&self, host: HostId) -> bool {
        let mapped = self.world.client(host).and_then(Client::mapped);
        mapped.is_some_and(|mapped| DENIED_PORTS.contains(&mapped.port()))
    }

    /// How often something came through a client's helper from a port to which that sends nothing.
    /// If a NAT gives one of those to what goes there, two clients may have no way but that one.
    fn refused_by_helper(&self, pair: [HostId; 2]) -> u64 {
        pair.map(|host| self.world.dropped(host, DropReason::DeniedPort)).iter().sum()
    }

    /// Whether the NAT shows its kind to the client: one that preserves a port, or gives one, does
    /// so for the first mapping, which after a boot may be one to somebody else than the server.
    fn shows_its_kind(&self, member: &Member) -> bool {
        let port = |endpoint: Option<SocketAddrV4>| endpoint.map(|endpoint| endpoint.port());
        let mapped = self.world.client(member.host).and_then(Client::mapped);
        let is_own = port(mapped) == port(self.world.endpoint_of(member.host));
        let is_shown = member.kind().is_some_and(|kind| matches!(KINDS[kind], "pp" | "ups"));
        !is_shown || is_own
    }

    /// Connects two clients, in the next search if a number was taken in this one.
    fn connect_clients(
        &mut self,
        from: &Member,
        to: &Member,
        limit: Duration,
    ) -> Result<(), String> {
        let refused = self.refused_by_helper([from.host, to.host]);
        if self.is_met(from.host, to.host, limit)?
            || refused != self.refused_by_helper([from.host, to.host])
        {
            return Ok(());
        }
        if !self.is_number_taken(from, to) && !self.is_number_taken(to, from) {
            return Err(no_answer(from.host, to.host, &Stopped::Late));
        }
        self.pass(NEXT_SEARCH)?;
        self.connect(from.host, to.host, limit)
    }

    /// Whether the NAT of a client gave the port that it has for a peer another number than that
    /// inside, which it preserves only if nobody else has it (RFC 6081 section 2): by chance, one
    /// that it gave to a connection with somebody else. The peer was told the number, and takes no
    /// other one within 30 s (section 5.4.4.4).
    fn is_number_taken(&self, member: &Member, peer: &Member) -> bool {
        let (Some(kind), Some(nat), Some(peer_kind)) = (member.kind(), member.front(), peer.kind())
        else {
            return false;
        };
        let technique = Technique::of(kind, peer_kind);
        let is_told = matches!(technique, Technique::PortPreserving | Technique::Sequential);
        let Some(remote) = self.world.client(peer.host).and_then(Client::mapped) else {
            return false;
        };
        KINDS[kind] == "pp"
            && is_told
            && !is_helped(member, peer)
            && self.world.nat(nat).is_displaced(self.world.now(), *remote.ip())
    }

    fn connect(&mut self, from: HostId, to: HostId, limit: Duration) -> Result<(), String> {
        let is_met = self.is_met(from, to, limit)?;
        if is_met { Ok(()) } else { Err(no_answer(from, to, &Stopped::Late)) }
    }

    /// Whether one host gets an answer from another in time.
    fn is_met(&mut self, from: HostId, to: HostId, limit: Duration) -> Result<bool, String> {
        let start = self.world.now();
        let mut pings = Vec::new();
        loop {
            let ping = self.world.ipv6(to).and_then(|to| self.world.ping(from, to));
            pings.push(ping.ok_or_else(|| format!("{to:?} has no address"))?);
            let answered =
                |world: &World| pings.iter().any(|ping| world.answer_time(*ping).is_some());
            match self.world.run_until(limit.min(PING_EVERY), answered) {
                Ok(_) => break,
                Err(Stopped::Late) if self.world.now().since(start) < limit => {}
                Err(Stopped::Late) => return Ok(false),
                Err(stopped) => return Err(no_answer(from, to, &stopped)),
            }
        }
        self.connections += 1;
        Ok(true)
    }

    /// Who has random ports gives them back when nothing goes through them any more.
    pub(super) fn check_ports(&mut self) -> Result<(), String> {
        let has_ports = |world: &World, it: &Member| world.socket_count(it.host) > it.sockets;
        if !self.members.iter().any(|member| has_ports(&self.world, member)) {
            return Ok(());
        }
        self.pass(PORT_KEPT_MAX)?;
        match self.members.iter().find(|member| has_ports(&self.world, member)) {
            Some(Member { host, .. }) => Err(format!("{host:?} keeps random ports")),
            None => Ok(()),
        }
    }

    /// Whether a host lets in pings.
    fn answers_pings(&self, host: HostId) -> bool {
        let opens = |rule: &Rule| matches!(rule.service, Service::All | Service::Echo);
        self.world.policy(host).is_none_or(|policy| policy.rules().iter().any(opens))
    }
}

fn no_answer(from: HostId, to: HostId, stopped: &Stopped) -> String {
    format!("no answer from {to:?} to {from:?}: {}", super::describe(stopped))
}

/// Whether a helper is to connect two clients. Where a NAT is a UPnP-enabled symmetric one, two
/// (`tests/helper.rs`), and the client there knows that what comes in shows nothing of the way out.
fn is_helped(from: &Member, to: &Member) -> bool {
    let is_ups = |it: &Member| it.kind().is_some_and(|kind| KINDS[kind] == "ups");
    let both = [from, to];
    if !both.iter().all(|it| it.traversal.hairpin) {
        return false;
    }
    if both.iter().any(|it| is_ups(it)) {
        let knows = |it: &Member| !is_ups(it) || it.traversal.mapped_symmetric;
        return both.iter().all(|it| knows(it) && it.help == Help::Peers);
    }
    both.iter().any(|it| it.help == Help::Peers)
}

const PEACEFUL_DELAY: Duration = Duration::from_millis(5);

/// The time until a secondary address is asked again, three tries, and a refresh before.
pub(super) const PEACE: Duration = Duration::from_secs(450);

/// Nothing is lost any more: one exchange of bubbles or one test, then the ping.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// A peer is searched for again once its four attempts are 300 s old (RFC 4380 section 5.2.6).
const NEXT_SEARCH: Duration = Duration::from_secs(300);
const PING_EVERY: Duration = Duration::from_secs(1);

/// A random port is kept in use for ten minutes after the last packet (RFC 6081 section 5.4.2.1),
/// and one refresh more.
const PORT_KEPT_MAX: Duration = Duration::from_secs(11 * 60);

/// Bubbles to one destination in ten seconds: five attempts two seconds apart and eight answers
/// (RFC 4380 section 5.2.6 and reading E-13), each of six datagrams at most.
const BUBBLES_MAX: usize = (5 + 8) * 6;

/// A handful of hosts, each with a handful of destinations, and a crowd.
const MAPPINGS_MAX: usize = 4_000;
/// What a client may open or probe in 300 s and what still lives of the 300 s before.
const PROBER_MAPPINGS_MAX: usize = 2 * 3_972;

/// What waits for one peer and from it: eight packets or 16 KiB each way, and what they are kept
/// in.
const PEER_BYTES_MAX: usize = 2 * (16 * 1024 + 8 * 256);

/// The service port, the group of local discovery and the secondary port.
const SOCKETS_LEAST_MAX: usize = 3;

/// Datagrams that the attacker keeps.
const SEEN_MAX: usize = 64;
