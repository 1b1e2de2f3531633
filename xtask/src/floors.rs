//! The floors of the house: arrows point down, the core cannot do I/O, `unsafe` has one place.

use anyhow::{Context, Result, bail};

use crate::workspace::{self, Metadata, Package};

/// Each room and the rooms it may use, whether built yet or not; nothing else may be added.
const ROOMS: [(&str, &[&str]); 12] = [
    ("teredo-wire", &[]),
    ("teredo-proto", &["teredo-wire"]),
    ("teredo-sys", &["teredo-wire"]),
    ("teredo-sim", &["teredo-proto", "teredo-wire"]),
    ("teredo-engine", &["teredo-proto", "teredo-sys", "teredo-wire"]),
    ("teredo-control", &["teredo-sys", "teredo-wire"]),
    ("teredo-netstack", &["teredo-engine", "teredo-proto", "teredo-sys", "teredo-wire"]),
    // No protocol in a program that links it.
    ("netioapi", &["teredo-control", "teredo-sys"]),
    (
        "teredo",
        &[
            "netioapi",
            "teredo-control",
            "teredo-engine",
            "teredo-netstack",
            "teredo-proto",
            "teredo-sim",
            "teredo-sys",
            "teredo-wire",
        ],
    ),
    // It looks into everything that reads what others wrote.
    (
        "teredo-fuzz",
        &["teredo", "teredo-control", "teredo-proto", "teredo-sim", "teredo-sys", "teredo-wire"],
    ),
    ("teredo-tests", &["netioapi", "teredo-control", "teredo-proto", "teredo-sys", "teredo-wire"]),
    ("xtask", &["teredo-proto", "teredo-sys", "teredo-tests", "teredo-wire"]),
];

/// The rooms of the core, and which of our own crates they may be built from (I1).
const CORE: [(&str, &[&str]); 3] = [
    ("teredo-wire", &[]),
    ("teredo-proto", &["teredo-wire"]),
    ("teredo-sim", &["teredo-proto", "teredo-wire"]),
];

/// What else the core above `teredo-wire` may be built from: tables, keyed hashes, and the HMACs
/// of secure qualification with all that they are made of. None of it does I/O; `cpufeatures` finds
/// out which instructions the processor has, on some processors through `libc`.
const PURE: [&str; 16] = [
    "block-buffer",
    "cfg-if",
    "cmov",
    "cpufeatures",
    "crypto-common",
    "ctutils",
    "digest",
    "hashbrown",
    "hmac",
    "hybrid-array",
    "libc",
    "md-5",
    "sha1",
    "sha2",
    "siphasher",
    "typenum",
];

/// The rooms that may say `unsafe` (I4): system calls, and the C boundary.
const UNSAFE_ROOMS: [&str; 2] = ["teredo-sys", "netioapi"];

/// Fails with every arrow that points up and every crate root that lacks its promise.
pub(crate) fn run() -> Result<()> {
    let metadata = workspace::metadata()?;
    let mut faults = Vec::new();
    for package in metadata.members() {
        arrows(package, &mut faults);
        purity(&metadata, package, &mut faults);
        promises(package, &mut faults)?;
    }
    if !faults.is_empty() {
        bail!("the house plan is broken:\n  {}", faults.join("\n  "));
    }
    println!("floors: {} crates, all arrows point down", metadata.workspace_members.len());
    Ok(())
}

fn arrows(package: &Package, faults: &mut Vec<String>) {
    let Some((name, below)) = ROOMS.iter().find(|(name, _)| *name == package.name) else {
        faults.push(format!("{} has no floor in xtask/src/floors.rs", package.name));
        return;
    };
    // Tests may look up: a role's tests run it in the simulator.
    let normal = package.dependencies.iter().filter(|dependency| dependency.kind.is_none());
    for dependency in normal {
        let ours = ROOMS.iter().any(|(room, _)| *room == dependency.name);
        if ours && !below.contains(&dependency.name.as_str()) {
            faults.push(format!("{name} may not use {}", dependency.name));
        }
    }
}

fn purity(metadata: &Metadata, package: &Package, faults: &mut Vec<String>) {
    let Some(&(name, allowed)) = CORE.iter().find(|(name, _)| *name == package.name) else {
        return;
    };
    for used in metadata.built_from(&package.id) {
        let is_pure = name != "teredo-wire" && PURE.contains(&used);
        if !is_pure && !allowed.contains(&used) {
            faults.push(format!("{name} is core and may not be built from {used}"));
        }
    }
}

fn promises(package: &Package, faults: &mut Vec<String>) -> Result<()> {
    for target in &package.targets {
        let root = target.kind.iter().any(|kind| matches!(kind.as_str(), "lib" | "bin"));
        if !root {
            continue;
        }
        let path = &target.src_path;
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let shown = path.strip_prefix(workspace::root()).unwrap_or(path).display();
        if !text.starts_with("//! ") {
            faults.push(format!("{shown} does not begin with a doc comment"));
        }
        let forbids = text.lines().any(|line| line == "#![forbid(unsafe_code)]");
        if !forbids && !UNSAFE_ROOMS.contains(&package.name.as_str()) {
            faults.push(format!("{shown} lacks #![forbid(unsafe_code)]"));
        }
        let bare = text.lines().any(|line| line.contains("no_std") && line.starts_with("#!["));
        if package.name == "teredo-wire" && !bare {
            faults.push(format!("{shown} is not no_std"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, uses: &str, kind: Option<&str>) -> Package {
        let dependency = Dependency { name: uses.to_owned(), kind: kind.map(str::to_owned) };
        Package {
            id: name.to_owned(),
            name: name.to_owned(),
            version: String::new(),
            license: None,
            dependencies: vec![dependency],
            targets: Vec::new(),
        }
    }

    fn faults(name: &str, uses: &str, kind: Option<&str>) -> usize {
        let mut faults = Vec::new();
        arrows(&package(name, uses, kind), &mut faults);
        faults.len()
    }

    #[test]
    fn arrows_that_point_up_are_faults() {
        assert_eq!(faults("teredo-engine", "teredo-proto", None), 0);
        assert_eq!(faults("teredo-proto", "teredo-sim", Some("dev")), 0);
        assert_eq!(faults("teredo-proto", "teredo-sim", None), 1);
        assert_eq!(faults("teredo-proto", "teredo-sys", None), 1);
        assert_eq!(faults("teredo-cellar", "teredo-wire", None), 1);
    }

    #[test]
    fn the_core_is_built_from_nothing_else() {
        let metadata = workspace::metadata().unwrap();
        let proto = metadata.members().find(|it| it.name == "teredo-proto").unwrap();
        let used = metadata.built_from(&proto.id);
        assert!(used.contains(&"siphasher"), "the graph is not read: {used:?}");
        let mut faults = Vec::new();
        purity(&metadata, proto, &mut faults);
        assert!(faults.is_empty(), "{faults:?}");
    }
}
