//! `NotifyTeredoPortChange`, and its successor.

use std::time::Duration;

use teredo_control::State;
use teredo_control::testing::{FakeDaemon, TestDir, snapshot, test_arguments};

use crate::driver::{Driver, QUIET, daemon, port_of};

//= API-11: without a callback 87, and the handle becomes null
//= API-12: without a place for the handle 87, and the callback is not called
#[test]
fn missing_arguments_are_refused() {
    let directory = TestDir::new().unwrap();
    let mut driver = Driver::new(directory.runtime());
    assert_eq!(driver.ask("watch null callback"), "87 handle 0");
    assert_eq!(driver.ask("watch null handle"), "87");
    driver.expect_quiet(QUIET);
    driver.finish();
}

//= API-13: the initial call comes once, before the function returns, on the registering thread
//= API-14: with port 0 although there is a port
//= API-16: the context arrives as it was given, and may be null
#[test]
fn the_initial_call_confirms_and_says_nothing() {
    let directory = TestDir::new().unwrap();
    let daemon = daemon(directory.runtime(), State::Qualified, 5000);
    let mut driver = Driver::new(directory.runtime());
    assert_eq!(driver.ask("watch 1 1 plain 0"), "0 handle 1 calls 1");
    assert_eq!(driver.event(), "1 port 0 type 3 thread same overlap 0");
    assert_eq!(driver.ask("watch 2 255 null 0"), "0 handle 1 calls 0");
    assert_eq!(driver.event(), "null port 0 type 3");
    driver.expect_quiet(QUIET);
    daemon.publish(snapshot(State::Qualified, 5001));
    let mut events = [driver.event(), driver.event()];
    events.sort();
    assert_eq!(events, ["1 port 5001 type 0 thread other overlap 0", "null port 5001 type 0"]);
    driver.finish();
}

//= API-15: without an initial call there is none for a second
#[test]
fn without_being_asked_for_there_is_no_initial_call() {
    let directory = TestDir::new().unwrap();
    let _daemon = daemon(directory.runtime(), State::Qualified, 5000);
    let mut driver = Driver::new(directory.runtime());
    assert_eq!(driver.ask("watch 1 0 plain 0"), "0 handle 1 calls 0");
    driver.expect_quiet(Duration::from_secs(1));
    driver.finish();
}

//= API-17: registering works without a daemon; when one starts, its port is told
//= API-18: a change is told once, with type 0, on another thread
//= API-19: the end of the client is told as port 0
//= API-21: no two calls in a row carry the same port
#[test]
fn every_change_is_told() {
    let directory = TestDir::new().unwrap();
    let mut driver = Driver::new(directory.runtime());
    assert_eq!(driver.ask("watch 1 0 plain 0"), "0 handle 1 calls 0");
    driver.expect_quiet(QUIET);
    let daemon = daemon(directory.runtime(), State::Qualified, 5000);
    assert_eq!(driver.event(), "1 port 5000 type 0 thread other overlap 0");
    daemon.publish(snapshot(State::Probe, 5000));
    daemon.publish(snapshot(State::Qualified, 5000));
    driver.expect_quiet(QUIET);
    daemon.publish(snapshot(State::Qualified, 5001));
    assert_eq!(driver.event(), "1 port 5001 type 0 thread other overlap 0");
    daemon.publish(snapshot(State::Offline, 0));
    assert_eq!(port_of(&driver.event()), 0);
    daemon.publish(snapshot(State::Probe, 5002));
    assert_eq!(port_of(&driver.event()), 5002);
    drop(daemon);
    assert_eq!(port_of(&driver.event()), 0);
    driver.expect_quiet(QUIET);
    driver.finish();
}

//= API-20: a client that comes back with the same port is told as 0 and then the port
//= API-24: registrations survive a daemon that is killed and started again
#[test]
fn a_killed_daemon_and_its_successor_are_told() {
    let directory = TestDir::new().unwrap();
    let start = || {
        let (arguments, first) = (test_arguments("fake_daemon"), snapshot(State::Qualified, 5000));
        FakeDaemon::start(directory.runtime(), &arguments, &first).unwrap()
    };
    let mut daemon = start();
    let mut driver = Driver::new(directory.runtime());
    driver.ask("watch 1 0 plain 0");
    for _ in 0..5 {
        daemon.kill().unwrap();
        assert_eq!(port_of(&driver.event()), 0);
        daemon = start();
        assert_eq!(port_of(&driver.event()), 5000);
    }
    driver.expect_quiet(QUIET);
    driver.finish();
}

