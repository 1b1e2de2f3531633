//! Which capabilities this thread may use, so that an error can name the missing one.

use std::fmt;

use rustix::thread::{CapabilitySet, capabilities};

/// A capability that some part of the program needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Interfaces, addresses, routes, large socket buffers.
    NetAdmin,
    /// Ports below 1024; none of Teredo's own.
    NetBindService,
    /// Raw sockets.
    NetRaw,
    /// Namespaces and mounts.
    SysAdmin,
}

impl Capability {
    /// Whether the calling thread holds it in its effective set, in its own user namespace.
    ///
    /// Holding it does not guarantee success: a security module may still refuse.
    pub fn is_effective(self) -> bool {
        let flag = match self {
            Self::NetAdmin => CapabilitySet::NET_ADMIN,
            Self::NetBindService => CapabilitySet::NET_BIND_SERVICE,
            Self::NetRaw => CapabilitySet::NET_RAW,
            Self::SysAdmin => CapabilitySet::SYS_ADMIN,
        };
        capabilities(None).is_ok_and(|sets| sets.effective.contains(flag))
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetBindService => "CAP_NET_BIND_SERVICE",
            Self::NetRaw => "CAP_NET_RAW",
            Self::SysAdmin => "CAP_SYS_ADMIN",
        })
    }
}

#[cfg(test)]
mod tests {
    use rustix::thread::set_capabilities;

    use super::*;

    #[test]
    fn a_dropped_capability_is_missed_by_this_thread() {
        let mut sets = capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::NET_RAW);
        set_capabilities(None, sets).unwrap();
        assert!(!Capability::NetRaw.is_effective());
        assert_eq!(
            Capability::NetAdmin.is_effective(),
            sets.effective.contains(CapabilitySet::NET_ADMIN)
        );
    }
}
