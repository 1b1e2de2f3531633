//! However the lab ends, it leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::run::{is_impossible, json, lab};

#[test]
fn asked_to_end_it_says_so_and_leaves_nothing() {
    if is_impossible() {
        return;
    }
    for signal in ["INT", "TERM", "HUP"] {
        let mark = format!("teredo-lab-end-{signal}-{}", std::process::id());
        let before = interfaces();
        let mut lab = start(&mark, &["--json", "--bytes", "60G"], "ping client 1 -> client 2");
        send(signal, &lab);
        let stderr = lab.stderr.take();
        let output = lab.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{signal}");
        let json = json(&output);
        assert!(json["error"].as_str().unwrap().contains("interrupted"), "{json}");
        assert_eq!(json["peer_ping"]["received"], 5, "what had been found out is told");
        assert_eq!(json["transfer"]["mbit_s"], Value::Null);
        drop(stderr);
        expect_gone(&mark);
        assert_eq!(interfaces(), before);
    }
}

#[test]
fn killed_it_leaves_nothing() {
    if is_impossible() {
        return;
    }
    let mark = format!("teredo-lab-kill-{}", std::process::id());
    let before = interfaces();
    let script = "sleep 60 & trap '' TERM HUP; sleep 60";
    let mut lab = start(&mark, &["--", "sh", "-c", script], "running in client 1");
    assert!(marked(&mark).len() >= 6, "the lab, its inside, four roles, and the command");
    lab.kill().unwrap();
    lab.wait().unwrap();
    expect_gone(&mark);
    assert_eq!(interfaces(), before);
}

#[test]
fn a_command_is_asked_to_end_first() {
    if is_impossible() {
        return;
    }
    let mark = format!("teredo-lab-ask-{}", std::process::id());
    let script = "trap 'exit 9' TERM; while :; do sleep 0.05; done";
    let mut lab = start(&mark, &["--", "sh", "-c", script], "running in client 1");
    // It may not have set its trap yet.
    std::thread::sleep(Duration::from_millis(500));
    send("TERM", &lab);
    assert_eq!(lab.wait().unwrap().code(), Some(9));
    expect_gone(&mark);
}

#[test]
fn a_role_that_dies_is_told() {
    if is_impossible() {
        return;
    }
    let mark = format!("teredo-lab-role-{}", std::process::id());
    let lab = start(&mark, &["--json", "--bytes", "60G"], "ping client 1 -> client 2");
    let of_relay = |pid: &u32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split('\0').any(|word| word == "relay")
    };
    let relay = marked(&mark).into_iter().find(of_relay).unwrap();
    let killed = Command::new("kill").args(["-KILL", &relay.to_string()]).status().unwrap();
    assert!(killed.success());
    let output = lab.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let json = json(&output);
    let error = json["error"].as_str().unwrap();
    assert!(error.contains("the relay has ended") && error.contains("signal: 9"), "{error}");
    expect_gone(&mark);
}

/// Starts a lab whose processes all have `mark` in their environment, and waits until it has said
/// `step`.
fn start(mark: &str, arguments: &[&str], step: &str) -> Child {
    let mut command = lab(arguments);
    command.env("TEREDO_TEST_MARK", mark).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains(step) {
        let read = stderr.read_line(&mut said).unwrap();
        assert!(read > 0, "the lab has ended early: {said}");
    }
    child.stderr = Some(stderr.into_inner());
    child
}

pub(crate) fn send(signal: &str, to: &Child) {
    let status = Command::new("kill").args([&format!("-{signal}"), &to.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// A dying TUN takes 15 to 25 ms, and there are eight.
pub(crate) fn expect_gone(mark: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !marked(mark).is_empty() {
        assert!(Instant::now() < deadline, "still there: {:?}", marked(mark));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The processes that have `mark` in their environment. Those that are dead but not buried have
/// none.
pub(crate) fn marked(mark: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_marked = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|it| it.ends_with(mark.as_bytes()))
    };
    pids.filter(is_marked).collect()
}

/// The interfaces outside that are named like those inside.
fn interfaces() -> Vec<String> {
    let devices = fs::read_to_string("/proc/self/net/dev").unwrap();
    let names = devices.lines().filter_map(|line| line.split_once(':'));
    let names = names.map(|(name, _)| name.trim().to_owned());
    names.filter(|name| name == "uplink" || name.starts_with("teredo")).collect()
}
