//! Memory limits of the process's control groups, versions 1 and 2, and of all their ancestors.
//!
//! Populating memory beyond such a limit ends in SIGKILL, not in an error, so the limits are read
//! before anything is mapped. Promises to find the level that leaves the least room. It can't see
//! limits outside its own cgroup namespace; nothing inside can.

use super::kernel::{Roots, number, read, stat_number};
use std::path::{Path, PathBuf};

/// A limit from here on means none: version 1 writes `unlimited` as the largest multiple of a page.
const UNLIMITED_BYTES: usize = 1 << 62;

/// One level's limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemoryLimit {
    /// The file that sets it.
    pub(crate) file: PathBuf,
    pub(crate) limit_bytes: usize,
    /// In use and not reclaimable. Page cache isn't counted, because the kernel drops it before it
    /// kills.
    pub(crate) used_bytes: usize,
}

impl MemoryLimit {
    /// Bytes that may still be charged.
    pub(crate) fn room_bytes(&self) -> usize {
        self.limit_bytes.saturating_sub(self.used_bytes)
    }
}

/// The names that one version gives to its files.
struct Names {
    limit: &'static str,
    used: &'static str,
    cache: [&'static str; 2],
}

const V1: Names = Names {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cache: ["total_inactive_file", "total_active_file"],
};
const V2: Names =
    Names { limit: "memory.max", used: "memory.current", cache: ["inactive_file", "active_file"] };

/// The process's paths in the hierarchies that can limit memory, from the text of
/// `/proc/self/cgroup`.
#[derive(Debug, PartialEq, Eq)]
struct Membership<'a> {
    v1: Option<&'a str>,
    v2: Option<&'a str>,
}

fn membership(text: &str) -> Membership<'_> {
    let mut found = Membership { v1: None, v2: None };
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        if id == "0" && controllers.is_empty() {
            found.v2 = Some(path);
        } else if controllers.split(',').any(|name| name == "memory") {
            found.v1 = Some(path);
        }
    }
    found
}

/// The limit with the least room, or None if nothing limits memory.
pub(crate) fn tightest(roots: &Roots) -> Option<MemoryLimit> {
    let text = roots.read_proc("self/cgroup")?;
    let found = membership(&text);
    let cgroups = roots.sys_dir.join("fs/cgroup");
    let mut levels = Vec::new();
    if let Some(path) = found.v1 {
        levels.extend(limits_up(&cgroups.join("memory"), path, &V1));
    }
    if let Some(path) = found.v2 {
        // With both versions mounted, version 2 is one folder deeper.
        let unified = cgroups.join("unified");
        let mount = if unified.is_dir() { unified } else { cgroups };
        levels.extend(limits_up(&mount, path, &V2));
    }
    let tightest = levels.iter().map(MemoryLimit::room_bytes).min()?;
    let level = levels.into_iter().find(|level| level.room_bytes() == tightest);
    assert!(level.is_some(), "the least room belongs to no level");
    level
}

/// The limits of a cgroup and its ancestors up to the mount. In a container the mount may already
/// be the process's own cgroup while `path` still names it from the host's root: missing folders
/// are skipped.
fn limits_up(mount: &Path, path: &str, names: &Names) -> Vec<MemoryLimit> {
    // A path with `..` is outside our namespace: the visible part starts at the mount.
    let inside = path.trim_start_matches('/');
    let inside = if inside.split('/').any(|part| part == "..") { "" } else { inside };
    let leaf = mount.join(inside);
    assert!(leaf.starts_with(mount), "{path} leaves the mount");
    leaf.ancestors()
        .take_while(|folder| folder.starts_with(mount))
        .filter_map(|folder| limit_of(folder, names))
        .collect()
}

fn limit_of(folder: &Path, names: &Names) -> Option<MemoryLimit> {
    let file = folder.join(names.limit);
    let limit_bytes = number(&read(&file)?).filter(|bytes| *bytes < UNLIMITED_BYTES)?;
    assert!(limit_bytes < UNLIMITED_BYTES, "no limit passed for one");
    let used_bytes = read(&folder.join(names.used)).and_then(|text| number(&text)).unwrap_or(0);
    let stat = read(&folder.join("memory.stat")).unwrap_or_default();
    let cache_bytes = names
        .cache
        .iter()
        .filter_map(|name| stat_number(&stat, name))
        .fold(0, usize::saturating_add);
    Some(MemoryLimit { file, limit_bytes, used_bytes: used_bytes.saturating_sub(cache_bytes) })
}

#[cfg(test)]
mod tests;
