//! Unicast addresses: the table of this host, and single entries of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use rustix::net::{AddressFamily, SocketType, socket};
use teredo_sys::clock;
use teredo_sys::netlink::{AddressEntry, AddressOrigin, LinkEntry, Netlink};

use crate::error::Error;
use crate::interface::{self, Luid};

/// Which addresses a function is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4 and IPv6.
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Whether it includes this address.
    pub fn includes(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }

    /// Fails where the system cannot do what the family stands for.
    pub(crate) fn check_support(self) -> Result<(), Error> {
        let wanted = match self {
            Self::Any => return Ok(()),
            Self::V4 => AddressFamily::INET,
            Self::V6 => AddressFamily::INET6,
        };
        match socket(wanted, SocketType::DGRAM, None) {
            Err(rustix::io::Errno::AFNOSUPPORT) => Err(Error::NotSupported),
            // Out of descriptors, say: no word about support.
            _ => Ok(()),
        }
    }
}

/// A unicast address of an interface (`MIB_UNICASTIPADDRESS_ROW`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnicastAddress {
    /// The address.
    pub address: IpAddr,
    /// The interface.
    pub luid: Luid,
    /// The interface's index.
    pub index: u32,
    /// Where the prefix comes from.
    pub prefix_origin: PrefixOrigin,
    /// Where the rest comes from.
    pub suffix_origin: SuffixOrigin,
    /// How long it stays, in seconds from now; `u32::MAX` for ever.
    pub valid_lifetime_s: u32,
    /// How long new connections may choose it, in seconds from now; `u32::MAX` for ever.
    pub preferred_lifetime_s: u32,
    /// How many of its first bits are the link's.
    pub on_link_prefix_length: u8,
    /// Whether it can be used.
    pub dad_state: DadState,
    /// The interface's index for an IPv6 link-local address, otherwise 0.
    pub scope_id: u32,
    /// When it was made, in units of 100 ns since 1601-01-01 UTC.
    pub created: i64,
}

/// Where the prefix of an address comes from (`NL_PREFIX_ORIGIN`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum PrefixOrigin {
    /// Somebody configured it.
    Manual = 1,
    /// It is always the same.
    WellKnown = 2,
    /// DHCP, as far as a limited lifetime shows it.
    Dhcp = 3,
    /// A router advertisement; Teredo's server sends one too.
    RouterAdvertisement = 4,
}

/// Where the rest of an address comes from (`NL_SUFFIX_ORIGIN`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum SuffixOrigin {
    /// Somebody configured it.
    Manual = 1,
    /// It is always the same.
    WellKnown = 2,
    /// DHCP, as far as a limited lifetime shows it.
    Dhcp = 3,
    /// The link: from the hardware's address, or from the mapped address and port of Teredo.
    LinkLayerAddress = 4,
    /// Random, for privacy.
    Random = 5,
}

/// What duplicate address detection says of an address (`NL_DAD_STATE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum DadState {
    /// Detection is under way: not to be used yet.
    Tentative = 1,
    /// Another host has it.
    Duplicate = 2,
    /// Not to be chosen for new connections.
    Deprecated = 3,
    /// To be used.
    Preferred = 4,
}

/// All unicast addresses of this host, IPv4 before IPv6.
///
/// # Errors
/// [`Error::NotFound`] if there are none, [`Error::NotSupported`] if the system cannot do IPv4
/// (or IPv6) at all.
pub fn unicast_addresses(family: Family) -> Result<Vec<UnicastAddress>, Error> {
    family.check_support()?;
    let rows = Host::read()?.rows(family);
    if rows.is_empty() { Err(Error::NotFound) } else { Ok(rows) }
}

/// One unicast address of one interface.
///
/// # Errors
/// [`Error::NoInterface`] if there is no such interface, [`Error::NotFound`] if it does not have
/// this address.
pub fn unicast_address(address: IpAddr, luid: Luid) -> Result<UnicastAddress, Error> {
    entry(address, &luid.link()?)
}

/// One unicast address of the interface with this index.
///
/// # Errors
/// As [`unicast_address`].
pub fn unicast_address_of_index(address: IpAddr, index: u32) -> Result<UnicastAddress, Error> {
    entry(address, &interface::link(index)?)
}

fn entry(address: IpAddr, link: &LinkEntry) -> Result<UnicastAddress, Error> {
    let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
    family.check_support()?;
    let addresses = interface::netlink()?.addresses()?;
    let found = addresses.iter().find(|it| it.index == link.index && it.address == address);
    row(found.ok_or(Error::NotFound)?, Luid::of_link(link)?).ok_or(Error::NotFound)
}

/// Interfaces and addresses at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    pub(crate) links: Vec<LinkEntry>,
    pub(crate) addresses: Vec<AddressEntry>,
}

