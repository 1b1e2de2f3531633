//! The configuration as a whole: reading it, changing it, handing out each role's options.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use teredo_control::server::SetError;
use teredo_control::{SettingName, Settings, Type};
use toml::{Table, Value};

use super::layers::{Merged, Places, Setting};
use super::roles::Role;
use super::section::options;
use crate::allow::{AllowRule, Rules};
use crate::{client, relay, server};

/// What the daemon is to do, and where that is written.
#[derive(Debug)]
pub(super) struct Configuration {
    places: Places,
    merged: Merged,
}

impl Configuration {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// One line that names the file and what is wrong with it.
    pub(super) fn read(file: PathBuf, policies: Option<PathBuf>) -> anyhow::Result<Self> {
        let places = Places::of(file, policies);
        let merged = Merged::read(&places, None)?;
        Self::checked(places, merged)
    }

    /// Checks what was read.
    pub(super) fn checked(places: Places, merged: Merged) -> anyhow::Result<Self> {
        let configuration = Self { places, merged };
        configuration.check()?;
        Ok(configuration)
    }

    /// The roles that it has.
    pub(super) fn roles(&self) -> Vec<Role> {
        let all = Role::value_variants().iter().copied();
        all.filter(|role| self.merged.role(role.name()).is_some()).collect()
    }

    /// The configuration file.
    pub(super) fn file(&self) -> &Path {
        self.places.file()
    }

    /// The directory of its policies.
    pub(super) fn policies(&self) -> &Path {
        self.places.policies()
    }

    /// The directories that it is read from: files in them get replaced.
    pub(super) fn read_from(&self) -> [PathBuf; 2] {
        let beside = self.file().parent().filter(|path| !path.as_os_str().is_empty());
        [beside.unwrap_or(Path::new(".")).to_owned(), self.policies().to_owned()]
    }

    /// The directory for what is set at run time. It is made now if that is possible, because
    /// later its parent may be out of reach.
    pub(super) fn make_drop_ins(&self) -> PathBuf {
        let mut path = self.places.run_time();
        path.pop();
        // Who sets something then will be told why that fails.
        let _ = fs::create_dir_all(&path);
        path
    }

    /// The options of the client.
    pub(super) fn client(&self) -> anyhow::Result<client::Args> {
        client_options(&self.merged, &self.places)
    }

    /// The options of the server.
    pub(super) fn server(&self) -> anyhow::Result<server::Args> {
        options("server", &self.settings(Role::Server), &[], self.places.file())
    }

    /// The options of the relay.
    pub(super) fn relay(&self) -> anyhow::Result<relay::Args> {
        let settings = self.settings(Role::Relay);
        let mut args: relay::Args = options("relay", &settings, &[], self.places.file())?;
        args.allow_file = settings.get("allow").map(|setting| setting.from.clone());
        Ok(args)
    }

    fn settings(&self, role: Role) -> BTreeMap<String, Setting> {
        self.merged.role(role.name()).cloned().unwrap_or_default()
    }

    fn check(&self) -> anyhow::Result<()> {
        let file = self.places.file().display();
        let known = |name: &&str| Role::value_variants().iter().any(|role| role.name() == *name);
        if let Some(name) = self.merged.roles().find(|name| !known(name)) {
            bail!("{file}: there is no role [{name}], only [client], [server] and [relay]");
        }
        for role in self.roles() {
            match role {
                Role::Client => drop(self.client()?),
                Role::Server => drop(self.server()?),
                Role::Relay => drop(self.relay()?),
            }
        }
        if self.roles().is_empty() {
            bail!("{file}: no role to run: it has neither [client], [server] nor [relay]");
        }
        Ok(())
    }
}

impl Configuration {
    /// Keeps what was set at run time if everything together makes sense, and returns the client's
    /// options that follow from it.
    fn keep_run_time(&mut self, run_time: &Table) -> Result<client::Args, SetError> {
        let merged = Merged::read(&self.places, Some(run_time)).map_err(failed)?;
        let args = client_options(&merged, &self.places).map_err(failed)?;
        let path = self.places.run_time();
        write(&path, run_time).map_err(|error| {
            SetError::Failed(format!("cannot keep the setting in {}: {error}", path.display()))
        })?;
        self.merged = merged;
        Ok(args)
    }
}

impl client::Source for Configuration {
    fn set(&mut self, settings: &Settings) -> Result<client::Args, SetError> {
        check_settings(settings)?;
        let mut run_time = self.places.read_run_time().map_err(failed)?;
        apply(settings, &mut run_time);
        self.keep_run_time(&run_time)
    }

    fn keep(&mut self, rules: &Rules) -> Result<bool, SetError> {
        let mut run_time = self.places.read_run_time().map_err(failed)?;
        let client = client_of(&mut run_time).context("[client] is no table").map_err(failed)?;
        if rules.added.is_empty() {
            client.remove(ADDED);
        } else {
            let texts = rules.added.iter().map(|rule| Value::from(rule.to_string()));
            client.insert(ADDED.to_owned(), Value::Array(texts.collect()));
        }
        self.keep_run_time(&run_time).map(|_| true)
    }

