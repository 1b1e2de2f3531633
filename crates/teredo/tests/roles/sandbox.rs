//! The sandbox of every role: nothing but what it needs, in every thread, and it says so.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use serde_json::{Value, json};

use crate::client::{address, client, server};
use crate::internet::{Internet, RELAY, RELAY_V6, SERVER, with_namespaces};
use crate::running::{Running, command};

/// What the kernel says of every thread of a process.
fn threads(role: &Running) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", role.id())).unwrap();
    tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap()).collect()
}

/// Asserts that a role has only these capabilities left, tells so, and is held to the rest.
fn is_held(role: &Running, name: &str, capabilities: &[&str], set: u64) {
    let told = role.any_fact();
    assert_eq!((&told["event"], &told["role"]), (&json!("sandbox"), &json!(name)));
    assert_eq!(told["capabilities"], json!(capabilities));
    assert_eq!(told["no_new_privileges"], json!(true));
    for status in threads(role) {
        let has = |line: String| assert!(status.contains(&line), "{name}, {line}: {status}");
        for kind in ["CapPrm", "CapEff"] {
            has(format!("{kind}:\t{set:016x}\n"));
        }
        for kind in ["CapInh", "CapAmb"] {
            has(format!("{kind}:\t{:016x}\n", 0));
        }
        has("NoNewPrivs:\t1\n".to_owned());
        has(format!("Seccomp:\t{}\n", if told["seccomp"] == true { 2 } else { 0 }));
    }
}

#[test]
fn every_role_keeps_what_it_needs_in_all_its_threads() {
    with_namespaces("sandbox::every_role_keeps_what_it_needs_in_all_its_threads", || {
        let internet = Internet::new();
        let address_of_server = SERVER.to_string();
        let server = Running::start(&internet.server, &["server", "--address", &address_of_server]);
        is_held(&server, "server", &[], 0);
        let address_of_relay = RELAY.to_string();
        let relay = ["relay", "--host-only", "--address", &address_of_relay, "--allow", "echo"];
        let relay = Running::start(&internet.relay, &relay);
        is_held(&relay, "relay", &["net_admin"], NET_ADMIN);
        let client = client(&internet, &[]);
        is_held(&client, "client", &["net_admin"], NET_ADMIN);
        assert!(threads(&client).len() > 1, "the control server has a thread of its own");

        // Held as they are, they do what they are for.
        assert!(address(&client.wait_for("qualified")).segments()[0] == 0x2001);
        internet.client.ping(RELAY_V6);
        let said = client.interrupt();
        let line = "teredo: sandbox: capabilities net_admin; no new privileges; ";
        assert_eq!(said.lines().filter(|said| said.starts_with(line)).count(), 1, "{said}");
        assert_eq!(server.interrupt().lines().filter(|said| said.contains("sandbox: ")).count(), 1);
        relay.interrupt();
        for host in [&internet.client, &internet.relay] {
            let names = fs::read_dir(host.runtime.runtime().path()).unwrap();
            assert_eq!(names.count(), 0, "the sockets are gone with their owner");
        }
    });
}

#[test]
fn the_status_of_a_client_shows_its_sandbox() {
    with_namespaces("sandbox::the_status_of_a_client_shows_its_sandbox", || {
        let internet = Internet::new();
        let _server = server(&internet);
        let client = client(&internet, &[]);
        let told = client.any_fact();
        client.wait_for("qualified");
        let status = |further: &[&str]| {
            let mut status = command(&[&["status"], further].concat());
            String::from_utf8(internet.client.command(&mut status).output().unwrap().stdout)
        };
        let shown = status(&[]).unwrap();
        let row = "Sandbox                 : capabilities net_admin; no new privileges; ";
        assert!(shown.lines().last().unwrap().starts_with(row), "{shown}");
        let shown: Value = serde_json::from_str(&status(&["--json"]).unwrap()).unwrap();
        for (field, value) in shown["sandbox"].as_object().unwrap() {
            assert_eq!(*value, told[field], "{field}");
        }
    });
}

#[test]
fn a_role_on_a_kernel_without_landlock_says_so_and_serves() {
    with_namespaces("sandbox::a_role_on_a_kernel_without_landlock_says_so_and_serves", || {
        let internet = Internet::new();
        let mut old = Command::new(std::env::current_exe().unwrap());
        old.args(["sandbox::run_without_landlock", "--exact", "--nocapture"]).env(INSTEAD, "1");
        internet.server.command(&mut old).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut server = old.spawn().unwrap();
        let said = BufReader::new(server.stderr.take().unwrap()).lines().map(Result::unwrap);
        let said: Vec<_> = said.skip_while(|line| !line.contains("sandbox")).take(2).collect();
        server.kill().unwrap();
        server.wait().unwrap();
        let missing = "without a part of the sandbox: landlock: this kernel does not have it";
        assert_eq!(said[0], format!("teredo: {missing}"));
        let rest = "capabilities none; no new privileges; without landlock; ";
        assert!(said[1].starts_with(&format!("teredo: sandbox: {rest}")), "{said:?}");
    });
}

/// No test, but what the test above starts: the server, on a kernel that is made older.
#[test]
fn run_without_landlock() {
    if std::env::var_os(INSTEAD).is_none() {
        return;
    }
    let filter = SeccompFilter::new(
        [(CREATE_RULESET, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(UNKNOWN),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let filter: BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter(&filter).unwrap();
    panic!("{}", command(&["server", "--address", &SERVER.to_string()]).exec());
}

const INSTEAD: &str = "TEREDO_TEST_RUN_WITHOUT_LANDLOCK";
/// The capability's bit.
const NET_ADMIN: u64 = 1 << 12;
/// `landlock_create_ruleset`, which has this number on all processors.
const CREATE_RULESET: i64 = 444;
/// `ENOSYS`.
const UNKNOWN: u32 = 38;
