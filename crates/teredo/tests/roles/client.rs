//! `teredo client`.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use teredo_wire::TeredoAddress;

use crate::internet::{
    CLIENT, CLIENT_MOVED, Internet, PATIENCE, RELAY, RELAY_V6, SERVER, with_namespaces,
};
use crate::running::{Running, command};

const NATIVE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 9, 0, 0, 0, 1);

pub(crate) fn server(internet: &Internet) -> Running {
    let server = Running::start(&internet.server, &["server", "--address", &SERVER.to_string()]);
    assert_eq!(server.fact()["event"], "ready");
    server
}

pub(crate) fn relay(internet: &Internet, further: &[&str]) -> Running {
    let address = RELAY.to_string();
    let arguments = [&["relay", "--address", &address], further].concat();
    let relay = Running::start(&internet.relay, &arguments);
    assert_eq!(relay.fact()["event"], "ready");
    relay
}

pub(crate) fn client(internet: &Internet, further: &[&str]) -> Running {
    let server = SERVER.to_string();
    Running::start(&internet.client, &[&["client", "--server", &server], further].concat())
}

pub(crate) fn address(fact: &Value) -> Ipv6Addr {
    fact["address"].as_str().expect("no address").parse().unwrap()
}

//= C-CFG-01: primary and secondary server address; the secondary is the next one by default
#[test]
fn tells_its_states_and_is_ready_when_it_says_so() {
    with_namespaces("client::tells_its_states_and_is_ready_when_it_says_so", || {
        let internet = Internet::new();
        let _server = server(&internet);
        let client = client(&internet, &[]);
        let probe = client.fact();
        assert_eq!(
            (&probe["event"], &probe["role"], &probe["state"], &probe["reason"]),
            (&json!("state"), &json!("client"), &json!("probe"), &Value::Null)
        );
        assert_eq!((&probe["address"], &probe["mapped"]), (&Value::Null, &Value::Null));

        let qualified = client.wait_for("qualified");
        let address = address(&qualified);
        let interface = internet.client.interface("teredo").unwrap();
        assert_eq!(interface.addresses, [IpAddr::V6(address)]);
        let source = Some(IpAddr::V6(address));
        let teredo: Ipv6Addr = "2001::".parse().unwrap();
        assert_eq!(
            interface.routes(),
            [(Ipv6Addr::UNSPECIFIED.into(), 0, source), (teredo.into(), 32, source)]
        );
        assert!(interface.routes.iter().any(|route| route.metric == 65_535), "a last resort");

        let port = qualified["port"].as_u64().unwrap();
        assert_eq!(qualified["mapped"], json!(format!("{CLIENT}:{port}")));
        assert_eq!(qualified["interface"], json!("teredo"));
        let embedded = TeredoAddress::parse(address).unwrap();
        assert_eq!((embedded.server, *embedded.mapped.ip()), (SERVER, CLIENT));
        let own_ms = qualified["elapsed_ms"].as_f64().unwrap();
        assert!(own_ms < 1_000.0, "{own_ms} ms to qualify without any delay on the way");

        // The secondary address adds what kind of NAT there is.
        let kind = if qualified["nat"] == "unknown" { client.fact() } else { qualified };
        assert_eq!((&kind["nat"], &kind["state"]), (&json!("none"), &json!("qualified")));
        client.interrupt();
        assert_eq!(internet.client.interface("teredo"), None);
    });
}

#[test]
fn pings_and_talks_tcp_to_a_native_host() {
    with_namespaces("client::pings_and_talks_tcp_to_a_native_host", || {
        let internet = Internet::new();
        let _server = server(&internet);
        let _relay = relay(&internet, &[]);
        let client = client(&internet, &[]);
        client.wait_for("qualified");
        assert_eq!(internet.client.ping(RELAY_V6), 1, "the first ping is lost");

        let listener = internet.relay.namespace.run(|| TcpListener::bind((RELAY_V6, 80))).unwrap();
        let listener = listener.unwrap();
        let sent: Vec<u8> = (0..300_000_u64).map(|number| ((number * number) >> 8) as u8).collect();
        let received = thread::scope(|scope| {
            let receiving = scope.spawn(|| {
                let mut received = Vec::new();
                listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
                received
            });
            let connect = || TcpStream::connect((RELAY_V6, 80)).unwrap();
            let mut stream = internet.client.namespace.run(connect).unwrap();
            stream.write_all(&sent).unwrap();
            drop(stream);
            receiving.join().unwrap()
        });
        assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    });
}

