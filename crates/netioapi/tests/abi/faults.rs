//! Whatever may be wrong with the daemon's place: a defined code each time, soon, nothing kept, and
//! the right answer as soon as there is a daemon.

use std::any::Any;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::{Resource, getrlimit, setrlimit};
use teredo_control::testing::{Impostor, TestDir, listening, snapshot};
use teredo_control::{RuntimeDir, State};

use crate::driver::{Driver, daemon};

/// What one call may take: it waits a second or two itself, and the machine may be busy.
const BOUND: Duration = Duration::from_secs(8);

/// What was put in the daemon's place, to be dropped before there is a daemon.
type Kept = Vec<Box<dyn Any>>;
/// Its name, and how it is made.
type Fault<'a> = (&'a str, &'a dyn Fn(&RuntimeDir) -> Kept);

/// All that a program may ask, and what it gets where there is no daemon.
fn check(driver: &mut Driver, fault: &str) {
    for (command, expected) in [
        ("port", "21 0"),
        ("watch 1 0 plain 0", "0 handle 1 calls 0"),
        ("cancel 1", "0 inside 0"),
        ("system ports", "0 types 1 type 1 ports 0 first 0"),
        ("subscribe 2", "0 handle 1"),
        ("unsubscribe 2", "0"),
        ("stable 3 0 plain", "0 handle 0"),
    ] {
        let start = Instant::now();
        let answer = driver.ask(command);
        assert!(answer.starts_with(expected), "{fault}: {command}: {answer}");
        assert!(start.elapsed() < BOUND, "{fault}: {command}: {:?}", start.elapsed());
    }
}

