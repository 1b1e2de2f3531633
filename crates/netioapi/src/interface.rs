//! Interfaces: their numbers, names and properties.

use std::path::Path;
use std::{fmt, fs};

use teredo_sys::netlink::{LinkEntry, LinkState, Netlink};

use crate::error::Error;

/// An interface's identity in the Windows manner: its index and its type in 64 bits (`NET_LUID`).
///
/// It is as good as the index: a new interface may get the index of one that is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Luid(u64);

impl Luid {
    /// From its 64 bits, which need not be those of any interface.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its 64 bits: 24 reserved, 24 of index, 16 of type, from the lowest.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The index, as Linux counts interfaces.
    pub const fn index(self) -> u32 {
        (self.0 >> INDEX_SHIFT & INDEX_MASK) as u32
    }

    /// The type: one of `IF_TYPE_…`, such as [`IF_TYPE_TUNNEL`].
    pub const fn if_type(self) -> u16 {
        (self.0 >> TYPE_SHIFT) as u16
    }

    /// Of the interface with this index.
    ///
    /// # Errors
    /// [`Error::NoInterface`]; [`Error::System`] and its like if the kernel cannot be asked.
    pub fn of_index(index: u32) -> Result<Self, Error> {
        Self::of_link(&link(index)?)
    }

    /// Of the interface with this name: `tunnel_7` as Windows would say, or `teredo` as Linux does.
    ///
    /// # Errors
    /// [`Error::InvalidName`] if there is none, as on Windows.
    pub fn of_name(name: &str) -> Result<Self, Error> {
        let by_number = name.rsplit_once('_').and_then(|(prefix, number)| {
            let luid = Self::of_index(number.parse().ok()?).ok()?;
            (type_prefix(luid.if_type()) == prefix).then_some(luid)
        });
        match by_number {
            Some(luid) => Ok(luid),
            None => match Self::of_alias(name) {
                Err(Error::NoInterface) => Err(Error::InvalidName),
                result => result,
            },
        }
    }

    /// Of the interface that Linux calls so.
    ///
    /// # Errors
    /// [`Error::NoInterface`] if there is none.
    pub fn of_alias(alias: &str) -> Result<Self, Error> {
        let links = netlink()?.links()?;
        links
            .iter()
            .find(|link| link.name == alias)
            .ok_or(Error::NoInterface)
            .and_then(Self::of_link)
    }

    /// The name that Windows would give it: `tunnel_7`. The interface need not exist.
    pub fn name(self) -> String {
        format!("{}_{}", type_prefix(self.if_type()), self.index())
    }

    /// The interface, if it exists and is of this type.
    pub(crate) fn link(self) -> Result<LinkEntry, Error> {
        let link = link(self.index())?;
        if Self::of_link(&link)? == self { Ok(link) } else { Err(Error::NoInterface) }
    }

    pub(crate) fn of_link(link: &LinkEntry) -> Result<Self, Error> {
        let index = u64::from(link.index);
        if index > INDEX_MASK {
            return Err(Error::NoInterface);
        }
        Ok(Self(u64::from(if_type(link)) << TYPE_SHIFT | index << INDEX_SHIFT))
    }
}

impl fmt::Display for Luid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// An interface and what it is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its identity.
    pub luid: Luid,
    /// Its index.
    pub index: u32,
    /// Its name on Linux, such as `teredo`.
    pub alias: String,
    /// The text that an administrator gave it, or what kind it is.
    pub description: String,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// What carries Teredo, [`TunnelType::Teredo`] only on the interface of the Teredo client.
    pub tunnel_type: TunnelType,
    /// As the kernel describes it.
    pub(crate) link: LinkEntry,
}

impl Interface {
    /// The interface with this index.
    ///
    /// # Errors
    /// [`Error::NoInterface`] if there is none.
    pub fn of_index(index: u32) -> Result<Self, Error> {
        Self::of_link(link(index)?)
    }

    /// The interface with this identity.
    ///
    /// # Errors
    /// [`Error::NoInterface`] if there is none.
    pub fn of_luid(luid: Luid) -> Result<Self, Error> {
        Self::of_link(luid.link()?)
    }

