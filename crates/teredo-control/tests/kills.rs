//! Daemons that are killed, and what their readers see.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU16;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use teredo_control::testing::{FakeDaemon, TestDir, serve_if_asked, snapshot, test_arguments};
use teredo_control::{Event, NotReady, PortReader, RuntimeDir, State, Subscription};

/// As many as continuous integration is to do.
const KILLS: u16 = 50;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn fake_daemon() {
    serve_if_asked();
}

fn start(directory: &RuntimeDir, port: u16) -> FakeDaemon {
    let first = snapshot(State::Qualified, port);
    FakeDaemon::start(directory, &test_arguments("fake_daemon"), &first).unwrap()
}

#[test]
fn as_soon_as_a_killed_daemon_has_been_waited_for_there_is_no_port() {
    let directory = TestDir::new().unwrap();
    let reader = PortReader::at(directory.runtime().clone());
    assert_eq!(reader.port(), Err(NotReady::NotRunning));
    for round in 1..=KILLS {
        let daemon = start(directory.runtime(), round);
        assert_eq!(reader.port(), Ok(NonZeroU16::new(round).unwrap()));
        daemon.kill().unwrap();
        assert_eq!(reader.port(), Err(NotReady::NotRunning), "kill {round}");
    }
}

#[test]
fn all_threads_see_the_end_and_the_successor() {
    let directory = TestDir::new().unwrap();
    let reader = PortReader::at(directory.runtime().clone());
    let daemon = start(directory.runtime(), 1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..64)
            .map(|_| {
                scope.spawn(|| {
                    let (start, mut seen) = (Instant::now(), Vec::new());
                    while seen.last() != Some(&Ok(2)) && start.elapsed() < PATIENCE {
                        let port = reader.port().map(NonZeroU16::get);
                        if seen.last() != Some(&port) {
                            seen.push(port);
                        }
                        thread::yield_now();
                    }
                    seen
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(20));
        daemon.kill().unwrap();
        thread::sleep(Duration::from_millis(20));
        let _daemon = start(directory.runtime(), 2);
        for thread in threads {
            let seen = thread.join().unwrap();
            let allowed = [Ok(1), Err(NotReady::NotRunning), Ok(2)];
            let mut rest = allowed.iter();
            assert_eq!(seen.last(), Some(&Ok(2)));
            assert!(seen.iter().all(|seen| rest.any(|allowed| allowed == seen)), "{seen:?}");
        }
    });
}

#[test]
fn a_subscription_outlives_its_daemons() {
    let directory = TestDir::new().unwrap();
    let mut subscription = Subscription::new(directory.runtime().clone()).unwrap();
    let mut next = || subscription.next(Some(Duration::from_secs(10))).unwrap().unwrap();
    assert_eq!(next(), Event::Gone);
    for round in 1..=10 {
        let mut daemon = start(directory.runtime(), round);
        let Event::Status(status) = next() else { panic!("gone") };
        assert_eq!(status.snapshot.port, NonZeroU16::new(round));
        daemon.publish(&snapshot(State::Offline, 0)).unwrap();
        let Event::Status(status) = next() else { panic!("gone") };
        assert_eq!((status.snapshot.port, status.generation, status.port_changes), (None, 2, 1));
        if round % 2 == 0 {
            daemon.kill().unwrap();
        } else {
            assert!(daemon.stop().unwrap().success());
        }
        assert_eq!(next(), Event::Gone);
    }
    assert_eq!(subscription.next(Some(Duration::from_millis(100))).unwrap(), None);
}

#[test]
fn fifty_subscribers_end_with_the_last_value_of_the_last_daemon() {
    let directory = TestDir::new().unwrap();
    const LAST: u16 = 30;
    thread::scope(|scope| {
        let subscribers = [(); 50].map(|()| {
            scope.spawn(|| {
                let mut subscription = Subscription::new(directory.runtime().clone()).unwrap();
                let mut before = None;
                loop {
                    let event = subscription.next(Some(PATIENCE)).unwrap().unwrap();
                    let Event::Status(status) = &event else {
                        assert_ne!(before, Some(Event::Gone), "twice in a row");
                        before = Some(event);
                        continue;
                    };
                    if let Some(Event::Status(before)) = &before {
                        let (then, now) = (before.snapshot.port, status.snapshot.port);
                        assert_eq!(then, now, "two daemons, and no end between");
                    }
                    if status.snapshot.port == NonZeroU16::new(LAST) {
                        return;
                    }
                    before = Some(event);
                }
            })
        });
        for round in 1..LAST {
            start(directory.runtime(), round).kill().unwrap();
        }
        let _last = start(directory.runtime(), LAST);
        for subscriber in subscribers {
            subscriber.join().unwrap();
        }
    });
}

#[test]
fn the_environment_names_the_directory() {
    if std::env::var_os("TEREDO_RUNTIME_DIR").is_some() {
        assert_eq!(PortReader::new().port(), Ok(NonZeroU16::MIN));
        return;
    }
    let directory = TestDir::new().unwrap();
    let _daemon = start(directory.runtime(), 1);
    let status = Command::new(std::env::current_exe().unwrap())
        .args(test_arguments("the_environment_names_the_directory"))
        .env("TEREDO_RUNTIME_DIR", directory.runtime().path())
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn a_clean_end_leaves_nothing_behind_and_a_kill_does_no_harm() {
    let directory = TestDir::new().unwrap();
    let entries = || std::fs::read_dir(directory.runtime().path()).unwrap().count();
    start(directory.runtime(), 1).kill().unwrap();
    assert_eq!(entries(), 3, "two sockets and a lock");
    start(directory.runtime(), 2).stop().unwrap();
    assert_eq!(entries(), 0);
}

#[test]
fn a_stopped_daemon_keeps_nobody_waiting_long() {
    let directory = TestDir::new().unwrap();
    let daemon = start(directory.runtime(), 1);
    let process = i32::try_from(daemon.process_id()).unwrap();
    let signal = |signal: &str| {
        let mut kill = Command::new("kill");
        assert!(kill.args([signal, &process.to_string()]).status().unwrap().success());
    };
    let mapped = PortReader::at(directory.runtime().clone());
    mapped.port().unwrap();
    signal("-STOP");
    // Its threads stop one by one.
    let start = Instant::now();
    while !is_stopped(process) {
        assert!(start.elapsed() < PATIENCE);
        thread::yield_now();
    }
    let start = Instant::now();
    assert_eq!(mapped.port(), Ok(NonZeroU16::MIN), "who has the page needs nobody");
    assert!(start.elapsed() < Duration::from_millis(100));
    let unmapped = PortReader::at(directory.runtime().clone());
    assert_eq!(unmapped.port(), Err(NotReady::TimedOut));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    signal("-CONT");
    assert_eq!(unmapped.port(), Ok(NonZeroU16::MIN));
}

fn is_stopped(process: i32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap();
        // The name, in brackets, may hold anything.
        stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T"))
    })
}
