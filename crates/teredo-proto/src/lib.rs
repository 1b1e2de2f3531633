//! Teredo roles as pure state machines: client, server, relay, host-specific relay and helper.
//!
//! Time, entropy and packets come in as arguments; packets, deadlines and events come out. This
//! crate may not open a socket, read a clock, draw a random number of its own or log: the same
//! role objects run in the simulator and on the kernel (invariants I1 and I2 of ARCHITECTURE.md).
//!
//! Start at [`Role`], the verbs that all roles share.

#![forbid(unsafe_code)]

pub mod client;
pub mod filter;
pub mod helper;
pub mod keys;
pub mod policy;
pub mod portmap;
pub mod random;
pub mod reason;
pub mod relay;
pub mod role;
pub mod server;
pub mod time;

mod guard;
mod inspect;
mod limiter;
mod peers;
mod recency;
mod scope;

pub use filter::Ipv4Filter;
pub use limiter::Rate;
pub use policy::Policy;
pub use reason::{Counters, DropReason};
pub use role::{Arrival, Event, Inbound, Local, Outbound, Reason, Role, Transmit};
pub use time::Instant;
