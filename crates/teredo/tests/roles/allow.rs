//! `teredo allow`, and rules by user and by systemd unit.

use std::fs;
use std::io;
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Uid;
use rustix::thread::set_thread_uid;
use serde_json::{Value, json};

use crate::client::{address, client, relay, server};
use crate::daemon::{Config, ask, wait_for};
use crate::internet::{Host, Internet, PATIENCE, with_namespaces};
use crate::running::command;

/// Longer than the way there and back, and what a port is looked for at the most.
const SHORT: Duration = Duration::from_millis(300);
const LISTEN_SEEN: Duration = Duration::from_secs(3);

fn allow(host: &Host, words: &[&str]) -> (i32, String, String) {
    ask(host, &[&["allow"], words].concat())
}

fn list(host: &Host) -> Vec<Value> {
    let (code, said, error) = allow(host, &["list", "--json"]);
    assert_eq!(code, 0, "{error}");
    let list: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(list["left_off"], 0);
    list["rules"].as_array().unwrap().clone()
}

fn rules(host: &Host) -> Vec<(String, String)> {
    let text = |rule: &Value, key: &str| rule[key].as_str().unwrap().to_owned();
    list(host).iter().map(|rule| (text(rule, "rule"), text(rule, "origin"))).collect()
}

fn pairs(rules: &[(&str, &str)]) -> Vec<(String, String)> {
    rules.iter().map(|(rule, origin)| ((*rule).to_owned(), (*origin).to_owned())).collect()
}

