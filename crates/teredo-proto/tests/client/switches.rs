//! The vocabulary of the techniques.

use teredo_proto::client::{Traversal, UnknownTechnique};

#[test]
fn techniques_have_names() {
    let read = |words: &str| words.parse::<Traversal>();
    for traversal in [Traversal::NONE, Traversal::RFC6081, Traversal::ALL, Traversal::default()] {
        assert_eq!(read(&traversal.to_string()), Ok(traversal));
    }
    assert_eq!(Traversal::ALL.names().collect::<Vec<_>>(), Traversal::NAMES);
    assert_eq!(Traversal::NONE.to_string(), "none");
    assert_eq!(read("none,rfc6081"), Ok(Traversal::RFC6081));
    assert_eq!(read("all"), Ok(Traversal::ALL));
    assert_eq!(
        read("hairpin, birthday"),
        Ok(Traversal { hairpin: true, birthday: true, ..Traversal::NONE })
    );
    for wrong in ["", "hairpin,", "Hairpin", "teleport"] {
        assert_eq!(read(wrong), Err(UnknownTechnique), "{wrong}");
    }
}

#[test]
fn each_technique_has_a_switch_of_its_own() {
    for name in Traversal::NAMES {
        let one: Traversal = name.parse().unwrap();
        assert_eq!(one.names().collect::<Vec<_>>(), [name]);
        let left = Traversal::ALL.without(one);
        assert_eq!(left.names().count(), Traversal::NAMES.len() - 1);
        assert_eq!(left.with(one), Traversal::ALL);
        assert_eq!(left.without(one), left);
    }
}
