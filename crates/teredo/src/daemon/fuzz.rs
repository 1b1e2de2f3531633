//! What must hold for the text of any configuration.

use std::path::PathBuf;
use std::str;

use teredo_control::Settings;
use toml::{Table, Value};

use super::configuration::{Configuration, apply, check_settings};
use super::layers::{Merged, Places, check_policy};

/// Reads up to three parts with a form feed between them, which no TOML has: the configuration
/// file, settings as the control interface takes them, and a policy.
pub fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut parts = text.split('\u{c}');
    let mut part = || parts.next().unwrap_or_default();
    let (file, settings, policy) = (part(), part(), part());
    let places = Places::of(PathBuf::from(FILE), None);
    let Ok(table) = file.parse::<Table>() else { return };
    check_round_trip(&table);
    let mut merged = Merged::default();
    if !is_told(merged.add(places.file(), table, false)) {
        return;
    }
    if let Ok(settings) = serde_json::from_str::<Settings>(settings) {
        add_settings(&mut merged, &places, &settings);
    }
    if let Ok(table) = policy.parse::<Table>() {
        let path = places.policies().join("policy.toml");
        if is_told(check_policy(&path, &table)) {
            assert!(merged.add(&path, table, true).is_ok(), "a policy outside of [client]");
        }
    }
    let Ok(configuration) = Configuration::checked(places, merged) else { return };
    assert!(!configuration.roles().is_empty(), "there is nothing to run");
    for role in configuration.roles() {
        let reads = match role {
            super::roles::Role::Client => configuration.client().is_ok(),
            super::roles::Role::Server => configuration.server().is_ok(),
            super::roles::Role::Relay => configuration.relay().is_ok(),
        };
        assert!(reads, "checked, and then of no use: [{}]", role.name());
    }
}

/// Settings that are taken are read from the file that keeps them as they were given.
fn add_settings(merged: &mut Merged, places: &Places, settings: &Settings) {
    if check_settings(settings).is_err() {
        return;
    }
    let mut kept = Table::new();
    apply(settings, &mut kept);
    check_round_trip(&kept);
    let client = kept.get("client").and_then(Value::as_table);
    let value = |key| client.and_then(|client| client.get(key));
    assert_eq!(value("server").and_then(Value::as_str), settings.server_name.as_deref());
    let interval = value("refresh-interval").and_then(Value::as_integer);
    assert_eq!(interval, settings.refresh_interval_s.map(i64::from));
    let port = value("port").and_then(Value::as_integer);
    assert_eq!(port, settings.client_port.map(|port| i64::from(port.get())));
    assert!(merged.add(&places.run_time(), kept, false).is_ok());
}

/// What is written is read as the same. Written twice, because not a number is never the same.
fn check_round_trip(table: &Table) {
    let Ok(written) = toml::to_string(table) else { return };
    let again = written.parse::<Table>().ok().and_then(|table| toml::to_string(&table).ok());
    assert_eq!(again.as_deref(), Some(written.as_str()), "written otherwise than read");
}

/// Whether it went well; what went wrong names the place.
fn is_told<T>(result: anyhow::Result<T>) -> bool {
    result.inspect_err(|error| assert!(format!("{error:#}").contains("/etc/teredo/"))).is_ok()
}

const FILE: &str = "/etc/teredo/teredo.toml";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_parts_are_looked_at() {
        run("[client]\nserver = \"192.0.2.1\"\u{c}{\"client_port\": 7}\u{c}[client]\nport = 9\n"
            .as_bytes());
        run(b"[server]\n[relay]\nx = nan\x0c{\"server_name\": \"a\\nb\"}\x0c[relay]\nport = 1");
        run(b"port = 1\x0c\xff");
    }
}
