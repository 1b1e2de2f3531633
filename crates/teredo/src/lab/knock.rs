//! A connection that nobody has asked for.

use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Context;
use teredo_sys::ns::NetNamespace;

/// Whether a connection from one host to an open port of another, at `address`, does not come
/// about within `patience`.
pub(super) fn is_refused(
    from: &NetNamespace,
    to: &NetNamespace,
    address: Ipv6Addr,
    patience: Duration,
) -> anyhow::Result<bool> {
    let listener = to
        .run(|| TcpListener::bind((address, 0)))
        .and_then(|listener| listener)
        .with_context(|| format!("cannot listen on {address}"))?;
    let open = listener.local_addr()?;
    Ok(from.run(|| TcpStream::connect_timeout(&open, patience))?.is_err())
}
