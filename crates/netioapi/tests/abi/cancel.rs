//! `CancelMibChangeNotify2`, and what ends registrations otherwise.

use std::time::{Duration, Instant};

use teredo_control::testing::{TestDir, snapshot};
use teredo_control::{RuntimeDir, State};

use crate::driver::{Driver, PATIENCE, QUIET, daemon};

/// How many clients are connected to the control socket.
fn connections(directory: &RuntimeDir) -> usize {
    let path = directory.path().to_str().unwrap().to_owned() + "/";
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let is_ours = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // A stream, connected.
        fields.get(7).is_some_and(|it| it.starts_with(&path)) && fields[4..6] == ["0001", "03"]
    };
    sockets.lines().filter(is_ours).count()
}

#[track_caller]
fn wait_for_connections(directory: &RuntimeDir, wanted: usize) -> Duration {
    let start = Instant::now();
    while connections(directory) != wanted {
        assert!(start.elapsed() < PATIENCE, "{} connections", connections(directory));
        std::thread::sleep(Duration::from_millis(1));
    }
    start.elapsed()
}

//= API-27: null is no handle
//= API-28: after cancelling nothing is called any more
//= API-30: a handle is good for one cancel, and any other number for none
#[test]
fn cancelling_ends_a_registration_once() {
    let directory = TestDir::new().unwrap();
    let daemon = daemon(directory.runtime(), State::Qualified, 5000);
    let mut driver = Driver::new(directory.runtime());
    assert_eq!(driver.ask("cancel null"), "87");
    driver.ask("watch 1 0 plain 0");
    assert!(driver.ask("cancel 1").starts_with("0 inside 0"));
    assert!(driver.ask("cancel 1").starts_with("87 "));
    daemon.publish(snapshot(State::Qualified, 5001));
    driver.expect_quiet(QUIET);
    for bits in ["1", "7", "ffffffffffffffff", "7fff12345678", "4e54000000800001"] {
        assert_eq!(driver.ask(&format!("cancel bits {bits}")), "87", "{bits}");
    }
    // The place is used again, under another number.
    driver.ask("watch 2 0 plain 0");
    assert!(driver.ask("cancel 1").starts_with("87 "));
    daemon.publish(snapshot(State::Qualified, 5002));
    assert!(driver.event().starts_with("2 port 5002"));
    driver.finish();
}

//= API-29: cancelling waits until the callback has returned
//= API-33: of two threads that cancel one gets 0, the other 87, both after that
#[test]
fn cancelling_waits_for_the_callback() {
    let directory = TestDir::new().unwrap();
    let daemon = daemon(directory.runtime(), State::Qualified, 5000);
    let mut driver = Driver::new(directory.runtime());
    driver.ask("watch 1 0 slow 300");
    daemon.publish(snapshot(State::Qualified, 5001));
    driver.event();
    let answer = driver.ask("cancel 1");
    assert_eq!(driver.event(), "1 done", "before cancel returned");
    let (result, ms) = answer.rsplit_once(' ').unwrap();
    assert_eq!(result, "0 inside 0 ms");
    assert!((200..2000).contains(&ms.parse::<u32>().unwrap()), "{answer}");
    driver.ask("watch 2 0 slow 300");
    daemon.publish(snapshot(State::Qualified, 5002));
    driver.event();
    let answer = driver.ask("cancel twice 2");
    assert!(["0 87 inside 0 0", "87 0 inside 0 0"].contains(&&*answer), "{answer}");
    driver.finish();
}

//= API-31: from its own callback a registration is not cancelled (1131) and stays
//= API-32: another one is
#[test]
fn cancelling_from_a_callback() {
    let directory = TestDir::new().unwrap();
    let daemon = daemon(directory.runtime(), State::Qualified, 5000);
    let mut driver = Driver::new(directory.runtime());
    driver.ask("watch 1 0 selfcancel 0");
    for port in [5001, 5002] {
        daemon.publish(snapshot(State::Qualified, port));
        assert!(driver.event().starts_with(&format!("1 port {port}")));
        assert_eq!(driver.event(), "1 cancelled 1131");
    }
    assert!(driver.ask("cancel 1").starts_with("0 "));
    // Also from the initial call.
    driver.ask("watch 1 1 selfcancel 0");
    driver.event();
    assert_eq!(driver.event(), "1 cancelled 1131");
    assert!(driver.ask("cancel 1").starts_with("0 "));
    driver.ask("watch 3 0 plain 0");
    driver.ask("watch 2 0 cancel 3");
    daemon.publish(snapshot(State::Qualified, 5003));
    let events = [driver.event(), driver.event(), driver.event_within(QUIET).unwrap_or_default()];
    assert!(events.contains(&"2 cancelled 0".to_owned()), "{events:?}");
    assert!(driver.ask("cancel 3").starts_with("87 "));
    driver.finish();
}

//= API-34: handles of all functions that register are accepted
#[test]
fn every_kind_of_registration_is_cancelled_alike() {
    let directory = TestDir::new().unwrap();
    let _daemon = daemon(directory.runtime(), State::Dormant, 5000);
    let mut driver = Driver::new(directory.runtime());
    driver.ask("watch 1 0 plain 0");
    driver.ask("addresses 2 0 0");
    assert!(driver.ask("stable 3 10 plain").starts_with("997 "));
    driver.ask("subscribe 4");
    for slot in 1..=4 {
        assert!(driver.ask(&format!("cancel {slot}")).starts_with("0 "), "{slot}");
    }
    driver.finish();
}

