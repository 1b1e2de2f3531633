//! Foreign peers: Debian's `miredo` and `miredo-server` in every role, against ours and each other.
//!
//! Each test builds an Internet of its own with kernel NATs, then sends real pings and real TCP.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use teredo_tests::internet::{HOST, Internet, Nat};
use teredo_tests::process::Process;
use teredo_tests::roles::{self, Maker, Running};
use teredo_tests::{needs, program, traffic};

const PROGRAMS: [&str; 3] = ["miredo", "miredo-server", "ping"];
/// Enough for TCP to fill its windows many times over.
const TCP_LEN: usize = 4 << 20;
/// The addresses that the NATs before client 1 and client 2 show.
const MAPPED: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 101), Ipv4Addr::new(203, 0, 113, 102)];

#[test]
fn miredo_alone_works_on_this_ground() -> Result<()> {
    if needs::skip_for(needs::missing(&PROGRAMS)) {
        return Ok(());
    }
    Cast { server: Maker::Miredo, relay: Maker::Miredo, clients: [Maker::Miredo, Maker::Miredo] }
        .plays([Nat::PortRestricted; 2])
}

#[test]
fn our_client_with_their_server() -> Result<()> {
    if needs::skip_for(needs::missing(&PROGRAMS)) {
        return Ok(());
    }
    let ours = Maker::Ours(program::debug()?);
    Cast { server: Maker::Miredo, relay: Maker::Miredo, clients: [ours.clone(), ours] }
        .plays([Nat::PortRestricted; 2])
}

#[test]
fn their_client_with_our_server() -> Result<()> {
    if needs::skip_for(needs::missing(&PROGRAMS)) {
        return Ok(());
    }
    let ours = Maker::Ours(program::debug()?);
    Cast { server: ours, relay: Maker::Miredo, clients: [Maker::Miredo, Maker::Miredo] }
        .plays([Nat::PortRestricted; 2])
}

#[test]
fn their_client_and_ours_through_our_relay() -> Result<()> {
    if needs::skip_for(needs::missing(&PROGRAMS)) {
        return Ok(());
    }
    let ours = Maker::Ours(program::debug()?);
    Cast { server: Maker::Miredo, relay: ours.clone(), clients: [ours, Maker::Miredo] }
        .plays([Nat::PortRestricted; 2])
}

#[test]
fn their_client_and_ours_through_their_relay() -> Result<()> {
    if needs::skip_for(needs::missing(&PROGRAMS)) {
        return Ok(());
    }
    let ours = Maker::Ours(program::debug()?);
    Cast { server: ours.clone(), relay: Maker::Miredo, clients: [Maker::Miredo, ours] }
        .plays([Nat::PortRestricted; 2])
}

#[test]
fn ours_in_every_role_behind_kernel_nats() -> Result<()> {
    if needs::skip_for(needs::missing(&["ping"])) {
        return Ok(());
    }
    let ours = Maker::Ours(program::debug()?);
    let clients = [ours.clone(), ours.clone()];
    Cast { server: ours.clone(), relay: ours, clients }.plays([Nat::Cone, Nat::PortRestricted])
}

/// Neither server nor relay is needed once two clients have met.
#[test]
fn their_client_to_our_client_directly() -> Result<()> {
    if needs::skip_for(needs::missing(&PROGRAMS)) {
        return Ok(());
    }
    let ours = Maker::Ours(program::debug()?);
    let internet = Internet::new([Nat::PortRestricted; 2])?;
    let server = roles::server(&internet, &ours)?;
    let theirs = roles::client(&internet, 1, &Maker::Miredo)?;
    let mine = roles::client(&internet, 2, &ours)?;
    let [one, two] = &internet.clients;
    traffic::ping(one, mine.address()?)?;
    drop(server);
    traffic::tcp(one, two, mine.address()?, TCP_LEN)?;
    traffic::ping(two, theirs.address()?)?;
    traffic::tcp(two, one, theirs.address()?, TCP_LEN)
}

//= C-QUAL-10: a symmetric NAT of the kernel leaves a strict client off-line, and it says so
#[test]
fn our_strict_client_behind_a_symmetric_nat_says_so() -> Result<()> {
    if needs::skip_for(needs::missing(&["miredo-server"])) {
        return Ok(());
    }
    let internet = Internet::new([Nat::PortSymmetric, Nat::PortRestricted])?;
    let _server = roles::server(&internet, &Maker::Ours(program::debug()?))?;
    let mut command = roles::our_client(&internet, 1, &program::debug()?);
    command.arg("--strict");
    let mut client = Process::start("client1", internet.directory(), &mut command)?;
    client.wait_until(Duration::from_secs(15), |client| {
        client.stdout().contains("\"reason\":\"symmetric-nat\"")
    })
}

/// Who plays which role.
struct Cast {
    server: Maker,
    relay: Maker,
    clients: [Maker; 2],
}

impl Cast {
    /// Pings and TCP between client 1 and the native host and between the clients, started from
    /// both ends.
    fn plays(&self, nats: [Nat; 2]) -> Result<()> {
        let internet = Internet::new(nats)?;
        let _server = roles::server(&internet, &self.server)?;
        let _relay = roles::relay(&internet, &self.relay)?;
        let clients: Vec<Running> = (1..)
            .zip(&self.clients)
            .map(|(number, maker)| roles::client(&internet, number, maker))
            .collect::<Result<_>>()?;
        for ((client, host), mapped) in clients.iter().zip(&internet.clients).zip(MAPPED) {
            let address = client.address()?;
            roles::check_address(address, mapped)?;
            traffic::ping(host, HOST)?;
            traffic::ping(&internet.host, address)?;
            traffic::tcp(host, &internet.host, HOST, TCP_LEN)?;
            traffic::tcp(&internet.host, host, address, TCP_LEN)?;
        }
        let [one, two] = &internet.clients;
        traffic::ping(one, clients[1].address()?)?;
        traffic::ping(two, clients[0].address()?)?;
        traffic::tcp(one, two, clients[1].address()?, TCP_LEN)?;
        traffic::tcp(two, one, clients[0].address()?, TCP_LEN)
    }
}