//= API-77, SEC-11: an open port is reached from outside if it was allowed, and from nowhere else
#[test]
fn lets_in_what_is_allowed_and_nothing_else() {
    with_namespaces("client::lets_in_what_is_allowed_and_nothing_else", || {
        let internet = Internet::new();
        let _server = server(&internet);
        let _relay = relay(&internet, &[]);
        let allowed = format!("udp/22@{RELAY_V6}");
        for (rules, expected) in [
            (&[][..], [false, false]),
            (&["--allow", "tcp/22"], [true, false]),
            (&["--allow", "tcp/20-21", "--allow", "tcp/23", "--allow", &allowed], [false, false]),
            (&["--allow", "all"], [true, true]),
        ] {
            let client = client(&internet, rules);
            let address = address(&client.wait_for("qualified"));
            assert_eq!(internet.client.ping(RELAY_V6), 1, "both ways are open");
            let reached = [22, 80].map(|port| {
                let listen = || TcpListener::bind((address, port)).unwrap();
                let listener = internet.client.namespace.run(listen).unwrap();
                let patience = Duration::from_millis(500);
                let open = listener.local_addr().unwrap();
                let connect = || TcpStream::connect_timeout(&open, patience).is_ok();
                internet.relay.namespace.run(connect).unwrap()
            });
            assert_eq!(reached, expected, "{rules:?}");
            client.interrupt();
        }
    });
}

//= C-CFG-02: the service port can be set, and is a random one by default
#[test]
fn uses_a_random_port_or_the_one_that_is_set() {
    with_namespaces("client::uses_a_random_port_or_the_one_that_is_set", || {
        let internet = Internet::new();
        let port = |further: &[&str]| {
            let client = client(&internet, further);
            let port = client.fact()["port"].as_u64().unwrap();
            client.interrupt();
            port
        };
        let (first, second) = (port(&[]), port(&[]));
        assert!(first != second && first.min(second) >= 1_024, "{first}, {second}");
        assert_eq!(port(&["--port", "40123"]), 40_123);
    });
}

#[test]
fn leaves_nothing_behind_however_it_ends() {
    with_namespaces("client::leaves_nothing_behind_however_it_ends", || {
        let internet = Internet::new();
        let _server = server(&internet);
        for (signal, code) in [("-TERM", Some(0)), ("-HUP", Some(0)), ("-KILL", None)] {
            let client = client(&internet, &["--interface", "t6"]);
            client.wait_for("qualified");
            assert!(internet.client.interface("t6").is_some());
            let (status, said) = client.end(signal);
            assert_eq!(
                (status.code(), status.signal().is_some()),
                (code, code.is_none()),
                "{said}"
            );
            assert_eq!(internet.client.interface("t6"), None, "after {signal}");
        }
    });
}

#[test]
fn moves_with_its_ipv4_address() {
    with_namespaces("client::moves_with_its_ipv4_address", || {
        let internet = Internet::new();
        let _server = server(&internet);
        let client = client(&internet, &[]);
        let before = address(&client.wait_for("qualified"));
        internet.client.remove_ipv4(CLIENT);
        internet.client.add_ipv4(CLIENT_MOVED);
        let after = loop {
            let fact = client.wait_for("qualified");
            if address(&fact) != before {
                break address(&fact);
            }
        };
        assert_eq!(*TeredoAddress::parse(after).unwrap().mapped.ip(), CLIENT_MOVED);
        let interface = internet.client.interface("teredo").unwrap();
        assert_eq!(interface.addresses, [IpAddr::V6(after)]);
        let sources: Vec<_> = interface.routes.iter().map(|route| route.source).collect();
        assert_eq!(sources, [Some(IpAddr::V6(after)); 2]);
    });
}

#[test]
fn sets_its_interface_up_again_when_somebody_takes_it_down() {
    with_namespaces("client::sets_its_interface_up_again_when_somebody_takes_it_down", || {
        let internet = Internet::new();
        let _server = server(&internet);
        let _relay = relay(&internet, &[]);
        let client = client(&internet, &[]);
        let address = address(&client.wait_for("qualified"));
        let before = internet.client.interface("teredo");
        internet.client.change(|netlink| {
            let index = netlink.link_index("teredo").unwrap();
            netlink.delete_address(index, address.into(), 128).unwrap();
        });
        let end = Instant::now() + PATIENCE;
        while internet.client.interface("teredo") != before {
            assert!(Instant::now() < end, "{:?}", internet.client.interface("teredo"));
            thread::sleep(Duration::from_millis(20));
        }
        internet.client.ping(RELAY_V6);
        assert!(client.interrupt().contains("somebody else"));
    });
}

