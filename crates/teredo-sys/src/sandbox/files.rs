//! Which files a process may use.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

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
const NAMES: [&str; 9] = [
    "/etc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/nix/store",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/run/systemd/resolve",
];

/// What a new interface finds set. Other settings of the kernel stay out of reach: user 0 could
/// bring a program of its own into the kernel's hands by them.
const SETTINGS: &str = "/proc/sys/net/ipv6/conf";
