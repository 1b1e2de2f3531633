//! A foreign gateway: Debian's `miniupnpd` on a kernel NAT grants our client its port.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use teredo_tests::gateway::{EXTERNAL, Gateway, Speaks};
use teredo_tests::internet::{Internet, Nat};
use teredo_tests::namespace::{Namespace, run};
use teredo_tests::process::Process;
use teredo_tests::roles::{self, Maker};
use teredo_tests::{needs, program, traffic};

const PROGRAMS: [&str; 2] = ["miniupnpd", "ping"];
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
/// Past the silence after which the next protocol is tried.
const PATIENCE: Duration = Duration::from_secs(25);

//= X-PCP-01: a gateway of others grants the service port, the server sees the same endpoint
#[test]
fn a_port_by_pcp() -> Result<()> {
    if needs::skip_for(needs::missing(&PROGRAMS)) {
        return Ok(());
    }
    grants(Speaks::Pcp, "pcp")
}

#[test]
fn a_port_by_nat_pmp() -> Result<()> {
    if needs::skip_for(needs::missing(&PROGRAMS)) {
        return Ok(());
    }
    grants(Speaks::NatPmp, "nat-pmp")
}

//= X-UPNP-02: the gateway takes the parameters, for the service port, and keeps them
//= X-UPNP-10: DeletePortMapping at the end
#[test]
fn a_port_by_upnp() -> Result<()> {
    if needs::skip_for(needs::missing(&PROGRAMS)) {
        return Ok(());
    }
    grants(Speaks::Igd, "upnp")
}

//= X-UPNP-01: a mapping that a crash has left behind is deleted before there is another
//= X-UPNP-11: the port is remembered across lives
#[test]
fn the_next_life_gives_back_what_a_crash_has_left() -> Result<()> {
    if needs::skip_for(needs::missing(&PROGRAMS)) {
        return Ok(());
    }
    let internet = Internet::new([Nat::PortRestricted; 2])?;
    let gateway = Gateway::start(&internet, Speaks::Igd)?;
    let _server = roles::server(&internet, &Maker::Ours(program::debug()?))?;
    let mut mapped = Vec::new();
    for life in ["first", "second"] {
        let mut command = client_command(&internet)?;
        let mut client = Process::start(life, internet.directory(), &mut command)?;
        client.wait_until(PATIENCE, |it| it.stdout().contains("\"event\":\"mapping\""))?;
        mapped.push(SocketAddrV4::new(CLIENT, port_of(&client)?));
        client.kill()?;
    }
    ensure!(!gateway.maps(mapped[0])?, "the first one is still there");
    ensure!(gateway.maps(mapped[1])?, "the second one is not");
    Ok(())
}

#[test]
fn no_port_with_no_port_mapping() -> Result<()> {
    if needs::skip_for(needs::missing(&PROGRAMS)) {
        return Ok(());
    }
    let internet = Internet::new([Nat::PortRestricted; 2])?;
    let gateway = Gateway::start(&internet, Speaks::Pcp)?;
    let _server = roles::server(&internet, &Maker::Ours(program::debug()?))?;
    let mut command = client_command(&internet)?;
    command.arg("--no-port-mapping");
    let mut client = Process::start("client1", internet.directory(), &mut command)?;
    client.wait_until(PATIENCE, |it| it.stdout().contains("\"state\":\"qualified\""))?;
    std::thread::sleep(Duration::from_secs(1));
    let port = port_of(&client)?;
    ensure!(!gateway.maps(SocketAddrV4::new(CLIENT, port))?, "asked all the same");
    ensure!(status(&internet)?["upnp"] == false, "says so");
    Ok(())
}

/// A client behind a port-restricted NAT gets its port, is open to strangers and reachable by a
/// peer, and gives the port back at its end.
fn grants(speaks: Speaks, protocol: &str) -> Result<()> {
    let internet = Internet::new([Nat::PortRestricted; 2])?;
    let gateway = Gateway::start(&internet, speaks)?;
    let ours = Maker::Ours(program::debug()?);
    let _server = roles::server(&internet, &ours)?;
    let mut command = client_command(&internet)?;
    let mut client = Process::start("client1", internet.directory(), &mut command)?;
    client.wait_until(PATIENCE, |it| it.stdout().contains("\"event\":\"mapping\""))?;
    let port = port_of(&client)?;
    let fact = fact(&client, "mapping").context("no mapping")?;
    let external = SocketAddrV4::new(EXTERNAL, port);
    ensure!(fact["protocol"] == protocol, "{fact}");
    ensure!(fact["external"] == external.to_string(), "{fact}: the port stays the same");
    let internal = SocketAddrV4::new(CLIENT, port);
    ensure!(gateway.maps(internal)?, "no rule: {}", gateway.process.last_words());

    let status = status(&internet)?;
    ensure!(status["upnp"] == true && status["port_preserving"] == true, "{status}");
    ensure!(status["external_mapping"] == external.to_string(), "{status}");
    let address = roles::teredo_address(&internet.clients[0]).context("no address")?;
    roles::check_address(address, EXTERNAL)?;

    ensure!(hears_strangers(&internet.clients[0], &internet.relay, external)?, "not open");
    let peer = roles::client(&internet, 2, &ours)?;
    traffic::ping(&internet.clients[1], address)?;
    traffic::ping(&internet.clients[0], peer.address()?)?;

    let ended = client.stop()?;
    ensure!(ended.success(), "{ended}: {}", client.last_words());
    ensure!(!gateway.maps(internal)?, "the port is still mapped");
    Ok(())
}

/// Our client 1, which remembers its port for the length of the test.
fn client_command(internet: &Internet) -> Result<Command> {
    let mut command = roles::our_client(internet, 1, &program::debug()?);
    // As systemd does it.
    let state = internet.directory().join("state");
    std::fs::create_dir_all(&state)?;
    command.env("STATE_DIRECTORY", state);
    Ok(command)
}

/// Whether a datagram from somebody to whom the client has never written arrives.
fn hears_strangers(
    client: &Namespace,
    stranger: &Namespace,
    external: SocketAddrV4,
) -> Result<bool> {
    client.nft(
        "table ip watch {
  chain input { type filter hook input priority -10; policy accept;
    udp sport 6999 counter name strangers
  }
  counter strangers { }
}
",
    )?;
    stranger.enter(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 6999))?;
        socket.send_to(b"hello", external)
    })??;
    std::thread::sleep(Duration::from_millis(200));
    let counters = run(client.command("nft").args(["list", "counters"]))?;
    Ok(counters.contains("packets 1"))
}

fn status(internet: &Internet) -> Result<Value> {
    let host = &internet.clients[0];
    let mut command = host.command(program::debug()?);
    command.args(["status", "--json"]);
    command.env("TEREDO_RUNTIME_DIR", internet.directory().join(host.name()));
    Ok(serde_json::from_str(&run(&mut command)?)?)
}

/// The last fact of this kind that a role told.
fn fact(role: &Process, event: &str) -> Option<Value> {
    let stdout = role.stdout();
    let mut facts = stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    facts.rfind(|fact| fact["event"] == event)
}

fn port_of(client: &Process) -> Result<u16> {
    let fact = fact(client, "state").context("no state")?;
    Ok(fact["port"].as_u64().context("no port")?.try_into()?)
}