/// Whether a connection from the relay to this port of the client comes about.
fn is_open(internet: &Internet, to: Ipv6Addr, port: u16) -> bool {
    let connect = || TcpStream::connect_timeout(&(to, port).into(), SHORT).is_ok();
    internet.relay.namespace.run(connect).unwrap()
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + LISTEN_SEEN;
    while !is_so() {
        assert!(Instant::now() < end, "not {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn listen(host: &Host, port: u16) -> TcpListener {
    let bind = || TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
    host.namespace.run(bind).unwrap()
}

//= API-77: rules are added and removed while it runs, and outlive the daemon
#[test]
fn rules_change_while_the_daemon_runs_and_are_kept() {
    with_namespaces("allow::rules_change_while_the_daemon_runs_and_are_kept", || {
        let internet = Internet::new();
        let host = &internet.client;
        let (_server, _relay) = (server(&internet), relay(&internet, &[]));
        let config = Config::client("allow = [\"tcp/22\"]\n");
        let daemon = config.start(host);
        let at = address(&daemon.wait_for("qualified"));
        let _listeners = [22, 80].map(|port| listen(host, port));
        assert!(is_open(&internet, at, 22) && !is_open(&internet, at, 80));
        assert_eq!(rules(host), pairs(&[("tcp/22", "file")]));
        let file = list(host)[0]["file"].as_str().unwrap().to_owned();
        assert!(file.ends_with("/teredo.toml"), "{file}");

        assert_eq!(allow(host, &["add", "tcp/80", "echo"]).1, "Ok.\n");
        assert!(is_open(&internet, at, 80), "at once");
        assert_eq!(internet.relay.ping(at), 1);
        let all = [("tcp/22", "file"), ("tcp/80", "run_time"), ("echo", "run_time")];
        assert_eq!(rules(host), pairs(&all));
        assert_eq!(allow(host, &["add", "tcp/80", "tcp/22"]).0, 0, "they hold already");
        daemon.signal("-HUP");
        ask(host, &["set", "state", "refreshinterval=60"]);
        assert_eq!(rules(host), pairs(&all), "whatever else changes");

        daemon.interrupt();
        let daemon = config.start(host);
        let at = address(&daemon.wait_for("qualified"));
        assert!(is_open(&internet, at, 80), "outlives the daemon");
        assert_eq!(allow(host, &["remove", "tcp/80"]).1, "Ok.\n");
        assert!(!is_open(&internet, at, 80) && is_open(&internet, at, 22));
        let (code, _, error) = allow(host, &["remove", "tcp/22"]);
        assert_eq!((code, error.lines().count()), (1, 1), "{error}");
        assert!(error.contains("tcp/22 stands in ") && error.contains("teredo.toml"), "{error}");
        let (code, _, error) = allow(host, &["remove", "udp/53"]);
        assert!(code == 1 && error.contains("there is no rule udp/53"), "{error}");
        assert_eq!(allow(host, &["add", "tcp/x"]).0, 2);
        allow(host, &["remove", "echo"]);
        assert_eq!(rules(host), pairs(&[("tcp/22", "file")]));
        let kept = fs::read_to_string(config.path("teredo.toml.d/90-set-state.toml")).unwrap();
        assert!(!kept.contains("allow-added"), "{kept}");
        daemon.interrupt();
    });
}

//= API-77: a client at rest takes rules too
#[test]
fn rules_change_while_the_client_rests() {
    with_namespaces("allow::rules_change_while_the_client_rests", || {
        let internet = Internet::new();
        let host = &internet.client;
        let config = Config::client("type = \"disabled\"\n");
        let daemon = config.start(host);
        wait_for(host, "off-line", |it| it["state"] == "offline");
        assert_eq!(allow(host, &["add", "tcp/22", "user:0"]).0, 0);
        assert_eq!(rules(host), pairs(&[("tcp/22", "run_time"), ("user:0", "run_time")]));
        assert_eq!(list(host)[1]["ports"], json!([]));
        daemon.interrupt();
    });
}

#[test]
fn a_rule_at_run_time_is_for_teredo_allow_to_write() {
    let config = Config::client("allow-added = [\"tcp/22\"]\n");
    let file = config.path("teredo.toml");
    let arguments = ["daemon", "--check", "--config", file.to_str().unwrap()];
    let output = command(&arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("allow-added is kept by teredo allow"), "{said}");
}

//= API-72: others than root and the group may not change what comes in, but may see it
#[test]
fn who_has_no_privilege_sees_and_changes_nothing() {
    with_namespaces("allow::who_has_no_privilege_sees_and_changes_nothing", || {
        let internet = Internet::new();
        let host = &internet.client;
        let config = Config::client("type = \"disabled\"\nallow = [\"echo\"]\n");
        let daemon = config.start(host);
        wait_for(host, "off-line", |it| it["state"] == "offline");
        let copy = config.path("teredo");
        fs::copy(env!("CARGO_BIN_EXE_teredo"), &copy).unwrap();
        let nobody = |words: &[&str]| {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
            command.arg(&copy).arg("allow").args(words);
            let output = host.command(&mut command).output().unwrap();
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        };
        if nobody(&["--help"]).0 != Some(0) {
            println!("SKIPPED allow::who_has_no_privilege_sees_and_changes_nothing: one user here");
            return;
        }
        assert_eq!(nobody(&["list"]).0, Some(0));
        for change in ["add", "remove"] {
            let (code, said) = nobody(&[change, "echo"]);
            assert_eq!((code, said.lines().count()), (Some(6), 1), "{said}");
            assert!(said.contains("error 5"), "{said}");
        }
        assert_eq!(rules(host), pairs(&[("echo", "file")]));
        daemon.interrupt();
    });
}

//= API-77: a client started by hand takes rules until it ends
#[test]
fn without_a_daemon_rules_hold_until_the_end() {
    with_namespaces("allow::without_a_daemon_rules_hold_until_the_end", || {
        let internet = Internet::new();
        let host = &internet.client;
        let (_server, _relay) = (server(&internet), relay(&internet, &[]));
        let running = client(&internet, &["--allow", "udp/53"]);
        let at = address(&running.wait_for("qualified"));
        let _listener = listen(host, 80);
        assert_eq!(allow(host, &["add", "tcp/80"]).1, "Ok, until it ends.\n");
        assert!(is_open(&internet, at, 80));
        assert_eq!(rules(host), pairs(&[("udp/53", "command_line"), ("tcp/80", "run_time")]));
        let (code, _, error) = allow(host, &["remove", "udp/53"]);
        assert!(code == 1 && error.contains("command line"), "{error}");
        running.interrupt();
        assert_eq!(allow(host, &["list"]).0, 3);
    });
}

//= API-77: what a host-specific relay lets in changes while it runs
#[test]
fn a_host_specific_relay_takes_rules_too() {
    with_namespaces("allow::a_host_specific_relay_takes_rules_too", || {
        let internet = Internet::new();
        let (_server, running) = (server(&internet), relay(&internet, &["--host-only"]));
        let host = &internet.relay;
        let peer = client(&internet, &[]);
        peer.wait_for("qualified");
        let native = crate::internet::RELAY_V6;
        let _listener = listen(host, 80);
        let connect = || TcpStream::connect_timeout(&(native, 80).into(), SHORT).is_ok();
        let is_open = || internet.client.namespace.run(connect).unwrap();
        assert!(!is_open());
        assert_eq!(allow(host, &["add", "user:0"]).1, "Ok, until it ends.\n");
        assert!(is_open(), "the socket is this user's");
        assert_eq!(list(host)[0]["ports"], json!(["tcp/80"]));
        assert_eq!(allow(host, &["remove", "user:0"]).0, 0);
        assert!(!is_open());
        running.interrupt();
    });
}

//= API-77: a user's sockets are reached while they listen, and nobody else's
#[test]
fn a_users_sockets_are_reached_while_they_listen() {
    with_namespaces("allow::a_users_sockets_are_reached_while_they_listen", || {
        let internet = Internet::new();
        let host = &internet.client;
        let (_server, _relay) = (server(&internet), relay(&internet, &[]));
        // What a user namespace of one user has.
        let running = client(&internet, &["--allow", "user:0"]);
        let at = address(&running.wait_for("qualified"));
        assert!(!is_open(&internet, at, 80));
        let listener = listen(host, 80);
        let loopback = || TcpListener::bind((Ipv6Addr::LOCALHOST, 81)).unwrap();
        let _loopback = host.namespace.run(loopback).unwrap();
        wait_until("open", || is_open(&internet, at, 80));
        assert_eq!(list(host)[0]["ports"], json!(["tcp/80"]));
        drop(listener);
        wait_until("shut", || list(host)[0]["ports"] == json!([]));

        let nobody = || {
            set_thread_uid(Uid::from_raw(65_534))?;
            TcpListener::bind((Ipv6Addr::UNSPECIFIED, 8080))
        };
        match host.namespace.run(nobody).unwrap() {
            Err(error) => println!("skipped in part: one user here: {error}"),
            Ok(_listener) => {
                thread::sleep(Duration::from_millis(1_500));
                assert!(!is_open(&internet, at, 8080), "another user's");
                assert_eq!(allow(host, &["add", "user:65534"]).0, 0);
                assert!(is_open(&internet, at, 8080));
                assert_eq!(allow(host, &["remove", "user:65534"]).0, 0);
                assert!(!is_open(&internet, at, 8080));
            }
        }
        let (code, _, error) = allow(host, &["add", "user:nobody-is-called-so"]);
        assert!(code == 1 && error.contains("there is no user nobody-is-called-so"), "{error}");
        running.interrupt();
    });
}

/// A control group of a unit, as systemd would make it, in which this process can be for a while.
struct Unit {
    slice: PathBuf,
    home: PathBuf,
    name: String,
}

impl Unit {
    fn new() -> io::Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let own = own.ok_or(io::ErrorKind::NotFound)?.to_owned();
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(PathBuf::from);
        let root = roots.into_iter().find(|root| root.join("cgroup.procs").exists());
        let root = root.ok_or(io::ErrorKind::NotFound)?;
        let name = format!("test@{}.service", std::process::id());
        let slice = root.join(format!("teredo-test-{}.slice", std::process::id()));
        fs::create_dir(&slice)?;
        let unit = Self { slice, home: root.join(own), name };
        fs::create_dir(unit.slice.join(&unit.name))?;
        Ok(unit)
    }

    /// Does something while this process is in the group.
    fn run<T>(&self, body: impl FnOnce() -> T) -> io::Result<T> {
        let number = std::process::id().to_string();
        fs::write(self.slice.join(&self.name).join("cgroup.procs"), &number)?;
        let result = body();
        fs::write(self.home.join("cgroup.procs"), &number)?;
        Ok(result)
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let _ = fs::remove_dir(self.slice.join(&self.name));
        let _ = fs::remove_dir(&self.slice);
    }
}

//= API-77: a systemd unit's sockets are reached while they listen
#[test]
fn a_units_sockets_are_reached_while_they_listen() {
    with_namespaces("allow::a_units_sockets_are_reached_while_they_listen", || {
        let unit = match Unit::new() {
            Ok(unit) => unit,
            Err(error) => {
                println!("SKIPPED allow::a_units_sockets_are_reached_while_they_listen: {error}");
                return;
            }
        };
        let internet = Internet::new();
        let host = &internet.client;
        let (_server, _relay) = (server(&internet), relay(&internet, &[]));
        let running = client(&internet, &["--allow", &format!("unit:{}", unit.name)]);
        let at = address(&running.wait_for("qualified"));
        let _other = listen(host, 81);
        let listener = unit.run(|| listen(host, 80)).unwrap();
        wait_until("open", || is_open(&internet, at, 80));
        assert!(!is_open(&internet, at, 81), "of no unit");
        assert_eq!(list(host)[0]["ports"], json!(["tcp/80"]));
        drop(listener);
        wait_until("shut", || list(host)[0]["ports"] == json!([]));
        let said = running.interrupt();
        assert!(!said.contains("cannot see"), "{said}");
    });
}

//= API-74: a socket that listens and may be reached keeps the client awake, and a new one wakes it
#[test]
fn who_serves_others_is_not_dormant() {
    with_namespaces("allow::who_serves_others_is_not_dormant", || {
        let internet = Internet::new();
        let host = &internet.client;
        let _server = server(&internet);
        let config = Config::client("dormant-after = 1\nallow = [\"tcp/22\", \"echo\"]\n");
        let _others = (listen(host, 23), {
            let loopback = || TcpListener::bind((Ipv6Addr::LOCALHOST, 22)).unwrap();
            host.namespace.run(loopback).unwrap()
        });
        let daemon = config.start(host);
        daemon.wait_for("qualified");
        wait_for(host, "dormant", |it| it["state"] == "dormant");

        let listener = listen(host, 2222);
        thread::sleep(Duration::from_millis(1_200));
        wait_for(host, "still dormant", |it| it["state"] == "dormant");
        daemon.facts();
        assert_eq!(allow(host, &["add", "tcp/2222"]).0, 0);
        daemon.wait_for("qualified");
        thread::sleep(Duration::from_secs(3));
        let slept = daemon.facts().into_iter().find(|fact| fact["state"] != "qualified");
        assert_eq!(slept, None);
        drop(listener);
        wait_for(host, "dormant again", |it| it["state"] == "dormant");
        let _listener = listen(host, 2222);
        let woken = Instant::now();
        wait_for(host, "awake", |it| it["state"] == "qualified");
        assert!(woken.elapsed() < PATIENCE);
        daemon.interrupt();
    });
}
