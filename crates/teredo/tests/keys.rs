//! Keys as people handle them: making them, their files, and what is wrong with those.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Run, command, run};
use teredo_control::testing::TestDir;

const KEY: &str = "30313233343536373839616263646566";

/// Writes a file of this mode.
fn file(directory: &TestDir, name: &str, mode: u32, text: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.runtime().path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A client that never gets further than its key, or its server.
fn client(directory: &TestDir, path: &str) -> Run {
    Run::of(client_command(directory, path).output().unwrap())
}

fn client_command(directory: &TestDir, path: &str) -> Command {
    let mut command = command(&["client", "--server", "192.0.2.1", "--despite-native-ipv6"]);
    command.args(["--identifier", "laptop", "--key-file", path]);
    command.env("TEREDO_RUNTIME_DIR", directory.runtime().path());
    command
}

/// A server that never gets further than its clients, or its address.
fn server(path: &str) -> Run {
    run(&["server", "--address", "192.0.2.1", "--clients", path])
}

const PAST_THE_KEY: &str = "server address 192.0.2.1 is not a public one";
const PAST_THE_CLIENTS: &str = "192.0.2.1 is not on this host";

#[test]
fn a_new_key_is_a_line_for_the_server_and_a_file_for_the_client() {
    let directory = TestDir::new().unwrap();
    let key_file = directory.runtime().path().join("laptop.key");
    let shown = key_file.to_str().unwrap();
    let made = run(&["key", "new", "laptop", "--key-file", shown]);
    assert_eq!(made.code, 0, "{made:?}");
    let words: Vec<_> = made.stdout.split_whitespace().collect();
    let [name, algorithm, key] = words[..] else { panic!("{made:?}") };
    assert_eq!((name, algorithm, key.len()), ("laptop", "hmac-sha1", 64));
    assert_eq!(made.stdout.lines().count(), 1);
    assert!(!made.stderr.contains(key), "{made:?}");
    let told = format!("teredo client --server HOST --identifier laptop --key-file {shown}\n");
    assert!(made.stderr.contains(&told), "{made:?}");
    assert_eq!(
        (mode(&key_file), fs::read_to_string(&key_file).unwrap()),
        (0o600, format!("{key}\n"))
    );

    client(&directory, shown).is_one_line(1, PAST_THE_KEY);
    let clients = file(&directory, "clients", 0o600, &made.stdout);
    server(clients.to_str().unwrap()).is_one_line(1, PAST_THE_CLIENTS);

    let again = run(&["key", "new", "laptop", "--key-file", shown]);
    again.is_one_line(1, "cannot create");
    let other = run(&["key", "new", "laptop", "--algorithm", "hmac-sha256", "--json"]);
    let json = &other.json()[0];
    assert_eq!(
        (&json["identifier"], &json["algorithm"]),
        (&"laptop".into(), &"hmac-sha256".into())
    );
    assert_ne!(json["key"], key);
}

#[test]
fn a_key_file_that_others_can_read_is_refused() {
    let directory = TestDir::new().unwrap();
    for (mode, is_closed) in [
        (0o600, true),
        (0o400, true),
        (0o640, true),
        (0o604, false),
        (0o644, false),
        (0o602, false),
    ] {
        let (expected, further) = if is_closed {
            (PAST_THE_KEY, PAST_THE_CLIENTS)
        } else {
            ("is open to others (mode 0", "is open to others (mode 0")
        };
        let path = file(&directory, "a.key", mode, KEY);
        client(&directory, path.to_str().unwrap()).is_one_line(1, expected);
        let path = file(&directory, "clients", mode, format!("a hmac-sha1 {KEY}\n"));
        server(path.to_str().unwrap()).is_one_line(1, further);
        fs::remove_file(path).unwrap();
        fs::remove_file(directory.runtime().path().join("a.key")).unwrap();
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said_without_the_key() {
    let directory = TestDir::new().unwrap();
    let refused = |text: &[u8], why: &str| {
        let path = file(&directory, "a.key", 0o600, text);
        let run = client(&directory, path.to_str().unwrap());
        run.is_one_line(1, why);
        assert!(!run.stderr.contains("3031323334"), "{run:?}");
    };
    refused(b"", "does not hold one key");
    refused(b"# only a comment\n", "does not hold one key");
    refused(&KEY.as_bytes()[1..], "does not hold one key");
    refused(format!("{KEY}\n{KEY}\n").as_bytes(), "does not hold one key");
    refused(format!("laptop hmac-sha1 {KEY}\n").as_bytes(), "does not hold one key");
    refused(b"\xff\xfe", "cannot read");
    client(&directory, "/nowhere/a.key").is_one_line(1, "cannot open /nowhere/a.key: No such file");
    let path = file(&directory, "b.key", 0o600, format!("# of the laptop\n\n {KEY}\r\n"));
    client(&directory, path.to_str().unwrap()).is_one_line(1, PAST_THE_KEY);

    let text = format!("# ours\na hmac-sha1 {KEY}\nb {KEY}\n");
    let path = file(&directory, "clients", 0o600, text);
    let run = server(path.to_str().unwrap());
    run.is_one_line(1, "clients: line 3: not an identifier, an algorithm and a key");
    assert!(!run.stderr.contains("3031323334"), "{run:?}");
}

#[test]
fn hmac_md5_is_switched_off_at_the_server_unless_allowed() {
    let directory = TestDir::new().unwrap();
    let path = file(&directory, "clients", 0o600, format!("a hmac-md5 {KEY}\n"));
    let path = path.to_str().unwrap();
    server(path).is_one_line(1, "line 1: hmac-md5 is switched off");
    let allowed = ["server", "--address", "192.0.2.1", "--clients", path, "--allow-md5"];
    run(&allowed).is_one_line(1, PAST_THE_CLIENTS);
}

#[test]
fn a_bare_name_is_a_credential_if_there_is_one() {
    let directory = TestDir::new().unwrap();
    let credentials = directory.runtime().path();
    file(&directory, "teredo.key", 0o400, KEY);
    let client = |path: &str| {
        let mut command = client_command(&directory, path);
        Run::of(command.env("CREDENTIALS_DIRECTORY", credentials).output().unwrap())
    };
    client("teredo.key").is_one_line(1, PAST_THE_KEY);
    client("other.key").is_one_line(1, "cannot open other.key");
    client("./teredo.key").is_one_line(1, "cannot open ./teredo.key");
}

#[test]
fn wrong_usage_is_said() {
    for (arguments, why) in [
        (&["client", "--server", "x", "--identifier", "a"][..], "--key-file <FILE>"),
        (&["client", "--server", "x", "--key-file", "a"], "--identifier <NAME>"),
        (&["client", "--server", "x", "--algorithm", "hmac-sha256"], "--identifier <NAME>"),
        (&["client", "--server", "x", "--identifier", "a b", "--key-file", "a"], "not one word"),
        (&["key", "new", "a", "--algorithm", "md5"], "invalid value 'md5'"),
        (&["key", "new"], "<NAME>"),
        (&["server", "--address", "192.0.2.1", "--allow-md5"], "--clients <FILE>"),
    ] {
        run(arguments).is_one_line(2, why);
    }
}

#[test]
fn an_island_is_written_whole_or_not_at_all() {
    let directory = TestDir::new().unwrap();
    let place = directory.runtime().path();
    let init =
        ["island", "init", "--address=192.0.2.1", "--allow-ipv4=192.0.2.0/24", "--directory"];
    let init = [&init[..], &[place.to_str().unwrap()]].concat();
    // A link to nothing: it does not exist, and cannot be made.
    symlink(place.join("nowhere"), place.join("teredo.toml")).unwrap();
    run(&init).is_one_line(1, "cannot create ");
    assert!(!place.join("clients").exists());
    fs::remove_file(place.join("teredo.toml")).unwrap();
    assert_eq!(run(&init).code, 0);
    assert_eq!(mode(&place.join("clients")), 0o600);
}
