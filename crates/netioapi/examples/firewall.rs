//! A firewall that lets UDP in only on the port of the Teredo client, whatever that is.
//! Runs until its standard input is closed:
//!     cargo build --example firewall && sudo target/debug/examples/firewall

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::sync::Mutex;

const TABLE: &str = "table inet teredo_firewall { set ports { type inet_service; }
chain input { type filter hook input priority 0; iif lo accept
ct state established,related accept; udp dport @ports accept
meta l4proto udp drop; }; }";

fn main() -> Result<(), Box<dyn Error>> {
    nft(TABLE)?;
    let watch = netioapi::watch_port(false, |_| follow())?;
    // After registering: now no change can be missed.
    follow();
    io::stdin().read_to_end(&mut Vec::new())?;
    watch.cancel();
    Ok(nft("delete table inet teredo_firewall")?)
}

/// Asks rather than believes what it was told: that is never out of date.
fn follow() {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let port = netioapi::port();
    let close = "flush set inet teredo_firewall ports".to_owned();
    let (script, told) = match port {
        Ok(port) => (
            format!("{close}; add element inet teredo_firewall ports {{ {port} }}"),
            format!("open: {port}"),
        ),
        Err(_) => (close, "closed".to_owned()),
    };
    match nft(&script) {
        Ok(()) => println!("{told}"),
        Err(error) => eprintln!("{error}"),
    }
}

fn nft(script: &str) -> io::Result<()> {
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        writeln!(stdin, "{script}")?;
    }
    if child.wait()?.success() { Ok(()) } else { Err(io::Error::other("nft has failed")) }
}
