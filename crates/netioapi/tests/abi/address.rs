//! Address tables and their changes, in network namespaces of their own.

use std::collections::BTreeMap;
use std::time::Instant;

use teredo_control::State;
use teredo_control::testing::{TestDir, snapshot};
use teredo_tests::namespace::{Namespace, run};
use teredo_tests::needs;

use crate::build;
use crate::driver::{Driver, PATIENCE, QUIET, daemon_inside};

fn namespace() -> Option<Namespace> {
    if needs::skip_for(needs::missing(&[])) {
        return None;
    }
    let namespace = Namespace::new("addr").unwrap();
    namespace
        .ip("link add eth0 type veth peer name far\nlink set eth0 up\nlink set far up\n\
             addr add 192.0.2.1/24 dev eth0")
        .unwrap();
    Some(namespace)
}

//= API-63: the initial call comes before the function returns, with type 3 and no row
//= API-65: the family filters, and is checked
#[test]
fn the_initial_call_has_no_row() {
    let Some(namespace) = namespace() else { return };
    let directory = TestDir::new().unwrap();
    let mut driver = Driver::inside(&namespace, directory.runtime());
    assert_eq!(driver.ask("addresses 1 2 1"), "0 handle 1 calls 1");
    assert_eq!(driver.event(), "1 address null type 3 thread same");
    assert_eq!(driver.ask("addresses 2 7 1"), "87 handle 0 calls 0");
    namespace.ip("addr add 2001:db8::1/64 dev eth0 nodad").unwrap();
    driver.expect_quiet(QUIET);
    namespace.ip("addr add 192.0.2.2/24 dev eth0").unwrap();
    assert!(driver.event().starts_with("1 address 192.0.2.2 type 1 "));
    driver.finish();
}

//= API-64: a new address is told with type 1, another lifetime with 0, its end with 2
#[test]
fn what_happens_to_an_address_is_told() {
    let Some(namespace) = namespace() else { return };
    let directory = TestDir::new().unwrap();
    let mut driver = Driver::inside(&namespace, directory.runtime());
    assert_eq!(driver.ask("addresses 1 0 0"), "0 handle 1 calls 0");
    driver.expect_quiet(QUIET);
    for address in ["2001:db8::1/64", "192.0.2.7/24"] {
        let bare = address.split('/').next().unwrap();
        let mut index = None;
        for (command, kind) in [
            (format!("addr add {address} dev eth0 nodad"), 1),
            (format!("addr change {address} dev eth0 valid_lft 900 preferred_lft 600"), 0),
            (format!("addr del {address} dev eth0"), 2),
        ] {
            namespace.ip(&command).unwrap();
            let event = driver.event();
            assert!(event.starts_with(&format!("1 address {bare} type {kind} ")), "{event}");
            let words: Vec<&str> = event.split(' ').collect();
            let luid = u64::from_str_radix(words[8], 16).unwrap();
            assert_eq!((luid >> 48, luid >> 24 & 0xff_ffff), (6, words[6].parse().unwrap()));
            assert_eq!(*index.get_or_insert(luid), luid);
        }
    }
    driver.expect_quiet(QUIET);
    driver.finish();
}

//= API-67: of a thousand addresses at once each is told
#[test]
fn a_burst_is_told_completely() {
    let Some(namespace) = namespace() else { return };
    let directory = TestDir::new().unwrap();
    let mut driver = Driver::inside(&namespace, directory.runtime());
    driver.ask("addresses 1 10 0");
    let all: String =
        (1..=1000).map(|at| format!("addr add 2001:db8::{at:x}/64 dev eth0 nodad\n")).collect();
    namespace.ip(&all).unwrap();
    let start = Instant::now();
    let mut told = BTreeMap::new();
    while told.len() < 1000 {
        assert!(start.elapsed() < PATIENCE, "{} of 1000", told.len());
        let event = driver.event();
        let words: Vec<&str> = event.split(' ').collect();
        told.entry(words[2].to_owned()).or_insert_with(|| words[4].to_owned());
    }
    assert!(told.values().all(|kind| kind == "1"), "first it is new");
    driver.finish();
}

