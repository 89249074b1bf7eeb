//! Memory limits of the process's control groups, versions 1 and 2, and of all groups above them.
//!
//! Populating memory beyond such a limit ends in SIGKILL, not in an error, so the limits are read
//! before anything is mapped. Promises to find the level that leaves the least room. Limits outside
//! the process's own cgroup namespace are invisible from inside.

use std::path::{Path, PathBuf};

use super::kernel::{Roots, number, read, stat_number};

/// A limit this large means no limit: version 1 writes the largest multiple of a page for it.
const UNLIMITED_BYTES: usize = 1 << 62;

/// One level's limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemoryLimit {
    /// The file that sets it.
    pub(crate) file: PathBuf,
    pub(crate) limit_bytes: usize,
    /// Bytes in use that the kernel can't drop. Page cache isn't counted, because the kernel drops
    /// it before it kills.
    pub(crate) used_bytes: usize,
}

impl MemoryLimit {
    /// Bytes that may still be charged.
    pub(crate) fn room_bytes(&self) -> usize {
        self.limit_bytes.saturating_sub(self.used_bytes)
    }
}

/// The file names of one version.
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

/// The limits of a cgroup and of those above it, up to the mount. In a container the mount may
/// already be the process's own cgroup while `path` still names it from the host's root: missing
/// folders are skipped.
fn limits_up(mount: &Path, path: &str, names: &Names) -> Vec<MemoryLimit> {
    // A path with `..` is outside our namespace, of which the mount is the visible part.
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
mod tests {
    use super::*;
    #[cfg(not(miri))]
    use crate::machine::fake::FakeMachine;

    const V1_AND_EMPTY_V2: &str =
        "9:name=systemd:/\n8:pids:/\n4:memory:/batch/job-7\n3:cpuset:/\n0::/\n";

    #[test]
    fn memberships_of_both_versions() {
        assert_eq!(
            membership(V1_AND_EMPTY_V2),
            Membership { v1: Some("/batch/job-7"), v2: Some("/") }
        );
        assert_eq!(
            membership("0::/system.slice/a:b.service\n").v2,
            Some("/system.slice/a:b.service")
        );
        assert_eq!(membership("5:cpu,memory:/x\n").v1, Some("/x"));
        assert_eq!(membership("nonsense\n7\n\n"), Membership { v1: None, v2: None });
        assert_eq!(membership("6:memory_recursive:/x\n"), Membership { v1: None, v2: None });
    }

    #[cfg(not(miri))]
    #[test]
    fn a_group_above_can_be_the_tightest() {
        let machine = FakeMachine::new("cgroup-ancestor")
            .file("proc/self/cgroup", "0::/site/app/worker\n")
            .file("sys/fs/cgroup/site/memory.max", "1000000\n")
            .file("sys/fs/cgroup/site/memory.current", "900000\n")
            .file(
                "sys/fs/cgroup/site/memory.stat",
                "anon 1\ninactive_file 150000\nactive_file 50000\nslab 7\n",
            )
            .file("sys/fs/cgroup/site/app/memory.max", "max\n")
            .file("sys/fs/cgroup/site/app/memory.current", "12\n")
            .file("sys/fs/cgroup/site/app/worker/memory.max", "400000\n")
            .file("sys/fs/cgroup/site/app/worker/memory.current", "5000\n");
        let level = tightest(&machine.roots()).unwrap();
        assert_eq!(level.file, machine.sys("fs/cgroup/site/memory.max"));
        assert_eq!(
            (level.limit_bytes, level.used_bytes, level.room_bytes()),
            (1_000_000, 700_000, 300_000)
        );
    }

    #[cfg(not(miri))]
    #[test]
    fn version_1_has_its_own_names_and_word_for_unlimited() {
        let machine = FakeMachine::new("cgroup-v1")
            .file("proc/self/cgroup", V1_AND_EMPTY_V2)
            .file("sys/fs/cgroup/unified/cgroup.procs", "")
            .file("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
            .file("sys/fs/cgroup/memory/batch/memory.limit_in_bytes", "9223372036854771712\n")
            .file("sys/fs/cgroup/memory/batch/job-7/memory.limit_in_bytes", "500000\n")
            .file("sys/fs/cgroup/memory/batch/job-7/memory.usage_in_bytes", "90000\n")
            .file(
                "sys/fs/cgroup/memory/batch/job-7/memory.stat",
                "inactive_file 1\ntotal_inactive_file 30000\n",
            );
        let level = tightest(&machine.roots()).unwrap();
        assert_eq!(level.file, machine.sys("fs/cgroup/memory/batch/job-7/memory.limit_in_bytes"));
        assert_eq!(level.room_bytes(), 440_000);
    }

    #[cfg(not(miri))]
    #[test]
    fn in_a_container_the_mount_itself_is_the_limit() {
        for path in ["/docker/0123abcd", "/../../host.slice/other", "/"] {
            let machine = FakeMachine::new(&format!("cgroup-container-{}", path.len()))
                .file("proc/self/cgroup", &format!("4:memory:{path}\n0::{path}\n"))
                .file("sys/fs/cgroup/memory/memory.limit_in_bytes", "700000\n");
            let level = tightest(&machine.roots()).unwrap();
            assert_eq!((level.limit_bytes, level.used_bytes), (700_000, 0), "{path}");
        }
    }

    #[cfg(not(miri))]
    #[test]
    fn without_files_there_is_no_limit() {
        let machine = FakeMachine::new("cgroup-none").file("proc/self/cgroup", "0::/\n");
        assert_eq!(tightest(&machine.roots()), None);
        assert_eq!(tightest(&FakeMachine::new("cgroup-nothing").roots()), None);
    }

    #[cfg(not(miri))]
    #[test]
    fn more_in_use_than_allowed_is_no_room() {
        let machine = FakeMachine::new("cgroup-over")
            .file("proc/self/cgroup", "0::/a\n")
            .file("sys/fs/cgroup/a/memory.max", "1000\n")
            .file("sys/fs/cgroup/a/memory.current", "2000\n");
        assert_eq!(tightest(&machine.roots()).unwrap().room_bytes(), 0);
    }
}
