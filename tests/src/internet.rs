//! A small Internet: a server, a relay, two clients behind kernel NATs, a native IPv6 host.
//!
//! ```text
//! client 1 192.168.1.2 -- NAT 203.0.113.101 --+
//!                                             +- bridge -- server 203.0.113.10, .11 -- host
//! client 2 192.168.2.2 -- NAT 203.0.113.102 --+        \-- relay 203.0.113.20 -------- host
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::namespace::{Namespace, run};

/// The server's primary address.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The server's secondary address.
pub const SECONDARY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 11);
/// The relay's address.
pub const RELAY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);
/// The documentation range that plays the Internet; ours must be told to accept it.
pub const INTERNET: &str = "203.0.113.0/24";
/// The native IPv6 host.
pub const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 6, 1, 0, 0, 0, 2);

/// Where floods come from: the range of carriers' NATs. Unlike documentation ranges, this one is
/// large enough, and Miredo's server answers it.
pub const SOURCES: &str = "100.64.0.0/10";
/// The host that has all of them.
const CROWD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);

/// What the kernel's NAT does; the keys of RFC 6081 section 3 in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// Everything that comes to the mapped port goes to the client.
    Cone,
    /// Only endpoints that the client has sent to may answer.
    PortRestricted,
    /// Another mapped port for each destination.
    PortSymmetric,
}

/// The hosts. Dropping it ends everything in it.
#[derive(Debug)]
pub struct Internet {
    /// Has both server addresses and native IPv6.
    pub server: Namespace,
    /// Has native IPv6 and forwards it.
    pub relay: Namespace,
    /// The native IPv6 host.
    pub host: Namespace,
    /// The clients.
    pub clients: [Namespace; 2],
    /// The NATs before them.
    pub nats: [Namespace; 2],
    bridge: Namespace,
    directory: PathBuf,
}

impl Internet {
    /// Builds it with a kind of NAT before each client.
    ///
    /// # Errors
    ///
    /// If `ip`, `nft` or a setting fails; what was built is removed.
    pub fn new(kinds: [Nat; 2]) -> Result<Self> {
        let bridge = Namespace::new("br")?;
        // A fresh name for each Internet: the bridge's is.
        let directory = std::env::temp_dir().join(bridge.name());
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let internet = Self {
            server: Namespace::new("srv")?,
            relay: Namespace::new("rly")?,
            host: Namespace::new("v6h")?,
            clients: [Namespace::new("cli1")?, Namespace::new("cli2")?],
            nats: [Namespace::new("nat1")?, Namespace::new("nat2")?],
            bridge,
            directory,
        };
        internet.backbone()?;
        internet.native()?;
        for (number, kind) in (1..).zip(kinds) {
            internet.access(number, kind)?;
        }
        Ok(internet)
    }

    /// A directory for configurations and logs, removed at the end.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Another host on the bridge: all of [`SOURCES`] are its own, and the server knows the way.
    ///
    /// # Errors
    ///
    /// If `ip` fails.
    pub fn crowd(&self) -> Result<Namespace> {
        let crowd = self.host_at("crowd", CROWD)?;
        crowd.ip(&format!("route add local {SOURCES} dev lo"))?;
        Self::lead_to_crowd(&self.server)?;
        Ok(crowd)
    }

    /// Another host behind the first NAT, on one link with the first client. The kernel's NAT turns
    /// nothing back that it sends to the other one's mapped port.
    ///
    /// # Errors
    ///
    /// If `ip` fails.
    pub fn neighbour(&self) -> Result<Namespace> {
        let (host, nat) = (Namespace::new("cli3")?, &self.nats[0]);
        link((nat, "lan3"), (&host, "eth0"))?;
        nat.ip("link add lans type bridge stp_state 0 forward_delay 0\nlink set lans up\n\
             link set lan master lans\nlink set lan3 master lans\n\
             addr del 192.168.1.1/24 dev lan\naddr add 192.168.1.1/24 dev lans")?;
        host.ip("addr add 192.168.1.3/24 dev eth0\nroute add default via 192.168.1.1")?;
        Ok(host)
    }

    /// Shows a host the way to the [`crowd`](Self::crowd).
    ///
    /// # Errors
    ///
    /// If `ip` fails.
    pub fn lead_to_crowd(host: &Namespace) -> Result<()> {
        host.ip(&format!("route add {SOURCES} via {CROWD}"))
    }

