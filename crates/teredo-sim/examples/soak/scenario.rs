//! One run: a random world, random traffic, random trouble, then peace, and what must hold.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use core::time::Duration;

use teredo_proto::client::Client;
use teredo_proto::policy::{Policy, Rule, Service};
use teredo_proto::random::Random;
use teredo_proto::role::PORTS_MAX;
use teredo_sim::nat::{Hairpin, Mapping};
use teredo_sim::{HostId, Link, NatConfig, NatId, Place, Stopped, World};
use teredo_wire::trailer::{Alternates, Trailer};
use teredo_wire::{TEREDO_PORT, TeredoAddress, Writer, ipv6};

/// What a run without violation was like.
pub(crate) struct Outcome {
    /// Hash of every byte on every wire.
    pub(crate) trace: u64,
    pub(crate) frames: u64,
    pub(crate) packets_sent: u64,
    pub(crate) packets_delivered: u64,
    pub(crate) simulated: Duration,
    /// The most bubbles that one role sent to one destination in ten seconds.
    pub(crate) most_bubbles: usize,
    /// The log, for those who watch.
    pub(crate) log: String,
    /// A capture file of each wire, for those who watch.
    pub(crate) captures: Vec<(String, Vec<u8>)>,
}

/// A violation.
pub(crate) struct Failure {
    pub(crate) what: String,
    pub(crate) log: String,
    pub(crate) captures: Vec<(String, Vec<u8>)>,
}

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), log: String::new(), captures: Vec::new() }
    }
}

/// Runs the world of one seed; somebody who watches wants the log and the captures.
pub(crate) fn run(seed: u64, watched: bool) -> Result<Outcome, Failure> {
    let mut scenario = Scenario::new(seed);
    if watched {
        scenario.world.trace_mut().keep_frames();
    }
    let played = scenario.play();
    let world = &scenario.world;
    match played {
        Ok(()) => Ok(scenario.outcome(watched)),
        Err(what) => Err(Failure { what, log: world.log_text(), captures: world.captures() }),
    }
}

struct Scenario {
    world: World,
    random: Random,
    servers: Vec<HostId>,
    relays: Vec<HostId>,
    host_relays: Vec<HostId>,
    natives: Vec<HostId>,
    clients: Vec<Member>,
    nats: Vec<NatId>,
}

/// A client, and what is to be expected of it.
#[derive(Clone, Copy)]
struct Member {
    host: HostId,
    /// The outermost NAT in front of it; none when it is public.
    outermost: Option<NatId>,
    /// Whether all NATs in front of it map endpoint-independently, so that everybody can meet it.
    is_plain: bool,
}

impl Scenario {
    fn new(seed: u64) -> Self {
        let mut bytes = *b"soak: topology, traffic, trouble";
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut scenario = Self {
            world: World::new(seed),
            random: Random::new(bytes),
            servers: Vec::new(),
            relays: Vec::new(),
            host_relays: Vec::new(),
            natives: Vec::new(),
            clients: Vec::new(),
            nats: Vec::new(),
        };
        scenario.build();
        scenario
    }

    fn build(&mut self) {
        let ipv6 = self.link();
        self.world.set_ipv6_link(ipv6);
        for _ in 0..1 + self.below(2) {
            self.next_link();
            self.servers.push(self.world.add_server());
        }
        for _ in 0..self.below(3) {
            self.next_link();
            let place = self.plain_place();
            self.relays.push(self.world.add_relay(place));
        }
        for _ in 0..1 + self.below(2) {
            self.natives.push(self.world.add_native_host());
        }
        if self.percent(30) {
            self.next_link();
            let place = self.plain_place();
            let host = self.world.add_host_relay(place);
            self.host_relays.push(host);
            self.choose_policy(host);
        }
        for _ in 0..2 + self.below(3) {
            self.add_client();
        }
    }

