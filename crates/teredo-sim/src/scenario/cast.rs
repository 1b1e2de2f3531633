//! Who is there: hosts of every sort, behind NATs of every kind.

use core::time::Duration;

use teredo_proto::client::Traversal;
use teredo_proto::policy::Policy;
use teredo_proto::random::Random;
use teredo_proto::server::EndpointCheck;

use crate::matrix::{KINDS, POOL};
use crate::nat::{Hairpin, Mapping};
use crate::predicate::draw_nat;
use crate::{GatewayConfig, HostId, NatConfig, NatId, Place};

use super::Scenario;
use super::helped::Help;
use super::transition::ClientChoice;

/// A client, and what is to be expected of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) host: HostId,
    pub(super) traversal: Traversal,
    pub(super) home: Home,
    /// Sockets that it has when all is quiet.
    pub(super) sockets: usize,
    /// Its server passes on bubbles from any endpoint.
    pub(super) any_endpoint: bool,
    pub(super) help: Help,
}

/// Where a client is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home {
    place: Place,
    /// The outermost NAT in front of it; none when it is public.
    pub(super) outermost: Option<NatId>,
    /// Whether all NATs in front of it map endpoint-independently, so that everybody can meet it.
    pub(super) is_plain: bool,
    /// Whether a NAT in front of it may do anything, so that nothing is promised.
    pub(super) is_wild: bool,
    /// The number of the NAT's kind, if it is the only one, as RFC 6081 has it.
    pub(super) kind: Option<usize>,
}

impl Scenario {
    pub(super) fn add_server(&mut self, any_endpoint: bool) {
        if self.servers.len() < SERVERS_MAX {
            let check = if any_endpoint { EndpointCheck::Any } else { EndpointCheck::default() };
            self.servers.push(self.world.add_server_with(|config| config.endpoint_check = check));
            self.any_endpoint.push(any_endpoint);
        }
    }

    pub(super) fn add_relay(&mut self, place: u8) {
        if self.relays.len() < RELAYS_MAX {
            let place = self.plain_place(place);
            self.relays.push(self.world.add_relay(place));
        }
    }

    pub(super) fn add_host_relay(&mut self, place: u8, policy: u8) {
        if self.host_relays.len() < HOST_RELAYS_MAX {
            let place = self.plain_place(place);
            let host = self.world.add_host_relay(place);
            self.host_relays.push(host);
            self.world.set_policy(host, &policy_of(policy));
        }
    }

    pub(super) fn add_native(&mut self) {
        if self.natives.len() < NATIVES_MAX {
            self.natives.push(self.world.add_native_host());
        }
    }

    pub(super) fn add_client(&mut self, choice: ClientChoice) {
        if self.members.len() >= CLIENTS_MAX {
            return;
        }
        let home = self.home(choice);
        let index = usize::from(choice.server) % self.servers.len();
        let (server, secondary) = self.world.server_addresses(self.servers[index]);
        let any_endpoint = self.any_endpoint[index];
        let discovers = choice.server & 0x40 != 0;
        let birthday = choice.server & 0x80 != 0;
        let traversal = Traversal { birthday, ..traversal_of(choice.techniques) };
        let traversal = traversal.with_dependencies();
        let (help, helper) = self.help(choice.server >> 3, traversal);
        let discovers = discovers && !help.is_throughout();
        let host = self.world.add_client_with(home.place, |config| {
            (config.server, config.secondary) = (server, secondary);
            config.peers_max = PEERS_MAX;
            config.traversal = traversal;
            config.local_discovery = discovers;
            config.helper = helper;
        });
        self.world.set_policy(host, &policy_of(choice.techniques >> 4));
        let sockets = 1 + usize::from(discovers);
        self.members.push(Member { host, traversal, home, sockets, any_endpoint, help });
    }

    pub(super) fn move_client(&mut self, client: u8, to: ClientChoice) {
        if self.members.is_empty() {
            return;
        }
        let index = usize::from(client) % self.members.len();
        let home = self.home(to);
        self.world.move_client(self.members[index].host, home.place);
        self.members[index].home = home;
    }

    pub(super) fn set_mapper(&mut self, client: u8, on: bool) {
        let Some(Member { host, home, .. }) = pick(&self.members, client) else { return };
        let Place::Behind(nat) = home.place else { return };
        if on {
            self.share(nat);
            self.world.add_gateway(nat, GatewayConfig::default());
            self.world.start_mapper(host);
        } else {
            self.world.stop_mapper(host);
        }
    }

