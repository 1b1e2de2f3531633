//! The command line as its users meet it: help, wrong usage, `teredo address`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::run;
use serde_json::json;

const SUBCOMMANDS: [&str; 14] = [
    "client",
    "server",
    "relay",
    "port",
    "status",
    "wait-online",
    "daemon",
    "set state",
    "key",
    "firewall",
    "island",
    "lab",
    "address",
    "decode",
];

#[test]
fn help_shows_commands_examples_and_exit_codes() {
    let help = run(&["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    let commands = SUBCOMMANDS.into_iter().flat_map(|it| it.split(" ").next());
    for word in commands.chain(["Examples:", "Exit codes:", "TEREDO_LOG"]) {
        assert!(help.stdout.contains(word), "{word}");
    }
    for subcommand in SUBCOMMANDS {
        let words: Vec<_> = subcommand.split(" ").chain(["--help"]).collect();
        let help = run(&words);
        assert_eq!(help.code, 0);
        assert!(help.stdout.contains(&format!("teredo {subcommand}")), "{subcommand}");
    }
    let version = run(&["--version"]);
    assert_eq!(version.stdout, format!("teredo {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn without_arguments_help_is_shown_as_an_error() {
    let nothing = run(&[]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (2, ""));
    assert!(nothing.stderr.contains("Usage: teredo"));
}

#[test]
fn an_unknown_log_level_is_said_and_passed_over() {
    let mut command = common::command(&["address", "fe80::ffff:ffff:ffff"]);
    let output = command.env("TEREDO_LOG", "loud").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("teredo: TEREDO_LOG=loud is none of off, "), "{stderr}");
    assert!(output.status.success());
}

#[test]
fn wrong_usage_takes_one_line_and_ends_with_2() {
    for (arguments, why) in [
        (&["--wrong"][..], "--wrong"),
        (&["wrong"], "unrecognized subcommand 'wrong'; see `teredo --help`"),
        (&["client", "--wrong"], "see `teredo client --help`"),
        (&["firewall", "--set", "inet", "filter"], "3 values required"),
        (&["firewall", "--set", "inet", "filter", "a b"], "expected a name"),
        (&["firewall", "--set", "ip", "a", "b", "--server", "192.0.2.1"], "cannot be used"),
        (&["firewall", "--mark", "3"], "expected a single bit"),
        (&["firewall", "print", "--port", "0"], "--port"),
        (&["client", "--server", "x", "--allow", "tcp/0-"], "tcp/22@2001:db8::/32"),
        (&["client", "--server", "x", "--without", "hairpin,x"], "all, rfc6081, none, symmetric"),
        (&["client", "--server", "x", "--port", "x"], "see `teredo client --help`"),
        (&["lab", "matrix", "--patience", "0"], "see `teredo lab matrix --help`"),
        (&["relay", "--address", "192.0.2.1", "--allow", "all"], "--host-only"),
        (&["decode"], "<FILE>"),
        (
            &["decode", "--jsn", "x"],
            "; tip: a similar argument exists: '--json'; see `teredo decode",
        ),
        (&["address"], "<ADDRESS>"),
        (&["address", "192.0.2.1"], "invalid IPv6 address"),
        (&["address", "--server", "192.0.2.1"], "--mapped <IPV4:PORT>"),
        (&["address", "::1", "--server", "192.0.2.1", "--mapped", "192.0.2.1:1"], "cannot be used"),
        (&["address", "--server", "1.2.3.4", "--mapped", "1.2.3.4"], "socket address"),
        (&["address", "--server", "1.2.3.4", "--mapped", "1.2.3.4:1", "--flags", "12345"], "hexa"),
    ] {
        run(arguments).is_one_line(2, why);
    }
}

#[test]
fn a_ruleset_is_printed_and_a_transaction_is_not_run() {
    let print = run(&["firewall", "print", "--port", "5000", "--set", "inet", "filter", "x"]);
    assert_eq!((print.code, print.stderr.as_str()), (0, ""));
    let expected = "flush set inet filter x\nadd element inet filter x { 5000 timeout 10s }\n";
    assert_eq!(print.stdout, expected);
    let marking = run(&["firewall", "--mark", "8", "print", "--port", "5000"]).stdout;
    assert!(marking.contains("udp dport @ports meta mark set meta mark | 0x8 "), "{marking}");
    let clear = run(&["firewall", "clear", "--dry-run"]).json();
    let table = json!({ "table": { "family": "inet", "name": "teredo" } });
    let options = ["--server=192.0.2.1", "--router=192.0.2.2", "--timeout=5", "--json"];
    let same = run(&[&["firewall", "clear", "--dry-run"][..], &options].concat());
    assert_eq!(same.json(), clear, "a service gives both the same options");
    assert_eq!(clear, [json!({ "nftables": [{ "add": table }, { "delete": table }] })]);
}

#[test]
fn an_address_is_explained() {
    let explained = run(&["address", "2001:0:4137:9e50:8000:f12a:b9c8:2815"]);
    assert_eq!((explained.code, explained.stderr.as_str()), (0, ""));
    let expected = "\
address     2001:0:4137:9e50:8000:f12a:b9c8:2815
form        address of a client
server      65.55.158.80           global unicast
mapped      70.55.215.234:3797     global unicast
flags       0x8000
  cone      1                      behind a cone NAT, says an old client; or a server
  z         0
  random    0x000                  12 bits, against guessing the address
  universal 0
  group     0
usable      yes                    peers may send to it
";
    assert_eq!(explained.stdout, expected);
}

#[test]
fn an_address_is_explained_in_json() {
    let explained = run(&["address", "--json", "2001:0:cb00:7178:3cff:efff:f5ff:fdfe"]);
    let expected = json!({
        "address": "2001:0:cb00:7178:3cff:efff:f5ff:fdfe",
        "form": "client",
        "server": {"value": "203.0.113.120", "scope": "special-purpose"},
        "flags": {
            "value": 0x3cff, "cone": false, "z": false, "random": 0xfff,
            "universal": false, "group": false,
        },
        "mapped": {"value": "10.0.2.1:4096", "scope": "not-global"},
        "usable": false,
    });
    assert_eq!(explained.json(), [expected]);
    for (address, form) in [
        ("fe80::ffff:ffff:ffff", "client-link-local"),
        ("fe80::8000:f227:bec8:61af", "server-link-local"),
        ("fe80::708d:fe83:4114:a512", "link-local"),
    ] {
        let explained = &run(&["address", "--json", address]).json()[0];
        assert_eq!((&explained["form"], &explained["server"]), (&json!(form), &json!(null)));
    }
    let server = &run(&["address", "--json", "fe80::8000:f227:bec8:61af"]).json()[0];
    assert_eq!(server["mapped"], json!({"value": "65.55.158.80:3544", "scope": "global"}));
}

#[test]
fn an_address_is_built() {
    let build = |flags: &[&str]| {
        let arguments = ["address", "--server", "198.51.100.118", "--mapped", "192.0.2.10:8192"];
        run(&[&arguments, flags].concat()).stdout
    };
    assert_eq!(build(&[]), "2001:0:c633:6476:0:dfff:3fff:fdf5\n");
    assert_eq!(build(&["--flags", "3cff"]), "2001:0:c633:6476:3cff:dfff:3fff:fdf5\n");
    assert_eq!(build(&["--flags", "0x8000"]), "2001:0:c633:6476:8000:dfff:3fff:fdf5\n");
    assert!(build(&["--json"]).contains("\"address\":\"2001:0:c633:6476:0:dfff:3fff:fdf5\""));
}

#[test]
fn other_addresses_are_not_explained() {
    run(&["address", "2001:db8::1"]).is_one_line(1, "2001:db8::1 is not a Teredo address");
    run(&["address", "fe90::1"]).is_one_line(1, "not a Teredo address");
    run(&["address", "3ffe:831f::1"]).is_one_line(1, "before its RFC");
}
