//! `NotifyStableUnicastIpAddressTable`, in network namespaces of its own.

use std::time::Duration;

use teredo_control::State;
use teredo_control::server::Command;
use teredo_control::testing::{TestDir, snapshot};
use teredo_tests::namespace::Namespace;
use teredo_tests::needs;

use crate::driver::{Driver, QUIET, daemon_inside};

const TEREDO: &str = "2001:0:cb00:710a:0:d8d6:34ff:8efe";

/// A host with a native address, and a Teredo interface as the client makes it.
struct Host {
    namespace: Namespace,
    directory: TestDir,
}

impl Host {
    /// Nothing if this machine cannot have one; the test is skipped then.
    fn new(name: &str) -> Option<Self> {
        if needs::skip_for(needs::missing(&[])) {
            return None;
        }
        let namespace = Namespace::new(name).unwrap();
        namespace
            .ip("link add eth0 type veth peer name far\nlink set eth0 up\nlink set far up\n\
                 addr add 192.0.2.1/24 dev eth0\n\
                 tuntap add teredo mode tun\nlink set teredo addrgenmode none\n\
                 link set teredo up")
            .unwrap();
        Some(Self { namespace, directory: TestDir::new().unwrap() })
    }

    fn qualify(&self) {
        self.namespace.ip(&format!("addr add {TEREDO}/32 dev teredo nodad")).unwrap();
    }

    fn disqualify(&self) {
        self.namespace.ip(&format!("addr del {TEREDO}/32 dev teredo")).unwrap();
    }

    fn driver(&self) -> Driver {
        Driver::inside(&self.namespace, self.directory.runtime())
    }

    fn daemon(&self, state: State, port: u16) -> teredo_control::server::Server {
        daemon_inside(&self.namespace, self.directory.runtime(), state, port)
    }
}

