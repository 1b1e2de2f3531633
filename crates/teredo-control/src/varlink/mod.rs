//! Varlink (varlink.org): JSON objects with a NUL after each, over a Unix stream socket.
//!
//! No I/O here: [`Frames`] turns bytes into messages, the rest turns messages into meaning.

mod error;
mod frame;
mod interface;
mod message;

pub use error::CallError;
pub use frame::{Frames, MESSAGE_LEN_MAX, TooLong, encode};
pub use interface::{DESCRIPTION, INTERFACE, SERVICE_DESCRIPTION, SERVICE_INTERFACE};
pub use message::{Call, Info, Reply, Request};
