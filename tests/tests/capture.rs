//! `tshark`, a reader that is not ours, reads what we send.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
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
    let output = run(tshark.args(["-Y", filter, "-r"]).arg(wire))?;
    Ok(output.lines().map(str::to_owned).collect())
}
