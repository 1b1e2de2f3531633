//! The programming interface of the Teredo client on Linux: which UDP port it uses, when that
//! changes, and when this host's addresses are stable. In Rust, and in C as `libnetioapi` with the
//! names, numbers and layouts of Windows' `netioapi.h`.
//!
//! What it does: reads the state that the Teredo daemon publishes, follows it, and reads addresses
//! and interfaces from the kernel. It works with or without a daemon, over any number of daemons
//! that come and go, in programs of any kind: it needs no privilege, no event loop and no runtime.
//!
//! What it may not do: change anything about the host, know the Teredo protocol, write to standard
//! output or error, handle signals, or let a panic out. Its only `unsafe` code is the C boundary.
//!
//! ```no_run
//! // Register first and then ask, so that no change is missed.
//! let watch = netioapi::watch_port(false, |event| match event.port {
//!     Some(port) => println!("let UDP port {port} through"),
//!     None => println!("Teredo has stopped"),
//! })?;
//! match netioapi::port() {
//!     Ok(port) => println!("let UDP port {port} through"),
//!     Err(error) => println!("{error}"),
//! }
//! watch.cancel();
//! # Ok::<(), netioapi::Error>(())
//! ```
//!
//! # Threads and processes
//! Every function may be called from any thread, also from inside a callback. Callbacks run on
//! threads of this library, with all signals blocked; those of one registration one after the
//! other, those of different ones independently. None of the functions may be called from a signal
//! handler. A child made by `fork` inherits no registration, and nothing that this library has
//! open.
#![deny(unsafe_code)]

mod abi;
mod address;
mod error;
mod host;
mod hub;
mod inbox;
mod interface;
#[cfg(doctest)]
mod reference;
mod registration;
mod registry;
mod teredo;
mod watch;

pub use address::{
    DadState, Family, PrefixOrigin, SuffixOrigin, UnicastAddress, unicast_address,
    unicast_address_of_index, unicast_addresses,
};
pub use error::{Error, message};
pub use inbox::Change;
pub use interface::{
    IF_TYPE_ATM, IF_TYPE_ETHERNET, IF_TYPE_IEEE1394, IF_TYPE_LOOPBACK, IF_TYPE_OTHER, IF_TYPE_PPP,
    IF_TYPE_TUNNEL, IF_TYPE_WIRELESS, Interface, Luid, TunnelType,
};
pub use teredo::port;
pub use watch::{
    AddressEvent, PortEvent, PortEventKind, Stable, Watch, stable_addresses, watch_addresses,
    watch_port,
};
