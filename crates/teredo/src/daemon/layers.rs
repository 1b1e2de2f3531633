//! The layers of a configuration: the file, its drop-ins, what was set at run time, the policies.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use toml::{Table, Value};

/// Where the layers are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    file: PathBuf,
    drop_ins: PathBuf,
    policies: PathBuf,
}

impl Places {
    /// Those of a configuration file; its policies are beside it unless they are elsewhere.
    pub(super) fn of(file: PathBuf, policies: Option<PathBuf>) -> Self {
        let mut drop_ins = file.clone().into_os_string();
        drop_ins.push(".d");
        let policies = policies.unwrap_or_else(|| file.with_file_name("policy.d"));
        Self { file, drop_ins: drop_ins.into(), policies }
    }

    /// The configuration file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The directory of its policies.
    pub(super) fn policies(&self) -> &Path {
        &self.policies
    }

    /// The drop-in that holds what was set at run time.
    pub(super) fn run_time(&self) -> PathBuf {
        self.drop_ins.join(RUN_TIME)
    }

    /// What was set at run time.
    pub(super) fn read_run_time(&self) -> anyhow::Result<Table> {
        let path = self.run_time();
        if path.exists() { read(&path) } else { Ok(Table::new()) }
    }
}

/// All settings that hold, by role and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Merged {
    roles: BTreeMap<String, BTreeMap<String, Setting>>,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    pub(super) value: Value,
    pub(super) from: PathBuf,
    pub(super) is_policy: bool,
}

impl Merged {
    /// Reads everything. `run_time` stands in for what was set at run time.
    pub(super) fn read(places: &Places, run_time: Option<&Table>) -> anyhow::Result<Self> {
        let mut merged = Self::default();
        merged.add(&places.file, read(&places.file)?, false)?;
        let set = places.run_time();
        let mut drop_ins = files(&places.drop_ins)?;
        if run_time.is_some() && !drop_ins.contains(&set) {
            drop_ins.push(set.clone());
            drop_ins.sort();
        }
        for path in drop_ins {
            let table = match run_time {
                Some(table) if path == set => table.clone(),
                Some(_) | None => read(&path)?,
            };
            merged.add(&path, table, false)?;
        }
        for path in files(&places.policies)? {
            let table = read(&path)?;
            check_policy(&path, &table)?;
            merged.add(&path, table, true)?;
        }
        Ok(merged)
    }

    /// The settings of a role; `None` if no file mentions it.
    pub(super) fn role(&self, name: &str) -> Option<&BTreeMap<String, Setting>> {
        self.roles.get(name)
    }

    /// The names of the roles.
    pub(super) fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(String::as_str)
    }

    /// Puts the settings of a file over those so far.
    pub(super) fn add(&mut self, from: &Path, table: Table, is_policy: bool) -> anyhow::Result<()> {
        for (role, settings) in table {
            let Value::Table(settings) = settings else {
                bail!("{}: {role} stands outside of a table such as [client]", from.display());
            };
            let known = self.roles.entry(role).or_default();
            for (name, value) in settings {
                known.insert(name, Setting { value, from: from.to_owned(), is_policy });
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<Table> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let table = text.parse::<Table>();
    table.with_context(|| format!("{} is not as it should be", path.display()))
}

/// The files of a directory that count, in the order of their names.
fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", directory.display()));
        }
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension() == Some(OsStr::new("toml")) && !is_hidden(path));
    paths.sort();
    Ok(paths)
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// A policy is about the settings that Windows has policies for, and nothing else.
pub(super) fn check_policy(path: &Path, table: &Table) -> anyhow::Result<()> {
    for (role, settings) in table {
        let names = settings.as_table().into_iter().flat_map(Table::keys);
        let unknown = names.map(String::as_str).find(|name| !POLICY_KEYS.contains(name));
        if role != "client" || unknown.is_some() {
            let what = unknown.map_or(format!("[{role}]"), |name| format!("[{role}] {name}"));
            bail!(
                "{}: {what} is nothing a policy can set: only {} in [client] are",
                path.display(),
                POLICY_KEYS.join(", ")
            );
        }
    }
    Ok(())
}

/// What a policy can set: the policies of Windows ("IPv6 Transition Technologies").
const POLICY_KEYS: [&str; 5] = ["default-qualified", "port", "refresh-interval", "server", "type"];

/// After everything that people put there with the usual numbers.
const RUN_TIME: &str = "90-set-state.toml";
