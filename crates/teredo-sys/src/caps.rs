//! Which capabilities this thread may use, so that an error can name the missing one; and giving
//! up those that it needs no more.

use std::{fmt, io};

use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, capabilities,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_capabilities_secure_bits,
};

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
        capabilities(None).is_ok_and(|sets| sets.effective.contains(self.flag()))
    }

    /// The name without its prefix, in small letters: `net_admin`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetAdmin => "net_admin",
            Self::NetBindService => "net_bind_service",
            Self::NetRaw => "net_raw",
            Self::SysAdmin => "sys_admin",
        }
    }

    pub(crate) const fn flag(self) -> CapabilitySet {
        match self {
            Self::NetAdmin => CapabilitySet::NET_ADMIN,
            Self::NetBindService => CapabilitySet::NET_BIND_SERVICE,
            Self::NetRaw => CapabilitySet::NET_RAW,
            Self::SysAdmin => CapabilitySet::SYS_ADMIN,
        }
    }
}

/// Leaves the calling thread, and the threads it starts from now on, no capability but `kept`, as
/// far as it holds those, for good: nothing can be inherited, raised or gained by a user change.
pub(crate) fn keep_only(kept: &[Capability]) -> io::Result<()> {
    let kept = kept.iter().fold(CapabilitySet::empty(), |set, kept| set | kept.flag());
    let sets = capabilities(None)?;
    // Both need CAP_SETPCAP. Who lacks it does not need them either: without new privileges
    // neither makes a difference.
    if sets.effective.contains(CapabilitySet::SETPCAP) {
        for bit in 0..u64::BITS {
            let flag = CapabilitySet::from_bits_retain(1 << bit);
            // The kernel knows fewer than 64 of them.
            if !kept.contains(flag) && remove_capability_from_bounding_set(flag).is_err() {
                break;
            }
        }
        set_capabilities_secure_bits(SECURE_BITS)?;
    }
    // Older than 4.3, a kernel has no ambient set to clear.
    let _ = clear_ambient_capability_set();
    let left = sets.permitted & kept;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: left, permitted: left, inheritable: none };
    Ok(set_capabilities(None, sets)?)
}

/// User 0 is a user like any other, and that stays so.
const SECURE_BITS: CapabilitiesSecureBits = CapabilitiesSecureBits::NO_ROOT
    .union(CapabilitiesSecureBits::NO_ROOT_LOCKED)
    .union(CapabilitiesSecureBits::NO_SETUID_FIXUP)
    .union(CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED)
    .union(CapabilitiesSecureBits::KEEP_CAPS_LOCKED)
    .union(CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE)
    .union(CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED);

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CAP_{}", self.name().to_ascii_uppercase())
    }
}

#[cfg(test)]
mod tests {
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
