//! Pages that promise something and name the tests that show it: every test they name exists.
//!
//! A test is named by its file and its function, as `src/ring/pool.rs: a_name`.

use super::source::Source;

/// The rows of a page's tables whose last column is `shown by`: each names a test, and each named
/// test is in its file.
pub fn of_page(path: &str, text: &str, files: &[Source]) -> Vec<String> {
    let (mut complaints, mut is_shown) = (Vec::new(), false);
    for (at, line) in text.lines().enumerate() {
        let Some(row) = line.strip_prefix('|') else {
            is_shown = false;
            continue;
        };
        let last = row.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        if !is_shown || last.starts_with("---") {
            is_shown |= last.trim() == "shown by";
            continue;
        }
        let mut wrong = |what: String| complaints.push(format!("{path}:{}: {what}", at + 1));
        let named: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            wrong("this row names no test".to_owned());
        }
        for name in named {
            if !name.split_once(": ").is_some_and(|(file, test)| has_test(files, file, test)) {
                wrong(format!("there is no test `{name}`"));
            }
        }
    }
    complaints
}

/// Whether the file has a function of this name right behind an attribute that makes it a test.
fn has_test(files: &[Source], path: &str, test: &str) -> bool {
    let Some(file) = files.iter().find(|file| file.path == path) else { return false };
    let head = format!("fn {test}()");
    let lines: Vec<&str> = file.code.lines().map(str::trim_start).collect();
    let is_it = |line: &&str| line.strip_prefix("async ").unwrap_or(line).starts_with(&head);
    lines.iter().position(is_it).is_some_and(|at| {
        let attributes = lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
        attributes.into_iter().any(|line| line.starts_with("#[test]") || line.contains("::test"))
    })
}

#[test]
fn a_test_that_is_not_there_is_found() {
    let files = [Source::new("a/b.rs", "#[test]\n#[cfg(unix)]\nfn right() {}\n\nfn wrong() {}\n")];
    let page = |names: &str| format!("| failure | shown by |\n|---|---|\n| power | {names} |\n");
    let of = |names: &str| of_page("p.md", &page(names), &files);
    assert!(of("`a/b.rs: right`").is_empty());
    for wrong in ["`a/b.rs: wrong`", "`a/b.rs: right2`", "`a/c.rs: right`", "`right`", "nothing"] {
        assert_eq!(of(wrong).len(), 1, "{wrong}");
    }
    assert_eq!(of("`a/b.rs: right`, `a/b.rs: gone`"), ["p.md:3: there is no test `a/b.rs: gone`"]);
    let other = "| failure | seen by |\n|---|---|\n| power | nothing |\n";
    assert!(of_page("p.md", other, &files).is_empty());
}
