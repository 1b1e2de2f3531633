//! The state page: reading the port without a system call.

mod reader;
mod request;
mod word;

pub use reader::PortReader;
pub use request::NotReady;
pub(crate) use request::send;
pub use word::Word;
