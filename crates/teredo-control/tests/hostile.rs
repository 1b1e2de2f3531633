//! Whatever stands in the daemon's place: a defined answer, soon, and nothing kept.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Write;
use std::num::NonZeroU16;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use teredo_control::server::{Config, Server};
use teredo_control::testing::{Impostor, TestDir, listening, snapshot};
use teredo_control::{Client, Error, Event, NotReady, PortReader, RuntimeDir, State, Subscription};
use teredo_sys::ns::NetNamespace;
use teredo_sys::page::OwnedPage;

/// What a call may take at most, with much room: a second is what it waits for itself.
const BOUND: Duration = Duration::from_secs(8);

/// Asks in all three ways; nobody may hang, and a subscription says that there is no daemon.
fn ask(directory: &RuntimeDir) -> (NotReady, Error) {
    let start = Instant::now();
    let port = PortReader::at(directory.clone()).port().unwrap_err();
    let timeout = Duration::from_millis(300);
    let status = Client::connect(directory, timeout).and_then(|mut client| client.status());
    let mut subscription = Subscription::new(directory.clone()).unwrap();
    let event = subscription.next(Some(timeout)).unwrap();
    assert!(matches!(event, Some(Event::Gone) | None), "{event:?}");
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    (port, status.unwrap_err())
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn nothing_there() {
    let directory = TestDir::new().unwrap();
    assert!(matches!(ask(directory.runtime()), (NotReady::NotRunning, Error::NotRunning)));
    let missing = RuntimeDir::at(directory.runtime().path().join("missing"));
    assert!(matches!(ask(&missing), (NotReady::NotRunning, Error::NotRunning)));
    fs::write(missing.path(), "a file").unwrap();
    assert!(matches!(ask(&missing), (NotReady::NotRunning, Error::NotRunning)));
    let endless = RuntimeDir::at("/tmp/".to_owned() + &"x".repeat(200));
    assert!(matches!(ask(&endless), (NotReady::NotRunning, Error::NotRunning)));
}

#[test]
fn something_else_there() {
    let make: [fn(&Path); 5] = [
        |path| fs::write(path, "garbage").unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| symlink("/dev/zero", path).unwrap(),
        |path| symlink(path, path).unwrap(),
        |path| {
            let pipe = rustix::fs::CWD;
            let mode = rustix::fs::Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(pipe, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        },
    ];
    for make in make {
        let directory = TestDir::new().unwrap();
        make(&directory.runtime().page_socket());
        make(&directory.runtime().control_socket());
        let result = ask(directory.runtime());
        assert!(matches!(result, (NotReady::Invalid, Error::Invalid)), "{result:?}");
    }
}

#[test]
fn a_link_to_a_real_daemon_is_not_followed() {
    let (real, fake) = (TestDir::new().unwrap(), TestDir::new().unwrap());
    let _server = serve(&real);
    symlink(real.runtime().page_socket(), fake.runtime().page_socket()).unwrap();
    symlink(real.runtime().control_socket(), fake.runtime().control_socket()).unwrap();
    assert!(matches!(ask(fake.runtime()), (NotReady::Invalid, Error::Invalid)));
    // The directory itself may be one.
    fs::remove_dir_all(fake.runtime().path()).unwrap();
    symlink(real.runtime().path(), fake.runtime().path()).unwrap();
    assert!(PortReader::at(fake.runtime().clone()).port().is_ok());
    fs::remove_file(fake.runtime().path()).unwrap();
}

#[test]
fn sockets_without_anybody_behind() {
    let directory = TestDir::new().unwrap();
    drop(seqpacket(&directory.runtime().page_socket()));
    drop(UnixListener::bind(directory.runtime().control_socket()).unwrap());
    assert!(matches!(ask(directory.runtime()), (NotReady::NotRunning, Error::NotRunning)));
}

#[test]
fn sockets_of_the_other_kind() {
    let directory = TestDir::new().unwrap();
    let _page = UnixListener::bind(directory.runtime().page_socket()).unwrap();
    let _control = seqpacket(&directory.runtime().control_socket());
    assert!(matches!(ask(directory.runtime()), (NotReady::Invalid, Error::Invalid)));
}

#[test]
fn sockets_that_nobody_accepts_from() {
    let directory = TestDir::new().unwrap();
    let _page = seqpacket(&directory.runtime().page_socket());
    let _control = UnixListener::bind(directory.runtime().control_socket()).unwrap();
    assert!(matches!(ask(directory.runtime()), (NotReady::TimedOut, Error::TimedOut)));
}

#[test]
fn sockets_with_a_full_backlog() {
    let directory = TestDir::new().unwrap();
    let kinds = [
        (SocketType::SEQPACKET, directory.runtime().page_socket()),
        (SocketType::STREAM, directory.runtime().control_socket()),
    ];
    let mut kept = Vec::new();
    for (kind, path) in kinds {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let address = SocketAddrUnix::new(&path).unwrap();
        let socket = socket_with(AddressFamily::UNIX, kind, flags, None).unwrap();
        bind(&socket, &address).unwrap();
        listen(&socket, 0).unwrap();
        kept.push(socket);
        loop {
            let socket = socket_with(AddressFamily::UNIX, kind, flags, None).unwrap();
            if rustix::net::connect(&socket, &address).is_err() {
                break;
            }
            kept.push(socket);
        }
    }
    assert!(matches!(ask(directory.runtime()), (NotReady::TimedOut, Error::TimedOut)));
}

#[test]
fn pages_that_are_none() {
    let sealed = |len: u64, seals| {
        let fd = rustix::fs::memfd_create("hostile", MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&fd, len).unwrap();
        rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
        fd
    };
    let good = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE;
    let pages: [Option<OwnedFd>; 7] = [
        None,
        Some(sealed(4096, good)),
        Some(sealed(0, good)),
        Some(sealed(4095, good)),
        Some(sealed(1 << 30, good)),
        Some(sealed(4096, SealFlags::GROW)),
        Some(fs::File::open("/dev/zero").unwrap().into()),
    ];
    for page in pages {
        let (directory, shown) = (TestDir::new().unwrap(), format!("{page:?}"));
        let _impostor = Impostor::pages(directory.runtime(), Vec::from_iter(page)).unwrap();
        let reader = PortReader::at(directory.runtime().clone());
        assert_eq!(reader.port(), Err(NotReady::Invalid), "{shown}");
    }
}

#[test]
fn pages_whose_owner_is_gone() {
    let page = OwnedPage::create().unwrap();
    let fd = page.as_fd().try_clone_to_owned().unwrap();
    drop(page);
    let directory = TestDir::new().unwrap();
    let _impostor = Impostor::pages(directory.runtime(), vec![fd]).unwrap();
    let reader = PortReader::at(directory.runtime().clone());
    assert_eq!(reader.port(), Err(NotReady::NotRunning));
}

#[test]
fn many_descriptors_at_once_are_not_kept() {
    let page = OwnedPage::create().unwrap();
    page.publish(1);
    let directory = TestDir::new().unwrap();
    let many = (0..200).map(|_| page.as_fd().try_clone_to_owned().unwrap());
    let _impostor = Impostor::pages(directory.runtime(), many.collect()).unwrap();
    let reader = PortReader::at(directory.runtime().clone());
    let before = open_descriptors();
    for _ in 0..10 {
        assert_eq!(reader.port(), Ok(NonZeroU16::MIN));
        assert_eq!(PortReader::at(directory.runtime().clone()).port(), Ok(NonZeroU16::MIN));
    }
    // Other tests run at the same time.
    assert!(open_descriptors() < before + 150);
}

#[test]
fn replies_that_are_none() {
    let replies: [&[u8]; 5] = [
        b"\0",
        b"{}\0",
        b"HTTP/1.1 400 Bad Request\r\n\r\n\0",
        b"{\"parameters\":{\"status\":{}}}\0",
        &[b'x'; 1 << 20],
    ];
    for reply in replies {
        let directory = TestDir::new().unwrap();
        let _impostor = Impostor::control(directory.runtime(), reply.to_vec()).unwrap();
        let (port, error) = ask(directory.runtime());
        assert_eq!(port, NotReady::NotRunning);
        assert!(matches!(error, Error::Invalid | Error::Call(_)), "{error:?}");
    }
}

#[test]
fn the_end_of_a_call_is_the_end_of_the_wait() {
    let directory = TestDir::new().unwrap();
    let listener = UnixListener::bind(directory.runtime().control_socket()).unwrap();
    thread::scope(|scope| {
        // Hangs up after half a message.
        scope.spawn(|| listener.accept().unwrap().0.write_all(b"{\"parameters\":"));
        let mut client = Client::connect(directory.runtime(), BOUND).unwrap();
        assert!(matches!(client.status(), Err(Error::Closed)));
    });
}

#[test]
fn a_stranger_is_not_believed() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let directory = TestDir::new().unwrap();
    let theirs = as_nobody(|| {
        // In a directory that they may not write to, root has put a socket of theirs.
        let other = TestDir::new().unwrap();
        let page = seqpacket(&other.runtime().page_socket());
        let control = UnixListener::bind(other.runtime().control_socket()).unwrap();
        (other, page, control)
    });
    let runtime = theirs.0.runtime();
    fs::rename(runtime.page_socket(), directory.runtime().page_socket()).unwrap();
    fs::rename(runtime.control_socket(), directory.runtime().control_socket()).unwrap();
    assert!(matches!(ask(directory.runtime()), (NotReady::Untrusted, Error::Untrusted)));
    // In a directory of their own they are the daemon; whoever asks there wants that.
    fs::rename(directory.runtime().page_socket(), runtime.page_socket()).unwrap();
    assert_eq!(PortReader::at(runtime.clone()).port(), Err(NotReady::TimedOut));
}

#[test]
fn an_ordinary_user_reads_what_root_publishes() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let directory = TestDir::new().unwrap();
    let _server = serve(&directory);
    as_nobody(|| {
        assert_eq!(PortReader::at(directory.runtime().clone()).port(), Ok(NonZeroU16::MIN));
        assert!(Client::connect(directory.runtime(), BOUND).unwrap().status().is_ok());
    });
}

