//! What may come in unasked: how the daemon tells it, and how it is asked to change it.
//!
//! A rule is a text here; what it means is the daemon's business.

use serde::{Deserialize, Serialize};

/// A rule that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedRule {
    /// The rule, such as `tcp/22` or `user:bittorrent`.
    pub rule: String,
    /// Who gave it.
    pub origin: Origin,
    /// The file that it stands in, if it stands in one.
    pub file: Option<String>,
    /// For a rule that does not name ports: those that it stands for now, such as `tcp/80` or
    /// `udp/6881-6889`.
    pub ports: Option<Vec<String>>,
}

/// Who gave a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The command line that the daemon was started by.
    CommandLine,
    /// Its configuration.
    File,
    /// Somebody, while it ran.
    RunTime,
}

/// All rules that hold, in the order in which they are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowedRules {
    /// The rules, or as many of them as fit into a message.
    pub rules: Vec<AllowedRule>,
    /// How many more there are.
    pub left_off: u32,
}

impl AllowedRules {
    /// As many of these as fit into a message.
    pub(crate) fn of(rules: &[AllowedRule]) -> Self {
        let mut room = LIST_LEN_MAX;
        let fits = |rule: &&AllowedRule| {
            let len = serde_json::to_vec(rule).map_or(room, |text| text.len() + 1);
            room = room.saturating_sub(len);
            room > 0
        };
        let kept: Vec<_> = rules.iter().take_while(fits).cloned().collect();
        let left_off = u32::try_from(rules.len() - kept.len()).unwrap_or(u32::MAX);
        Self { rules: kept, left_off }
    }
}

/// A change of what may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleChange {
    /// This rule is to hold too.
    Add(String),
    /// This rule is to hold no more.
    Remove(String),
}

/// What the rules of a list may take of a message.
const LIST_LEN_MAX: usize = crate::varlink::MESSAGE_LEN_MAX - 1_024;