    /// Its type, `IF_TYPE_…`.
    pub fn if_type(&self) -> u16 {
        self.luid.if_type()
    }

    /// Whether packets can pass: set up, and with something at the other end.
    pub fn is_running(&self) -> bool {
        self.link.is_running
    }

    /// Its operational state.
    pub fn state(&self) -> LinkState {
        // Tunnels and the loopback interface do not say; their flags do.
        let is_unknown = self.link.state == LinkState::Unknown;
        match (self.link.is_up, self.link.is_running) {
            (_, true) if is_unknown => LinkState::Up,
            (false, _) if is_unknown => LinkState::Down,
            _ => self.link.state,
        }
    }

    fn of_link(link: LinkEntry) -> Result<Self, Error> {
        let tunnel_type = tunnel_type(&link);
        let description = match &*link.kind {
            _ if tunnel_type == TunnelType::Teredo => TEREDO_DESCRIPTION.to_owned(),
            _ if !link.alias.is_empty() => link.alias.clone(),
            "" => link.name.clone(),
            kind => kind.to_owned(),
        };
        Ok(Self {
            luid: Luid::of_link(&link)?,
            index: link.index,
            alias: link.name.clone(),
            description,
            mtu: link.mtu,
            tunnel_type,
            link,
        })
    }
}

/// What a tunnel carries (`TUNNEL_TYPE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum TunnelType {
    /// Not a tunnel.
    None = 0,
    /// None of the others.
    Other = 1,
    /// IPv6 directly in IPv4.
    Direct = 2,
    /// Teredo.
    Teredo = 14,
}

/// `IF_TYPE_OTHER`.
pub const IF_TYPE_OTHER: u16 = 1;
/// `IF_TYPE_ETHERNET_CSMACD`.
pub const IF_TYPE_ETHERNET: u16 = 6;
/// `IF_TYPE_PPP`.
pub const IF_TYPE_PPP: u16 = 23;
/// `IF_TYPE_SOFTWARE_LOOPBACK`.
pub const IF_TYPE_LOOPBACK: u16 = 24;
/// `IF_TYPE_ATM`.
pub const IF_TYPE_ATM: u16 = 37;
/// `IF_TYPE_IEEE80211`.
pub const IF_TYPE_WIRELESS: u16 = 71;
/// `IF_TYPE_TUNNEL`.
pub const IF_TYPE_TUNNEL: u16 = 131;
/// `IF_TYPE_IEEE1394`.
pub const IF_TYPE_IEEE1394: u16 = 144;

/// The interface with this index.
pub(crate) fn link(index: u32) -> Result<LinkEntry, Error> {
    // The kernel takes a number above this for a negative one, and 0 for "any".
    if index == 0 || i32::try_from(index).is_err() {
        return Err(Error::NoInterface);
    }
    Ok(netlink()?.link(index)?)
}

pub(crate) fn netlink() -> Result<Netlink, Error> {
    Ok(Netlink::open()?)
}

/// The `IF_TYPE` of an interface, from what the kernel calls its link layer (`ARPHRD_…`).
pub(crate) fn if_type(link: &LinkEntry) -> u16 {
    match link.layer {
        libc::ARPHRD_ETHER if is_wireless(link) => IF_TYPE_WIRELESS,
        libc::ARPHRD_ETHER => IF_TYPE_ETHERNET,
        libc::ARPHRD_PPP => IF_TYPE_PPP,
        libc::ARPHRD_LOOPBACK => IF_TYPE_LOOPBACK,
        libc::ARPHRD_ATM => IF_TYPE_ATM,
        libc::ARPHRD_IEEE1394 => IF_TYPE_IEEE1394,
        // NONE: a TUN device, ours among them, or another tunnel without a link layer.
        libc::ARPHRD_NONE
        | libc::ARPHRD_TUNNEL
        | libc::ARPHRD_TUNNEL6
        | libc::ARPHRD_SIT
        | libc::ARPHRD_IPGRE
        | ARPHRD_IP6GRE => IF_TYPE_TUNNEL,
        _ => IF_TYPE_OTHER,
    }
}

