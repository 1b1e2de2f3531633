//! `teredo lab` as its users start it: what it prints, what it runs, what it leaves behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod command;
mod contract;
mod endings;
mod matrix;
mod run;
mod user;