#[test]
fn another_network_namespace_has_no_port() {
    let Ok(namespace) = NetNamespace::create() else {
        eprintln!("skipped: needs the right to make a network namespace");
        return;
    };
    let directory = TestDir::new().unwrap();
    let _server = serve(&directory);
    let reader = PortReader::at(directory.runtime().clone());
    assert!(reader.port().is_ok());
    let there = namespace.run(|| reader.port()).unwrap();
    assert_eq!(there, Err(NotReady::OtherNamespace));
    assert!(reader.port().is_ok(), "here it still has");
}

#[test]
fn a_reader_keeps_no_descriptor() {
    let directory = TestDir::new().unwrap();
    let reader = PortReader::at(directory.runtime().clone());
    for _ in 0..20 {
        let server = serve(&directory);
        assert!(reader.port().is_ok());
        drop(server);
        assert_eq!(reader.port(), Err(NotReady::NotRunning));
    }
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let pages = maps.lines().filter(|line| line.contains("teredo-state")).count();
    // Those of tests that run at the same time.
    assert!(pages < 10, "{pages} pages are still mapped");
}

fn serve(directory: &TestDir) -> Server {
    let first = snapshot(State::Qualified, 1);
    Server::start(directory.runtime(), Config::default(), first).unwrap()
}

fn seqpacket(path: &Path) -> OwnedFd {
    listening(path, SocketType::SEQPACKET).unwrap()
}

/// On a thread that is another user from then on.
fn as_nobody<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    let nobody = rustix::process::Uid::from_raw(65_534);
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            body()
        });
        thread.join().unwrap()
    })
}
