//! x
use teredo_proto::client::Traversal;
use teredo_sim::matrix::{self, KINDS};

#[test]
fn quick() {
    let number = |key: &str| KINDS.iter().position(|kind| *kind == key).unwrap();
    for (a, b) in [("pr", "ps"), ("ps", "pr"), ("pr", "addr"), ("addr", "pr"), ("pr", "ups"), ("ups", "pr"), ("ar","addr")] {
        let mut times = Vec::new();
        let n = 60;
        for seed in 0..n {
            let on = Traversal { helper: false, birthday: true, ..Traversal::default() };
            let got = matrix::connect(seed, [number(a), number(b)], &matrix::Options::both(on)).unwrap();
            times.extend(got.took.map(|took| took.as_millis()));
        }
        times.sort();
        println!("{a} {b}: {}/{n} {:?} {:?}", times.len(), times.get(times.len() / 2), times.last());
    }
}