//= API-53: ::1 and 127.0.0.1 are there, of loopback type and preferred
//= API-52: each number of a family is accepted, and no other
//= API-62: without addresses of the family the answer is 1168
#[test]
fn tables_of_each_family() {
    let Some(namespace) = namespace() else { return };
    let directory = TestDir::new().unwrap();
    let mut driver = Driver::inside(&namespace, directory.runtime());
    let all = driver.ask("table 0");
    assert!(all.contains(" 127.0.0.1/2/4/24 ") && all.contains(" ::1/10/4/24"), "{all}");
    assert_eq!(driver.ask("table 10"), driver.ask("table 23"));
    for family in [1, 7, 21, 255] {
        assert_eq!(driver.ask(&format!("table {family}")), "87 none");
    }
    namespace.ip("addr flush dev eth0\naddr flush dev far\naddr flush dev lo").unwrap();
    for family in [0, 2, 10] {
        assert_eq!(driver.ask(&format!("table {family}")), "1168 none", "{family}");
    }
    driver.finish();
}

//= API-59: a large table is allocated and freed under the sanitizer
#[test]
fn a_table_of_two_thousand_rows() {
    let Some(namespace) = namespace() else { return };
    let directory = TestDir::new().unwrap();
    let mut driver = Driver::inside(&namespace, directory.runtime());
    let all: String = (0..2_000)
        .map(|at| format!("addr add 2001:db8:1::{at:x}/128 dev eth0 nodad noprefixroute\n"))
        .collect();
    namespace.ip(&all).unwrap();
    let rows = driver.ask("table 10");
    let count: u32 = rows.split(' ').nth(1).unwrap().parse().unwrap();
    assert!((2_000..2_010).contains(&count), "{count}");
    assert!(driver.ask("table 2").starts_with("0 2 "));
    driver.finish();
}

//= API-54: the answers of GetUnicastIpAddressEntry to every kind of wrong key
//= API-55: an entry is its row in the table, whether found by LUID or by index
//= API-56: the LUID wins over the index
//= API-57: of a link-local address, scope, sin6_scope_id and index are the same
//= API-58: InitializeUnicastIpAddressEntry, on a buffer full of other bytes
//= API-60: GetIfEntry2, with the Teredo interface as Windows shows it
//= API-61: the conversions between index, LUID, GUID, name and alias
#[test]
fn entries_and_conversions() {
    let Some(namespace) = namespace() else { return };
    namespace
        .ip("tuntap add teredo mode tun\nlink set teredo addrgenmode none mtu 1280 up\n\
             addr add 2001:0:cb00:710a::1/32 dev teredo nodad\n\
             tuntap add other mode tun")
        .unwrap();
    let directory = TestDir::new().unwrap();
    let mut status = snapshot(State::Qualified, 5000);
    let listed = run(namespace.command("ip").args(["-o", "link", "show", "teredo"])).unwrap();
    let index = listed.split(':').next().unwrap().trim().parse().unwrap();
    status.interface_index = Some(index);
    status.interface_name = Some("teredo".to_owned());
    let daemon = daemon_inside(&namespace, directory.runtime(), State::Qualified, 5000);
    daemon.publish(status);
    for package in ["netioapi", "netio"] {
        let program = build::program(&build::sources().join("entries.c"), package, true);
        let mut command = namespace.command(program);
        let output = run(command.env("TEREDO_RUNTIME_DIR", directory.runtime().path())).unwrap();
        assert!(output.ends_with("all is well\n"), "{package}: {output}");
    }
}

//= API-66: the row of a callback is good for the call only
#[test]
fn a_row_that_is_kept_is_poisoned() {
    let Some(namespace) = namespace() else { return };
    if !build::has_sanitizers() {
        println!("skipped: needs AddressSanitizer");
        return;
    }
    let program = build::program(&build::sources().join("keeps_row.c"), "netioapi", true);
    let mut child = namespace.command(program);
    child.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = child.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "registered\n");
    namespace.ip("addr add 192.0.2.9/24 dev eth0").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("heap-use-after-free"), "{said}");
}
