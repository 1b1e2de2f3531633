//! What surrounds a relay: its interface and the addresses of its host.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::BorrowedFd;

use serde::Serialize;
use teredo_control::server::{Command, SetError};
use teredo_engine::interface::Tunnel;
use teredo_engine::network::{Addresses, ipv4_source};
use teredo_engine::{Flow, Host};
use teredo_proto::relay::Relay;
use teredo_proto::{Event, Instant};

use super::publication::publication;
use super::{Args, native_address, scope};
use crate::allow::Gate;
use crate::host::{MONITOR, Repair, SIGNALS, Watch, Watching};
use crate::publisher::Publisher;
use crate::report::Report;

/// The surroundings of a relay.
pub(super) struct RelayHost {
    args: Args,
    report: Report,
    /// Of a host-specific relay.
    publisher: Publisher,
    watch: Watch,
    tunnel: Tunnel,
    /// What may come in to this host.
    gate: Gate,
    port: u16,
    /// As they were when the relay last heard of them.
    addresses: Addresses,
    is_serving: bool,
    repair: Repair,
}

/// What a relay's surroundings are made of.
type Parts = (Report, Publisher, Watch, Tunnel, Gate);

impl RelayHost {
    /// Surrounds a relay that serves already.
    pub(super) fn new(
        args: Args,
        (report, publisher, watch, tunnel, gate): Parts,
        port: u16,
        addresses: Addresses,
    ) -> Self {
        let (is_serving, repair) = (true, Repair::default());
        publisher.publish_rules(gate.listing());
        let host = Self {
            args,
            report,
            publisher,
            watch,
            tunnel,
            gate,
            port,
            addresses,
            is_serving,
            repair,
        };
        host.publish();
        host
    }

    /// Publishes what the relay does, if that is anything new.
    fn publish(&self) {
        let interface = (self.tunnel.name(), self.tunnel.index());
        let address = self.args.address.or_else(ipv4_source);
        let local = address.map(|address| SocketAddrV4::new(address, self.port));
        let local = local.filter(|_| self.is_serving);
        self.publisher.publish(publication(&self.args, local, Some(interface)));
    }

    fn look_at_network(&mut self, now: Instant, relay: &mut Relay) -> io::Result<()> {
        let addresses = Addresses::read()?;
        if addresses != self.addresses {
            relay.set_filter(addresses.ipv4_filter(&self.args.common.allow_ipv4));
        }
        if self.args.host_only {
            self.serve_or_rest(&addresses, relay)?;
        }
        self.addresses = addresses;
        self.repair.restore(now, &mut self.watch, &mut self.tunnel, &self.report)
    }

    /// Answers whoever wants something of the relay, which neither sleeps nor has other settings
    /// than what it lets in.
    fn answer(&mut self, now: Instant, relay: &mut Relay) {
        while let Some(command) = self.publisher.command() {
            match command {
                Command::Wake => {}
                Command::Set(_, responder) => responder.answer(Err(SetError::Failed(
                    "its command line decides; start it again with another one".to_owned(),
                ))),
                Command::Rules(change, responder) => {
                    let changed = self.gate.rules().changed(&change).map(|rules| {
                        self.gate.set(now, rules, None);
                        self.gate.look(now, self.tunnel.index());
                        self.open(relay);
                    });
                    responder.answer_kept(changed.map(|()| false));
                }
            }
        }
    }

    /// Lets in what the rules come to now.
    fn open(&self, relay: &mut Relay) {
        relay.set_policy(self.gate.policy());
        self.publisher.publish_rules(self.gate.listing());
    }

    /// Tells programs what the relay does now, for instance those that announce its route.
    fn tell(&self, state: &'static str) {
        self.report.fact(&Change { event: "state", role: "relay", state });
    }

    /// A host-specific relay serves while its host has both IPv6 and IPv4 (RFC 4380 section 5.4).
    fn serve_or_rest(&mut self, addresses: &Addresses, relay: &mut Relay) -> io::Result<()> {
        let native = native_address(addresses);
        let native = native.filter(|_| self.args.address.or_else(ipv4_source).is_some());
        match native {
            Some(native) => {
                relay.set_scope(scope(&self.args, native, addresses));
                self.tunnel.set_teredo_route(Some(native))?;
                if !self.is_serving {
                    self.report.say("IPv6 and IPv4 are back: serving again");
                    self.tell("serving");
                }
            }
            None if self.is_serving => {
                self.tunnel.clear_teredo_route();
                self.report.say("IPv6 or IPv4 is lost: resting until both are back");
                self.tell("resting");
            }
            None => {}
        }
        self.is_serving = native.is_some();
        self.publish();
        Ok(())
    }
}

/// Printed when a relay that serves does so no more, or again.
#[derive(Serialize)]
struct Change {
    event: &'static str,
    role: &'static str,
    /// "serving", "resting" or "overloaded".
    state: &'static str,
}

impl Watching for RelayHost {
    fn watch(&self) -> &Watch {
        &self.watch
    }

    fn further(&self) -> Vec<BorrowedFd<'_>> {
        self.publisher.source().into_iter().collect()
    }
}

impl Host<Relay> for RelayHost {
    fn handle_event(&mut self, _: Instant, _: &mut Relay, event: Event) -> io::Result<()> {
        match event {
            Event::Overload(true) => {
                self.report.say("overload: new clients are refused, routers should go elsewhere");
                self.tell("overloaded");
            }
            Event::Overload(false) => {
                self.report.say("the overload is over");
                self.tell("serving");
            }
            Event::StateChanged(_)
            | Event::AddressDeprecated
            | Event::AddressChanged(_)
            | Event::NatKindChanged(_)
            | Event::RefreshIntervalChanged(_)
            | Event::HelperChanged(_)
            | Event::KeyRenewal(_)
            | Event::ServerLost
            | Event::PeerReached(_)
            | Event::PeerUnreachable(_)
            | Event::BindPort(_)
            | Event::ReleasePort(_)
            | Event::MapPeer { .. }
            | Event::UnmapPeer { .. } => {}
        }
        Ok(())
    }

    fn handle_events_end(&mut self, _: Instant, _: &mut Relay) -> io::Result<()> {
        Ok(())
    }

    fn handle_source(&mut self, now: Instant, relay: &mut Relay, source: u64) -> io::Result<Flow> {
        match source {
            SIGNALS => {
                if self.watch.signal()?.is_some() {
                    return Ok(Flow::Stop);
                }
            }
            MONITOR => self.watch.note_change(now)?,
            _ => self.answer(now, relay),
        }
        Ok(Flow::Continue)
    }

    fn handle_deadline(&mut self, now: Instant, relay: &mut Relay) -> io::Result<Flow> {
        if self.watch.is_due(now) {
            self.look_at_network(now, relay)?;
        }
        if self.gate.look(now, self.tunnel.index()).has_changed {
            self.open(relay);
        }
        Ok(Flow::Continue)
    }

    fn poll_deadline(&self) -> Option<Instant> {
        self.watch.deadline().into_iter().chain(self.gate.deadline()).min()
    }
}
