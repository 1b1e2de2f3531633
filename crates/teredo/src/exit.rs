//! How the program ends: one table of exit codes, and errors in one line.

use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::cli;

/// What an exit code of this program means, whatever the subcommand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It worked.
    Ok,
    /// It failed; one line on standard error says why and what to do.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// No Teredo client runs here.
    NotRunning,
    /// A client runs, but has no port yet or is not qualified.
    NotQualified,
    /// The client is qualified, but no relay answers.
    NoRelay,
    /// A policy of this host forbids it.
    Forbidden,
    /// A command that was run for the caller ended with this code of its own.
    Command(u8),
}

impl Exit {
    /// The codes with a fixed meaning, in order.
    const TABLE: [Self; 7] = [
        Self::Ok,
        Self::Failed,
        Self::Usage,
        Self::NotRunning,
        Self::NotQualified,
        Self::NoRelay,
        Self::Forbidden,
    ];

    /// Reports `error` and everything that caused it in one line on standard error.
    pub(crate) fn of_error(error: &anyhow::Error) -> Self {
        eprintln!("teredo: {}", one_line(error));
        Self::Failed
    }

    /// Prints the help or version that was asked for, or what is wrong with the command line.
    pub(crate) fn of_usage(error: &clap::Error) -> Self {
        if !error.use_stderr()
            || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        {
            // Nobody is left to tell when the output is closed.
            let _ = error.print();
        } else {
            let command = cli::named(std::env::args_os().skip(1));
            eprintln!("teredo: {}", one_line_of_usage(&error.to_string(), &command));
        }
        if error.use_stderr() { Self::Usage } else { Self::Ok }
    }

    /// The number handed to the shell.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotRunning => 3,
            Self::NotQualified => 4,
            Self::NoRelay => 5,
            Self::Forbidden => 6,
            Self::Command(code) => code,
        }
    }

    /// The table as `--help` shows it.
    pub(crate) fn help() -> String {
        let mut text = String::from("Exit codes:");
        for exit in Self::TABLE {
            text.push_str(&format!("\n  {}  {}", exit.code(), exit.meaning()));
        }
        text
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed; one line on standard error says why",
            Self::Usage => "wrong usage",
            Self::NotRunning => "not running",
            Self::NotQualified => "running, but no port or not qualified",
            Self::NoRelay => "qualified, but no relay answers",
            Self::Forbidden => "forbidden by policy",
            Self::Command(_) => "that of the command",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The whole chain of causes, without line breaks.
fn one_line(error: &anyhow::Error) -> String {
    unbroken(&format!("{error:#}"))
}

/// What is wrong and the tips, in one line, without the usage that clap adds; that is in the help.
pub(crate) fn fault_of_usage(text: &str) -> String {
    let (fault, _) = text.split_once("\n\nUsage: ").unwrap_or((text, ""));
    let fault = fault.split("\n\nFor more information").next().unwrap_or(fault);
    // Tips stand in paragraphs of their own.
    unbroken(&fault.trim_start_matches("error: ").trim_end().replace("\n\n", "; "))
}

fn one_line_of_usage(text: &str, command: &str) -> String {
    format!("{}; see `{command} --help`", fault_of_usage(text))
}

/// Without line breaks.
pub(crate) fn unbroken(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_table() {
        let codes: Vec<_> = Exit::TABLE.into_iter().map(Exit::code).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn an_error_takes_one_line() {
        let error = anyhow::anyhow!("no such\nfile").context("cannot read x");
        assert_eq!(one_line(&error), "cannot read x: no such file");
    }

    #[test]
    fn a_usage_error_takes_one_line() {
        let text = "error: these are missing:\n  --mapped <X>\n\nUsage: teredo address <X>\n\nFor \
                    more information, try '--help'.\n";
        let line = "these are missing: --mapped <X>; see `teredo address --help`";
        assert_eq!(one_line_of_usage(text, "teredo address"), line);
        let text = "error: invalid value\n\nFor more information, try '--help'.\n";
        assert_eq!(one_line_of_usage(text, "teredo"), "invalid value; see `teredo --help`");
    }
}
