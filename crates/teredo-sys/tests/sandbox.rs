//! What the sandbox keeps a process from, and what it leaves it. Each case is a process of its own,
//! with a single thread; this prints in the test harness's style.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{TcpListener, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::mpsc::channel;
use std::thread;

use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
use rustix::net::sockopt::{set_ipv6_tclass, set_ipv6_unicast_hops};
use rustix::net::{AddressFamily, SocketType, netlink};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use teredo_sys::caps::Capability;
use teredo_sys::netlink::Netlink;
use teredo_sys::ns::{NetNamespace, enter_user_namespace};
use teredo_sys::raw::RawIpv6;
use teredo_sys::sandbox::{Needs, Sandbox, enter};
use teredo_sys::sysctl;
use teredo_sys::tun::Tun;

/// A case, and the signal that it ends by, if any.
type Case = (&'static str, fn(&Path), Option<i32>);

const CASES: &[Case] = &[
    ("files_are_out_of_reach_but_those_needed", files, None),
    ("names_resolve_where_that_is_needed", names, None),
    ("calls_that_nobody_needs_fail", calls, None),
    ("running_a_program_ends_the_process", run_program, Some(libc::SIGSYS)),
    ("capabilities_are_gone_in_every_thread", capabilities, None),
    ("devices_can_be_made_where_that_is_needed", devices, None),
    ("a_second_thread_forbids_it", second_thread, None),
    ("entering_twice_is_harmless", twice, None),
    ("a_kernel_without_landlock_is_told", without_landlock, None),
    ("a_kernel_without_seccomp_is_told", without_seccomp, None),
];

const CASE: &str = "TEREDO_TEST_CASE";

fn main() -> ExitCode {
    if let Some(name) = std::env::var_os(CASE) {
        let directory = PathBuf::from(std::env::var_os("TEREDO_TEST_DIR").unwrap());
        let case = CASES.iter().find(|(case, ..)| name == *case).unwrap();
        case.1(&directory);
        return ExitCode::SUCCESS;
    }
    if !Capability::SysAdmin.is_effective()
        && let Err(error) = enter_user_namespace()
    {
        eprintln!("skipped in part: {error}");
    }
    let namespace = NetNamespace::create().ok();
    let directory = std::env::temp_dir().join(format!("teredo-sandbox-{}", std::process::id()));
    let mut failed = 0;
    for (name, _, signal) in CASES {
        fs::create_dir(&directory).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(CASE, name).env("TEREDO_TEST_DIR", &directory);
        if let Some(namespace) = &namespace {
            namespace.command(&mut command);
        }
        let status = command.status().unwrap();
        let as_expected = if signal.is_some() {
            status.signal() == *signal || !has_seccomp()
        } else {
            status.success()
        };
        println!("test {name} ... {}", if as_expected { "ok" } else { "FAILED" });
        failed += u8::from(!as_expected);
        fs::remove_dir_all(&directory).unwrap();
    }
    ExitCode::from(failed)
}

fn has_seccomp() -> bool {
    Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()
}

/// Enters, and whether landlock and seccomp are there to be tested.
fn enter_whole(needs: &Needs) -> bool {
    let sandbox = enter(needs).unwrap();
    for missing in &sandbox.missing {
        eprintln!("skipped: {missing}");
    }
    sandbox.landlock && sandbox.seccomp && sandbox.missing.is_empty()
}

fn refused<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

fn files(directory: &Path) {
    let [readable, writable] = ["readable", "writable"].map(|name| directory.join(name));
    for directory in [&readable, &writable] {
        fs::create_dir(directory).unwrap();
        fs::write(directory.join("file"), "before").unwrap();
    }
    let (own, new) = (directory.join("own"), writable.join("new"));
    fs::write(&own, "one that is out of reach").unwrap();
    let needs = Needs {
        readable: vec![readable.clone(), directory.join("does-not-exist")],
        writable: vec![writable.clone()],
        ..Needs::default()
    };
    let opened = File::open(&own).unwrap();
    if !enter_whole(&needs) {
        return;
    }
    // Not even as user 0, to whom all of them belong.
    for path in ["/", "/etc/passwd", "/proc/self/exe", "/dev/null", own.to_str().unwrap()] {
        assert!(refused(File::open(path)), "{path}");
    }
    assert!(refused(fs::write(directory.join("another"), "")));
    assert!(refused(fs::write("/proc/sys/kernel/core_pattern", "core")));
    assert_eq!(io::read_to_string(opened).unwrap(), "one that is out of reach");
    assert_eq!(fs::read_to_string(readable.join("file")).unwrap(), "before");
    assert!(refused(fs::write(readable.join("file"), "after")));
    assert!(refused(fs::remove_file(readable.join("file"))));
    // Replaced by renaming, as a careful writer does; and a socket.
    fs::write(&new, "after").unwrap();
    fs::rename(&new, writable.join("file")).unwrap();
    assert_eq!(fs::read_to_string(writable.join("file")).unwrap(), "after");
    let _socket = UnixListener::bind(&new).unwrap();
    fs::remove_file(&new).unwrap();
    assert!(fs::read_to_string("/proc/self/status").unwrap().contains("Seccomp:\t2"));
}

fn names(_: &Path) {
    if enter_whole(&Needs { names: true, ..Needs::default() }) {
        // On another thread, as the resolver does.
        let found = thread::spawn(|| ("localhost", 0).to_socket_addrs().unwrap().next());
        assert!(found.join().unwrap().unwrap().ip().is_loopback());
        assert!(refused(fs::write("/etc/hosts", "")));
    }
}

fn calls(_: &Path) {
    if !enter_whole(&Needs::default()) {
        return;
    }
    UdpSocket::bind("127.0.0.1:0").unwrap();
    Netlink::open().unwrap().addresses().unwrap();
    assert_eq!(rustix::process::chdir("/"), Err(Errno::NOSYS));
    let packets = rustix::net::socket(AddressFamily::PACKET, SocketType::DGRAM, None);
    assert_eq!(packets.map(|_| ()), Err(Errno::NOSYS));
    for protocol in [netlink::NETFILTER, netlink::XFRM, netlink::GENERIC] {
        let netlink = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, Some(protocol));
        assert_eq!(netlink.map(|_| ()), Err(Errno::NOSYS), "{protocol:?}");
    }
    let udp = UdpSocket::bind("[::]:0").unwrap();
    set_ipv6_unicast_hops(&udp, Some(7)).unwrap();
    // Its number is among those of ip6tables.
    let changed = set_ipv6_tclass(&udp, 0);
    assert_eq!(changed, Err(Errno::NOSYS));
    let forked = Command::new("true").spawn().unwrap_err();
    assert_eq!(forked.raw_os_error(), Some(libc::ENOSYS));
    // Landlock's.
    assert!(refused(TcpListener::bind("127.0.0.1:0")));
    // SAFETY: new pages, of which nobody but us knows, and which stay as they are.
    let made_code = unsafe {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let page = mmap_anonymous(std::ptr::null_mut(), 4096, protection, MapFlags::PRIVATE);
        mprotect(page.unwrap(), 4096, MprotectFlags::READ | MprotectFlags::EXEC)
    };
    assert_eq!(made_code, Err(Errno::NOSYS));
}

