//! End-to-end ground: a small Internet in network namespaces of the kernel, with kernel NATs, and
//! the programs that run in it, ours and Miredo's. Used by the tests of this crate and by
//! `cargo xtask bench`.
//!
//! It may run `ip` and `nft`, as root, in namespaces that it made itself and deletes again. It may
//! not touch the namespace it was started in, and it ends only processes that it started.

#![forbid(unsafe_code)]

pub mod firewall;
pub mod gateway;
pub mod internet;
pub mod namespace;
pub mod needs;
pub mod process;
pub mod program;
pub mod roles;
pub mod traffic;
