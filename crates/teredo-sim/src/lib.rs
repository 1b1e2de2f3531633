//! A simulated Internet for Teredo: links, NATs of every kind, hosts, faults, virtual clock.
//!
//! Everything that happens follows from a seed: the same seed gives the same run, byte for byte.
//! This crate may not open a socket, read a clock or draw a random number of its own, and it takes
//! no protocol decision: the roles in it are those of `teredo-proto`.
//!
//! [`nat`] stands alone: the lab moves real packets through the same NATs.

#![forbid(unsafe_code)]

pub mod gateway;
pub mod host;
pub mod icmp;
pub mod link;
pub mod matrix;
pub mod nat;
pub mod predicate;
pub mod scenario;
pub mod stack;
pub mod trace;
pub mod world;

mod asked;
mod audit;
mod ledger;
mod meter;
mod queue;

pub use audit::Offence;
pub use gateway::{Gateway, GatewayConfig};
pub use host::HostId;
pub use icmp::IcmpError;
pub use link::Link;
pub use meter::METER_WINDOW;
pub use nat::{Nat, NatConfig};
pub use world::{NatId, Place, Stopped, World};