fn run_program(_: &Path) {
    enter(&Needs::default()).unwrap();
    panic!("{}", Command::new("true").exec());
}

fn capabilities(_: &Path) {
    if !Capability::NetAdmin.is_effective() {
        eprintln!("skipped: nothing to give up");
        return;
    }
    let needs = Needs { capabilities: vec![Capability::NetAdmin], ..Needs::default() };
    let sandbox = enter(&needs).unwrap();
    assert_eq!(sandbox.capabilities, [Capability::NetAdmin]);
    let (ready, wait) = channel();
    let (end, ended) = channel::<()>();
    let thread = thread::spawn(move || {
        ready.send(refused(RawIpv6::open())).unwrap();
        let _ = ended.recv();
    });
    assert!(wait.recv().unwrap());
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let tasks: Vec<_> = tasks
        .map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap())
        .collect();
    assert_eq!(tasks.len(), 2);
    for status in tasks {
        let set = "0000000000001000";
        let none = "0000000000000000";
        for line in [
            format!("CapPrm:\t{set}"),
            format!("CapEff:\t{set}"),
            format!("CapInh:\t{none}"),
            format!("CapAmb:\t{none}"),
            format!("CapBnd:\t{set}"),
            "NoNewPrivs:\t1".to_owned(),
        ] {
            assert!(status.contains(&line), "{line}: {status}");
        }
    }
    drop(end);
    thread.join().unwrap();
    assert!(!Capability::NetRaw.is_effective() && !Capability::SysAdmin.is_effective());
}

fn devices(_: &Path) {
    let needs =
        Needs { capabilities: vec![Capability::NetAdmin], devices: true, ..Needs::default() };
    if !Capability::NetAdmin.is_effective() || !Path::new("/dev/net/tun").exists() {
        eprintln!("skipped: no device could be made before");
        return;
    }
    enter(&needs).unwrap();
    let tun = Tun::create("sandbox").unwrap();
    Netlink::open().unwrap().set_link_up(tun.index()).unwrap();
    sysctl::write("ipv6/conf/sandbox/disable_ipv6", "0").unwrap();
    assert!(refused(sysctl::write("ipv4/ip_forward", "1")) || enter(&needs).unwrap().landlock);
}

fn second_thread(_: &Path) {
    let (end, ended) = channel::<()>();
    let thread = thread::spawn(move || ended.recv());
    assert_eq!(enter(&Needs::default()).unwrap_err().kind(), ErrorKind::InvalidInput);
    drop(end);
    let _ = thread.join().unwrap();
    File::open("/").unwrap();
}

fn twice(directory: &Path) {
    let first = enter(&Needs::default()).unwrap();
    let second = enter(&Needs { readable: vec![directory.to_owned()], ..Needs::default() });
    assert_eq!(second.unwrap(), first);
}

fn without_landlock(_: &Path) {
    refuse(libc::SYS_landlock_create_ruleset);
    let Sandbox { landlock, seccomp, no_new_privileges, missing, .. } =
        enter(&Needs::default()).unwrap();
    assert_eq!((landlock, seccomp, no_new_privileges), (false, true, true));
    assert_eq!(missing, ["landlock: this kernel does not have it"]);
    File::open("/").unwrap();
}

fn without_seccomp(_: &Path) {
    refuse(libc::SYS_seccomp);
    let sandbox = enter(&Needs::default()).unwrap();
    assert_eq!(sandbox.missing, ["seccomp: this kernel does not have it"]);
    assert!(!sandbox.seccomp && sandbox.no_new_privileges);
}

/// Makes the kernel one that does not have this system call.
fn refuse(call: i64) {
    let unknown = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(
        [(call, Vec::new())].into(),
        SeccompAction::Allow,
        unknown,
        architecture,
    );
    let filter: BpfProgram = filter.unwrap().try_into().unwrap();
    apply_filter(&filter).unwrap();
}
