//! The programs in `examples`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use teredo_control::State;
use teredo_control::testing::{TestDir, snapshot};
use teredo_tests::namespace::{Namespace, run};
use teredo_tests::{needs, program};

use crate::build;
use crate::driver::{daemon, daemon_inside};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

fn next_line(child: &mut Child) -> String {
    let mut line = String::new();
    // One byte at a time: nothing may be lost in a buffer.
    let output = child.stdout.as_mut().unwrap();
    BufReader::with_capacity(1, output).read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn check_firewall(namespace: &Namespace, firewall: &Path) {
    let directory = TestDir::new().unwrap();
    let mut command = namespace.command(firewall);
    command.env("TEREDO_RUNTIME_DIR", directory.runtime().path());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let open =
        || run(namespace.command("nft").args(["list", "set", "inet", "teredo_firewall", "ports"]));
    assert_eq!(next_line(&mut child), "closed");
    assert!(!open().unwrap().contains("elements"));
    let daemon = daemon_inside(namespace, directory.runtime(), State::Qualified, 5000);
    for port in [5000, 5001] {
        daemon.publish(snapshot(State::Qualified, port));
        while next_line(&mut child) != format!("open: {port}") {}
        assert!(open().unwrap().contains(&format!("elements = {{ {port} }}")));
    }
    drop(daemon);
    assert_eq!(next_line(&mut child), "closed");
    assert!(!open().unwrap().contains("elements"));
    // One ends by its input, the other by a signal.
    drop(child.stdin.take());
    let process = rustix::process::Pid::from_child(&child);
    if !firewall.ends_with("firewall") {
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
    }
    assert!(child.wait().unwrap().success());
    assert!(open().is_err(), "the table is gone");
}

#[test]
fn the_firewalls_follow_the_port() {
    if needs::skip_for(needs::missing(&[])) {
        return;
    }
    let namespace = Namespace::new("fw").unwrap();
    check_firewall(&namespace, &build::program(&example("firewall.c"), "netioapi", true));
    let target = ["--package", "netioapi", "--example", "firewall"];
    check_firewall(&namespace, &program::executable(&target, &[]).unwrap());
}

#[test]
fn python_gets_the_port_by_ctypes() {
    if needs::skip_for(needs::missing_programs(&["python3"])) {
        return;
    }
    let directory = TestDir::new().unwrap();
    let daemon = daemon(directory.runtime(), State::Qualified, 5000);
    let mut python = Command::new("python3");
    python.arg(example("port.py")).env("LD_LIBRARY_PATH", build::dist().join("lib"));
    python.env("TEREDO_RUNTIME_DIR", directory.runtime().path());
    let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(next_line(&mut child), "5000");
    daemon.publish(snapshot(State::Qualified, 5001));
    assert_eq!(next_line(&mut child), "5001");
    drop(daemon);
    assert_eq!(next_line(&mut child), "Teredo is not running on this host.");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
