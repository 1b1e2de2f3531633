//! `teredo relay`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use teredo_sys::netlink::Route;

use crate::client::{client, relay, server};
use crate::internet::{Host, Interface, Internet, PATIENCE, RELAY_V6, with_namespaces};
use crate::running::command;

const SERVICE_PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0);

//= R-ADV-01: leads 2001::/32 into the tunnel, for routing daemons to announce
#[test]
fn leads_teredo_into_the_tunnel_and_says_what_the_kernel_lacks() {
    with_namespaces("relay::leads_teredo_into_the_tunnel_and_says_what_the_kernel_lacks", || {
        let internet = Internet::new();
        let relay = relay(&internet, &["--interface", "t6", "--port", "0"]);
        let interface = internet.relay.interface("t6").unwrap();
        assert_eq!(interface.routes(), [(SERVICE_PREFIX.into(), 32, None)]);
        assert!(interface.addresses.is_empty());
        let said = relay.interrupt();
        assert!(said.contains("sysctl -w net.ipv6.conf.all.forwarding=1"), "{said}");
        assert_eq!(internet.relay.interface("t6"), None);
    });
}

//= R-HOST-01: serves only this host; one route to the tunnel, nothing announced
#[test]
fn a_host_specific_relay_answers_for_its_own_host() {
    with_namespaces("relay::a_host_specific_relay_answers_for_its_own_host", || {
        let internet = Internet::new();
        let _server = server(&internet);
        let relay = relay(&internet, &["--host-only", "--allow", "echo"]);
        let interface = internet.relay.interface("teredo").unwrap();
        let native = Some(IpAddr::V6(RELAY_V6));
        assert_eq!(interface.routes(), [(SERVICE_PREFIX.into(), 32, native)]);
        let port = internet.relay.command(&mut command(&["port"])).output().unwrap();
        assert_eq!(String::from_utf8(port.stdout).unwrap(), "3545\n", "in place of a client's");
        let client = client(&internet, &["--allow", "echo"]);
        let address = crate::client::address(&client.wait_for("qualified"));
        assert_eq!(internet.client.ping(RELAY_V6), 1);
        assert_eq!(internet.relay.ping(address), 1, "the other way too");
        relay.interrupt();
    });
}

//= API-77: what its host has not asked for does not come in; a client's test does, natively
#[test]
fn a_host_specific_relay_refuses_what_its_host_did_not_ask_for() {
    with_namespaces("relay::a_host_specific_relay_refuses_what_its_host_did_not_ask_for", || {
        let internet = Internet::new();
        let _server = server(&internet);
        let _relay = relay(&internet, &["--host-only", "--allow", "tcp/22"]);
        let client = client(&internet, &[]);
        let address = crate::client::address(&client.wait_for("qualified"));
        let reaches = |from: &Host, to: &Host, at: (Ipv6Addr, u16)| {
            let listener = to.namespace.run(|| TcpListener::bind(at).unwrap()).unwrap();
            let open = listener.local_addr().unwrap();
            let connect = || TcpStream::connect_timeout(&open, Duration::from_millis(500)).is_ok();
            from.namespace.run(connect).unwrap()
        };
        assert!(reaches(&internet.client, &internet.relay, (RELAY_V6, 22)));
        assert!(!reaches(&internet.client, &internet.relay, (RELAY_V6, 80)));
        assert!(!reaches(&internet.relay, &internet.client, (address, 22)));
    });
}

//= R-HOST-03: rests while IPv6 is lost
#[test]
fn a_host_specific_relay_rests_without_native_ipv6() {
    with_namespaces("relay::a_host_specific_relay_rests_without_native_ipv6", || {
        let internet = Internet::new();
        let relay = relay(&internet, &["--host-only"]);
        let wait_for = |what: fn(&Interface) -> bool| {
            let end = Instant::now() + PATIENCE;
            while !what(&internet.relay.interface("teredo").unwrap()) {
                assert!(Instant::now() < end);
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        wait_for(|interface| interface.routes.len() == 1);
        internet.relay.remove_native(RELAY_V6);
        wait_for(|interface| interface.routes.is_empty());
        assert_eq!(relay.fact()["state"], json!("resting"));
        internet.relay.add_native(RELAY_V6);
        wait_for(|interface| interface.routes.len() == 1);
        assert_eq!(relay.fact()["state"], json!("serving"));
    });
}

//= R-ADV-01: puts its route back when somebody takes the route or the interface down
#[test]
fn sets_its_route_again_when_somebody_takes_it_away() {
    with_namespaces("relay::sets_its_route_again_when_somebody_takes_it_away", || {
        for further in [&[][..], &["--host-only"]] {
            let internet = Internet::new();
            let relay = relay(&internet, further);
            let before = internet.relay.interface("teredo");
            let wait = || {
                let end = Instant::now() + PATIENCE;
                while internet.relay.interface("teredo") != before {
                    assert!(Instant::now() < end, "{:?}", internet.relay.interface("teredo"));
                    std::thread::sleep(Duration::from_millis(20));
                }
            };
            internet.relay.change(|netlink| {
                let index = netlink.link_index("teredo").unwrap();
                let route = Route::on_link(SERVICE_PREFIX.into(), 32, index);
                netlink.delete_route(&route).unwrap();
            });
            wait();
            let down = ["link", "set", "teredo", "down"];
            let status = internet.relay.command(Command::new("ip").args(down)).status();
            assert!(status.unwrap().success());
            wait();
            assert!(relay.interrupt().contains("somebody else"));
        }
    });
}

#[test]
fn tells_where_it_serves() {
    with_namespaces("relay::tells_where_it_serves", || {
        let internet = Internet::new();
        let address = Ipv4Addr::new(203, 0, 113, 20).to_string();
        let arguments = ["relay", "--address", &address, "--serve", "2001:db8:6::/48"];
        let relay = crate::running::Running::start(&internet.relay, &arguments);
        let ready = relay.fact();
        for (key, value) in [
            ("event", json!("ready")),
            ("role", json!("relay")),
            ("address", json!(address)),
            ("port", json!(3545)),
            ("interface", json!("teredo")),
        ] {
            assert_eq!(ready[key], value, "{key}");
        }
        relay.interrupt();
    });
}
