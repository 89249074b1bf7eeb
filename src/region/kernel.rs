//! What the kernel reports in files: the roots of `/proc` and `/sys`, and the formats of their
//! lines.
//!
//! Promises that a missing or strange file is `None`, never a panic: containers hide files. Readers
//! take the roots as a value, so that tests use a folder; under Miri, which has no such files,
//! every read is `None`. Nothing is cached.

use super::map::page_bytes;
use std::path::{Path, PathBuf};

/// The machine as a region sees it: the roots of `/proc` and `/sys`, and the size of a base page.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    pub(crate) proc_dir: PathBuf,
    pub(crate) sys_dir: PathBuf,
    pub(crate) page_bytes: usize,
}

impl Roots {
    /// The real machine.
    pub(crate) fn system() -> Roots {
        Roots { proc_dir: "/proc".into(), sys_dir: "/sys".into(), page_bytes: page_bytes() }
    }

    /// The text of a file below `/proc`.
    pub(crate) fn read_proc(&self, path: &str) -> Option<String> {
        assert!(!path.starts_with('/'), "{path} would leave the root");
        read(&self.proc_dir.join(path))
    }

    /// The text of a file below `/sys`.
    pub(crate) fn read_sys(&self, path: &str) -> Option<String> {
        assert!(!path.starts_with('/'), "{path} would leave the root");
        read(&self.sys_dir.join(path))
    }

    /// A file below `/sys` that holds one number.
    pub(crate) fn sys_number(&self, path: &str) -> Option<usize> {
        number(&self.read_sys(path)?)
    }
}

/// The text of a file, if it can be read and is text.
pub(crate) fn read(path: &Path) -> Option<String> {
    if cfg!(miri) { None } else { std::fs::read_to_string(path).ok() }
}

/// A number that is alone in a file.
pub(crate) fn number(text: &str) -> Option<usize> {
    text.trim().parse().ok()
}

/// The bytes of a line like `MemAvailable:   24332744 kB`. The first line of that name counts.
pub(crate) fn field_bytes(text: &str, name: &str) -> Option<usize> {
    assert!(name.ends_with(':'), "{name} isn't the name of a field");
    let rest = text.lines().find_map(|line| line.trim_start().strip_prefix(name))?;
    let mut words = rest.split_whitespace();
    let kib: usize = words.next()?.parse().ok()?;
    if words.next() != Some("kB") {
        return None;
    }
    kib.checked_mul(1024)
}

/// The first word behind `name` on a line like `CapEff:\t000001ffffffffff`.
pub(crate) fn field_word<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    assert!(name.ends_with(':'), "{name} isn't the name of a field");
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
}

/// The value of a line like `inactive_file 49152`, as `memory.stat` has them.
pub(crate) fn stat_number(text: &str, name: &str) -> Option<usize> {
    assert!(!name.contains(' '), "{name} can't be a key");
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        if key == name { number(value) } else { None }
    })
}

/// The soft limit on a line of `/proc/self/limits`, None when it is unlimited or not there.
pub(crate) fn soft_limit(text: &str, name: &str) -> Option<usize> {
    assert!(name.starts_with("Max "), "{name} isn't the name of a limit");
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    number(rest.split_whitespace().next()?)
}

/// The word in brackets of a file like `always [madvise] never`.
pub(crate) fn chosen(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    let (word, _) = rest.split_once(']')?;
    Some(word)
}

#[cfg(test)]
mod tests;
