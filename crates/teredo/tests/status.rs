//! What programs and people ask a running Teredo client: `teredo status`, `port`, `wait-online`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{BufRead, BufReader};
use std::num::NonZeroU16;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use common::Run;
use serde_json::{Value, json};
use teredo_control::server::{self, Config, Server};
use teredo_control::testing::{TestDir, snapshot};
use teredo_control::{
    Helper, HelperState, Nat, Network, Role, Sandbox, ServerAddress, SettingName, Snapshot, State,
    Type,
};

/// A daemon in this process, and where it is to be found.
struct Daemon {
    server: Server,
    directory: TestDir,
}

impl Daemon {
    fn start(first: Snapshot) -> Self {
        let directory = TestDir::new().unwrap();
        let server = Server::start(directory.runtime(), Config::default(), first).unwrap();
        Self { server, directory }
    }

    fn run(&self, arguments: &[&str]) -> Run {
        run(&self.directory, arguments)
    }
}

fn program(directory: &TestDir, arguments: &[&str]) -> Command {
    let mut command = common::command(arguments);
    command.env("TEREDO_RUNTIME_DIR", directory.runtime().path());
    command
}

fn run(directory: &TestDir, arguments: &[&str]) -> Run {
    Run::of(program(directory, arguments).output().unwrap())
}

/// A client in state `probe`.
fn probe() -> Snapshot {
    Snapshot {
        probing: Some(ServerAddress::Primary),
        network: Some(Network::Unmanaged),
        ..snapshot(State::Probe, 51_413)
    }
}

fn qualified() -> Snapshot {
    Snapshot {
        nat: Some(Nat::EndpointIndependent),
        upnp: Some(false),
        port_preserving: Some(true),
        external_mapping: Some("192.0.2.45:51413".parse().unwrap()),
        address: Some("2001:0:c000:201:0:3724:3fff:fdd2".parse().unwrap()),
        state: State::Qualified,
        probing: None,
        ..probe()
    }
}

fn helped(state: HelperState, refusal: Option<&str>) -> Snapshot {
    let endpoint = "203.0.113.30:3545".parse().unwrap();
    let helper = Helper { endpoint, state, refusal: refusal.map(str::to_owned) };
    Snapshot { helper: Some(helper), ..qualified() }
}

fn offline(reason: &str) -> Snapshot {
    Snapshot { reason: Some(reason.to_owned()), ..snapshot(State::Offline, 0) }
}

//= API-69: rows, order, column and words in every state
#[test]
fn the_table_is_that_of_netsh_in_every_state() {
    let secondary = Some(ServerAddress::Secondary);
    let relay = Snapshot {
        server_name: None,
        role: Some(Role::HostSpecificRelay),
        network: Some(Network::Unmanaged),
        ..snapshot(State::Qualified, 3545)
    };
    let dictated = Snapshot {
        kind: Type::EnterpriseClient,
        client_port: NonZeroU16::new(34_567),
        refresh_interval_s: 60,
        from_policy: vec![SettingName::Type, SettingName::ServerName, SettingName::ClientPort],
        network: Some(Network::Managed),
        ..snapshot(State::Dormant, 34_567)
    };
    let sandbox = Sandbox {
        capabilities: vec!["net_admin".to_owned()],
        no_new_privileges: true,
        landlock: true,
        seccomp: true,
    };
    let unheard = Snapshot { error_code: Some(12), ..offline("a-word-from-the-future") };
    let cases = [
        ("offline", offline("stopped")),
        ("no-answer", offline("no-answer")),
        ("no-secondary-answer", offline("no-secondary-answer")),
        ("symmetric-nat", Snapshot { nat: Some(Nat::PortSymmetric), ..offline("symmetric-nat") }),
        ("managed-network", offline("managed-network")),
        ("failure", unheard),
        ("dormant", dictated),
        ("probe-primary", probe()),
        ("probe-secondary", Snapshot { probing: secondary, ..probe() }),
        ("qualified", qualified()),
        ("interval", Snapshot { determined_interval_s: Some(90), ..qualified() }),
        ("helper", helped(HelperState::Registered, None)),
        ("host-specific-relay", relay),
        ("without", Snapshot { without: Some("hairpin,helper".to_owned()), ..qualified() }),
        ("sandbox", Snapshot { sandbox: Some(sandbox), ..qualified() }),
    ];
    let daemon = Daemon::start(Snapshot::default());
    for (name, snapshot) in cases {
        daemon.server.publish(snapshot);
        let shown = daemon.run(&["status"]);
        assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{name}");
        assert_golden(name, &shown.stdout);
    }
}

#[test]
fn every_kind_of_nat_has_its_word() {
    let daemon = Daemon::start(Snapshot::default());
    for (nat, word) in [
        (Nat::None, "none (global connectivity)"),
        (Nat::EndpointIndependent, "restricted"),
        (Nat::PortSymmetric, "symmetric (port)"),
        (Nat::AddressSymmetric, "symmetric"),
    ] {
        daemon.server.publish(Snapshot { nat: Some(nat), ..qualified() });
        let row = format!("NAT                     : {word}\n");
        assert!(daemon.run(&["status"]).stdout.contains(&row), "{word}");
    }
}

