//! What the engine itself did; what the role did is in its own counters.

use std::fmt;

use crate::io::SendReport;

/// Numbers of packets, so that none is lost without trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Datagrams received and shown to the role.
    pub datagrams_received: u64,
    /// Datagrams longer than a slot, which the role never saw.
    pub datagrams_truncated: u64,
    /// Datagrams the kernel took.
    pub datagrams_sent: u64,
    /// Datagrams the kernel refused: no route, no buffer, forbidden by a firewall.
    pub datagrams_refused: u64,
    /// The error number of the last refusal.
    pub refused_errno: Option<i32>,
    /// Datagrams dropped because the backlog was full.
    pub datagrams_overflowed: u64,
    /// How often the socket had no room and the rest of a batch had to wait.
    pub socket_full: u64,
    /// Errors told by ICMP, or by this host, about datagrams sent earlier.
    pub delivery_errors: u64,
    /// Receive calls that failed, as they may for want of memory.
    pub receive_failures: u64,
    /// Packets read from the device.
    pub packets_read: u64,
    /// Packets the device took.
    pub packets_written: u64,
    /// Packets the device refused, as it does while the interface is down.
    pub packets_refused: u64,
}

impl Tally {
    pub(crate) fn count_send(&mut self, report: &SendReport) {
        self.datagrams_sent += report.sent as u64;
        self.datagrams_refused += report.failed as u64;
        self.refused_errno = report.first_errno.or(self.refused_errno);
        self.socket_full += u64::from(report.pending > 0);
    }
}

impl fmt::Display for Tally {
    /// The traffic in a few words, and what went wrong if anything did.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { datagrams_received, datagrams_sent, packets_read, packets_written, .. } = self;
        write!(f, "{datagrams_received} datagrams received, {datagrams_sent} sent; ")?;
        write!(f, "{packets_read} packets from the host, {packets_written} to it")?;
        let troubles = [
            ("datagrams too long", self.datagrams_truncated),
            ("datagrams refused by the kernel", self.datagrams_refused),
            ("datagrams over the backlog", self.datagrams_overflowed),
            ("delivery errors", self.delivery_errors),
            ("failed receive calls", self.receive_failures),
            ("packets refused by the host", self.packets_refused),
        ];
        for (what, count) in troubles.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, "; {count} {what}")?;
        }
        Ok(())
    }
}
