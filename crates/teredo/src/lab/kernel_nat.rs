//! A NAT that this machine's kernel is: a namespace that masquerades with nftables.
//!
//! It stands between two devices of the lab, so that it can be anywhere among the lab's own NATs.

use std::io;
use std::net::Ipv4Addr;

use anyhow::{Context, anyhow};
use teredo_sys::netlink::{InterfaceAddress, Lifetime, Netlink, Route};
use teredo_sys::ns::NetNamespace;
use teredo_sys::sysctl;
use teredo_sys::tun::Tun;

use super::place::{Host, WIRE_MTU};
use crate::firewall::nft::{Fault, Nft};

/// One of the kernel's NATs: what the lab writes to one side comes out of the other, translated.
#[derive(Debug)]
pub(super) struct KernelNat {
    /// Whose packets it translates.
    pub(super) client: Host,
    /// How many NATs are between the two.
    pub(super) level: usize,
    devices: [Tun; 2],
}

/// A side of a NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Towards the client.
    Inside,
    /// Towards the Internet.
    Outside,
}

impl Side {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::Inside, Self::Outside];
}

impl KernelNat {
    /// Builds the one at `level` of `count` before a client, in a namespace with nothing in it.
    pub(super) fn build(
        namespace: &NetNamespace,
        (client, level, count): (Host, usize, usize),
    ) -> anyhow::Result<Self> {
        let inside = if level == 0 { client.router() } else { client.between()[0] };
        let outside = if level + 1 == count { client.publics()[0] } else { client.between()[1] };
        let devices = namespace
            .run(|| connect(inside, outside))
            .and_then(|devices| devices)
            .context("cannot build the kernel's NAT")?;
        let loaded = namespace.run(|| Nft::default().load(RULES))?;
        loaded.map_err(|fault| match fault {
            Fault::NotInstalled => anyhow!(
                "a kernel NAT needs the program nft (install nftables); all other kinds need none"
            ),
            fault @ (Fault::Denied | Fault::Missing | Fault::Other(_)) => {
                anyhow!("the kernel does not let the lab have a NAT of its own: {fault}")
            }
        })?;
        Ok(Self { client, level, devices })
    }

    /// The device on one side.
    pub(super) fn device(&self, side: Side) -> &Tun {
        &self.devices[side as usize]
    }
}

/// Makes the devices on both sides and has the kernel forward between them.
fn connect(inside: Ipv4Addr, outside: Ipv4Addr) -> io::Result<[Tun; 2]> {
    let mut netlink = Netlink::open()?;
    let mut device = |name, address: Ipv4Addr| -> io::Result<Tun> {
        let tun = Tun::create(name)?;
        let (index, lifetime) = (tun.index(), Lifetime::FOREVER);
        netlink.set_link_mtu(index, WIRE_MTU as u32)?;
        netlink.set_link_up(index)?;
        let address = address.into();
        netlink.add_address(&InterfaceAddress { index, address, prefix_len: 24, lifetime })?;
        Ok(tun)
    };
    let devices = [device("inside", inside)?, device("outside", outside)?];
    netlink.add_route(&Route::on_link(Ipv4Addr::UNSPECIFIED.into(), 0, devices[1].index()))?;
    sysctl::write("ipv4/ip_forward", "1")?;
    Ok(devices)
}

/// What an ordinary router does: it translates, forwards what was asked for, and hides itself. An
/// unexpected packet must not be refused aloud, nor remembered as a flow of its own: a later flow
/// the other way would then be given another port.
const RULES: &str = "\
table ip lab {
    chain postrouting {
        type nat hook postrouting priority srcnat
        oifname outside masquerade
    }
    chain forward {
        type filter hook forward priority filter; policy drop
        ct state established,related accept
        iifname inside accept
    }
    chain input {
        type filter hook input priority filter; policy drop
        iifname inside accept
    }
}
";
