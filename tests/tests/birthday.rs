//! Birthday probing on the kernel's NATs: one that gives a port at random to each flow, and one
//! that lets in only endpoints written to.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use teredo_tests::internet::{Internet, Nat};
use teredo_tests::namespace::Namespace;
use teredo_tests::process::Process;
use teredo_tests::roles::{self, Maker, Running};
use teredo_tests::{needs, program, traffic};

const PATIENCE: Duration = Duration::from_secs(25);
/// Of probing, and of what comes before. All but one pair in a million needs less.
const MEETING_MAX: Duration = Duration::from_secs(30);
/// What a client has open besides ports that are tried.
const FILES_MAX: usize = 64;
const TCP_LEN: usize = 1 << 20;

//= X-B-01: two clients meet through the NATs of a kernel, and close what they do not need
#[test]
fn a_random_nat_of_the_kernel_is_met() -> Result<()> {
    if needs::skip_for(needs::missing(&["ping"])) {
        return Ok(());
    }
    let internet = Internet::new([Nat::PortRestricted, Nat::PortSymmetric])?;
    let _server = roles::server(&internet, &Maker::Ours(program::debug()?))?;
    let [easy, hard] = &internet.clients;
    let (first, second) = (client(&internet, easy)?, client(&internet, hard)?);
    let begun = Instant::now();
    while !is_answered(easy, &second)? {
        ensure!(begun.elapsed() < MEETING_MAX, "they have not met");
    }
    traffic::ping(hard, first.address()?)?;
    traffic::ping(easy, second.address()?)?;
    traffic::tcp(easy, hard, second.address()?, TCP_LEN)?;
    let files: usize = roles::pids(hard).iter().map(|pid| files_of(*pid)).sum();
    ensure!(files < FILES_MAX, "{files} descriptors are open");
    Ok(())
}

fn client(internet: &Internet, host: &Namespace) -> Result<Running> {
    let mut command = roles::our_client_in(internet, host, &program::debug()?);
    command.args(["--no-port-mapping", "--with", "birthday", "--without", "helper"]);
    let mut process = Process::start(host.name(), internet.directory(), &mut command)?;
    process.wait_until(PATIENCE, |it| it.stdout().contains("\"state\":\"qualified\""))?;
    let address = roles::teredo_address(host).context("no address")?;
    Ok(Running { process, address: Some(address) })
}

/// Pings once, for a second.
fn is_answered(from: &Namespace, to: &Running) -> Result<bool> {
    let mut command = from.command("ping");
    command.args(["-6", "-n", "-c", "1", "-W", "1", &to.address()?.to_string()]);
    Ok(command.output().context("cannot run ping")?.status.success())
}

fn files_of(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}
