//! What the kernel says of the threads of this process.

use std::{fs, io};

use crate::caps::Capability;
use crate::error::Context;

/// What a thread may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// The capabilities that are in any of its sets, but the bounding one.
    pub(super) capabilities: u64,
    pub(super) no_new_privileges: bool,
    /// Its system calls are filtered.
    pub(super) seccomp: bool,
}

impl Held {
    /// Whether it holds the capability.
    pub(super) fn has(&self, capability: Capability) -> bool {
        self.capabilities & capability.flag().bits() != 0
    }

    /// Reads a `status` file. A line that is not there counts as the worst.
    fn parse(status: &str) -> Self {
        let value = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let set = |name| {
            value(name).and_then(|set| u64::from_str_radix(set, 16).ok()).unwrap_or(u64::MAX)
        };
        // Older than 4.3, a kernel has no ambient set.
        let ambient = value("CapAmb").map_or(0, |_| set("CapAmb"));
        Self {
            capabilities: set("CapEff") | set("CapPrm") | set("CapInh") | ambient,
            no_new_privileges: value("NoNewPrivs") == Some("1"),
            seccomp: value("Seccomp") == Some("2"),
        }
    }
}

/// All threads of this process.
pub(super) fn all() -> io::Result<Vec<Held>> {
    let read = || {
        let threads = fs::read_dir(THREADS)?;
        let status = threads.map(|thread| fs::read_to_string(thread?.path().join("status")));
        status.map(|status| Ok(Held::parse(&status?))).collect()
    };
    let threads: io::Result<Vec<_>> = read();
    threads.context(|| format!("looking at the threads in {THREADS}"))
}

const THREADS: &str = "/proc/self/task";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_counts_as_the_worst() {
        let worst = Held { capabilities: u64::MAX, no_new_privileges: false, seccomp: false };
        assert_eq!(Held::parse(""), worst);
        let status = "Name:\tteredo\nCapInh:\t0\nCapPrm:\t1000\nCapEff:\t0\nNoNewPrivs:\t1\n\
                      Seccomp:\t2\nSeccomp_filters:\t2\n";
        let held = Held::parse(status);
        assert_eq!(held, Held { capabilities: 0x1000, no_new_privileges: true, seccomp: true });
        assert!(held.has(Capability::NetAdmin) && !held.has(Capability::NetRaw));
    }
}
