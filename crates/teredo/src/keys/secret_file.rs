//! Files that hold keys.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The file that `path` means: a bare name is that of a systemd credential, if there is one of this
/// name (`LoadCredential=` of a unit).
pub(super) fn located(path: &Path) -> PathBuf {
    let is_bare = path.file_name() == Some(path.as_os_str());
    let directory = std::env::var_os(CREDENTIALS_VARIABLE).filter(|_| is_bare);
    let credential = directory.map(|directory| Path::new(&directory).join(path));
    credential.filter(|file| file.exists()).unwrap_or_else(|| path.to_owned())
}

/// The text of a file that others cannot get at. Whether its group can is up to its owner.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
    let metadata = file.metadata().with_context(|| format!("cannot look at {shown}"))?;
    let mode = metadata.permissions().mode();
    if mode & OTHERS != 0 {
        let mode = mode & 0o7777;
        bail!("{shown} holds keys and is open to others (mode {mode:04o}): chmod o= {shown}");
    }
    let mut text = String::new();
    let read = file.take(FILE_LEN_MAX + 1).read_to_string(&mut text);
    let len = read.with_context(|| format!("cannot read {shown}"))?;
    if len as u64 > FILE_LEN_MAX {
        bail!("{shown} is larger than {} MiB", FILE_LEN_MAX >> 20);
    }
    Ok(text)
}

/// Makes a file of this mode, whole or not at all, and never over another one: that might be in
/// use.
pub(crate) fn create(path: &Path, mode: u32, text: &str) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes()).inspect_err(|_| drop(fs::remove_file(path)))
    });
    written.with_context(|| format!("cannot create {}", path.display()))
}

/// Where systemd puts the credentials of a service.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// The permissions of everybody else.
const OTHERS: u32 = 0o007;
/// Room for a hundred thousand clients; a device that never ends is not read for ever.
const FILE_LEN_MAX: u64 = 16 << 20;
