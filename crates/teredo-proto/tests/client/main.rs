//! The client against a scripted server, scripted peers and a scripted clock.
//!
//! Each test names the lines of the conformance checklist that it shows.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod address;
mod advertisement;
mod bubbles;
mod bytes;
mod discovery;
mod dormancy;
mod echo;
mod explicit;
mod floods;
mod harness;
mod input;
mod keys;
mod maintenance;
mod policy;
mod qualification;
mod reception;
mod transmission;
mod wire;
