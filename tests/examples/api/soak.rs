//! Daemons that are killed, over and over.

use std::time::Instant;

use anyhow::{Result, ensure};
use teredo_control::testing::{FakeDaemon, TestDir, snapshot};
use teredo_control::{RuntimeDir, State};

use crate::processes::{Asked, wait_until_told};

/// Processes that have the page of each daemon when it is killed.
const READERS: usize = 8;
/// Processes that have registered for the port.
const WATCHERS: usize = 50;
/// Every so many restarts all have to be told of the port before the next kill; between those the
/// daemon is killed as soon as it is there.
const WAIT_EVERY: u32 = 10;
const PROGRESS_EVERY: u32 = 100;

/// As soon as a killed daemon has been waited for, nobody reads a port.
pub(crate) fn kills(runs: u32) -> Result<()> {
    let directory = TestDir::new()?;
    let mapped = (0..READERS).map(|_| Asked::reader(directory.runtime()));
    let mut readers: Vec<Asked> = mapped.collect::<Result<_>>()?;
    // Asked only between two daemons, so that it never has a page.
    let unmapped = Asked::reader(directory.runtime())?;
    for run in 1..=runs {
        let port = port(run);
        let daemon = start(directory.runtime(), port)?;
        check(&mut readers, &format!("0 {port}"), run)?;
        daemon.kill()?;
        // Another one is asked first each time.
        readers.rotate_left(1);
        check(&mut readers, "21 0", run)?;
        if run % PROGRESS_EVERY == 0 {
            eprintln!("{run} of {runs} kills");
        }
    }
    check(&mut [unmapped], "21 0", runs)?;
    println!("{runs} kills: {READERS} processes read 21 right after each");
    Ok(())
}

/// Every process that has registered ends with the last port of the last daemon.
pub(crate) fn restarts(runs: u32) -> Result<()> {
    let directory = TestDir::new()?;
    let watchers = (0..WATCHERS).map(|_| Asked::watcher(directory.runtime(), 1));
    let mut watchers: Vec<Asked> = watchers.collect::<Result<_>>()?;
    for run in 1..runs {
        let daemon = start(directory.runtime(), port(run))?;
        if run % WAIT_EVERY == 0 {
            wait_until_told(&mut watchers, port(run))?;
        }
        daemon.kill()?;
        if run % PROGRESS_EVERY == 0 {
            eprintln!("{run} of {runs} restarts");
        }
    }
    let since = Instant::now();
    let mut last = start(directory.runtime(), port(runs))?;
    wait_until_told(&mut watchers, port(runs))?;
    let found_s = since.elapsed().as_secs_f64();
    last.publish(&snapshot(State::Qualified, port(runs + 1)))?;
    wait_until_told(&mut watchers, port(runs + 1))?;
    println!("{runs} daemons: {WATCHERS} processes found the last one in {found_s:.2} s");
    ensure!(last.stop()?.success(), "the last daemon failed");
    wait_until_told(&mut watchers, 0)?;
    Ok(())
}

fn start(directory: &RuntimeDir, port: u16) -> Result<FakeDaemon> {
    Ok(FakeDaemon::start(directory, &[], &snapshot(State::Qualified, port))?)
}

/// Asks all at once.
fn check(readers: &mut [Asked], expected: &str, run: u32) -> Result<()> {
    readers.iter_mut().try_for_each(|reader| reader.give("port"))?;
    for reader in readers {
        let said = reader.answer()?;
        ensure!(said == expected, "run {run}: a process read {said} instead of {expected}");
    }
    Ok(())
}

/// Another one in each run.
fn port(run: u32) -> u16 {
    (1 + run % u32::from(u16::MAX)) as u16
}
