//! How roles start and end on a host: not where they should not, and leaving nothing behind.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use teredo_tests::internet::{Internet, Nat};
use teredo_tests::namespace::{Namespace, run};
use teredo_tests::roles::{self, Maker};
use teredo_tests::{needs, program};

/// A device of a killed process disappears shortly after it.
const GONE_MAX: Duration = Duration::from_secs(2);

#[test]
fn ending_or_killing_a_role_leaves_nothing_behind() -> Result<()> {
    if needs::skip_for(needs::missing(&[])) {
        return Ok(());
    }
    let ours = Maker::Ours(program::debug()?);
    let internet = Internet::new([Nat::PortRestricted; 2])?;
    let hosts = [&internet.server, &internet.relay, &internet.clients[0]];
    let before = hosts.map(state);
    for kill in [false, true, false] {
        let mut server = roles::server(&internet, &ours)?;
        let mut relay = roles::relay(&internet, &ours)?;
        let mut client = roles::client(&internet, 1, &ours)?;
        for role in [&mut client, &mut relay, &mut server] {
            if kill {
                role.process.kill()?;
            } else {
                let status = role.process.stop()?;
                ensure!(status.success(), "{status}: {}", role.process.last_words());
            }
        }
        let start = Instant::now();
        while hosts.map(state) != before {
            ensure!(
                start.elapsed() < GONE_MAX,
                "killed: {kill}; before {before:#?}; after {:#?}",
                hosts.map(state)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

//= C-CFG-03, C-CFG-04: it refuses to start where the host reaches the IPv6 Internet without it
#[test]
fn no_client_beside_native_ipv6() -> Result<()> {
    if needs::skip_for(needs::missing(&[])) {
        return Ok(());
    }
    let internet = Internet::new([Nat::PortRestricted; 2])?;
    let host = &internet.clients[0];
    host.ip("addr add 2001:db8:7::2/64 dev eth0 nodad\nroute add default via 2001:db8:7::1")?;
    let before = state(host);
    let output = roles::our_client(&internet, 1, &program::debug()?).output()?;
    ensure!(output.status.code() == Some(6), "{output:?}");
    ensure!(state(host) == before, "it changed something");
    Ok(())
}

/// Everything that a role could change in its host's network.
fn state(host: &Namespace) -> Vec<String> {
    let shown = |words: &[&str]| match run(host.command("ip").args(words)) {
        Ok(text) => text,
        Err(error) => format!("{error:#}"),
    };
    vec![
        shown(&["-o", "link"]),
        shown(&["-o", "addr"]),
        shown(&["route", "show", "table", "all"]),
        shown(&["-6", "route", "show", "table", "all"]),
        shown(&["rule"]),
        shown(&["-6", "rule"]),
        shown(&["addrlabel"]),
    ]
}
