//! Assertions for each hundred lines of code; documentation, blank lines and tests aren't code.

use super::shape::{item_length, parents};
use super::source::{Source, words};

const PERCENT_MIN: usize = 4;

/// Counts over all files below the folders together: a pure module may have none if its neighbours have more.
pub fn assertions(files: &[Source], folders: &[&str]) -> Vec<String> {
    let (mut lines, mut asserted) = (0, 0);
    for file in
        files.iter().filter(|file| folders.iter().any(|folder| file.path.starts_with(folder)) && !is_test(file, files))
    {
        let code = without_tests(file);
        lines += code.iter().filter(|line| !line.trim().is_empty()).count();
        asserted += code.iter().map(|line| count(line)).sum::<usize>();
    }
    if asserted * 100 < lines * PERCENT_MIN {
        return vec![format!(
            "{asserted} assertions in {lines} lines of code below {}; {PERCENT_MIN} in 100 are asked for",
            folders.join(", ")
        )];
    }
    Vec::new()
}

/// Assertions and calls of a structure's own `check()`.
fn count(line: &str) -> usize {
    let macros = ["assert", "assert_eq", "assert_ne", "debug_assert", "debug_assert_eq", "debug_assert_ne"];
    let called = |name: &str| words(line, name).filter(|at| line[at + name.len()..].starts_with('!')).count();
    let checks =
        words(line, "check").filter(|&at| line[at + 5..].starts_with('(') && !line[..at].trim_end().ends_with("fn"));
    macros.iter().map(|name| called(name)).sum::<usize>() + checks.count()
}

/// A file is a test when its own module, or one around it, is declared under `cfg(test)`.
fn is_test(file: &Source, files: &[Source]) -> bool {
    let (name, parents) = parents(&file.path);
    let Some(parent) = files.iter().find(|other| parents.contains(&other.path) && other.path != file.path) else {
        return false;
    };
    let lines: Vec<&str> = parent.code.lines().collect();
    let declaration =
        lines.iter().position(|line| line.contains("mod ") && line.trim_end().ends_with(&format!("mod {name};")));
    let attributes = |at: usize| lines[..at].iter().rev().take_while(|line| line.trim_start().starts_with("#["));
    declaration.is_some_and(|at| attributes(at).any(|line| under_test(line))) || is_test(parent, files)
}

fn under_test(attribute: &str) -> bool {
    attribute.contains("cfg(") && words(attribute, "test").next().is_some() && !attribute.contains("not(test)")
}

/// The lines of code that aren't part of an item under `cfg(test)`.
fn without_tests(file: &Source) -> Vec<&str> {
    let lines: Vec<&str> = file.code.lines().map(str::trim_end).collect();
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < lines.len() {
        if lines[at].trim_start().starts_with("#[") && under_test(lines[at]) {
            at += lines[at..].iter().take_while(|line| line.trim_start().starts_with("#[") || line.is_empty()).count();
            at += item_length(&lines[at..]);
        } else {
            kept.push(lines[at]);
            at += 1;
        }
    }
    kept
}

#[test]
fn thin_code_is_refused() {
    let of = |asserted: usize, bare: usize, more: &str| {
        let text = format!("{}{}{more}", "assert!(a);\n".repeat(asserted), "a();\n\n/// b\n".repeat(bare));
        let tests = Source::new("src/ring/tests.rs", &"a();\n".repeat(500));
        let deeper = Source::new("src/ring/tests/model.rs", &"a();\n".repeat(500));
        let parent = Source::new("src/ring/mod.rs", "#[cfg(test)]\nmod tests;\nmod pool;\n");
        let files = [
            Source::new("src/ring/pool.rs", &text),
            parent,
            tests,
            deeper,
            Source::new("src/lib.rs", &"a();\n".repeat(500)),
        ];
        assertions(&files, &["src/ring/"]).len()
    };
    // The line `mod pool;` of the parent counts as code.
    assert_eq!((of(4, 95, ""), of(4, 96, ""), of(3, 90, "")), (0, 1, 1));
    assert_eq!(of(3, 95, "self.check();\n"), 0);
    assert_eq!(of(3, 95, "fn check() {}\n"), 1, "to define a check isn't to call it");
    assert_eq!(of(3, 95, "// assert!(a)\n"), 1, "a comment asserts nothing");
    assert_eq!(of(3, 95, "#[cfg(test)]\nmod tests {\n    assert!(a);\n}\n"), 1, "nor does a test");
    assert_eq!(of(4, 95, "#[cfg(test)]\nfn a() {\n    b();\n    c();\n}\n"), 0, "and its lines don't count");
    assert!(assertions(&[], &["src/ring/"]).is_empty());
}
