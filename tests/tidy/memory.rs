//! Who may name atomics, who may write `unsafe`, and how it is argued.

use std::collections::BTreeSet;

use super::source::{Source, words};

/// The library's atomics come from `src/sync.rs`, so that loom can replace them.
pub fn atomics(file: &Source) -> Vec<String> {
    if !file.path.starts_with("src/") || file.path == "src/sync.rs" {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for name in ["std::sync::atomic", "core::sync::atomic", "loom::"] {
        if file.code.contains(name) {
            complaints.push(format!("{}: {name} is named outside of src/sync.rs", file.path));
        }
    }
    for group in ["std::sync::{", "core::sync::{"] {
        for (at, _) in file.code.match_indices(group) {
            let names = file.code[at..].split(';').next().unwrap_or_default();
            if words(names, "atomic").next().is_some() {
                complaints
                    .push(format!("{}: {group} takes atomics outside of src/sync.rs", file.path));
            }
        }
    }
    complaints
}

/// No static of the library holds a lock: a child that is forked while somebody holds it would wait
/// for ever. (What loom models never forks.)
pub fn static_locks(file: &Source) -> Vec<String> {
    if !file.path.starts_with("src/") || file.path == "src/sync.rs" {
        return Vec::new();
    }
    let locks = ["Mutex", "RwLock", "OnceLock", "LazyLock", "Once", "Condvar"];
    let holds = |item: &str| locks.iter().any(|lock| words(item, lock).next().is_some());
    let is_static = |line: &str| line.split_whitespace().any(|word| word == "static");
    let statics = file.code.lines().filter(|line| is_static(line) && holds(line));
    statics.map(|line| format!("{}: a forked child may wait for ever:{line}", file.path)).collect()
}

/// `unsafe` only in the named files, and no name that isn't needed any more.
pub fn unsafe_files(files: &[Source], allowed: &[&str]) -> Vec<String> {
    let found: Vec<&str> = files
        .iter()
        .filter(|file| words(&file.code, "unsafe").next().is_some())
        .map(|file| file.path.as_str())
        .collect();
    let mut complaints = Vec::new();
    for path in found.iter().filter(|path| !allowed.contains(path)) {
        complaints.push(format!("{path}: holds unsafe but isn't in UNSAFE_FILES of tests/tidy.rs"));
    }
    for path in allowed.iter().filter(|path| !found.contains(path)) {
        complaints
            .push(format!("{path}: stands in UNSAFE_FILES of tests/tidy.rs but holds no unsafe"));
    }
    complaints
}

/// The numbers that docs/INVARIANTS.md defines (`I7.` at the beginning of a line, after `-` or
/// `**`), and what is wrong with them.
pub fn invariants(document: &str) -> (BTreeSet<u32>, Vec<String>) {
    let (mut numbers, mut complaints) = (BTreeSet::new(), Vec::new());
    for line in document.lines() {
        let line = line.strip_prefix("- ").unwrap_or(line);
        let line = line.strip_prefix("**").unwrap_or(line);
        let number = line
            .strip_prefix('I')
            .and_then(|rest| rest.split_once('.'))
            .and_then(|(n, _)| n.parse().ok());
        if let Some(number) = number.filter(|&number| !numbers.insert(number)) {
            complaints.push(format!("docs/INVARIANTS.md: I{number} stands twice"));
        }
    }
    (numbers, complaints)
}

/// Every `unsafe` has a comment above it (`// SAFETY: I7. why`, or a `# Safety` section on a
/// function), and every comment cites numbers that exist.
pub fn safety_comments(file: &Source, numbers: &BTreeSet<u32>) -> Vec<String> {
    let code: Vec<&str> = file.code.lines().collect();
    let comments: Vec<&str> = file.comments.lines().collect();
    let mut complaints = Vec::new();
    for (at, line) in comments.iter().enumerate().filter(|(_, line)| argues(line)) {
        let rest = comments[at + 1..].iter().take_while(|line| line.trim_start().starts_with("//"));
        let cited: Vec<u32> = rest.fold(cited(line), |mut all, line| {
            all.extend(cited(line));
            all
        });
        if cited.is_empty() {
            complaints.push(format!("{}: SAFETY cites no invariant", file.path_and_line(at)));
        }
        for number in cited.iter().filter(|number| !numbers.contains(number)) {
            complaints.push(format!(
                "{}: I{number} doesn't stand in docs/INVARIANTS.md",
                file.path_and_line(at)
            ));
        }
    }
    for at in (0..code.len()).filter(|&at| has_unsafe(code[at])) {
        let above = comment_above(&code, &comments, at);
        let declares =
            words(code[at], "fn").next().is_some() || words(code[at], "trait").next().is_some();
        if !(above.lines().any(argues) || declares && above.contains("# Safety")) {
            complaints.push(format!(
                "{}: unsafe without a SAFETY comment above it",
                file.path_and_line(at)
            ));
        }
    }
    complaints
}

fn argues(comment: &str) -> bool {
    comment.trim_start().starts_with("// SAFETY:")
}

/// A block, an impl, a function, a trait or an attribute; the type of a function pointer,
/// `unsafe fn(u8)`, does nothing.
fn has_unsafe(line: &str) -> bool {
    words(line, "unsafe").any(|at| !line[at + "unsafe".len()..].trim_start().starts_with("fn("))
}

/// The comment that ends above the statement around line `at`: attributes and the statement's own
/// earlier lines are passed over.
fn comment_above(code: &[&str], comments: &[&str], at: usize) -> String {
    let continues = |line: &str| !line.is_empty() && !line.ends_with([';', '{', '}', ',']);
    let mut above = at;
    while above > 0
        && (code[above - 1].trim_start().starts_with("#[") || continues(code[above - 1].trim()))
    {
        above -= 1;
    }
    let is_comment =
        |line: usize| code[line].trim().is_empty() && !comments[line].trim().is_empty();
    let first = (0..above).rev().take_while(|&line| is_comment(line)).last().unwrap_or(above);
    comments[first..at].join("\n")
}

/// The numbers of a comment's `I7`, `I12`.
fn cited(comment: &str) -> Vec<u32> {
    let names = comment.split(|c: char| !c.is_alphanumeric());
    names.filter_map(|name| name.strip_prefix('I').and_then(|number| number.parse().ok())).collect()
}

#[test]
fn wrong_atomics_are_refused() {
    for text in [
        "use std::sync::atomic::AtomicU8;",
        "use loom::sync::Arc;",
        "use std::sync::{\n    Arc,\n    atomic::AtomicU8,\n};",
    ] {
        assert_eq!(atomics(&Source::new("src/ring/pool.rs", text)).len(), 1, "{text}");
        assert!(atomics(&Source::new("src/sync.rs", text)).is_empty());
        assert!(atomics(&Source::new("ingest/src/io.rs", text)).is_empty());
    }
    assert!(
        atomics(&Source::new(
            "src/lib.rs",
            "use std::sync::{Arc, Mutex}; // std::sync::atomic\nuse crate::sync::AtomicU8;"
        ))
        .is_empty()
    );
}

#[test]
fn wrong_statics_are_refused() {
    for text in [
        "    static SPINS: OnceLock<bool> = OnceLock::new();",
        "pub(crate) static A: Mutex<u8> = Mutex::new(1);",
    ] {
        assert_eq!(static_locks(&Source::new("src/queue/shared.rs", text)).len(), 1, "{text}");
        assert!(static_locks(&Source::new("tests/forks/mod.rs", text)).is_empty());
    }
    for text in ["static SPINS: AtomicU64 = AtomicU64::new(0);", "fn f(a: &'static Mutex<u8>);"] {
        assert!(static_locks(&Source::new("src/queue/shared.rs", text)).is_empty(), "{text}");
    }
}

#[test]
fn wrong_unsafe_files_are_refused() {
    let files = [
        Source::new("src/a.rs", "unsafe {}"),
        Source::new("src/b.rs", "#![deny(unsafe_code)] // unsafe\nlet a = \"unsafe\";"),
    ];
    assert!(unsafe_files(&files, &["src/a.rs"]).is_empty());
    assert_eq!(unsafe_files(&files, &[]).len(), 1);
    assert_eq!(unsafe_files(&files, &["src/a.rs", "src/b.rs"]).len(), 1);
    assert_eq!(unsafe_files(&files, &["src/a.rs", "src/gone.rs"]).len(), 1);
}

#[test]
fn wrong_safety_comments_are_refused() {
    let (numbers, complaints) = invariants(
        "I1-I19: regions\nI1. One.\n- I2. Two.\n**I3.** Three.\n- **I4.** Four.\nIn short.\n",
    );
    assert_eq!(
        (numbers.iter().copied().collect::<Vec<_>>(), complaints.len()),
        (vec![1, 2, 3, 4], 0)
    );
    assert_eq!(invariants("I1. One.\n- I1. Again.\n").1.len(), 1);
    let wrong = |text: &str| safety_comments(&Source::new("src/a.rs", text), &numbers).len();
    for good in [
        "// SAFETY: I1. Why.\nunsafe { a() };",
        "// SAFETY: a long reason,\n// by I2 and I3.\n#[inline]\nlet b =\n    unsafe { a() };",
        "/// # Safety\n/// - I1.\npub unsafe fn a() {}",
        "type F = unsafe fn(u8);",
        "let a = \"// SAFETY: \"; // unsafe",
        "a(\n    b,\n    // SAFETY: I4. Why.\n    unsafe { c() },\n);",
    ] {
        assert_eq!(wrong(good), 0, "{good}");
    }
    for bad in [
        "unsafe { a() };",
        "// SAFETY: Why.\nunsafe { a() };",
        "// SAFETY: I7. Why.\nunsafe { a() };",
        "// SAFETY: I1. Why.\nb();\nunsafe { a() };",
        "// SAFETY: I1. Why.\n\nunsafe { a() };",
        "/// # Safety\nunsafe { a() };",
        "unsafe impl Send for A {}",
        "pub unsafe fn a() {}",
        "/// As in `// SAFETY: I1. Why.`\nunsafe { a() };",
    ] {
        assert_eq!(wrong(bad), 1, "{bad}");
    }
}
