//! Local discovery on the kernel: two of our clients on one link, behind a NAT that turns nothing
//! back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use teredo_tests::internet::{Internet, Nat};
use teredo_tests::namespace::{Namespace, run};
use teredo_tests::process::Process;
use teredo_tests::roles::{self, Maker};
use teredo_tests::{needs, program, traffic};

const PATIENCE: Duration = Duration::from_secs(25);

//= C-LOC-01, C-LOC-10, C-TX-05: they meet on the link, and what they say stays on it
#[test]
fn two_clients_on_one_link_talk_directly() -> Result<()> {
    if needs::skip_for(needs::missing(&["ping"])) {
        return Ok(());
    }
    let home = Home::new()?;
    let first = home.client(&home.internet.clients[0])?;
    watch(&home.internet.clients[0])?;
    let second = home.client(&home.neighbour)?;
    traffic::ping(&home.internet.clients[0], second.address()?)?;
    traffic::ping(&home.neighbour, first.address()?)?;
    let counters = run(home.internet.clients[0].command("nft").args(["list", "counters"]))?;
    ensure!(!counters.contains("packets 0"), "not on the link: {counters}");
    Ok(())
}

struct Home {
    internet: Internet,
    neighbour: Namespace,
    _server: roles::Running,
}

impl Home {
    fn new() -> Result<Self> {
        let internet = Internet::new([Nat::PortRestricted; 2])?;
        let neighbour = internet.neighbour()?;
        let server = roles::server(&internet, &Maker::Ours(program::debug()?))?;
        Ok(Self { internet, neighbour, _server: server })
    }

    fn client(&self, host: &Namespace) -> Result<roles::Running> {
        let mut command = roles::our_client_in(&self.internet, host, &program::debug()?);
        command.arg("--no-port-mapping");
        let mut process = Process::start(host.name(), self.internet.directory(), &mut command)?;
        process.wait_until(PATIENCE, |it| it.stdout().contains("\"state\":\"qualified\""))?;
        let address = roles::teredo_address(host).context("no address")?;
        ensure!(!process.stderr().contains("no local discovery"), "{}", process.stderr());
        Ok(roles::Running { process, address: Some(address) })
    }
}

/// Counts what comes from the neighbour: to the group, and to the client itself.
fn watch(host: &Namespace) -> Result<()> {
    host.nft(
        "table ip watch {
  chain input { type filter hook input priority -10; policy accept;
    ip saddr 192.168.1.3 ip daddr 224.0.0.253 udp dport 3544 ip ttl 1 counter name group
    ip saddr 192.168.1.3 ip daddr 192.168.1.2 meta l4proto udp counter name direct
  }
  counter group { }
  counter direct { }
}
",
    )
}