    fn add_client(&mut self) {
        self.next_link();
        let shared = self.clients.last().copied().filter(|member| member.outermost.is_some());
        let (place, outermost, is_plain) = match shared {
            Some(Member { outermost: Some(nat), .. }) if self.percent(15) => {
                let independent = is_independent(self.world.nat(nat).config());
                (Place::Behind(nat), Some(nat), independent)
            }
            _ if self.percent(10) => (Place::Internet, None, true),
            _ => self.nats_for_client(),
        };
        let index = self.below(self.servers.len() as u64) as usize;
        let (server, secondary) = self.world.server_addresses(self.servers[index]);
        let host = self.world.add_client_with(place, |config| {
            (config.server, config.secondary) = (server, secondary);
            config.peers_max = PEERS_MAX;
        });
        self.choose_policy(host);
        self.clients.push(Member { host, outermost, is_plain });
    }

    /// What a host lets in unasked. That it lets in nothing else is checked at each delivery.
    fn choose_policy(&mut self, host: HostId) {
        let rules = [&["all"][..], &["echo"], &["udp"], &["echo", "udp"], &[], &[]];
        let rules = rules[self.below(rules.len() as u64) as usize];
        let rules = rules.iter().filter_map(|rule| rule.parse().ok()).collect();
        self.world.set_policy(host, &Policy::new(rules).unwrap_or_default());
    }

    fn nats_for_client(&mut self) -> (Place, Option<NatId>, bool) {
        let config = self.nat_config();
        let pool = 1 + self.below(3) as u8;
        let outer = self.world.add_nat_at(Place::Internet, config, pool);
        self.nats.push(outer);
        if !self.percent(15) {
            return (outer.into(), Some(outer), is_independent(&config));
        }
        let config_inner = self.nat_config();
        let inner = self.world.add_nat_at(outer, config_inner, 1);
        self.nats.push(inner);
        let is_plain = is_independent(&config) && is_independent(&config_inner);
        (inner.into(), Some(outer), is_plain)
    }

    fn nat_config(&mut self) -> NatConfig {
        let kinds = [
            NatConfig::cone(),
            NatConfig::ar(),
            NatConfig::pr(),
            NatConfig::pr(),
            NatConfig::pr(),
            NatConfig::ps(),
            NatConfig::pp(),
            NatConfig::seq(1),
            NatConfig::addr(),
        ];
        let kind = kinds[self.below(kinds.len() as u64) as usize];
        let hairpins = [Hairpin::None, Hairpin::External, Hairpin::Internal];
        NatConfig {
            allocation: if self.percent(50) { NatConfig::ps().allocation } else { kind.allocation },
            lifetime: Duration::from_secs(60 + self.below(240)),
            inbound_refresh: self.percent(50),
            hairpin: hairpins[self.below(3) as usize],
            rewrites_payload: self.percent(10),
            ..kind
        }
    }

    /// The Internet, or behind a NAT that RFC 4380 copes with.
    fn plain_place(&mut self) -> Place {
        let kinds = [NatConfig::cone(), NatConfig::ar(), NatConfig::pr()];
        match self.below(6) {
            choice @ 0..3 => {
                let nat = self.world.add_nat(kinds[choice as usize]);
                self.nats.push(nat);
                nat.into()
            }
            _ => Place::Internet,
        }
    }

    fn next_link(&mut self) {
        let link = self.link();
        self.world.set_host_link(link);
    }

    fn link(&mut self) -> Link {
        let delay = Duration::from_millis(1 + self.below(60));
        if self.percent(30) {
            return Link::perfect(delay);
        }
        Link {
            loss_permille: self.below(300) as u16,
            duplicate_permille: self.below(200) as u16,
            reorder_permille: self.below(300) as u16,
            reorder_delay: Duration::from_millis(1 + self.below(400)),
            ..Link::perfect(delay)
        }
    }

    fn play(&mut self) -> Result<(), String> {
        for _ in 0..20 + self.below(30) {
            self.act();
            let pause_ms = if self.percent(5) { 40_000 } else { 3_000 };
            let pause = Duration::from_millis(self.below(pause_ms));
            self.pass(pause)?;
        }
        self.make_peace();
        self.pass(PEACE)?;
        self.check_books()?;
        self.check_reach()
    }

