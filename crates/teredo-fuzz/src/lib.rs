//! What must hold whatever bytes come in: a function for each fuzz target, and what inputs to start
//! from.
//!
//! libFuzzer looks for inputs that break these in `fuzz/`, a workspace of its own; the test of this
//! crate runs them on every input that is committed there. Roles are driven by transitions decoded
//! from the bytes, one decoder for all; beside them stands what they are held against, in the
//! simplest terms. No role and no parser may be changed to suit a target, and nothing depends on
//! this crate.

#![forbid(unsafe_code)]

mod asked;
mod bench;
mod client;
mod control;
mod input;
mod packets;
mod page;
mod portmap;
mod relay;
mod scenario;
mod seeds;
mod server;
mod transition;
mod wire;
mod world;

/// Something to be fuzzed.
#[derive(Debug)]
pub struct Target {
    /// The name of the target, and of the directory of its inputs.
    pub name: &'static str,
    /// Panics if the input shows that something is wrong.
    pub run: fn(&[u8]),
    /// Inputs to start from, made by our own writers.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 12] = [
    Target { name: "wire", run: wire::run, seeds: seeds::wire },
    Target { name: "client", run: client::run, seeds: seeds::client },
    Target { name: "server", run: server::run, seeds: seeds::role },
    Target { name: "relay", run: relay::run, seeds: seeds::role },
    Target { name: "flows", run: client::run_connected, seeds: seeds::role },
    Target { name: "scenario", run: scenario::run, seeds: scenario::seeds },
    Target { name: "portmap", run: portmap::run, seeds: seeds::portmap },
    Target { name: "control", run: control::run, seeds: seeds::control },
    Target { name: "page", run: page::run, seeds: seeds::page },
    Target { name: "configuration", run: teredo::fuzz::configuration, seeds: seeds::configuration },
    Target { name: "nft", run: teredo::fuzz::nft, seeds: seeds::nft },
    Target { name: "keys", run: teredo::fuzz::keys, seeds: seeds::keys },
];

/// Runs the target of this name.
///
/// # Panics
/// If the input shows that something is wrong, or there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of this name").run)(bytes);
}
