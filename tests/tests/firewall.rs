//! `teredo firewall` with the real `nft`, on a host that drops everything of its own accord.

use std::fs::Permissions;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, ensure};
use teredo_control::State;
use teredo_control::testing::{FakeDaemon, serve_if_asked, snapshot, test_arguments};
use teredo_tests::firewall::{Ground, NEIGHBOUR, PATIENCE, Place, elements, wait_for};
use teredo_tests::internet::{HOST, Internet, Nat, SECONDARY, SERVER};
use teredo_tests::namespace::run;
use teredo_tests::process::Process;
use teredo_tests::roles::{self, Maker};
use teredo_tests::{needs, program, traffic};

const PORTS: &str = "inet teredo ports";
const SET: &str = "inet filter teredo_port";
const SET_OPTION: [&str; 4] = ["--set", "inet", "filter", "teredo_port"];
const SET_RULES: &str = "udp dport @teredo_port accept\nudp sport @teredo_port accept";
/// How long API-76 gives.
const SECOND: Duration = Duration::from_secs(1);
/// Of the elements, in tests that wait for their end.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The file that we ship, as it is included.
fn include() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/nftables/teredo.nft");
    format!("include \"{}\"", file.display())
}

#[test]
fn fake_daemon() {
    serve_if_asked();
}

fn daemon(ground: &Ground, port: u16) -> Result<FakeDaemon> {
    let arguments = test_arguments("fake_daemon");
    let first = snapshot(State::Qualified, port);
    let runtime = ground.runtime.runtime();
    Ok(ground.host.enter(|| FakeDaemon::start(runtime, &arguments, &first))??)
}

fn has(ground: &Ground, set: &str, ports: &[u64]) -> bool {
    ground.elements(set).is_ok_and(|found| found == ports)
}

fn tables(ground: &Ground) -> Result<String> {
    run(ground.host.command("nft").args(["list", "tables"]))
}

