//! The server of the control socket, as its clients see it.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Read, Write};
use std::num::NonZeroU16;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use teredo_control::server::{Command, Config, Server, SetError, StartError};
use teredo_control::testing::{TestDir, snapshot};
use teredo_control::varlink::{
    CallError, DESCRIPTION, Frames, INTERFACE, MESSAGE_LEN_MAX, SERVICE_INTERFACE,
};
use teredo_control::{
    AllowedRule, AllowedRules, Client, Error, Event, NotReady, Origin, PortReader, RuleChange,
    RuntimeDir, SettingName, Settings, State, Subscription, Type,
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn start(directory: &TestDir) -> Server {
    let first = snapshot(State::Dormant, 40_000);
    Server::start(directory.runtime(), Config::default(), first).unwrap()
}

fn client(directory: &TestDir) -> Client {
    Client::connect(directory.runtime(), PATIENCE).unwrap()
}

/// A connection that can say anything.
struct Raw {
    socket: UnixStream,
    frames: Frames,
}

impl Raw {
    fn connect(directory: &TestDir) -> Self {
        let socket = UnixStream::connect(directory.runtime().control_socket()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, frames: Frames::default() }
    }

    fn send(&mut self, call: &Value) {
        let mut bytes = call.to_string().into_bytes();
        bytes.push(0);
        self.socket.write_all(&bytes).unwrap();
    }

    /// The next message; nothing once the server has hung up.
    fn receive(&mut self) -> Option<Value> {
        loop {
            if let Some(message) = self.frames.next_message().unwrap() {
                return Some(serde_json::from_slice(message).unwrap());
            }
            let mut bytes = [0; 1000];
            match self.socket.read(&mut bytes) {
                Ok(0) => return None,
                Ok(len) => self.frames.push(&bytes[..len]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn call(&mut self, method: &str) -> Value {
        self.send(&json!({ "method": method }));
        self.receive().unwrap()
    }
}

/// Waits for a command as the daemon does.
fn command(server: &Server) -> Command {
    let timeout = Timespec::try_from(PATIENCE).unwrap();
    poll(&mut [PollFd::new(server, PollFlags::IN)], Some(&timeout)).unwrap();
    server.command().unwrap()
}

#[test]
fn every_call_is_answered() {
    let directory = TestDir::new().unwrap();
    let server = start(&directory);
    let mut client = client(&directory);
    let status = client.status().unwrap();
    assert_eq!(status, *server.status());
    assert_eq!(status.snapshot, snapshot(State::Dormant, 40_000));
    assert_eq!((status.generation, status.port_changes), (1, 0));
    let info = client.info().unwrap();
    assert_eq!(info.interfaces, [SERVICE_INTERFACE, INTERFACE]);
    for interface in &info.interfaces {
        let description = client.interface_description(interface).unwrap();
        assert!(description.contains(&format!("interface {interface}\n")), "{description}");
    }
    assert_eq!(client.interface_description(INTERFACE).unwrap(), DESCRIPTION);
    let error = client.interface_description("org.example").unwrap_err();
    let expected = CallError::InterfaceNotFound("org.example".to_owned());
    assert!(matches!(error, Error::Call(error) if error == expected));
    assert!(client.status().is_ok(), "an error ends the call, not the connection");
}

#[test]
fn wishes_to_wake_are_one_and_nobody_waits_for_them() {
    let directory = TestDir::new().unwrap();
    let server = start(&directory);
    for _ in 0..5 {
        client(&directory).wake().unwrap();
    }
    assert!(matches!(command(&server), Command::Wake));
    assert!(server.command().is_none());
    let ready = poll(&mut [PollFd::new(&server, PollFlags::IN)], Some(&Timespec::default()));
    assert_eq!(ready, Ok(0));
}

#[test]
fn settings_reach_the_daemon_and_its_answer_the_caller() {
    let directory = TestDir::new().unwrap();
    let server = start(&directory);
    let settings = Settings {
        kind: Some(Type::EnterpriseClient),
        client_port: NonZeroU16::new(34_567),
        reset: vec![SettingName::ServerName],
        ..Settings::default()
    };
    let answers: [Result<(), SetError>; 3] = [
        Ok(()),
        Err(SetError::Invalid("server_name")),
        Err(SetError::Failed("a policy dictates the type".to_owned())),
    ];
    thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let mut client = client(&directory);
            [(); 4].map(|()| client.set_state(&settings))
        });
        for answer in answers {
            let Command::Set(received, responder) = command(&server) else { panic!() };
            assert_eq!(received, settings);
            responder.answer(answer);
        }
        drop(command(&server));
        let results = caller.join().unwrap();
        let results = results.map(|result| {
            result.map_err(|error| {
                let Error::Call(error) = error else { panic!("{error}") };
                error
            })
        });
        assert_eq!(results[0], Ok(()));
        assert_eq!(results[1], Err(CallError::InvalidParameter("server_name".to_owned())));
        assert_eq!(results[2], Err(CallError::SetFailed("a policy dictates the type".to_owned())));
        assert!(matches!(results[3], Err(CallError::SetFailed(_))), "dropped unanswered");
    });
}

#[test]
fn rules_are_told_and_change_by_the_daemons_word() {
    let directory = TestDir::new().unwrap();
    let server = start(&directory);
    let mut caller = client(&directory);
    assert_eq!(caller.rules().unwrap(), AllowedRules::default());
    let rule = AllowedRule {
        rule: "user:bittorrent".to_owned(),
        origin: Origin::RunTime,
        file: None,
        ports: Some(vec!["udp/6881-6889".to_owned()]),
    };
    let [add, remove] = [RuleChange::Add, RuleChange::Remove].map(|to| to(rule.rule.clone()));
    thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let kept = [&add, &remove, &remove].map(|change| caller.change_rules(change).ok());
            (kept, caller.rules().unwrap())
        });
        let Command::Rules(received, responder) = command(&server) else { panic!() };
        assert_eq!(received, add);
        server.publish_rules(vec![rule.clone()]);
        responder.answer_kept(Ok(true));
        for answer in [Ok(false), Err(SetError::Failed("there is none".to_owned()))] {
            let Command::Rules(received, responder) = command(&server) else { panic!() };
            assert_eq!(received, remove);
            responder.answer_kept(answer);
        }
        let (kept, rules) = caller.join().unwrap();
        assert_eq!(kept, [Some(true), Some(false), None]);
        assert_eq!(rules, AllowedRules { rules: vec![rule.clone()], left_off: 0 });
    });
    // What does not fit into a message is counted.
    let long = AllowedRule { file: Some("x".repeat(1_000)), ..rule };
    server.publish_rules(vec![long; 100]);
    let end = Instant::now() + PATIENCE;
    let rules = loop {
        let rules = client(&directory).rules().unwrap();
        if rules.left_off > 0 || Instant::now() > end {
            break rules;
        }
    };
    assert!(rules.rules.len() > 20 && rules.rules.len() + rules.left_off as usize == 100);
}

