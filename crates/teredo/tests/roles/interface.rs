//! The programming interface and the real daemon, as a program on its host sees them.

use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use netioapi::{Family, Stable};
use serde_json::{Value, json};

use crate::daemon::{ask, set, wait_for, with_daemon};
use crate::internet::{Host, PATIENCE};
use crate::running::{Running, command};

/// Runs one of the ignored tests below as a program on `host`; returns what it printed.
fn run_on(host: &Host, program: &str) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([program, "--exact", "--ignored", "--nocapture"]).stdin(Stdio::null());
    let output = host.command(&mut command).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn teredo(rows: &[netioapi::UnicastAddress]) -> Vec<Ipv6Addr> {
    let addresses = rows.iter().filter_map(|row| match row.address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    });
    addresses.filter(|address| address.segments()[..2] == [0x2001, 0]).collect()
}

//= API-42, API-43, API-47: a dormant client is woken by the request for IPv6, not by that for IPv4
//= API-40: with type disabled the table is there at once, without a Teredo address
#[test]
fn who_waits_for_stable_addresses_wakes_the_client() {
    with_daemon(
        "interface::who_waits_for_stable_addresses_wakes_the_client",
        "dormant-after = 1\n",
        |internet, _, daemon| {
            let host = &internet.client;
            let address = daemon.wait_for("qualified")["address"].clone();
            wait_for(host, "dormant", |it| it["state"] == "dormant");
            daemon.facts();
            let said = run_on(host, "interface::asks_for_stable_ipv4");
            assert!(said.contains("TABLE []"), "{said}");
            assert!(daemon.facts().is_empty(), "IPv4 does not need it");
            let said = run_on(host, "interface::asks_for_stable_ipv6");
            assert!(said.contains(&format!("PENDING [{}]", address.as_str().unwrap())), "{said}");

            set(host, &["type=disabled"]);
            wait_for(host, "off-line", |it| it["type"] == "disabled");
            let said = run_on(host, "interface::asks_for_stable_ipv6");
            assert!(said.contains("TABLE []"), "{said}");
            daemon.interrupt();
        },
    );
}

fn ask_for_stable(family: Family) {
    let (sender, tables) = channel();
    match netioapi::stable_addresses(family, move |table| sender.send(table).unwrap()).unwrap() {
        Stable::Ready(table) => println!("TABLE {:?}", teredo(&table)),
        Stable::Pending(watch) => {
            let table = tables.recv_timeout(PATIENCE).expect("never stable");
            println!("PENDING {:?}", teredo(&table));
            watch.cancel();
        }
    }
}

#[test]
#[ignore = "a program that another test runs on its host"]
fn asks_for_stable_ipv4() {
    ask_for_stable(Family::V4);
}

#[test]
#[ignore = "a program that another test runs on its host"]
fn asks_for_stable_ipv6() {
    ask_for_stable(Family::V6);
}

/// Descriptors and threads of a process.
fn held_by(daemon: &Running) -> (usize, usize) {
    let count = |what| fs::read_dir(format!("/proc/{}/{what}", daemon.id())).unwrap().count();
    (count("fd"), count("task"))
}

//= API-20: each restart by a setting is told as no port and then the same port, and none as twice
//= API-21: the same
#[test]
fn settings_that_restart_the_client_leave_nothing_behind() {
    with_daemon(
        "interface::settings_that_restart_the_client_leave_nothing_behind",
        "port = 40125\n",
        |internet, _, daemon| {
            let host = &internet.client;
            daemon.wait_for("qualified");
            let watch = Running::spawn_as_it_is(host, command(&["port", "--watch", "--json"]));
            assert_eq!(watch.fact()["port"], json!(40_125));
            let interval = |interval: u32| format!("refreshinterval={interval}");
            let restart = |name: &str| {
                set(host, &[&format!("servername={name}"), &interval(30)]);
                daemon.wait_for("qualified");
            };
            restart("203.0.113.11");
            thread::sleep(Duration::from_millis(100));
            let before = held_by(&daemon);
            for round in 0..RESTARTS {
                restart(if round % 2 == 0 { "203.0.113.10" } else { "203.0.113.11" });
            }
            thread::sleep(Duration::from_millis(100));
            assert_eq!(held_by(&daemon), before, "descriptors and threads");

            let ports: Vec<_> =
                watch.facts().into_iter().map(|fact| fact["port"].clone()).collect();
            assert_eq!(ports.last(), Some(&json!(40_125)));
            assert!(ports.windows(2).all(|two| two[0] != two[1]), "{ports:?}");
            // Two restarts while one of its callbacks runs are told as one.
            assert!(ports.len() > RESTARTS && ports.len() <= 2 * (RESTARTS + 1), "{ports:?}");
            assert!(
                ports.iter().all(|port| [Value::Null, json!(40_125)].contains(port)),
                "{ports:?}"
            );
            assert_eq!(ask(host, &["port"]).1, "40125\n");
            daemon.interrupt();
        },
    );
}

/// More than a leak of one descriptor for each could hide behind.
const RESTARTS: usize = 20;
