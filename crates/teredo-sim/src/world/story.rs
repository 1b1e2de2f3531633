//! What happened, for people to read.

use core::fmt;
use core::net::Ipv4Addr;

use teredo_proto::Instant;
use teredo_wire::Datagram;
use teredo_wire::ipv6::Ipv6;
use teredo_wire::print::{Kind, Line};

use crate::host::HostId;
use crate::trace::{Frame, Packet, Wire};

use super::{Happened, LogEntry, NatId, Place, START, World};

impl World {
    /// All wires by name: those of hosts, of NATs on their outer side, and the IPv6 Internet.
    pub(super) fn wires(&self) -> Vec<(String, Wire)> {
        let hosts = (0..self.hosts.len()).map(|index| Wire::Host(HostId(index)));
        let nats = (0..self.nats.len()).map(|index| Wire::Nat(NatId(index)));
        let all = hosts.chain(nats).chain([Wire::Ipv6]);
        all.map(|wire| (self.wire_name(wire), wire)).collect()
    }

    fn wire_name(&self, wire: Wire) -> String {
        match wire {
            Wire::Host(HostId(index)) => self.hosts[index].name.clone(),
            Wire::Nat(NatId(index)) => format!("nat{index}"),
            Wire::Ipv6 => "ipv6".to_owned(),
        }
    }

    /// The log as text: simulated seconds, host, what happened.
    pub fn log_text(&self) -> String {
        self.log.iter().map(|entry| self.entry_line(entry)).collect()
    }

    /// The log as text, and each packet kept, on each wire: simulated seconds, where, what. One
    /// line for each, in the order of time, below a list of who is who.
    pub fn story(&self) -> String {
        let entries = self.log.iter().map(|entry| (entry.at, self.entry_line(entry)));
        let frames = self.trace.frames().iter().map(|frame| (frame.at, self.frame_line(frame)));
        // What a host does follows from the packet that it got at that moment.
        let mut lines: Vec<(Instant, String)> = frames.chain(entries).collect();
        lines.sort_by_key(|(at, _)| *at);
        let lines = lines.into_iter().map(|(_, line)| line);
        self.cast().into_iter().chain(lines).collect()
    }

    /// The hosts and NATs, a line for each.
    fn cast(&self) -> Vec<String> {
        let whereabouts = |place: Place| match place {
            Place::Internet => String::new(),
            Place::Behind(NatId(index)) => format!(", behind nat{index}"),
        };
        let list = |addresses: &[Ipv4Addr]| {
            addresses.iter().map(|address| format!(" {address}")).collect::<String>()
        };
        let hosts = self.hosts.iter().map(|host| {
            format!("{}:{}{}\n", host.name, list(&host.addresses), whereabouts(host.place))
        });
        let nats = self.nats.iter().enumerate().map(|(index, nat_box)| {
            let (nat, place) = (&nat_box.nat, whereabouts(nat_box.place));
            format!("nat{index}:{}{place}, {}\n", list(nat.addresses()), nat.config())
        });
        hosts.chain(nats).collect()
    }

    fn entry_line(&self, entry: &LogEntry) -> String {
        let name = &self.hosts[entry.host.0].name;
        let seconds = entry.at.since(START).as_secs_f64();
        match &entry.what {
            Happened::Event(event) => format!("{seconds:10.4} {name}: {event:?}\n"),
            Happened::Dropped(reason) => {
                format!("{seconds:10.4} {name}: dropped: {}\n", reason.name())
            }
            Happened::Error(error) => format!("{seconds:10.4} {name}: {error}\n"),
        }
    }

    fn frame_line(&self, frame: &Frame) -> String {
        let (seconds, name) = (frame.at.since(START).as_secs_f64(), self.wire_name(frame.wire));
        let end = frame.end.map(|end| format!(": {end}")).unwrap_or_default();
        format!("{seconds:10.4} {name} | {}{end}\n", Shown(&frame.packet))
    }
}

/// A packet in one line.
struct Shown<'a>(&'a Packet);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Packet::Datagram { from, to, payload } => match Datagram::parse(payload) {
                Ok(datagram) => Line { source: *from, destination: *to, datagram }.fmt(f),
                Err(_) => write!(f, "{from} > {to}: {} other bytes", payload.len()),
            },
            Packet::Error(error) => error.fmt(f),
            Packet::Ipv6(packet) => match Ipv6::parse(packet) {
                Ok((ipv6, _)) => {
                    write!(f, "{} > {}: {}", ipv6.source(), ipv6.destination(), Kind::of(&ipv6))
                }
                Err(_) => write!(f, "{} bytes that are no IPv6", packet.len()),
            },
        }
    }
}
