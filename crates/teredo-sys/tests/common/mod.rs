//! A network namespace for each test, as root or as an ordinary user.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "not every test file uses all of it")]

use std::io;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use teredo_sys::caps::Capability;
use teredo_sys::epoll::{Event, Events, Interest, Poller};
use teredo_sys::ns::NetNamespace;
use teredo_sys::tun::Tun;

/// Longer than anything here takes, shorter than anybody waits.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);

const INSIDE: &str = "TEREDO_TEST_IN_USER_NAMESPACE";

/// Runs `body` in a network namespace of its own. `test` is the name of the calling test: without
/// the privilege, it is started again inside a user namespace. Where that is refused too, the test
/// is skipped, and says so.
pub(crate) fn in_namespace(test: &str, body: impl FnOnce(&NetNamespace) + Send) {
    match NetNamespace::create() {
        Ok(namespace) => namespace.run(|| body(&namespace)).unwrap(),
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => panic!("{error}"),
        Err(error) if std::env::var_os(INSIDE).is_some() => eprintln!("skipped: {error}"),
        Err(_) => again_in_user_namespace(test),
    }
}

/// By `unshare` of util-linux, because this process has threads.
fn again_in_user_namespace(test: &str) {
    let probe = Command::new("unshare").args(["--user", "--map-root-user", "true"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {} is missing, and user namespaces are refused", Capability::SysAdmin);
        return;
    }
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test} fails in a user namespace");
}

/// Waits until `source` is readable.
pub(crate) fn wait_for(source: impl AsFd) -> Event {
    let poller = Poller::new().unwrap();
    poller.add(source, 1, Interest::Read).unwrap();
    let mut events = Events::with_capacity(1);
    poller.wait(&mut events, Some(DEADLINE)).unwrap();
    events.iter().next().expect("nothing arrived in time")
}

/// The next packet that the kernel routes into `tun`.
pub(crate) fn packet(tun: &Tun) -> Vec<u8> {
    wait_for(tun);
    let mut buf = vec![0; 65_536];
    let len = tun.recv(&mut buf).unwrap();
    buf.truncate(len);
    buf
}
