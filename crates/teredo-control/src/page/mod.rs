//! The state page: reading the port without a system call.

mod reader;
mod request;
mod word;

pub use reader::PortReader;
pub use request::NotReady;
pub use word::Word;
