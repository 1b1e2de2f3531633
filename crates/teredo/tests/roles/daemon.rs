//! `teredo daemon`, and what changes a client while it runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use teredo_control::testing::TestDir;

use crate::client::{client, relay, server};
use crate::internet::{Host, Internet, PATIENCE, RANGE, RELAY, RELAY_V6, SERVER, with_namespaces};
use crate::running::{Running, command};

/// A configuration in a directory of its own.
pub(crate) struct Config {
    directory: TestDir,
}

impl Config {
    fn new(text: &str) -> Self {
        let directory = TestDir::new().unwrap();
        let config = Self { directory };
        fs::write(config.file(), text).unwrap();
        config
    }

    /// A client of the test's server.
    pub(crate) fn client(further: &str) -> Self {
        Self::new(&format!(
            "[client]\nserver = \"{SERVER}\"\nallow-ipv4 = [\"{RANGE}\"]\njson = true\n{further}"
        ))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.runtime().path().join(name)
    }

    fn file(&self) -> PathBuf {
        self.path("teredo.toml")
    }

    pub(crate) fn start(&self, host: &Host) -> Running {
        let mut command = command(&["daemon", "--config"]);
        command.arg(self.file());
        Running::spawn_as_it_is(host, command)
    }

    fn put_policy(&self, text: &str) {
        fs::create_dir_all(self.path("policy.d")).unwrap();
        fs::write(self.path("policy.d/corp.toml"), text).unwrap();
    }
}

/// Runs `body` with a daemon that has just been started, and a server for its client, which has the
/// settings `further`.
pub(crate) fn with_daemon(
    test: &str,
    further: &str,
    body: impl FnOnce(&Internet, &Config, Running),
) {
    with_namespaces(test, || {
        let internet = Internet::new();
        let _server = server(&internet);
        let config = Config::client(further);
        let daemon = config.start(&internet.client);
        body(&internet, &config, daemon);
    });
}

/// Runs a program on `host`: exit code, standard output and error.
pub(crate) fn ask(host: &Host, arguments: &[&str]) -> (i32, String, String) {
    let output = host.command(&mut command(arguments)).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

pub(crate) fn set(host: &Host, words: &[&str]) {
    let (code, said, error) = ask(host, &[&["set", "state"], words].concat());
    assert_eq!((code, &*said), (0, "Ok.\n"), "{words:?}: {error}");
}

fn status(host: &Host) -> Value {
    let (code, said, error) = ask(host, &["status", "--json"]);
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&said).unwrap()
}

