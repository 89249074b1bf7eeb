//! What never enters the repository: work left open, tests that don't run, files without a noun.

use super::source::Source;

/// Split, so that this file doesn't hold them itself.
const OPEN: &[&str] = &[
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("#[ig", "nore"),
];

/// Words of unfinished work, in code and comments, and files that say nothing by their name.
pub fn forbidden(file: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        for word in OPEN.iter().filter(|word| line.contains(**word)) {
            complaints.push(format!("{}: {word} is work left open", file.path_and_line(at)));
        }
    }
    let stem = file.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
    if ["util", "utils", "helpers", "misc"].contains(&stem) || file.path.contains("/utils/") {
        complaints.push(format!("{}: a file is a noun of the design", file.path));
    }
    complaints
}

#[test]
fn wrong_words_are_refused() {
    for word in OPEN {
        assert_eq!(
            forbidden(&Source::new("a.rs", &format!("fn a() {{}}\n// {word}\n"))).len(),
            1,
            "{word}"
        );
    }
    assert_eq!(forbidden(&Source::new("src/utils.rs", "")).len(), 1);
    assert_eq!(forbidden(&Source::new("src/utils/a.rs", "")).len(), 1);
    assert!(forbidden(&Source::new("src/pool.rs", "//! The pool.\n")).is_empty());
}
