//! What `nft -j list` shows of the ruleset.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::model::{Key, SetId};
use super::plan::Contents;

/// A table or a set as it is: what there is, and apart from that what is in the sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Listing {
    /// Everything but the elements. Whatever is deleted and made again has another handle in it.
    objects: Vec<Value>,
    elements: Vec<(SetId, Vec<Value>)>,
}

/// Whether a set can hold what the agent puts there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fitness {
    Fit,
    /// It is not one of ports.
    WrongType,
    /// Its elements cannot have a timeout.
    NoTimeouts,
}

impl Listing {
    /// Reads what `nft` printed.
    pub(crate) fn parse(text: &[u8]) -> serde_json::Result<Self> {
        let output: Output = serde_json::from_slice(text)?;
        let (mut objects, mut elements) = (Vec::new(), Vec::new());
        for mut object in output.nftables {
            if object.contains_key("metainfo") {
                continue;
            }
            if let Some(set) = object.get_mut("set").and_then(Value::as_object_mut) {
                let elem = set.remove("elem").unwrap_or_default();
                elements.push((set_id(set), keys(&elem)));
            }
            objects.push(Value::Object(object));
        }
        Ok(Self { objects, elements })
    }

    /// How many objects there are.
    pub(crate) fn object_count(&self) -> usize {
        self.objects.len()
    }

    /// Whether it has the same objects, with whatever elements.
    pub(crate) fn has_objects_of(&self, other: &Self) -> bool {
        self.objects == other.objects
    }

    /// Whether exactly this is in the sets.
    pub(crate) fn holds(&self, contents: &Contents) -> bool {
        contents.len() == self.elements.len()
            && contents.iter().all(|(id, wanted)| {
                let found = self.elements.iter().find(|(set, _)| set == id);
                found.is_some_and(|(_, found)| is_same(found, wanted))
            })
    }

    /// Whether the first set can hold ports that go by themselves.
    pub(crate) fn fitness(&self) -> Fitness {
        let set = self.objects.iter().find_map(|object| object.get("set"));
        let field = |name| set.and_then(|set| set.get(name)).unwrap_or(&Value::Null);
        // A newer nft may print an expression here (`typeof`): then the kernel will judge.
        if field("type").as_str().is_some_and(|kind| kind != "inet_service")
            || field("type").is_array()
        {
            return Fitness::WrongType;
        }
        let has_timeouts = match field("flags") {
            Value::String(flag) => flag == "timeout",
            Value::Array(flags) => flags.iter().any(|flag| flag == "timeout"),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
        };
        if has_timeouts { Fitness::Fit } else { Fitness::NoTimeouts }
    }
}

#[derive(Deserialize)]
struct Output {
    nftables: Vec<Map<String, Value>>,
}

fn set_id(set: &Map<String, Value>) -> SetId {
    let field = |name| set.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    SetId { family: field("family"), table: field("table"), name: field("name") }
}

/// The elements without the time that they have left.
fn keys(elem: &Value) -> Vec<Value> {
    let elements = elem.as_array().into_iter().flatten();
    elements.map(|it| it.pointer("/elem/val").unwrap_or(it).clone()).collect()
}

fn is_same(found: &[Value], wanted: &[Key]) -> bool {
    let wanted = wanted.iter().map(|key| match key {
        Key::Port(port) => Value::from(*port),
        Key::Address(address) => Value::from(address.to_string()),
    });
    found.len() == wanted.len() && wanted.into_iter().all(|key| found.contains(&key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
        {"table": {"family": "inet", "name": "teredo", "handle": 2}},
        {"set": {"family": "inet", "name": "ports", "table": "teredo", "type": "inet_service",
                 "handle": 1, "flags": ["timeout"],
                 "elem": [{"elem": {"val": 5000, "timeout": 10, "expires": 9}}]}},
        {"chain": {"family": "inet", "table": "teredo", "name": "input", "handle": 3}}]}"#;

    fn contents(ports: &[u16]) -> Contents {
        let id = |name: &str| name.to_owned();
        let set = SetId { family: id("inet"), table: id("teredo"), name: id("ports") };
        vec![(set, ports.iter().copied().map(Key::Port).collect())]
    }

    fn parse(text: &str) -> Listing {
        Listing::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn elements_are_told_from_what_there_is() {
        let listing = parse(TABLE);
        assert_eq!(listing.object_count(), 3);
        assert!(listing.holds(&contents(&[5000])));
        assert!(!listing.holds(&contents(&[])) && !listing.holds(&contents(&[5001])));
        assert!(!listing.holds(&contents(&[5000, 5001])) && !listing.holds(&vec![]));
        let later = parse(&TABLE.replace("\"expires\": 9", "\"expires\": 2"));
        assert!(later.has_objects_of(&listing) && later.holds(&contents(&[5000])));
        let empty = parse(&TABLE.replace("5000", "5001"));
        assert!(empty.has_objects_of(&listing));
        let made_again = parse(&TABLE.replace("\"handle\": 3", "\"handle\": 7"));
        assert!(!made_again.has_objects_of(&listing));
    }

    #[test]
    fn a_set_must_be_of_ports_with_timeouts() {
        assert_eq!(parse(TABLE).fitness(), Fitness::Fit);
        let with = |from: &str, to: &str| parse(&TABLE.replace(from, to)).fitness();
        assert_eq!(with("[\"timeout\"]", "\"timeout\""), Fitness::Fit);
        assert_eq!(with("\"inet_service\"", "{\"typeof\": {}}"), Fitness::Fit);
        assert_eq!(with("\"inet_service\"", "\"ipv4_addr\""), Fitness::WrongType);
        let both = "[\"inet_service\", \"ipv4_addr\"]";
        assert_eq!(with("\"inet_service\"", both), Fitness::WrongType);
        assert_eq!(with("[\"timeout\"]", "[\"interval\"]"), Fitness::NoTimeouts);
        assert_eq!(with("\"flags\"", "\"flacks\""), Fitness::NoTimeouts);
    }

    #[test]
    fn what_is_not_a_list_is_an_error() {
        for text in ["", "{}", "[]", "{\"nftables\": 1}", "{\"nftables\": [1]}"] {
            assert!(Listing::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
