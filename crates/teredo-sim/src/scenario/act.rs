//! What happens to the hosts.

use core::time::Duration;

use teredo_proto::client::Client;

use crate::link::{Bursts, Mtu};
use crate::{HostId, Link};

use super::Scenario;
use super::cast::{pick, policy_of};
use super::transition::Transition;

impl Scenario {
    /// Something happens.
    pub(super) fn act(&mut self, transition: &Transition) {
        match *transition {
            Transition::AddServer { any_endpoint } => self.add_server(any_endpoint),
            Transition::AddRelay { place } => self.add_relay(place),
            Transition::AddHostRelay { place, policy } => self.add_host_relay(place, policy),
            Transition::AddNative => self.add_native(),
            Transition::AddHelper { host } => self.add_helper(host),
            Transition::AddClient(choice) => self.add_client(choice),
            Transition::Talk { from, to, count, len, pings } => {
                self.talk([from, to], count, len, pings);
            }
            Transition::Link { host, delay, loss, duplicates, late } => {
                self.change_link(host, link([delay, loss, duplicates, late]));
            }
            Transition::RestartClient(client) => {
                self.with(client, |world, host| world.restart(host))
            }
            Transition::RestartOther(number) => {
                let helpers = self.helper_hosts();
                let hosts = [&self.servers[..], &self.relays, &self.host_relays, &helpers].concat();
                if let Some(host) = pick(&hosts, number) {
                    self.world.restart(host);
                }
            }
            Transition::RebootNat(number) => {
                if let Some(nat) = pick(&self.nats, number) {
                    self.world.reboot_nat(nat);
                }
            }
            Transition::Switch { host, up } => {
                if let Some(host) = pick(&self.everybody(), host) {
                    self.world.set_up(host, up);
                }
            }
            Transition::Route(number) => self.world.route_teredo_to(pick(&self.relays, number)),
            Transition::Start(client) => self.with_client(client, Client::start),
            Transition::Stop(client) => self.with_client(client, |client, _| client.stop()),
            Transition::NetworkChanged(client) => self.with(client, |world, host| {
                let local = Some(world.address_of(host));
                world.with_client(host, |client, now| client.network_changed(now, local));
            }),
            Transition::Move { client, to } => self.move_client(client, to),
            Transition::Policy { host, policy } => {
                self.with(host, |world, host| world.set_policy(host, &policy_of(policy)));
            }
            Transition::Jump(duration) => self.world.jump(duration),
            Transition::Mapper { client, on } => self.set_mapper(client, on),
            Transition::Attack(attack) => self.attack(&attack),
        }
    }

    /// All hosts with a stack.
    pub(super) fn talkers(&self) -> Vec<HostId> {
        let members = self.members.iter().map(|member| member.host);
        members.chain(self.natives.iter().chain(&self.host_relays).copied()).collect()
    }

    /// All hosts but the attacker's.
    pub(super) fn everybody(&self) -> Vec<HostId> {
        let others = self.servers.iter().chain(&self.relays).copied();
        self.talkers().into_iter().chain(others).chain(self.helper_hosts()).collect()
    }

    fn talk(&mut self, [from, to]: [u8; 2], count: u8, len: u8, pings: u8) {
        // Clients talk most.
        let hosts = self.talkers();
        let clients: Vec<HostId> = self.members.iter().map(|it| it.host).collect();
        let hosts = [&hosts[..], &clients].concat();
        let (Some(from), Some(to)) = (pick(&hosts, from), pick(&hosts, to)) else { return };
        let Some(destination) = self.world.ipv6(to).filter(|_| from != to) else { return };
        let count = if count >= 0xf8 { 40 } else { 1 + count % 6 };
        for number in 0..count {
            if pings >> (number % 8) & 1 != 0 && count < 8 {
                self.world.ping(from, destination);
            } else {
                let len = DATA_LEN_MIN + usize::from(len) * 4 + usize::from(number);
                self.world.send_data(from, destination, len);
            }
        }
    }

    fn change_link(&mut self, host: u8, link: Link) {
        match pick(&self.everybody(), host) {
            Some(host) if link.delay > Duration::from_millis(2) => self.world.set_link(host, link),
            _ => self.world.set_ipv6_link(link),
        }
    }

    fn with(&mut self, client: u8, act: impl FnOnce(&mut crate::World, HostId)) {
        if let Some(member) = pick(&self.members, client) {
            act(&mut self.world, member.host);
        }
    }

    fn with_client(&mut self, client: u8, act: impl FnOnce(&mut Client, teredo_proto::Instant)) {
        self.with(client, |world, host| world.with_client(host, act));
    }
}

/// A link that delays, loses, doubles and holds back packets more or less.
fn link([delay, loss, duplicates, late]: [u8; 4]) -> Link {
    let delay = Duration::from_millis(1 + u64::from(delay) / 4);
    if loss >= 0xb0 {
        return Link::perfect(delay);
    }
    let bursts = Bursts { begin_permille: 20, end_permille: 200, loss_permille: 900 };
    Link {
        delay,
        jitter: Duration::from_millis(u64::from(late % 8)),
        loss_permille: u16::from(loss) * 2,
        bursts: (duplicates % 16 == 1).then_some(bursts),
        duplicate_permille: u16::from(duplicates),
        reorder_permille: u16::from(late),
        reorder_delay: Duration::from_millis(1 + 2 * u64::from(late)),
        mtu: (loss % 16 == 1).then_some(Mtu { bytes: 1_000, tells: late % 2 == 1 }),
    }
}

const DATA_LEN_MIN: usize = 60;
