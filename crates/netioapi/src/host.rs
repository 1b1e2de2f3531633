//! What has changed about the host's addresses, and whether they are stable.

use std::collections::BTreeMap;
use std::net::IpAddr;

use teredo_sys::netlink::AddressEntry;

use crate::address::{DadState, Family, Host, UnicastAddress, dad_state, is_teredo};
use crate::hub::World;
use crate::inbox::Change;
use crate::teredo::Stage;

/// What happened between two looks. That an address grows older is no change.
pub(crate) fn changes(before: &Host, after: &Host) -> Vec<(Change, UnicastAddress)> {
    let by_key = |host: &Host| -> BTreeMap<(u32, IpAddr), AddressEntry> {
        host.addresses.iter().map(|entry| ((entry.index, entry.address), *entry)).collect()
    };
    let (old, new) = (by_key(before), by_key(after));
    let gone = old.iter().filter(|(key, _)| !new.contains_key(key));
    let gone = gone.filter_map(|(_, entry)| Some((Change::Deleted, before.row(entry)?)));
    let come = new.iter().filter_map(|(key, entry)| {
        let change = match old.get(key) {
            None => Change::Added,
            Some(old) if is_different(old, entry) => Change::Parameter,
            Some(_) => return None,
        };
        Some((change, after.row(entry)?))
    });
    gone.chain(come).collect()
}

fn is_different(old: &AddressEntry, new: &AddressEntry) -> bool {
    let ageless = |entry: &AddressEntry| AddressEntry { lifetime: new.lifetime, ..*entry };
    // The kernel's clock for this has a resolution of 10 ms; but nothing gets younger by itself.
    ageless(old) != ageless(new)
        || new.lifetime.valid_s > old.lifetime.valid_s
        || new.lifetime.preferred_s > old.lifetime.preferred_s
        || (old.lifetime.valid_s == u32::MAX) != (new.lifetime.valid_s == u32::MAX)
}

/// The stable addresses of a family; nothing while they are not stable.
///
/// They are when no address is still being checked for duplicates, and the Teredo client, if it can
/// have an address at all, has it. Duplicate and deprecated addresses hold nothing up and are not
/// in the table. Nor does an address on a link that carries nothing: its check begins when the link
/// comes up, which may be never.
pub(crate) fn stable_table(world: &World, family: Family) -> Option<Vec<UnicastAddress>> {
    if family != Family::V4 && matches!(world.stage, Stage::Dormant | Stage::Probe) {
        return None;
    }
    let host = &world.host;
    let is_pending = |entry: &AddressEntry| {
        family.includes(entry.address)
            && dad_state(entry) == DadState::Tentative
            && host.link_of(entry).is_some_and(|link| link.is_running)
    };
    if host.addresses.iter().any(is_pending) {
        return None;
    }
    let mut rows = host.rows(family);
    rows.retain(|row| {
        let is_teredo = matches!(row.address, IpAddr::V6(address) if is_teredo(address));
        row.dad_state == DadState::Preferred && (!is_teredo || world.stage == Stage::Qualified)
    });
    Some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use teredo_sys::netlink::{AddressOrigin, AddressScope, Lifetime, LinkEntry};

    fn entry(address: &str) -> AddressEntry {
        AddressEntry {
            index: 2,
            address: address.parse().unwrap(),
            prefix_len: 64,
            scope: AddressScope::Global,
            tentative: false,
            deprecated: false,
            duplicate: false,
            lifetime: Lifetime { preferred_s: 100, valid_s: 200 },
            origin: AddressOrigin::Program,
            temporary: false,
            created_cs: 5,
            updated_cs: 5,
        }
    }

    fn host(addresses: Vec<AddressEntry>) -> Host {
        let link = LinkEntry { index: 2, is_up: true, is_running: true, ..LinkEntry::default() };
        Host { links: vec![link], addresses }
    }

    fn kinds(before: AddressEntry, after: AddressEntry) -> Vec<Change> {
        let all = changes(&host(vec![before]), &host(vec![after]));
        all.into_iter().map(|(change, _)| change).collect()
    }

    #[test]
    fn growing_older_is_no_change_and_all_else_is() {
        let old = entry("2001:db8::1");
        let aged = Lifetime { preferred_s: 90, valid_s: 190 };
        assert_eq!(kinds(old, AddressEntry { lifetime: aged, ..old }), []);
        assert_eq!(kinds(AddressEntry { lifetime: aged, ..old }, old), [Change::Parameter]);
        for changed in [
            AddressEntry { updated_cs: 6, ..old },
            AddressEntry { deprecated: true, ..old },
            AddressEntry { prefix_len: 48, ..old },
        ] {
            assert_eq!(kinds(old, changed), [Change::Parameter]);
        }
        let other = entry("2001:db8::2");
        assert_eq!(kinds(old, other), [Change::Deleted, Change::Added]);
    }

    fn table(stage: Stage, family: Family, addresses: Vec<AddressEntry>) -> Option<Vec<IpAddr>> {
        let world = World { port: 0, stage, host: host(addresses) };
        Some(stable_table(&world, family)?.iter().map(|row| row.address).collect())
    }

    #[test]
    fn an_address_under_check_holds_up_its_family_only() {
        let tentative = AddressEntry { tentative: true, ..entry("2001:db8::1") };
        let v4 = entry("192.0.2.1");
        let both = || vec![tentative, v4];
        assert_eq!(table(Stage::Unavailable, Family::Any, both()), None);
        assert_eq!(table(Stage::Unavailable, Family::V6, both()), None);
        assert_eq!(table(Stage::Unavailable, Family::V4, both()), Some(vec![v4.address]));
        let world = World { host: host(both()), ..World::default() };
        let mut no_carrier = world.host.clone();
        no_carrier.links[0].is_running = false;
        let world = World { host: no_carrier, ..world };
        assert_eq!(stable_table(&world, Family::V6), Some(vec![]), "its check does not run");
    }

    #[test]
    fn duplicate_and_deprecated_addresses_are_left_out_without_waiting() {
        let duplicate = AddressEntry { tentative: true, duplicate: true, ..entry("2001:db8::1") };
        let deprecated = AddressEntry { deprecated: true, ..entry("2001:db8::2") };
        let good = entry("2001:db8::3");
        let all = vec![duplicate, deprecated, good];
        assert_eq!(table(Stage::Unavailable, Family::V6, all), Some(vec![good.address]));
    }

    #[test]
    fn teredo_is_waited_for_only_while_it_can_come() {
        let teredo = entry("2001:0:cb00:710a::1");
        for (stage, family, expected) in [
            (Stage::Unavailable, Family::V6, Some(vec![])),
            (Stage::Dormant, Family::V6, None),
            (Stage::Probe, Family::Any, None),
            (Stage::Probe, Family::V4, Some(vec![])),
            (Stage::Qualified, Family::V6, Some(vec![teredo.address])),
        ] {
            assert_eq!(table(stage, family, vec![teredo]), expected, "{stage:?} {family:?}");
        }
    }
}