impl Host {
    pub(crate) fn read() -> Result<Self, Error> {
        Ok(Self::read_with(&mut interface::netlink()?)?)
    }

    pub(crate) fn read_with(netlink: &mut Netlink) -> std::io::Result<Self> {
        // Addresses first: the interface of each is then in the second list, unless it has gone.
        let addresses = netlink.addresses()?;
        Ok(Self { links: netlink.links()?, addresses })
    }

    /// The addresses as rows, IPv4 before IPv6.
    pub(crate) fn rows(&self, family: Family) -> Vec<UnicastAddress> {
        let mut rows: Vec<UnicastAddress> =
            self.addresses.iter().filter_map(|entry| self.row(entry)).collect();
        rows.retain(|row| family.includes(row.address));
        rows.sort_by_key(|row| row.address.is_ipv6());
        rows
    }

    pub(crate) fn row(&self, entry: &AddressEntry) -> Option<UnicastAddress> {
        row(entry, Luid::of_link(self.link_of(entry)?).ok()?)
    }

    pub(crate) fn link_of(&self, entry: &AddressEntry) -> Option<&LinkEntry> {
        self.links.iter().find(|link| link.index == entry.index)
    }
}

/// Nothing for what is no unicast address.
fn row(entry: &AddressEntry, luid: Luid) -> Option<UnicastAddress> {
    if entry.address.is_multicast() {
        return None;
    }
    let (prefix_origin, suffix_origin) = origins(entry);
    let is_link_local_v6 = matches!(entry.address, IpAddr::V6(it) if it.is_unicast_link_local());
    Some(UnicastAddress {
        address: entry.address,
        luid,
        index: entry.index,
        prefix_origin,
        suffix_origin,
        valid_lifetime_s: entry.lifetime.valid_s,
        preferred_lifetime_s: entry.lifetime.preferred_s,
        on_link_prefix_length: entry.prefix_len,
        dad_state: dad_state(entry),
        scope_id: if is_link_local_v6 { entry.index } else { 0 },
        created: created(entry),
    })
}

pub(crate) fn dad_state(entry: &AddressEntry) -> DadState {
    match entry.address {
        // The kernel checks no IPv4 address, and whoever does so, does it before.
        IpAddr::V4(_) => DadState::Preferred,
        IpAddr::V6(_) if entry.duplicate => DadState::Duplicate,
        IpAddr::V6(_) if entry.tentative => DadState::Tentative,
        IpAddr::V6(_) if entry.deprecated => DadState::Deprecated,
        IpAddr::V6(_) => DadState::Preferred,
    }
}

fn origins(entry: &AddressEntry) -> (PrefixOrigin, SuffixOrigin) {
    use {PrefixOrigin as Prefix, SuffixOrigin as Suffix};
    let address = match entry.address {
        IpAddr::V4(address) => return origins_v4(address, entry),
        IpAddr::V6(address) => address,
    };
    if address.is_loopback() {
        return (Prefix::WellKnown, Suffix::WellKnown);
    }
    if is_teredo(address) {
        return (Prefix::RouterAdvertisement, Suffix::LinkLayerAddress);
    }
    let (prefix, suffix) = if address.is_unicast_link_local() {
        (Prefix::WellKnown, Suffix::LinkLayerAddress)
    } else if entry.origin == AddressOrigin::RouterAdvertisement {
        let is_from_hardware = is_from_hardware(address);
        // Else made by RFC 7217: stable, but random to whoever sees it.
        let suffix = if is_from_hardware { Suffix::LinkLayerAddress } else { Suffix::Random };
        (Prefix::RouterAdvertisement, suffix)
    } else if entry.lifetime.valid_s != u32::MAX {
        (Prefix::Dhcp, Suffix::Dhcp)
    } else {
        (Prefix::Manual, Suffix::Manual)
    };
    let suffix = if entry.temporary { Suffix::Random } else { suffix };
    (prefix, suffix)
}

fn origins_v4(address: Ipv4Addr, entry: &AddressEntry) -> (PrefixOrigin, SuffixOrigin) {
    if address.is_loopback() {
        (PrefixOrigin::WellKnown, SuffixOrigin::WellKnown)
    } else if address.is_link_local() {
        // RFC 3927: the end is drawn at random.
        (PrefixOrigin::WellKnown, SuffixOrigin::Random)
    } else if entry.lifetime.valid_s != u32::MAX {
        (PrefixOrigin::Dhcp, SuffixOrigin::Dhcp)
    } else {
        (PrefixOrigin::Manual, SuffixOrigin::Manual)
    }
}

/// Whether an address is in 2001::/32 (RFC 4380, section 2.6).
pub(crate) fn is_teredo(address: Ipv6Addr) -> bool {
    address.segments()[..2] == [0x2001, 0]
}

