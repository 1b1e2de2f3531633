//! Server and relay, line by line of the conformance checklist: crafted datagrams and packets go
//! in at chosen moments, and what comes out is read.

#![allow(clippy::unwrap_used, clippy::panic)] // A test that cannot go on says where.

mod packets;
mod relay_bubbles;
mod relay_host;
mod relay_limits;
mod relay_reception;
mod relay_transmission;
mod server_acceptance;
mod server_answers;
mod server_forwarding;
mod server_keys;
mod server_limits;
mod server_loops;
mod sweeps;
