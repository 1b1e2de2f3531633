//! Building C programs against the library as `cargo xtask dist` puts it together.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Where the headers, libraries and pkg-config files are.
pub(crate) fn dist() -> &'static Path {
    static DIST: OnceLock<PathBuf> = OnceLock::new();
    DIST.get_or_init(|| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dist");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut make = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        make.current_dir(root).args(["run", "--quiet", "--locked", "--package", "xtask", "--"]);
        make.args(["dist", "--debug", "--out"]).arg(&out).stdout(Stdio::null());
        assert!(make.status().unwrap().success(), "cargo xtask dist");
        out
    })
}

/// Where the C sources are.
pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/abi/c")
}

/// What `pkg-config` says about a package of ours.
pub(crate) fn pkg_config(package: &str, options: &[&str]) -> Vec<String> {
    let mut ask = Command::new("pkg-config");
    ask.env("PKG_CONFIG_PATH", dist().join("lib/pkgconfig")).args(options).arg(package);
    let output = ask.output().expect("pkg-config");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

/// Compiles a C (or C++) program of the tests and returns where it is.
pub(crate) fn program(source: &Path, package: &str, sanitize: bool) -> PathBuf {
    let name = source.file_stem().unwrap().to_str().unwrap();
    let executable = dist().join(format!("{name}-{package}-{sanitize}-{}", std::process::id()));
    let is_cpp = source.extension().is_some_and(|it| it == "cc");
    let mut cc = Command::new(if is_cpp { "c++" } else { "cc" });
    cc.arg(if is_cpp { "-std=c++17" } else { "-std=gnu11" }).args(WARNINGS).args(["-g", "-O1"]);
    if sanitize && has_sanitizers() {
        cc.args(SANITIZERS);
    }
    cc.arg(source).arg("-o").arg(&executable);
    cc.args(pkg_config(package, &["--cflags", "--libs"])).arg("-lpthread");
    cc.arg(format!("-Wl,-rpath,{}", dist().join("lib").display()));
    let output = cc.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    executable
}

/// Compiles text, and says what the compiler says if it does not like it.
pub(crate) fn compiles(compiler: &str, options: &[&str], text: &str) -> Result<(), String> {
    let mut cc = Command::new(compiler);
    cc.args(options).args(["-fsyntax-only", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = cc.spawn().map_err(|error| error.to_string())?;
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Whether the compiler can link with AddressSanitizer and UndefinedBehaviorSanitizer.
pub(crate) fn has_sanitizers() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let mut cc = Command::new("cc");
        cc.args(SANITIZERS).args(["-x", "c", "-o", "/dev/null", "-"]).stdin(Stdio::piped());
        let mut child = cc.stderr(Stdio::null()).spawn().unwrap();
        let program = b"int main(void) { return 0; }\n";
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), program).unwrap();
        let has = child.wait().unwrap().success();
        if !has {
            eprintln!("the C compiler has no sanitizers; the tests run without them");
        }
        has
    })
}

pub(crate) const WARNINGS: [&str; 4] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"];
const SANITIZERS: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
