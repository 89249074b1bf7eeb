//! Lengths of files and functions, and files that no module names.

use super::source::{Source, words};

const FILE_LINES_MAX: usize = 600;
/// A file holds one noun whole: in a crate of small files the reader changes file every few lines.
const MEDIAN_LINES: std::ops::RangeInclusive<usize> = 150..=400;
const FUNCTION_LINES_MAX: usize = 69;

/// Crates whose files must all be reachable.
const CRATES: &[&str] = &["src/", "ingest/src/", "compare/src/"];

pub fn file_length(file: &Source) -> Vec<String> {
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        vec![format!("{}: {lines} lines, {FILE_LINES_MAX} is the limit", file.path)]
    } else {
        Vec::new()
    }
}

/// The median file below `prefix`, tests aside.
pub fn median_length(files: &[Source], prefix: &str) -> Vec<String> {
    let is_test = |file: &Source| file.path.contains("/tests/") || file.path.ends_with("tests.rs");
    let mut lines: Vec<usize> = files
        .iter()
        .filter(|file| file.path.starts_with(prefix) && !is_test(file))
        .map(|file| file.text.lines().count())
        .collect();
    lines.sort_unstable();
    match lines.get(lines.len() / 2) {
        Some(median) if !MEDIAN_LINES.contains(median) => {
            let (min, max) = (MEDIAN_LINES.start(), MEDIAN_LINES.end());
            vec![format!(
                "{prefix}: the median file has {median} lines, it should have {min} to {max}"
            )]
        }
        _ => Vec::new(),
    }
}

/// A function ends at the brace that stands below its first character: rustfmt put it there.
pub fn function_length(file: &Source) -> Vec<String> {
    let lines: Vec<&str> = file.code.lines().map(str::trim_end).collect();
    let mut complaints = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| begins_function(line)) {
        let length = item_length(&lines[at..]);
        if length > FUNCTION_LINES_MAX {
            complaints.push(format!(
                "{}: {length} lines, {FUNCTION_LINES_MAX} is the limit:{line}",
                file.path_and_line(at)
            ));
        }
    }
    complaints
}

fn begins_function(line: &str) -> bool {
    let mut before = line.split_whitespace().take_while(|word| *word != "fn");
    let qualifier = |word: &str| {
        word.starts_with("pub") || ["const", "async", "unsafe", "extern", "default"].contains(&word)
    };
    words(line, "fn").next().is_some()
        && before.all(|word| qualifier(word) || (word.ends_with(')') && !word.contains('(')))
}

/// Lines of the item that begins at `lines[0]`, in code formatted by rustfmt.
fn item_length(lines: &[&str]) -> usize {
    let first = lines.first().copied().unwrap_or_default();
    let indent = &first[..first.len() - first.trim_start().len()];
    if first.ends_with(['}', ';']) {
        return 1;
    }
    let ends = |line: &str| {
        line.strip_prefix(indent).is_some_and(|rest| {
            rest.starts_with('}')
                || (rest.starts_with(')') && rest.ends_with(';'))
                || (rest.starts_with("where") && rest.ends_with(';'))
        })
    };
    lines.iter().skip(1).position(|line| ends(line)).map_or(lines.len(), |last| last + 2)
}

/// Files of a crate that no `mod name;` of their parent names: the compiler never sees them.
pub fn dead_files(files: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files {
        let Some(prefix) = CRATES.iter().find(|prefix| file.path.starts_with(**prefix)) else {
            continue;
        };
        let inner = &file.path[prefix.len()..];
        if ["lib.rs", "main.rs"].contains(&inner) || inner.starts_with("bin/") {
            continue;
        }
        let (name, parents) = parents(&file.path);
        let names = |parent: &&Source| {
            words(&parent.code, "mod")
                .any(|at| parent.code[at + 3..].trim_start().starts_with(&format!("{name};")))
        };
        if !files
            .iter()
            .filter(|parent| parents.contains(&parent.path))
            .any(|parent| names(&parent))
        {
            complaints.push(format!("{}: no `mod {name};` in {}", file.path, parents.join(" or ")));
        }
    }
    complaints
}

/// The module name of a file and the files that may declare it.
fn parents(path: &str) -> (String, Vec<String>) {
    let module = path.strip_suffix("/mod.rs").or(path.strip_suffix(".rs")).unwrap_or(path);
    let (folder, name) = module.rsplit_once('/').unwrap_or(("", module));
    let inside = ["mod.rs", "lib.rs", "main.rs"].map(|parent| format!("{folder}/{parent}"));
    (name.to_owned(), inside.into_iter().chain([format!("{folder}.rs")]).collect())
}

#[test]
fn long_files_are_refused() {
    let of = |path: &str, lines: usize| Source::new(path, &"a\n".repeat(lines));
    assert!(file_length(&of("src/a.rs", FILE_LINES_MAX)).is_empty());
    assert_eq!(file_length(&of("src/a.rs", FILE_LINES_MAX + 1)).len(), 1);
    let files = |middle: usize| {
        [
            of("src/a.rs", 1),
            of("src/b.rs", middle),
            of("src/c.rs", 300),
            of("src/c/tests.rs", 300),
            of("other/d.rs", 1),
        ]
    };
    for (lines, complaints) in [(149, 1), (150, 0), (299, 0)] {
        assert_eq!(median_length(&files(lines), "src/").len(), complaints, "{lines} lines");
    }
    assert_eq!(median_length(&[of("src/a.rs", 401)], "src/").len(), 1);
    assert!(median_length(&[], "src/").is_empty());
}

#[test]
fn long_functions_are_refused() {
    let of = |head: &str, inner: usize, foot: &str| {
        let text =
            format!("impl A {{\n    {head}\n{}    {foot}\n}}\n", "        a();\n".repeat(inner));
        function_length(&Source::new("src/a.rs", &text)).len()
    };
    for head in [
        "fn a() {",
        "pub(crate) const unsafe fn a(&self) -> [u8; 4] {",
        "pub(in crate::ring) fn a() {",
        "unsafe extern \"C\" fn a() {",
    ] {
        assert_eq!(
            (of(head, FUNCTION_LINES_MAX - 2, "}"), of(head, FUNCTION_LINES_MAX - 1, "}")),
            (0, 1),
            "{head}"
        );
    }
    assert_eq!(of("fn a();", 100, ""), 0, "a declaration has no body");
    assert_eq!(of("fn a(\n    );", 100, ""), 0, "a declaration of several lines has none either");
    assert_eq!(of("let a = fn_of(|| {", 100, "})"), 0, "a call isn't a function");
}

#[test]
fn dead_files_are_refused() {
    let files = |lib: &str, ring: &str| {
        [
            ("src/lib.rs", lib),
            ("src/ring/mod.rs", ring),
            ("src/ring/pool.rs", ""),
            ("src/ring/pool/tests.rs", ""),
            ("tests/any.rs", ""),
        ]
        .map(|(path, text)| Source::new(path, text))
    };
    let mut whole = files("mod ring;", "pub mod pool;");
    whole[2] = Source::new("src/ring/pool.rs", "#[cfg(test)]\nmod tests;");
    assert!(dead_files(&whole).is_empty());
    assert_eq!(
        dead_files(&files("mod ring;", "pub mod pool;")),
        [
            "src/ring/pool/tests.rs: no `mod tests;` in src/ring/pool/mod.rs or src/ring/pool/lib.rs or src/ring/pool/main.rs or src/ring/pool.rs"
        ]
    );
    assert_eq!(dead_files(&files("// mod ring;", "mod pools;")).len(), 3);
}