    /// Where a client is to be: on the Internet, behind a NAT that is there already, or behind one
    /// of its own, or two.
    fn home(&mut self, choice: ClientChoice) -> Home {
        let public = Home {
            place: Place::Internet,
            outermost: None,
            is_plain: true,
            is_wild: false,
            kind: Some(0),
        };
        let shared = self.members.iter().rev().find(|it| it.home.outermost.is_some());
        match (choice.place % 20, shared.map(|it| it.home)) {
            (0..2, _) => public,
            (2..5, Some(Home { outermost: Some(nat), is_wild, .. })) => {
                let is_plain = is_independent(self.world.nat(nat).config()) && !is_wild;
                self.share(nat);
                Home { place: nat.into(), outermost: Some(nat), is_plain, is_wild, kind: None }
            }
            _ if self.nats.len() + 2 > NATS_MAX => public,
            (5..8, _) => {
                let outer = self.add_nat(Place::Internet, choice);
                let inner = ClientChoice { kind: choice.kind / 9, ..choice };
                let inner = self.add_nat(outer.into(), inner);
                let configs = [outer, inner].map(|nat| *self.world.nat(nat).config());
                let is_plain = configs.iter().all(is_independent);
                let (place, outermost) = (inner.into(), Some(outer));
                Home { place, outermost, is_plain, is_wild: false, kind: None }
            }
            (8..11, _) => {
                let nat = self.add_wild_nat(choice);
                let (place, outermost) = (nat.into(), Some(nat));
                Home { place, outermost, is_plain: false, is_wild: true, kind: None }
            }
            _ => {
                let nat = self.add_nat(Place::Internet, choice);
                let config = self.world.nat(nat).config();
                let index = usize::from(choice.kind) % KINDS.len();
                let is_plain = is_independent(config);
                let kind = Some(index).filter(|_| !is_odd(choice));
                Home { place: nat.into(), outermost: Some(nat), is_plain, is_wild: false, kind }
            }
        }
    }

    /// Two clients behind one NAT, or a gateway that grants ports, change what it is like.
    fn share(&mut self, nat: NatId) {
        for member in self.members.iter_mut().filter(|it| it.home.outermost == Some(nat)) {
            member.home.kind = None;
        }
    }

    fn add_nat(&mut self, place: Place, choice: ClientChoice) -> NatId {
        let ClientChoice { kind, lifetime, traits, .. } = choice;
        let index = usize::from(kind) % KINDS.len();
        let hairpins = [Hairpin::None, Hairpin::External, Hairpin::Internal];
        let config: NatConfig = KINDS[index].parse().unwrap_or(NatConfig::cone());
        let config = NatConfig {
            allocation: if is_odd(choice) { NatConfig::ps().allocation } else { config.allocation },
            lifetime: Duration::from_secs(60 + u64::from(lifetime)),
            inbound_refresh: traits & 1 != 0,
            hairpin: hairpins[usize::from(traits >> 1) % hairpins.len()],
            rewrites_payload: traits >> 4 == 0,
            ..config
        };
        let pool = if KINDS[index] == "addr" { POOL } else { 1 };
        let nat = self.world.add_nat_at(place, config, pool);
        self.nats.push(nat);
        nat
    }

    /// A NAT of any parameters.
    fn add_wild_nat(&mut self, choice: ClientChoice) -> NatId {
        let ClientChoice { kind, lifetime, traits, techniques, .. } = choice;
        let number = u64::from(u32::from_be_bytes([kind, lifetime, traits, techniques]));
        let mut random = Random::new(super::seeded(*b"scenario: NATs of any parameters", number));
        let config = NatConfig { cross_traffic: 0, ..draw_nat(&mut random) };
        let nat = self.world.add_nat_at(Place::Internet, config, 1 + traits % 3);
        self.nats.push(nat);
        nat
    }

    /// The Internet, or behind a NAT that RFC 4380 copes with.
    fn plain_place(&mut self, choice: u8) -> Place {
        let kinds = [NatConfig::cone(), NatConfig::ar(), NatConfig::pr()];
        let config = kinds.get(usize::from(choice % 6)).filter(|_| self.nats.len() < NATS_MAX);
        let Some(config) = config else { return Place::Internet };
        let nat = self.world.add_nat(*config);
        self.nats.push(nat);
        nat.into()
    }
}

/// One of these; none if there is none.
pub(super) fn pick<T: Copy>(from: &[T], number: u8) -> Option<T> {
    let index = usize::from(number).checked_rem(from.len())?;
    from.get(index).copied()
}

/// What a host lets in unasked. That it lets in nothing else is checked at each delivery.
pub(super) fn policy_of(number: u8) -> Policy {
    let rules = [&["all"][..], &["echo"], &["udp"], &["echo", "udp"], &["all"], &[]];
    let rules = rules[usize::from(number) % rules.len()];
    let rules = rules.iter().filter_map(|rule| rule.parse().ok()).collect();
    Policy::new(rules).unwrap_or_default()
}

/// Half of the clients have the default, the others more or less.
fn traversal_of(number: u8) -> Traversal {
    let all = Traversal::default();
    match number % 16 {
        0 => Traversal::NONE,
        1 | 2 => Traversal::RFC6081,
        3 => Traversal { mapped_symmetric: false, ..all },
        4 => Traversal { port_preserving: false, ..all },
        5 => Traversal { sequential: false, ..all },
        6 => Traversal { hairpin: false, ..all },
        7 => Traversal { load_reduction: false, ..all },
        _ => all,
    }
}

/// Whether a NAT gives ports at random whatever its kind.
fn is_odd(choice: ClientChoice) -> bool {
    choice.traits & 0x0c == 0
}

fn is_independent(config: &NatConfig) -> bool {
    config.mapping == Mapping::EndpointIndependent
}

const SERVERS_MAX: usize = 3;
const RELAYS_MAX: usize = 3;
const HOST_RELAYS_MAX: usize = 2;
const NATIVES_MAX: usize = 2;
pub(super) const CLIENTS_MAX: usize = 6;
const NATS_MAX: usize = 16;
/// Few, so that tables get full.
pub(super) const PEERS_MAX: usize = 64;
