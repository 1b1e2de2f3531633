//! What must hold for whatever `nft -j` prints.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::listing::Listing;
use super::model::{Key, SetId};
use super::nft::Fault;
use super::plan::Contents;

/// Reads a listing, and says an error in the words of `nft`.
pub fn run(bytes: &[u8]) {
    let said = Fault::of(&String::from_utf8_lossy(bytes)).to_string();
    assert!(!said.trim().is_empty() && said.lines().count() == 1, "{said:?}");
    let ports: BTreeSet<u16> = bytes.iter().take(8).map(|byte| u16::from(*byte) + 1).collect();
    let wanted = contents(&ports);
    let Ok(listing) = Listing::parse(bytes) else {
        assert!(Listing::parse(&printed(&wanted)).is_ok_and(|it| it.holds(&wanted)));
        return;
    };
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    // A number with a fraction, which nft never prints, may change in its last digit.
    if !has_fraction(&value) {
        let again = serde_json::to_vec_pretty(&value).unwrap_or_default();
        let again = Listing::parse(&again).ok();
        let is_same = again.is_some_and(|again| again == listing);
        assert!(is_same, "read otherwise when printed otherwise");
    }
    assert!(listing.has_objects_of(&listing));
    let _ = (listing.fitness(), listing.object_count());
    if listing.holds(&wanted) {
        let fewer: BTreeSet<u16> = ports.iter().copied().skip(1).collect();
        assert!(!listing.holds(&contents(&fewer)), "it holds more than that");
    }
}

fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(values) => values.iter().any(has_fraction),
        Value::Object(fields) => fields.values().any(has_fraction),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

/// One set with these ports.
fn contents(ports: &BTreeSet<u16>) -> Contents {
    let [family, table, name] = ["inet", "teredo", "ports"].map(str::to_owned);
    vec![(SetId { family, table, name }, ports.iter().copied().map(Key::Port).collect())]
}

/// What `nft` prints of sets.
fn printed(contents: &Contents) -> Vec<u8> {
    let sets = contents.iter().map(|(id, keys)| {
        let elem: Vec<_> = keys.iter().map(|key| json!({ "elem": { "val": key } })).collect();
        let (family, table, name) = (&id.family, &id.table, &id.name);
        json!({ "set": { "family": family, "table": table, "name": name, "elem": elem } })
    });
    let sets: Vec<_> = sets.collect();
    json!({ "nftables": sets }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_and_errors_are_looked_at() {
        run(&printed(&contents(&BTreeSet::from([5_000]))));
        run(b"\x01\x02 Error: Operation not permitted\n");
        run(b"");
    }
}
