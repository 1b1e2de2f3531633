//! The helper: whom it registers, what it passes on, and all that it does not.

#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

mod hostile;
mod registration;
mod support;
