//! No circle of files: where each of two files needs the other, directly or through further ones,
//! neither can be read alone.
//!
//! A file needs the files that define the names in its `use` lines and in its paths that begin with
//! `crate`, `super` or `self`. Re-exports are followed to the file that defines the name. A
//! `mod.rs` that re-exports its children doesn't need them for that. Tests may use what they like.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, words};

/// Crates whose files must form no circle.
const CRATES: &[&str] = &["src/", "ingest/src/", "objects/src/", "compare/src/"];

type Path = Vec<String>;

/// One file of a crate: what it defines, and what its `use` lines bring in.
struct Module<'a> {
    path: &'a str,
    defines: BTreeSet<&'a str>,
    /// Last name of a `use`, and the whole path.
    imports: BTreeMap<String, Path>,
    /// Paths that make this file need another.
    needs: Vec<Path>,
}

/// Every circle of files below one of the crates, as one complaint per file and file.
pub fn circles(files: &[Source]) -> Vec<String> {
    CRATES.iter().flat_map(|prefix| circles_of(files, prefix)).collect()
}

fn circles_of(files: &[Source], prefix: &str) -> Vec<String> {
    let own = files.iter().filter(|file| file.path.starts_with(prefix));
    let mut sources: BTreeMap<Path, &Source> =
        own.map(|file| (module_path(&file.path[prefix.len()..]), file)).collect();
    let tests: Vec<Path> =
        sources.iter().flat_map(|(path, file)| test_modules(path, &file.code)).collect();
    sources.retain(|path, _| !tests.iter().any(|test| path.starts_with(test)));
    let modules: BTreeMap<&Path, Module<'_>> =
        sources.iter().map(|(path, file)| (path, Module::new(file))).collect();
    let mut needs: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
    for (&path, module) in &modules {
        let found = module.needs.iter().filter_map(|need| resolve(&modules, path, need, 0));
        needs.insert(path, found.filter(|&other| other != path).collect());
    }
    let reach: BTreeMap<&Path, BTreeSet<&Path>> =
        needs.keys().map(|&path| (path, reachable(&needs, path))).collect();
    let mut complaints = Vec::new();
    for (&path, others) in &needs {
        for &other in others.iter().filter(|other| reach[*other].contains(path)) {
            complaints.push(format!(
                "{} needs {}, which needs it again",
                modules[path].path, modules[other].path
            ));
        }
    }
    complaints
}

/// `ring/pool.rs` is `[ring, pool]`, `ring/mod.rs` is `[ring]`, the root is empty.
fn module_path(file: &str) -> Path {
    let mut path: Path = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if ["mod", "lib", "main"].iter().any(|root| path.last().is_some_and(|last| last == root)) {
        path.pop();
    }
    path
}

/// The modules that `code` declares for tests only: a `cfg` with the word `test` is above them.
fn test_modules(path: &Path, code: &str) -> Vec<Path> {
    let mut found = Vec::new();
    let mut for_tests = false;
    for line in code.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.starts_with("#[") {
            for_tests |= line.starts_with("#[cfg(") && words(line, "test").next().is_some();
            continue;
        }
        if let Some((_, name)) = line.trim_end_matches(';').split_once("mod ")
            && for_tests
            && line.ends_with(';')
        {
            found.push(path.iter().cloned().chain([name.to_owned()]).collect());
        }
        for_tests = false;
    }
    found
}

impl<'a> Module<'a> {
    fn new(file: &'a Source) -> Self {
        let end = file.code.find("\nmod tests {").unwrap_or(file.code.len());
        let code = &file.code[..end];
        let (uses, rest) = split_uses(code);
        let is_root = ["mod.rs", "lib.rs", "main.rs"].iter().any(|root| file.path.ends_with(root));
        let mut imports = BTreeMap::new();
        let mut needs = paths_in_code(&rest);
        for (is_public, tree) in uses {
            for path in leaves(&tree) {
                imports.insert(path.last().cloned().unwrap_or_default(), path.clone());
                if !(is_public && is_root) {
                    needs.push(path);
                }
            }
        }
        Self { path: &file.path, defines: defined(code), imports, needs }
    }
}

/// Names of the items that a file defines.
fn defined(code: &str) -> BTreeSet<&str> {
    let kinds = ["struct", "enum", "trait", "fn", "const", "static", "type", "union"];
    let names = kinds.iter().flat_map(|kind| words(code, kind).map(move |at| at + kind.len()));
    let macros = code.match_indices("macro_rules! ").map(|(at, text)| at + text.len());
    names.chain(macros).map(|at| name_at(code[at..].trim_start())).collect()
}

fn name_at(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    &text[..end]
}

/// The `use` lines, each with whether it is public, and the code without them.
fn split_uses(code: &str) -> (Vec<(bool, String)>, String) {
    let (mut uses, mut rest, mut after) = (Vec::new(), String::new(), 0);
    for at in words(code, "use").filter(|at| !code[at + 3..].starts_with('<')) {
        let Some(length) = code[at..].find(';').filter(|_| at >= after) else { continue };
        let line = &code[code[..at].rfind('\n').map_or(0, |end| end + 1)..at];
        uses.push((line.trim_start().starts_with("pub"), code[at + 3..at + length].to_owned()));
        rest.push_str(&code[after..at]);
        after = at + length;
    }
    rest.push_str(&code[after..]);
    (uses, rest)
}

