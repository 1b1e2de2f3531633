//! `GetTeredoPort`.

use std::net::UdpSocket;

use teredo_control::testing::{FakeDaemon, TestDir, snapshot, test_arguments};
use teredo_control::{RuntimeDir, State};

use crate::driver::{Driver, daemon};

//= API-01: a null pointer is refused with and without a daemon
//= API-02: without a daemon there is no port, and the value is 0
#[test]
fn without_a_daemon_there_is_no_port() {
    let directory = TestDir::new().unwrap();
    let mut driver = Driver::new(directory.runtime());
    assert_eq!(driver.ask("port null"), "87");
    assert_eq!(driver.ask("port"), "21 0");
    let _daemon = daemon(directory.runtime(), State::Qualified, 5000);
    assert_eq!(driver.ask("port null"), "87");
    assert_eq!(driver.ask("port"), "0 5000");
    driver.finish();
    let nowhere = RuntimeDir::at("/nonexistent/teredo");
    assert_eq!(Driver::new(&nowhere).ask("port"), "21 0");
}

//= API-03: an off-line client has no port
//= API-05: one that is dormant or probes has, as it holds its socket
//= API-09: the result is never anything but 0, 21 or 87
#[test]
fn there_is_a_port_in_every_state_in_which_the_socket_is_held() {
    let directory = TestDir::new().unwrap();
    let daemon = daemon(directory.runtime(), State::Offline, 0);
    let mut driver = Driver::new(directory.runtime());
    assert_eq!(driver.ask("port"), "21 0");
    for state in [State::Dormant, State::Probe, State::Qualified] {
        daemon.publish(snapshot(state, 5001));
        assert_eq!(driver.ask("port"), "0 5001", "{state:?}");
    }
    daemon.publish(snapshot(State::Offline, 0));
    assert_eq!(driver.ask("port"), "21 0");
    driver.finish();
}

//= API-04: the number is that of the socket in host byte order, as /proc/net/udp shows it
#[test]
fn the_number_is_in_host_byte_order() {
    let directory = TestDir::new().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let sockets = std::fs::read_to_string("/proc/self/net/udp").unwrap();
    assert!(sockets.contains(&format!("0100007F:{port:04X} ")), "{port} in {sockets}");
    let _daemon = daemon(directory.runtime(), State::Qualified, port);
    assert_eq!(Driver::new(directory.runtime()).ask("port"), format!("0 {port}"));
}

//= API-06: a host that cannot do IPv6 answers 50, only if there is no port, and 87 comes first
#[test]
fn a_host_without_ipv6_says_so() {
    let directory = TestDir::new().unwrap();
    let filter =
        crate::build::program(&crate::build::sources().join("no_ipv6.c"), "netioapi", false);
    let mut command = std::process::Command::new(filter);
    command.arg(crate::driver::executable());
    let mut driver = Driver::spawn(command, directory.runtime());
    assert_eq!(driver.ask("port"), "50 0");
    assert_eq!(driver.ask("port null"), "87");
    assert!(driver.ask("table 10").starts_with("50 "));
    let daemon = daemon(directory.runtime(), State::Qualified, 5002);
    assert_eq!(driver.ask("port"), "0 5002");
    drop(daemon);
    assert_eq!(driver.ask("port"), "50 0");
}

//= API-07: a daemon that was started anew has another port, and the library knows at once
#[test]
fn a_successor_is_found() {
    let directory = TestDir::new().unwrap();
    let mut driver = Driver::new(directory.runtime());
    for port in 6000..6020 {
        let arguments = test_arguments("fake_daemon");
        let first = snapshot(State::Qualified, port);
        let daemon = FakeDaemon::start(directory.runtime(), &arguments, &first).unwrap();
        assert_eq!(driver.ask("port"), format!("0 {port}"));
        daemon.kill().unwrap();
        assert_eq!(driver.ask("port"), "21 0");
    }
    driver.finish();
}

//= API-10: sixty-four threads at once, while the port changes and the daemon goes and comes
#[test]
fn sixty_four_threads_get_consistent_answers() {
    let directory = TestDir::new().unwrap();
    let mut driver = Driver::new(directory.runtime());
    driver.give("ports 64 3000");
    for round in 0..20 {
        let daemon = daemon(directory.runtime(), State::Qualified, 7000 + round);
        for port in 1..200 {
            daemon.publish(snapshot(State::Qualified, port));
        }
    }
    assert_eq!(driver.event(), "= other 0");
    driver.finish();
}