#[test]
fn more_changes_than_can_wait_are_refused() {
    let directory = TestDir::new().unwrap();
    let server = start(&directory);
    let call = json!({ "method": "org.teredo.Client.SetState", "parameters": { "type": "client" }});
    let mut clients: Vec<Raw> = (0..20).map(|_| Raw::connect(&directory)).collect();
    for client in &mut clients {
        client.send(&call);
    }
    // The refused ones are answered at once.
    let refused = clients.iter_mut().skip(16).map(|client| client.receive().unwrap());
    assert!(
        refused
            .map(|reply| reply["error"].clone())
            .all(|error| { error == "org.teredo.Client.SetFailed" })
    );
    while let Some(Command::Set(_, responder)) = server.command() {
        responder.answer(Ok(()));
    }
    for client in clients.iter_mut().take(16) {
        assert_eq!(client.receive().unwrap(), json!({ "parameters": {} }));
    }
}

#[test]
fn calls_may_come_in_any_pieces_and_any_number() {
    let directory = TestDir::new().unwrap();
    let _server = start(&directory);
    let call = br#"{"method":"org.teredo.Client.GetStatus","parameters":null}"#;
    let mut raw = Raw::connect(&directory);
    let calls = [&call[..], &[0]].concat().repeat(3);
    for byte in &calls {
        raw.socket.write_all(std::slice::from_ref(byte)).unwrap();
    }
    raw.socket.write_all(&calls.repeat(100)).unwrap();
    for _ in 0..303 {
        assert_eq!(raw.receive().unwrap()["parameters"]["status"]["port"], 40_000);
    }
    // Whoever says that there will be no more calls still gets all answers.
    raw.socket.write_all(&calls).unwrap();
    raw.socket.shutdown(std::net::Shutdown::Write).unwrap();
    for _ in 0..3 {
        assert_eq!(raw.receive().unwrap()["parameters"]["generation"], 1);
    }
    assert_eq!(raw.receive(), None);
}

