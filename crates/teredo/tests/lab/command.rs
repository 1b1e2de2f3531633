//! A command in client 1's place.

use std::collections::HashMap;

use crate::run::{expect_code, is_impossible, lab, stderr};

#[test]
fn a_command_finds_itself_in_client_1() {
    if is_impossible() {
        return;
    }
    let script = "set -e
        echo V6HOST $LAB_V6HOST
        echo PEER $LAB_PEER
        echo SERVER $LAB_SERVER
        echo DEVICES $(sed -n 's/:.*//p' /proc/self/net/dev)
        kill -0 $LAB_CLIENT_PID
        echo CLIENT $(tr '\\0' ' ' </proc/$LAB_CLIENT_PID/cmdline)
        echo BLOCKED $(sed -n 's/SigBlk://p' /proc/self/status)
        test -d $TEREDO_RUNTIME_DIR -a -w $TEREDO_RUNTIME_DIR
        echo RUNTIME $(tr '\\0' '\\n' </proc/$LAB_CLIENT_PID/environ | grep ^TEREDO_RUNTIME_DIR=)
        echo MINE $TEREDO_RUNTIME_DIR
        exit 42";
    let output = lab(&["--", "sh", "-c", script]).output().unwrap();
    expect_code(&output, 42);
    let text = String::from_utf8(output.stdout).unwrap();
    let said: HashMap<_, _> = text.lines().filter_map(|line| line.split_once(' ')).collect();
    assert_eq!(said["V6HOST"], "2001:db8:6::2");
    assert_eq!(said["SERVER"], "203.0.113.10");
    assert!(said["PEER"].starts_with("2001:0:cb00:710a:"), "{text}");
    let mut devices: Vec<_> = said["DEVICES"].split(' ').collect();
    devices.sort_unstable();
    assert_eq!(devices, ["lo", "teredo", "uplink"]);
    assert!(said["CLIENT"].contains(" client --server 203.0.113.10"), "{text}");
    assert_eq!(said["BLOCKED"].trim_matches('0'), "", "no signal is blocked");
    assert_eq!(said["RUNTIME"], format!("TEREDO_RUNTIME_DIR={}", said["MINE"]));
}

//= API-02, API-04: the port is that of the client's socket; killed, it has none at once
#[test]
fn the_port_is_that_of_the_clients_socket() {
    if is_impossible() {
        return;
    }
    let script = "set -e
        teredo=$0
        port=$($teredo port)
        echo PORT $port
        # Of all the client's sockets it is the one that is bound, but for a multicast group: the
        # second column in hexadecimal.
        echo BOUND $(grep -v ': FD0000E0:' /proc/net/udp |
            awk '$1 ~ /:$/ { split($2, it, \":\"); print it[2] }')
        $teredo wait-online --timeout 0
        $teredo status | sed -n 's/^State *: /STATE /p; s/^Local Mapping *: /MAPPING /p'
        kill -9 $LAB_CLIENT_PID
        set +e
        # It is on its way out when the signal is sent, and takes a moment.
        for _ in 1 2 3 4 5 6 7 8 9; do
            $teredo port; code=$?
            [ $code = 3 ] && break; sleep 0.1
        done
        echo KILLED $code";
    let program = env!("CARGO_BIN_EXE_teredo");
    let output = lab(&["--", "sh", "-c", script, program]).output().unwrap();
    expect_code(&output, 0);
    let text = String::from_utf8(output.stdout).unwrap();
    let said: HashMap<_, _> = text.lines().filter_map(|line| line.split_once(' ')).collect();
    let port: u16 = said["PORT"].parse().unwrap();
    let bound: Vec<_> = said["BOUND"].split(' ').collect();
    assert_eq!(bound, [format!("{port:04X}")]);
    assert_eq!(said["STATE"], "qualified");
    assert_eq!(said["MAPPING"], format!("192.168.1.2:{port}"));
    assert_eq!(said["KILLED"], "3");
}

#[test]
fn the_lab_ends_as_the_command_does() {
    if is_impossible() {
        return;
    }
    let commands: [(&[&str], i32); 5] = [
        (&["true"], 0),
        (&["false"], 1),
        (&["sh", "-c", "kill -TERM $$"], 128 + 15),
        (&["/nonexistent"], 127),
        (&["/dev/null"], 126),
    ];
    for (command, code) in commands {
        let output = lab(&["--"]).args(command).output().unwrap();
        expect_code(&output, code);
    }
}

#[test]
fn what_cannot_arrive_fails_at_once() {
    if is_impossible() {
        return;
    }
    // Bash alone opens connections without a further program.
    let script = "exec 3<>/dev/tcp/192.0.2.1/80";
    let output = lab(&["--", "bash", "-c", script]).output().unwrap();
    if output.status.code() == Some(127) {
        println!("skipped: needs bash");
        return;
    }
    expect_code(&output, 1);
    assert!(stderr(&output).contains("unreachable"), "{}", stderr(&output));
}