    fn reload(&mut self) -> Option<anyhow::Result<client::Args>> {
        let read = Merged::read(&self.places, None).and_then(|merged| {
            let args = client_options(&merged, &self.places)?;
            self.merged = merged;
            Ok(args)
        });
        Some(read)
    }
}

fn client_options(merged: &Merged, places: &Places) -> anyhow::Result<client::Args> {
    let mut settings = merged.role("client").cloned().unwrap_or_default();
    let name_of = |key: &str| KEYS.iter().find(|(_, it)| *it == key).map(|(name, _)| *name);
    let policies = settings.iter().filter(|(_, setting)| setting.is_policy);
    let from_policy = policies.filter_map(|(key, _)| name_of(key)).collect();
    let allow_file = settings.get("allow").map(|setting| setting.from.clone());
    let added = settings.remove(ADDED).map(|setting| added_rules(&setting, places)).transpose()?;
    // Windows says so when nothing is configured.
    settings.entry("type".to_owned()).or_insert_with(|| Setting {
        value: Type::Default.name().into(),
        from: places.file().to_owned(),
        is_policy: false,
    });
    let mut args: client::Args = options("client", &settings, &["server"], places.file())?;
    args.from_policy = from_policy;
    args.allow_file = allow_file;
    args.allow_added = added.unwrap_or_default();
    client::check(&args).with_context(|| format!("{}: [client]", places.file().display()))?;
    Ok(args)
}

/// What `teredo allow` has added, which nobody else writes: a setting that adds to another one
/// would only confuse who reads the files.
fn added_rules(setting: &Setting, places: &Places) -> anyhow::Result<Vec<AllowRule>> {
    let file = setting.from.display();
    if setting.from != places.run_time() {
        bail!("{file}: [client] {ADDED} is kept by teredo allow; here it is allow");
    }
    let texts = setting.value.as_array().with_context(|| format!("{file}: {ADDED} is no list"))?;
    let rule = |text: &Value| {
        let text = text.as_str().with_context(|| format!("{file}: {ADDED}: not a text"))?;
        text.parse().with_context(|| format!("{file}: {ADDED}: {text}"))
    };
    texts.iter().map(rule).collect()
}

fn failed(error: anyhow::Error) -> SetError {
    SetError::Failed(format!("{error:#}"))
}

/// The table of the client, among what was set at run time.
fn client_of(run_time: &mut Table) -> Option<&mut Table> {
    run_time.entry("client").or_insert_with(|| Table::new().into()).as_table_mut()
}

/// The settings that can change at run time, and their names in the configuration.
const KEYS: [(SettingName, &str); 4] = [
    (SettingName::Type, "type"),
    (SettingName::ServerName, "server"),
    (SettingName::RefreshInterval, "refresh-interval"),
    (SettingName::ClientPort, "port"),
];

pub(super) fn check_settings(settings: &Settings) -> Result<(), SetError> {
    if settings.kind == Some(Type::Server) {
        return Err(SetError::Invalid("type"));
    }
    let is_name = |name: &String| {
        let is_printable = |it: char| it.is_ascii_graphic() || !it.is_ascii() && !it.is_control();
        !name.is_empty() && name.len() <= NAME_LEN_MAX && name.chars().all(is_printable)
    };
    if settings.server_name.as_ref().is_some_and(|name| !is_name(name)) {
        return Err(SetError::Invalid("server_name"));
    }
    let is_possible = |interval_s: u32| client::REFRESH_INTERVAL_S.contains(&interval_s.into());
    if settings.refresh_interval_s.is_some_and(|interval_s| !is_possible(interval_s)) {
        return Err(SetError::Invalid("refresh_interval_s"));
    }
    Ok(())
}

/// Puts settings into the table that is kept, and takes out those that go back to what the files
/// say.
pub(super) fn apply(settings: &Settings, run_time: &mut Table) {
    let Some(client) = client_of(run_time) else { return };
    let values: [Option<Value>; KEYS.len()] = [
        settings.kind.map(|kind| kind.name().into()),
        settings.server_name.clone().map(Value::from),
        settings.refresh_interval_s.map(Value::from),
        settings.client_port.map(|port| i64::from(port.get()).into()),
    ];
    for ((name, key), value) in KEYS.into_iter().zip(values) {
        if let Some(value) = value {
            client.insert(key.to_owned(), value);
        } else if settings.reset.contains(&name) {
            client.remove(key);
        }
    }
}

/// All or nothing, also when the power fails.
fn write(path: &Path, table: &Table) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let new = path.with_extension("toml.new");
    let text = toml::to_string(table).map_err(io::Error::other)?;
    let mut file = File::create(&new)?;
    file.write_all(HEAD.as_bytes())?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(directory)?.sync_all()
}

/// Where rules are that were added at run time. They add to those of the other files, because what
/// somebody opens should close nothing.
const ADDED: &str = "allow-added";
const HEAD: &str = "# Written by \"teredo set state\" and \"teredo allow\", and changed by them.\n";
/// That of a name in the DNS.
const NAME_LEN_MAX: usize = 253;
