//! The C interface as a C program meets it: compiled with the installed header by `pkg-config`,
//! linked with the shared library, run under sanitizers, beside a daemon that a test directs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod address;
mod build;
mod cancel;
mod driver;
mod examples;
mod faults;
mod notify;
mod port;
mod reference;
mod stable;
mod static_checks;

/// Runs only in a child process: the daemon that some tests kill.
#[test]
fn fake_daemon() {
    teredo_control::testing::serve_if_asked();
}