/// The paths of a `use` tree: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn leaves(tree: &str) -> Vec<Path> {
    let (head, inner) = match tree.split_once('{') {
        Some((head, inner)) => (head, inner.rsplit_once('}').map_or(inner, |(inner, _)| inner)),
        None => (tree, ""),
    };
    let head: Path = head
        .split(" as ")
        .next()
        .unwrap_or_default()
        .split("::")
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    if !tree.contains('{') {
        return vec![head];
    }
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inner[start..at].trim();
                let whole = |path: Path| head.iter().cloned().chain(path).collect();
                found.extend(leaves(part).into_iter().filter(|_| !part.is_empty()).map(whole));
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

fn paths_in_code(code: &str) -> Vec<Path> {
    let mut found = Vec::new();
    for root in ["crate", "super", "self"] {
        for at in words(code, root) {
            // In the middle of a longer path, or `pub(crate)`.
            if code[..at].ends_with("::") || !code[at + root.len()..].starts_with("::") {
                continue;
            }
            let end = code[at..]
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
                .map_or(code.len(), |length| at + length);
            let names = code[at..end].split("::").filter(|name| !name.is_empty());
            found.push(names.map(str::to_owned).collect());
        }
    }
    found
}

/// The file that defines what `path` names in module `at`; `None` where it is another crate's.
fn resolve<'m>(
    modules: &BTreeMap<&'m Path, Module<'_>>,
    at: &Path,
    path: &[String],
    depth: usize,
) -> Option<&'m Path> {
    let mut module = at.clone();
    let mut names = path.iter().peekable();
    match names.peek()?.as_str() {
        "crate" => {
            module.clear();
            names.next();
        }
        "self" => drop(names.next()),
        "super" => {
            while names.next_if(|name| *name == "super").is_some() {
                module.pop()?;
            }
        }
        first => {
            module.push(first.to_owned());
            modules.get_key_value(&module)?;
            module.pop();
        }
    }
    while let Some(&name) = names.peek() {
        module.push(name.clone());
        if !modules.contains_key(&module) {
            module.pop();
            break;
        }
        names.next();
    }
    let (&found, file) = modules.get_key_value(&module)?;
    let imported = names.peek().and_then(|name| {
        let import = file.imports.get(name.as_str()).filter(|_| depth < 8)?;
        let is_own = file.defines.contains(name.as_str());
        (!is_own).then(|| resolve(modules, found, import, depth + 1)).flatten()
    });
    Some(imported.unwrap_or(found))
}

fn reachable<'m>(
    needs: &BTreeMap<&'m Path, BTreeSet<&'m Path>>,
    from: &'m Path,
) -> BTreeSet<&'m Path> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(path) = open.pop() {
        open.extend(needs[path].iter().filter(|other| found.insert(**other)));
    }
    found
}

#[test]
fn circles_are_refused() {
    let of = |files: &[(&str, &str)]| {
        circles(&files.iter().map(|(path, text)| Source::new(path, text)).collect::<Vec<_>>())
    };
    let lib = ("src/lib.rs", "mod a;\nmod b;\nmod c;\n");
    // Directly, through a third file, by a path in the code, and through a re-export.
    let pair = [
        lib,
        ("src/a.rs", "use crate::b::B;\npub struct A;"),
        ("src/b.rs", "use super::a::A;\npub struct B;"),
    ];
    assert_eq!(
        of(&pair),
        [
            "src/a.rs needs src/b.rs, which needs it again",
            "src/b.rs needs src/a.rs, which needs it again"
        ]
    );
    let three = [
        lib,
        ("src/a.rs", "use crate::{b::{self, B as Other}, c};\npub struct A;"),
        ("src/b.rs", "pub struct B(crate::c::C);"),
        ("src/c.rs", "pub struct C;\nfn f() -> super::a::A {}"),
    ];
    assert_eq!(of(&three).len(), 4);
    let folder = [
        ("src/lib.rs", "mod ring;"),
        ("src/ring/mod.rs", "mod grant;\nmod pool;\npub use grant::Grant;\npub use pool::Pool;"),
        ("src/ring/grant.rs", "use super::Pool;\npub struct Grant(Pool);"),
        ("src/ring/pool.rs", "pub struct Pool;\nfn f() -> super::Grant {}"),
    ];
    assert_eq!(of(&folder).len(), 2);
    // A root that re-exports is no circle, nor is what tests use, nor another crate's module.
    let fine = [
        ("src/lib.rs", "mod a;\npub use a::A;\n#[cfg(test)]\nmod model;\n"),
        (
            "src/a.rs",
            "use other::model::M;\npub struct A;\n#[cfg(test)]\nmod tests {\n    use crate::model::M;\n}\n",
        ),
        ("src/model.rs", "use crate::a::A;\npub struct M;"),
    ];
    assert_eq!(of(&fine), Vec::<String>::new());
    // A root with logic of its own is a file like any other.
    let logic = [
        ("src/lib.rs", "mod a;\nuse a::A;\npub struct Root;"),
        ("src/a.rs", "use super::Root;\npub struct A;"),
    ];
    assert_eq!(of(&logic).len(), 2);
}