/// Whether the end of an address is made from an Ethernet address (RFC 4291, appendix A).
fn is_from_hardware(address: Ipv6Addr) -> bool {
    address.octets()[11..13] == [0xff, 0xfe]
}

/// When an address was made. The same address gives the same date whenever it is asked for, also
/// when the system's clock is set in between.
fn created(entry: &AddressEntry) -> i64 {
    static ORIGIN: OnceLock<i64> = OnceLock::new();
    let origin_ns = *ORIGIN.get_or_init(clock::monotonic_origin_ns);
    origin_ns / 100 + UNIX_EPOCH_TICKS + i64::from(entry.created_cs) * TICKS_PER_CENTISECOND
}

/// From 1601-01-01 to 1970-01-01, in units of 100 ns.
const UNIX_EPOCH_TICKS: i64 = 116_444_736_000_000_000;
const TICKS_PER_CENTISECOND: i64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback(family: Family) -> UnicastAddress {
        let rows = unicast_addresses(family).unwrap();
        *rows.iter().find(|row| row.address.is_loopback()).unwrap()
    }

    //= API-53: 127.0.0.1 is there, of loopback type and preferred
    #[test]
    fn the_loopback_address_is_in_the_table() {
        let row = loopback(Family::V4);
        assert_eq!(row.luid.if_type(), interface::IF_TYPE_LOOPBACK);
        assert_eq!(
            (row.dad_state, row.prefix_origin),
            (DadState::Preferred, PrefixOrigin::WellKnown)
        );
        assert!(row.created > UNIX_EPOCH_TICKS);
        assert_eq!(row.valid_lifetime_s, u32::MAX);
    }

    //= API-55: the entry of an address is its row in the table, by either key
    #[test]
    fn an_entry_is_its_row() {
        let row = loopback(Family::Any);
        assert_eq!(unicast_address(row.address, row.luid), Ok(row));
        assert_eq!(unicast_address_of_index(row.address, row.index), Ok(row));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let row = loopback(Family::V4);
        let other = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(unicast_address(other, row.luid), Err(Error::NotFound));
        assert_eq!(unicast_address(other, Luid::default()), Err(Error::NoInterface));
        assert_eq!(unicast_address_of_index(other, 0xff_fff0), Err(Error::NoInterface));
    }

    #[test]
    fn ipv4_comes_first() {
        let rows = unicast_addresses(Family::Any).unwrap();
        assert!(rows.is_sorted_by_key(|row| row.address.is_ipv6()));
        assert!(unicast_addresses(Family::V4).unwrap().iter().all(|row| row.address.is_ipv4()));
    }

    #[test]
    fn origins_are_told_from_what_the_kernel_knows() {
        let entry = |address: &str, origin, valid_s| AddressEntry {
            index: 2,
            address: address.parse().unwrap(),
            prefix_len: 64,
            scope: teredo_sys::netlink::AddressScope::Global,
            tentative: false,
            deprecated: false,
            duplicate: false,
            lifetime: teredo_sys::netlink::Lifetime { preferred_s: valid_s, valid_s },
            origin,
            temporary: false,
            created_cs: 0,
            updated_cs: 0,
        };
        use AddressOrigin::{LinkLocal, Program, RouterAdvertisement};
        use {PrefixOrigin as Prefix, SuffixOrigin as Suffix};
        for (address, origin, valid_s, prefix, suffix) in [
            (
                "2001:0:cb00:710a::1",
                Program,
                u32::MAX,
                Prefix::RouterAdvertisement,
                Suffix::LinkLayerAddress,
            ),
            ("fe80::1", LinkLocal, u32::MAX, Prefix::WellKnown, Suffix::LinkLayerAddress),
            (
                "2001:db8::211:22ff:fe33:4455",
                RouterAdvertisement,
                9,
                Prefix::RouterAdvertisement,
                Suffix::LinkLayerAddress,
            ),
            (
                "2001:db8::1:2:3",
                RouterAdvertisement,
                9,
                Prefix::RouterAdvertisement,
                Suffix::Random,
            ),
            ("2001:db8::2", Program, u32::MAX, Prefix::Manual, Suffix::Manual),
            ("2001:db8::2", Program, 3600, Prefix::Dhcp, Suffix::Dhcp),
            ("::1", Program, u32::MAX, Prefix::WellKnown, Suffix::WellKnown),
            ("192.0.2.1", Program, 3600, Prefix::Dhcp, Suffix::Dhcp),
            ("169.254.3.4", Program, u32::MAX, Prefix::WellKnown, Suffix::Random),
        ] {
            assert_eq!(origins(&entry(address, origin, valid_s)), (prefix, suffix), "{address}");
        }
        let temporary =
            AddressEntry { temporary: true, ..entry("2001:db8::9", RouterAdvertisement, 9) };
        assert_eq!(origins(&temporary).1, Suffix::Random);
    }
}
