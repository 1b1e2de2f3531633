//! A private server and its clients.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};

use crate::client::{client, relay};
use crate::internet::{Host, Internet, RELAY_V6, SERVER, with_namespaces};
use crate::running::{Running, command};

pub(crate) const KEY: &str = "30313233343536373839616263646566";
const OTHER: &str = "30313233343536373839616263646567";

/// Writes a file that is closed to others, and returns its path.
pub(crate) fn file(host: &Host, name: &str, text: &str) -> String {
    let path = host.runtime.runtime().path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn private_server(internet: &Internet, further: &[&str], clients: &str) -> (Running, Value) {
    let clients = file(&internet.server, "clients", clients);
    let address = SERVER.to_string();
    let arguments = [&["server", "--address", &address, "--clients", &clients], further].concat();
    let server = Running::start(&internet.server, &arguments);
    let ready = server.fact();
    (server, ready)
}

/// Runs a client that gives up, and returns what it said.
fn gives_up(internet: &Internet, further: &[&str]) -> String {
    let mut client = client(internet, &[&["--timeout", "2"], further].concat());
    let (status, said) = client.wait();
    assert_eq!(status.code(), Some(4), "{said}");
    assert_eq!(internet.client.interface("teredo"), None);
    said
}

//= S-RX-05, S-RS-08: with the key a client has all of it, without one it has nothing
#[test]
fn a_private_server_serves_clients_with_a_key_and_nobody_else() {
    with_namespaces("keys::a_private_server_serves_clients_with_a_key_and_nobody_else", || {
        let internet = Internet::new();
        let clients = format!("phone hmac-sha256 {OTHER}\nlaptop hmac-sha256 {KEY}\n");
        let (server, ready) = private_server(&internet, &[], &clients);
        assert_eq!(ready["clients"], json!(2));
        let _relay = relay(&internet, &[]);

        let key = file(&internet.client, "laptop.key", KEY);
        let identity = ["--identifier", "laptop", "--key-file", &key];
        let with_key = [&identity[..], &["--algorithm", "hmac-sha256"]].concat();
        let known = client(&internet, &with_key);
        let qualified = known.wait_for("qualified");
        assert_eq!(qualified["key_renewal"], json!(false));
        assert_eq!(internet.client.ping(RELAY_V6), 1, "the first ping is lost");
        known.interrupt();

        gives_up(&internet, &[]);
        gives_up(&internet, &identity);
        let wrong = file(&internet.client, "wrong.key", OTHER);
        gives_up(
            &internet,
            &["--identifier", "laptop", "--key-file", &wrong, "--algorithm", "hmac-sha256"],
        );
        gives_up(
            &internet,
            &["--identifier", "nobody", "--key-file", &key, "--algorithm", "hmac-sha256"],
        );
        let said = server.interrupt();
        for words in ["serving 2 clients with keys", "unknown-identifier", "wrong-mac"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(!said.contains(KEY), "{said}");
    });
}

//= C-SEC-06, S-RS-09: a key that is to be renewed serves, and the client says so
#[test]
fn a_key_that_is_to_be_renewed_is_reported_and_published() {
    with_namespaces("keys::a_key_that_is_to_be_renewed_is_reported_and_published", || {
        let internet = Internet::new();
        let clients = format!("laptop hmac-sha1 {KEY} renew\n");
        // A single public address, which both sides know to be one.
        let (_server, _) = private_server(&internet, &["--secondary", "none"], &clients);
        let key = file(&internet.client, "laptop.key", KEY);
        let identity = ["--identifier", "laptop", "--key-file", &key];
        let client = client(&internet, &[&identity[..], &["--secondary", "none"]].concat());
        let qualified = client.wait_for("qualified");
        assert_eq!(qualified["key_renewal"], json!(true));

        let status = |arguments: &[&str]| {
            let output = internet.client.command(&mut command(arguments)).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let published: Value = serde_json::from_str(&status(&["status", "--json"])).unwrap();
        assert_eq!(published["key_renewal"], json!(true));
        let table = status(&["status"]);
        assert!(table.contains("\nKey                     : to be renewed\n"), "{table}");
        let said = client.interrupt();
        assert!(said.contains("asks for a new key"), "{said}");
    });
}

//= C-SEC-09: a client with a key does not take a server without it for its own
#[test]
fn a_client_with_a_key_refuses_a_server_without_keys() {
    with_namespaces("keys::a_client_with_a_key_refuses_a_server_without_keys", || {
        let internet = Internet::new();
        let _open = crate::client::server(&internet);
        let key = file(&internet.client, "laptop.key", KEY);
        let identity = ["--identifier", "laptop", "--key-file", &key];
        let client = client(&internet, &identity);
        let offline = client.wait_for("offline");
        assert_eq!(offline["reason"], json!("no-proof"));
        let said = client.interrupt();
        assert!(said.contains("does not show that it knows the key"), "{said}");
    });
}

/// What `teredo key new` makes is all that a newcomer needs.
#[test]
fn a_key_that_the_program_makes_serves() {
    with_namespaces("keys::a_key_that_the_program_makes_serves", || {
        let internet = Internet::new();
        let key = internet.client.runtime.runtime().path().join("made.key");
        let key = key.to_str().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_teredo"));
        let made = command.args(["key", "new", "laptop", "--key-file", key]).output().unwrap();
        assert!(made.status.success());
        let line = String::from_utf8(made.stdout).unwrap();
        let (_server, _) = private_server(&internet, &[], &line);
        let client = client(&internet, &["--identifier", "laptop", "--key-file", key]);
        client.wait_for("qualified");
    });
}
