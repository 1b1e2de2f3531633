//! The client against a scripted server, scripted peers and a scripted clock.
//!
//! Each test names the lines of the conformance checklist that it shows.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod address;
mod address_pool;
mod advertisement;
mod birthday;
mod bubbles;
mod bytes;
mod deferred_open;
mod discovery;
mod dormancy;
mod echo;
mod explicit;
mod floods;
mod hairpin;
mod harness;
mod input;
mod interval;
mod keys;
mod load_reduction;
mod maintenance;
mod policy;
mod prediction;
mod qualification;
mod random_ports;
mod reception;
mod switches;
mod symmetric;
mod transmission;
mod wire;
