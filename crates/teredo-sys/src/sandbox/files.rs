//! Which files a process may use.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    path_beneath_rules,
};

use super::{Needs, Refused};

/// The newest rights that we know the effect of. Later ones stay allowed: the next, for instance,
/// would cut off name services behind Unix sockets.
const KNOWN: ABI = ABI::V6;

/// Nobody reaches a file any more but those that it needs, binds a TCP port, sends a signal out of
/// the sandbox or connects to an abstract Unix socket there.
pub(super) fn restrict(needs: &Needs) -> Result<(), Refused> {
    let status = apply(needs).map_err(|error| Refused::Fault(error.to_string()))?;
    match status {
        (LandlockStatus::NotImplemented, _) => {
            return Err(Refused::Unknown("this kernel does not have it".to_owned()));
        }
        (LandlockStatus::NotEnabled, _) => {
            return Err(Refused::Unknown("this kernel has it switched off".to_owned()));
        }
        (LandlockStatus::Available { .. }, _) => {}
    }
    if is_open() && !all_readable(needs) {
        return Err(Refused::Fault("files are still open to this process".to_owned()));
    }
    match status.1 {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced => {
            Err(Refused::Partly("this kernel knows only a part of our rules".to_owned()))
        }
    }
}

fn apply(needs: &Needs) -> Result<(LandlockStatus, RulesetStatus), RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let change = AccessFs::WriteFile | AccessFs::Truncate;
    let make = AccessFs::MakeReg | AccessFs::MakeSock | AccessFs::RemoveFile;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    allow(&mut rules, &["/proc"], read)?;
    if needs.names {
        allow(&mut rules, &NAMES, read)?;
        allow(&mut rules, directory_behind(Path::new(RESOLVERS)).as_slice(), read)?;
    }
    if needs.devices {
        let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
        allow(&mut rules, &["/dev/net/tun"], device)?;
        allow(&mut rules, &[SETTINGS], read | change)?;
    }
    allow(&mut rules, &needs.readable, read)?;
    allow(&mut rules, &needs.writable, read | change | make)?;
    let status = rules.restrict_self()?;
    Ok((status.landlock, status.ruleset))
}

/// What does not exist is left out.
fn allow(
    rules: &mut RulesetCreated,
    paths: &[impl AsRef<Path>],
    access: BitFlags<AccessFs>,
) -> Result<(), RulesetError> {
    rules.add_rules(path_beneath_rules(paths, access)).map(|_| ())
}

/// The directory of the file that a link leads to; none if that were all there is.
fn directory_behind(link: &Path) -> Option<PathBuf> {
    let file = fs::canonicalize(link).ok()?;
    file.parent().filter(|directory| directory.parent().is_some()).map(Path::to_owned)
}

/// Whether a file can be opened that nobody needs.
fn is_open() -> bool {
    match File::open("/") {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::PermissionDenied,
    }
}

fn all_readable(needs: &Needs) -> bool {
    needs.readable.iter().chain(&needs.writable).any(|path| path == Path::new("/"))
}

/// Where the C library and its modules look to resolve a name. Directories, because what is in them
/// gets replaced as a network comes or goes.
const NAMES: [&str; 10] = [
    "/etc",
    "/usr/etc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/nix/store",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/systemd/resolve",
];

/// Which name servers there are. Often a link to where a network manager writes it anew, which each
/// of them has somewhere else.
const RESOLVERS: &str = "/etc/resolv.conf";

/// What a new interface finds set. Other settings of the kernel stay out of reach: user 0 could
/// bring a program of its own into the kernel's hands by them.
const SETTINGS: &str = "/proc/sys/net/ipv6/conf";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_a_link_leads_to_is_replaced_in_its_own_directory() {
        let place = std::env::temp_dir().join(format!("teredo-behind-{}", std::process::id()));
        let (written, link) = (place.join("run/manager"), place.join("resolv.conf"));
        fs::create_dir_all(&written).unwrap();
        symlink("run/manager/resolv.conf", &link).unwrap();
        assert_eq!(directory_behind(&link), None, "it leads nowhere");
        fs::write(written.join("resolv.conf"), "").unwrap();
        assert_eq!(directory_behind(&link), Some(fs::canonicalize(&written).unwrap()));
        // Not all there is.
        assert_eq!(directory_behind(Path::new("/etc")), None);
        fs::remove_dir_all(&place).unwrap();
    }
}
