//! `teredo lab matrix`: pairs of NATs, and what connects them.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::endings::{expect_gone, marked, send};
use crate::run::{Scratch, expect_code, is_impossible, json, lab, stderr};

fn matrix(pairs: &[&str], arguments: &[&str]) -> Output {
    let mut command = lab(&["matrix"]);
    for pair in pairs {
        command.args(["--only", pair]);
    }
    command.args(arguments).output().unwrap()
}

/// A pair for each technique, on real packets, and that it was this technique.
const TECHNIQUES: [(&str, &str); 10] = [
    ("pr,ar", "Y"),
    ("cone,ps", "S"),
    ("ps,ar", "S"),
    ("ups,ups", "SU"),
    ("pp,pr", "SP"),
    ("pr,seq", "SS"),
    ("upr,ps", "O"),
    ("seq,pp", "D"),
    ("seq,seq", "D"),
    ("ps,ps", "R1"),
];

#[test]
fn each_technique_connects_a_pair() {
    if is_impossible() {
        return;
    }
    let pairs = TECHNIQUES.map(|(pair, _)| pair);
    let output = matrix(&pairs, &["--json"]);
    expect_code(&output, 0);
    let json = json(&output);
    let fields = ["connected", "delay_ms", "is_good", "late", "pairs", "took_s"];
    assert_eq!(keys(&json), fields);
    assert_eq!((&json["connected"], &json["is_good"]), (&TECHNIQUES.len().into(), &true.into()));
    for cell in json["pairs"].as_array().unwrap() {
        let pair = format!("{},{}", cell["from"], cell["to"]).replace('"', "");
        let (_, technique) = TECHNIQUES.iter().find(|(it, _)| *it == pair).unwrap();
        assert_eq!(cell["by"], *technique, "{pair}");
        assert_eq!(cell["connected"], true, "{pair}");
        assert!(cell["first_ms"].as_f64().unwrap() > 0.0, "{pair}");
        assert!(cell["back_ms"].as_f64().unwrap() > 0.0, "{pair}");
    }
}

/// The techniques that a helper is quicker than.
#[test]
fn without_a_helper_pools_and_birthdays_connect() {
    if is_impossible() {
        return;
    }
    // Through the alternate-address pool a packet may come from the address that the peer had sent
    // to anyway: then it looks like something simpler.
    let pairs = [("ar,addr", None), ("pr,ps", Some("B")), ("ups,pr", Some("B"))];
    let output = matrix(&pairs.map(|(pair, _)| pair), &["--without", "helper", "--json"]);
    expect_code(&output, 0);
    for cell in json(&output)["pairs"].as_array().unwrap() {
        let pair = format!("{},{}", cell["from"], cell["to"]).replace('"', "");
        let (_, technique) = pairs.iter().find(|(it, _)| *it == pair).unwrap();
        assert_eq!(cell["connected"], true, "{pair}");
        assert!(technique.is_none_or(|it| cell["by"] == *it), "{pair} by {}", cell["by"]);
    }
}

#[test]
fn distance_is_in_the_times_and_in_the_limits() {
    if is_impossible() {
        return;
    }
    let scratch = Scratch::new("matrix");
    let traces = scratch.path().join("traces");
    let arguments = ["--csv", "--delay", "20", "--trace", traces.to_str().unwrap()];
    let output = matrix(&["cone,cone"], &arguments);
    expect_code(&output, 0);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let [header, line] = text.lines().collect::<Vec<_>>()[..] else {
        unreachable!("{text}");
    };
    let columns = "from,to,rfc6081,target,must_connect,connected,by,first_ms,\
                   first_kept,back_ms,limit_ms,error";
    assert_eq!(header, columns);
    let values: Vec<_> = line.split(',').collect();
    assert_eq!(values[..7], ["cone", "cone", "Y", "Y", "true", "true", "Y"]);
    // A bubble, the answer to it, the packet and its answer.
    assert!(values[7].parse::<f64>().unwrap() >= 160.0, "{line}");
    assert_eq!(values[10], "580");
    assert!(traces.join("cone-cone").join("client1.pcap").exists());
    // The table is aside of the values.
    assert!(stderr(&output).contains("1 of 1 pairs connect"), "{}", stderr(&output));
}

#[test]
fn a_pair_that_does_not_connect_is_named() {
    if is_impossible() {
        return;
    }
    let few = ["--patience", "1", "--without", "birthday"];
    let output = matrix(&["pr,ps", "pr,pr"], &few);
    expect_code(&output, 1);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(text.contains("1 of 2 pairs connect"), "{text}");
    assert!(text.contains("Not connected: pr to ps (B): no answer"), "{text}");
    assert!(!text.contains('\x1b'), "no colours where there is no terminal");
    assert!(output.stderr.is_empty(), "{}", stderr(&output));
}

#[test]
fn a_pair_of_unknown_kinds_is_wrong_usage() {
    for arguments in [["--only", "nat"], ["--only", "pr,pr,pr"], ["--delay", "901"]] {
        let output = lab(&["matrix"]).args(arguments).output().unwrap();
        expect_code(&output, 2);
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    }
    let output = matrix(&["pr,nat"], &[]);
    assert!(stderr(&output).contains("cone, ar, pr, upr, ups, pp, seq, ps, addr"));
}

#[test]
fn asked_to_end_it_ends_with_all_its_labs() {
    if is_impossible() {
        return;
    }
    let mark = format!("teredo-lab-matrix-{}", std::process::id());
    let mut command = lab(&["matrix", "--only", "pr,ps", "--json", "--without", "birthday,helper"]);
    let mut matrix = command.env("MARK", &mark).stdout(Stdio::piped()).spawn().unwrap();
    // The matrix, its inside, a lab, its inside, a server and two clients.
    let deadline = Instant::now() + Duration::from_secs(20);
    while marked(&mark).len() < 7 {
        assert!(Instant::now() < deadline, "{:?}", marked(&mark));
        std::thread::sleep(Duration::from_millis(10));
    }
    send("TERM", &matrix);
    assert_eq!(matrix.wait().unwrap().code(), Some(1));
    expect_gone(&mark);
}

fn keys(json: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}
