//! Results on standard output.

use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use anyhow::Context;

/// Lets `write` print a result and returns what it returns; `None` when the reader, such as
/// `head`, has seen enough, which is not a failure.
pub(crate) fn print<T>(
    write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<T>,
) -> anyhow::Result<Option<T>> {
    let mut out = BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|done| out.flush().map(|()| done)) {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(None),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}