//= API-22: a slow callback is never entered twice, and the last of five changes comes last
#[test]
fn changes_during_a_call_are_merged_and_the_last_one_is_told() {
    let directory = TestDir::new().unwrap();
    let daemon = daemon(directory.runtime(), State::Qualified, 5000);
    let mut driver = Driver::new(directory.runtime());
    driver.ask("watch 1 0 slow 200");
    let mut ports = vec![5000];
    for port in [5001, 5002, 5003, 5004, 5005] {
        daemon.publish(snapshot(State::Qualified, port));
        std::thread::sleep(Duration::from_millis(20));
    }
    while ports.last() != Some(&5005) {
        let event = driver.event();
        if event.contains(" port ") {
            assert!(event.ends_with("overlap 0"), "{event}");
            assert_ne!(ports.last(), Some(&port_of(&event)));
            ports.push(port_of(&event));
        }
    }
    assert!(ports.is_sorted() && ports.len() < 6, "{ports:?}");
    assert_eq!(driver.event(), "1 done");
    driver.expect_quiet(QUIET);
    driver.finish();
}

//= API-23: a callback that does not return delays no other
#[test]
fn registrations_are_independent() {
    let directory = TestDir::new().unwrap();
    let daemon = daemon(directory.runtime(), State::Qualified, 5000);
    let mut driver = Driver::new(directory.runtime());
    driver.ask("watch 1 0 slow 2000");
    driver.ask("watch 2 0 plain 0");
    for port in [5001, 5002, 5003] {
        daemon.publish(snapshot(State::Qualified, port));
        loop {
            let event = driver.event();
            if event.starts_with("2 ") {
                assert_eq!(port_of(&event), port);
                break;
            }
            assert!(event.starts_with("1 port 5001"), "{event}");
        }
    }
    assert_eq!(driver.ask("cancel 2").split(' ').next(), Some("0"));
    driver.finish();
}

//= API-25: registering from inside a callback works
//= API-26: so does asking for the port
#[test]
fn a_callback_may_use_the_library() {
    let directory = TestDir::new().unwrap();
    let daemon = daemon(directory.runtime(), State::Qualified, 5000);
    let mut driver = Driver::new(directory.runtime());
    driver.ask("watch 1 0 query 0");
    driver.ask("watch 2 0 register 3");
    daemon.publish(snapshot(State::Qualified, 5001));
    let mut events: Vec<String> = (0..4).map(|_| driver.event()).collect();
    events.sort();
    assert_eq!(events[0], "1 port 5001 type 0 thread other overlap 0");
    assert_eq!(events[1], "1 query 0 5001");
    assert_eq!(events[3], "2 registered 0");
    daemon.publish(snapshot(State::Qualified, 5002));
    let events: Vec<String> = (0..5).map(|_| driver.event()).collect();
    assert!(events.iter().any(|event| event.starts_with("3 port 5002 type 0")), "{events:?}");
    driver.finish();
}

#[test]
fn the_successor_interface_tells_the_same() {
    let directory = TestDir::new().unwrap();
    let mut driver = Driver::new(directory.runtime());
    assert_eq!(driver.ask("system ports"), "0 types 1 type 1 ports 0 first 0");
    let daemon = daemon(directory.runtime(), State::Qualified, 5000);
    assert_eq!(driver.ask("system ports"), "0 types 1 type 1 ports 1 first 5000");
    assert_eq!(driver.ask("subscribe 1"), "0 handle 1");
    driver.expect_quiet(QUIET);
    daemon.publish(snapshot(State::Qualified, 5001));
    assert_eq!(driver.event(), "1 types 1 type 1 ports 1 first 5001");
    drop(daemon);
    assert_eq!(driver.event(), "1 types 1 type 1 ports 0 first 0");
    assert_eq!(driver.ask("unsubscribe 1"), "0");
    assert_eq!(driver.ask("unsubscribe 1"), "87");
    driver.finish();
}
