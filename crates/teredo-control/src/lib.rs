//! The control interface: how the Teredo daemon tells the rest of the host what it does, and how
//! the rest of the host asks it for something.
//!
//! Everything is in one [runtime directory](RuntimeDir). The socket `page` hands out a page of
//! shared memory with the current port, which [`PortReader`] reads without a system call. The
//! socket `control` speaks [Varlink](varlink): status, subscription, wake, settings.
//!
//! What it does: both ends of these two sockets. The daemon has a [`server`], which runs on a
//! thread of its own, so that nothing a client does or fails to do delays a packet. Everybody else
//! has a [`PortReader`], a [`Client`] for single calls and a [`Subscription`] for changes.
//!
//! What it may not do: know the Teredo protocol, decide anything about the client's state, or log.
//! It depends on no core crate, so that a program which only asks for the port carries no protocol.
//!
//! Limits, all of them named constants: message length, clients altogether and of one user, accepts
//! in a row, commands that wait for the daemon, and time for everything that waits.
#![forbid(unsafe_code)]

mod client;
mod connect;
mod link;
mod page;
mod rules;
mod runtime;
pub mod server;
mod status;
mod subscription;
pub mod testing;
pub mod varlink;

pub use client::{Client, Error};
pub use page::{NotReady, PortReader, Word};
pub use rules::{AllowedRule, AllowedRules, Origin, RuleChange};
pub use runtime::RuntimeDir;
pub use status::{
    Helper, HelperState, Nat, Network, Role, Sandbox, ServerAddress, SettingName, Settings,
    Snapshot, State, Status, Type,
};
pub use subscription::{Event, Subscription};