    /// Something happens.
    fn act(&mut self) {
        match self.below(100) {
            0..60 => self.talk(),
            60..66 => {
                let client = self.any_client();
                self.world.restart(client);
            }
            66..72 => {
                if let Some(nat) = pick(&mut self.random, &self.nats) {
                    self.world.reboot_nat(nat);
                }
            }
            72..76 => {
                let hosts = [&self.servers[..], &self.relays, &self.host_relays].concat();
                if let Some(host) = pick(&mut self.random, &hosts) {
                    self.world.restart(host);
                }
            }
            76..82 => {
                let hosts = [&self.servers[..], &self.relays, &self.natives].concat();
                if let Some(host) = pick(&mut self.random, &hosts) {
                    let up = self.percent(70);
                    self.world.set_up(host, up);
                }
            }
            82..85 => {
                let relay = pick(&mut self.random, &self.relays);
                self.world.route_teredo_to(relay);
            }
            85..88 => self.trouble_client(),
            88 => {
                let client = self.any_client();
                self.choose_policy(client);
            }
            89..93 => self.inject(),
            93..97 => self.forge(),
            _ => self.storm(),
        }
    }

    /// A burst of packets from one host to another.
    fn talk(&mut self) {
        let members: Vec<HostId> = self.clients.iter().map(|member| member.host).collect();
        let hosts = [&members[..], &members, &self.natives, &self.host_relays].concat();
        let (Some(from), Some(to)) =
            (pick(&mut self.random, &hosts), pick(&mut self.random, &hosts))
        else {
            return;
        };
        let Some(destination) = self.world.ipv6(to).filter(|_| from != to) else { return };
        for _ in 0..1 + self.below(6) {
            if self.percent(30) {
                self.world.ping(from, destination);
            } else {
                let len = 60 + self.below(1280 - 60) as usize;
                self.world.send_data(from, destination, len);
            }
        }
    }

    fn trouble_client(&mut self) {
        let (client, choice) = (self.any_client(), self.below(3));
        let local = Some(self.world.address_of(client));
        self.world.with_client(client, |client: &mut Client, now| match choice {
            0 => client.network_changed(now, local),
            1 => client.stop(),
            _ => client.start(now),
        });
    }

    /// A datagram that nobody meant: noise, or bubbles with any addresses.
    fn inject(&mut self) {
        let from = self.any_endpoint();
        let to = self.any_endpoint();
        let mut bytes = [0; 96];
        let len = if self.percent(50) {
            for byte in &mut bytes {
                *byte = self.below(256) as u8;
            }
            self.below(96) as usize
        } else {
            let [source, destination] = [(); 2].map(|()| {
                let server = *self.any_endpoint().ip();
                let mapped = self.any_endpoint();
                TeredoAddress { server, flags: Default::default(), mapped }.to_ipv6()
            });
            let header = ipv6::Header::bubble(source, destination);
            let _ = header.write(&mut Writer::new(&mut bytes));
            40 + self.below(40) as usize
        };
        self.world.inject(from, to, bytes[..len].to_vec());
    }

    /// Somebody pretends to be another host, towards a client or a relay.
    fn forge(&mut self) {
        let stranger = self.stranger();
        let members: Vec<HostId> = self.clients.iter().map(|member| member.host).collect();
        let sources = [&members[..], &self.natives, &self.host_relays].concat();
        let targets = [&members[..], &self.relays, &self.host_relays].concat();
        let picked = (pick(&mut self.random, &sources), pick(&mut self.random, &targets));
        let (Some(source), Some(target)) = picked else { return };
        let to = match self.world.client(target) {
            Some(client) => client.mapped(),
            None => self.world.endpoint_of(target),
        };
        let native = pick(&mut self.random, &self.natives);
        let destination = if members.contains(&target) { Some(target) } else { native };
        let addresses = (self.world.ipv6(source), destination.and_then(|to| self.world.ipv6(to)));
        if let (Some(to), (Some(source), Some(destination))) = (to, addresses) {
            self.world.inject_forged(stranger, to, source, destination);
        }
    }

