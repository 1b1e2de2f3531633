//! `teredo island init`: from an empty directory to a client that reaches native IPv6.

use std::fs;
use std::net::Ipv6Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use teredo_control::testing::TestDir;

use crate::internet::{Host, Internet, RANGE, SECONDARY, SERVER, with_namespaces};
use crate::running::{Running, command};

/// The native address of the host that is server and relay.
const ISLAND: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 1);

fn init(host: &Host, directory: &Path, further: &[&str]) -> (Output, String) {
    let address = SERVER.to_string();
    let mut init = command(&["island", "init", "--address", &address, "--directory"]);
    init.arg(directory).args(["--allow-ipv4", RANGE]).args(further);
    let output = host.command(&mut init).output().unwrap();
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    (output, said)
}

/// Starts the client by the lines that were printed, as a shell takes them.
fn paste(internet: &Internet, place: &TestDir, lines: &str) -> Running {
    let (key, client) = lines.trim_end().split_once('\n').unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_teredo")).parent().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{key}\nexec {client} --json")]);
    shell.env("PATH", format!("{}:/usr/bin:/bin", program.display()));
    shell.current_dir(place.runtime().path());
    Running::spawn_as_it_is(&internet.client, shell)
}

fn serve(host: &Host, directory: &Path) -> Running {
    let mut daemon = command(&["daemon", "--config"]);
    daemon.arg(directory.join("teredo.toml"));
    Running::spawn_as_it_is(host, daemon)
}

#[test]
fn an_island_serves_the_client_whose_lines_it_prints() {
    with_namespaces("island::an_island_serves_the_client_whose_lines_it_prints", || {
        let internet = Internet::new();
        internet.server.add_native(ISLAND);
        let place = TestDir::new().unwrap();
        let directory = place.runtime().path().join("etc");
        // One public address only, which both sides are told.
        let further = ["--secondary", "none", "--client", "it's mine"];
        let (refused, _) = init(&internet.server, &directory, &further);
        assert_eq!(refused.status.code(), Some(2), "a name is one word");
        let further = ["--secondary", "none", "--client", "it's-mine;"];
        let (made, said) = init(&internet.server, &directory, &further);
        assert!(made.status.success(), "{said}");
        let mode = |name: &str| fs::metadata(directory.join(name)).unwrap().permissions().mode();
        assert_eq!(mode("clients") & 0o777, 0o600);
        let written = fs::read_to_string(directory.join("teredo.toml")).unwrap();
        assert!(written.contains("secondary = \"none\""), "{written}");

        let _island = serve(&internet.server, &directory);
        let lines = String::from_utf8(made.stdout).unwrap();
        assert!(!said.contains(lines.split_whitespace().nth(3).unwrap()), "{said}");
        let client = paste(&internet, &place, &lines);
        let qualified = client.wait_for("qualified");
        assert_eq!(qualified["key_renewal"], json!(false));
        internet.client.ping(ISLAND);

        // Whoever has no key stays outside.
        client.interrupt();
        let server = SERVER.to_string();
        let stranger = ["client", "--server", &server, "--secondary", "none", "--timeout", "2"];
        let (status, said) = Running::start(&internet.client, &stranger).wait();
        assert_eq!(status.code(), Some(4), "{said}");
    });
}

#[test]
fn what_is_written_fits_the_host_and_nothing_is_written_over() {
    with_namespaces("island::what_is_written_fits_the_host_and_nothing_is_written_over", || {
        let internet = Internet::new();
        let host = &internet.server;
        let place = TestDir::new().unwrap();
        let directory = place.runtime().path().join("a \"quoted\" place");
        let (made, said) = init(host, &directory, &["--json"]);
        assert!(made.status.success(), "{said}");
        let fact: Value = serde_json::from_slice(&made.stdout).unwrap();
        // The next address is this host's, and there is no native IPv6.
        let secondary = SECONDARY.to_string();
        assert_eq!((&fact["secondary"], &fact["has_relay"]), (&json!(secondary), &json!(false)));
        let client = fact["client"].as_str().unwrap();
        assert!(client.contains(&format!("--secondary {secondary}")), "{client}");
        let mut check = command(&["daemon", "--check", "--config"]);
        let check = host.command(check.arg(directory.join("teredo.toml"))).output().unwrap();
        assert!(check.status.success(), "{check:?}");
        let _island = serve(host, &directory);

        let before = fs::read(directory.join("clients")).unwrap();
        let (again, said) = init(host, &directory, &[]);
        assert_eq!(again.status.code(), Some(1));
        assert!(said.contains("exists already") && said.lines().count() == 1, "{said}");
        assert_eq!(fs::read(directory.join("clients")).unwrap(), before);

        host.remove_ipv4(SECONDARY);
        let (made, said) = init(host, &place.runtime().path().join("one"), &["--json"]);
        assert!(made.status.success(), "{said}");
        let fact: Value = serde_json::from_slice(&made.stdout).unwrap();
        assert_eq!(fact["secondary"], json!(null));
        assert!(fact["client"].as_str().unwrap().contains("--secondary none"));

        let mut private = command(&["island", "init", "--address", "10.0.0.1"]);
        let output = host.command(&mut private).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("10.0.0.1 is not a public address"), "{said}");
    });
}
