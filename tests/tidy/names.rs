//! One word for one thing: what ARCHITECTURE.md's list of words says, as far as a test can hold it.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, words};

/// Crates in which one name is one type.
const CRATES: &[&str] = &["src/", "ingest/src/", "objects/src/"];

/// Parts of identifiers, between underscores or capitals, that say less than what is done.
const PARTS: &[(&str, &str)] = &[
    ("settle", "say what is written, released or counted"),
    ("hungry", "say who waits for what"),
    ("sated", "say who waits for what"),
    ("thief", "say which thread empties the bin"),
    ("whoever", "name the thread or the caller"),
    ("told", "say what is reported to whom"),
    ("party", "say which thread"),
    ("who", "say which thread"),
    ("staged", "what goes into a slot is pushed; a stage is a consumer"),
    ("staging", "what goes into a slot is pushed; a stage is a consumer"),
];

/// Whole names of functions that say less than what is done.
const FUNCTIONS: &[&str] = &["take", "finish", "keep", "bring", "rest", "tell", "home"];

/// Words and phrases that comments and pages do without.
const PHRASES: &[(&str, &str)] = &[
    ("whoever", "name the thread or the caller"),
    ("so many", "say how many of what"),
    ("the seed", "docs/ORIGINS.md alone tells where an idea came from"),
    ("ancestor", "docs/ORIGINS.md alone tells where an idea came from"),
    ("ancestors", "docs/ORIGINS.md alone tells where an idea came from"),
];

/// Type names that stand for two or more types of the three crates.
pub fn doubled(files: &[Source]) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for file in files.iter().filter(|file| is_ours(file)) {
        // A file may define a type twice, for two configurations of the compiler.
        for name in production_code(file).lines().filter_map(type_name).collect::<BTreeSet<_>>() {
            places.entry(name).or_default().push(&file.path);
        }
    }
    let doubled = places.iter().filter(|(_, places)| places.len() > 1);
    doubled
        .map(|(name, places)| format!("{name} is a type of {}", places.join(" and of ")))
        .collect()
}

fn is_ours(file: &Source) -> bool {
    let is_test = ["/tests/", "/tests.rs", "_tests.rs", "/model.rs", "/model/"]
        .iter()
        .any(|part| file.path.contains(part));
    !is_test && CRATES.iter().any(|prefix| file.path.starts_with(prefix))
}

fn production_code(file: &Source) -> &str {
    &file.code[..file.code.find("\nmod tests {").unwrap_or(file.code.len())]
}

/// The name that a line defines as a type.
fn type_name(line: &str) -> Option<&str> {
    let item = line.trim_start();
    let item = match item.strip_prefix("pub") {
        Some(scope) if scope.starts_with('(') => scope.split_once(") ")?.1,
        Some(item) => item.trim_start(),
        None => item,
    };
    let item = item.strip_prefix("unsafe ").unwrap_or(item);
    let (kind, name) = item.split_once(' ')?;
    // An associated type is indented, and is the trait's.
    let is_alias = kind == "type" && !line.starts_with(' ');
    (["struct", "enum", "trait", "union"].contains(&kind) || is_alias).then(|| name_of(name))
}

fn name_of(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

/// Identifiers in the code of the three crates that hold a banned part, and functions with a banned
/// name.
pub fn identifiers(file: &Source) -> Vec<String> {
    if !is_ours(file) {
        return Vec::new();
    }
    let code = production_code(file);
    let mut complaints = Vec::new();
    for (at, line) in code.lines().enumerate() {
        for name in line.split(|c: char| !(c.is_alphanumeric() || c == '_')) {
            for (_, instead) in PARTS.iter().filter(|(part, _)| parts(name).any(|own| own == *part))
            {
                complaints.push(format!("{}: `{name}`: {instead}", file.path_and_line(at)));
            }
        }
        let defines = |name: &&&str| {
            words(line, "fn").any(|fun| name_of(line[fun + 2..].trim_start()) == **name)
        };
        if let Some(name) = FUNCTIONS.iter().find(defines) {
            complaints.push(format!(
                "{}: `fn {name}` doesn't say what it does to what",
                file.path_and_line(at)
            ));
        }
    }
    complaints
}

/// `count_off` is `count` and `off`; `PoolStats` is `pool` and `stats`.
fn parts(name: &str) -> impl Iterator<Item = String> {
    let mut spaced = String::new();
    for c in name.chars() {
        if c.is_uppercase() || c == '_' {
            spaced.push(' ');
        }
        if c != '_' {
            spaced.extend(c.to_lowercase());
        }
    }
    spaced.split_whitespace().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// Phrases in the comments of a file.
pub fn phrases(file: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (at, line) in file.comments.lines().enumerate() {
        complaints.extend(phrases_in(&file.path_and_line(at), line));
    }
    complaints
}

/// Phrases on a page of text.
pub fn phrases_of_page(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().enumerate();
    lines.flat_map(|(at, line)| phrases_in(&format!("{path}:{}", at + 1), line)).collect()
}

fn phrases_in(place: &str, line: &str) -> Vec<String> {
    let lower = line.to_lowercase();
    let found = PHRASES.iter().filter(|(phrase, _)| words(&lower, phrase).next().is_some());
    found.map(|(phrase, instead)| format!("{place}: \"{phrase}\": {instead}")).collect()
}

#[test]
fn doubled_names_are_refused() {
    let of = |text: &str, path: &str| {
        doubled(&[
            Source::new("src/a.rs", "pub(crate) struct Plan<T>(T);\n"),
            Source::new(path, text),
        ])
        .len()
    };
    for text in [
        "pub enum Plan {}",
        "unsafe trait Plan {}",
        "pub(in crate::a) struct Plan;",
        "type Plan = u8;",
    ] {
        assert_eq!(of(text, "ingest/src/b.rs"), 1, "{text}");
    }
    assert_eq!(of("    type Plan = u8;", "src/b.rs"), 0, "an associated type is its trait's");
    assert_eq!(of("pub struct Plans;", "src/b.rs"), 0);
    assert_eq!(of("mod a;\nmod tests {\n    struct Plan;\n}", "src/b.rs"), 0);
    assert_eq!(of("struct Plan;", "compare/src/b.rs"), 0);
    assert_eq!(of("struct Plan;", "src/b/tests.rs"), 0);
}

#[test]
fn banned_words_are_refused() {
    let names = |text: &str| identifiers(&Source::new("src/a.rs", text)).len();
    assert_eq!(names("fn settle_all() {}"), 1);
    assert_eq!(names("struct IsHungry;"), 1);
    assert_eq!(names("fn take(&mut self) {}"), 1);
    assert_eq!(names("let a = b.take();\nfn take_slice() {}\nfn a() { /* settle */ }"), 0);
    let comments = |text: &str| phrases(&Source::new("src/a.rs", text)).len();
    assert_eq!(comments("// Whoever drops it."), 1);
    assert_eq!(comments("let whoever = 1;"), 0);
    assert_eq!(
        phrases_of_page("a.md", "as the seed did, so many"),
        phrases_in("a.md:1", "the seed, so many")
    );
}
