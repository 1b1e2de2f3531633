//! The lab without root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::run::{Scratch, expect_code, is_impossible, json, stderr};

/// `nobody` on every distribution; any user without rights would do.
const USER: u32 = 65_534;

#[test]
fn an_ordinary_user_has_a_lab_too() {
    if is_impossible() {
        return;
    }
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("skipped: needs root to become an ordinary user; the other tests ran as one");
        return;
    }
    if fs::metadata("/dev/net/tun").unwrap().permissions().mode() & 0o006 != 0o006 {
        println!("skipped: /dev/net/tun is closed to ordinary users");
        return;
    }
    // Where the program was built may be closed to others.
    let scratch = Scratch::new("user");
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = scratch.path().join("teredo");
    fs::copy(env!("CARGO_BIN_EXE_teredo"), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(program);
    command.args(["lab", "--json"]).uid(USER).gid(USER).current_dir("/");
    let output = command.output().unwrap();
    if stderr(&output).contains("kernel.") {
        println!("skipped: {}", stderr(&output).lines().last().unwrap_or_default());
        return;
    }
    expect_code(&output, 0);
    assert_eq!(json(&output)["transfer"]["verified"], true);
}
