//! What a registration has still to be told, merged while its callback runs.
//!
//! However slow a callback is, an inbox stays small: of a value that changed several times only the
//! last is kept, and of an address only what became of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU16;

use crate::address::{Family, UnicastAddress};

/// One call of a callback.
#[derive(Debug)]
pub(crate) enum Notice {
    /// The registration is confirmed.
    Initial,
    /// There is another port now, or none.
    Port(Option<NonZeroU16>),
    /// Something happened to an address.
    Address(Change, UnicastAddress),
    /// The addresses have become stable.
    Stable(Vec<UnicastAddress>),
}

/// What happened to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something about it is different.
    Parameter,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
}

/// The inbox of one registration.
pub(crate) enum Inbox {
    Port(PortInbox),
    Addresses(AddressInbox),
    Stable(StableInbox),
}

impl Inbox {
    /// For changes of the port, which is now `port` (0: none).
    pub(crate) fn port(port: u16) -> Self {
        Self::Port(PortInbox { told: port, now: port, was_interrupted: false })
    }

    /// For changes of addresses.
    pub(crate) fn addresses(family: Family) -> Self {
        Self::Addresses(AddressInbox { family, changes: BTreeMap::new() })
    }

    /// For addresses that are not stable at present.
    pub(crate) fn stable(family: Family) -> Self {
        let (is_stable, was_told) = (false, false);
        Self::Stable(StableInbox { family, is_stable, was_told, table: None })
    }

    pub(crate) fn has_notice(&self) -> bool {
        match self {
            Self::Port(inbox) => inbox.now != inbox.told || inbox.was_interrupted,
            Self::Addresses(inbox) => !inbox.changes.is_empty(),
            Self::Stable(inbox) => inbox.table.is_some(),
        }
    }

    pub(crate) fn take(&mut self) -> Option<Notice> {
        match self {
            Self::Port(inbox) => inbox.take(),
            Self::Addresses(inbox) => inbox.take(),
            Self::Stable(inbox) => inbox.take(),
        }
    }
}

/// Ports; 0 stands for none.
pub(crate) struct PortInbox {
    told: u16,
    now: u16,
    /// There was another value since `told`, or none.
    was_interrupted: bool,
}

impl PortInbox {
    /// The port now, and whether there were others between this and the last time.
    pub(crate) fn see(&mut self, port: u16, was_interrupted: bool) {
        self.was_interrupted |= was_interrupted || port != self.now;
        self.now = port;
    }

    /// A port that was lost and got back is told of by two calls, 0 and the port: whoever has let
    /// it through must do so again. No two calls in a row carry the same port.
    fn take(&mut self) -> Option<Notice> {
        let next = if self.told != self.now {
            self.now
        } else if self.was_interrupted && self.now != 0 {
            0
        } else {
            self.was_interrupted = false;
            return None;
        };
        self.was_interrupted = false;
        self.told = next;
        Some(Notice::Port(NonZeroU16::new(next)))
    }
}

/// Addresses that changed.
pub(crate) struct AddressInbox {
    family: Family,
    /// By interface and address: no more than there are addresses, however often they change.
    changes: BTreeMap<(u32, IpAddr), (Change, UnicastAddress)>,
}

impl AddressInbox {
    pub(crate) fn see(&mut self, change: Change, row: &UnicastAddress) {
        if !self.family.includes(row.address) {
            return;
        }
        let key = (row.index, row.address);
        let merged = match (self.changes.get(&key).map(|(before, _)| *before), change) {
            // It came and went before anybody was told of it.
            (Some(Change::Added), Change::Deleted) => None,
            (Some(Change::Added), _) => Some(Change::Added),
            // It went and came back.
            (Some(Change::Deleted), Change::Added) => Some(Change::Parameter),
            (_, change) => Some(change),
        };
        match merged {
            Some(change) => self.changes.insert(key, (change, *row)),
            None => self.changes.remove(&key),
        };
    }

    fn take(&mut self) -> Option<Notice> {
        let (_, (change, row)) = self.changes.pop_first()?;
        Some(Notice::Address(change, row))
    }
}

/// A wait for stable addresses.
pub(crate) struct StableInbox {
    family: Family,
    is_stable: bool,
    /// Whether the callback has been called: the request is answered then.
    was_told: bool,
    table: Option<Vec<UnicastAddress>>,
}

impl StableInbox {
    pub(crate) fn family(&self) -> Family {
        self.family
    }