#[test]
fn every_state_of_the_helper_has_its_words() {
    let daemon = Daemon::start(Snapshot::default());
    for (state, refusal, words) in [
        (HelperState::Idle, None, "not needed"),
        (HelperState::Asking, None, "being asked"),
        (HelperState::Registered, None, "registered"),
        (HelperState::Refused, Some("full"), "refused (full)"),
        (HelperState::Refused, Some("address-in-use"), "refused (address in use)"),
        (HelperState::Silent, None, "no answer"),
    ] {
        let snapshot = helped(state, refusal);
        daemon.server.publish(snapshot.clone());
        let row = format!("Helper                  : 203.0.113.30:3545, {words}\n");
        assert!(daemon.run(&["status"]).stdout.contains(&row), "{words}");
        let fields = &daemon.run(&["status", "--json"]).json()[0];
        assert_eq!(fields["helper"], json!(snapshot.helper), "{words}");
    }
    daemon.server.publish(qualified());
    assert_eq!(daemon.run(&["status", "--json"]).json()[0]["helper"], Value::Null);
}

//= API-69: the machine form has the same fields
#[test]
fn the_machine_form_has_the_same_fields() {
    let daemon = Daemon::start(qualified());
    let shown = daemon.run(&["status", "--json"]);
    let read: Snapshot = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(read, qualified());
    let fields = &shown.json()[0];
    assert_eq!(fields["type"], json!("client"));
    assert_eq!(fields["external_mapping"], json!("192.0.2.45:51413"));
}

//= API-02, API-03, API-05: no daemon, off-line, and the states that have a port
#[test]
fn the_port_is_told_or_why_there_is_none() {
    let daemon = Daemon::start(offline("no-answer"));
    daemon.run(&["port"]).is_one_line(4, "Teredo is offline");
    for state in [State::Dormant, State::Probe, State::Qualified] {
        daemon.server.publish(snapshot(state, 51_413));
        let told = daemon.run(&["port"]);
        assert_eq!((told.code, told.stdout.as_str()), (0, "51413\n"), "{state:?}");
    }
    assert_eq!(daemon.run(&["port", "--json"]).json(), [json!({ "event": "port", "port": 51413 })]);
    let Daemon { server, directory } = daemon;
    drop(server);
    for subcommand in ["port", "status", "wait-online"] {
        run(&directory, &[subcommand]).is_one_line(3, "not running");
    }
}

#[test]
fn changes_of_the_port_are_told_over_ends_and_beginnings() {
    let daemon = Daemon::start(snapshot(State::Probe, 1_001));
    let mut watch = Watch::start(&daemon.directory, &[]);
    assert_eq!(watch.line(), "1001");
    daemon.server.publish(snapshot(State::Qualified, 1_001));
    daemon.server.publish(snapshot(State::Probe, 1_002));
    assert_eq!(watch.line(), "1002");
    let Daemon { server, directory } = daemon;
    drop(server);
    assert_eq!(watch.line(), "none");
    let mut second = Watch::start(&directory, &["--json"]);
    assert_eq!(second.json(), json!({ "event": "port", "port": Value::Null }));
    let first = snapshot(State::Probe, 1_002);
    let _server = Server::start(directory.runtime(), Config::default(), first).unwrap();
    assert_eq!(watch.line(), "1002");
    assert_eq!(second.json(), json!({ "event": "port", "port": 1002 }));
}

#[test]
fn waiting_ends_when_the_client_is_qualified_or_gone() {
    let daemon = Daemon::start(qualified());
    assert_eq!(daemon.run(&["wait-online", "--timeout", "0"]).code, 0);
    daemon.server.publish(offline("no-answer"));
    daemon.run(&["wait-online", "--timeout", "0"]).is_one_line(4, "offline");
    let mut waiting = program(&daemon.directory, &["wait-online", "--timeout", "20"]);
    let mut waiting = waiting.spawn().unwrap();
    daemon.server.publish(probe());
    std::thread::sleep(Duration::from_millis(100));
    assert!(waiting.try_wait().unwrap().is_none());
    daemon.server.publish(qualified());
    assert_eq!(waiting.wait().unwrap().code(), Some(0));
}

#[test]
fn waiting_wakes_a_dormant_client() {
    let daemon = Daemon::start(snapshot(State::Dormant, 51_413));
    let mut waiting = program(&daemon.directory, &["wait-online", "--timeout", "20"]);
    let mut waiting = waiting.spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    let command = loop {
        if let Some(command) = daemon.server.command() {
            break command;
        }
        assert!(Instant::now() < end, "nobody wakes it");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(matches!(command, server::Command::Wake));
    daemon.server.publish(qualified());
    assert_eq!(waiting.wait().unwrap().code(), Some(0));
}

/// A running `teredo port --watch`.
struct Watch {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watch {
    fn start(directory: &TestDir, further: &[&str]) -> Self {
        let mut command = program(directory, &[&["port", "--watch"], further].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn json(&mut self) -> Value {
        serde_json::from_str(&self.line()).unwrap()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `TEREDO_BLESS=1` writes what is shown.
fn assert_golden(name: &str, shown: &str) {
    let path = format!("{}/tests/golden/status-{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("TEREDO_BLESS").is_some() {
        std::fs::write(&path, shown).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(shown, golden, "{path}");
}
