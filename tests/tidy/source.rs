//! Source files, with the same lines seen three ways: as they stand, code only, comments only.
//! Literals are blank in both of the latter, so an example in a string is never taken for code.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// One `.rs` file. `code` and `comments` have the lines of `text`; what isn't theirs is blank.
pub struct Source {
    /// Relative to the repository's root, with `/`.
    pub path: String,
    pub text: String,
    pub code: String,
    pub comments: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let (code, comments) = split(text);
        Self { path: path.to_owned(), text: text.to_owned(), code, comments }
    }

    /// `path:line`, for a line counted from 0.
    pub fn path_and_line(&self, line: usize) -> String {
        format!("{}:{}", self.path, line + 1)
    }
}

fn root() -> PathBuf {
    PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo test sets it"))
}

/// A file of the repository, by its path from the root.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every `.rs` file of the repository, sorted. Build output and hidden folders are left out.
pub fn tree() -> Vec<Source> {
    files(".rs").iter().map(|path| Source::new(path, &read(path))).collect()
}

/// The path of every Markdown page, likewise.
pub fn pages() -> Vec<String> {
    files(".md")
}

fn files(ending: &str) -> Vec<String> {
    let mut paths = Vec::new();
    walk(&root(), "", ending, &mut paths);
    paths.sort();
    paths
}

fn walk(folder: &Path, prefix: &str, ending: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository can be read") {
        let entry = entry.expect("an entry of the repository can be read");
        let name = entry.file_name().into_string().expect("names are UTF-8");
        let kind = entry.file_type().expect("an entry has a type");
        if kind.is_dir() && name != "target" && !name.starts_with(['.', '~']) {
            walk(&entry.path(), &format!("{prefix}{name}/"), ending, found);
        } else if kind.is_file() && name.ends_with(ending) {
            found.push(format!("{prefix}{name}"));
        }
    }
}

/// Byte offsets where `word` stands alone, not as a part of a longer name.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !joins(code[..at].chars().next_back()) && !joins(code[at + word.len()..].chars().next())
    })
}

/// Splits a file into code and comments of the same lines.
fn split(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut comments) = (String::new(), String::new());
    let mut at = 0;
    while at < chars.len() {
        let (end, kind) = token(&chars, at);
        for &c in &chars[at..end] {
            let blank = if c == '\n' { '\n' } else { ' ' };
            code.push(if kind == Kind::Code { c } else { blank });
            comments.push(if kind == Kind::Comment { c } else { blank });
        }
        at = end;
    }
    (code, comments)
}

#[derive(PartialEq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// The end and kind of what begins at `at`: a comment, a literal, a name, or one character of code.
fn token(chars: &[char], at: usize) -> (usize, Kind) {
    let next = |n: usize| chars.get(at + n).copied().unwrap_or('\0');
    let find = |from: usize, wanted: &dyn Fn(usize) -> bool| {
        (from..chars.len()).find(|&i| wanted(i)).unwrap_or(chars.len())
    };
    match (chars[at], next(1)) {
        ('/', '/') => (find(at, &|i| chars[i] == '\n'), Kind::Comment),
        ('/', '*') => (block_comment_end(chars, at), Kind::Comment),
        ('"', _) => (string_end(chars, at), Kind::Literal),
        ('\'', '\\') => (find(at + 3, &|i| chars[i] == '\'') + 1, Kind::Literal),
        ('\'', _) if next(2) == '\'' => (at + 3, Kind::Literal),
        (c, _) if c.is_alphanumeric() || c == '_' => {
            let end = find(at, &|i| !(chars[i].is_alphanumeric() || chars[i] == '_'));
            let raw = chars[at..end].iter().collect::<String>();
            let quote = find(end, &|i| chars[i] != '#');
            if ["r", "br", "cr"].contains(&raw.as_str()) && chars.get(quote) == Some(&'"') {
                let hashes = quote - end;
                let closes = |i: usize| {
                    chars[i] == '"' && (1..=hashes).all(|n| chars.get(i + n) == Some(&'#'))
                };
                return ((find(quote + 1, &closes) + 1 + hashes).min(chars.len()), Kind::Literal);
            }
            (end, Kind::Code)
        }
        _ => (at + 1, Kind::Code),
    }
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start + 2, 1);
    while at < chars.len() && depth > 0 {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
            ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    at
}

#[test]
fn code_and_comments_are_told_apart() {
    let text = "let a = \"// no \\\" comment\"; // unsafe\nlet b = 'x'; let c = '\\''; fn f<'a>(_: &'a str) {}\n/* a /* b */ c */ d r#\"e \" f\"# g\n";
    let source = Source::new("a.rs", text);
    let lines: Vec<&str> = source.code.lines().map(str::trim_end).collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["let", "a", "=", ";"]);
    assert_eq!(
        lines[1].split_whitespace().collect::<Vec<_>>().join(" "),
        "let b = ; let c = ; fn f<'a>(_: &'a str) {}"
    );
    assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["d", "g"]);
    assert!(source.comments.contains("// unsafe") && !source.comments.contains("no"));
    assert_eq!(source.code.lines().count(), text.lines().count());
    assert_eq!(words("a aa a_a a.a", "a").count(), 3);
}
