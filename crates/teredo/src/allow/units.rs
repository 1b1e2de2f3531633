//! Which systemd unit a control group belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

/// The control groups of some units.
///
/// Systemd puts the processes of a unit into a control group of that name, below groups called
/// slices. Whatever is below a unit is its own, also what it calls like another unit: a user's
/// services, for instance, are all of `user@1000.service`.
#[derive(Debug)]
pub(super) struct Units {
    roots: Vec<PathBuf>,
    wanted: BTreeSet<String>,
    /// By the number of a group: its unit, if that is one of those wanted.
    known: BTreeMap<u64, Option<String>>,
}

impl Units {
    /// Those called so.
    pub(super) fn new(roots: Vec<PathBuf>, wanted: BTreeSet<String>) -> Self {
        Self { roots, wanted, known: BTreeMap::new() }
    }

    /// Looks through all control groups, unless each of these is known already. Numbers are not
    /// used twice, so that what was found once holds.
    pub(super) fn learn(&mut self, groups: &BTreeSet<u64>) {
        if self.wanted.is_empty() || groups.iter().all(|group| self.known.contains_key(group)) {
            return;
        }
        self.known.clear();
        let mut left = GROUPS_MAX;
        for root in self.roots.clone() {
            self.search(&root, None, DEPTH_MAX, &mut left);
        }
        for group in groups {
            self.known.entry(*group).or_insert(None);
        }
    }

    /// The unit of a group, if it is one of those wanted.
    pub(super) fn of(&self, group: u64) -> Option<&str> {
        self.known.get(&group)?.as_deref()
    }

    fn search(&mut self, directory: &Path, unit: Option<&str>, depth: usize, left: &mut usize) {
        // A group may be gone by now.
        let Ok(entries) = fs::read_dir(directory) else { return };
        for entry in entries.flatten() {
            if *left == 0 || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            *left -= 1;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let unit = match unit {
                Some(unit) => unit,
                None if name.ends_with(".slice") => {
                    if depth > 0 {
                        self.search(&entry.path(), None, depth - 1, left);
                    }
                    continue;
                }
                None if self.wanted.contains(name) => name,
                None => continue,
            };
            self.known.insert(entry.ino(), Some(unit.to_owned()));
            if depth > 0 {
                self.search(&entry.path(), Some(unit), depth - 1, left);
            }
        }
    }
}

/// Groups looked at: hosts with thousands of containers have that many.
const GROUPS_MAX: usize = 1 << 15;
/// Deeper than slices, units and their own groups go.
const DEPTH_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use teredo_control::testing::TestDir;

    use super::*;

    #[test]
    fn a_group_is_of_the_first_unit_below_slices() {
        let directory = TestDir::new().unwrap();
        let root = directory.runtime().path();
        let make = |path: &str| {
            fs::create_dir_all(root.join(path)).unwrap();
            fs::metadata(root.join(path)).unwrap().ino()
        };
        let sshd = make("system.slice/sshd.service");
        let below = make("system.slice/system-x.slice/x@1.service/app.slice/y.service");
        let imitation = make("user.slice/user-1.slice/user@1.service/app.slice/sshd.service");
        let other = make("system.slice/cron.service");
        let slice = make("system.slice");
        let wanted = ["sshd.service", "x@1.service", "y.service"].map(str::to_owned);
        let mut units = Units::new(vec![root.to_owned()], wanted.into());
        let groups = BTreeSet::from([sshd, below, imitation, other, slice, u64::MAX]);
        units.learn(&groups);
        assert_eq!(units.of(sshd), Some("sshd.service"));
        assert_eq!(units.of(below), Some("x@1.service"));
        for group in [imitation, other, slice, u64::MAX] {
            assert_eq!(units.of(group), None);
        }
        let new = make("system.slice/y.service");
        units.learn(&groups);
        assert_eq!(units.of(new), None, "nothing new was asked for");
        units.learn(&BTreeSet::from([new]));
        assert_eq!(units.of(new), Some("y.service"));
    }
}
