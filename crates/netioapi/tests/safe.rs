//! The safe interface, as a Rust program meets it. One test after the other: the runtime directory
//! of the process is the environment's, so that they all share one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use netioapi::{
    AddressEvent, Error, Family, PortEvent, PortEventKind, Stable, Watch, stable_addresses,
    watch_addresses, watch_port,
};
use teredo_control::server::{Config, Server};
use teredo_control::testing::{TestDir, snapshot};
use teredo_control::{RuntimeDir, State};

const PATIENCE: Duration = Duration::from_secs(10);
const QUIET: Duration = Duration::from_millis(200);
const VARIABLE: &str = "TEREDO_RUNTIME_DIR";

/// Runs a test again in a process of its own with a runtime directory of its own.
fn in_own_process(name: &str, body: impl FnOnce(&RuntimeDir)) {
    if std::env::var_os("NETIOAPI_TEST").is_some_and(|value| value == name) {
        return body(&RuntimeDir::from_environment());
    }
    let directory = TestDir::new().unwrap();
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args([name, "--exact", "--nocapture"]).env("NETIOAPI_TEST", name);
    let output = again.env(VARIABLE, directory.runtime().path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn serve(directory: &RuntimeDir, state: State, port: u16) -> Server {
    Server::start(directory, Config::default(), snapshot(state, port)).unwrap()
}

fn watch(initial: bool) -> (Watch, Receiver<PortEvent>) {
    let (sender, events) = mpsc::channel();
    (watch_port(initial, move |event| sender.send(event).unwrap()).unwrap(), events)
}

fn port(events: &Receiver<PortEvent>) -> u16 {
    let event = events.recv_timeout(PATIENCE).unwrap();
    assert_eq!(event.kind, PortEventKind::Changed);
    event.port.map_or(0, std::num::NonZeroU16::get)
}

#[test]
fn the_port_and_its_changes() {
    in_own_process("the_port_and_its_changes", |directory| {
        assert_eq!(netioapi::port(), Err(Error::NotReady));
        let (watch, events) = watch(true);
        let initial = PortEvent { port: None, kind: PortEventKind::Initial };
        assert_eq!(events.try_recv(), Ok(initial), "before it returned");
        let server = serve(directory, State::Qualified, 5000);
        assert_eq!(port(&events), 5000);
        assert_eq!(netioapi::port().unwrap().get(), 5000);
        server.publish(snapshot(State::Qualified, 5001));
        assert_eq!(port(&events), 5001);
        watch.cancel();
        // The callback is gone, and with it its end of the channel.
        assert_eq!(events.try_recv(), Err(mpsc::TryRecvError::Disconnected));
    });
}

#[test]
fn dropping_a_guard_waits_for_the_callback_and_ends_it() {
    in_own_process("dropping_a_guard_waits_for_the_callback_and_ends_it", |directory| {
        let server = serve(directory, State::Qualified, 5000);
        let (entered, told) = mpsc::channel();
        let done = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&done);
        let watch = watch_port(false, move |_| {
            entered.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(200));
            *counter.lock().unwrap() += 1;
        });
        server.publish(snapshot(State::Qualified, 5001));
        told.recv_timeout(PATIENCE).unwrap();
        drop(watch.unwrap());
        assert_eq!(*done.lock().unwrap(), 1);
        server.publish(snapshot(State::Qualified, 5002));
        std::thread::sleep(QUIET);
        assert_eq!(*done.lock().unwrap(), 1);
        assert_eq!(Arc::strong_count(&done), 1, "the callback is dropped");
    });
}

#[test]
fn dropping_a_guard_inside_its_own_callback_makes_it_the_last_call() {
    in_own_process(
        "dropping_a_guard_inside_its_own_callback_makes_it_the_last_call",
        |directory| {
            let server = serve(directory, State::Qualified, 5000);
            let own: Arc<Mutex<Option<Watch>>> = Arc::default();
            let (sender, calls) = mpsc::channel();
            let inside = Arc::clone(&own);
            let watch = watch_port(false, move |event| {
                drop(inside.lock().unwrap().take());
                sender.send(event).unwrap();
            });
            *own.lock().unwrap() = Some(watch.unwrap());
            server.publish(snapshot(State::Qualified, 5001));
            assert_eq!(port(&calls), 5001);
            // Then the callback is dropped, although nobody waits for it.
            assert_eq!(calls.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
            server.publish(snapshot(State::Qualified, 5002));
            let start = Instant::now();
            while Arc::strong_count(&own) > 1 {
                assert!(start.elapsed() < PATIENCE);
                std::thread::yield_now();
            }
        },
    );
}

#[test]
fn a_panic_in_a_callback_ends_neither_program_nor_registration() {
    in_own_process("a_panic_in_a_callback_ends_neither_program_nor_registration", |directory| {
        let server = serve(directory, State::Qualified, 5000);
        let (sender, events) = mpsc::channel();
        let _watch = watch_port(false, move |event| {
            sender.send(event).unwrap();
            panic!("a callback may fail");
        });
        for next in [5001, 5002] {
            server.publish(snapshot(State::Qualified, next));
            assert_eq!(port(&events), next);
        }
    });
}

#[test]
fn stable_addresses_are_ready_or_pending() {
    in_own_process("stable_addresses_are_ready_or_pending", |directory| {
        let Stable::Ready(table) = stable_addresses(Family::V4, |_| {}).unwrap() else {
            panic!("IPv4 waits for nothing")
        };
        assert!(table.iter().all(|row| row.address.is_ipv4()));
        let server = serve(directory, State::Probe, 5000);
        let (sender, tables) = mpsc::channel();
        let pending = stable_addresses(Family::Any, move |table| sender.send(table).unwrap());
        let Stable::Pending(watch) = pending.unwrap() else { panic!("Teredo is probing") };
        assert!(tables.recv_timeout(QUIET).is_err());
        server.publish(snapshot(State::Offline, 0));
        let table = tables.recv_timeout(PATIENCE).unwrap();
        assert!(!table.is_empty());
        watch.cancel();
    });
}

#[test]
fn registrations_come_and_go_in_many_threads() {
    in_own_process("registrations_come_and_go_in_many_threads", |directory| {
        let server = serve(directory, State::Qualified, 5000);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..40 {
                        let first = watch_port(true, |_| {}).unwrap();
                        let second = watch_addresses(Family::Any, false, |event| {
                            assert_ne!(event, AddressEvent::Initial);
                        });
                        drop(first);
                        drop(second.unwrap());
                    }
                });
            }
            for port in 1..=1000 {
                server.publish(snapshot(State::Qualified, port));
            }
        });
        let (watch, events) = watch(false);
        server.publish(snapshot(State::Qualified, 7));
        assert_eq!(port(&events), 7);
        drop(watch);
        let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
        assert!(threads < 10, "{threads} threads are left");
    });
}