//= API-35: no handle is a descriptor or an address of the process
#[test]
fn a_handle_is_an_opaque_number() {
    let directory = TestDir::new().unwrap();
    let mut driver = Driver::new(directory.runtime());
    driver.ask("watch 1 0 plain 0");
    let bits = u64::from_str_radix(&driver.ask("handle 1"), 16).unwrap();
    assert!(bits > u64::from(u32::MAX) && bits & 1 == 1, "{bits:#x}");
    let process = driver.child().id();
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let is_mapped = maps.lines().any(|line| {
        let (from, rest) = line.split_once('-').unwrap();
        let (to, _) = rest.split_once(' ').unwrap();
        let parse = |text| u64::from_str_radix(text, 16).unwrap();
        (parse(from)..parse(to)).contains(&bits)
    });
    assert!(!is_mapped, "{bits:#x}");
    driver.finish();
}

//= API-37: a process that ends with registrations ends at once, and the daemon forgets it
#[test]
fn the_end_of_the_process_ends_its_registrations() {
    let directory = TestDir::new().unwrap();
    let daemon = daemon(directory.runtime(), State::Qualified, 5000);
    let mut driver = Driver::new(directory.runtime());
    for slot in 1..=10 {
        driver.ask(&format!("watch {slot} 0 plain 0"));
    }
    wait_for_connections(directory.runtime(), 1);
    let took = driver.finish();
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(wait_for_connections(directory.runtime(), 0) < Duration::from_secs(1));
    drop(daemon);
}

#[test]
fn one_connection_serves_all_and_goes_with_the_last_registration() {
    let directory = TestDir::new().unwrap();
    let daemon = daemon(directory.runtime(), State::Qualified, 5000);
    let mut driver = Driver::new(directory.runtime());
    for round in 0..3 {
        for slot in 1..=100 {
            driver.ask(&format!("watch {slot} 0 plain 0"));
        }
        wait_for_connections(directory.runtime(), 1);
        daemon.publish(snapshot(State::Qualified, 6000 + round));
        let mut told: Vec<String> = (1..=100).map(|_| driver.event()).collect();
        told.sort();
        told.dedup();
        assert_eq!(told.len(), 100);
        for slot in 1..=100 {
            assert!(driver.ask(&format!("cancel {slot}")).starts_with("0 "));
        }
        wait_for_connections(directory.runtime(), 0);
    }
    let tasks = std::fs::read_dir(format!("/proc/{}/task", driver.child().id())).unwrap();
    let threads = tasks.count();
    assert!(threads <= 2, "{threads} threads are left");
    driver.finish();
}

//= API-38: a child has no registration of its parent's; its own work, and the parent's too
#[test]
fn a_child_begins_anew() {
    let directory = TestDir::new().unwrap();
    let daemon = daemon(directory.runtime(), State::Qualified, 5000);
    let mut driver = Driver::that_forks(directory.runtime());
    driver.ask("watch 1 0 plain 0");
    let answer = driver.ask("fork 1");
    assert_eq!(answer, "cancel 87 port 0 5000 register 0 cancel 87 own 0");
    assert_eq!(driver.event(), "1 port 0 type 3 thread same overlap 0", "in the child");
    daemon.publish(snapshot(State::Qualified, 5001));
    assert!(driver.event().starts_with("1 port 5001"), "in the parent");
    assert!(driver.ask("cancel 1").starts_with("0 "));
    driver.finish();
}

//= API-37, API-38: a child that lives on keeps nothing of its parent's open
#[test]
fn a_child_keeps_no_descriptor_of_its_parents() {
    let directory = TestDir::new().unwrap();
    let daemon = daemon(directory.runtime(), State::Qualified, 5000);
    let mut driver = Driver::that_forks(directory.runtime());
    driver.ask("watch 1 0 plain 0");
    let child: i32 = driver.ask("fork").parse().unwrap();
    let is_ours = |path: &std::path::PathBuf| {
        let path = path.to_string_lossy();
        path.starts_with("socket:") || path.starts_with("anon_inode:")
    };
    let open = || {
        let open = std::fs::read_dir(format!("/proc/{child}/fd")).unwrap();
        // One that is being closed is there no more when it is looked at.
        let open = open.filter_map(|it| std::fs::read_link(it.ok()?.path()).ok());
        open.filter(is_ours).collect::<Vec<_>>()
    };
    // The parent may be back from fork before the child has begun to close.
    let end = Instant::now() + PATIENCE;
    while !open().is_empty() {
        assert!(Instant::now() < end, "{:?}", open());
        std::thread::sleep(Duration::from_millis(1));
    }
    daemon.publish(snapshot(State::Qualified, 5001));
    assert!(driver.event().starts_with("1 port 5001"));
    // The daemon forgets the parent although the child is there.
    driver.ask("cancel 1");
    wait_for_connections(directory.runtime(), 0);
    let child = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(child, rustix::process::Signal::TERM).unwrap();
    driver.finish();
}
