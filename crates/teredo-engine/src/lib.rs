//! Runs a Teredo role on sockets, a packet device and a clock: one event loop, batches everywhere.
//!
//! What it does: moves packets between the network, the role and the host's IPv6 side, wakes the
//! role when it wants to be woken, and keeps the tunnel interface with its address and routes.
//! Sockets, device, clock and waiting stand behind the traits of [`io`]; [`linux`] implements them
//! on the kernel.
//!
//! What it may not do: take a protocol decision (invariant I2 of ARCHITECTURE.md: they are all in
//! `teredo-proto`), allocate or log per packet, lose a packet without counting it ([`Tally`]), or
//! print.

#![forbid(unsafe_code)]

pub mod engine;
pub mod igd;
pub mod interface;
pub mod io;
pub mod linux;
pub mod network;
pub mod random;
pub mod resolve;
mod tally;

pub use engine::{Engine, Flow, Host};
pub use tally::Tally;
