//! Results on standard output.

use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use anyhow::Context;

use crate::exit::Exit;

/// Lets `write` print a result. A reader that has seen enough, such as `head`, is not a failure.
pub(crate) fn print(
    write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<Exit>,
) -> anyhow::Result<Exit> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|exit| out.flush().map(|()| exit)) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Exit::Ok),
        result => result.context("cannot write to standard output"),
    }
}