    /// Whether whoever registered still waits for the first answer.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.was_told && self.table.is_none()
    }

    /// The table if the addresses are stable now.
    pub(crate) fn see(&mut self, table: Option<Vec<UnicastAddress>>) {
        if table.is_some() && !self.is_stable {
            self.table = table;
            self.is_stable = true;
        } else {
            self.is_stable = table.is_some();
        }
    }

    fn take(&mut self) -> Option<Notice> {
        let table = self.table.take()?;
        self.was_told = true;
        Some(Notice::Stable(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{DadState, PrefixOrigin, SuffixOrigin};
    use crate::interface::Luid;

    fn ports(inbox: &mut Inbox) -> Vec<u16> {
        let told = std::iter::from_fn(|| match inbox.take()? {
            Notice::Port(port) => Some(port.map_or(0, NonZeroU16::get)),
            Notice::Initial | Notice::Address(..) | Notice::Stable(_) => panic!("no port"),
        });
        told.collect()
    }

    fn see(inbox: &mut Inbox, port: u16, was_interrupted: bool) {
        let Inbox::Port(ports) = inbox else { unreachable!() };
        ports.see(port, was_interrupted);
    }

    #[test]
    fn no_port_is_told_twice_in_a_row() {
        let mut inbox = Inbox::port(5000);
        assert!(!inbox.has_notice());
        see(&mut inbox, 5000, false);
        assert!(ports(&mut inbox).is_empty());
        see(&mut inbox, 6000, false);
        assert!(inbox.has_notice());
        assert_eq!(ports(&mut inbox), [6000]);
        see(&mut inbox, 0, false);
        assert_eq!(ports(&mut inbox), [0]);
        see(&mut inbox, 0, true);
        assert!(ports(&mut inbox).is_empty(), "a port came and went unseen");
        assert!(!inbox.has_notice());
    }

    //= API-20: also when the callback was too slow to see the port go, it sees 0 and the port
    #[test]
    fn a_port_that_was_lost_and_got_back_is_told_as_zero_and_the_port() {
        let mut inbox = Inbox::port(5000);
        see(&mut inbox, 0, false);
        see(&mut inbox, 5000, false);
        assert_eq!(ports(&mut inbox), [0, 5000]);
        see(&mut inbox, 5000, true);
        assert_eq!(ports(&mut inbox), [0, 5000], "seen by a gap in the count of changes");
        for port in [1, 2, 3, 6000] {
            see(&mut inbox, port, false);
        }
        assert_eq!(ports(&mut inbox), [6000], "only the last of several");
    }

    fn row(address: &str) -> UnicastAddress {
        UnicastAddress {
            address: address.parse().unwrap(),
            luid: Luid::default(),
            index: 1,
            prefix_origin: PrefixOrigin::Manual,
            suffix_origin: SuffixOrigin::Manual,
            valid_lifetime_s: 0,
            preferred_lifetime_s: 0,
            on_link_prefix_length: 64,
            dad_state: DadState::Preferred,
            scope_id: 0,
            created: 0,
        }
    }

    #[test]
    fn changes_of_one_address_are_merged() {
        use Change::{Added, Deleted, Parameter};
        for (changes, told) in [
            (&[Added][..], &[Added][..]),
            (&[Added, Parameter], &[Added]),
            (&[Added, Deleted], &[]),
            (&[Parameter, Parameter], &[Parameter]),
            (&[Parameter, Deleted], &[Deleted]),
            (&[Deleted, Added], &[Parameter]),
            (&[Deleted, Added, Deleted], &[Deleted]),
        ] {
            let mut inbox = Inbox::addresses(Family::V6);
            let Inbox::Addresses(addresses) = &mut inbox else { unreachable!() };
            for change in changes {
                addresses.see(*change, &row("2001:db8::1"));
            }
            addresses.see(Added, &row("192.0.2.1"));
            let kinds = std::iter::from_fn(|| match inbox.take()? {
                Notice::Address(change, _) => Some(change),
                Notice::Initial | Notice::Port(_) | Notice::Stable(_) => panic!("no address"),
            });
            assert_eq!(kinds.collect::<Vec<_>>(), told, "{changes:?}");
        }
    }

    #[test]
    fn each_time_the_table_becomes_stable_is_told_once() {
        let mut inbox = Inbox::stable(Family::Any);
        let mut see = |table: Option<Vec<UnicastAddress>>| {
            let Inbox::Stable(stable) = &mut inbox else { unreachable!() };
            stable.see(table);
            inbox.take().is_some()
        };
        assert!(!see(None));
        assert!(see(Some(vec![])));
        assert!(!see(Some(vec![])), "still stable");
        assert!(!see(None));
        assert!(see(Some(vec![])));
    }
}
