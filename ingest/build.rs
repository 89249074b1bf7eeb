//! Tells the program its commit and its features, for `slipring --version`.
//!
//! Without git, or outside of its repository, the commit is `unknown`; the build never fails for
//! it. A package of `cargo package` carries its commit in a file.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What goes into the program, seen from the folder of this package. A commit is dirty if one of
/// these has changed since, and only they, or a commit, make this script run again.
const SOURCES: &[&str] = &[
    "build.rs",
    "Cargo.toml",
    "src",
    "../src",
    "../objects/src",
    "../objects/Cargo.toml",
    "../Cargo.toml",
    "../Cargo.lock",
];
/// The file in which `cargo package` notes the commit.
const PACKAGED: &str = ".cargo_vcs_info.json";

fn main() {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    watch(&package.join("build.rs"));
    let packaged = package.join(PACKAGED);
    let commit = match std::fs::read_to_string(&packaged) {
        Ok(text) => {
            watch(&packaged);
            packaged_commit(&text)
        }
        Err(_) => checkout_commit(&package),
    };
    println!("cargo::rustc-env=SLIPRING_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=SLIPRING_FEATURES={}", features());
}

/// Makes cargo run this script again when the file changes. A file that isn't there would make it
/// run every time.
fn watch(path: &Path) {
    if path.exists() {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

fn packaged_commit(text: &str) -> Option<String> {
    let (_, after) = text.split_once("\"sha1\"")?;
    let hash = after.split('"').nth(1)?;
    let is_hash = hash.len() >= 12 && hash.chars().all(|c| c.is_ascii_hexdigit());
    let dirty = if text.contains("\"dirty\": true") { "-dirty" } else { "" };
    is_hash.then(|| format!("{}{dirty}", &hash[..12]))
}

/// The commit of the repository that this package is tracked in. A package that lies unpacked in
/// somebody's repository isn't.
fn checkout_commit(package: &Path) -> Option<String> {
    git(package, &["ls-files", "--error-unmatch", "build.rs"])?;
    let commit = git(package, &["rev-parse", "--short=12", "HEAD"])?;
    let branch = git(package, &["symbolic-ref", "--quiet", "HEAD"]);
    let names = ["HEAD", "logs/HEAD", "packed-refs"].into_iter().chain(branch.as_deref());
    for name in names {
        if let Some(file) = git(package, &["rev-parse", "--git-path", name]) {
            watch(&package.join(file));
        }
    }
    let sources: Vec<&str> =
        SOURCES.iter().copied().filter(|source| package.join(source).exists()).collect();
    sources.iter().for_each(|source| watch(&package.join(source)));
    let status = ["--no-optional-locks", "status", "--porcelain", "--"];
    let changed = git(package, &[&status[..], &sources].concat())?;
    let dirty = if changed.is_empty() { "" } else { "-dirty" };
    Some(format!("{commit}{dirty}"))
}

/// What git prints, without the last newline; None if there is no git, or if it refuses.
fn git(folder: &Path, words: &[&str]) -> Option<String> {
    let output = Command::new("git").args(words).current_dir(folder).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}

/// The features of this build, as `Cargo.toml` spells them.
fn features() -> String {
    let set = env::vars().filter_map(|(name, _)| {
        Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase().replace('_', "-"))
    });
    let mut names: Vec<String> = set.filter(|name| name != "default").collect();
    names.sort();
    if names.is_empty() { "none".to_owned() } else { names.join(",") }
}
