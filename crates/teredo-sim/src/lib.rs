//! A simulated Internet for Teredo: links, NATs of every kind, hosts, faults, virtual clock.
//!
//! Everything that happens follows from a seed: the same seed gives the same run, byte for byte.
//! This crate may not open a socket, read a clock or draw a random number of its own, and it takes
//! no protocol decision: the roles in it are those of `teredo-proto`.
//!
//! [`nat`] stands alone: the lab moves real packets through the same NATs.

#![forbid(unsafe_code)]

pub mod nat;
