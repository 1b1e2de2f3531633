//! What programs that start the lab rely on.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::run::{Scratch, expect_code, is_impossible, json, lab, stderr};

//= API-77: a connection from outside to an open port does not come about
#[test]
fn the_object_has_these_fields_and_no_others() {
    if is_impossible() {
        return;
    }
    let output = lab(&["--json"]).output().unwrap();
    expect_code(&output, 0);
    let json = json(&output);
    let fields =
        ["client1", "client2", "peer_ping", "relay_ping", "transfer", "unsolicited_refused"];
    assert_eq!(keys(&json), fields);
    assert_eq!(json["unsolicited_refused"], true);
    for (client, nat) in [("client1", "203.0.113.101:"), ("client2", "203.0.113.102:")] {
        let client = &json[client];
        let fields = ["address", "mapped", "nat", "nat_seen", "port", "qualified_ms", "state"];
        assert_eq!(keys(client), fields);
        assert_eq!(client["state"], "qualified");
        assert_eq!(client["nat"], "pr");
        assert_eq!(client["nat_seen"], "endpoint-independent");
        let port = client["port"].as_u64().unwrap();
        assert_eq!(client["mapped"], format!("{nat}{port}"), "this NAT preserves ports");
        let address = client["address"].as_str().unwrap();
        assert!(address.starts_with("2001:0:cb00:710a:"), "{address}");
        assert!(client["qualified_ms"].as_f64().unwrap() > 0.0);
    }
    for ping in ["relay_ping", "peer_ping"] {
        let ping = &json[ping];
        assert_eq!(keys(ping), ["first_ms", "median_ms", "received", "sent"]);
        assert_eq!((&ping["sent"], &ping["received"]), (&5.into(), &5.into()));
        assert!(ping["first_ms"].as_f64().unwrap() > 0.0);
        assert!(ping["median_ms"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(keys(&json["transfer"]), ["bytes", "mbit_s", "verified"]);
    assert_eq!(json["transfer"]["bytes"], 16 << 20);
    assert_eq!(json["transfer"]["verified"], true);
    assert!(json["transfer"]["mbit_s"].as_f64().unwrap() > 0.0);
}

#[test]
fn clients_behind_any_pair_of_cone_and_restricted_nats_meet() {
    if is_impossible() {
        return;
    }
    for first in ["cone", "ar", "pr"] {
        for second in ["cone", "ar", "pr"] {
            let nats = format!("{first},{second}");
            let output = lab(&["--json", "--bytes", "10K", "--nat", &nats]).output().unwrap();
            expect_code(&output, 0);
            let json = json(&output);
            assert_eq!(json["client1"]["nat"], first);
            assert_eq!(json["client2"]["nat"], second);
            assert_eq!(json["peer_ping"]["received"], 5, "{nats}");
            assert_eq!(json["transfer"]["bytes"], 10 << 10, "{nats}");
        }
    }
}

/// One pair for each technique, on real packets: symmetric NAT support, port preserving ones from
/// either side, sequential ones from either side.
#[test]
fn clients_behind_symmetric_nats_are_met_where_rfc_6081_can() {
    if is_impossible() {
        return;
    }
    for (nats, symmetric) in [
        ("cone,ps", "client2"),
        ("ps,ar", "client1"),
        ("pp,pr", "client1"),
        ("pr,pp", "client2"),
        ("seq,pr", "client1"),
        ("pr,seq", "client2"),
    ] {
        let output = lab(&["--json", "--bytes", "10K", "--nat", nats]).output().unwrap();
        expect_code(&output, 0);
        let json = json(&output);
        assert_eq!(json[symmetric]["state"], "qualified", "{nats}");
        assert_eq!(json[symmetric]["nat_seen"], "port-symmetric", "{nats}");
        assert_eq!(json["peer_ping"]["received"], 5, "{nats}");
        assert_eq!(json["transfer"]["verified"], true, "{nats}");
    }
}

/// Mapping ports on request, and a NAT with several addresses.
#[test]
fn clients_behind_the_other_kinds_of_nat_meet() {
    if is_impossible() {
        return;
    }
    for (nats, seen) in [
        ("upr,pr", ["endpoint-independent", "endpoint-independent"]),
        ("ups,ups", ["port-symmetric", "port-symmetric"]),
        ("upr,ps", ["endpoint-independent", "port-symmetric"]),
        ("cone,addr", ["endpoint-independent", "address-symmetric"]),
    ] {
        let output = lab(&["--json", "--bytes", "10K", "--nat", nats]).output().unwrap();
        expect_code(&output, 0);
        let json = json(&output);
        for (client, seen) in ["client1", "client2"].into_iter().zip(seen) {
            // Two draws from the pool may be the same address.
            let may_coincide = seen == "address-symmetric" && json[client]["nat_seen"] != seen;
            let seen = if may_coincide { "port-symmetric" } else { seen };
            assert_eq!(json[client]["nat_seen"], seen, "{nats}");
            // A port that was asked for is what the server sees.
            if nats.split(',').any(|kind| kind == "ups") {
                let port = json[client]["port"].as_u64().unwrap();
                let mapped = json[client]["mapped"].as_str().unwrap();
                assert!(mapped.ends_with(&format!(":{port}")), "{mapped} {port}");
            }
        }
        assert_eq!(json["peer_ping"]["received"], 5, "{nats}");
    }
}

/// Behind two NATs, of which one may be the kernel's.
#[test]
fn clients_behind_nested_and_kernel_nats_meet() {
    if is_impossible() {
        return;
    }
    for nats in ["pr+cone,ar+pr", "upr+pr,pr", "kernel,pr", "kernel+cone,pr+kernel"] {
        let output = lab(&["--json", "--bytes", "10K", "--nat", nats]).output().unwrap();
        if nats.contains("kernel") && stderr(&output).contains("nft") {
            println!("skipped: {}", stderr(&output).lines().last().unwrap_or_default());
            return;
        }
        expect_code(&output, 0);
        let json = json(&output);
        let (first, second) = nats.split_once(',').unwrap();
        assert_eq!(
            (&json["client1"]["nat"], &json["client2"]["nat"]),
            (&first.into(), &second.into())
        );
        assert_eq!(json["peer_ping"]["received"], 5, "{nats}");
        assert_eq!(json["transfer"]["verified"], true, "{nats}");
    }
}

#[test]
fn a_kernel_nat_without_nft_says_what_to_install() {
    if is_impossible() {
        return;
    }
    // With nothing where nft would be.
    let script = "mount -t tmpfs none /usr/sbin && echo hidden && exec $0 lab --nat kernel";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
    let output = command.arg(env!("CARGO_BIN_EXE_teredo")).env("PATH", "/usr/bin:/bin").output();
    let hidden = output.ok().filter(|output| output.stdout.starts_with(b"hidden"));
    let Some(output) = hidden else {
        println!("skipped: cannot hide /usr/sbin");
        return;
    };
    expect_code(&output, 1);
    let said = stderr(&output);
    assert!(said.contains("install nftables"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn what_cannot_be_connected_is_told() {
    if is_impossible() {
        return;
    }
    let arguments = ["--json", "--nat", "pr,ps", "--without", "birthday,helper"];
    let output = lab(&arguments).output().unwrap();
    expect_code(&output, 1);
    let json = json(&output);
    assert_eq!(json["client1"]["state"], "qualified");
    assert_eq!(json["client2"]["state"], "qualified");
    assert_eq!(json["peer_ping"]["first_ms"], Value::Null);
    assert_eq!(json["transfer"]["verified"], false);
    let error = json["error"].as_str().unwrap();
    assert!(error.contains("pings"), "{error}");
    assert!(stderr(&output).lines().last().unwrap().contains(error));
}

#[test]
fn a_delay_is_that_of_each_access_link() {
    if is_impossible() {
        return;
    }
    let output = lab(&["--json", "--bytes", "10K", "--delay", "20"]).output().unwrap();
    expect_code(&output, 0);
    let json = json(&output);
    // Between any two hosts and back there are four access links.
    let round_trip_ms = 4.0 * 20.0;
    let not_below = |pointer: &str, round_trips: f64| {
        let time_ms = json.pointer(pointer).unwrap().as_f64().unwrap();
        let least_ms = round_trips * round_trip_ms;
        assert!(time_ms >= least_ms, "{pointer}: {time_ms}");
        // What is allowed on top is for busy machines.
        assert!(time_ms < least_ms + 1_000.0, "{pointer}: {time_ms}");
    };
    not_below("/client1/qualified_ms", 1.0);
    not_below("/client2/qualified_ms", 1.0);
    not_below("/peer_ping/median_ms", 1.0);
    not_below("/relay_ping/median_ms", 2.0);
}

#[test]
fn each_wire_has_a_trace_that_can_be_read_back() {
    if is_impossible() {
        return;
    }
    let scratch = Scratch::new("trace");
    let directory = scratch.path().join("new").join("traces");
    let mut command = lab(&["--bytes", "10K", "--trace"]);
    let output = command.arg(&directory).output().unwrap();
    expect_code(&output, 0);
    let decode = |wire: &str| -> Vec<Value> {
        let path = directory.join(format!("{wire}.pcap"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_teredo"));
        let output = command.args(["decode", "--json"]).arg(path).output().unwrap();
        expect_code(&output, 0);
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let solicited = |wire: &str, source: &str| {
        let packets = decode(wire);
        let is_first = |it: &&Value| it["kind"] == "rs" && it["dst"] == "203.0.113.10:3544";
        let first = packets.iter().find(is_first).unwrap();
        assert!(first["src"].as_str().unwrap().starts_with(source), "{first}");
        assert!(packets.iter().all(|it| it["error"] == Value::Null), "{packets:?}");
    };
    solicited("client1", "192.168.1.2:");
    solicited("nat1-outside", "203.0.113.101:");
    solicited("client2", "192.168.2.2:");
    solicited("nat2-outside", "203.0.113.102:");
    solicited("server", "203.0.113.101:");
    let carried = decode("relay");
    assert!(carried.iter().any(|it| it["kind"] == "data"), "TCP in the tunnel");
    assert!(decode("v6host").is_empty(), "native IPv6 only");
    assert!(fs::metadata(directory.join("v6host.pcap")).unwrap().len() > 10 << 10);
}

#[test]
fn there_is_an_object_also_when_nothing_could_be_built() {
    let scratch = Scratch::new("nothing");
    let file = scratch.path().join("file");
    fs::write(&file, "").unwrap();
    let output = lab(&["--json", "--trace"]).arg(&file).output().unwrap();
    expect_code(&output, 1);
    let json = json(&output);
    assert_eq!(json["client1"]["state"], Value::Null);
    assert_eq!(json["client1"]["nat"], "pr");
    assert_eq!(json["relay_ping"]["sent"], 0);
    assert!(json["error"].as_str().unwrap().contains("file"));
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
}

#[test]
fn impossible_options_are_wrong_usage() {
    for arguments in [
        ["--nat", "symmetric"],
        ["--nat", "pr,pr,pr"],
        ["--nat", "pr+"],
        ["--delay", "901"],
        ["--delay", "-1"],
        ["--bytes", "0"],
        ["ls", "--json"],
    ] {
        let output = lab(&arguments).output().unwrap();
        expect_code(&output, 2);
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn an_unknown_kind_of_nat_is_answered_with_the_known_ones() {
    let output = lab(&["--nat", "pr,symmetric"]).output().unwrap();
    expect_code(&output, 2);
    let said = stderr(&output);
    let kinds = "cone, ar, pr, upr, ups, pp, seq, ps, addr, kernel";
    assert!(said.contains(kinds) && said.contains("INNER+OUTER"), "{said}");
}

fn keys(json: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}
