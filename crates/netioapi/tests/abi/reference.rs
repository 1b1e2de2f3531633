//! The reference: that it is complete, and that its examples are true.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use teredo_control::State;
use teredo_control::testing::TestDir;

use crate::build;
use crate::driver::daemon;
use crate::static_checks::exports;

fn book() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src")
}

//= API-79: every symbol has a page with its signature, its codes, and rules of threads and memory
#[test]
fn every_symbol_is_in_the_reference() {
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src");
    let summary = fs::read_to_string(book.join("SUMMARY.md")).unwrap();
    for name in exports() {
        let file = format!("{}.md", name.to_lowercase());
        assert!(summary.contains(&format!("[{name}](api/{file})")), "{name} is not in SUMMARY.md");
        let page = fs::read_to_string(book.join("api").join(&file))
            .unwrap_or_else(|error| panic!("docs/src/api/{file}: {error}"));
        let parts = [
            "# ",
            "## Syntax",
            "## Parameters",
            "## Return value",
            "## Remarks",
            "## Example",
            "## Requirements",
            "## See also",
            "Threads",
            "Memory",
        ];
        for part in parts {
            assert!(page.contains(part), "{file} lacks {part}");
        }
        assert!(page.contains(&format!("{name}(")), "{file} lacks the signature");
    }
}

//= API-79: the examples in C compile without warnings, in C++ too, and do what they say
#[test]
fn the_examples_in_c_are_true() {
    let mut examples = Vec::new();
    for name in exports() {
        let page =
            fs::read_to_string(book().join(format!("api/{}.md", name.to_lowercase()))).unwrap();
        let (_, example) = page.split_once("## Example\n\n```c\n").unwrap();
        let (example, _) = example.split_once("\n```\n").unwrap();
        // Pages of functions that belong together share one.
        if !examples.iter().any(|(_, other)| other == example) {
            assert!(example.contains(&format!("{name}(")), "{name}");
            examples.push((name, example.to_owned()));
        }
    }
    let directory = TestDir::new().unwrap();
    for is_there_a_daemon in [false, true] {
        let _daemon =
            is_there_a_daemon.then(|| daemon(directory.runtime(), State::Qualified, 5000));
        for (name, example) in &examples {
            let source = build::dist().join(format!("{name}-{}.c", std::process::id()));
            fs::write(&source, format!("{example}\n")).unwrap();
            let program = build::program(&source, "netioapi", true);
            let mut command = Command::new(&program);
            command.env("TEREDO_RUNTIME_DIR", directory.runtime().path());
            let output = command.output().unwrap();
            assert!(output.status.success(), "{name}: {output:?}");
            if name == "GetTeredoPort" && is_there_a_daemon {
                assert_eq!(output.stdout, b"let UDP port 5000 through\n");
            }
            fs::remove_file(program).unwrap();
            fs::remove_file(source).unwrap();
        }
    }
}