/// The status, as soon as it is like this.
pub(crate) fn wait_for(host: &Host, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + PATIENCE;
    loop {
        let (code, said, error) = ask(host, &["status", "--json"]);
        if code == 0 {
            let status = serde_json::from_str(&said).unwrap();
            if is_so(&status) {
                return status;
            }
        }
        assert!(Instant::now() < end, "not {what}: {said}{error}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn row(host: &Host, label: &str) -> String {
    let (_, table, _) = ask(host, &["status"]);
    let line = table.lines().find(|line| line.starts_with(label));
    line.unwrap_or_else(|| panic!("no {label}: {table}")).split_once(": ").unwrap().1.to_owned()
}

//= API-71: partial changes hold, outlive the daemon, and go back with "default"
#[test]
fn settings_change_while_it_runs_and_are_kept() {
    with_daemon(
        "daemon::settings_change_while_it_runs_and_are_kept",
        "refresh-interval = 40\n",
        |internet, config, daemon| {
            let host = &internet.client;
            let before = daemon.wait_for("qualified");
            let started = status(host);
            assert_eq!(
                (&started["type"], &started["refresh_interval_s"]),
                (&json!("default"), &json!(40))
            );

            // All of this in its sandbox.
            assert_eq!(started["sandbox"]["capabilities"], json!(["net_admin"]));
            set(host, &["refreshinterval=60"]);
            let after = status(host);
            assert_eq!(after["refresh_interval_s"], json!(60));
            assert_eq!((&after["state"], &after["port"]), (&json!("qualified"), &before["port"]));
            assert_eq!(after["address"], before["address"], "what it can take over it takes over");
            assert_eq!(row(host, "Client Refresh Interval"), "60 seconds");

            // Another port is another socket.
            set(host, &["client", "default", "default", "40123"]);
            let moved = wait_for(host, "on another port", |it| {
                it["state"] == "qualified" && it["port"] == 40_123
            });
            assert_eq!((&moved["client_port"], &moved["type"]), (&json!(40_123), &json!("client")));
            assert_eq!(moved["refresh_interval_s"], json!(40), "back to what the file says");

            let (code, _, error) = ask(host, &["set", "state", "type=relay"]);
            assert_eq!(code, 2, "{error}");
            assert!(error.contains("error 87"), "{error}");
            for (word, why) in
                [("refreshinterval=2", "5 to 3600"), ("servername=a b", "server_name")]
            {
                let (code, _, error) = ask(host, &["set", "state", word]);
                assert_eq!((code, error.lines().count()), (2, 1), "{error}");
                assert!(error.contains("error 87") && error.contains(why), "{error}");
            }
            let now = status(host);
            for name in ["type", "server_name", "refresh_interval_s", "client_port", "port"] {
                assert_eq!(now[name], moved[name], "{name} has changed");
            }

            daemon.interrupt();
            let daemon = config.start(host);
            daemon.wait_for("qualified");
            assert_eq!(status(host)["port"], json!(40_123), "settings outlive the daemon");
            set(host, &["type=default", "clientport=default"]);
            let back = wait_for(host, "back", |it| it["client_port"] == Value::Null);
            assert_eq!(back["type"], json!("default"));
            daemon.interrupt();
        },
    );
}

//= API-03: disabled gives no port, and enabled again the one of before
#[test]
fn a_client_that_is_disabled_goes_and_comes_back() {
    with_daemon(
        "daemon::a_client_that_is_disabled_goes_and_comes_back",
        "",
        |internet, _, daemon| {
            let host = &internet.client;
            let port = daemon.wait_for("qualified")["port"].clone();
            set(host, &["disable"]);
            let off = wait_for(host, "off-line", |it| it["state"] == "offline");
            assert_eq!((&off["type"], &off["port"]), (&json!("disabled"), &Value::Null));
            assert_eq!(ask(host, &["port"]).0, 4);
            assert_eq!(host.interface("teredo"), None);
            set(host, &["default"]);
            assert_eq!(daemon.wait_for("qualified")["port"], port, "the NAT may still know it");
            daemon.interrupt();
        },
    );
}

//= API-70: a policy's value overrides the local one and is marked; without it that one holds again
#[test]
fn a_policy_overrides_and_is_marked() {
    with_daemon("daemon::a_policy_overrides_and_is_marked", "", |internet, config, daemon| {
        let host = &internet.client;
        daemon.wait_for("qualified");
        config.put_policy("[client]\nrefresh-interval = 45\ntype = \"enterpriseclient\"\n");
        daemon.signal("-HUP");
        wait_for(host, "dictated", |it| it["refresh_interval_s"] == 45);
        assert_eq!(row(host, "Client Refresh Interval"), "45 seconds (Group Policy)");
        assert_eq!(row(host, "Type"), "enterpriseclient (Group Policy)");
        assert_eq!(status(host)["from_policy"], json!(["refresh_interval_s", "type"]));
        assert_eq!(status(host)["state"], "qualified", "and the client goes on");

        set(host, &["refreshinterval=50"]);
        assert_eq!(row(host, "Client Refresh Interval"), "45 seconds (Group Policy)");
        fs::remove_dir_all(config.path("policy.d")).unwrap();
        daemon.signal("-HUP");
        wait_for(host, "its own again", |it| it["refresh_interval_s"] == 50);
        assert_eq!(row(host, "Type"), "default");

        // What cannot be read changes nothing.
        config.put_policy("[client]\ninterface = \"x\"\n");
        daemon.signal("-HUP");
        thread::sleep(Duration::from_millis(100));
        config.put_policy("[client\n");
        daemon.signal("-HUP");
        thread::sleep(Duration::from_millis(100));
        assert_eq!(status(host)["refresh_interval_s"], json!(50));
        let said = daemon.interrupt();
        assert!(said.lines().all(|line| line.starts_with("teredo: ")), "{said}");
        assert!(
            said.contains("corp.toml: [client] interface is nothing a policy can set"),
            "{said}"
        );
    });
}

//= API-71: what was set while it ran holds also after it has failed
#[test]
fn settings_outlive_the_tunnel_interface() {
    with_daemon("daemon::settings_outlive_the_tunnel_interface", "", |internet, _, daemon| {
        let host = &internet.client;
        daemon.wait_for("qualified");
        set(host, &["refreshinterval=60"]);
        host.change(|netlink| {
            let index = netlink.link_index("teredo").unwrap();
            netlink.delete_link(index).unwrap();
        });
        wait_for(host, "off-line", |it| it["reason"] == "failed");
        assert_eq!(row(host, "Client Refresh Interval"), "60 seconds");
        daemon.wait_for("qualified");
        assert_eq!(status(host)["refresh_interval_s"], json!(60));
        daemon.interrupt();
    });
}

//= API-72: others than root and the group may not change settings
#[test]
fn who_has_no_privilege_changes_nothing() {
    with_daemon("daemon::who_has_no_privilege_changes_nothing", "", |internet, config, daemon| {
        let host = &internet.client;
        daemon.wait_for("qualified");
        let kind = |it: &Value| (it["type"].clone(), it["state"].clone());
        let before = kind(&status(host));
        // Where the executable is may not be for everybody to look at.
        let copy = config.path("teredo");
        fs::copy(env!("CARGO_BIN_EXE_teredo"), &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        let nobody = || {
            let mut command = std::process::Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
            command
        };
        if !nobody().arg("true").output().is_ok_and(|output| output.status.success()) {
            println!("SKIPPED daemon::who_has_no_privilege_changes_nothing: only one user here");
            return;
        }
        let mut command = nobody();
        command.arg(&copy).args(["set", "state", "type=disabled"]);
        let output = host.command(&mut command).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(6), "{said}");
        assert!(said.contains("error 5"), "{said}");
        assert_eq!(kind(&status(host)), before);
        daemon.interrupt();
    });
}

//= API-73, T-20: a client stays off a managed network, an enterprise client does not
#[test]
fn a_managed_network_is_for_enterprise_clients() {
    with_namespaces("daemon::a_managed_network_is_for_enterprise_clients", || {
        let internet = Internet::new();
        let host = &internet.client;
        let _server = server(&internet);
        let directory = TestDir::new().unwrap();
        let resolver = directory.runtime().path().join("resolv.conf");
        fs::write(&resolver, "search berlin.corp.example\n").unwrap();
        let config = Config::client(&format!(
            "managed-domain = [\"corp.example\"]\nresolv-conf = \"{}\"\n",
            resolver.display()
        ));
        let daemon = config.start(host);
        let off = wait_for(host, "off-line", |it| it["reason"] == "managed-network");
        assert_eq!((&off["state"], &off["port"]), (&json!("offline"), &Value::Null));
        assert_eq!(row(host, "Error"), "client is in a managed network");
        set(host, &["enterpriseclient"]);
        wait_for(host, "qualified", |it| it["state"] == "qualified");
        assert_eq!(row(host, "Network"), "managed");
        set(host, &["client"]);
        wait_for(host, "off-line again", |it| it["reason"] == "managed-network");
        fs::write(&resolver, "search example.net\n").unwrap();
        daemon.signal("-HUP");
        wait_for(host, "qualified", |it| it["state"] == "qualified");
        assert_eq!(row(host, "Network"), "unmanaged");
        daemon.interrupt();
    });
}

//= API-74, API-05: dormant after a while without need, with a port; a packet or a need ends it
#[test]
fn a_client_goes_dormant_and_wakes() {
    with_namespaces("daemon::a_client_goes_dormant_and_wakes", || {
        let internet = Internet::new();
        let host = &internet.client;
        let _server = server(&internet);
        let _relay = relay(&internet, &[]);
        let config = Config::client("dormant-after = 1\n");
        let daemon = config.start(host);
        let address = daemon.wait_for("qualified")["address"].clone();
        let asleep = wait_for(host, "dormant", |it| it["state"] == "dormant");
        assert_eq!(asleep["address"], Value::Null);
        let (code, port, _) = ask(host, &["port"]);
        assert_eq!((code, port.trim().to_owned()), (0, asleep["port"].to_string()));
        assert!(host.interface("teredo").unwrap().addresses.len() == 1, "a packet can wake it");

        assert_eq!(host.ping(RELAY_V6), 1, "the packet that wakes it arrives");
        assert_eq!(daemon.wait_for("qualified")["address"], address);
        wait_for(host, "dormant again", |it| it["state"] == "dormant");
        assert_eq!(ask(host, &["wait-online", "--timeout", "10"]).0, 0);
        daemon.interrupt();
    });
}

//= API-75: default qualified: never dormant, also when a policy says so
#[test]
fn default_qualified_is_never_dormant() {
    with_daemon(
        "daemon::default_qualified_is_never_dormant",
        "dormant-after = 1\n",
        |internet, config, daemon| {
            let host = &internet.client;
            daemon.wait_for("qualified");
            wait_for(host, "dormant", |it| it["state"] == "dormant");
            config.put_policy("[client]\ndefault-qualified = true\n");
            daemon.signal("-HUP");
            wait_for(host, "awake", |it| it["state"] == "qualified");
            daemon.facts();
            thread::sleep(Duration::from_secs(2));
            let changed = daemon.facts().into_iter().find(|fact| fact["state"] != "qualified");
            assert_eq!(changed, None);
            assert_eq!(status(host)["state"], "qualified");
            daemon.interrupt();
        },
    );
}

//= API-08: a configured port that is taken: off-line, and in service once it is free
#[test]
fn what_fails_is_told_and_tried_again() {
    with_namespaces("daemon::what_fails_is_told_and_tried_again", || {
        let internet = Internet::new();
        let host = &internet.client;
        let _server = server(&internet);
        let bind = || std::net::UdpSocket::bind("0.0.0.0:40124").unwrap();
        let taken = host.namespace.run(bind).unwrap();
        let config = Config::client("port = 40124\n");
        let daemon = config.start(host);
        let off = wait_for(host, "off-line", |it| it["reason"] == "port-unusable");
        assert_eq!((&off["state"], &off["port"]), (&json!("offline"), &Value::Null));
        assert_eq!(row(host, "Error"), "client port could not be used");
        drop(taken);
        daemon.wait_for("qualified");
        daemon.interrupt();

        let config = Config::new("[client]\n");
        let daemon = config.start(host);
        wait_for(host, "without a server", |it| it["reason"] == "no-server");
        assert_eq!(row(host, "Server Name"), "unspecified");
        let said = daemon.interrupt();
        assert!(said.contains("no server is configured"), "{said}");
    });
}

//= API-07: also where another client was in the way at the start
#[test]
fn takes_the_place_of_a_client_that_ends() {
    with_daemon("daemon::takes_the_place_of_a_client_that_ends", "", |internet, config, daemon| {
        let host = &internet.client;
        daemon.wait_for("qualified");
        let second = config.start(host);
        thread::sleep(Duration::from_millis(300));
        assert_eq!(status(host)["state"], "qualified", "the first one is not disturbed");
        daemon.interrupt();
        let port = second.wait_for("qualified")["port"].to_string();
        assert_eq!(ask(host, &["port"]).1.trim(), port);
        let said = second.interrupt();
        assert!(said.contains("already running") && said.contains("can ask this one"), "{said}");
    });
}

#[test]
fn several_roles_live_and_die_together() {
    with_namespaces("daemon::several_roles_live_and_die_together", || {
        let internet = Internet::new();
        let host = &internet.relay;
        host.add_ipv4(SERVER_ON_RELAY[0]);
        host.add_ipv4(SERVER_ON_RELAY[1]);
        let config = Config::new(&format!(
            "[server]\naddress = \"{}\"\nallow-ipv4 = [\"{RANGE}\"]\njson = true\n\
             [relay]\naddress = \"{RELAY}\"\nallow-ipv4 = [\"{RANGE}\"]\njson = true\n",
            SERVER_ON_RELAY[0]
        ));
        for signal in ["-TERM", "-KILL"] {
            let daemon = config.start(host);
            let mut ready = [daemon.fact(), daemon.fact()].map(|fact| fact["role"].to_string());
            ready.sort();
            assert_eq!(ready, ["\"relay\"", "\"server\""]);
            assert!(host.interface("teredo").is_some());
            daemon.end(signal);
            let end = Instant::now() + PATIENCE;
            while host.interface("teredo").is_some() {
                assert!(Instant::now() < end, "the relay outlives its daemon");
                thread::sleep(Duration::from_millis(10));
            }
        }
    });
}

#[test]
fn a_hangup_ends_no_role() {
    with_namespaces("daemon::a_hangup_ends_no_role", || {
        let internet = Internet::new();
        let config = Config::new(&format!(
            "[server]\naddress = \"{SERVER}\"\nallow-ipv4 = [\"{RANGE}\"]\njson = true\n"
        ));
        let daemon = config.start(&internet.server);
        assert_eq!(daemon.fact()["event"], "ready");
        daemon.signal("-HUP");
        let client = client(&internet, &[]);
        client.wait_for("qualified");
        client.interrupt();
        let said = daemon.interrupt();
        assert!(said.contains("the server keeps its settings until the next start"), "{said}");
    });
}

const SERVER_ON_RELAY: [std::net::Ipv4Addr; 2] =
    [std::net::Ipv4Addr::new(203, 0, 113, 21), std::net::Ipv4Addr::new(203, 0, 113, 22)];

#[test]
fn a_configuration_that_makes_no_sense_is_told_in_one_line() {
    for (text, why) in [
        ("", "no role to run"),
        ("[client\n", "is not as it should be: TOML parse error at line 1"),
        ("server = \"x\"\n", "server stands outside of a table"),
        ("[peer]\n", "there is no role [peer]"),
        ("[client]\ncolor = 1\n", "[client] has no setting color: it has "),
        ("[client]\nserver = 1.5\n", "[client] server: not a value"),
        ("[client]\nserver = [\"a\", \"b\"]\n", "[client] server: the argument"),
        ("[client]\nport = 65536\n", "[client] port: invalid value '65536'"),
        ("[client]\ntype = \"relay\"\n", "[client] type: invalid value 'relay'"),
        ("[client]\nstrict = \"yes\"\n", "[client] strict: unexpected value 'yes'"),
        ("[client]\nallow-ipv4 = [\"x\"]\n", "[client] allow-ipv4: invalid value 'x'"),
        ("[client]\nwithout = [\"teleport\"]\n", "[client] without: invalid value 'teleport'"),
        ("[client]\ntimeout = 3\n", "[client] has no setting timeout"),
        ("[server]\n", "[server]: the following required arguments were not provided: --address"),
    ] {
        let config = Config::new(text);
        let path = config.file();
        let arguments = ["daemon", "--check", "--config", path.to_str().unwrap()];
        let output = command(&arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{text:?}: {said}");
        assert!(said.contains(why) && said.contains("teredo.toml"), "{text:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn files_are_read_in_their_order_and_a_broken_one_is_named() {
    let config = Config::client("");
    let check = |config: &Config| {
        let mut command = command(&["daemon", "--check", "--config"]);
        let output = command.arg(config.file()).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let drop_ins = config.path("teredo.toml.d");
    fs::create_dir(&drop_ins).unwrap();
    let put = |name: &str, text: &str| fs::write(Path::join(&drop_ins, name), text).unwrap();
    put("10-first.toml", "[client]\nport = 0\n");
    put("20-second.toml", "[client]\nport = 70000\n");
    put("30-notes.txt", "no TOML");
    put(".40-hidden.toml", "no TOML");
    let (code, said) = check(&config);
    assert_eq!(code, Some(1));
    assert!(said.contains("20-second.toml: [client] port: invalid value '70000'"), "{said}");
    put("25-third.toml", "[client]\nport = 3074\n");
    assert_eq!(check(&config), (Some(0), String::new()));
    fs::remove_file(config.file()).unwrap();
    let (code, said) = check(&config);
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot read"), "{said}");
}
