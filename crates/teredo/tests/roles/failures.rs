//! What cannot work: one line that says why, an exit code, and nothing left behind.

use std::net::UdpSocket;
use std::process::{Command, Output};

use crate::internet::{Host, Internet, RANGE, SERVER, with_namespaces};
use crate::running::{Running, command};

/// Runs a command on a host and asserts that it fails with `code`, in one line about `why`.
fn fails(host: &Host, command: &mut Command, code: i32, why: &str) {
    let Output { status, stdout, stderr } = host.command(command).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(code), "{why}: {said}");
    assert!(stdout.is_empty());
    assert!(said.starts_with("teredo: ") && said.lines().count() == 1, "{why}: {said}");
    assert!(said.contains(why), "{why}: {said}");
    assert_eq!(host.interface("teredo"), None);
}

#[test]
fn a_client_that_cannot_start_says_why() {
    with_namespaces("failures::a_client_that_cannot_start_says_why", || {
        let internet = Internet::new();
        let host = &internet.client;
        let server = SERVER.to_string();
        let client = |further: &[&str]| {
            command(&[&["client", "--server", &server, "--allow-ipv4", RANGE], further].concat())
        };
        let taken = host.namespace.run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        fails(host, &mut client(&["--port", &port]), 1, "is in use");
        fails(host, &mut client(&["--interface", "uplink"]), 1, "TUN interface uplink");
        fails(host, &mut client(&["--interface", "no/name"]), 1, "no/name");
        fails(host, &mut client(&["--secondary", &server]), 1, "both");
        fails(host, &mut command(&["client", "--server", &server]), 1, "not a public one");
        let mut unknown = command(&["client", "--server", "no-such-host.invalid"]);
        fails(host, &mut unknown, 1, "no-such-host.invalid does not resolve");
        fails(host, &mut command(&["client"]), 2, "--server");
        fails(host, &mut client(&["--port", "65536"]), 2, "--port");

        let mut powerless = Command::new("setpriv");
        powerless.args(["--bounding-set=-all", "--inh-caps=-all", env!("CARGO_BIN_EXE_teredo")]);
        powerless.args(["client", "--server", &server, "--allow-ipv4", RANGE]);
        fails(host, &mut powerless, 1, "CAP_NET_ADMIN is missing");
    });
}

//= API-08: a configured port that is taken: the client does not start, and there is no port
#[test]
fn a_taken_port_or_a_second_client_leaves_no_port() {
    with_namespaces("failures::a_taken_port_or_a_second_client_leaves_no_port", || {
        let internet = Internet::new();
        let host = &internet.client;
        let server = SERVER.to_string();
        let arguments = ["client", "--server", &server];
        let taken = host.namespace.run(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let further = ["--allow-ipv4", RANGE, "--port", &port];
        fails(host, &mut command(&[&arguments[..], &further].concat()), 1, "is in use");
        fails(host, &mut command(&["port"]), 3, "not running");

        let first = Running::start(host, &arguments);
        assert_eq!(first.fact()["state"], "probe");
        let mut second = command(&[&arguments[..], &further[..2]].concat());
        let output = host.command(&mut second).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr).unwrap().contains("already running"));
        first.interrupt();
        fails(host, &mut command(&["port"]), 3, "not running");
    });
}

#[test]
fn a_server_or_relay_that_cannot_start_says_why() {
    with_namespaces("failures::a_server_or_relay_that_cannot_start_says_why", || {
        let internet = Internet::new();
        let elsewhere = ["--address", "203.0.113.99"];
        let server = |further: &[&str]| command(&[&["server"], further].concat());
        let relay = |further: &[&str]| command(&[&["relay"], further].concat());

        let host = &internet.server;
        fails(host, &mut server(&elsewhere), 1, "address 203.0.113.99 is not on this host");
        fails(host, &mut server(&["--address", "203.0.113.11"]), 1, "--secondary");
        fails(host, &mut server(&["--address", "server.example"]), 2, "--address");
        let _taken = host.namespace.run(|| UdpSocket::bind((SERVER, 3544)).unwrap()).unwrap();
        let mut second = server(&["--address", &SERVER.to_string()]);
        fails(host, &mut second, 1, "UDP port 3544 on 203.0.113.10 is in use");
        let mut without_v6 = relay(&["--address", &SERVER.to_string()]);
        fails(host, &mut without_v6, 1, "no native IPv6 address");

        let host = &internet.relay;
        fails(host, &mut relay(&elsewhere), 1, "address 203.0.113.99 is not on this host");
        fails(host, &mut relay(&[]), 2, "--address");
        fails(host, &mut relay(&["--host-only"]), 1, "--address");
    });
}
