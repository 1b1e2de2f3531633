//! Who is at the other end of a Unix socket, and who started this process.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Who was at the other end of a Unix socket when it connected or listened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id.
    pub user: u32,
    /// Effective group id.
    pub group: u32,
}

/// Who is at the other end.
///
/// # Errors
/// The kernel's, as on a socket that is not connected.
pub fn peer(socket: impl AsFd) -> io::Result<Peer> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of_val(&credentials) as libc::socklen_t;
    // SAFETY: `credentials` is writable for `len` bytes, the kernel writes no more than that, and
    // any bytes are valid in it. (That is why this is not rustix's: its type wants a process id,
    // and the kernel tells 0 of a process in another process-id namespace.)
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Peer { user: credentials.uid, group: credentials.gid })
}

/// The supplementary groups that the peer of a Unix socket had when it connected.
///
/// # Errors
/// The kernel's; `InvalidInput` with more groups than any sensible account has.
pub fn peer_groups(socket: impl AsFd) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; GROUPS_MAX];
    let mut len = libc::socklen_t::try_from(size_of_val(groups.as_slice())).unwrap_or(0);
    // SAFETY: `groups` is writable for `len` bytes, the kernel writes no more than that and puts
    // into `len` what it wrote; `gid_t` is a `u32`, of which any bytes are valid.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        let error = io::Error::last_os_error();
        let too_many = error.raw_os_error() == Some(libc::ERANGE);
        return Err(if too_many { io::ErrorKind::InvalidInput.into() } else { error });
    }
    groups.truncate(len as usize / size_of::<u32>());
    Ok(groups)
}

/// An environment variable, unless the process runs with more rights than whoever started it
/// (set-user-id and the like), who could otherwise lead it astray: what `secure_getenv` does.
pub fn secure_env(name: &str) -> Option<OsString> {
    // SAFETY: reads a value that the kernel gave this process at its start.
    let has_more_rights = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    if has_more_rights { None } else { std::env::var_os(name) }
}

/// The kernel allows 65,536; nobody has so many, and those beyond are not worth the memory.
const GROUPS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn we_are_at_the_other_end_of_a_pair() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let us = Peer {
            user: rustix::process::geteuid().as_raw(),
            group: rustix::process::getegid().as_raw(),
        };
        assert_eq!(peer(&ours).unwrap(), us);
    }

    #[test]
    fn our_own_groups_are_seen_through_a_socket() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut seen = peer_groups(&ours).unwrap();
        seen.sort_unstable();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
        let mut expected: Vec<u32> =
            line.split_whitespace().map(|word| word.parse().unwrap()).collect();
        expected.sort_unstable();
        assert_eq!(seen, expected);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(peer_groups(&file).is_err());
    }

    #[test]
    fn an_ordinary_process_reads_its_environment() {
        assert_eq!(secure_env("PATH"), std::env::var_os("PATH"));
        assert_eq!(secure_env("TEREDO_NO_SUCH_VARIABLE"), None);
    }
}