#[test]
fn a_oneway_call_is_done_and_not_answered() {
    let directory = TestDir::new().unwrap();
    let server = start(&directory);
    let mut raw = Raw::connect(&directory);
    raw.send(&json!({ "method": "org.teredo.Client.Wake", "oneway": true }));
    raw.send(&json!({ "method": "org.teredo.Client.Nonsense", "oneway": true }));
    raw.send(&json!({ "method": "org.teredo.Client.SetState", "oneway": true }));
    raw.send(&json!({ "method": "org.teredo.Client.GetStatus" }));
    assert!(matches!(command(&server), Command::Wake));
    let Command::Set(_, responder) = command(&server) else { panic!() };
    responder.answer(Ok(()));
    assert_eq!(raw.receive().unwrap()["parameters"]["generation"], 1);
}

#[test]
fn nonsense_is_named_or_ends_the_connection() {
    let directory = TestDir::new().unwrap();
    let _server = start(&directory);
    let mut raw = Raw::connect(&directory);
    let error = |reply: Value| reply["error"].as_str().unwrap().to_owned();
    let not_found = "org.varlink.service.InterfaceNotFound";
    assert_eq!(error(raw.call("")), not_found);
    assert_eq!(error(raw.call("org.example.Get")), not_found);
    assert_eq!(error(raw.call("GetStatus")), not_found);
    let method = "org.varlink.service.MethodNotFound";
    assert_eq!(error(raw.call("org.teredo.Client.Get")), method);
    assert_eq!(error(raw.call("org.varlink.service.GetInfos")), method);
    let parameter = "org.varlink.service.InvalidParameter";
    assert_eq!(error(raw.call("org.varlink.service.GetInterfaceDescription")), parameter);
    raw.send(&json!({ "method": "org.teredo.Client.Wake", "parameters": { "now": true } }));
    assert_eq!(error(raw.receive().unwrap()), parameter);
    let deep = "[".repeat(10_000);
    let broken: [&[u8]; 8] = [
        b"\0",
        b"GET / HTTP/1.1\r\n\0",
        b"{}\0",
        b"[]\0",
        b"{\"method\":1}\0",
        b"{\"method\":\"x\",\"parameters\":[]}\0",
        b"{\"method\":\"\xff\"}\0",
        deep.as_bytes(),
    ];
    for bytes in broken {
        let mut raw = Raw::connect(&directory);
        raw.socket.write_all(bytes).unwrap();
        // It may have hung up already.
        let _ = raw.socket.write_all(&[0]);
        assert_eq!(raw.receive(), None, "{}", String::from_utf8_lossy(bytes));
    }
    assert!(client(&directory).status().is_ok());
}