//= C-CFG-03, C-CFG-04, R-HOST-02: no client beside other IPv6 connectivity; the relay is named
#[test]
fn does_not_run_beside_native_ipv6() {
    with_namespaces("client::does_not_run_beside_native_ipv6", || {
        let internet = Internet::new();
        let _server = server(&internet);
        internet.client.add_native(NATIVE);
        let (status, said) = client(&internet, &[]).wait();
        assert_eq!((status.code(), said.lines().count()), (Some(6), 1), "{said}");
        assert!(said.contains("2001:db8:9:9::1") && said.contains("--host-only"), "{said}");

        let despite = client(&internet, &["--despite-native-ipv6"]);
        despite.wait_for("qualified");
        despite.interrupt();

        internet.client.remove_native(NATIVE);
        let client = client(&internet, &[]);
        client.wait_for("qualified");
        internet.client.add_native(NATIVE);
        let offline = client.wait_for("offline");
        assert_eq!(offline["reason"], json!("native-ipv6"));
        let output = internet.client.command(&mut command(&["status"])).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(": this host has IPv6 without Teredo\n"), "{said}");
        let interface = internet.client.interface("teredo").unwrap();
        assert!(interface.addresses.is_empty() && interface.routes.is_empty(), "{interface:?}");
        internet.client.remove_native(NATIVE);
        client.wait_for("qualified");
    });
}

//= API-73: a client of a command line ends where its network has become a managed one, and says so
#[test]
fn ends_on_a_network_that_becomes_a_managed_one() {
    with_namespaces("client::ends_on_a_network_that_becomes_a_managed_one", || {
        let internet = Internet::new();
        let _server = server(&internet);
        let resolver = internet.client.runtime.runtime().path().join("resolv.conf");
        std::fs::write(&resolver, "search example.net\n").unwrap();
        let further = ["--managed-domain", "corp.example", "--resolv-conf"];
        let mut client = client(&internet, &[&further[..], &[resolver.to_str().unwrap()]].concat());
        client.wait_for("qualified");
        std::fs::write(&resolver, "search corp.example\n").unwrap();
        internet.client.add_ipv4(CLIENT_MOVED);
        let (status, said) = client.wait();
        assert_eq!(status.code(), Some(6), "{said}");
        assert!(said.contains("this network is a managed one"), "{said}");
    });
}

//= C-MAINT-12: a silent server is resolved again, and asked where it is now
#[test]
fn follows_its_server_to_another_address() {
    with_namespaces("client::follows_its_server_to_another_address", || {
        let internet = Internet::new();
        let _server = server(&internet);
        // Names come out of a file that only the client sees in place of the system's.
        let hosts = std::env::temp_dir().join(format!("teredo-hosts-{}", std::process::id()));
        std::fs::write(&hosts, "203.0.113.99 server.test\n").unwrap();
        let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(&hosts);
        command.args([env!("CARGO_BIN_EXE_teredo"), "client", "--server", "server.test"]);
        let client = Running::spawn(&internet.client, command);
        assert_eq!(client.fact()["state"], json!("probe"));
        std::fs::write(&hosts, format!("{SERVER} server.test\n")).unwrap();
        assert_eq!(client.wait_for("offline")["reason"], json!("no-answer"));
        let address = address(&client.wait_for("qualified"));
        assert_eq!(TeredoAddress::parse(address).unwrap().server, SERVER);
        std::fs::remove_file(&hosts).unwrap();
        assert!(client.interrupt().contains("server.test is 203.0.113.10 now"));
    });
}

#[test]
fn keeps_asking_a_silent_server_or_gives_up_in_time() {
    with_namespaces("client::keeps_asking_a_silent_server_or_gives_up_in_time", || {
        let internet = Internet::new();
        let (status, said) = client(&internet, &["--timeout", "1"]).wait();
        assert_eq!(status.code(), Some(4), "{said}");
        assert!(said.lines().last().unwrap().contains("203.0.113.10"), "{said}");
        assert_eq!(internet.client.interface("teredo"), None);

        let client = client(&internet, &[]);
        assert_eq!(client.fact()["state"], json!("probe"));
        assert!(client.is_silent_for(Duration::from_secs(1)));
        let _server = server(&internet);
        client.wait_for("qualified");
    });
}
