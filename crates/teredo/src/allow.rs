//! The subcommand `teredo allow`, and the rules of a role: what may come in unasked, at whose word.

mod gate;
mod owner;
mod rule;
mod rules;
mod units;

use std::io::{self, Write};

use anyhow::Context;
use teredo_control::varlink::CallError;
use teredo_control::{AllowedRule, AllowedRules, Error, Origin, RuleChange};

use crate::exit::Exit;
use crate::{control, output};

pub(crate) use gate::{CONTROL_GROUPS, Gate, Look};
pub(crate) use owner::USERS;
pub(crate) use rule::AllowRule;
pub(crate) use rules::Rules;

/// Options of `teredo allow`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

/// What can be done about the rules.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show the rules: where each is from, and which ports it stands for now
    List {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Let something in, at once
    Add {
        /// PROTO[/PORT[-PORT]], user:NAME or unit:NAME.service, each with @PREFIX for a source
        #[arg(value_name = "RULE", required = true)]
        rules: Vec<AllowRule>,
    },
    /// Take back what was added
    Remove {
        /// The rules as they are listed
        #[arg(value_name = "RULE", required = true)]
        rules: Vec<AllowRule>,
    },
}

const EXAMPLES: &str = "Examples:
  teredo allow add tcp/22@2001:db8::/32 echo
  teredo allow add user:bittorrent        whatever port programs of that user listen on
  teredo allow add unit:sshd.service      whatever port that service listens on
  teredo allow remove echo
  teredo allow list

Rules are all, echo, tcp, udp or a protocol number, tcp and udp with a port or range, a user or a
systemd unit, each from everybody or a prefix. The daemon keeps what is added; a client that was
started by hand forgets it when it ends. Needs root or membership of the group teredo.";

pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    match args.what {
        What::List { json } => list(json),
        What::Add { rules } => change(rules, RuleChange::Add),
        What::Remove { rules } => change(rules, RuleChange::Remove),
    }
}

fn list(json: bool) -> anyhow::Result<Exit> {
    let Some(mut client) = control::connect()? else { return Ok(Exit::NotRunning) };
    let rules = client.rules().context("cannot ask the Teredo client of this host")?;
    output::print(|out| {
        if !json {
            return write_list(out, &rules);
        }
        serde_json::to_writer(&mut *out, &rules)?;
        writeln!(out)
    })?;
    Ok(Exit::Ok)
}

fn change(rules: Vec<AllowRule>, to: fn(String) -> RuleChange) -> anyhow::Result<Exit> {
    let Some(mut client) = control::connect()? else { return Ok(Exit::NotRunning) };
    let mut is_kept = true;
    for rule in rules {
        match client.change_rules(&to(rule.to_string())) {
            Ok(kept) => is_kept &= kept,
            Err(Error::Call(CallError::PermissionDenied)) => {
                let code = netioapi::Error::AccessDenied.code();
                eprintln!(
                    "teredo: what may come in is for root and the group teredo to say \
                     (error {code})"
                );
                return Ok(Exit::Forbidden);
            }
            Err(error) => return Err(error).context(format!("{rule}: nothing has changed")),
        }
    }
    println!("{}", if is_kept { "Ok." } else { "Ok, until it ends." });
    Ok(Exit::Ok)
}

fn write_list(out: &mut impl Write, list: &AllowedRules) -> io::Result<()> {
    if list.rules.is_empty() {
        return writeln!(out, "Nothing comes in that was not asked for.");
    }
    let width = list.rules.iter().map(|rule| rule.rule.len()).max().unwrap_or(0);
    for rule in &list.rules {
        writeln!(out, "{:<width$}  {}{}", rule.rule, origin(rule), ports(rule))?;
    }
    if list.left_off > 0 {
        writeln!(out, "and {} more", list.left_off)?;
    }
    Ok(())
}

fn origin(rule: &AllowedRule) -> &str {
    match (rule.origin, &rule.file) {
        (Origin::CommandLine, _) => "command line",
        (Origin::File, file) => file.as_deref().unwrap_or("configuration"),
        (Origin::RunTime, _) => "added at run time",
    }
}

fn ports(rule: &AllowedRule) -> String {
    match rule.ports.as_deref() {
        None => String::new(),
        Some([]) => ": nothing listens".to_owned(),
        Some(ports) => format!(": {}", ports.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_where_each_rule_is_from_and_what_it_stands_for() {
        let rule = |rule: &str, origin, ports: Option<&[&str]>| AllowedRule {
            rule: rule.to_owned(),
            origin,
            file: (origin == Origin::File).then(|| "/etc/teredo/teredo.toml".to_owned()),
            ports: ports.map(|ports| ports.iter().map(|port| (*port).to_owned()).collect()),
        };
        let rules = vec![
            rule("tcp/22", Origin::File, None),
            rule("user:bt", Origin::RunTime, Some(&["tcp/6881", "udp/6881-6889"])),
            rule("unit:sshd.service", Origin::CommandLine, Some(&[])),
        ];
        let mut text = Vec::new();
        write_list(&mut text, &AllowedRules { rules, left_off: 2 }).unwrap();
        let expected = "tcp/22             /etc/teredo/teredo.toml\n\
                        user:bt            added at run time: tcp/6881, udp/6881-6889\n\
                        unit:sshd.service  command line: nothing listens\n\
                        and 2 more\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        let mut text = Vec::new();
        write_list(&mut text, &AllowedRules::default()).unwrap();
        assert_eq!(text, b"Nothing comes in that was not asked for.\n");
    }
}
