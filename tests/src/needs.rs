//! What a test needs of the machine, and saying so where it is not there.

use std::fs;
use std::path::Path;

/// `Some(reason)` if this machine cannot build an [`Internet`](crate::internet::Internet) or lacks
/// one of the programs.
pub fn missing(programs: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    if fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").is_err() {
        return Some("needs /dev/net/tun".to_owned());
    }
    let ground: Vec<&str> = ["ip", "nft"].iter().chain(programs).copied().collect();
    missing_programs(&ground)
}

/// `Some(reason)` if one of the programs is not installed.
pub fn missing_programs(programs: &[&str]) -> Option<String> {
    let absent: Vec<&str> = programs.iter().copied().filter(|it| !installed(it)).collect();
    if absent.is_empty() { None } else { Some(format!("needs {}", absent.join(", "))) }
}

/// Whether the calling test must be left out for what is missing. It prints the reason, which
/// `cargo xtask test` lists at its end with the name of the test.
///
/// # Panics
///
/// Under continuous integration (`CI=true`): there everything must be installed.
pub fn skip_for(missing: Option<String>) -> bool {
    let Some(reason) = missing else { return false };
    let required = std::env::var_os("CI").is_some_and(|value| value == "true" || value == "1");
    assert!(!required, "required under CI: {reason}");
    println!("skipped: {reason}");
    true
}

fn installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    // An ordinary user's PATH often lacks the directories of the administrator's programs.
    let all = path.split(':').chain(["/usr/sbin", "/sbin"]);
    all.map(|directory| Path::new(directory).join(program)).any(|it| it.is_file())
}
