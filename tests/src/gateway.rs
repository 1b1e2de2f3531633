//! Debian's `miniupnpd` on the NAT of a client, with the chains that it needs.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;

use anyhow::{Context, Result};

use crate::internet::Internet;
use crate::namespace::{Namespace, run};
use crate::process::Process;

/// The address that the NAT shows: `miniupnpd` grants nothing on one of the documentation ranges
/// that the rest of the Internet has, so this one is taken from a public range. It is known in
/// these namespaces only.
pub const EXTERNAL: Ipv4Addr = Ipv4Addr::new(1, 2, 3, 101);

/// What the gateway is to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// PCP, and NAT-PMP beside it.
    Pcp,
    /// NAT-PMP; what is PCP does not get through.
    NatPmp,
    /// UPnP IGD.
    Igd,
}

/// A gateway that runs.
#[derive(Debug)]
pub struct Gateway<'a> {
    /// The program.
    pub process: Process,
    nat: &'a Namespace,
}

impl<'a> Gateway<'a> {
    /// Starts it on the NAT before client 1, whose address becomes [`EXTERNAL`].
    ///
    /// # Errors
    ///
    /// If a rule or the program cannot be set up.
    pub fn start(internet: &'a Internet, speaks: Speaks) -> Result<Self> {
        let nat = &internet.nats[0];
        nat.ip(&format!("addr add {EXTERNAL}/32 dev wan"))?;
        for host in [&internet.server, &internet.relay] {
            host.ip(&format!("route add {EXTERNAL}/32 dev eth0"))?;
        }
        internet.nats[1].ip(&format!("route add {EXTERNAL}/32 dev wan"))?;
        nat.nft(&format!(
            "flush chain ip nat postrouting
             add rule ip nat postrouting oifname wan snat to {EXTERNAL}
             {CHAINS}"
        ))?;
        if speaks == Speaks::NatPmp {
            // The first byte of the payload is the version.
            nat.nft("insert rule ip nat input iifname lan udp dport 5351 @th,64,8 2 drop")?;
        }
        let process = start(internet, nat, speaks)?;
        Ok(Self { process, nat })
    }

    /// Whether it leads a port to `internal` now.
    ///
    /// # Errors
    ///
    /// If `nft` fails.
    pub fn maps(&self, internal: SocketAddrV4) -> Result<bool> {
        let rules = run(self.nat.command("nft").args(["list", "chain", "inet", TABLE, "pre"]))?;
        Ok(rules.contains(&format!("dnat ip to {internal}")))
    }
}

fn start(internet: &Internet, nat: &Namespace, speaks: Speaks) -> Result<Process> {
    let is_igd = speaks == Speaks::Igd;
    let (upnp, pmp) = if is_igd { ("yes", "no") } else { ("no", "yes") };
    let file = internet.directory().join("miniupnpd.conf");
    let text = format!(
        "ext_ifname=wan\next_ip={EXTERNAL}\nlistening_ip=lan\nenable_natpmp={pmp}\n\
         enable_upnp={upnp}\nsecure_mode=yes\nport=5000\n\
         upnp_table_name={TABLE}\nupnp_nat_table_name={TABLE}\nupnp_forward_chain=granted\n\
         upnp_nat_chain=pre\nupnp_nat_postrouting_chain=post\n\
         uuid=4d3a1f0e-7f3e-4f63-9a36-8f8f3a1c1e5d\nallow 1024-65535 192.168.1.0/24 1024-65535\n"
    );
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let mut command: Command = nat.command("miniupnpd");
    command.args(["-d", "-f"]).arg(&file);
    command.arg("-P").arg(internet.directory().join("miniupnpd.pid"));
    Process::start("miniupnpd", internet.directory(), &mut command)
}

/// Its table.
const TABLE: &str = "gateway";

/// What `miniupnpd` puts its rules into.
const CHAINS: &str = "table inet gateway {
  chain granted { }
  chain pre { }
  chain post { }
  chain forward { type filter hook forward priority 0; policy accept;
    jump granted
  }
  chain prerouting { type nat hook prerouting priority dstnat; policy accept;
    jump pre
  }
  chain postrouting { type nat hook postrouting priority srcnat; policy accept;
    jump post
  }
}
";