#[test]
fn half_a_message_keeps_nobody_waiting() {
    let directory = TestDir::new().unwrap();
    let _server = start(&directory);
    let halves: Vec<Raw> = (0..100)
        .map(|_| {
            let mut raw = Raw::connect(&directory);
            raw.socket.write_all(br#"{"method":"org.teredo.Cl"#).unwrap();
            raw
        })
        .collect();
    assert!(client(&directory).status().is_ok());
    drop(halves);
    assert!(client(&directory).status().is_ok());
}

#[test]
fn a_message_of_a_mebibyte_is_refused_and_said_so() {
    let directory = TestDir::new().unwrap();
    let _server = start(&directory);
    for terminated in [false, true] {
        let mut raw = Raw::connect(&directory);
        let mut bytes = vec![b'x'; 1 << 20];
        if terminated {
            bytes.push(0);
        }
        // The server does not take it all in.
        let _ = raw.socket.write_all(&bytes);
        let reply = raw.receive().unwrap();
        assert_eq!(reply["error"], "org.teredo.Client.MessageTooLong");
        assert_eq!(reply["parameters"]["limit"], MESSAGE_LEN_MAX);
        assert_eq!(raw.receive(), None);
    }
    assert!(client(&directory).status().is_ok());
}

#[test]
fn a_subscriber_gets_the_status_at_once_and_after_each_change() {
    let directory = TestDir::new().unwrap();
    let server = start(&directory);
    let mut raw = Raw::connect(&directory);
    raw.send(&json!({ "method": "org.teredo.Client.GetStatus", "more": true }));
    let first = raw.receive().unwrap();
    assert_eq!(
        (&first["continues"], &first["parameters"]["generation"]),
        (&json!(true), &json!(1))
    );
    server.publish(snapshot(State::Dormant, 40_000));
    server.publish(snapshot(State::Offline, 0));
    let second = raw.receive().unwrap();
    let parameters = &second["parameters"];
    assert_eq!(second["continues"], true);
    assert_eq!((&parameters["generation"], &parameters["port_changes"]), (&json!(2), &json!(1)));
    assert_eq!(parameters["status"]["port"], Value::Null);
    // It has nothing more to say.
    raw.send(&json!({ "method": "org.teredo.Client.Wake" }));
    assert_eq!(raw.receive(), None);
}

#[test]
fn a_subscriber_who_reads_nothing_delays_nobody_and_ends_with_the_last_value() {
    let directory = TestDir::new().unwrap();
    let server = start(&directory);
    let mut stuck = Raw::connect(&directory);
    stuck.send(&json!({ "method": "org.teredo.Client.GetStatus", "more": true }));
    stuck.receive().unwrap();
    let mut live = Subscription::new(directory.runtime().clone()).unwrap();
    let reader = PortReader::at(directory.runtime().clone());
    for round in 1..=2_000_u16 {
        let start = Instant::now();
        server.publish(snapshot(State::Qualified, round));
        assert_eq!(reader.port(), Ok(NonZeroU16::new(round).unwrap()), "at once");
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        if round % 100 == 0 {
            while port(&mut live) != Some(round) {}
        }
    }
    let mut received = Vec::new();
    while received.last() != Some(&2_000) {
        let status = stuck.receive().unwrap();
        received.push(status["parameters"]["status"]["port"].as_u64().unwrap());
    }
    assert!(received.is_sorted());
    assert!(received.len() < 100, "old values were kept: {}", received.len());
}

fn port(subscription: &mut Subscription) -> Option<u16> {
    match subscription.next(Some(PATIENCE)).unwrap().unwrap() {
        Event::Status(status) => status.snapshot.port.map(NonZeroU16::get),
        Event::Gone => None,
    }
}

#[test]
fn a_hundred_subscribers_end_with_the_last_value() {
    let directory = TestDir::new().unwrap();
    let server = start(&directory);
    let mut subscriptions: Vec<_> =
        (0..100).map(|_| Subscription::new(directory.runtime().clone()).unwrap()).collect();
    for subscription in &mut subscriptions {
        assert_eq!(port(subscription), Some(40_000));
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=500 {
                server.publish(snapshot(State::Qualified, round));
            }
        });
        for subscription in &mut subscriptions {
            let mut last = 0;
            while last != 500 {
                let next = port(subscription).unwrap();
                assert!(next > last || last == 0, "{next} after {last}");
                last = next;
            }
        }
    });
}

