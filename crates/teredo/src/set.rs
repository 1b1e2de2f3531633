//! The subcommand `teredo set`, in the words of `netsh interface teredo set state`.

use std::num::NonZeroU16;

use anyhow::{Context, bail};
use teredo_control::varlink::CallError;
use teredo_control::{Error, SettingName, Settings, Type};

use crate::client::REFRESH_INTERVAL_S;
use crate::control;
use crate::exit::Exit;

/// Options of `teredo set`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

/// What can be set.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// Change the type, server, refresh interval or port of the daemon's client
    State(StateArgs),
}

/// Options of `teredo set state`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct StateArgs {
    /// type, servername, refreshinterval (seconds), clientport: in this order, or as tag=value.
    /// "default" goes back to what the configuration says
    #[arg(value_name = "VALUE|TAG=VALUE", required = true)]
    words: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  teredo set state client teredo.example.net 60 34567
  teredo set state servername=teredo.example.net
  teredo set state type=disabled
  teredo set state clientport=default

What is not named stays as it is. Settings outlive the daemon. Types: default, disabled, client,
enterpriseclient, natawareclient. Needs root or membership of the group teredo.";

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let What::State(args) = args.what;
    let settings = match parse(&args.words) {
        Ok(settings) => settings,
        Err(error) => return Ok(invalid(&format!("{error:#}"))),
    };
    let Some(mut client) = control::connect()? else { return Ok(Exit::NotRunning) };
    match client.set_state(&settings) {
        Ok(()) => {
            println!("Ok.");
            Ok(Exit::Ok)
        }
        Err(Error::Call(CallError::PermissionDenied)) => {
            let code = netioapi::Error::AccessDenied.code();
            eprintln!(
                "teredo: settings are for root and the group teredo to change (error {code})"
            );
            Ok(Exit::Forbidden)
        }
        Err(Error::Call(error @ CallError::InvalidParameter(_))) => Ok(invalid(&error.to_string())),
        Err(error) => Err(error).context("cannot change the settings"),
    }
}

/// Says that a value is none.
fn invalid(words: &str) -> Exit {
    let code = netioapi::Error::InvalidParameter.code();
    eprintln!("teredo: {words} (error {code})");
    Exit::Usage
}

/// The tags in the order of their positions, with those that scripts use for them too.
const TAGS: [(&str, &[&str]); 5] = [
    ("type", &[]),
    ("servername", &["server"]),
    ("refreshinterval", &["refresh"]),
    ("clientport", &["port"]),
    ("servervirtualip", &[]),
];

fn parse(words: &[String]) -> anyhow::Result<Settings> {
    let mut settings = Settings::default();
    let mut given = Vec::new();
    for (position, word) in words.iter().enumerate() {
        let (tag, value) = match word.split_once('=') {
            Some((tag, value)) => (full_tag(tag)?, value),
            None => {
                let tag = TAGS.get(position).map(|(tag, _)| *tag);
                (tag.with_context(|| format!("\"{word}\": there are only five values"))?, &**word)
            }
        };
        if given.contains(&tag) {
            bail!("{tag} is given twice");
        }
        given.push(tag);
        apply(&mut settings, tag, value)?;
    }
    Ok(settings)
}

fn full_tag(word: &str) -> anyhow::Result<&'static str> {
    let word = word.to_ascii_lowercase();
    let found = TAGS.iter().find(|(tag, others)| *tag == word || others.contains(&&*word));
    found.map(|(tag, _)| *tag).with_context(|| {
        let tags = TAGS.map(|(tag, _)| tag).join(", ");
        format!("there is no tag \"{word}\", only {tags}")
    })
}

fn apply(settings: &mut Settings, tag: &str, value: &str) -> anyhow::Result<()> {
    let is_default = value.eq_ignore_ascii_case("default");
    let name = match tag {
        "type" => SettingName::Type,
        "servername" => SettingName::ServerName,
        "refreshinterval" => SettingName::RefreshInterval,
        "clientport" => SettingName::ClientPort,
        // That of a server; a client has none.
        _ if is_default || value == "0.0.0.0" => return Ok(()),
        _ => bail!("servervirtualip is a server's, and this is a client"),
    };
    if is_default {
        settings.reset.push(name);
        return Ok(());
    }
    match name {
        SettingName::Type => settings.kind = Some(kind(value)?),
        SettingName::ServerName => settings.server_name = Some(value.to_owned()),
        SettingName::RefreshInterval => {
            let interval_s = value.parse().ok();
            let interval_s =
                interval_s.filter(|it: &u32| REFRESH_INTERVAL_S.contains(&(*it).into()));
            settings.refresh_interval_s = Some(interval_s.with_context(|| {
                let (least, most) = (REFRESH_INTERVAL_S.start(), REFRESH_INTERVAL_S.end());
                format!("\"{value}\" is no number of seconds from {least} to {most}")
            })?);
        }
        SettingName::ClientPort => {
            let port: Option<u16> = value.parse().ok();
            match port.with_context(|| format!("\"{value}\" is no UDP port"))? {
                // Windows' way to say that the system chooses.
                0 => settings.reset.push(name),
                port => settings.client_port = NonZeroU16::new(port),
            }
        }
    }
    Ok(())
}

fn kind(word: &str) -> anyhow::Result<Type> {
    let word = word.to_ascii_lowercase();
    // Scripts write so.
    let word = if word == "disable" { "disabled" } else { &*word };
    let found = Type::ALL.into_iter().find(|kind| kind.name() == word && *kind != Type::Server);
    found.with_context(|| {
        format!("\"{word}\" is no type of a client (a server is a role of the configuration file)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(words: &str) -> Result<Settings, String> {
        let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
        parse(&words).map_err(|error| error.to_string())
    }

    //= API-71: by position, by tag, default, in part; a wrong word is an error
    #[test]
    fn settings_by_position_and_by_tag() {
        let all = Settings {
            kind: Some(Type::Client),
            server_name: Some("teredo.example".to_owned()),
            refresh_interval_s: Some(60),
            client_port: NonZeroU16::new(34_567),
            reset: Vec::new(),
        };
        assert_eq!(settings("client teredo.example 60 34567").unwrap(), all);
        assert_eq!(settings("client teredo.example 60 34567 default").unwrap(), all);
        let tagged = "clientport=34567 TYPE=Client refreshinterval=60 servername=teredo.example";
        assert_eq!(settings(tagged).unwrap(), all);
        assert_eq!(settings("client server=teredo.example 60 34567").unwrap(), all);
        let off = Settings { kind: Some(Type::Disabled), ..Settings::default() };
        assert_eq!(settings("type=disable").unwrap(), off);
        let reset = vec![SettingName::Type, SettingName::ClientPort];
        let back = Settings { reset, ..Settings::default() };
        assert_eq!(settings("default clientport=0").unwrap(), back);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (words, why) in [
            ("relay", "no type"),
            ("server", "no type"),
            ("color=blue", "no tag"),
            ("client type=client", "twice"),
            ("client a b", "number of seconds"),
            ("refreshinterval=4", "seconds from 5 to 3600"),
            ("clientport=65536", "UDP port"),
            ("clientport=-1", "UDP port"),
            ("client a 60 1 0.0.0.0 x", "only five"),
            ("servervirtualip=192.0.2.1", "a server's"),
        ] {
            let error = settings(words).unwrap_err();
            assert!(error.contains(why), "{words}: {error}");
        }
    }
}
