//! Sleep: an address that nobody needs is not maintained. No RFC has this; Windows does.
//!
//! What needs the address: a packet of the stack, a packet that was delivered to it, and whoever
//! says so through [`Client::need`]. Without any for the configured time the client goes dormant:
//! its server and its NAT hear nothing more of it. The host keeps the last address, so that a
//! packet of the stack can come out of the tunnel and end the sleep; that packet waits for the new
//! qualification, and goes on its way if the address is still the same then.

use core::net::Ipv6Addr;
use core::time::Duration;

use teredo_wire::icmpv6::ErrorMessage;
use teredo_wire::ipv6::Ipv6;

use crate::client::outbox::Item;
use crate::client::{Client, Phase};
use crate::reason::DropReason;
use crate::role::Outbound;
use crate::scope;
use crate::time::Instant;

impl Client {
    /// Somebody needs the address: a dormant client qualifies at once, any other one stays awake
    /// for another while.
    pub fn need(&mut self, now: Instant) {
        self.needed_at = now;
        if matches!(self.phase, Phase::Dormant) {
            self.qualify_afresh(now);
        }
    }

    /// Takes another time after which a client that is not needed goes dormant; `None` for never.
    /// A dormant client that may not sleep any more wakes.
    pub fn set_dormant_after(&mut self, now: Instant, dormant_after: Option<Duration>) {
        self.config.dormant_after = dormant_after;
        if dormant_after.is_none() {
            self.need(now);
        }
    }

    /// When the client falls asleep unless somebody needs it before; `None` while it does not
    /// serve.
    pub(super) fn sleepy_at(&self) -> Option<Instant> {
        self.service()?;
        self.config.dormant_after.map(|time| self.needed_at + time)
    }

    /// Goes dormant if it is time; `false` if not.
    pub(super) fn fall_asleep(&mut self, now: Instant) -> bool {
        let is_due = self.sleepy_at().is_some_and(|at| at <= now);
        if is_due {
            self.enter(Phase::Dormant);
        }
        is_due
    }

    /// Takes a packet with the address of before the sleep, and wakes.
    pub(super) fn wake_by(
        &mut self,
        now: Instant,
        packet: &Ipv6<'_>,
        resting: Ipv6Addr,
    ) -> Result<Outbound, DropReason> {
        let destination = packet.destination();
        if !scope::is_global(destination) || destination == resting {
            return Err(DropReason::WrongDestination);
        }
        if packet.source() != resting {
            self.complain(now, packet, ErrorMessage::Prohibited);
            return Err(DropReason::WrongSource);
        }
        let kept = self.early.push(&mut self.queued, packet.bytes());
        self.need(now);
        kept.map(|()| Outbound::Queued).map_err(|_| DropReason::QueueFull)
    }

    /// Sends what woke the client, now that it is qualified. With another address than before, the
    /// stack is told that this way is closed, so that its programs can try again at once.
    pub(super) fn send_early(&mut self, now: Instant) {
        let own = self.address();
        while let Some(packet) = self.early.pop(&mut self.queued) {
            let Ok((parsed, _)) = Ipv6::parse(&packet) else { continue };
            if Some(parsed.source()) != own {
                self.complain(now, &parsed, ErrorMessage::AddressUnreachable);
                self.counters.count_drop(DropReason::WrongSource);
                continue;
            }
            match self.transmit(now, &packet) {
                Ok(Outbound::Send { to, via }) => {
                    self.outbox.push(Item::Packet { to, via, packet });
                }
                Ok(Outbound::Wrap { .. } | Outbound::Queued | Outbound::Dropped(_)) => {}
                Err(reason) => self.counters.count_drop(reason),
            }
        }
    }

    /// Drops what woke the client: it has been stopped, and whoever did that wants silence.
    pub(super) fn forget_early(&mut self) {
        for _ in 0..self.early.clear(&mut self.queued) {
            self.counters.count_drop(DropReason::NotQualified);
        }
    }

    /// Gives up what woke the client: there is no address to send it from.
    pub(super) fn refuse_early(&mut self, now: Instant) {
        while let Some(packet) = self.early.pop(&mut self.queued) {
            if let Ok((parsed, _)) = Ipv6::parse(&packet) {
                self.complain(now, &parsed, ErrorMessage::AddressUnreachable);
            }
            self.counters.count_drop(DropReason::NotQualified);
        }
    }
}
