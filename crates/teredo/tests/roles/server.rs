//! `teredo server`.

use std::process::Command;

use serde_json::json;

use crate::client::{client, relay};
use crate::internet::{Internet, RELAY_V6, SERVER, with_namespaces};
use crate::running::Running;

#[test]
fn tells_where_it_serves() {
    with_namespaces("server::tells_where_it_serves", || {
        let internet = Internet::new();
        let ready = |further: &[&str]| {
            let address = SERVER.to_string();
            let arguments = [&["server", "--address", &address], further].concat();
            let server = Running::start(&internet.server, &arguments);
            let ready = server.fact();
            server.interrupt();
            ready
        };
        let fact = ready(&[]);
        for (key, value) in [
            ("event", json!("ready")),
            ("role", json!("server")),
            ("address", json!("203.0.113.10")),
            ("secondary", json!("203.0.113.11")),
            ("port", json!(3544)),
            ("native", json!("raw")),
        ] {
            assert_eq!(fact[key], value, "{key}");
        }
        assert_eq!(ready(&["--secondary", "none"])["secondary"], json!(null));
    });
}

/// `CAP_NET_ADMIN` is enough: without raw sockets the kernel forwards out of a tunnel interface.
#[test]
fn forwards_connectivity_tests_without_raw_sockets() {
    with_namespaces("server::forwards_connectivity_tests_without_raw_sockets", || {
        let internet = Internet::new();
        let set = || teredo_sys::sysctl::write("ipv6/conf/all/forwarding", "1");
        internet.server.namespace.run(set).unwrap().unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-net_raw", env!("CARGO_BIN_EXE_teredo"), "server"]);
        command.args(["--address", &SERVER.to_string()]);
        let server = Running::spawn(&internet.server, command);
        assert_eq!(server.fact()["native"], json!("tun"));
        let _relay = relay(&internet, &[]);
        let client = client(&internet, &[]);
        client.wait_for("qualified");
        assert_eq!(internet.client.ping(RELAY_V6), 1);
    });
}

/// A server needs no privilege to bring clients together.
#[test]
fn serves_without_any_privilege_and_says_what_is_missing() {
    with_namespaces("server::serves_without_any_privilege_and_says_what_is_missing", || {
        let internet = Internet::new();
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all"]);
        command.args([env!("CARGO_BIN_EXE_teredo"), "server", "--address", &SERVER.to_string()]);
        let server = Running::spawn(&internet.server, command);
        assert_eq!(server.fact()["native"], json!(null));
        let client = client(&internet, &[]);
        client.wait_for("qualified");
        let said = server.interrupt();
        assert!(said.contains("CAP_NET_RAW is missing"), "{said}");
    });
}
