//! Network settings under `/proc/sys/net`, which follow the network namespace of the calling
//! thread.

use std::{fs, io};

use crate::error::Context;

/// Reads `net/<name>`, for example `ipv6/conf/all/forwarding`, without the final line break.
pub fn read(name: &str) -> io::Result<String> {
    let path = path(name);
    let value = fs::read_to_string(&path).context(|| format!("reading {path}"))?;
    Ok(value.trim_end().to_owned())
}

/// Writes `net/<name>`.
pub fn write(name: &str, value: &str) -> io::Result<()> {
    let path = path(name);
    fs::write(&path, value).context(|| format!("writing {value} to {path}"))
}

fn path(name: &str) -> String {
    format!("/proc/sys/net/{name}")
}
