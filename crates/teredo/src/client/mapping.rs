//! The client's port on its gateway.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use serde::Serialize;
use teredo_control::{RuntimeDir, Type};
use teredo_engine::linux::PortMapping;
use teredo_proto::Instant;
use teredo_proto::client::Client;
use teredo_proto::portmap::{Event, Failure};
use teredo_proto::role::{OfflineReason, State};

use super::Args;
use crate::report::Report;

/// The client's port on its gateway, and what was told of it.
pub(super) struct Mapping {
    port: PortMapping,
    report: Report,
}

impl Mapping {
    /// For a client with this local port.
    pub(super) fn new(port: u16, report: Report) -> io::Result<Self> {
        Ok(Self { port: PortMapping::new(port, Some(state()))?, report })
    }

    /// Asks for the mapping of a client that is about to ask its server, and so one packet earlier:
    /// a symmetric NAT whose outbound packets do not use the mapping shows it to the server only if
    /// it was there first (RFC 6081 section 5.3.3).
    pub(super) fn begin(&mut self, now: Instant, args: &Args) {
        self.port.want(now, args.maps_port());
    }

    /// Asks for the mapping while the client is in service or on its way there, and gives it back
    /// otherwise: a client that sleeps or rests is silent.
    pub(super) fn follow(&mut self, now: Instant, args: &Args, client: &mut Client) {
        let is_awake = match client.state() {
            State::Offline(OfflineReason::Stopped) | State::Dormant => false,
            State::Offline(_) | State::Probe | State::Qualified => true,
        };
        let is_wanted = is_awake && args.maps_port();
        self.port.want(now, is_wanted);
        if !is_wanted {
            client.set_explicit_mapping(now, None);
        }
        self.tell(now, client);
    }

    /// The network has changed.
    pub(super) fn look(&mut self, now: Instant, client: &mut Client) {
        self.port.look(now);
        self.tell(now, client);
    }

    /// Asks for the external endpoint of a flow, given as local port and remote endpoint.
    pub(super) fn map_peer(
        &mut self,
        now: Instant,
        client: &mut Client,
        flow: (u16, SocketAddrV4),
    ) {
        self.port.map_peer(now, flow);
        self.tell(now, client);
    }

    /// Gives that back.
    pub(super) fn unmap_peer(&mut self, now: Instant, flow: (u16, SocketAddrV4)) {
        self.port.unmap_peer(now, flow);
    }

    /// Takes what has arrived.
    pub(super) fn receive(&mut self, now: Instant, client: &mut Client) {
        self.port.receive(now);
        self.tell(now, client);
    }

    /// Does what has become due.
    pub(super) fn advance(&mut self, now: Instant, client: &mut Client) {
        if self.port.deadline().is_some_and(|at| at <= now) {
            self.port.advance(now);
            self.tell(now, client);
        }
    }

    /// When to [`advance`](Self::advance).
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.port.deadline()
    }

    fn tell(&mut self, now: Instant, client: &mut Client) {
        while let Some(event) = self.port.poll_event() {
            let before = client.explicit_mapping();
            client.take_port_mapping(now, &event);
            match event {
                Event::Mapped(external) => self.say_mapped(external),
                // Most networks have no such gateway.
                Event::Unmapped(Failure::NoAnswer) if before.is_none() => {}
                Event::Unmapped(failure) => self.say_unmapped(failure),
                Event::GatewayRestarted => self.report.say("the gateway has restarted"),
                Event::PeerMapped { .. } | Event::PeerUnmapped { .. } => {}
            }
        }
    }

    fn say_mapped(&self, external: SocketAddrV4) {
        let protocol = self.port.protocol();
        let words = protocol.unwrap_or_default();
        self.report.say(&format!("the gateway maps {external} to this client ({words})"));
        let external = Some(external);
        self.report.fact(&Change { event: "mapping", protocol, external, reason: None });
    }

    fn say_unmapped(&self, failure: Failure) {
        self.report.say(&format!("the gateway maps no port to this client: {failure}"));
        let (protocol, reason) = (self.port.protocol(), Some(failure.name()));
        self.report.fact(&Change { event: "mapping", protocol, external: None, reason });
    }
}

impl AsFd for Mapping {
    /// Becomes readable when there is something to [`receive`](Mapping::receive).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.port.as_fd()
    }
}

impl Args {
    /// Whether the gateway is to be asked for a port. It is by default, because RFC 6081 wants it
    /// so (section 5.3: SHOULD) and because only the NAT's filter is opened, for one port behind
    /// which the client believes nobody without proof. The type `natawareclient` insists.
    pub(super) fn maps_port(&self) -> bool {
        self.kind.0 == Type::NatAwareClient || !self.no_port_mapping
    }
}

/// Where the port is remembered that a gateway keeps for ever (RFC 6081 section 5.3.1: SHOULD).
fn state() -> PathBuf {
    state_directory().join("mapped-port")
}

/// The directory that systemd gives for what outlives a boot, else the runtime directory.
pub(super) fn state_directory() -> PathBuf {
    let given = std::env::var_os("STATE_DIRECTORY").filter(|path| !path.is_empty());
    given.map_or_else(|| RuntimeDir::from_environment().path().to_owned(), PathBuf::from)
}

/// Printed when the mapping is another one than before.
#[derive(Serialize)]
struct Change {
    event: &'static str,
    protocol: Option<&'static str>,
    external: Option<SocketAddrV4>,
    reason: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn is_on_unless_switched_off_and_the_type_insists() {
        for (options, expected) in [
            (&[][..], true),
            (&["--type", "enterpriseclient"], true),
            (&["--no-port-mapping"], false),
            (&["--no-port-mapping", "--type", "natawareclient"], true),
        ] {
            let words = ["x", "--server", "192.0.2.1"].iter().chain(options);
            assert_eq!(Line::parse_from(words).args.maps_port(), expected, "{options:?}");
        }
    }
}