    /// Many indirect bubbles for one client that claim to come from one other.
    fn storm(&mut self) {
        let stranger = self.stranger();
        let (victim, claimed) = (self.any_client(), self.any_client());
        let addresses = (self.world.ipv6(victim), self.world.ipv6(claimed));
        let (Some(destination), Some(claimed)) = addresses else { return };
        let source = if self.percent(50) { claimed } else { LINK_LOCAL };
        let Some(teredo) = TeredoAddress::parse(destination) else { return };
        let mut buffer = [0; 120];
        let mut writer = Writer::new(&mut buffer);
        let _ = ipv6::Header::bubble(source, destination).write(&mut writer);
        if self.percent(70) {
            let _ = self.trailers().iter().try_for_each(|trailer| trailer.write(&mut writer));
            let endpoints = [(); 4].map(|()| self.any_endpoint());
            let count = self.below(5) as usize;
            let _ = Alternates::write(&mut writer, &endpoints[..count]);
        }
        let bubble = writer.written().to_vec();
        // The server believes a bubble whose source embeds the observed address (E-11b).
        let from = TeredoAddress::parse(source).map_or(stranger, |source| source.mapped);
        for _ in 0..1 + self.below(40) {
            self.world.inject(from, SocketAddrV4::new(teredo.server, TEREDO_PORT), bubble.clone());
        }
    }

    /// What a bubble may say that nobody meant.
    fn trailers(&mut self) -> [Trailer<'static>; 2] {
        let nonce = Trailer::Nonce((self.below(3) as u32).to_be_bytes());
        [nonce, Trailer::RandomPort(self.below(65_536) as u16)]
    }

    /// A global endpoint that nobody in this world has.
    fn stranger(&mut self) -> SocketAddrV4 {
        let address = Ipv4Addr::new(8, 8, self.below(256) as u8, self.below(256) as u8);
        SocketAddrV4::new(address, 1024 + self.below(60_000) as u16)
    }

    /// An endpoint of somebody, or of nobody.
    fn any_endpoint(&mut self) -> SocketAddrV4 {
        let client = self.any_client();
        let mapped = self.world.client(client).and_then(Client::mapped);
        let server = pick(&mut self.random, &self.servers);
        match (self.below(4), mapped, server) {
            (0 | 1, Some(mapped), _) => mapped,
            (2, _, Some(server)) => {
                SocketAddrV4::new(self.world.server_addresses(server).0, TEREDO_PORT)
            }
            _ => SocketAddrV4::new(
                Ipv4Addr::from_bits(self.random.next_u64() as u32),
                self.below(65536) as u16,
            ),
        }
    }

    /// Everything works again and everybody is quiet.
    fn make_peace(&mut self) {
        self.world.set_ipv6_link(Link::perfect(PEACEFUL_DELAY));
        let members = self.clients.iter().map(|member| member.host);
        let others = [&self.servers[..], &self.relays, &self.host_relays, &self.natives].concat();
        for host in members.chain(others).collect::<Vec<_>>() {
            self.world.set_link(host, Link::perfect(PEACEFUL_DELAY));
            self.world.set_up(host, true);
        }
        for member in &self.clients {
            self.world.with_client(member.host, Client::start);
        }
        self.world.route_teredo_to(self.relays.first().copied());
    }

    fn pass(&mut self, duration: Duration) -> Result<(), String> {
        self.world.run_for(duration).map_err(|stopped: Stopped| stopped.to_string())?;
        for Member { host, .. } in &self.clients {
            let (told, own) = (self.world.stack(*host).address(), self.world.client(*host));
            if told != own.and_then(Client::address) {
                return Err(format!("{host:?} told its stack {told:?}, but {own:?}"));
            }
        }
        Ok(())
    }

