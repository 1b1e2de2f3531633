//! What surrounds a client: its interface, the network below it, the name of its server.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use teredo_control::server::{Command, SetError};
use teredo_control::{self as control, RuleChange};
use teredo_engine::interface::Tunnel;
use teredo_engine::linux::DiscoveryGroup;
use teredo_engine::network::{Addresses, ipv4_source_towards, native_ipv6_source};
use teredo_engine::resolve::Resolver;
use teredo_engine::{Flow, Host};
use teredo_proto::client::Client;
use teredo_proto::role::{OfflineReason, State};
use teredo_proto::{Event, Instant};
use teredo_sys::signal::Signal;

use super::mapping::Mapping;
use super::publication::{helper, publication};
use super::snapshot::Snapshot;
use super::{Args, Obstacle, Source, managed};
use crate::allow::{Gate, Look};
use crate::exit::Exit;
use crate::host::{MONITOR, Repair, SIGNALS, Watch, Watching};
use crate::publisher::Publisher;
use crate::report::Report;

/// The surroundings of a client.
pub(super) struct ClientHost<'a> {
    args: Args,
    /// Those to start again with.
    again: Option<Args>,
    report: Report,
    publisher: &'a Publisher,
    source: &'a mut dyn Source,
    watch: &'a mut Watch,
    tunnel: Tunnel,
    /// What may come in.
    gate: Gate,
    server: Ipv4Addr,
    /// Unless the server is given by its address.
    resolver: Option<Resolver>,
    port: u16,
    mapping: Mapping,
    /// Joined on the way to the server.
    group: Option<DiscoveryGroup>,
    /// The network as it was when the client last heard of it.
    network: Network,
    /// What kind of network it is.
    kind: control::Network,
    /// What the host has better than Teredo: then the client is stopped.
    native: Option<Ipv6Addr>,
    told: Option<Snapshot>,
    give_up_at: Option<Instant>,
    has_qualified: bool,
    repair: Repair,
    exit: Exit,
}

/// What a client's surroundings are made of.
type Parts<'a> = (Report, &'a Publisher, &'a mut dyn Source, &'a mut Watch, Tunnel, Gate);

/// What of the network matters to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Network {
    /// The addresses of this host.
    pub(super) addresses: Addresses,
    /// The one that packets to the server leave from.
    pub(super) local_address: Option<Ipv4Addr>,
}

impl Network {
    /// The network now.
    pub(super) fn read(server: Ipv4Addr) -> io::Result<Self> {
        let local_address = ipv4_source_towards(server);
        Ok(Self { addresses: Addresses::read()?, local_address })
    }
}

impl<'a> ClientHost<'a> {
    /// Surrounds a client that starts `now` with local UDP port `port`.
    pub(super) fn new(
        args: Args,
        (report, publisher, source, watch, tunnel, gate): Parts<'a>,
        (server, port): (Ipv4Addr, u16),
        network: Network,
        now: Instant,
    ) -> io::Result<Self> {
        let is_name = args.server_name().parse::<Ipv4Addr>().is_err();
        let name = args.server_name().to_owned();
        let resolver = is_name.then(|| Resolver::new(name)).transpose()?;
        if network.local_address.is_none() {
            report.say(&format!("no route to server {server} yet; waiting for the network"));
        }
        publisher.publish_rules(gate.listing());
        let give_up_at = args.timeout.map(|timeout_s| now + Duration::from_secs(timeout_s));
        let mut mapping = Mapping::new(port, report)?;
        mapping.begin(now, &args);
        Ok(Self {
            kind: managed::network(&args),
            args,
            again: None,
            report,
            publisher,
            source,
            watch,
            tunnel,
            gate,
            server,
            resolver,
            port,
            mapping,
            group: None,
            network,
            native: None,
            told: None,
            give_up_at,
            has_qualified: false,
            repair: Repair::default(),
            exit: Exit::Ok,
        })
    }

