//! Reading the source tree: which files there are, and Rust text without its strings and comments.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace;

/// A text file of the tree.
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// All files below the root with one of these extensions, sorted; build output left out.
pub(crate) fn files(extensions: &[&str]) -> Result<Vec<File>> {
    let mut paths = Vec::new();
    walk(workspace::root(), extensions, &mut paths)?;
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let path = path.strip_prefix(workspace::root()).unwrap_or(&path);
        Ok(File { path: path.to_string_lossy().into_owned(), text })
    };
    paths.into_iter().map(read).collect()
}

fn walk(directory: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name();
        if kind.is_dir() {
            if name != "target" && name != ".git" {
                walk(&path, extensions, found)?;
            }
        } else if kind.is_file()
            && path.extension().is_some_and(|it| extensions.iter().any(|wanted| it == *wanted))
        {
            found.push(path);
        }
    }
    Ok(())
}

/// Rust text with every comment, string and character literal blanked; the lines stay in place.
pub(crate) fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let blanked = blank_len(rest, code.chars().next_back());
        let taken = if blanked > 0 { blanked } else { first.len_utf8() };
        let (piece, after) = rest.split_at(taken);
        if blanked > 0 {
            code.extend(piece.chars().map(|it| if it == '\n' { '\n' } else { ' ' }));
        } else {
            code.push(first);
        }
        rest = after;
    }
    code
}

/// The length of the comment or literal at the start of `rest`; 0 if there is none.
fn blank_len(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_len(rest);
    }
    let in_word = before.is_some_and(|it| it.is_alphanumeric() || it == '_');
    if !in_word && (rest.starts_with('r') || rest.starts_with("br")) {
        return raw_string_len(rest);
    }
    if rest.starts_with('"') {
        return quoted_len(rest, '"');
    }
    if rest.starts_with('\'') {
        return character_len(rest);
    }
    0
}

fn block_comment_len(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    loop {
        let left = &rest[at..];
        if left.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if left.starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            let Some(it) = left.chars().next() else { return at };
            at += it.len_utf8();
        }
        if depth == 0 {
            return at;
        }
    }
}

fn raw_string_len(rest: &str) -> usize {
    let start = if rest.starts_with('b') { 2 } else { 1 };
    let hashes = rest[start..].chars().take_while(|it| *it == '#').count();
    let body = start + hashes + 1;
    if !rest[start + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len())
}

fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, it) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if it == '\\' {
            escaped = true;
        } else if it == quote {
            return at + quote.len_utf8();
        }
    }
    rest.len()
}

/// A character literal; 0 for a lifetime.
fn character_len(rest: &str) -> usize {
    let mut inner = rest.chars().skip(1);
    let (first, second) = (inner.next(), inner.next());
    if first == Some('\\') || second == Some('\'') { quoted_len(rest, '\'') } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_comments_are_blanked_and_lines_stay() {
        let text = "a(\"{\\\"\", '{', '\\'', r#\"}\"{\"#) // {\n/* { /* } */\n */ fn b<'a>() {}";
        let code = code_only(text);
        assert_eq!(code.lines().count(), text.lines().count());
        assert_eq!(code.matches('{').count(), 1, "{code}");
        assert!(code.contains("fn b<'a>() {}"));
    }

    #[test]
    fn a_word_that_ends_in_r_is_no_raw_string() {
        assert_eq!(code_only("for r in x {}"), "for r in x {}");
        assert_eq!(code_only("let bar = br\"{\";"), "let bar =      ;");
    }
}
