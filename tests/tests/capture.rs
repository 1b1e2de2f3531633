//! `tshark`, a reader that is not ours, reads what we send.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use teredo_sim::matrix::connect_in;
use teredo_sim::nat::Refusal;
use teredo_sim::predicate::Side;
use teredo_sim::{Link, World};
use teredo_tests::namespace::run;
use teredo_tests::{needs, program};

#[test]
fn tshark_reads_every_wire_of_the_lab() -> Result<()> {
    if needs::skip_for(needs::missing_programs(&["tshark"])) {
        return Ok(());
    }
    let directory = std::env::temp_dir().join(format!("tt{}-trace", std::process::id()));
    let read = trace(&directory).and_then(|()| read_all(&directory));
    let removed = fs::remove_dir_all(&directory);
    read?;
    Ok(removed?)
}

#[test]
fn tshark_reads_a_run_of_the_simulator() -> Result<()> {
    if needs::skip_for(needs::missing_programs(&["tshark"])) {
        return Ok(());
    }
    let mut world = World::new(7);
    world.trace_mut().keep_frames();
    let sides = ["seq", "pr+cone"].map(|kinds| kinds.parse::<Side>());
    let [Ok(from), Ok(mut to)] = sides else { bail!("a kind of NAT is unknown") };
    for nat in &mut to.nats {
        nat.refusal = Refusal::PortUnreachable;
    }
    let connection = connect_in(&mut world, 7, &[from, to], Link::perfect(Duration::ZERO))?;
    ensure!(connection.took.is_some(), "not connected");
    let file = std::env::temp_dir().join(format!("tt{}-run.pcapng", std::process::id()));
    fs::write(&file, world.capture())?;
    let read = read_run(&file, world.trace().frames().len());
    let removed = fs::remove_file(&file);
    read?;
    Ok(removed?)
}

fn read_run(file: &Path, frame_count: usize) -> Result<()> {
    let count = |filter| anyhow::Ok(frames(file, filter)?.len());
    ensure!(count("frame")? == frame_count, "not all frames");
    ensure!(count("_ws.malformed")? == 0, "malformed frames");
    ensure!(count("frame.interface_name == \"nat1\"")? > 0, "no wire of that name");
    ensure!(count("frame.comment == \"refused by the NAT\"")? > 0, "nothing was refused");
    ensure!(count("teredo && icmpv6.type == 133")? >= 12, "three hops of four solicitations");
    ensure!(count("icmp.code == 3 && udp")? > 0, "no refusal was told");
    ensure!(count("icmp.checksum.status == 0")? == 0, "checksums of ICMP");
    ensure!(count("udp.checksum.status == 0 || ip.checksum.status == 0")? == 0, "checksums");
    Ok(())
}

fn trace(directory: &Path) -> Result<()> {
    let mut lab = Command::new(program::debug()?);
    run(lab.args(["lab", "--json", "--trace"]).arg(directory))?;
    Ok(())
}

fn read_all(directory: &Path) -> Result<()> {
    let mut teredo_frames = 0;
    for entry in fs::read_dir(directory).context("the lab wrote no traces")? {
        let wire = entry?.path();
        let malformed = frames(&wire, "_ws.malformed")?;
        ensure!(malformed.is_empty(), "{}: malformed: {malformed:?}", wire.display());
        teredo_frames += frames(&wire, "teredo")?.len();
    }
    // Two clients solicit both server addresses and get answers, at the least.
    ensure!(teredo_frames >= 8, "only {teredo_frames} Teredo frames");
    Ok(())
}

/// The numbers of the frames that a display filter selects.
fn frames(wire: &Path, filter: &str) -> Result<Vec<String>> {
    let mut tshark = Command::new("tshark");
    // Ports other than 3544 are recognised by their content.
    tshark.args(["--enable-heuristic", "teredo_udp", "-T", "fields", "-e", "frame.number"]);
    // What the lab sends by TCP is bytes, whatever its ports are known for.
    tshark.args(["-d", "tcp.port==1-65535,data"]);
    let output = run(tshark.args(["-Y", filter, "-r"]).arg(wire))?;
    Ok(output.lines().map(str::to_owned).collect())
}
