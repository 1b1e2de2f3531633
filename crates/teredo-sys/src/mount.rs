//! File systems of a process's own.

use std::io;
use std::path::Path;

use rustix::mount::{MountFlags, mount};

use crate::caps::Capability;
use crate::error::Context;

/// Puts an empty file system, kept in memory, over the directory `point`. It is seen only in the
/// mount namespace of the calling process, as after
/// [`fork_into_pid_namespace`](crate::ns::fork_into_pid_namespace), and disappears with it.
///
/// # Errors
/// `PermissionDenied` without `CAP_SYS_ADMIN`.
pub fn empty(point: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", point, "tmpfs", flags, None)
        .needs(Capability::SysAdmin)
        .context(|| format!("putting an empty file system over {}", point.display()))
}
