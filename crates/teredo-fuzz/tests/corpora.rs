//! Every committed input is run, and so is every seed.

use std::fs;
use std::path::PathBuf;

use teredo_fuzz::TARGETS;

fn corpora() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus"))
}

#[test]
fn no_committed_input_breaks_its_target() {
    for target in &TARGETS {
        let directory = corpora().join(target.name);
        let mut count = 0;
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            (target.run)(&fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count > 0, "{} is empty", directory.display());
    }
}

#[test]
fn no_seed_breaks_its_target() {
    for target in &TARGETS {
        for seed in (target.seeds)() {
            (target.run)(&seed);
        }
    }
}