    /// Surrounds it with the clients on its link, too.
    pub(super) fn with_group(mut self, group: Option<DiscoveryGroup>) -> Self {
        self.group = group;
        self.join_group();
        self
    }

    /// How the client ended, and with what options it is to start again, if it is.
    pub(super) fn end(self) -> (Exit, Option<Args>) {
        (self.exit, self.again)
    }

    /// Publishes what the client does, if that is anything new.
    fn publish(&self, now: Instant, client: &Client) {
        let local = self.network.local_address;
        let local = local.map(|address| SocketAddrV4::new(address, self.port));
        let interface = (self.tunnel.name(), self.tunnel.index());
        let known = publication(&self.args, (client, now), self.port, local, self.kind, interface);
        let reason = self.reason(client).map(str::to_owned);
        self.publisher.publish(control::Snapshot { reason, ..known });
    }

    /// Why the client is off-line, if it is: it does not know itself why it was stopped.
    fn reason(&self, client: &Client) -> Option<&'static str> {
        let reason = client.state().offline_reason()?;
        let native = self.native.filter(|_| reason == OfflineReason::Stopped);
        Some(native.map_or(reason.name(), |address| Obstacle::NativeIpv6(address).reason()))
    }

    /// Tells the client's state, if it is another one than told last.
    fn tell(&mut self, client: &Client) {
        let snapshot = Snapshot::of(client);
        if self.told == Some(snapshot) {
            return;
        }
        let elapsed_ms = self.report.elapsed_ms();
        let reason = self.reason(client);
        self.report.fact(&snapshot.fact(reason, self.port, self.tunnel.name(), elapsed_ms));
        let took_ms = Some(elapsed_ms).filter(|_| !self.has_qualified);
        let words = snapshot.words(self.told.as_ref(), self.args.server_name(), took_ms);
        if let Some(words) = words {
            self.report.say(&words);
        }
        self.told = Some(snapshot);
        if snapshot.state == State::Qualified {
            self.has_qualified = true;
            self.give_up_at = None;
        }
    }

    fn look_at_network(&mut self, now: Instant, client: &mut Client) -> io::Result<()> {
        let network = Network::read(self.server)?;
        if network.addresses != self.network.addresses {
            client.set_filter(network.addresses.ipv4_filter(&self.args.common.allow_ipv4));
        }
        // Without a way to the server there is nothing to ask it; it comes back as another change.
        if network.local_address != self.network.local_address && network.local_address.is_some() {
            self.report.say("the network has changed");
            client.network_changed(now, network.local_address);
            // What tells whether it is a managed one is often written after the address is there.
            self.watch.look_again(now + RESOLVER_SETTLES);
        }
        let is_changed = network != self.network;
        self.network = network;
        if is_changed {
            self.join_group();
        }
        self.mapping.look(now, client);
        self.kind = managed::network(&self.args);
        self.rest_or_serve(now, client);
        self.publish(now, client);
        self.repair.restore(now, self.watch, &mut self.tunnel, &self.report)
    }

    /// Joins the group of local discovery where packets to the server leave. Failing that, the next
    /// change of the network is the next chance.
    fn join_group(&mut self) {
        let Some(group) = &mut self.group else { return };
        if let Err(error) = group.join_on(self.network.local_address) {
            self.report.say(&format!("no local discovery here: {error}"));
        }
    }

    /// Teredo is the last resort (RFC 4380 section 5.5).
    fn rest_or_serve(&mut self, now: Instant, client: &mut Client) {
        self.native = native_ipv6_source().filter(|_| !self.args.despite_native_ipv6);
        let is_stopped = client.state() == State::Offline(OfflineReason::Stopped);
        match self.native {
            Some(address) if !is_stopped => {
                self.report.say(&format!(
                    "this host now has IPv6 without Teredo ({address}); resting until that ends"
                ));
                client.stop();
            }
            None if is_stopped => client.start(now),
            Some(_) | None => {}
        }
    }

    /// Whether the network has become one where the client must not run.
    fn is_managed(&self) -> bool {
        Obstacle::of(&self.args) == Some(Obstacle::ManagedNetwork)
    }

    /// Answers whoever wants something of the client.
    fn answer(&mut self, now: Instant, client: &mut Client) -> io::Result<Flow> {
        while let Some(command) = self.publisher.command() {
            match command {
                Command::Wake => client.need(now),
                Command::Set(settings, responder) => match self.source.set(&settings) {
                    Ok(args) => {
                        responder.answer(Ok(()));
                        if self.adopt(now, client, args) == Flow::Stop {
                            return Ok(Flow::Stop);
                        }
                    }
                    Err(error) => responder.answer(Err(error)),
                },
                Command::Rules(change, responder) => {
                    responder.answer_kept(self.change_rules(now, client, &change));
                }
            }
        }
        Ok(Flow::Continue)
    }

    /// Changes what may come in, and says whether that is kept.
    fn change_rules(
        &mut self,
        now: Instant,
        client: &mut Client,
        change: &RuleChange,
    ) -> Result<bool, SetError> {
        let rules = self.gate.rules().changed(change)?;
        let is_kept = self.source.keep(&rules)?;
        self.args.allow_added.clone_from(&rules.added);
        self.open(now, client);
        Ok(is_kept)
    }

    /// Lets in what the options say now.
    fn open(&mut self, now: Instant, client: &mut Client) {
        self.gate.set(now, self.args.rules(), self.args.dormant_after());
        let look = self.gate.look(now, self.tunnel.index());
        self.follow(now, client, Look { has_changed: true, ..look });
    }

    /// Follows the sockets that rules stand for. Who serves others needs an address.
    fn look_at_sockets(&mut self, now: Instant, client: &mut Client) {
        let look = self.gate.look(now, self.tunnel.index());
        self.follow(now, client, look);
    }

    fn follow(&self, now: Instant, client: &mut Client, look: Look) {
        if look.has_changed {
            client.set_policy(self.gate.policy());
            self.publisher.publish_rules(self.gate.listing());
        }
        if look.is_served {
            client.need(now);
        }
    }

    fn obey(&mut self, now: Instant, client: &mut Client, signal: Signal) -> io::Result<Flow> {
        if signal == Signal::Hangup {
            match self.source.reload() {
                Some(Ok(args)) => return Ok(self.adopt(now, client, args)),
                Some(Err(error)) => {
                    self.report.say(&format!("keeping the settings: {error:#}"));
                    return Ok(Flow::Continue);
                }
                None => {}
            }
        }
        client.stop();
        Ok(Flow::Stop)
    }

    /// Takes other options: at once what a running client can, the rest by starting again.
    fn adopt(&mut self, now: Instant, client: &mut Client, args: Args) -> Flow {
        let live = self.args.with_live_of(&args);
        if live != args || Obstacle::of(&args).is_some() {
            return self.start_again(client, args);
        }
        self.args = args;
        client.set_refresh_interval(Duration::from_secs(self.args.refresh_interval.into()));
        client.set_determine_interval(self.args.determine_interval);
        client.set_dormant_after(now, self.args.dormant_after());
        self.open(now, client);
        self.mapping.follow(now, &self.args, client);
        self.publish(now, client);
        Flow::Continue
    }

    fn start_again(&mut self, client: &mut Client, args: Args) -> Flow {
        // What is told from here on is told of them.
        self.args = args.clone();
        self.again = Some(args);
        client.stop();
        Flow::Stop
    }

    fn take_resolved(&mut self, now: Instant, client: &mut Client) {
        let Some(server) = self.resolver.as_mut().and_then(Resolver::answer) else { return };
        let Ok(secondary) = self.args.secondary.beside(server) else { return };
        let name = self.args.server_name();
        if !client.set_server(now, server, secondary) {
            let words =
                format!("{name} is {server} now, no public address; keeping {}", self.server);
            self.report.say(&words);
        } else if server != self.server {
            self.report.say(&format!("{name} is {server} now"));
            self.server = server;
        }
    }
}