    /// Another host on the bridge, without a NAT before it.
    ///
    /// # Errors
    ///
    /// If `ip` fails.
    pub fn host_at(&self, name: &str, address: Ipv4Addr) -> Result<Namespace> {
        let host = Namespace::new(name)?;
        link((&self.bridge, name), (&host, "eth0"))?;
        self.bridge.ip(&format!("link set {name} master br4"))?;
        host.ip(&format!("addr add {address}/24 dev eth0"))?;
        Ok(host)
    }

    fn backbone(&self) -> Result<()> {
        self.bridge.ip("link add br4 type bridge stp_state 0 forward_delay 0\nlink set br4 up")?;
        let [nat1, nat2] = &self.nats;
        for (port, host, device) in [
            ("server", &self.server, "eth0"),
            ("relay", &self.relay, "eth0"),
            ("nat1", nat1, "wan"),
            ("nat2", nat2, "wan"),
        ] {
            link((&self.bridge, port), (host, device))?;
            self.bridge.ip(&format!("link set {port} master br4"))?;
        }
        self.server
            .ip(&format!("addr add {SERVER}/24 dev eth0\naddr add {SECONDARY}/24 dev eth0"))?;
        self.relay.ip(&format!("addr add {RELAY}/24 dev eth0"))
    }

    /// The server has native IPv6 as well: it forwards the connectivity test of the clients.
    fn native(&self) -> Result<()> {
        link((&self.relay, "v6"), (&self.host, "relay"))?;
        link((&self.server, "v6"), (&self.host, "server"))?;
        self.relay.ip("addr add 2001:db8:6:1::1/64 dev v6 nodad")?;
        self.server.ip("addr add 2001:db8:6:2::1/64 dev v6 nodad\n\
             route add 2001:db8:6::/48 via 2001:db8:6:2::2")?;
        self.host.ip(&format!(
            "addr add {HOST}/64 dev relay nodad\naddr add 2001:db8:6:2::2/64 dev server nodad\n\
             route add 2001::/32 via 2001:db8:6:1::1 src {HOST}"
        ))?;
        for router in [&self.relay, &self.server, &self.host] {
            router.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        }
        Ok(())
    }

    fn access(&self, number: u8, kind: Nat) -> Result<()> {
        let at = usize::from(number - 1);
        let (nat, client) = (&self.nats[at], &self.clients[at]);
        link((nat, "lan"), (client, "eth0"))?;
        nat.ip(&format!(
            "addr add 203.0.113.{}/24 dev wan\naddr add 192.168.{number}.1/24 dev lan",
            100 + number
        ))?;
        client.ip(&format!(
            "addr add 192.168.{number}.2/24 dev eth0\nroute add default via 192.168.{number}.1"
        ))?;
        nat.sysctl("net/ipv4/ip_forward", "1")?;
        nat.nft(&rules(kind, Ipv4Addr::new(192, 168, number, 2)))
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            eprintln!("{} stays: {error}", self.directory.display());
        }
    }
}

/// A cable between two hosts, both ends up.
fn link(a: (&Namespace, &str), b: (&Namespace, &str)) -> Result<()> {
    let ((here, device), (there, other)) = (a, b);
    run(Command::new("ip")
        .args(["-n", here.name(), "link", "add", device, "type", "veth"])
        .args(["peer", "name", other, "netns", there.name()]))?;
    here.ip(&format!("link set {device} up"))?;
    there.ip(&format!("link set {other} up"))
}

/// The nftables rules of a kind of NAT.
///
/// Unsolicited UDP is dropped before it can leave a conntrack entry in the NAT's own input path:
/// such an entry takes the tuple, and the client's next packet to that peer gets another port.
fn rules(kind: Nat, client: Ipv4Addr) -> String {
    let (inbound, outbound) = match kind {
        Nat::Cone => (format!("iifname wan udp dport 1024-65535 dnat to {client}"), "masquerade"),
        Nat::PortRestricted => (String::new(), "masquerade"),
        Nat::PortSymmetric => (String::new(), "masquerade fully-random"),
    };
    format!(
        "table ip nat {{
  chain forward {{ type filter hook forward priority 0; policy accept;
    iifname wan oifname lan ct state new ct status & dnat != dnat drop
  }}
  chain input {{ type filter hook input priority 0; policy accept;
    iifname wan udp dport 1024-65535 drop
  }}
  chain prerouting {{ type nat hook prerouting priority dstnat; policy accept;
    {inbound}
  }}
  chain postrouting {{ type nat hook postrouting priority srcnat; policy accept;
    oifname wan {outbound}
  }}
}}
"
    )
}
