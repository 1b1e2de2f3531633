//! What a test needs of the machine, and saying so where it is not there.

use std::fs;
use std::path::Path;

/// `Some(reason)` if this machine cannot run tests in namespaces with these programs.
///
/// `ip` and `nft`, root and a TUN device are needed always.
pub fn missing(programs: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    if fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").is_err() {
        return Some("needs /dev/net/tun".to_owned());
    }
    let all = ["ip", "nft"].iter().chain(programs);
    let absent: Vec<&str> = all.copied().filter(|it| !installed(it)).collect();
    if absent.is_empty() { None } else { Some(format!("needs {}", absent.join(", "))) }
}

/// Whether the calling test must be left out. If so, says which one and why, in the form that
/// `cargo xtask test` lists at its end and refuses under continuous integration.
pub fn skip_without(programs: &[&str]) -> bool {
    let Some(reason) = missing(programs) else { return false };
    let test = std::thread::current();
    println!("SKIPPED {}: {reason}", test.name().unwrap_or("a test"));
    true
}

fn installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    // An ordinary user's PATH often lacks the directories of the administrator's programs.
    let all = path.split(':').chain(["/usr/sbin", "/sbin"]);
    all.map(|directory| Path::new(directory).join(program)).any(|it| it.is_file())
}
