//! What the server's name stands for, found without keeping anybody waiting.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};

use teredo_engine::resolve::Resolver;

/// Looks for the address of one server.
pub(super) struct Finder {
    name: String,
    found: Found,
    resolver: Resolver,
}

/// How far the search is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The answer is awaited.
    NotYet,
    /// The name does not resolve now.
    Nothing,
    /// This is it.
    At(Ipv4Addr),
}

impl Finder {
    /// Starts to look for `name`.
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let resolver = Resolver::new(name.to_owned())?;
        let mut finder = Self { name: name.to_owned(), found: Found::NotYet, resolver };
        match name.parse() {
            Ok(address) => finder.found = Found::At(address),
            Err(_) => finder.resolver.ask()?,
        }
        Ok(finder)
    }

    /// Whether this is what it looks for.
    pub(super) fn is_for(&self, name: &str) -> bool {
        self.name == name
    }

    /// How far it is.
    pub(super) fn found(&self) -> Found {
        self.found
    }

    /// Takes the answer, if the descriptor is readable.
    pub(super) fn take_answer(&mut self) {
        self.found = self.resolver.answer().map_or(Found::Nothing, Found::At);
    }

    /// Starts again if the name did not resolve.
    pub(super) fn retry(&mut self) -> io::Result<()> {
        if self.found == Found::Nothing {
            self.found = Found::NotYet;
            self.resolver.ask()?;
        }
        Ok(())
    }
}

impl AsFd for Finder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.resolver.as_fd()
    }
}
