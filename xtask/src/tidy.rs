//! Keeps files and functions small, and leftovers out of the tree.

use anyhow::{Result, bail};

use crate::source::{self, File};

/// Every large project has a file of thousands of lines that its authors regret.
const FILE_LINES_MAX: usize = 800;
/// What fits a screen can be read as one thought.
const FUNCTION_LINES_MAX: usize = 70;
/// As rustfmt.toml; rustfmt leaves long comments and strings alone, this does not.
const COLUMNS_MAX: usize = 100;

/// Macros that say that something is missing.
const LEFTOVERS: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];

/// Starts of paths that exist on one machine only. In pieces, or this file would find itself.
const LOCAL_PATHS: [&str; 3] =
    [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/")];

/// Fails with everything that is untidy.
pub(crate) fn run() -> Result<()> {
    let mut faults = Vec::new();
    let rust = source::files(&["rs"])?;
    for file in &rust {
        check_rust(file, &mut faults);
    }
    for file in source::files(&["rs", "md", "toml", "csv", "yml"])? {
        check_text(&file, &mut faults);
    }
    if !faults.is_empty() {
        bail!("untidy:\n  {}", faults.join("\n  "));
    }
    println!("tidy: {} Rust files", rust.len());
    Ok(())
}

fn check_text(file: &File, faults: &mut Vec<String>) {
    for (at, line) in file.text.lines().enumerate() {
        for path in LOCAL_PATHS.iter().filter(|path| line.contains(**path)) {
            faults.push(format!("{}:{}: names a local path ({path})", file.path, at + 1));
        }
    }
}

fn check_rust(file: &File, faults: &mut Vec<String>) {
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        faults.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", file.path));
    }
    for (at, line) in file.text.lines().enumerate() {
        if line.chars().count() > COLUMNS_MAX {
            faults.push(format!("{}:{}: more than {COLUMNS_MAX} columns", file.path, at + 1));
        }
    }
    let code = source::code_only(&file.text);
    for (at, line) in code.lines().enumerate() {
        for leftover in LEFTOVERS.iter().filter(|leftover| line.contains(**leftover)) {
            faults.push(format!("{}:{}: {leftover} left behind", file.path, at + 1));
        }
    }
    for function in functions(&code).into_iter().filter(|it| it.lines > FUNCTION_LINES_MAX) {
        let Function { name, line, lines } = function;
        let path = &file.path;
        faults
            .push(format!("{path}:{line}: {name} has {lines} lines, at most {FUNCTION_LINES_MAX}"));
    }
}

struct Function<'a> {
    name: &'a str,
    /// 1-based line of the word `fn`.
    line: usize,
    /// From the word `fn` to the closing brace.
    lines: usize,
}

/// The functions with a body in text that [`source::code_only`] has blanked.
fn functions(code: &str) -> Vec<Function<'_>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts_word = !code[..at].ends_with(|it: char| it.is_alphanumeric() || it == '_');
        let after = &code[at + 3..];
        let name_len =
            after.find(|it: char| !it.is_alphanumeric() && it != '_').unwrap_or(after.len());
        if !starts_word || name_len == 0 {
            continue;
        }
        if let Some(body) = body_end(after) {
            found.push(Function {
                name: &after[..name_len],
                line: code[..at].matches('\n').count() + 1,
                lines: after[..body].matches('\n').count() + 1,
            });
        }
    }
    found
}

/// Where the body of the function ends whose text after `fn ` is given; `None` without a body.
fn body_end(after: &str) -> Option<usize> {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (at, it) in after.char_indices() {
        match it {
            '(' | '[' => others += 1,
            ')' | ']' => others = others.saturating_sub(1),
            ';' if braces == 0 && others == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces = braces.saturating_sub(1);
                // A brace inside brackets belongs to a constant in the signature.
                if braces == 0 && others == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured() {
        let text = "trait T { fn a(&self) -> [u8; 2]; }\nfn b(x: [u8; { 3 }]) {\n  if x {}\n  \
                    let s = \"}\";\n}\nlet c = |f: fn (u8)| {};\nconst fn d() {}\n";
        let code = source::code_only(text);
        let found = functions(&code);
        let shown: Vec<_> = found.iter().map(|it| (it.name, it.line, it.lines)).collect();
        assert_eq!(shown, [("b", 2, 4), ("d", 7, 1)]);
    }

    #[test]
    fn long_functions_and_leftovers_are_found() {
        let body = "    let x = '}';\n".repeat(FUNCTION_LINES_MAX);
        let text = format!("fn long() {{\n{body}    todo!()\n}}\n");
        let mut faults = Vec::new();
        check_rust(&File { path: "x.rs".to_owned(), text }, &mut faults);
        assert_eq!(faults.len(), 2, "{faults:?}");
    }

    #[test]
    fn the_tree_is_tidy() -> Result<()> {
        run()
    }
}