impl Watching for ClientHost<'_> {
    fn watch(&self) -> &Watch {
        self.watch
    }

    fn further(&self) -> Vec<BorrowedFd<'_>> {
        let resolver = self.resolver.as_ref().map(AsFd::as_fd);
        let own = self.publisher.source().into_iter().chain(resolver);
        own.chain([self.mapping.as_fd()]).collect()
    }
}

impl Host<Client> for ClientHost<'_> {
    fn handle_event(&mut self, now: Instant, client: &mut Client, event: Event) -> io::Result<()> {
        match event {
            Event::AddressChanged(address) => self.tunnel.set_address(address)?,
            Event::AddressDeprecated => self.tunnel.deprecate_address()?,
            Event::ServerLost => {
                if let Some(resolver) = &mut self.resolver {
                    resolver.ask()?;
                }
            }
            Event::KeyRenewal(true) => self.report.say(&format!(
                "server {} asks for a new key for this client; the old one still serves",
                self.args.server_name()
            )),
            Event::MapPeer { local_port, remote } => {
                self.mapping.map_peer(now, client, (local_port, remote));
            }
            Event::UnmapPeer { local_port, remote } => {
                self.mapping.unmap_peer(now, (local_port, remote));
            }
            Event::HelperChanged(_) => {
                if let Some(helper) = helper(client, now) {
                    self.report.say(&format!("helper {helper}"));
                }
            }
            Event::KeyRenewal(false)
            | Event::StateChanged(_)
            | Event::NatKindChanged(_)
            | Event::RefreshIntervalChanged(_)
            | Event::PeerReached(_)
            | Event::PeerUnreachable(_)
            | Event::BindPort(_)
            | Event::ReleasePort(_)
            | Event::Overload(_) => {}
        }
        Ok(())
    }

    /// Only now: whoever reads "qualified" finds the address and the routes on the interface, and
    /// the port and the state published.
    fn handle_events_end(&mut self, now: Instant, client: &mut Client) -> io::Result<()> {
        self.mapping.follow(now, &self.args, client);
        self.publish(now, client);
        self.tell(client);
        Ok(())
    }

    fn handle_source(
        &mut self,
        now: Instant,
        client: &mut Client,
        source: u64,
    ) -> io::Result<Flow> {
        match source {
            SIGNALS => {
                if let Some(signal) = self.watch.signal()? {
                    return self.obey(now, client, signal);
                }
            }
            MONITOR => self.watch.note_change(now)?,
            _ => {
                self.take_resolved(now, client);
                self.mapping.receive(now, client);
                self.publish(now, client);
                return self.answer(now, client);
            }
        }
        Ok(Flow::Continue)
    }

    fn handle_deadline(&mut self, now: Instant, client: &mut Client) -> io::Result<Flow> {
        if self.watch.is_due(now) {
            self.look_at_network(now, client)?;
            if self.is_managed() {
                return Ok(self.start_again(client, self.args.clone()));
            }
        }
        self.look_at_sockets(now, client);
        self.mapping.advance(now, client);
        if self.give_up_at.is_none_or(|at| at > now) {
            return Ok(Flow::Continue);
        }
        let (server, timeout_s) = (self.args.server_name(), self.args.timeout.unwrap_or_default());
        self.report.say(&match client.state() {
            // Said already: off-line, and why.
            State::Offline(_) => format!("not qualified within {timeout_s} s"),
            State::Dormant | State::Probe | State::Qualified => {
                format!("no answer from server {server} within {timeout_s} s")
            }
        });
        client.stop();
        self.exit = Exit::NotQualified;
        Ok(Flow::Stop)
    }

    fn poll_deadline(&self) -> Option<Instant> {
        let deadlines =
            [self.watch.deadline(), self.gate.deadline(), self.give_up_at, self.mapping.deadline()];
        deadlines.into_iter().flatten().min()
    }
}

/// How long a DHCP client takes from the address to the resolver's file, with time to spare.
const RESOLVER_SETTLES: Duration = Duration::from_secs(10);
