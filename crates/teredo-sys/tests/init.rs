//! The way the lab starts: user namespace, process-id namespace, network namespaces. This needs a
//! process with a single thread, so there is no test harness; it prints in the harness's style.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitCode};

use rustix::event::{PollFd, PollFlags, poll};
use teredo_sys::caps::Capability;
use teredo_sys::netlink::Netlink;
use teredo_sys::ns::{Forked, NetNamespace, enter_user_namespace, fork_into_pid_namespace};
use teredo_sys::signal::{Signal, Signals};
use teredo_sys::tun::Tun;

/// What the child ends with; any other status is a panic in it.
const STATUS: u8 = 42;

fn main() -> ExitCode {
    if let Err(error) = enter_user_namespace() {
        eprintln!("skipped: {error}");
        return ExitCode::SUCCESS;
    }
    let signals = Signals::new(&[Signal::Terminate]).unwrap();
    let mut terminator = terminate_me_soon();
    match fork_into_pid_namespace() {
        Ok(Forked::Child) => {
            inside(&signals);
            ExitCode::from(STATUS)
        }
        Ok(Forked::Parent(init)) => {
            let status = init.supervise().unwrap();
            terminator.wait().unwrap();
            assert_eq!(status.code(), Some(STATUS.into()), "{status}");
            // A child of process 1 that ignores everything is gone with it.
            assert_eq!(count_processes_named(SURVIVOR), 0);
            println!("test init ... ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("skipped: {error}");
            ExitCode::SUCCESS
        }
    }
}

/// A name that nobody else's process has.
const SURVIVOR: &str = "61.03544";

fn inside(signals: &Signals) {
    assert_eq!(std::process::id(), 1);
    if fs::read_link("/proc/self").unwrap() != Path::new("1") {
        eprintln!("skipped: a /proc of its own is refused here");
    }
    for capability in [Capability::NetAdmin, Capability::NetRaw, Capability::SysAdmin] {
        assert!(capability.is_effective(), "{capability}");
    }
    let namespace = NetNamespace::create().unwrap();
    namespace
        .run(|| {
            let tun = Tun::create("teredo").unwrap();
            Netlink::open().unwrap().set_link_up(tun.index()).unwrap();
        })
        .unwrap();
    // The shell dies with us; what it has started in the background only by the namespace.
    let script = format!("sleep {SURVIVOR} & wait");
    let mut shell = namespace.command(Command::new("sh").args(["-c", &script])).spawn().unwrap();
    assert!(shell.id() < 100, "numbered from 1 again");

    // The parent passes on what it is asked.
    poll(&mut [PollFd::new(signals, PollFlags::IN)], None).unwrap();
    let caught = signals.read().unwrap().unwrap();
    assert_eq!((caught.signal, caught.from_terminal), (Signal::Terminate, false));
    assert!(shell.try_wait().unwrap().is_none());
}

/// Has another process send this one a signal, once it supervises.
fn terminate_me_soon() -> Child {
    let script = format!("sleep 0.3; kill -TERM {}", std::process::id());
    Command::new("sh").args(["-c", &script]).spawn().unwrap()
}

fn count_processes_named(argument: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .filter(|line| line.split(|&byte| byte == 0).any(|word| word == argument.as_bytes()))
        .count()
}