    /// Every packet that a role kept was sent, or dropped and counted; limits were kept.
    fn check_books(&self) -> Result<(), String> {
        let members = self.clients.iter().map(|member| member.host);
        for host in members.chain(self.relays.clone()).chain(self.host_relays.clone()) {
            let queued = self.world.queued_count(host);
            if queued != 0 {
                return Err(format!("{host:?}: {queued} packets neither sent nor dropped"));
            }
        }
        let sockets = self.clients.iter().map(|it| self.world.socket_count(it.host)).max();
        if sockets > Some(1 + PORTS_MAX) {
            return Err(format!("{sockets:?} sockets of one client"));
        }
        let most = self.world.most_bubbles();
        if most > BUBBLES_MAX {
            return Err(format!("{most} bubbles to one destination in ten seconds"));
        }
        let mapped = self.nats.iter().map(|nat| self.world.nat(*nat).mapping_count()).max();
        if mapped > Some(MAPPINGS_MAX) {
            return Err(format!("{mapped:?} mappings in one NAT"));
        }
        Ok(())
    }

    /// Who must be in service is, and who must be reachable answers.
    fn check_reach(&mut self) -> Result<(), String> {
        let ready: Vec<Member> =
            self.clients.iter().copied().filter(|member| member.is_plain).collect();
        if let Some(lost) = self.clients.iter().find(|it| !self.world.is_qualified(it.host)) {
            return Err(format!("{:?} is {:?}", lost.host, self.world.state(lost.host)));
        }
        let mut pairs = Vec::new();
        for from in &ready {
            for to in &ready {
                let apart = from.outermost.is_none() || from.outermost != to.outermost;
                if from.host != to.host && apart && self.answers_pings(to.host) {
                    pairs.push((from.host, to.host));
                }
            }
            let natives = self.natives.iter().filter(|_| !self.relays.is_empty());
            for native in natives {
                pairs.push((from.host, *native));
                if self.answers_pings(from.host) {
                    pairs.push((*native, from.host));
                }
            }
        }
        for (from, to) in pairs {
            let ping = self.world.ipv6(to).and_then(|to| self.world.ping(from, to));
            let Some(ping) = ping else { return Err(format!("{to:?} has no address")) };
            let answered = |world: &World| world.answer_time(ping).is_some();
            if let Err(stopped) = self.world.run_until(ANSWER_MAX, answered) {
                return Err(format!("no answer from {to:?} to {from:?}: {stopped}"));
            }
        }
        Ok(())
    }

    /// Whether a host lets in pings.
    fn answers_pings(&self, host: HostId) -> bool {
        let opens = |rule: &Rule| matches!(rule.service, Service::All | Service::Echo);
        self.world.policy(host).is_none_or(|policy| policy.rules().iter().any(opens))
    }

    fn outcome(&self, watched: bool) -> Outcome {
        let (sent, delivered) = self.world.data_totals();
        Outcome {
            trace: self.world.trace().hash(),
            frames: self.world.trace().frame_count(),
            packets_sent: sent as u64,
            packets_delivered: delivered as u64,
            simulated: self.world.elapsed(),
            most_bubbles: self.world.most_bubbles(),
            log: if watched { self.world.log_text() } else { String::new() },
            captures: if watched { self.world.captures() } else { Vec::new() },
        }
    }

    fn any_client(&mut self) -> HostId {
        let index = self.below(self.clients.len() as u64);
        self.clients[index as usize].host
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.random.below(100) < chance
    }
}

fn is_independent(config: &NatConfig) -> bool {
    config.mapping == Mapping::EndpointIndependent
}

fn pick<T: Copy>(random: &mut Random, of: &[T]) -> Option<T> {
    if of.is_empty() {
        return None;
    }
    of.get(random.below(of.len() as u64) as usize).copied()
}

/// What relays sign bubbles with, more or less.
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 1, 2, 3, 4);

const PEERS_MAX: usize = 64;
const PEACEFUL_DELAY: Duration = Duration::from_millis(5);

/// The longest restart delay with its jitter, a qualification, and the window of bubble limits.
const PEACE: Duration = Duration::from_secs(450);

/// Nothing is lost any more: one exchange of bubbles or one test, then the ping.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// Bubbles to one destination in ten seconds: five attempts two seconds apart and eight answers
/// (RFC 4380 section 5.2.6 and reading E-13), each of six datagrams at most.
const BUBBLES_MAX: usize = (5 + 8) * 6;

/// A handful of hosts, each with a handful of destinations.
const MAPPINGS_MAX: usize = 2_000;