#[test]
fn a_change_and_back_is_seen_by_who_has_missed_it() {
    let directory = TestDir::new().unwrap();
    let server = start(&directory);
    let before = client(&directory).status().unwrap();
    server.publish(snapshot(State::Offline, 0));
    server.publish(snapshot(State::Dormant, 40_000));
    let after = client(&directory).status().unwrap();
    assert_eq!(before.snapshot, after.snapshot);
    assert_eq!((after.generation, after.port_changes), (3, 2));
}

#[test]
fn one_daemon_at_a_time() {
    let directory = TestDir::new().unwrap();
    let server = start(&directory);
    let second = Server::start(directory.runtime(), Config::default(), snapshot(State::Probe, 1));
    let error = second.err().unwrap();
    assert!(matches!(&error, StartError::AlreadyRunning(_)));
    assert!(error.to_string().starts_with("already running"), "{error}");
    assert_eq!(client(&directory).status().unwrap(), *server.status());
    drop(server);
    assert!(matches!(Client::connect(directory.runtime(), PATIENCE), Err(Error::NotRunning)));
    let reader = PortReader::at(directory.runtime().clone());
    assert_eq!(reader.port(), Err(NotReady::NotRunning));
    start(&directory);
}

#[test]
fn many_start_and_one_wins() {
    let directory = TestDir::new().unwrap();
    for _ in 0..20 {
        let servers: Vec<_> = thread::scope(|scope| {
            let attempts: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let first = snapshot(State::Probe, 1);
                        Server::start(directory.runtime(), Config::default(), first)
                    })
                })
                .collect();
            attempts.into_iter().map(|attempt| attempt.join().unwrap()).collect()
        });
        assert_eq!(servers.iter().filter(|server| server.is_ok()).count(), 1);
        assert!(client(&directory).status().is_ok());
    }
    assert_eq!(std::fs::read_dir(directory.runtime().path()).unwrap().count(), 0);
}

#[test]
fn leftovers_are_replaced_and_what_others_put_there_is_left() {
    let directory = TestDir::new().unwrap();
    let path = directory.runtime().path();
    std::fs::write(path.join("page"), "garbage").unwrap();
    std::os::unix::fs::symlink("/dev/null", path.join("control")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(path.join(".page")).unwrap());
    let server = start(&directory);
    assert!(client(&directory).status().is_ok());
    // Somebody else's by now.
    std::fs::remove_file(path.join("control")).unwrap();
    std::fs::write(path.join("control"), "garbage").unwrap();
    drop(server);
    let left: Vec<_> = std::fs::read_dir(path).unwrap().flatten().collect();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].file_name(), "control");
}

#[test]
fn a_directory_in_the_place_of_a_socket_is_an_error_that_names_it() {
    let directory = TestDir::new().unwrap();
    std::fs::create_dir_all(directory.runtime().path().join("control")).unwrap();
    let result = Server::start(directory.runtime(), Config::default(), snapshot(State::Dormant, 1));
    let error = result.err().unwrap().to_string();
    assert!(error.contains("control"), "{error}");
}

#[test]
fn a_directory_that_others_write_to_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let directory = TestDir::new().unwrap();
    let path = directory.runtime().path();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o1777)).unwrap();
    let result = Server::start(directory.runtime(), Config::default(), snapshot(State::Dormant, 1));
    assert!(matches!(result, Err(StartError::UnsafeDirectory(_))));
    let missing = RuntimeDir::at(path.join("a/b"));
    let result = Server::start(&missing, Config::default(), snapshot(State::Dormant, 1));
    assert!(matches!(result, Err(StartError::System { .. })));
}

#[test]
fn a_directory_is_made_for_everybody_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let parent = TestDir::new().unwrap();
    let directory = RuntimeDir::at(parent.runtime().path().join("teredo"));
    let server = Server::start(&directory, Config::default(), snapshot(State::Dormant, 1));
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(directory.path().to_owned()), 0o755);
    assert_eq!(mode(directory.page_socket()), 0o666);
    assert_eq!(mode(directory.control_socket()), 0o666);
    drop(server);
}
