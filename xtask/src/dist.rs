//! What a C programmer installs: shared and static library, headers, pkg-config files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to; everything is below it in `include` and `lib`
    #[arg(long, default_value = "target/dist")]
    out: PathBuf,
    /// Where it will be installed, if that is another place
    #[arg(long)]
    prefix: Option<PathBuf>,
    /// Build without optimisation, as for tests
    #[arg(long)]
    debug: bool,
}

impl Arguments {
    /// The library as it is installed, in a directory of one's own.
    pub(crate) fn release(out: &Path) -> Self {
        Self { out: out.to_owned(), prefix: None, debug: false }
    }
}

/// Builds the library, puts together what belongs to it, and tells where that is.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    println!("{}", build(arguments)?.display());
    Ok(())
}

/// The same without a word.
pub(crate) fn build(arguments: &Arguments) -> Result<PathBuf> {
    let out = workspace::root().join(&arguments.out);
    let lib = out.join("lib");
    fs::create_dir_all(lib.join("pkgconfig"))?;
    copy_headers(&source("include"), &out.join("include"))?;
    let archive = archive(arguments.debug)?;
    replace(&lib.join("libnetioapi.a"), |to| Ok(fs::copy(&archive, to).map(|_| ())?))?;
    replace(&lib.join(LIBRARY), |to| link(&archive, to, arguments.debug))?;
    let names = [SONAME, "libnetioapi.so"].into_iter().chain(ALIASES);
    for name in names {
        replace(&lib.join(name), |to| Ok(symlink(LIBRARY, to)?))?;
    }
    let prefix = arguments.prefix.as_ref().unwrap_or(&out);
    for (name, description, flags) in PACKAGES {
        let template = fs::read_to_string(source("netioapi.pc.in"))?;
        let text = template
            .replace("@prefix@", &prefix.to_string_lossy())
            .replace("@name@", name)
            .replace("@description@", description)
            .replace("@version@", env!("CARGO_PKG_VERSION"))
            .replace("@flags@", flags);
        replace(&lib.join(format!("pkgconfig/{name}.pc")), |to| Ok(fs::write(to, &text)?))?;
    }
    Ok(out)
}

/// Builds the static library and tells where it is.
fn archive(debug: bool) -> Result<PathBuf> {
    let mut build = workspace::cargo();
    build.args(["build", "--locked", "--package", "netioapi", "--lib"]);
    build.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
    if !debug {
        build.arg("--release");
    }
    let output = build.output().context("cannot run cargo build")?;
    if !output.status.success() {
        bail!("`{}` failed ({})", workspace::shown(&build), output.status);
    }
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut files = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .flat_map(|message| message.filenames);
    files.find(|path| path.ends_with("libnetioapi.a")).context("cargo built no static library")
}

/// Links the shared library. Not rustc's `cdylib`: rustc has a version script of its own, by which
/// the symbols would stay without a version.
fn link(archive: &Path, to: &Path, debug: bool) -> Result<()> {
    let script = source("libnetioapi.map");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-o"]).arg(to);
    cc.arg(format!("-Wl,-soname,{SONAME}"));
    cc.arg(format!("-Wl,--version-script={}", script.display()));
    // NODELETE: callbacks run on threads of the library, which must not vanish under them.
    cc.args(["-Wl,-z,nodelete", "-Wl,-z,defs", "-Wl,-z,relro", "-Wl,-z,now", "-Wl,--gc-sections"]);
    cc.arg("-Wl,--whole-archive").arg(archive).arg("-Wl,--no-whole-archive");
    if !debug {
        cc.arg("-Wl,--strip-debug");
    }
    cc.args(["-lgcc_s", "-lpthread", "-ldl", "-lm", "-lc"]);
    workspace::run(&mut cc)
}

fn copy_headers(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_headers(&entry.path(), &target)?;
        } else {
            replace(&target, |to| Ok(fs::copy(entry.path(), to).map(|_| ())?))?;
        }
    }
    Ok(())
}

/// Makes a file and puts it in place in one step, so that nobody meets half of it.
fn replace(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = path.with_file_name(name);
    // Left behind by one that had the same number.
    let _ = fs::remove_file(&new);
    make(&new).with_context(|| format!("making {}", path.display()))?;
    Ok(fs::rename(&new, path)?)
}

fn source(name: &str) -> PathBuf {
    workspace::root().join("crates/netioapi").join(name)
}

/// What we read of cargo's messages.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

const LIBRARY: &str = concat!("libnetioapi.so.", env!("CARGO_PKG_VERSION"));
/// Changes when a program that is linked with it would no longer run.
const SONAME: &str = "libnetioapi.so.0";
/// What `DllImport("iphlpapi.dll")` of .NET and Mono looks for on Linux.
const ALIASES: [&str; 2] = ["iphlpapi.dll.so", "libiphlpapi.dll.so"];
/// The two forms of the header: name, description, further compiler flags.
const PACKAGES: [(&str, &str, &str); 2] = [
    ("netioapi", "The Teredo port, its changes, and stable addresses", ""),
    ("netio", "The same, with the return codes of drivers", " -DNETIOAPI_KERNEL_MODE"),
];