fn is_woken(server: &teredo_control::server::Server, time: Duration) -> bool {
    let start = std::time::Instant::now();
    while start.elapsed() < time {
        if matches!(server.command(), Some(Command::Wake)) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

//= API-39: missing pointers, a missing callback and an unknown family are refused
#[test]
fn missing_arguments_are_refused() {
    let Some(host) = Host::new("stable") else { return };
    let mut driver = host.driver();
    assert_eq!(driver.ask("stable 1 7 plain"), "87 handle 0 table none");
    assert_eq!(driver.ask("stable 1 11 plain"), "87 handle 0 table none");
    driver.finish();
}

//= API-40: with Teredo off, what is stable is told at once, and never by the callback
//= API-48: the family filters the table
#[test]
fn what_is_stable_is_returned_at_once() {
    let Some(host) = Host::new("stable") else { return };
    let daemon = host.daemon(State::Offline, 0);
    let mut driver = host.driver();
    let answer = driver.ask("stable 1 0 plain");
    assert!(answer.starts_with("0 handle 0 table "), "{answer}");
    for row in ["127.0.0.1/2/4/24", "192.0.2.1/2/4/6", "::1/10/4/24", "fe80::"] {
        assert!(answer.contains(row), "{row} in {answer}");
    }
    let v4 = driver.ask("stable 1 2 plain");
    assert!(v4.contains("192.0.2.1/2/") && !v4.contains("/10/"), "{v4}");
    for family in [10, 23] {
        let v6 = driver.ask(&format!("stable 1 {family} plain"));
        assert!(v6.contains("::1/10/") && !v6.contains("/2/"), "{v6}");
    }
    daemon.publish(snapshot(State::Qualified, 5000));
    driver.expect_quiet(QUIET);
    driver.finish();
}

//= API-41: a qualified client's address is in the table, preferred
#[test]
fn a_qualified_client_is_in_the_table() {
    let Some(host) = Host::new("stable") else { return };
    host.qualify();
    let _daemon = host.daemon(State::Qualified, 5000);
    let mut driver = host.driver();
    let answer = driver.ask("stable 1 23 plain");
    assert!(answer.starts_with("0 handle 0 table "), "{answer}");
    assert!(answer.contains(&format!("{TEREDO}/10/4/131")), "{answer}");
    driver.finish();
}

//= API-42: a dormant client is woken, and the answer is 997
//= API-43: when it has qualified, the callback gets a table with its address
//= API-45: and again after it has lost and regained qualification
//= API-49: cancelling from another thread then succeeds
#[test]
fn a_dormant_client_is_woken_and_waited_for() {
    let Some(host) = Host::new("stable") else { return };
    let daemon = host.daemon(State::Dormant, 5000);
    let mut driver = host.driver();
    assert_eq!(driver.ask("stable 1 0 plain"), "997 handle 1 table none");
    assert!(is_woken(&daemon, QUIET));
    daemon.publish(snapshot(State::Probe, 5000));
    driver.expect_quiet(QUIET);
    for _ in 0..2 {
        host.qualify();
        daemon.publish(snapshot(State::Qualified, 5000));
        let event = driver.event();
        assert!(event.contains(&format!("{TEREDO}/10/4/131")), "{event}");
        assert!(event.ends_with("thread other"), "{event}");
        host.disqualify();
        daemon.publish(snapshot(State::Probe, 5000));
        driver.expect_quiet(QUIET);
    }
    assert!(driver.ask("cancel 1").starts_with("0 "));
    driver.finish();
}

//= API-44: a client that fails to qualify is waited for no longer
#[test]
fn a_client_that_fails_is_not_waited_for() {
    let Some(host) = Host::new("stable") else { return };
    let daemon = host.daemon(State::Probe, 5000);
    let mut driver = host.driver();
    assert_eq!(driver.ask("stable 1 0 plain"), "997 handle 1 table none");
    daemon.publish(snapshot(State::Offline, 0));
    let event = driver.event();
    assert!(event.starts_with("1 stable ") && !event.contains(" 2001:0:"), "{event}");
    // Neither is a daemon that goes.
    let mut driver = host.driver();
    daemon.publish(snapshot(State::Probe, 5000));
    assert!(driver.ask("stable 1 0 plain").starts_with("997 "));
    drop(daemon);
    assert!(driver.event().starts_with("1 stable "));
    driver.finish();
}

//= API-36: cancelled before the first answer, the callback is never called
#[test]
fn cancelled_before_it_was_answered_it_is_never_answered() {
    let Some(host) = Host::new("stable") else { return };
    let daemon = host.daemon(State::Probe, 5000);
    let mut driver = host.driver();
    assert!(driver.ask("stable 1 0 plain").starts_with("997 "));
    assert!(driver.ask("cancel 1").starts_with("0 "));
    host.qualify();
    daemon.publish(snapshot(State::Qualified, 5000));
    driver.expect_quiet(QUIET);
    driver.finish();
}

//= API-46: an address under check holds up its family, until the check is over
#[test]
fn an_address_under_check_is_waited_for() {
    let Some(host) = Host::new("stable") else { return };
    // The kernel waits between 0 and 1 s before the check, and then 2 s for each of these.
    for (key, value) in [("accept_dad", "1"), ("dad_transmits", "2")] {
        host.namespace.sysctl(&format!("net/ipv6/conf/eth0/{key}"), value).unwrap();
    }
    host.namespace.ip("addr add 2001:db8::1/64 dev eth0").unwrap();
    let mut driver = host.driver();
    assert_eq!(driver.ask("stable 1 10 plain"), "997 handle 1 table none");
    assert!(driver.ask("stable 2 2 plain").starts_with("0 handle 0 "));
    assert!(driver.ask("table 10").contains("2001:db8::1/10/1/6"), "tentative");
    let event = driver.event();
    assert!(event.contains("2001:db8::1/10/4/6"), "{event}");
    driver.finish();
}

//= API-47: a request for IPv4 neither waits for Teredo nor wakes it
#[test]
fn ipv4_needs_no_teredo() {
    let Some(host) = Host::new("stable") else { return };
    let daemon = host.daemon(State::Dormant, 5000);
    let mut driver = host.driver();
    assert!(driver.ask("stable 1 2 plain").starts_with("0 handle 0 table 2 "));
    assert!(!is_woken(&daemon, QUIET));
    driver.finish();
}

//= API-50: the way .NET does it, the table freed and cancelled later by another thread
#[test]
fn the_way_of_dotnet_neither_leaks_nor_hangs() {
    let Some(host) = Host::new("stable") else { return };
    let daemon = host.daemon(State::Probe, 5000);
    let mut driver = host.driver();
    assert!(driver.ask("stable 1 0 dotnet").starts_with("997 "));
    host.qualify();
    daemon.publish(snapshot(State::Qualified, 5000));
    assert_eq!(driver.event(), "1 later 0");
    driver.finish();
}

#[test]
fn a_daemon_that_is_started_while_somebody_waits_is_woken_too() {
    let Some(host) = Host::new("stable") else { return };
    let first = host.daemon(State::Dormant, 5000);
    let mut driver = host.driver();
    host.namespace.sysctl("net/ipv6/conf/eth0/accept_dad", "1").unwrap();
    host.namespace.sysctl("net/ipv6/conf/eth0/dad_transmits", "4").unwrap();
    host.namespace.ip("addr add 2001:db8::1/64 dev eth0").unwrap();
    assert!(driver.ask("stable 1 0 plain").starts_with("997 "));
    assert!(is_woken(&first, QUIET));
    drop(first);
    // The address is still under check, so that the request is still open.
    let second = host.daemon(State::Dormant, 5001);
    assert!(is_woken(&second, Duration::from_secs(3)));
    driver.finish();
}

#[test]
fn a_daemon_in_another_network_namespace_is_none() {
    let Some(host) = Host::new("stable") else { return };
    let elsewhere = Namespace::new("elsewhere").unwrap();
    let daemon = host.daemon(State::Dormant, 5000);
    let mut driver = Driver::inside(&elsewhere, host.directory.runtime());
    assert_eq!(driver.ask("port"), "21 0");
    assert!(driver.ask("stable 1 10 plain").starts_with("0 "));
    driver.ask("watch 1 0 plain 0");
    daemon.publish(snapshot(State::Qualified, 5001));
    driver.expect_quiet(QUIET);
    driver.finish();
}
