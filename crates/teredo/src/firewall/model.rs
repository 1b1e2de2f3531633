//! The part of nftables that we use: as JSON for `nft -j`, and in the syntax of `nft` for people.
//!
//! One value, two forms. There is nothing here that [`plan`](super::plan) does not need.

use std::fmt;
use std::net::Ipv4Addr;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// Commands that take effect all together or not at all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Transaction {
    pub(crate) nftables: Vec<Command>,
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.nftables.iter().try_for_each(|command| writeln!(f, "{command}"))
    }
}

/// A command.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Command {
    Add(Object),
    Delete(Object),
    Flush(Object),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(object) => write!(f, "add {object:#}"),
            Self::Delete(object) => write!(f, "delete {object}"),
            Self::Flush(object) => write!(f, "flush {object}"),
        }
    }
}

/// What a command is about. The alternate form of its text says what it consists of.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Object {
    Table {
        family: String,
        name: String,
    },
    Set {
        #[serde(flatten)]
        id: SetId,
        #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
        kind: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        flags: Option<[&'static str; 1]>,
    },
    Chain {
        family: String,
        table: String,
        name: &'static str,
        r#type: &'static str,
        hook: &'static str,
        prio: i32,
        policy: &'static str,
    },
    Rule {
        family: String,
        table: String,
        chain: &'static str,
        comment: &'static str,
        expr: Vec<Statement>,
    },
    Element {
        #[serde(flatten)]
        id: SetId,
        elem: Vec<Element>,
    },
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table { family, name } => write!(f, "table {family} {name}"),
            Self::Set { id, kind, flags } => {
                write!(f, "set {id}")?;
                match (kind, flags) {
                    (Some(kind), Some([flag])) if f.alternate() => {
                        write!(f, " {{ type {kind}; flags {flag}; }}")
                    }
                    _ => Ok(()),
                }
            }
            Self::Chain { family, table, name, r#type, hook, prio, policy } => {
                write!(f, "chain {family} {table} {name} ")?;
                write!(f, "{{ type {type} hook {hook} priority {prio}; policy {policy}; }}")
            }
            Self::Rule { family, table, chain, comment, expr } => {
                write!(f, "rule {family} {table} {chain}")?;
                expr.iter().try_for_each(|statement| write!(f, " {statement}"))?;
                write!(f, " comment \"{comment}\"")
            }
            Self::Element { id, elem } => {
                let elements: Vec<_> = elem.iter().map(ToString::to_string).collect();
                write!(f, "element {id} {{ {} }}", elements.join(", "))
            }
        }
    }
}

/// Which set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct SetId {
    pub(crate) family: String,
    pub(crate) table: String,
    pub(crate) name: String,
}

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.family, self.table, self.name)
    }
}

/// A part of a rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Statement {
    /// Goes on only if this is so.
    Match { op: &'static str, left: Expression, right: Expression },
    /// Sets something.
    Mangle { key: Expression, value: Expression },
}

impl Statement {
    /// The left is the right, or in it if that is a set.
    pub(crate) fn is(left: Expression, right: Expression) -> Self {
        Self::Match { op: "==", left, right }
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Match { left, right, .. } => write!(f, "{left} {right}"),
            Self::Mangle { key, value } => write!(f, "{key} set {value}"),
        }
    }
}

/// What statements are made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expression {
    /// A property of the packet that is not in its bytes.
    Meta(&'static str),
    /// What connection tracking knows of it.
    Ct(&'static str),
    /// A field of a header.
    Field(&'static str, &'static str),
    /// What is in a set of the same table.
    Set(&'static str),
    Word(&'static str),
    Port(u16),
    Address(Ipv4Addr),
    /// The packet's mark with these bits set, all others as they are.
    MarkWith(u32),
}

impl Expression {
    fn to_json(&self) -> Value {
        match self {
            Self::Meta(key) => json!({ "meta": { "key": key } }),
            Self::Ct(key) => json!({ "ct": { "key": key } }),
            Self::Field(protocol, field) => {
                json!({ "payload": { "protocol": protocol, "field": field } })
            }
            Self::Set(name) => json!(format!("@{name}")),
            Self::Word(word) => json!(word),
            Self::Port(port) => json!(port),
            Self::Address(address) => json!(address),
            Self::MarkWith(bits) => json!({ "|": [Self::Meta("mark").to_json(), bits] }),
        }
    }
}

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meta(key) => write!(f, "meta {key}"),
            Self::Ct(key) => write!(f, "ct {key}"),
            Self::Field(protocol, field) => write!(f, "{protocol} {field}"),
            Self::Set(name) => write!(f, "@{name}"),
            Self::Word(word) => f.write_str(word),
            Self::Port(port) => write!(f, "{port}"),
            Self::Address(address) => write!(f, "{address}"),
            Self::MarkWith(bits) => write!(f, "meta mark | {bits:#x}"),
        }
    }
}

/// An element that goes by itself after a time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Element {
    elem: Timed,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Timed {
    val: Key,
    #[serde(rename = "timeout")]
    timeout_s: u32,
}

impl Element {
    pub(crate) fn new(val: Key, timeout_s: u32) -> Self {
        Self { elem: Timed { val, timeout_s } }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} timeout {}s", self.elem.val, self.elem.timeout_s)
    }
}

/// What can be in our sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Key {
    Port(u16),
    Address(Ipv4Addr),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => write!(f, "{port}"),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}
