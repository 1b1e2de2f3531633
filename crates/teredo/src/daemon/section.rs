//! From the settings of a role to the options of its subcommand.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{anyhow, bail};
use clap::error::{ContextKind, ContextValue};
use clap::{Command, FromArgMatches};
use toml::Value;

use super::layers::Setting;
use crate::exit::fault_of_usage;

/// Reads the settings of `role` as the options of its subcommand. What an option would have to be
/// given on the command line may be missing if `optional` names it.
///
/// # Errors
/// One line that names the file and the setting.
pub(super) fn options<T: clap::Args + FromArgMatches>(
    role: &'static str,
    settings: &BTreeMap<String, Setting>,
    optional: &[&'static str],
    whole: &Path,
) -> anyhow::Result<T> {
    let mut command = T::augment_args(Command::new(role).no_binary_name(true));
    for name in optional {
        command = command.mut_arg(name, |option| option.required(false));
    }
    let mut known: Vec<String> = command
        .get_arguments()
        .filter_map(|option| option.get_long().map(str::to_owned))
        .filter(|name| !NOT_HERE.contains(&name.as_str()))
        .collect();
    known.sort();
    let mut words = Vec::new();
    for (name, setting) in settings {
        if !known.contains(name) {
            bail!(
                "{}: [{role}] has no setting {name}: it has {}",
                setting.from.display(),
                known.join(", ")
            );
        }
        words.extend(words_of(name, &setting.value).ok_or_else(|| {
            anyhow!("{}: [{role}] {name}: not a value of a setting", setting.from.display())
        })?);
    }
    let matches = command.try_get_matches_from(words);
    matches.and_then(|matches| T::from_arg_matches(&matches)).map_err(|error| {
        let setting = wrong_option(&error).and_then(|name| Some((settings.get(&name)?, name)));
        let (from, name) = match &setting {
            Some((setting, name)) => (setting.from.as_path(), format!(" {name}")),
            None => (whole, String::new()),
        };
        anyhow!("{}: [{role}]{name}: {}", from.display(), fault_of_usage(&error.to_string()))
    })
}

/// The words of a command line that say the same.
fn words_of(name: &str, value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![format!("--{name}={text}")]),
        Value::Integer(number) => Some(vec![format!("--{name}={number}")]),
        Value::Boolean(true) => Some(vec![format!("--{name}")]),
        Value::Boolean(false) => Some(Vec::new()),
        Value::Array(values) => {
            let words = values.iter().map(|value| match value {
                Value::String(_) | Value::Integer(_) => words_of(name, value),
                Value::Array(_)
                | Value::Boolean(_)
                | Value::Float(_)
                | Value::Datetime(_)
                | Value::Table(_) => None,
            });
            words.collect::<Option<Vec<_>>>().map(|words| words.concat())
        }
        Value::Float(_) | Value::Datetime(_) | Value::Table(_) => None,
    }
}

/// The name of the option that an error is about.
fn wrong_option(error: &clap::Error) -> Option<String> {
    let ContextValue::String(shown) = error.get(ContextKind::InvalidArg)? else { return None };
    let name = shown.strip_prefix("--")?;
    Some(name.split([' ', '=']).next().unwrap_or(name).to_owned())
}

/// Options of a single run: a daemon does not give up.
const NOT_HERE: [&str; 1] = ["timeout"];
