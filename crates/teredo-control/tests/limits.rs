//! Floods, and who may do what.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Read, Write};
use std::num::NonZeroU16;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Gid, Resource, Uid, getrlimit, setrlimit};
use teredo_control::server::{Command, Config, Server};
use teredo_control::testing::{TestDir, snapshot};
use teredo_control::varlink::CallError;
use teredo_control::{Client, Error, Event, PortReader, Settings, State, Subscription};

const PATIENCE: Duration = Duration::from_secs(20);

fn start(directory: &TestDir, config: Config) -> Server {
    Server::start(directory.runtime(), config, snapshot(State::Qualified, 1)).unwrap()
}

fn client(directory: &TestDir) -> Result<Client, Error> {
    Client::connect(directory.runtime(), PATIENCE)
}

fn is_refused(directory: &TestDir) -> bool {
    let result = client(directory).and_then(|mut client| client.status());
    matches!(result, Err(Error::Call(CallError::TooManyClients)))
}

#[test]
fn ten_thousand_connections_end_in_a_refusal() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let directory = TestDir::new().unwrap();
    let server = start(&directory, Config::default());
    let mut subscription = Subscription::new(directory.runtime().clone()).unwrap();
    assert!(matches!(subscription.next(Some(PATIENCE)), Ok(Some(Event::Status(_)))));
    let address = SocketAddrUnix::new(directory.runtime().control_socket()).unwrap();
    let enough = limit.maximum.is_none_or(|maximum| maximum >= 15_000);
    let connections: Vec<OwnedFd> = (0..if enough { 10_000 } else { 500 })
        .map(|_| {
            let flags = SocketFlags::CLOEXEC;
            let kind = SocketType::STREAM;
            let socket = socket_with(AddressFamily::UNIX, kind, flags, None).unwrap();
            connect(&socket, &address).unwrap();
            socket
        })
        .collect();
    if enough {
        assert!(is_refused(&directory));
    }
    // Who is in stays in, and the port is there for everybody.
    server.publish(snapshot(State::Qualified, 2));
    let event = subscription.next(Some(PATIENCE)).unwrap();
    let Some(Event::Status(status)) = event else { panic!("{event:?}") };
    assert_eq!(status.snapshot.port, NonZeroU16::new(2));
    let reader = PortReader::at(directory.runtime().clone());
    assert_eq!(reader.port(), Ok(NonZeroU16::new(2).unwrap()));
    drop(connections);
    while is_refused(&directory) {
        thread::yield_now();
    }
}

#[test]
fn ten_thousand_requests_for_the_page_are_all_answered() {
    let directory = TestDir::new().unwrap();
    let _server = start(&directory, Config::default());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_500 {
                    let reader = PortReader::at(directory.runtime().clone());
                    assert_eq!(reader.port(), Ok(NonZeroU16::MIN));
                }
            });
        }
    });
}

#[test]
fn one_user_can_not_use_up_all_connections() {
    let directory = TestDir::new().unwrap();
    let config = Config { clients_max: 8, clients_per_user_max: 3, ..Config::default() };
    let _server = start(&directory, config);
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut client = client(&directory).unwrap();
        client.status().unwrap();
        kept.push(client);
    }
    assert!(is_refused(&directory));
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped in part: needs root");
        return;
    }
    kept.clear();
    while is_refused(&directory) {
        thread::yield_now();
    }
    // Three others take six; what is left is for root.
    for user in 1_000..1_002 {
        become_user(user, &[], || {
            for _ in 0..3 {
                let mut client = client(&directory).unwrap();
                client.status().unwrap();
                kept.push(client);
            }
            assert!(is_refused(&directory));
        });
    }
    become_user(1_002, &[], || assert!(is_refused(&directory)));
    let mut root = client(&directory).unwrap();
    root.status().unwrap();
}

#[test]
fn who_says_nothing_makes_room_unless_subscribed() {
    let directory = TestDir::new().unwrap();
    let silence_max = Duration::from_millis(200);
    let server = start(&directory, Config { silence_max, ..Config::default() });
    let mut silent = UnixStream::connect(directory.runtime().control_socket()).unwrap();
    silent.write_all(b"{\"method\":").unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut subscription = Subscription::new(directory.runtime().clone()).unwrap();
    assert!(matches!(subscription.next(Some(PATIENCE)), Ok(Some(Event::Status(_)))));
    let mut speaking = client(&directory).unwrap();
    for _ in 0..10 {
        speaking.status().unwrap();
        thread::sleep(silence_max / 4);
    }
    let end = silent.read(&mut [0]);
    assert!(matches!(end, Ok(0)) || end.is_err_and(|it| it.kind() == ErrorKind::ConnectionReset));
    assert_eq!(subscription.next(Some(Duration::ZERO)).unwrap(), None);
    server.publish(snapshot(State::Qualified, 2));
    assert!(matches!(subscription.next(Some(PATIENCE)), Ok(Some(Event::Status(_)))));
}

//= SEC-12, T-21: settings, the server among them, are changed by whom the owner trusts
#[test]
fn only_root_the_daemons_user_and_the_group_change_settings() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    const GROUP: u32 = 4_711;
    let directory = TestDir::new().unwrap();
    let server = start(&directory, Config { group: Some(GROUP), ..Config::default() });
    let set = || match client(&directory).unwrap().set_state(&Settings::default()) {
        Ok(()) => true,
        Err(Error::Call(CallError::PermissionDenied)) => false,
        Err(other) => panic!("{other}"),
    };
    thread::scope(|scope| {
        let results = scope.spawn(|| {
            [
                set(),
                become_user(1_000, &[], set),
                become_user(1_000, &[1, 2, 3], set),
                become_user(1_000, &[1, GROUP, 3], set),
            ]
        });
        let mut answered = 0;
        while answered < 2 {
            match server.command() {
                Some(Command::Set(_, responder)) => {
                    responder.answer(Ok(()));
                    answered += 1;
                }
                Some(Command::Wake | Command::Rules(..)) => panic!("nobody asked for it"),
                None => thread::yield_now(),
            }
        }
        assert_eq!(results.join().unwrap(), [true, false, false, true]);
        assert!(server.command().is_none());
    });
    // Everybody may wake it.
    become_user(1_000, &[], || client(&directory).unwrap().wake().unwrap());
    assert!(matches!(server.command(), Some(Command::Wake)));
}

#[test]
fn groups_are_found_by_name() {
    assert_eq!(Config::group_named("root"), Some(0));
    assert_eq!(Config::group_named("no such group"), None);
}

/// Runs `body` on a thread that is another user, in these groups.
fn become_user<T: Send>(user: u32, groups: &[u32], body: impl FnOnce() -> T + Send) -> T {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            rustix::thread::set_thread_groups(&groups).unwrap();
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            body()
        });
        thread.join().unwrap()
    })
}
