//! The roles as their users start them: processes on real interfaces, in namespaces of their own.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod allow;
mod client;
mod daemon;
mod failures;
mod helper;
mod interface;
mod internet;
mod island;
mod keys;
mod relay;
mod running;
mod sandbox;
mod server;