fn bare_listing(ground: &Ground) -> Result<String> {
    let list = run(ground.host.command("nft").args(["-s", "list", "table", "inet", "teredo"]))?;
    // What is left of an element's time is another one each time.
    let lines = list.lines().map(|line| line.split(" expires").next().unwrap_or(line));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

//= API-76: the set holds exactly the current port within a second of a change, none without one
#[test]
fn what_the_host_lets_through_follows_the_port() -> Result<()> {
    if needs::skip_for(needs::missing(&[])) {
        return Ok(());
    }
    let ground = Ground::new(&include())?;
    let mut client = daemon(&ground, 5000)?;
    ensure!(!ground.is_open(5000)?, "without the agent");
    let mut agent = ground.agent(&program::debug()?, &[])?;
    ensure!(has(&ground, PORTS, &[5000]) && ground.is_open(5000)? && !ground.is_open(5001)?);

    client.publish(&snapshot(State::Qualified, 5001))?;
    wait_for("another port", SECOND, || has(&ground, PORTS, &[5001]))?;
    ensure!(ground.is_open(5001)? && !ground.is_open(5000)?);

    client.publish(&snapshot(State::Offline, 0))?;
    wait_for("no port", SECOND, || has(&ground, PORTS, &[]))?;
    ensure!(!ground.is_open(5001)?);

    client.publish(&snapshot(State::Probe, 5002))?;
    wait_for("a port again", SECOND, || has(&ground, PORTS, &[5002]))?;
    client.kill()?;
    wait_for("killed", SECOND, || has(&ground, PORTS, &[]))?;
    ensure!(!ground.is_open(5002)?, "the client was killed");

    let client = daemon(&ground, 5003)?;
    wait_for("started again", SECOND, || has(&ground, PORTS, &[5003]))?;
    ensure!(ground.is_open(5003)?);
    client.stop()?;
    wait_for("stopped", SECOND, || has(&ground, PORTS, &[]))?;

    ensure!(!agent.stdout().contains("\"restored\":true"), "it took itself for somebody else");
    ensure!(agent.stop()?.success(), "{}", agent.last_words());
    ensure!(tables(&ground)? == "table inet filter\n", "{}", tables(&ground)?);
    Ok(())
}

#[test]
fn our_client_works_behind_it_also_after_a_kill_and_a_reload() -> Result<()> {
    if needs::skip_for(needs::missing(&["ping"])) {
        return Ok(());
    }
    let program = program::debug()?;
    let ours = Maker::Ours(program.clone());
    let internet = Internet::new([Nat::PortRestricted; 2])?;
    let _server = roles::server(&internet, &ours)?;
    let _relay = roles::relay(&internet, &ours)?;
    let host = &internet.clients[0];
    // What is inside the tunnel is another matter.
    let chain = |hook: &str| {
        let drop = format!("type filter hook {hook} priority filter; policy drop;");
        format!("chain {hook} {{ {drop} meta nfproto ipv6 accept\n{}\n}}\n", include())
    };
    let rules =
        format!("flush ruleset\ntable inet filter {{ {}{} }}", chain("input"), chain("output"));
    host.nft(&rules)?;
    let mut command = host.command(&program);
    let (first, second) = (SERVER.to_string(), SECONDARY.to_string());
    command.args(["firewall", "--json", "--server", &first, "--server", &second]);
    command.env("TEREDO_RUNTIME_DIR", internet.directory().join(host.name()));
    let mut agent = Process::start("agent", internet.directory(), &mut command)?;
    agent.wait_until(PATIENCE, |agent| agent.stdout().contains("\"ready\""))?;

    let mut client = roles::client(&internet, 1, &ours)?;
    traffic::ping(host, HOST)?;
    let before = elements(host, PORTS)?;
    host.nft(&rules)?;
    wait_for("a reload", SECOND, || elements(host, PORTS).is_ok_and(|ports| ports == before))?;
    traffic::ping(host, HOST)?;
    client.process.kill()?;
    wait_for("killed", SECOND, || elements(host, PORTS).is_ok_and(|ports| ports.is_empty()))?;
    let _client = roles::client(&internet, 1, &ours)?;
    traffic::ping(host, HOST)?;
    let after = elements(host, PORTS)?;
    ensure!((before.len(), after.len()) == (1, 1) && before != after, "{before:?} {after:?}");
    Ok(())
}

#[test]
fn clients_on_the_link_find_each_other_while_there_is_a_port() -> Result<()> {
    if needs::skip_for(needs::missing(&[])) {
        return Ok(());
    }
    let ground = Ground::new(&include())?;
    let mut client = daemon(&ground, 5000)?;
    let group = Ipv4Addr::new(224, 0, 0, 253);
    let here = Place { address: group, ..ground.at_host(3544) };
    let there = Place { address: group, ..ground.at_neighbour(3544) };
    let finds = || -> Result<[bool; 2]> {
        let outgoing = ground.arrives(&ground.at_host(5000), &there)?;
        Ok([outgoing, ground.arrives(&ground.at_neighbour(5000), &here)?])
    };
    ensure!(finds()? == [false, false], "without the agent");
    let mut agent = ground.agent(&program::debug()?, &[])?;
    ensure!(finds()? == [true, true]);
    ensure!(!ground.arrives(&ground.at_neighbour(5000), &ground.at_host(3544))?, "not by unicast");
    client.publish(&snapshot(State::Offline, 0))?;
    wait_for("no port", SECOND, || has(&ground, PORTS, &[]))?;
    ensure!(finds()? == [false, false], "without a port");
    client.publish(&snapshot(State::Qualified, 5000))?;
    agent.stop()?;
    let _agent = ground.agent(&program::debug()?, &["--no-local-discovery"])?;
    ensure!(finds()? == [true, false], "what leaves from the client's own port is the port's");
    Ok(())
}

#[test]
fn servers_and_routers_are_let_through_as_configured() -> Result<()> {
    if needs::skip_for(needs::missing(&[])) {
        return Ok(());
    }
    let ground = Ground::new(&include())?;
    // No client yet: its first question to the server must not wait for the agent.
    let neighbour = NEIGHBOUR.to_string();
    let options = ["--server", &neighbour, "--router", &neighbour, "--timeout", "2"];
    let mut agent = ground.agent(&program::debug()?, &options)?;
    let search = Place { address: Ipv4Addr::new(239, 255, 255, 250), ..ground.at_neighbour(1900) };
    let news = Place { address: Ipv4Addr::new(224, 0, 0, 1), ..ground.at_host(5350) };
    for port in [3544, 5351] {
        let (here, there) = (ground.at_host(6000), ground.at_neighbour(port));
        ensure!(!ground.arrives(&there, &here)?, "{port}: nobody has asked");
        ensure!(ground.arrives(&here, &there)?, "{port}: the question");
        ensure!(ground.arrives(&there, &here)?, "{port}: the answer");
        ensure!(!ground.arrives(&there, &ground.at_host(6001))?, "{port}: an answer to another");
    }
    ensure!(ground.arrives(&ground.at_host(6000), &search)?, "the search");
    ensure!(ground.arrives(&ground.at_neighbour(1900), &ground.at_host(6000))?, "its answer");
    ensure!(ground.arrives(&ground.at_neighbour(5351), &news)?, "an announcement");
    ensure!(!ground.is_open(3544)? && !ground.is_open(5351)? && !ground.is_open(1900)?);
    agent.kill()?;
    wait_for("everything closes", TIMEOUT + SECOND, || {
        [3544, 5351].into_iter().all(|port| {
            let there = ground.at_neighbour(port);
            ground.arrives(&ground.at_host(6002), &there).is_ok_and(|arrives| !arrives)
        })
    })?;
    ensure!(!ground.arrives(&ground.at_host(6000), &search)?);
    ensure!(!ground.arrives(&ground.at_neighbour(1900), &ground.at_host(6000))?);
    Ok(())
}

#[test]
fn a_killed_agent_leaves_nothing_open() -> Result<()> {
    if needs::skip_for(needs::missing(&[])) {
        return Ok(());
    }
    let ground = Ground::new(&format!("{}\n{SET_RULES}", include()))?;
    let _client = daemon(&ground, 5000)?;
    let program = program::debug()?;
    for (set, place) in [(PORTS, &[][..]), (SET, &SET_OPTION)] {
        let mut agent = ground.agent(&program, &[&["--timeout", "2"], place].concat())?;
        // Longer than the elements would live without it.
        std::thread::sleep(TIMEOUT + SECOND);
        ensure!(ground.is_open(5000)?, "{set}: it refreshes");
        agent.kill()?;
        ensure!(ground.is_open(5000)?, "{set}: not at once");
        wait_for("closes", TIMEOUT + SECOND, || has(&ground, set, &[]))?;
        ensure!(!ground.is_open(5000)?);
        run(ground.host.command(&program).args(["firewall", "clear"]).args(place))?;
        ensure!(tables(&ground)? == "table inet filter\n");
    }
    Ok(())
}

#[test]
fn what_others_do_to_its_rules_is_undone() -> Result<()> {
    if needs::skip_for(needs::missing(&[])) {
        return Ok(());
    }
    let ground = Ground::new(&include())?;
    let _client = daemon(&ground, 5000)?;
    let mut agent = ground.agent(&program::debug()?, &[])?;
    let whole = bare_listing(&ground)?;
    for change in [
        "flush ruleset",
        "delete table inet teredo",
        "flush chain inet teredo input",
        "flush set inet teredo ports",
        "add element inet teredo ports { 22 timeout 1h }",
    ] {
        ground.host.nft(change)?;
        wait_for(change, SECOND, || bare_listing(&ground).is_ok_and(|list| list == whole))?;
    }
    ground.load(&include())?;
    wait_for("a reload", SECOND, || has(&ground, PORTS, &[5000]))?;
    ensure!(ground.is_open(5000)?);

    agent.wait_until(PATIENCE, |agent| restored(agent) >= 6)?;
    // What is none of its business leaves it alone.
    for number in 0..20 {
        ground.host.nft(&format!("add table inet other{number}"))?;
    }
    std::thread::sleep(SECOND);
    ensure!(restored(&agent) == 6, "{}", agent.stdout());
    agent.stop()?;
    Ok(())
}

#[test]
fn a_set_of_the_administrators_is_filled_and_nothing_else_is_touched() -> Result<()> {
    if needs::skip_for(needs::missing(&[])) {
        return Ok(());
    }
    let ground = Ground::new(SET_RULES)?;
    let before = run(ground.host.command("nft").args(["list", "ruleset"]))?;
    let mut client = daemon(&ground, 5000)?;
    let mut agent = ground.agent(&program::debug()?, &SET_OPTION)?;
    ensure!(has(&ground, SET, &[5000]) && ground.is_open(5000)?);
    client.publish(&snapshot(State::Qualified, 5001))?;
    wait_for("another port", SECOND, || has(&ground, SET, &[5001]))?;
    ensure!(ground.is_open(5001)? && !ground.is_open(5000)?);

    ground.host.nft("flush set inet filter teredo_port")?;
    wait_for("a flush of the set", SECOND, || has(&ground, SET, &[5001]))?;
    ground.load(SET_RULES)?;
    wait_for("a reload", SECOND, || has(&ground, SET, &[5001]))?;
    ground.host.nft("flush ruleset")?;
    agent.wait_until(PATIENCE, |agent| agent.stdout().contains("does not exist"))?;
    ground.load(SET_RULES)?;
    wait_for("it is there again", SECOND, || has(&ground, SET, &[5001]))?;

    client.kill()?;
    wait_for("killed", SECOND, || has(&ground, SET, &[]))?;
    let _client = daemon(&ground, 5002)?;
    wait_for("started again", SECOND, || has(&ground, SET, &[5002]))?;
    ensure!(agent.stop()?.success(), "{}", agent.last_words());
    ensure!(run(ground.host.command("nft").args(["list", "ruleset"]))? == before);
    Ok(())
}

#[test]
fn what_is_printed_is_what_is_loaded() -> Result<()> {
    if needs::skip_for(needs::missing(&[])) {
        return Ok(());
    }
    let ground = Ground::new("")?;
    let _client = daemon(&ground, 5000)?;
    let options = ["--server", "192.0.2.7", "--router", "192.0.2.8", "--mark", "4"];
    let program = program::debug()?;
    let mut agent = ground.agent(&program, &options)?;
    let loaded = bare_listing(&ground)?;
    agent.stop()?;
    let mut print = ground.host.command(&program);
    print.args(["firewall", "print"]).args(options);
    print.env("TEREDO_RUNTIME_DIR", ground.runtime.runtime().path());
    ground.host.nft(&run(&mut print)?)?;
    ensure!(bare_listing(&ground)? == loaded, "{loaded}\n{}", bare_listing(&ground)?);
    ensure!(loaded.contains("0x00000004"), "{loaded}");
    Ok(())
}

#[test]
fn what_is_wrong_is_said_in_one_line() -> Result<()> {
    if needs::skip_for(needs::missing(&["setpriv"])) {
        return Ok(());
    }
    let ground = Ground::new("")?;
    ground.host.nft(
        "add set inet filter plain { type inet_service; }\n\
         add set inet filter addresses { type ipv4_addr; flags timeout; }",
    )?;
    let program = program::debug()?;
    let set = |name: &'static str| ["firewall", "--set", "inet", "filter", name];
    for (arguments, why) in [
        (set("absent"), "set inet filter absent up to date: it does not exist"),
        (set("plain"), "no timeout (declare it with flags timeout)"),
        (set("addresses"), "it is not a set of ports"),
    ] {
        is_one_line(ground.host.command(&program).args(arguments), why)?;
    }
    let readable = readable(&ground, &program)?;
    for (arguments, why) in [
        (&["firewall"][..], "CAP_NET_ADMIN is missing"),
        (&["firewall", "clear"], "run as root or with CAP_NET_ADMIN"),
    ] {
        let mut command = ground.host.command("setpriv");
        command.args(["--reuid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]);
        is_one_line(command.arg(&readable).args(arguments), why)?;
    }
    Ok(())
}

#[test]
fn it_needs_one_capability_and_no_root() -> Result<()> {
    if needs::skip_for(needs::missing(&["setpriv"])) {
        return Ok(());
    }
    let ground = Ground::new(&include())?;
    let _client = daemon(&ground, 5000)?;
    let mut command = ground.host.command("setpriv");
    command.args(["--reuid=65534", "--clear-groups", "--bounding-set=-all,+net_admin"]);
    command.args(["--inh-caps=-all,+net_admin", "--ambient-caps=+net_admin", "--no-new-privs"]);
    command.arg(readable(&ground, &program::debug()?)?).args(["firewall", "--json"]);
    let runtime = ground.runtime.runtime().path();
    command.env("TEREDO_RUNTIME_DIR", runtime);
    let mut agent = Process::start("unprivileged", runtime, &mut command)?;
    agent.wait_until(PATIENCE, |agent| agent.stdout().contains("\"ready\""))?;
    ensure!(ground.is_open(5000)?);
    ensure!(agent.stop()?.success(), "{}", agent.last_words());
    ensure!(!ground.is_open(5000)?);
    Ok(())
}

#[test]
fn who_undoes_its_work_again_and_again_does_not_keep_it_busy() -> Result<()> {
    if needs::skip_for(needs::missing(&[])) {
        return Ok(());
    }
    let ground = Ground::new("")?;
    let _client = daemon(&ground, 5000)?;
    let agent = ground.agent(&program::debug()?, &[])?;
    let mut undone = 0;
    while undone < 25 {
        if has(&ground, PORTS, &[5000]) {
            ground.host.nft("delete table inet teredo")?;
            undone += 1;
        }
        if agent.stderr().contains("is there a second agent?") {
            break;
        }
    }
    ensure!(undone < 25, "{}", agent.last_words());
    ground.host.nft("flush ruleset")?;
    let before = restored(&agent);
    wait_for("but later", PATIENCE, || restored(&agent) > before)?;
    Ok(())
}

fn restored(agent: &Process) -> usize {
    agent.stdout().matches("\"restored\":true").count()
}

/// A copy of the program that any user may run.
fn readable(ground: &Ground, program: &Path) -> Result<PathBuf> {
    let copy = ground.runtime.runtime().path().join("teredo");
    std::fs::copy(program, &copy)?;
    std::fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
    Ok(copy)
}

fn is_one_line(command: &mut Command, why: &str) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(1) && said.lines().count() == 1, "{said}");
    ensure!(said.starts_with("teredo: ") && said.contains(why), "{said}");
    Ok(())
}