/// Puts things in the daemon's place one after the other, under a program that has registered
/// before. In the end there is a daemon, and nothing is left in the program.
fn go_through(faults: &[Fault<'_>]) {
    let directory = TestDir::new().unwrap();
    let mut driver = Driver::new(directory.runtime());
    driver.ask("watch 9 0 plain 0");
    check(&mut driver, "nothing");
    let before = descriptors(&mut driver);
    for (fault, make) in faults {
        let kept = make(directory.runtime());
        check(&mut driver, fault);
        drop(kept);
        clear(directory.runtime());
    }
    // The one connection that is being tried at this moment may be open.
    let after = descriptors(&mut driver);
    assert!(after <= before + 1, "{after} descriptors, before {before}");
    let server = daemon(directory.runtime(), State::Qualified, 5000);
    assert!(driver.event().starts_with("9 port 5000 type 0"), "once there is a daemon");
    assert_eq!(driver.ask("port"), "0 5000");
    drop(server);
    driver.finish();
}

fn descriptors(driver: &mut Driver) -> usize {
    fs::read_dir(format!("/proc/{}/fd", driver.child().id())).unwrap().count()
}

fn clear(directory: &RuntimeDir) {
    for path in [directory.page_socket(), directory.control_socket()] {
        let _ = fs::remove_dir(&path);
        let _ = fs::remove_file(&path);
    }
}

/// The same in both places.
fn both(make: impl Fn(&Path)) -> impl Fn(&RuntimeDir) -> Kept {
    move |directory| {
        make(&directory.page_socket());
        make(&directory.control_socket());
        Kept::new()
    }
}

//= API-02, API-09, API-17: files, directories, links and dead sockets in the daemon's place
#[test]
fn what_is_no_socket_is_no_daemon() {
    let unserved = |directory: &RuntimeDir, is_open: bool| -> Kept {
        let page = listening(&directory.page_socket(), SocketType::SEQPACKET).unwrap();
        let control = listening(&directory.control_socket(), SocketType::STREAM).unwrap();
        if is_open { vec![Box::new(page), Box::new(control)] } else { Kept::new() }
    };
    let real = TestDir::new().unwrap();
    let _server = daemon(real.runtime(), State::Qualified, 4000);
    let links = |directory: &RuntimeDir| {
        symlink(real.runtime().page_socket(), directory.page_socket()).unwrap();
        symlink(real.runtime().control_socket(), directory.control_socket()).unwrap();
        Kept::new()
    };
    go_through(&[
        ("garbage", &both(|path| fs::write(path, "garbage").unwrap())),
        ("directories", &both(|path| fs::create_dir(path).unwrap())),
        ("links to a device", &both(|path| symlink("/dev/zero", path).unwrap())),
        ("links to themselves", &both(|path| symlink(path, path).unwrap())),
        ("links to a daemon elsewhere", &links),
        ("sockets that refuse", &|directory| unserved(directory, false)),
        ("sockets that nobody accepts from", &|directory| unserved(directory, true)),
    ]);
}

//= API-02, API-09: without the directory, or with a file in its place
#[test]
fn without_the_directory_there_is_no_daemon() {
    let directory = TestDir::new().unwrap();
    let missing = RuntimeDir::at(directory.runtime().path().join("missing"));
    let mut driver = Driver::new(&missing);
    driver.ask("watch 9 0 plain 0");
    check(&mut driver, "no directory");
    fs::write(missing.path(), "a file").unwrap();
    check(&mut driver, "a file");
    fs::remove_file(missing.path()).unwrap();
    let _server = daemon(&missing, State::Qualified, 5000);
    assert!(driver.event().starts_with("9 port 5000"));
    driver.finish();
}

/// A page of this length with these first bytes and seals.
fn page(len: u64, begins: &[u8], seals: SealFlags) -> OwnedFd {
    let fd = rustix::fs::memfd_create("hostile", MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&fd, len).unwrap();
    if len > 0 {
        rustix::io::pwrite(&fd, begins, 0).unwrap();
    }
    rustix::fs::fcntl_add_seals(&fd, seals).unwrap();
    fd
}

//= API-02, API-09: pages of the wrong size, version or kind, and none at all
#[test]
fn a_page_that_is_none_tells_no_port() {
    const MAGIC: &[u8] = b"TEREDO\0P";
    let sealed = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE;
    let of_version = |version: u32| {
        // With an owner and a port.
        let words = [version, 1, 0, 0, 0, 0, 5000, 0].map(u32::to_ne_bytes);
        page(4096, &[MAGIC, words.as_flattened()].concat(), sealed)
    };
    let hands_out = |make: &dyn Fn() -> Vec<OwnedFd>, directory: &RuntimeDir| -> Kept {
        vec![Box::new(Impostor::pages(directory, make()).unwrap())]
    };
    let zero = || vec![fs::File::open("/dev/zero").unwrap().into()];
    go_through(&[
        ("no descriptor", &|it| hands_out(&Vec::new, it)),
        ("a device", &|it| hands_out(&zero, it)),
        ("an empty page", &|it| hands_out(&|| vec![page(0, MAGIC, sealed)], it)),
        ("a short page", &|it| hands_out(&|| vec![page(4095, MAGIC, sealed)], it)),
        ("a long page", &|it| hands_out(&|| vec![page(1 << 30, MAGIC, sealed)], it)),
        ("an open page", &|it| hands_out(&|| vec![page(4096, MAGIC, SealFlags::GROW)], it)),
        ("zeros", &|it| hands_out(&|| vec![page(4096, &[0], sealed)], it)),
        ("version 0", &|it| hands_out(&|| vec![of_version(0)], it)),
        ("version 2", &|it| hands_out(&|| vec![of_version(2)], it)),
        ("100 descriptors", &|it| hands_out(&|| (0..100).flat_map(|_| zero()).collect(), it)),
    ]);
}

//= API-09, API-17: a control socket that says half a message, a mebibyte, or nonsense
#[test]
fn what_says_nonsense_is_no_daemon() {
    let says = |text: &[u8], directory: &RuntimeDir| -> Kept {
        vec![Box::new(Impostor::control(directory, text.to_vec()).unwrap())]
    };
    go_through(&[
        ("nothing", &|it| says(b"", it)),
        ("half a message", &|it| says(b"{\"parameters\":", it)),
        ("a mebibyte without an end", &|it| says(&[b'x'; 1 << 20], it)),
        ("a mebibyte of messages", &|it| says(&b"{}\0".repeat(350_000), it)),
        ("nonsense", &|it| says(b"HTTP/1.1 400 Bad Request\r\n\r\n\0", it)),
        ("a status of another kind", &|it| says(b"{\"parameters\":{\"status\":[]}}\0", it)),
    ]);
}

//= API-02, API-09: sockets of another user in a directory that is not theirs
#[test]
fn the_sockets_of_another_user_are_not_believed() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let make = |directory: &RuntimeDir| -> Kept {
        let nobody = rustix::process::Uid::from_raw(65_534);
        let theirs = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
                let theirs = TestDir::new().unwrap();
                let server = daemon(theirs.runtime(), State::Qualified, 4000);
                (theirs, server)
            });
            thread.join().unwrap()
        });
        let runtime = theirs.0.runtime();
        fs::rename(runtime.page_socket(), directory.page_socket()).unwrap();
        fs::rename(runtime.control_socket(), directory.control_socket()).unwrap();
        vec![Box::new(theirs.1), Box::new(theirs.0)]
    };
    go_through(&[("another user", &make)]);
}

//= API-09, API-17: with ten thousand connections there is a port, and who is registered is told
#[test]
fn ten_thousand_connections_harm_no_program() {
    const PORT: &str = "0 5000";
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let enough = limit.maximum.is_none_or(|maximum| maximum >= 15_000);
    let directory = TestDir::new().unwrap();
    let daemon = daemon(directory.runtime(), State::Qualified, 5000);
    let mut driver = Driver::new(directory.runtime());
    driver.ask("watch 1 0 plain 0");
    let address = SocketAddrUnix::new(directory.runtime().control_socket()).unwrap();
    let crowd: Vec<OwnedFd> = (0..if enough { 10_000 } else { 500 })
        .map(|_| {
            let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
            let socket = socket_with(AddressFamily::UNIX, kind, flags, None).unwrap();
            connect(&socket, &address).unwrap();
            socket
        })
        .collect();
    assert_eq!(driver.ask("port"), PORT);
    // Another program finds the door shut: it is told when there is room.
    let mut late = Driver::new(directory.runtime());
    let start = Instant::now();
    assert_eq!(late.ask("watch 1 0 plain 0"), "0 handle 1 calls 0");
    assert_eq!(late.ask("port"), PORT);
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    daemon.publish(snapshot(State::Qualified, 5001));
    assert!(driver.event().starts_with("1 port 5001"));
    drop(crowd);
    assert!(late.event().starts_with("1 port 500"), "once there is room");
    for program in [driver, late] {
        program.finish();
    }
}