/// Only `sysfs` tells, and it may show another network namespace than ours: compare the index.
fn is_wireless(link: &LinkEntry) -> bool {
    let directory = Path::new("/sys/class/net").join(&link.name);
    directory.join("phy80211").exists()
        && fs::read_to_string(directory.join("ifindex"))
            .is_ok_and(|index| index.trim().parse() == Ok(link.index))
}

fn tunnel_type(link: &LinkEntry) -> TunnelType {
    if link.layer == libc::ARPHRD_SIT {
        return TunnelType::Direct;
    }
    if if_type(link) != IF_TYPE_TUNNEL {
        return TunnelType::None;
    }
    let is_teredo = link.kind == "tun" && crate::teredo::interface_index() == Some(link.index);
    if is_teredo { TunnelType::Teredo } else { TunnelType::Other }
}

/// What Windows puts before the number in an interface's name.
fn type_prefix(if_type: u16) -> String {
    let prefix = match if_type {
        IF_TYPE_OTHER => "other",
        IF_TYPE_ETHERNET => "ethernet",
        IF_TYPE_TOKENRING => "tokenring",
        IF_TYPE_PPP => "ppp",
        IF_TYPE_LOOPBACK => "loopback",
        IF_TYPE_ATM => "atm",
        IF_TYPE_WIRELESS => "wireless",
        IF_TYPE_TUNNEL => "tunnel",
        IF_TYPE_IEEE1394 => "ieee1394",
        other => return format!("iftype{other}"),
    };
    prefix.to_owned()
}

const IF_TYPE_TOKENRING: u16 = 9;
/// Missing from the libc crate.
const ARPHRD_IP6GRE: u16 = 823;
const INDEX_SHIFT: u32 = 24;
const INDEX_MASK: u64 = 0xff_ffff;
const TYPE_SHIFT: u32 = 48;
/// As on Windows, so that programs that look for it find it.
const TEREDO_DESCRIPTION: &str = "Teredo Tunneling Pseudo-Interface";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_those_of_windows() {
        let link = LinkEntry { index: 7, layer: libc::ARPHRD_NONE, ..LinkEntry::default() };
        let luid = Luid::of_link(&link).unwrap();
        assert_eq!(luid.bits(), 0x0083_0000_0700_0000);
        assert_eq!((luid.index(), luid.if_type(), &*luid.name()), (7, 131, "tunnel_7"));
        let large = LinkEntry { index: 1 << 24, ..link };
        assert_eq!(Luid::of_link(&large), Err(Error::NoInterface));
        assert_eq!(Luid::from_bits(0x1234_0000_0500_0000).to_string(), "iftype4660_5");
    }

    #[test]
    fn the_loopback_interface_is_found_by_each_of_its_names() {
        let luid = Luid::of_alias("lo").unwrap();
        assert_eq!(luid.if_type(), IF_TYPE_LOOPBACK);
        assert_eq!(Luid::of_index(luid.index()), Ok(luid));
        assert_eq!(Luid::of_name("lo"), Ok(luid));
        assert_eq!(Luid::of_name(&luid.name()), Ok(luid));
        assert_eq!(Luid::of_name("tunnel_1"), Err(Error::InvalidName), "lo is no tunnel");
        let lo = Interface::of_luid(luid).unwrap();
        assert_eq!((lo.index, &*lo.alias, lo.tunnel_type), (luid.index(), "lo", TunnelType::None));
        assert!(lo.mtu >= 1280);
    }

    #[test]
    fn what_does_not_exist_is_not_found() {
        for index in [0, 0xff_ffff, i32::MAX.cast_unsigned(), u32::MAX] {
            assert_eq!(Luid::of_index(index), Err(Error::NoInterface), "{index}");
        }
        assert_eq!(Luid::of_alias(""), Err(Error::NoInterface));
        assert_eq!(Luid::of_name("no-such-interface"), Err(Error::InvalidName));
        assert_eq!(Interface::of_luid(Luid::default()), Err(Error::NoInterface));
    }
}
